"""From conclusions to what people read: Markdown, LaTeX, CSV, figures and the leaderboard."""
