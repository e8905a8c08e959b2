"""From records to conclusions: settings, statistics, frontiers, recommendations. Renders nothing."""
