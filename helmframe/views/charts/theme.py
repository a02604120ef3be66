"""The theme of charts: colours and shapes of models, light and dark modes, and the empty chart with its reason.

The first four colours are Okabe and Ito's. The others are distinguishable from them and from each other under
protanopia, deuteranopia and tritanopia. All have a contrast of at least 3:1 with their background.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import TYPE_CHECKING, Any, TypeAlias

from helmframe._core.safe_text import show_invisible
from helmframe.errors import ArgumentError

if TYPE_CHECKING:
    import altair as alt

    Drawn: TypeAlias = "alt.Chart | alt.LayerChart | alt.FacetChart | alt.ConcatChart"

# The name of an empty chart in its specification.
EMPTY = "nothing"
NO_SCORES = "no scores: nothing was run or scored yet"
# The width of a view in pixels.
WIDTH = 380
# metric-compatible fonts, so that the text of an image fits on other machines too
_FONT = "Arial, Helvetica, 'Liberation Sans', sans-serif"
# Longer labels of a legend have two lines.
_LEGEND_LINE = 42
# The length of the longest label.
_LONGEST = 80


@dataclass(frozen=True)
class Look:
    """The colours of one mode: page, text, secondary text, lines, and models in order."""

    page: str
    words: str
    quiet: str
    lines: str
    models: tuple[str, ...]


LOOKS = {
    "light": Look(
        page="#FFFFFF",
        words="#1F2328",
        quiet="#59636E",
        lines="#D8DEE4",
        models=("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#24292F", "#702802", "#743AD9", "#1C3A94"),
    ),
    "dark": Look(
        page="#111418",
        words="#E6EDF3",
        quiet="#9DA7B3",
        lines="#353C45",
        models=("#56B4E9", "#D55E00", "#009E73", "#CC79A7", "#E6E6E6", "#E69F00", "#6863FA", "#F0E442"),
    ),
}
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left")


def look(mode: str) -> Look:
    """Return the colours of a mode.

    Raises:
        ArgumentError: If the mode is neither "light" nor "dark".
    """
    if mode not in LOOKS:
        raise ArgumentError.unknown_value(f"mode={mode!r}", mode, LOOKS)
    return LOOKS[mode]


def in_dark(svg: str) -> str:
    """Return the SVG of a chart in light mode with the colours of dark mode."""
    light, dark = (
        (each.page, each.words, each.quiet, each.lines, *each.models) for each in (LOOKS["light"], LOOKS["dark"])
    )
    colours = dict(zip(light, dark, strict=True))
    return _COLOUR.sub(lambda match: colours.get(match[0].upper(), match[0]), svg)


# The value of an attribute; text contains no plain quotes.
_COLOUR = re.compile('(?<=")#[0-9A-Fa-f]{6}(?=")')


def colour_of(models: Sequence[str], shown: Sequence[str], mode: str, *, legend: bool = True) -> "alt.Color":
    """Return the colours of `shown`, by index in `models`; colours repeat after eight models."""
    import altair as alt

    colours = look(mode).models
    indices = [models.index(model) for model in shown]
    scale = alt.Scale(domain=list(shown), range=[colours[index % len(colours)] for index in indices])
    return alt.Color("model:N", title="model", scale=scale, legend=_legend() if legend else None)


def shape_of(models: Sequence[str], shown: Sequence[str], *, legend: bool = True) -> "alt.Shape":
    """Return the shapes of `shown`, so that models differ not only in colour; the pair repeats after 64 models."""
    import altair as alt

    indices = [models.index(model) for model in shown]
    shapes = [SHAPES[(index + index // len(SHAPES)) % len(SHAPES)] for index in indices]
    scale = alt.Scale(domain=list(shown), range=shapes)
    return alt.Shape("model:N", title="model", scale=scale, legend=_legend() if legend else None)


def apply_theme(chart: Any, mode: str, title: str, notes: Sequence[str] = (), *, legend_at: int = 18) -> Any:
    """Return the chart with its title, its notes and the theme of the mode, without changing global themes.

    `legend_at` is the distance of the legend from the view, which leaves space for text columns.
    """
    import altair as alt

    colours = look(mode)
    quiet = {"labelColor": colours.quiet, "titleColor": colours.words, "labelFont": _FONT, "titleFont": _FONT}
    lines = {"gridColor": colours.lines, "domainColor": colours.lines, "tickColor": colours.lines}
    title, notes = show_invisible(title), [show_invisible(note) for note in notes]
    head = alt.Title(title, subtitle=notes) if notes else alt.Title(title)
    return chart.properties(title=head, description="; ".join([title, *notes])).configure(
        background=colours.page,
        font=_FONT,
        padding=12,
        view={"stroke": None},
        axis={
            **quiet,
            **lines,
            "titleFontWeight": "normal",
            "titlePadding": 8,
            "labelLimit": 0,
        },
        axisX={"labelFlush": False},
        axisBand={"labelColor": colours.words},
        header={**quiet, "labelColor": colours.words, "labelLimit": 0},
        legend={
            **quiet,
            "labelColor": colours.words,
            "labelLimit": 0,
            "titleFontWeight": "normal",
            "symbolOpacity": 1,
            "offset": legend_at,
        },
        title={
            "anchor": "start",
            "frame": "group",
            "offset": 12,
            "color": colours.words,
            "font": _FONT,
            "fontWeight": 600,
            "subtitleColor": colours.quiet,
            "subtitleFont": _FONT,
            "subtitlePadding": 5,
        },
        text={"color": colours.words, "font": _FONT},
    )


def empty_chart(reason: str, mode: str, title: str) -> "Drawn":
    """Return an empty chart that shows the reason."""
    import altair as alt

    from helmframe.views.charts.offline import Chart

    lines = wrap(reason, 64)
    words = Chart(alt.InlineData(values=[{"why": "\n".join(lines)}])).mark_text(
        align="left", baseline="top", fontStyle="italic", fontSize=12, lineBreak="\n"
    )
    where = {"x": alt.value(0), "y": alt.value(0), "color": alt.value(look(mode).quiet)}
    drawn = words.encode(text="why:N", **where).properties(name=EMPTY, width=WIDTH, height=16 * len(lines))
    chart: Drawn = apply_theme(drawn, mode, title)
    return chart


def _legend() -> "alt.Legend":
    import altair as alt

    return alt.Legend(columns=1, symbolLimit=0, labelExpr=wrapped(_LEGEND_LINE))


def wrapped(length: int) -> str:
    """Return the Vega expression of a label in lines of this length; labels have at most 80 characters."""
    lines = ", ".join(f"slice(datum.label, {start}, {start + length})" for start in range(0, _LONGEST, length))
    return f"length(datum.label) > {length} ? slice([{lines}], 0, ceil(length(datum.label) / {length})) : datum.label"
