"""The Pareto chart: one metric over another, with the models that no other model beats in both."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import polars as pl

from helmframe.errors import ArgumentError, UnknownNameError
from helmframe.results import Results
from helmframe.results.charts import chart
from helmframe.views.charts.frames import (
    TAKEN,
    Frame,
    Metrics,
    Source,
    axis_title,
    benchmark_note,
    better_when_higher,
    columns_of,
    format_of,
    is_scores,
    original_rows,
    rows_of,
    stats_of,
    unit_of,
)
from helmframe.views.charts.marks import faceted
from helmframe.views.charts.theme import WIDTH, apply_theme, colour_of, empty_chart, look, shape_of

if TYPE_CHECKING:
    import altair as alt

    from helmframe.views.charts.theme import Drawn

_HEIGHT = 300
# Pixels of a point's half, of a letter of a label, and the size of labels.
_POINT, _LETTER, _LABEL_SIZE = 6.0, 5.6, 10
# The ends of a box in pixels, from the lower left corner of the view: left, low, right, high.
_Box: TypeAlias = tuple[float, float, float, float]


class _Side(NamedTuple):
    """An axis: its lowest value, the values per pixel, and whether both are logarithms."""

    low: float
    step: float
    is_log: bool


# An axis is logarithmic if its largest value exceeds its smallest by more than this factor.
_FAR_APART = 20


def pareto(
    frame: Frame,
    x: str,
    y: str,
    *,
    facet: str | None = None,
    models: Sequence[str] | None = None,
    metrics: Metrics | None = None,
    mode: str = "light",
) -> "Drawn":
    """Draw a point per model (and setting) for two metrics, with both intervals, and the Pareto frontier.

    >>> frame = pl.DataFrame({"model": ["a", "b"] * 2, "metric": ["latency"] * 2 + ["accuracy"] * 2,
    ...                       "value": [0.5, 2.0, 0.6, 0.8]})
    >>> frame = frame.with_columns(ci_low=pl.col("value") * 0.9, ci_high=pl.col("value") * 1.1)
    >>> pareto(frame, "latency", "accuracy").to_dict()["title"]["text"]
    'accuracy over latency'

    Args:
        frame: `SCORES` of both metrics, whose original inputs are aggregated by model and setting; or a table of
            `hf.stats.table` with both.
        x: A metric, the cost.
        y: A metric, the gain.
        facet: As in `scores`.
        models: As in `scores`.
        metrics: As in `scores`.
        mode: "light" or "dark".

    Raises:
        ArgumentError: If the frame or the mode is unsupported.
        UnknownNameError: If the metric is unknown.
    """
    import altair as alt

    from helmframe.views.charts.offline import LayerChart

    if facet is not None:
        draw = partial(pareto, x=x, y=y, metrics=metrics, mode=mode)
        return faceted(draw, original_rows(frame), facet, models, mode, columns=2)  # type: ignore[no-any-return]
    columns = columns_of(frame)
    by = [name for name in ("model", "setting") if name in columns]
    table = original_rows(
        stats_of(original_rows(frame), metrics, by=by) if is_scores(frame) else stats_of(frame, metrics)
    )
    table = table.lazy().collect()
    available = table["metric"].unique().sort().to_list()
    for name in (x, y):
        if name not in available:
            raise UnknownNameError.among("metric of these scores", name, available)
    pairs = _pairs(table, by, x, y)
    if pairs.is_empty():
        missing = next((name for name in (x, y) if table.filter(metric=name)["value"].count() == 0), x)
        return empty_chart(f"no model has both metrics: {missing} is missing", mode, f"{y} over {x}")
    up = {name: better_when_higher(name, metrics) is not False for name in (x, y)}
    rows = rows_of(pairs.with_columns(best=_undominated(pairs, up[x], up[y])), ["setting"], models)
    named = rows.shown != [""]
    colour = colour_of(rows.models, rows.shown, mode, legend=named)
    shape = shape_of(rows.models, rows.shown, legend=named)
    axes: dict[str, Any] = {
        axis: channel(
            f"{axis}:Q",
            title=axis_title(name, metrics),
            scale=_scale(rows.data, axis, fraction=unit_of(name, metrics) == "fraction"),
            axis=alt.Axis(tickCount=5),
        )
        for axis, name, channel in (("x", x, alt.X), ("y", y, alt.Y))
    }
    base = alt.Chart(rows.data)
    frontier = (
        alt.Chart(rows.data.filter("best").sort("x"))
        .mark_line(interpolate="step-after" if up[y] != up[x] else "step-before", size=1.5, strokeDash=[4, 3])
        .encode(**axes, color=alt.value(look(mode).quiet))
    )
    flat = alt.Chart(rows.data.drop_nulls(["x_low", "x_high"])).mark_rule(size=1.2)
    upright = alt.Chart(rows.data.drop_nulls(["y_low", "y_high"])).mark_rule(size=1.2)
    tooltip = _tooltip(x, y, metrics)
    layers = [
        frontier,
        flat.encode(x=alt.X("x_low:Q"), x2="x_high:Q", y=axes["y"], color=colour),
        upright.encode(y=alt.Y("y_low:Q"), y2="y_high:Q", x=axes["x"], color=colour),
        base.mark_point(filled=True, size=90, opacity=1).encode(**axes, color=colour, shape=shape, tooltip=tooltip),
        *_named(rows.data, axes, mode),
    ]
    chart = LayerChart(layer=layers).properties(width=WIDTH, height=_HEIGHT)
    notes = ["dashed: Pareto frontier; lines: intervals" + benchmark_note(table)]
    drawn: Drawn = apply_theme(chart, mode, f"{y} over {x}", [*notes, *rows.notes])
    return drawn


def _tooltip(x: str, y: str, metrics: Metrics | None) -> list[Any]:
    import altair as alt

    fields: list[Any] = [alt.Tooltip("model:N"), alt.Tooltip("label:N")]
    for axis, name in (("x", x), ("y", y)):
        number_format = format_of(name, metrics)
        fields += [alt.Tooltip(f"{axis}:Q", title=name, format=number_format)]
        fields += [
            alt.Tooltip(f"{axis}_{end}:Q", title=f"{name}, {end}", format=number_format) for end in ("low", "high")
        ]
    return fields


def _pairs(table: pl.DataFrame, by: Sequence[str], x: str, y: str) -> pl.DataFrame:
    """Return one row per model and setting: x and y with their intervals.

    Raises:
        ArgumentError: If a model and setting has several values.
    """
    keys = list(by) or ["model"]
    table = table if "model" in table.columns else table.with_columns(model=pl.lit(""))
    ends = {"value": "", "ci_low": "_low", "ci_high": "_high"}
    sides = [
        table.filter(metric=name).select(*keys, *(pl.col(column).alias(axis + end) for column, end in ends.items()))
        for axis, name in (("x", x), ("y", y))
    ]
    for side in sides:
        if side.select(keys).is_duplicated().any():
            raise ArgumentError(
                "pareto(): a model has several values of a metric. Aggregate by model: hf.stats.table(scores, "
                "by='model')."
            )
    joined = sides[0].join(sides[1], on=keys, how="inner", nulls_equal=True, maintain_order="left")
    return joined.drop_nulls(["x", "y"])


def _undominated(pairs: pl.DataFrame, x_up: bool, y_up: bool) -> pl.Series:
    """Return whether no other row is at least as good in both and better in one, per row."""
    points = [(x if x_up else -x, y if y_up else -y) for x, y in pairs.select("x", "y").iter_rows()]
    return pl.Series([not any(a >= x and b >= y and (a, b) != (x, y) for a, b in points) for x, y in points])


def _scale(data: pl.DataFrame, axis: str, *, fraction: bool) -> "alt.Scale":
    import altair as alt

    ends = pl.concat([data[name] for name in (axis, f"{axis}_low", f"{axis}_high")]).drop_nulls()
    low, high = float(ends.min()), float(ends.max())  # type: ignore[arg-type]
    if low > 0 and high / low > _FAR_APART:
        return alt.Scale(type="log", domain=[low / 1.5, high * 1.5], nice=False)
    pad = 0.06 * (high - low or abs(high) or 1.0)
    # within the possible values
    first = max(0.0, low - pad) if low >= 0 else low - pad
    last = min(1.0, high + pad) if fraction else high + pad
    return alt.Scale(domain=[first, last], zero=False, nice=False)


def _named(data: pl.DataFrame, axes: dict[str, Any], mode: str) -> "list[alt.Chart]":
    """Return the labels of settings next to their points; colours identify models."""
    import altair as alt

    if "setting" not in data.columns or data["setting"].n_unique() < 2:
        return []
    words = alt.Chart(_label_places(data, axes)).mark_text(align="left", baseline="middle", fontSize=_LABEL_SIZE)
    position = {
        axis: channel(f"label_{axis}:Q", **{name: axes[axis][name] for name in ("title", "scale", "axis")})
        for axis, channel in (("x", alt.X), ("y", alt.Y))
    }
    return [words.encode(**position, text="label:N", color=alt.value(look(mode).quiet))]


def _label_places(data: pl.DataFrame, axes: dict[str, Any]) -> pl.DataFrame:
    """Return the rows with a place for their label, in the units of the axes: near its point, and free of others.

    A label without a free place is not drawn; tooltips have it too.
    """
    sides: dict[str, _Side] = {}
    for axis, length in (("x", WIDTH), ("y", _HEIGHT)):
        scale = axes[axis]["scale"].to_dict()
        is_log = scale.get("type") == "log"
        low, high = (math.log(end) if is_log else float(end) for end in scale["domain"])
        sides[axis] = _Side(low, (high - low) / length, is_log)
    pixels = [(_pixel(x, sides["x"]), _pixel(y, sides["y"])) for x, y in data.select("x", "y").iter_rows()]
    taken = [(x - _POINT, y - _POINT, x + _POINT, y + _POINT) for x, y in pixels]
    crossed = _interval_boxes(data, sides)
    places: list[tuple[float, float] | None] = []
    for (x, y), label in zip(pixels, data["label"], strict=True):
        width = _LETTER * len(label)
        starts = [(x + _POINT + 2, y), (x - _POINT - 2 - width, y), (x - width / 2, y + 14), (x - width / 2, y - 14)]
        starts += [(x + dx, y + dy) for dy in (12, -12, 24, -24, 36, -36) for dx in (_POINT + 2, -_POINT - 2 - width)]
        boxes = [(left, middle - 6, left + width, middle + 6) for left, middle in starts]
        free = next((box for avoided in ([*taken, *crossed], taken) for box in boxes if _is_free(box, avoided)), None)
        places.append(None if free is None else (free[0], (free[1] + free[3]) / 2))
        taken += [] if free is None else [free]
    columns: dict[str, list[float | None]] = {}
    for index, (axis, (low, step, is_log)) in enumerate(sides.items()):
        values = [None if position is None else low + step * position[index] for position in places]
        columns[f"label_{axis}"] = [math.exp(value) if is_log and value is not None else value for value in values]
    return data.with_columns(
        **{name: pl.Series(values, dtype=pl.Float64) for name, values in columns.items()}
    ).drop_nulls(["label_x", "label_y"])


def _pixel(value: float, side: _Side) -> float:
    return ((math.log(value) if side.is_log else value) - side.low) / side.step


def _interval_boxes(data: pl.DataFrame, sides: Mapping[str, _Side]) -> list[_Box]:
    """Return the boxes of the lines of intervals."""
    boxes = []
    for row in data.iter_rows(named=True):
        x, y = (_pixel(row[axis], side) for axis, side in sides.items())
        for axis, side in sides.items():
            ends = [row[f"{axis}_low"], row[f"{axis}_high"]]
            if None not in ends and not (side.is_log and min(ends) <= 0):
                first, last = (_pixel(end, side) for end in ends)
                boxes.append((first, y - 1, last, y + 1) if axis == "x" else (x - 1, first, x + 1, last))
    return boxes


def _is_free(box: _Box, others: Sequence[_Box]) -> bool:
    left, low, right, high = box
    if left < 0 or right > WIDTH or low < 0 or high > _HEIGHT:
        return False
    return not any(left < other[2] and other[0] < right and low < other[3] and other[1] < high for other in others)


@chart("pareto")
def pareto_of_results(
    results: Results, x: str = "latency", y: str = "score", *, facet: str | None = None, mode: str = "light"
) -> "Drawn":
    """Draw a point per model (and setting): gain over cost.

    Args:
        results: Results of a run.
        x: latency (s), prompt_tokens, output_tokens, or a scored metric such as `cost(prices=…)`.
        y: A metric; "score" is the main metric.
        facet: "scenario" or "setting"; each of its values has a chart of its own.
        mode: "light" or "dark".

    >>> import helmframe as hf
    >>> models = {"small": hf.models.noisy(0.5), "large": hf.models.noisy(0.8, seed=1)}
    >>> results = hf.scenario("sampler").where(subject="music").generate(models).score()
    >>> results.plot.pareto().to_dict()["title"]["text"]
    'exact_match over latency'
    """
    source = Source(results)
    mains = source.results.main_metrics
    if y == "score" and len(mains) > 1:
        return empty_chart(
            f"the scenarios have several main metrics; write y={mains[0]!r} or another", mode, "trade-offs"
        )
    gained = mains[0] if y == "score" else y
    for name in (x, gained):
        if name not in (*source.results.metric_names, *TAKEN):
            raise UnknownNameError.among(
                "metric or cost of these results", name, [*source.results.metric_names, *TAKEN]
            )
    axes = ("setting",) if facet is None else ("setting", facet)
    table = pl.concat([source.per_model(name, axes) for name in (x, gained)], how="diagonal_relaxed")
    return pareto(table, x, gained, facet=facet, models=source.models, metrics=source.metrics, mode=mode)
