"""Where vectors come from: datasets, models, the embedding cache, and the queries that methods learn from."""
