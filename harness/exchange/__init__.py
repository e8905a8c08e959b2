"""What leaves the project or comes from others: exported indexes, vector stores, MTEB's results."""
