"""Metrics: what a completion is worth."""

from helmframe.metrics.helm_outputs import helm_scores
from helmframe.metrics.listing import metrics
from helmframe.metrics.protocol import METRICS, Metric, about, chosen, flattened, metric
from helmframe.metrics.score import check_units, for_sets, parse, score, why_none
from helmframe.metrics.similarity import similarity
from helmframe.metrics.toxicity import expected_max_toxicity, max_toxicity_probability, toxic_frac, toxicity

__all__ = [
    "METRICS",
    "Metric",
    "about",
    "check_units",
    "chosen",
    "expected_max_toxicity",
    "flattened",
    "for_sets",
    "helm_scores",
    "max_toxicity_probability",
    "metric",
    "metrics",
    "parse",
    "score",
    "similarity",
    "toxic_frac",
    "toxicity",
    "why_none",
]
