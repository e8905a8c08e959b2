"""Programs of this repository, each run by its path from the root; none of them is installed."""
