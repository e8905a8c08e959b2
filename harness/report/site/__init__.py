"""The leaderboard: a static site."""
