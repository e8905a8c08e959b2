"""Product and additive quantisers."""
