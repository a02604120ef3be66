"""Metrics: what a completion is worth. `hf.list_metrics()` lists all; most are written by name."""

from helmframe.metrics import (  # noqa: F401 - registered
    bbq,
    bias,
    calibration,
    classification,
    code,
    copying,
    corpus,
    efficiency,
    ifeval,
    letters,
    likelihood,
    long_context,
    match,
    math_equiv,
    math_symbolic,
    numbers,
    overlap,
    ranking,
    repeats,
    sets,
    stereotypes,
    summaries,
    text,
    toxicity,
)
from helmframe.metrics.endpoint import endpoint
from helmframe.metrics.protocol import Metric
from helmframe.metrics.similarity import similarity

__all__ = ["Metric", "endpoint", "similarity"]


def __dir__() -> list[str]:
    # what the Tab key offers: not the modules that the names come from
    return __all__
