"""Smaller weights of a transformer: a module a technique, and which of them `model.compress` names."""
