"""Metrics: what a completion is worth."""

from helmframe.metrics import classification, match, overlap
from helmframe.metrics.score import METRICS, Metric, chosen, metric, metrics, parse, score

__all__ = ["METRICS", "Metric", "chosen", "classification", "match", "metric", "metrics", "overlap", "parse", "score"]
