"""The heatmap of scores over two columns."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from helmframe._core.safe_text import display_labels
from helmframe._schema import ORIGINAL
from helmframe.errors import UnknownNameError
from helmframe.results import Results
from helmframe.results.charts import chart
from helmframe.stats.table import AXES
from helmframe.views.charts.frames import (
    Frame,
    Metrics,
    Source,
    axes_of,
    axis_title,
    format_of,
    is_scores,
    pooled_notes,
    sorted_labels,
    stats_of,
    unit_of,
)
from helmframe.views.charts.marks import MOST_PANELS, cells
from helmframe.views.charts.theme import NO_SCORES, apply_theme, empty_chart

if TYPE_CHECKING:
    from helmframe.views.charts.theme import Drawn

# The most values of an axis.
MOST = 60


def heatmap(
    frame: Frame,
    x: str,
    y: str,
    metric: str | None = None,
    *,
    facet: str | None = None,
    sort: str | None = None,
    metrics: Metrics | None = None,
    mode: str = "light",
) -> "Drawn":
    """Draw the score of each pair of values of two columns; one panel per value of the other columns.

    Only original inputs count, unless x or y is the perturbation. An axis shows at most 60 values.

    >>> frame = pl.DataFrame({"model": ["a", "b"] * 20, "subset": ["x"] * 20 + ["y"] * 20, "instance_id": range(40),
    ...                       "score": [1, 0, 1, 1] * 10})
    >>> heatmap(frame, "subset", "model").to_dict()["title"]["text"]
    'score'

    Args:
        frame: `SCORES`, which are aggregated, or a table of `hf.stats.table`.
        x: A column: scenario, model, setting, perturbation, subset, or a column of the scenario.
        y: Another column.
        metric: The metric to draw; default the first.
        facet: A column with a panel per value; the others are averaged over. By default every other axis with several
            values makes panels.
        sort: The order of both axes: "value" (the largest mean first), "-value" or "name".
        metrics: As in `scores`.
        mode: "light" or "dark".

    Raises:
        ArgumentError: If the frame or the mode is unsupported.
        UnknownNameError: If a column or the metric is unknown.
    """
    import altair as alt

    panel_axes = [name for name in axes_of(frame) if name not in (x, y)]
    if facet is not None:
        panel_axes = [facet, *(["perturbation"] if "perturbation" in panel_axes and facet != "perturbation" else [])]
    grouped = [x, y, *panel_axes] if is_scores(frame) else None
    table = stats_of(frame, metrics, by=grouped, pool=grouped is not None and facet is not None)
    for name in (x, y, *([facet] if facet is not None else [])):
        if name not in table.columns:
            raise UnknownNameError.among("column of this table", name, table.columns)
    name = metric or next(iter(table["metric"]), "score")
    if not table.is_empty():
        table = stats_of(table, metrics, metric=name)
    if "perturbation" in panel_axes and facet != "perturbation":
        table = table.filter(pl.col("perturbation") == ORIGINAL)
    if table.is_empty():
        return empty_chart(NO_SCORES, mode, axis_title(name, metrics))
    table, orders, panels, notes = _prepared(
        table, x, y, [column for column in panel_axes if column != "perturbation" or facet == column]
    )
    if sort is not None:
        orders = tuple(
            sorted_labels(table, axis, order, sort, "value") for axis, order in zip("xy", orders, strict=True)
        )  # type: ignore[assignment]
    unit = unit_of(name, metrics)
    values = table["value"].cast(pl.Float64).drop_nulls().to_list() or [0.0]
    low, high = (0.0, 1.0) if unit == "fraction" else (min(values), max(values))
    tooltip: list[Any] = [alt.Tooltip("x:N", title=x), alt.Tooltip("y:N", title=y)]
    numbers = [column for column in ("value", "ci_low", "ci_high") if column in table.columns]
    tooltip += [alt.Tooltip(f"{column}:Q", format=format_of(name, metrics)) for column in numbers]
    tooltip += [alt.Tooltip(f"{column}:N") for column in ("interval", "n") if column in table.columns]
    chart = cells(
        table.with_columns(share=(pl.col("value") - low) / ((high - low) or 1.0)),
        colour=alt.Color("value:Q", title=unit or "score", scale=alt.Scale(scheme="viridis", domain=[low, high])),
        text=alt.Text("value:Q", format=".2f" if unit in ("fraction", "") else ".3~g"),
        titles=(x, y),
        orders=orders,
        panels=panels,
        tooltip=tooltip,
    )
    drawn: Drawn = apply_theme(chart, mode, axis_title(name, metrics), [*notes, *pooled_notes(table, None)])
    return drawn


def _prepared(
    table: pl.DataFrame, x: str, y: str, others: Sequence[str]
) -> tuple[pl.DataFrame, tuple[list[str], list[str]], list[str], list[str]]:
    """Return the cells with labels as x, y and panel; the order of x and y; the panels; notes on omissions."""
    text = {"x": x, "y": y}
    table = table.with_columns(**{to: pl.col(name).cast(pl.String).fill_null("–") for to, name in text.items()})
    varied = [name for name in others if table[name].n_unique() > 1]
    panel = pl.concat_str([pl.col(name) for name in varied], separator=" · ") if varied else pl.lit("")
    table = table.with_columns(panel=panel)
    notes, labels = [], {}
    for to, limit, name in (("x", MOST, x), ("y", MOST, y), ("panel", MOST_PANELS, " × ".join(varied))):
        values = table[to].unique(maintain_order=True).to_list()
        labels[to] = display_labels(values[:limit])
        notes += [f"the first {limit} of {len(values):,} values of {name}"] if len(values) > limit else []
    table = table.filter(pl.col(to).is_in(list(names)) for to, names in labels.items())
    table = table.with_columns(pl.col(to).replace(names) for to, names in labels.items())
    first, second, panels = (list(names.values()) for names in labels.values())
    return table, (first, second), panels, notes


@chart("heatmap")
def heatmap_of_results(
    results: Results,
    x: str,
    y: str,
    metric: str | None = None,
    *,
    facet: str | None = None,
    sort: str | None = None,
    mode: str = "light",
) -> "Drawn":
    """Draw the score of each pair of values of two columns, such as "model", "perturbation" or a scenario's column.

    Args:
        results: Results of a run.
        x: A column.
        y: Another column.
        metric: The metric; default the main metric.
        facet: A column with a panel per value; the others are averaged over. By default every other axis with several
            values makes panels.
        sort: The order of both axes: "value" (the largest mean first), "-value" or "name".
        mode: "light" or "dark".

    >>> import helmframe as hf
    >>> plan = hf.scenario("sampler").where(subject=["music", "biology"]).generate(hf.models.noisy(0.8))
    >>> results = plan.score()
    >>> results.plot.heatmap("subset", "model").to_dict()["title"]["text"]
    'exact_match (fraction, higher is better)'
    """
    source = Source(results)
    name = metric or source.results.main_metrics[0]
    wanted = [x, y, *(AXES if facet is None else [facet, "perturbation"])]
    table = source.results.table(list(dict.fromkeys(wanted)), metrics=name, pool=facet is not None)
    return heatmap(table, x, y, facet=facet, sort=sort, metrics=source.metrics, mode=mode)
