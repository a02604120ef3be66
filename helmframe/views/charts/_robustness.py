"""The charts of robustness and of sensitivity: scores over perturbations, and over prompt settings."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import polars as pl

from helmframe._core.specs import Call
from helmframe.errors import ArgumentError, UnknownNameError
from helmframe.perturbations.registry import PERTURBATIONS
from helmframe.results import Results
from helmframe.results.charts import chart
from helmframe.stats.frames import as_scores
from helmframe.stats.robustness import ALL
from helmframe.stats.robustness import robustness as robustness_table
from helmframe.stats.variance import sensitivity as sensitivity_table
from helmframe.views.charts.frames import (
    Frame,
    Metrics,
    Source,
    as_names,
    axes_of,
    axis_title,
    columns_of,
    directions_of,
    format_of,
    fractions_of,
    is_scores,
    pooled_notes,
    require_columns,
    rows_of,
    sorted_rows,
    unit_of,
)
from helmframe.views.charts.marks import faceted, height, row_encoding, text_column
from helmframe.views.charts.theme import WIDTH, apply_theme, empty_chart, look
from helmframe.views.display import spread

if TYPE_CHECKING:
    import altair as alt

    from helmframe.views.charts.theme import Drawn

CHANGES = ("perturbation", "metric", "original", "perturbed", "worst", "k", "change", "change_low", "change_high")

EMPTY = "no perturbations: add .perturb('typos') to the plan"
_LEVELS = {"original": "circle", "perturbed, mean": "diamond", "worst": "triangle-down"}


def robustness(
    frame: Frame,
    metric: str | None = None,
    *,
    by: str | Sequence[str] | None = None,
    facet: str | None = None,
    sort: str | Sequence[str] | None = None,
    models: Sequence[str] | None = None,
    metrics: Metrics | None = None,
    mode: str = "light",
) -> "Drawn":
    """Draw the original score, the mean over variants and the worst variant, with the paired change as text.

    >>> frame = pl.DataFrame({"instance_id": [*range(20)] * 2, "perturbation": ["original"] * 20 + ["typos"] * 20,
    ...                       "score": [1] * 16 + [0] * 4 + [1] * 10 + [0] * 10})
    >>> robustness(frame).to_dict()["title"]["text"]
    'score, original to worst'

    Args:
        frame: `SCORES` under perturbations, which are aggregated, or a table of `hf.stats.robustness`, whose
            rows "all" are drawn.
        metric: The metric to draw; default the first.
        by: As in `scores`.
        facet: As in `scores`.
        sort: As in `scores`; "value" is the change.
        models: As in `scores`.
        metrics: As in `scores`.
        mode: "light" or "dark".

    Raises:
        ArgumentError: If the frame or the mode is unsupported.
        UnknownNameError: If the metric is unknown.
    """
    import altair as alt

    from helmframe.views.charts.offline import LayerChart

    columns = as_names(by)
    if facet is not None:
        draw = partial(robustness, metric=metric, by=columns, sort=sort, metrics=metrics, mode=mode)
        return faceted(draw, frame, facet, models, mode)  # type: ignore[no-any-return]
    table, name = changes_of(frame, metric, metrics, columns)
    table = table.filter(pl.col("perturbation") == ALL)
    if table.is_empty():
        return empty_chart(EMPTY, mode, "robustness")
    keys = list(dict.fromkeys(["scenario", "split", "setting", *(columns or ())]))
    rows = rows_of(table, [column for column in keys if column in table.columns and column != "model"], models)
    rows = sorted_rows(rows, sort, "change")
    ends = [pl.col(column) for column in ("original", "perturbed", "worst")]
    ranges: dict[str, Any] = {
        "low": pl.min_horizontal(ends),
        "high": pl.max_horizontal(ends),
        "change_text": _change_texts(rows.data),
    }
    rows = replace(rows, data=rows.data.with_columns(**ranges))
    position = row_encoding(rows, mode)
    title = axis_title(name, metrics)
    scale = alt.Scale(domain=[0, 1]) if unit_of(name, metrics) == "fraction" else alt.Scale(zero=False, nice=True)
    lines = (
        alt.Chart(rows.data)
        .mark_rule(size=2, opacity=0.5)
        .encode(**position, x=alt.X("low:Q", title=title), x2="high:Q")
    )
    tooltip: list[Any] = [alt.Tooltip(f"{column}:N") for column in ("label", "model", "level")]
    tooltip += [alt.Tooltip("score:Q", format=format_of(name, metrics)), alt.Tooltip("k:Q", title="variants")]
    marks = (
        alt.Chart(_levels(rows.data))
        .mark_point(filled=True, size=70, opacity=1)
        .encode(**position, x=alt.X("score:Q", title=title, scale=scale), shape=_shape(mode), tooltip=tooltip)
    )
    change_texts = text_column(rows, "change_text", "paired change", mode)
    chart = LayerChart(layer=[lines, marks, *change_texts]).properties(width=WIDTH, height=height(rows))
    notes = [
        "paired change: perturbed − original of the same instances",
        "worst: over the original and all variants; more variants make it worse",
    ]
    drawn: Drawn = apply_theme(
        chart,
        mode,
        f"{name}, original to worst",
        [*notes, *pooled_notes(frame, columns and [*columns, "model", "perturbation"]), *rows.notes],
        legend_at=170,
    )
    return drawn


def _levels(data: pl.DataFrame) -> pl.DataFrame:
    """Return one row per score, with its `level`: original, mean or worst."""
    columns = dict(zip(("original", "perturbed", "worst"), _LEVELS, strict=True))
    return (
        data.select("label", "model", "k", *columns)
        .unpivot(list(columns), index=["label", "model", "k"], variable_name="level", value_name="score")
        .with_columns(pl.col("level").replace(columns))
        .drop_nulls("score")
    )


def _shape(mode: str) -> "alt.Shape":
    import altair as alt

    return alt.Shape(
        "level:N",
        title=None,
        scale=alt.Scale(domain=list(_LEVELS), range=list(_LEVELS.values())),
        legend=alt.Legend(
            orient="top", offset=10, symbolFillColor=look(mode).quiet, symbolStrokeWidth=0, symbolSize=70
        ),
    )


def _change_texts(data: pl.DataFrame) -> pl.Series:
    texts = [
        "" if change is None else f"{change:+.3f} {spread(low, high)}".replace("-", "−").strip()
        for change, low, high in data.select("change", "change_low", "change_high").iter_rows()
    ]
    return pl.Series(texts, dtype=pl.String)


@chart("robustness")
def robustness_of_results(
    results: Results,
    metric: str | None = None,
    *,
    by: str | Sequence[str] | None = None,
    facet: str | None = None,
    sort: str | Sequence[str] | None = None,
    mode: str = "light",
) -> "Drawn":
    """Draw original, mean and worst scores over the perturbations that count as robustness, and the paired change.

    Args:
        results: Results of a run.
        metric: The metric; default the main metric.
        by: The columns that rows are split by, and models; scores are averaged over the other axes. By default rows are
            split by all axes.
        facet: A column; each of its values has a chart of its own, with its own rows.
        sort: The order of rows: "value" (the largest change first), "-value", "name", or labels in order.
        mode: "light" or "dark".

    >>> import helmframe as hf
    >>> results = hf.scenario("sampler").where(subject="music").perturb("typos").generate(hf.models.noisy(0.8)).score()
    >>> results.plot.robustness().to_dict()["title"]["text"]
    'exact_match, original to worst'
    """
    source = Source(results)
    name = metric or source.results.main_metrics[0]
    columns = as_names(by)
    grouping, pool = source.grouping(with_model(columns), facet)
    table = source.results.robustness(grouping, metrics=name, pool=pool)
    if table.is_empty() and len(source.values("perturbation")) > 1:
        reason = "no perturbation of this run counts as robustness; hf.list_perturbations() lists those that do"
        return empty_chart(reason, mode, f"{name}, original to worst")
    options = {"by": columns, "facet": facet, "sort": sort, "models": source.models, "metrics": source.metrics}
    return robustness(table, **options, mode=mode)


SPREADS = (
    "model", "metric", "lowest", "lowest_at", "highest", "highest_at", "value", "sd", "sd_low", "sd_high", "n_levels",
)  # fmt: skip


def sensitivity(
    frame: Frame,
    metric: str | None = None,
    *,
    axis: str = "setting",
    models: Sequence[str] | None = None,
    metrics: Metrics | None = None,
    mode: str = "light",
) -> "Drawn":
    """Draw the lowest, mean and highest score over prompt settings, with their standard deviation as text.

    >>> frame = pl.DataFrame({"instance_id": [*range(20)] * 2, "setting": ["a"] * 20 + ["b"] * 20,
    ...                       "score": [1] * 16 + [0] * 4 + [1] * 10 + [0] * 10})
    >>> sensitivity(frame).to_dict()["title"]["text"]
    'score, lowest to highest'

    Args:
        frame: `SCORES` of a grid, or a table of `results.sensitivity` or `hf.stats.sensitivity`.
        metric: The metric to draw; default the first.
        axis: For scores: the column whose values are compared.
        models: As in `scores`.
        metrics: As in `scores`.
        mode: "light" or "dark".

    Raises:
        ArgumentError: If the frame or the mode is unsupported.
        UnknownNameError: If the metric is unknown.
    """
    import altair as alt

    from helmframe.views.charts.offline import LayerChart

    if is_scores(frame):
        frame = as_scores(frame)
        if frame.lazy().select(pl.col(axis).n_unique() < 2).collect().item():
            return empty_chart(f"only one {axis}, so there is nothing to compare", mode, "sensitivity")
        by = [name for name in axes_of(frame) if name not in (axis, "model")]
        directions, fractions = directions_of(frame, metrics), fractions_of(frame, metrics)
        table = sensitivity_table(frame.lazy(), axis, by, higher_is_better=directions, fractions=fractions)
    else:
        table = require_columns(frame, "a table of hf.stats.sensitivity", SPREADS)
    available = table["metric"].unique(maintain_order=True).to_list()
    name = metric or (available[0] if available else "score")
    if available and name not in available:
        raise UnknownNameError.among("metric of this table", name, available)
    # the mean over models isn't a model
    table = table.filter(pl.col("metric") == name, (pl.col("model") != ALL) | (pl.col("model").n_unique() == 1))
    if table.is_empty():
        return empty_chart("there is nothing to compare", mode, "sensitivity")
    keys = [key for key in ("scenario", "split", "setting", "perturbation") if key in table.columns]
    rows = rows_of(table, keys, models, always="model" if table["model"].n_unique() > 1 else "")
    rows = replace(rows, data=rows.data.with_columns(spread_text=_spread_texts(rows.data)))
    position = row_encoding(rows, mode)
    title = axis_title(name, metrics)
    scale = alt.Scale(domain=[0, 1]) if unit_of(name, metrics) == "fraction" else alt.Scale(zero=False, nice=True)
    lines = (
        alt.Chart(rows.data)
        .mark_rule(size=2, opacity=0.5)
        .encode(**position, x=alt.X("lowest:Q", title=title), x2="highest:Q")
    )
    ends = pl.concat(
        rows.data.select("label", "model", score=end, level=pl.lit(end if end != "value" else "mean"), at=where)
        for end, where in (("lowest", "lowest_at"), ("value", pl.lit("")), ("highest", "highest_at"))
    )
    tooltip: list[Any] = [alt.Tooltip(f"{column}:N") for column in ("label", "model", "level", "at")]
    tooltip.append(alt.Tooltip("score:Q", format=format_of(name, metrics)))
    shape = alt.Shape(
        "level:N",
        title=None,
        scale=alt.Scale(domain=["lowest", "mean", "highest"], range=["triangle-left", "circle", "triangle-right"]),
        legend=alt.Legend(
            orient="top", offset=10, symbolFillColor=look(mode).quiet, symbolStrokeWidth=0, symbolSize=70
        ),
    )
    marks = (
        alt.Chart(ends)
        .mark_point(filled=True, size=70, opacity=1)
        .encode(**position, x=alt.X("score:Q", title=title, scale=scale), shape=shape, tooltip=tooltip)
    )
    texts = text_column(rows, "spread_text", "sd over levels", mode)
    chart = LayerChart(layer=[lines, marks, *texts]).properties(width=WIDTH, height=height(rows))
    notes = [
        f"over {max(table['n_levels'].to_list())} levels of the same instances",
        "sd over levels: without the noise of the sample of instances, with its interval",
    ]
    drawn: Drawn = apply_theme(chart, mode, f"{name}, lowest to highest", [*notes, *rows.notes], legend_at=130)
    return drawn


def _spread_texts(data: pl.DataFrame) -> pl.Series:
    texts = [
        "" if sd is None else f"{sd:.3f} {spread(low, high)}".strip()
        for sd, low, high in data.select("sd", "sd_low", "sd_high").iter_rows()
    ]
    return pl.Series(texts, dtype=pl.String)


@chart("sensitivity")
def sensitivity_of_results(
    results: Results, axis: str = "setting", *, metric: str | None = None, mode: str = "light"
) -> "Drawn":
    """Draw the lowest, mean and highest score of each model over prompt settings, as in `results.sensitivity`.

    Args:
        results: Results of a run.
        axis: "setting" or "perturbation".
        metric: The metric; default the main metric.
        mode: "light" or "dark".

    >>> import helmframe as hf
    >>> plan = hf.scenario("sampler").where(subject="music").adapt(shots=[0, 2])
    >>> plan.generate(hf.models.noisy(0.8)).score().plot.sensitivity().to_dict()["title"]["text"]
    'exact_match, lowest to highest'
    """
    source = Source(results)
    if len(source.values(axis)) < 2:
        return empty_chart(f"only one {axis}, so there is nothing to compare", mode, "sensitivity")
    table = source.results.sensitivity(axis, metrics=metric)
    return sensitivity(table, models=source.models, metrics=source.metrics, mode=mode)


def with_model(columns: Sequence[str] | None) -> list[str] | None:
    """Return the columns of a table by perturbation, with the model, which determines colours; None: all axes."""
    if columns is None:
        return None
    return [name for name in dict.fromkeys([*columns, "model"]) if name != "perturbation"]


def changes_of(
    frame: Frame, metric: str | None, metrics: Metrics | None, columns: Sequence[str] | None = None
) -> tuple[pl.DataFrame, str]:
    """Return the table of `hf.stats.robustness` for one metric, and the metric's name.

    Raises:
        ArgumentError: If the frame is neither such a table nor scores.
        UnknownNameError: If the metric is unknown.
    """
    if is_scores(frame):
        frame = as_scores(frame)
        by = [name for name in axes_of(frame) if name != "perturbation"]
        if columns is not None:
            by = [name for name in with_model(columns) or () if name in columns_of(frame)]
        directions, fractions = directions_of(frame, metrics), fractions_of(frame, metrics) or ()
        table = robustness_table(frame, by, higher_is_better=directions, fractions=fractions, placebo=_placebo(frame))
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
