"""How codes are searched, and what that adds to the bill: lists, and graphs."""
