"""The inner loops: packing, scans, entropy coding, threads."""
