"""Documents as rows of a table: hashed, factorised, pruned."""
