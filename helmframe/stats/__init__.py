"""Scores → numbers with error bars."""

from helmframe.stats.aggregate import aggregate
from helmframe.stats.aggregate_set import aggregate_set
from helmframe.stats.compare import compare
from helmframe.stats.worst_case import robustness, worst_case

__all__ = ["aggregate", "aggregate_set", "compare", "robustness", "worst_case"]
