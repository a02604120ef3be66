"""Metrics: what a completion is worth."""

from helmframe.metrics import classification, match, overlap
from helmframe.metrics.score import METRICS, Metric, check_units, chosen, flattened, metric, metrics, parse, score

__all__ = [
    "METRICS",
    "Metric",
    "check_units",
    "chosen",
    "classification",
    "flattened",
    "match",
    "metric",
    "metrics",
    "overlap",
    "parse",
    "score",
]
