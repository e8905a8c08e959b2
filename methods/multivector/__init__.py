"""Codes of documents that are a vector for each token, and maps of them."""
