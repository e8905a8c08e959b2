"""Uniform and non-uniform levels for each number."""
