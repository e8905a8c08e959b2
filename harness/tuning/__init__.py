"""The best setting for a budget, found by search: what may vary, what is looked at, and what comes out."""
