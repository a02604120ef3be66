"""The chart of scores with their intervals."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import polars as pl

from helmframe.results import Results
from helmframe.results.charts import chart
from helmframe.stats.table import AXES
from helmframe.views.charts.frames import (
    Frame,
    Metrics,
    Rows,
    Source,
    as_names,
    axis_title,
    benchmark_note,
    columns_of,
    format_of,
    pooled_notes,
    require_columns,
    rows_of,
    sorted_rows,
    stats_of,
    unit_of,
)
from helmframe.views.charts.marks import faceted, height, points, row_encoding, whiskers
from helmframe.views.charts.theme import NO_SCORES, WIDTH, apply_theme, empty_chart, look

if TYPE_CHECKING:
    import altair as alt

    from helmframe.views.charts.theme import Drawn

# The most metrics listed in a title.
_MOST_NAMED = 3


def scores(
    frame: Frame,
    metric: str | Sequence[str] | None = None,
    *,
    by: str | Sequence[str] | None = None,
    facet: str | None = None,
    sort: str | Sequence[str] | None = None,
    models: Sequence[str] | None = None,
    metrics: Metrics | None = None,
    mode: str = "light",
) -> "Drawn":
    """Draw each score with its interval, a row per group with a point per model; ticks show chance.

    >>> frame = pl.DataFrame({"model": ["a", "b"] * 20, "instance_id": range(40), "score": [1, 0, 1, 1] * 10})
    >>> scores(frame).to_dict()["description"]
    'score; lines: intervals'

    Args:
        frame: `SCORES`, which are aggregated by their axes, or a table of `hf.stats.table`.
        metric: The metrics to draw; default all with the unit of the first.
        by: The columns that rows are split by, and models; scores are averaged over the other axes. By default rows are
            split by all axes.
        facet: A column; each of its values has a chart of its own, with its own rows.
        sort: The order of rows: "value" (the largest first), "-value", "name", or labels in order.
        models: All models, if the frame has only some of them: the sorted index of a model determines its colour.
        metrics: A dict of metric → unit and higher_is_better, as in `manifest["metrics"]`; default as in
            `hf.list_metrics()`.
        mode: "light" or "dark".

    Raises:
        ArgumentError: If the frame or the mode is unsupported.
        UnknownNameError: If the metric is unknown.
    """
    import altair as alt

    from helmframe.views.charts.offline import LayerChart

    columns = as_names(by)
    if facet is not None:
        draw = partial(scores, metric=metric, by=columns, sort=sort, metrics=metrics, mode=mode)
        return faceted(draw, frame, facet, models, mode)  # type: ignore[no-any-return]
    grouped = None if columns is None else list(dict.fromkeys([*columns, *({"model"} & set(columns_of(frame)))]))
    table = stats_of(frame, metrics, metric=metric, by=grouped, pool=grouped is not None)
    require_columns(table, "a table of hf.stats.table", ("value", "ci_low", "ci_high"))
    if table.is_empty():
        return empty_chart(NO_SCORES, mode, "scores")
    table, omitted = _of_one_unit(table, metrics)
    names = table["metric"].unique(maintain_order=True).to_list()
    keys = [*(name for name in AXES if name != "model"), *([] if _is_of_scenario(table) else ["metric"])]
    keys = [*keys, *(name for name in columns or () if name not in (*keys, "model"))]
    rows = rows_of(table, [name for name in keys if name in table.columns], models)
    rows = sorted_rows(rows, sort, "value")
    title = axis_title(names[0], metrics) if len(names) == 1 else unit_of(names[0], metrics) or "score"
    x = alt.X("value:Q", title=title, scale=_scale(rows.data, unit_of(names[0], metrics)))
    number_format = format_of(names[0], metrics)
    tooltip: list[Any] = [alt.Tooltip("label:N"), alt.Tooltip("model:N"), alt.Tooltip("value:Q", format=number_format)]
    tooltip += [alt.Tooltip(f"{name}:Q", format=number_format) for name in ("ci_low", "ci_high")]
    tooltip += [alt.Tooltip(f"{name}:N") for name in ("interval", "n") if name in rows.data.columns]
    layers = [
        *_chance(rows, title, mode),
        whiskers(rows, alt.X("ci_low:Q", title=title), "ci_high", mode),
        points(rows, x, mode, tooltip),
        *_unscored(rows, mode),
    ]
    chart = LayerChart(layer=layers).properties(width=WIDTH, height=height(rows))
    notes = [
        f"lines: intervals{benchmark_note(rows.data)}" + "; ticks: chance" * (len(layers) > 2 and _has_chance(rows))
    ]
    drawn: Drawn = apply_theme(chart, mode, _named(names), [*notes, *pooled_notes(table, None), *omitted, *rows.notes])
    return drawn


def _is_of_scenario(table: pl.DataFrame) -> bool:
    """Return whether each scenario has one metric, so that labels need not name it."""
    columns = ["scenario", "metric"]
    return {*columns} <= {*table.columns} and table.select(columns).n_unique() == table["scenario"].n_unique()


def _named(metrics: Sequence[str]) -> str:
    return ", ".join(metrics) if len(metrics) <= _MOST_NAMED else f"{len(metrics)} metrics"


def _of_one_unit(table: pl.DataFrame, metrics: Metrics | None) -> tuple[pl.DataFrame, list[str]]:
    units = {name: unit_of(name, metrics) for name in table["metric"].unique(maintain_order=True)}
    first = next(iter(units.values()))
    hidden = [name for name, unit in units.items() if unit != first]
    note = [f"not shown (different unit): {', '.join(hidden)}"] if hidden else []
    return table.filter(~pl.col("metric").is_in(hidden)), note


def _scale(data: pl.DataFrame, unit: str) -> "alt.Scale":
    import altair as alt

    ends = pl.concat([data[name].cast(pl.Float64) for name in ("value", "ci_low", "ci_high")]).drop_nulls().to_list()
    if unit == "fraction" and all(0 <= end <= 1 for end in ends):
        return alt.Scale(domain=[0, 1])
    return alt.Scale(zero=min(ends, default=0.0) >= 0, nice=True)


def _has_chance(rows: Rows) -> bool:
    return "chance" in rows.data.columns and rows.data["chance"].is_not_null().any()


def _chance(rows: Rows, title: str, mode: str) -> "list[alt.Chart]":
    import altair as alt

    if not _has_chance(rows):
        return []
    with_chance = rows.data.filter(pl.col("chance").is_not_null())
    position = {**row_encoding(rows, mode), "color": alt.value(look(mode).quiet)}
    ticks = alt.Chart(with_chance).mark_tick(thickness=1.5, size=11)
    return [ticks.encode(**position, x=alt.X("chance:Q", title=title), tooltip=alt.Tooltip("chance:Q", format=".3f"))]


def _unscored(rows: Rows, mode: str) -> "list[alt.Chart]":
    """Return texts for the rows without a value."""
    import altair as alt

    without_value = rows.data.filter(pl.col("value").is_null())
    if without_value.is_empty():
        return []
    reason = pl.col("interval") if "interval" in without_value.columns else pl.lit("no score")
    position = {**row_encoding(rows, mode), "color": alt.value(look(mode).quiet)}
    words = alt.Chart(without_value.with_columns(why=reason)).mark_text(align="left", fontStyle="italic", fontSize=11)
    return [words.encode(**position, x=alt.value(4), text="why:N")]


@chart("scores")
def scores_of_results(
    results: Results,
    metric: str | None = None,
    *,
    by: str | Sequence[str] | None = None,
    facet: str | None = None,
    sort: str | Sequence[str] | None = None,
    mode: str = "light",
) -> "Drawn":
    """Draw scores with their intervals, by all axes with several values; ticks show chance.

    Args:
        results: Results of a run.
        metric: The metric; default the main metric of each scenario.
        by: The columns that rows are split by, and models; scores are averaged over the other axes. By default rows are
            split by all axes.
        facet: A column; each of its values has a chart of its own, with its own rows.
        sort: The order of rows: "value" (the largest first), "-value", "name", or labels in order.
        mode: "light" or "dark".

    >>> import helmframe as hf
    >>> results = hf.scenario("sampler").where(subject="music").generate(hf.models.noisy(0.8)).score()
    >>> results.plot.scores().to_dict()["description"]
    'exact_match; lines: intervals; ticks: chance'
    """
    source = Source(results)
    columns = as_names(by)
    table = source.main(metric, columns if columns is None or "model" in columns else [*columns, "model"], facet)
    options = {"by": columns, "facet": facet, "sort": sort, "models": source.models, "metrics": source.metrics}
    return scores(table, **options, mode=mode)
