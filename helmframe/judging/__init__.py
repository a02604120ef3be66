"""Judges: models that score completions, and the plans that run them."""
