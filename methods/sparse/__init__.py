"""Codes of documents that are terms with weights."""
