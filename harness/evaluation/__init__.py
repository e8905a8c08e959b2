"""One codec on one set of vectors: fit, encode, write, read back, search, score, and what it costs."""
