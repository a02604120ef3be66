"""Metrics: what a completion is worth."""

from helmframe.metrics.helm_outputs import helm_scores
from helmframe.metrics.listing import metrics
from helmframe.metrics.protocol import METRICS, Metric, about, chosen, flattened, metric
from helmframe.metrics.score import check_units, for_sets, parse, score, why_none
from helmframe.metrics.similarity import similarity

__all__ = [
    "METRICS",
    "Metric",
    "about",
    "check_units",
    "chosen",
    "flattened",
    "for_sets",
    "helm_scores",
    "metric",
    "metrics",
    "parse",
    "score",
    "similarity",
    "why_none",
]
