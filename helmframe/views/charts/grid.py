"""A grid of coloured cells with a number in each."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    import altair as alt

# The most panels side by side.
MOST_PANELS = 12
_WIDEST = 900
_CELL = (54, 26)
# From this share of it on, viridis is so light that dark words are the readable ones.
_LIGHT = 0.55


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
    """Cells at x and y.

    Args:
        data: columns x, y, panel, what is drawn, and share: where on the scale of colours the cell is, 0 to 1.
        colour: of the cell, on a viridis scale.
        text: the number in it.
        titles: of the axes.
        panels: the values of `panel` in order; one is drawn without a head.
        orders: of the values of x and of y.
        tooltip: what a cell says of itself.
    """
    import altair as alt

    from helmframe.views.charts.offline import FacetChart, LayerChart

    axis: dict[str, Any] = {"ticks": False, "domain": False, "labelPadding": 6}
    position = {
        "x": alt.X("x:N", title=titles[0], sort=list(orders[0]), axis=alt.Axis(**axis, labelAngle=_angle(orders[0]))),
        "y": alt.Y("y:N", title=titles[1], sort=list(orders[1]), axis=alt.Axis(**axis)),
    }
    rectangles = alt.Chart().mark_rect().encode(**position, color=colour, tooltip=tooltip)
    on_cell = alt.when(alt.datum.share > _LIGHT).then(alt.value("#111418")).otherwise(alt.value("#FFFFFF"))
    numbers = alt.Chart().mark_text(fontSize=11).encode(**position, text=text, color=on_cell, tooltip=tooltip)
    size = {"width": alt.Step(_CELL[0]), "height": alt.Step(_CELL[1])}
    if len(panels) == 1:
        return LayerChart(data=data, layer=[rectangles, numbers]).properties(**size)
    head = alt.Facet("panel:N", title=None, sort=list(panels), header=alt.Header(labelAnchor="start"))
    view = alt.LayerChart(layer=[rectangles, numbers]).properties(**size)
    columns = max(1, min(len(panels), _WIDEST // (_CELL[0] * len(orders[0]) + 40)))
    rows = -(-len(panels) // columns)
    columns = -(-len(panels) // rows)
    chart = FacetChart(data=data, spec=view, facet=head, columns=columns)
    # else axes would hang below a panel that is not there
    return chart if rows * columns == len(panels) else chart.resolve_axis(x="independent", y="independent")


def _angle(labels: Sequence[str]) -> int:
    """Labels wider than their cells are slanted."""
    return -40 if max(map(len, labels), default=0) * 6 > _CELL[0] else 0
