"""The forest plot of paired differences."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import polars as pl

from helmframe._core.safe_text import display_labels
from helmframe.results import Results
from helmframe.results.charts import chart
from helmframe.stats.compare import compare
from helmframe.stats.table import sort_table
from helmframe.views.charts.frames import (
    Frame,
    Metrics,
    Source,
    axes_of,
    benchmark_note,
    directions_of,
    format_of,
    fractions_of,
    is_scores,
    require_columns,
    rows_of,
    sorted_rows,
    unit_of,
)
from helmframe.views.charts.marks import faceted, height, line_at, points, text_column, whiskers
from helmframe.views.charts.theme import WIDTH, apply_theme, empty_chart

if TYPE_CHECKING:
    from helmframe.views.charts.theme import Drawn

DIFFERENCES = ("metric", "a", "b", "difference", "ci_low", "ci_high", "joint_low", "joint_high", "n")
_KEYS = ("scenario", "split", "setting", "perturbation", "metric", "a")


def forest(
    frame: Frame,
    *,
    axis: str = "model",
    base: str | None = None,
    facet: str | None = None,
    sort: str | Sequence[str] | None = None,
    models: Sequence[str] | None = None,
    metrics: Metrics | None = None,
    mode: str = "light",
) -> "Drawn":
    """Draw paired differences with their intervals, and the simultaneous intervals of all rows as thin lines.

    >>> frame = pl.DataFrame({"model": ["a"] * 20 + ["b"] * 20, "instance_id": [*range(20)] * 2,
    ...                       "score": [1] * 16 + [0] * 4 + [1] * 8 + [0] * 12})
    >>> forest(frame).to_dict()["title"]["text"]
    'score: b − a'

    Args:
        frame: A table of `hf.compare`, `results.compare` or `hf.stats.compare`; or `SCORES`, which are compared.
        axis: For scores: the column whose values are compared.
        base: For scores: the value to compare the others with; default the first.
        facet: A column; each of its values has a chart of its own, with its own rows.
        sort: The order of rows: "value" (the largest difference first), "-value", "name", or labels in order.
        models: As in `scores`.
        metrics: As in `scores`.
        mode: "light" or "dark".

    Raises:
        ArgumentError: If the frame or the mode is unsupported.
        NotComparableError: If the two sides share no instance.
    """
    import altair as alt

    from helmframe.views.charts.offline import LayerChart

    if facet is not None:
        draw = partial(forest, axis=axis, base=base, sort=sort, metrics=metrics, mode=mode)
        return faceted(draw, frame, facet, models, mode)  # type: ignore[no-any-return]
    if is_scores(frame):
        sides = frame.lazy().select(pl.col(axis).n_unique()).collect().item() if axis in axes_of(frame) else 0
        if sides < 2:
            return empty_chart(f"only one {axis}, so there is nothing to compare", mode, "differences")
        table = _compared(frame, axis, base, metrics)
    else:
        table = require_columns(frame, "a table of hf.compare or hf.stats.compare", DIFFERENCES)
    if table.is_empty():
        return empty_chart("there is nothing to compare", mode, "differences")
    names = table["metric"].unique(maintain_order=True).to_list()
    # colours identify models: if models are compared, side a is the model
    of_models = "model" not in table.columns
    keys = [name for name in _KEYS if name in table.columns and not (of_models and name == "a")]
    table = sort_table(table, [name for name in keys if name not in ("metric", "a")])
    rows = rows_of(table.with_columns(model=pl.col("a")) if of_models else table, keys, models)
    rows = sorted_rows(rows, sort, "difference")
    unit = f" ({unit_of(names[0], metrics)})" if len(names) == 1 and unit_of(names[0], metrics) else ""
    title = f"difference in {', '.join(names)}{unit}"
    shown = [pl.col(name).replace(display_labels(table[name])) for name in ("a", "b")]
    text_columns = {"n_text": [f"{n:,}" for n in table["n"]], "p_text": [_p(p) for p in _tests(table)]}
    texts = [pl.Series(name, values[: rows.data.height], dtype=pl.String) for name, values in text_columns.items()]
    rows = replace(rows, data=rows.data.with_columns(*shown, *texts))
    layers = [
        line_at(0, title, mode),
        whiskers(rows, alt.X("joint_low:Q", title=title), "joint_high", mode, size=1, strokeDash=[2, 2]),
        whiskers(rows, alt.X("ci_low:Q", title=title), "ci_high", mode, size=2.5),
        points(rows, alt.X("difference:Q", title=title), mode, _tooltip(table.columns, format_of(names[0], metrics))),
        *text_column(rows, "n_text", "n", mode),
        *text_column(rows, "p_text", "p (Holm)", mode, after=48),
    ]
    chart = LayerChart(layer=layers).properties(width=WIDTH, height=height(rows))
    notes = ["paired by instance; thick: individual intervals; dashed: simultaneous intervals" + benchmark_note(table)]
    drawn: Drawn = apply_theme(
        chart, mode, f"{', '.join(names)}: {_sides(table)}", [*notes, *rows.notes], legend_at=130
    )
    return drawn


def _compared(frame: Frame, axis: str, base: str | None, metrics: Metrics | None) -> pl.DataFrame:
    """Return the paired differences of scores along an axis."""
    by = [name for name in axes_of(frame) if name != axis]
    directions, fractions = directions_of(frame, metrics), fractions_of(frame, metrics)
    return compare(frame, axis, by, higher_is_better=directions, base=base, fractions=fractions)


def _sides(table: pl.DataFrame) -> str:
    """Return the two sides of the comparison, by name if a side is a single value."""
    sides = [list(display_labels(table[name]).values()) for name in ("a", "b")]
    return " − ".join(
        names[0] if len(names) == 1 else word for names, word in zip(sides, ("each", "base"), strict=True)
    )


def _tooltip(columns: Sequence[str], number_format: str) -> list[Any]:
    import altair as alt

    numbers = ("value_a", "value_b", "difference", "ci_low", "ci_high", "joint_low", "joint_high", "p_holm", "mde")
    return [
        *(alt.Tooltip(f"{name}:N") for name in ("a", "b")),
        *(alt.Tooltip(f"{name}:Q", format=number_format) for name in numbers if name in columns),
        *(alt.Tooltip(f"{name}:N") for name in ("interval", "test", "n") if name in columns),
    ]


def _tests(table: pl.DataFrame) -> list[float | None]:
    name = "p_holm" if "p_holm" in table.columns else "p"
    return table[name].to_list() if name in table.columns else [None] * table.height


def _p(value: float | None) -> str:
    if value is None:
        return ""
    return "<.001" if value < 0.001 else f"{value:.3f}"


@chart("forest")
def forest_of_results(
    results: Results,
    axis: str | None = None,
    *,
    base: str | None = None,
    metric: str | None = None,
    facet: str | None = None,
    sort: str | Sequence[str] | None = None,
    mode: str = "light",
) -> "Drawn":
    """Draw paired differences between models, settings or perturbations, as returned by `results.compare`.

    Args:
        results: Results of a run.
        axis: The column to compare; default the first of model, setting and perturbation with several values.
        base: As in `results.compare`.
        metric: The metric; default the main metric.
        facet: A column; each of its values has a chart of its own, with its own rows.
        sort: The order of rows: "value" (the largest difference first), "-value", "name", or labels in order.
        mode: "light" or "dark".

    >>> import helmframe as hf
    >>> models = {"small": hf.models.noisy(0.5), "large": hf.models.noisy(0.8, seed=1)}
    >>> results = hf.scenario("sampler").where(subject="music").generate(models).score()
    >>> results.plot.forest().to_dict()["title"]["text"]
    'exact_match: large − small'
    """
    source = Source(results)
    varied = [name for name in ("model", "setting", "perturbation") if len(source.values(name)) > 1]
    chosen = axis or next(iter(varied), "model")
    if chosen in ("model", "setting", "perturbation") and chosen not in varied:
        return empty_chart(f"only one {chosen}, so there is nothing to compare", mode, "differences")
    table = source.results.compare(chosen, base=base, metrics=metric)
    options = {"facet": facet, "sort": sort, "models": source.models, "metrics": source.metrics}
    return forest(table, **options, mode=mode)
