"""Results, by topic: the tables, the questions asked of them, and what is written of them."""

from helmframe.results.results import Results

__all__ = ["Results"]
