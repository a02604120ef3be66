"""Metrics: what a completion is worth. `hf.list_metrics()` lists all; most are written by name."""

from helmframe.metrics.endpoint import endpoint
from helmframe.metrics.protocol import Metric
from helmframe.metrics.similarity import similarity
from helmframe.metrics.toxicity import expected_max_toxicity, max_toxicity_probability, toxic_frac, toxicity

__all__ = [
    "Metric",
    "endpoint",
    "expected_max_toxicity",
    "max_toxicity_probability",
    "similarity",
    "toxic_frac",
    "toxicity",
]


def __dir__() -> list[str]:
    # what the Tab key offers: not the modules that the names come from
    return __all__
