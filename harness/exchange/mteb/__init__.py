"""Exchange with MTEB: `naming` says what things are called there, `export` writes records in its layout, `published`
compares float32 figures with those that it has published, and `search` puts any method inside its evaluation.
"""
