"""Tables of changes under perturbations, for charts."""

import polars as pl

from helmframe._core.specs import Call
from helmframe.errors import ArgumentError, UnknownNameError
from helmframe.perturbations.registry import PERTURBATIONS
from helmframe.stats.frames import as_scores
from helmframe.stats.robustness import robustness
from helmframe.views.charts.frames import (
    Frame,
    Metrics,
    axes_of,
    directions_of,
    fractions_of,
    is_scores,
    require_columns,
)

CHANGES = ("perturbation", "metric", "original", "perturbed", "worst", "k", "change", "change_low", "change_high")


def changes_of(frame: Frame, metric: str | None, metrics: Metrics | None) -> tuple[pl.DataFrame, str]:
    """Return the table of `hf.stats.robustness` for one metric, and the metric's name.

    Raises:
        ArgumentError: If the frame is neither such a table nor scores.
        UnknownNameError: If the metric is unknown.
    """
    if is_scores(frame):
        frame = as_scores(frame)
        by = [name for name in axes_of(frame) if name != "perturbation"]
        directions, fractions = directions_of(frame, metrics), fractions_of(frame, metrics) or ()
        table = robustness(frame, by, higher_is_better=directions, fractions=fractions, placebo=_placebo(frame))
    else:
        table = require_columns(frame, "a table of hf.stats.robustness", CHANGES)
    available = table["metric"].unique(maintain_order=True).to_list()
    name = metric or (available[0] if available else "score")
    if available and name not in available:
        raise UnknownNameError.among("metric of this table", name, available)
    return table.filter(pl.col("metric") == name), name


def by_strength(names: list[str]) -> dict[str, str]:
    """Map perturbations to chart labels, sorted by name and from weak to strong.

    A label includes default arguments that other perturbations of the same name change.

    >>> by_strength(["typos(prob=0.2)", "lowercase", "typos"])
    {'lowercase': 'lowercase', 'typos': 'typos(prob=0.05)', 'typos(prob=0.2)': 'typos(prob=0.2)'}
    """
    calls = {name: _call(name) for name in names}
    changed: dict[str, dict[str, None]] = {}
    for call in calls.values():
        changed.setdefault(call.name, {}).update(dict.fromkeys(key for key, _ in call.arguments))

    def arguments_of(call: Call) -> dict[str, object]:
        defaults = PERTURBATIONS[call.name].defaults if call.name in PERTURBATIONS else {}
        return {key: {**defaults, **dict(call.arguments)}.get(key) for key in changed[call.name]}

    def strength(name: str) -> tuple[str, list[float], str]:
        numbers = [float(value) for value in arguments_of(calls[name]).values() if isinstance(value, int | float)]
        return calls[name].name, numbers, name

    def label_of(name: str) -> str:
        arguments = ", ".join(
            f"{key}={value!r}" for key, value in arguments_of(calls[name]).items() if value is not None
        )
        return f"{name}({arguments})" if arguments and not calls[name].arguments else name

    return {name: label_of(name) for name in sorted(names, key=strength)}


def _placebo(frame: Frame) -> str | None:
    """Return the placebo, a perturbation that repeats the original request, or None."""
    names = frame.lazy().select(pl.col("perturbation").unique().sort()).collect()["perturbation"].to_list()
    calls = {name: _call(name).name for name in names}
    return next(
        (name for name, call_name in calls.items() if call_name in PERTURBATIONS and PERTURBATIONS[call_name].repeats),
        None,
    )


def _call(name: str) -> Call:
    """Parse a perturbation; a chain, or a text that is not a call, becomes a call without arguments."""
    try:
        return Call.parse(name)
    except ArgumentError:
        return Call(name)
