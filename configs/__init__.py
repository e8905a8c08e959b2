"""Hydra configuration groups, as a package so that `pkg://configs` works from an installed wheel."""
