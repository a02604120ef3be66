"""HTML pages from the templates in `pages/`, and the charts embedded in them as SVG.

Texts are escaped and cut, and invisible characters are replaced. Pages contain no scripts: the content-security policy
allows one style sheet, by its hash, and embedded images.
"""

import re
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from helmframe._core.safe_text import show_invisible
from helmframe.errors import CapabilityError, HelmframeError
from helmframe.views.charts.theme import EMPTY, in_dark

if TYPE_CHECKING:
    from jinja2 import Environment

    from helmframe.views.charts.theme import Drawn

LONGEST = 2_000  # characters of one text
LONGEST_IN_TABLE = 500
_SUMMARY = 100  # of an input in the summary of a folded instance
LONGEST_WHOLE = 200_000  # of a manifest
MOST_ROWS = 200
MOST_IMAGES = 8  # of one instance
LARGEST_IMAGE = 64_000  # bytes of a thumbnail
_PNG = b"\x89PNG\r\n\x1a\n"
_PAGES = Path(__file__).with_name("pages")


@dataclass(frozen=True)
class Grid:
    """A table on a page; `more` is the number of rows that are not shown."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    more: int = 0

    @classmethod
    def of(cls, cells: tuple[list[str], list[list[str]]], notes: Sequence[str] = ()) -> "Grid":
        """Return a grid of the first rows, with notes."""
        heads, rows = cells
        return cls(heads, rows[:MOST_ROWS], notes, max(0, len(rows) - MOST_ROWS))


def page(template: str, **values: Any) -> str:
    """Render a template of `pages/`; pass `policy` if no HTTP header sets it.

    Raises:
        CapabilityError: jinja2 is not installed.
    """
    return _environment().get_template(template).render(**values)


def policy(*more: str) -> str:
    """Return the content-security policy of a page, with further directives; by default forms are disabled."""
    style = b64encode(sha256(_style().encode()).digest()).decode()
    rules = ("default-src 'none'", f"style-src 'sha256-{style}'", "img-src data:", "base-uri 'none'")
    return "; ".join([*rules, *(more or ("form-action 'none'",))])


def display_text(value: Any, most: int = LONGEST) -> Any:
    """Return a text for a page: cut to `most` characters, invisible characters replaced."""
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    n_hidden = len(value) - most
    return show_invisible(value) if n_hidden <= 0 else f"{show_invisible(value[:most])}… ({n_hidden:,} more characters)"


@cache
def _style() -> str:
    return (_PAGES / "page.css").read_text(encoding="utf-8")


@cache
def _environment() -> "Environment":
    try:
        import jinja2
        from markupsafe import Markup, escape
    except ImportError:
        raise CapabilityError("HTML pages require the package jinja2: pip install 'helmframe[report]'") from None
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_PAGES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=display_text,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["style"] = Markup(_style())  # noqa: S704 - our own file
    environment.filters["start"] = lambda text: escape(display_text(text, LONGEST_IN_TABLE))
    environment.filters["first_words"] = lambda text: escape(display_text(" ".join(text.split())[:_SUMMARY]))
    environment.filters["whole"] = lambda text: escape(display_text(text, LONGEST_WHOLE))
    # a value that a form sends back must stay unchanged
    environment.filters["exact"] = escape
    environment.tests["number_like"] = lambda cell: bool(re.match(r"[\[<+−-]?\d", cell))
    return environment


@dataclass(frozen=True)
class Picture:
    """A chart as two data: URLs, with a description."""

    light: "Embedded"
    dark: "Embedded"
    description: str


class Embedded(str):
    """A data: URL, which needs no escaping and is never cut."""

    __slots__ = ()

    def __html__(self) -> str:
        return str(self)


@dataclass(frozen=True)
class Thumbnail:
    """A small picture of an image as a data: URL; None if the results have none. `label` describes the image."""

    digest: str
    src: Embedded | None
    label: str


def thumbnails(images: pl.LazyFrame, digests: Sequence[str]) -> list[Thumbnail]:
    """Return the thumbnails of the first images with these hashes.

    Only small PNGs that the run encoded are embedded, never the image itself.

    Args:
        images: `IMAGES`.
        digests: The sha256 of each image.
    """
    shown = list(digests[:MOST_IMAGES])
    if not shown:
        return []
    found = images.filter(pl.col("sha256").is_in(shown)).unique("sha256").collect()
    rows = {row["sha256"]: row for row in found.to_dicts()}
    return [_thumbnail(digest, rows.get(digest)) for digest in shown]


def _thumbnail(digest: str, row: Mapping[str, Any] | None) -> Thumbnail:
    label = f"image {digest[:12]}"
    if row is None:
        return Thumbnail(digest, None, label)
    if row["width"] is not None:
        label += f", {row['width']} × {row['height']}, {row['format']}"
    data = row["thumbnail"]
    if data is None or not data.startswith(_PNG) or len(data) > LARGEST_IMAGE:
        return Thumbnail(digest, None, label)
    return Thumbnail(digest, Embedded("data:image/png;base64," + b64encode(data).decode()), label)


def pictures(draws: "Sequence[Callable[[], Drawn]]") -> "list[Picture | str]":
    """Return the charts that aren't empty in both modes, or the reasons why they aren't drawn, in this order.

    A chart is converted while the next one is drawn.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="helmframe-svg") as converter:
        drawn = [_draw(draw, converter) for draw in draws]
        return [chart if isinstance(chart, str) else chart() for chart in drawn if chart is not None]


def _draw(draw: "Callable[[], Drawn]", converter: Executor) -> "Callable[[], Picture] | str | None":
    """Return a function that waits for the picture, the reason why it isn't drawn, or None if it is empty."""
    from altair.utils.schemapi import debug_mode  # late: with Altair

    from helmframe.views.charts.offline import svg_of

    with debug_mode(arg=False):  # without validation of each part: tests validate our charts
        try:
            chart = draw()
        except HelmframeError as error:
            return str(error)
        if chart.name == EMPTY:
            return None
        spec = chart.to_dict(validate=False)
    converted = converter.submit(svg_of, spec)

    def wait() -> Picture:
        svg = converted.result()
        return Picture(_embedded(svg), _embedded(in_dark(svg)), str(chart.description))

    return wait


def _embedded(svg: str) -> Embedded:
    return Embedded("data:image/svg+xml;base64," + b64encode(svg.encode()).decode())
