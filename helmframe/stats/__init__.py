"""Scores → numbers with error bars."""

from helmframe.stats.aggregate import aggregate
from helmframe.stats.aggregate_set import aggregate_set
from helmframe.stats.agreement import agreement
from helmframe.stats.compare import compare
from helmframe.stats.consistency import consistency
from helmframe.stats.gap import gap
from helmframe.stats.helm_definition import helm_definition
from helmframe.stats.prediction_powered import prediction_powered
from helmframe.stats.robustness import robustness
from helmframe.stats.worst_at_k import worst_at_k
from helmframe.stats.worst_case import worst_case
from helmframe.stats.worst_scores import worst_scores

__all__ = [
    "aggregate",
    "aggregate_set",
    "agreement",
    "compare",
    "consistency",
    "gap",
    "helm_definition",
    "prediction_powered",
    "robustness",
    "worst_at_k",
    "worst_case",
    "worst_scores",
]
