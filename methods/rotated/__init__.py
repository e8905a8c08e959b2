"""A random rotation, then scalar codes."""
