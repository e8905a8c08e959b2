"""Maps from one vector space to another."""
