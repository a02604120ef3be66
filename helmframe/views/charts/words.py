"""The words on charts: what a metric is measured in, and texts as they can be shown."""

from collections.abc import Mapping
from typing import Any, TypeAlias

from helmframe._schema import COMPLETIONS
from helmframe.errors import HelmframeError
from helmframe.metrics.protocol import manifest_entry, resolve_metrics
from helmframe.views.characters import seen

# Metric → its unit and which way it is better, as a manifest has it.
Metrics: TypeAlias = Mapping[str, Mapping[str, Any]]
# What answers take, from the table of completions: less is better.
TAKEN = {column.name: column.unit for column in COMPLETIONS.columns if column.unit in ("s", "tokens")}


def unit_of(metric: str, metrics: Metrics | None) -> str:
    """What it is measured in; nothing where that is not known."""
    return str(_about(metric, metrics).get("unit") or "")


def better_when_higher(metric: str, metrics: Metrics | None) -> bool | None:
    """Its direction; None for one that has none, or is not known."""
    way: bool | None = _about(metric, metrics).get("higher_is_better")
    return way


def axis_title(metric: str, metrics: Metrics | None) -> str:
    """The metric, its unit and direction.

    >>> axis_title("exact_match", None)
    'exact_match (fraction, higher is better)'
    """
    way = {True: "higher is better", False: "lower is better", None: ""}[better_when_higher(metric, metrics)]
    told = ", ".join(filter(None, (unit_of(metric, metrics), way)))
    return f"{seen(metric)} ({told})" if told else seen(metric)


def format_of(metric: str, metrics: Metrics | None) -> str:
    """How its numbers are written, as d3-format has it."""
    return ".3f" if unit_of(metric, metrics) in ("fraction", "") else ".4~g"


def _about(metric: str, metrics: Metrics | None) -> Mapping[str, Any]:
    if metrics is not None and metric in metrics:
        return metrics[metric]
    if metric in TAKEN:
        return {"unit": TAKEN[metric], "higher_is_better": False}
    try:
        return manifest_entry(resolve_metrics([metric])[0])
    except HelmframeError:
        return {}
