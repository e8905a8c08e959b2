"""The budgets at which methods are compared, in bytes a document."""

BUDGETS = (12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384)
"""Powers of two and one and a half times these: about what 384 dimensions need at a quarter bit to 8 bits each."""

ACROSS = (16, 32, 48, 64, 96, 128, 256)
"""Those of them that stand side by side in one table or figure: as many as fit across a page."""

SPARE_BYTE = 1.0
"""Shared state may put a setting this much over a budget: "48 bytes" means codes of 48 bytes."""
