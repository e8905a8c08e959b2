"""Compression methods. Nothing here imports the harness: arrays in, arrays out (see `methods.base`)."""
