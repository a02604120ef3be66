"""Marks that charts share: rows of points with intervals, one colour per model, and grids of coloured cells."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from helmframe._core.safe_text import display_labels
from helmframe.errors import UnknownNameError
from helmframe.views.charts.frames import Frame, Rows, columns_of
from helmframe.views.charts.theme import EMPTY, WIDTH, apply_theme, colour_of, look, shape_of, wrapped

if TYPE_CHECKING:
    import altair as alt

_STEP = 22
_STEP_OF_MODEL = 15
# The most panels of a chart.
MOST_PANELS = 12
_WIDEST = 900
_CELL = (54, 26)
# The width of a letter of a label, and a little more.
_LETTER = 7
# The length of a line of a slanted label.
_SLANTED = 28
# Above this share of the viridis scale, dark text is easier to read than light text.
_LIGHT = 0.55


def row_encoding(rows: Rows, mode: str) -> dict[str, Any]:
    """Return the encoding of rows: position by label, offset within it by model, and colour."""
    import altair as alt

    colour = colour_of(rows.models, rows.shown, mode, legend=rows.legend)
    domain = alt.Scale(domain=rows.labels)
    encoding: dict[str, Any] = {"y": alt.Y("label:N", title=None, scale=domain, axis=_axis()), "color": colour}
    if rows.offset:
        encoding["yOffset"] = alt.YOffset("model:N", sort=rows.shown, scale=alt.Scale(domain=rows.shown))
    return encoding


def points(rows: Rows, x: "alt.X", mode: str, tooltip: list[Any]) -> "alt.Chart":
    """Return a point per row with a value, in the shape of its model."""
    import altair as alt

    with_value = rows.data.filter(pl.col(_name(x)).is_not_null())
    shape = shape_of(rows.models, rows.shown, legend=rows.legend)
    marks = alt.Chart(with_value).mark_point(filled=True, size=70, opacity=1)
    drawn: alt.Chart = marks.encode(**row_encoding(rows, mode), x=x, shape=shape, tooltip=tooltip)
    return drawn


def whiskers(rows: Rows, x: "alt.X", high: str, mode: str, **style: Any) -> "alt.Chart":
    """Return a line per row with both ends."""
    import altair as alt

    with_interval = rows.data.filter(pl.col(_name(x)).is_not_null() & pl.col(high).is_not_null())
    marks = alt.Chart(with_interval).mark_rule(**{"size": 1.5, **style})
    drawn: alt.Chart = marks.encode(**row_encoding(rows, mode), x=x, x2=f"{high}:Q")
    return drawn


def text_column(rows: Rows, column: str, head: str, mode: str, *, after: int = 0) -> list["alt.Chart"]:
    """Return a column of text to the right of the rows with its head, shifted by `after` pixels."""
    import altair as alt

    x = WIDTH + 14 + after
    texts = (
        alt.Chart(rows.data)
        .mark_text(align="left", fontSize=11)
        .encode(
            **{**row_encoding(rows, mode), "color": alt.value(look(mode).words)}, x=alt.value(x), text=f"{column}:N"
        )
    )
    heads = (
        alt.Chart(alt.InlineData(values=[{"head": head}]))
        .mark_text(align="left", baseline="bottom", fontSize=11)
        .encode(x=alt.value(x), y=alt.value(-4), text="head:N", color=alt.value(look(mode).quiet))
    )
    return [texts, heads]


def line_at(value: float, x_title: str, mode: str) -> "alt.Chart":
    """Return a vertical line through all rows."""
    import altair as alt

    data = alt.InlineData(values=[{"at": value}])
    axis = alt.Axis(tickCount=6)
    marks = alt.Chart(data).mark_rule(color=look(mode).quiet)
    drawn: alt.Chart = marks.encode(x=alt.X("at:Q", title=x_title, axis=axis))
    return drawn


def height(rows: Rows) -> "alt.Step":
    """Return the height of the rows: a step per label, or per model within labels."""
    import altair as alt

    return alt.Step(_STEP_OF_MODEL, **{"for": "offset"}) if rows.offset else alt.Step(_STEP, **{"for": "position"})


def faceted(
    draw: Callable[..., Any],
    frame: Frame,
    facet: str,
    models: Sequence[str] | None,
    mode: str,
    *,
    columns: int = 1,
) -> Any:
    """Return a chart of charts: one per value of a column, each with the rows and axes of its value.

    Args:
        draw: The function that draws a frame; it has the parameter `models`.
        frame: The frame of all charts.
        facet: The column.
        models: All models, for their colours.
        mode: "light" or "dark".
        columns: The number of charts side by side.

    Raises:
        UnknownNameError: If the frame has no such column.
    """
    from helmframe.views.charts.offline import ConcatChart

    names = columns_of(frame)
    if facet not in names:
        raise UnknownNameError.among("column of this frame", facet, names)
    lazy = frame.lazy()
    values = lazy.select(pl.col(facet).unique(maintain_order=True)).collect()[facet].to_list()
    if len(values) < 2:
        return draw(frame, models=models)
    present = [] if "model" not in names else lazy.select(pl.col("model").unique().sort()).collect()["model"].to_list()
    pool = list(models) if models is not None else present
    parts = [draw(lazy.filter(pl.col(facet).eq_missing(value)), models=pool) for value in values[:MOST_PANELS]]
    heads = display_labels("–" if value is None else str(value) for value in values[:MOST_PANELS])
    title = next((part.title for part in parts if part.name != EMPTY), parts[0].title)
    notes = title.subtitle if isinstance(title.subtitle, list) else []
    notes = [*notes, f"the first {MOST_PANELS} of {len(values):,} values of {facet}"][
        : len(notes) + (len(values) > MOST_PANELS)
    ]
    legend_at = next((part.config["legend"]["offset"] for part in parts), 18)
    shown = [_without_theme(part, head) for part, head in zip(parts, heads.values(), strict=True)]
    chart = ConcatChart(concat=shown, columns=columns).resolve_scale(color="independent", shape="independent")
    if columns == 1 and all(hasattr(part, "layer") for part in shown):  # rows, whose values are compared
        chart = chart.resolve_scale(x="shared")
    return apply_theme(chart, mode, str(title.text), notes, legend_at=legend_at)


def _without_theme(chart: Any, head: str) -> Any:
    """Return a chart as a part of another, with a head; the theme belongs to the whole."""
    import altair as alt

    part = chart.copy()
    part.config = part.background = part.padding = part.description = part.name = alt.Undefined
    part.title = alt.Title(head, fontSize=12, anchor="start", frame="group")
    return part


def _axis() -> "alt.Axis":
    import altair as alt

    return alt.Axis(ticks=False, domain=False, labelPadding=8)


def _name(x: "alt.X") -> str:
    return str(x.shorthand).partition(":")[0]


def cells(
    data: pl.DataFrame,
    *,
    colour: "alt.Color",
    text: "alt.Text",
    titles: tuple[str, str],
    panels: Sequence[str],
    orders: tuple[Sequence[str], Sequence[str]],
    tooltip: list[Any],
) -> Any:
    """Return a grid of coloured cells with a number in each.

    Args:
        data: The columns x, y, panel, the values, and share, the position of a cell on the colour scale (0 to 1).
        colour: The colour of a cell, on a viridis scale.
        text: The number in a cell.
        titles: The titles of the axes.
        panels: The values of `panel` in order; a single panel has no head.
        orders: The order of the values of x and of y.
        tooltip: The tooltip of a cell.
    """
    import altair as alt

    from helmframe.views.charts.offline import FacetChart, LayerChart

    axis: dict[str, Any] = {"ticks": False, "domain": False, "labelPadding": 6}
    position = {
        "x": alt.X(
            "x:N",
            title=titles[0],
            sort=list(orders[0]),
            axis=alt.Axis(**axis, labelAngle=_angle(orders[0]), labelExpr=wrapped(_SLANTED)),
        ),
        "y": alt.Y("y:N", title=titles[1], sort=list(orders[1]), axis=alt.Axis(**axis)),
    }
    rectangles = alt.Chart().mark_rect().encode(**position, color=colour, tooltip=tooltip)
    on_cell = alt.when(alt.datum.share > _LIGHT).then(alt.value("#111418")).otherwise(alt.value("#FEFEFE"))
    numbers = alt.Chart().mark_text(fontSize=11).encode(**position, text=text, color=on_cell, tooltip=tooltip)
    size = {"width": alt.Step(_CELL[0]), "height": alt.Step(_CELL[1])}
    if len(panels) == 1:
        return LayerChart(data=data, layer=[rectangles, numbers]).properties(**size)
    lines = wrapped(max(16, _CELL[0] * len(orders[0]) // _LETTER))
    header = alt.Header(labelAnchor="start", labelExpr=lines)
    head = alt.Facet("panel:N", title=None, sort=list(panels), header=header)
    view = alt.LayerChart(layer=[rectangles, numbers]).properties(**size)
    columns = max(1, min(len(panels), _WIDEST // (_CELL[0] * len(orders[0]) + 40)))
    rows = -(-len(panels) // columns)
    columns = -(-len(panels) // rows)
    chart = FacetChart(data=data, spec=view, facet=head, columns=columns)
    for name in ("x", "y"):
        if data.select("panel", name).n_unique() < len(panels) * data[name].n_unique():  # empty rows or columns
            resolved: dict[str, Any] = {name: "independent"}
            chart = chart.resolve_scale(**resolved)
    # otherwise axes would be drawn below a missing panel
    return chart if rows * columns == len(panels) else chart.resolve_axis(x="independent", y="independent")


def _angle(labels: Sequence[str]) -> int:
    """Return the angle of labels: slanted if they are wider than their cells."""
    return -40 if max(map(len, labels), default=0) * 6 > _CELL[0] else 0
