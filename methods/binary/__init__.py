"""Signs and counts of signs."""
