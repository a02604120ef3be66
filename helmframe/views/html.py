"""Pages of HTML, from the templates in `pages/`: whatever text is put in is escaped, bounded and seen; nothing can run.

The content-security policy allows the one style sheet, by its hash, and images that the page itself holds.
"""

import re
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helmframe.errors import CapabilityError, HelmframeError
from helmframe.views.characters import show_invisible
from helmframe.views.charts.theme import NOTHING

if TYPE_CHECKING:
    from jinja2 import Environment

    from helmframe.views.charts.theme import Drawn

LONGEST = 2_000  # characters of one text
LONGEST_IN_TABLE = 500
LONGEST_WHOLE = 200_000  # of a manifest
MOST_ROWS = 200
_PAGES = Path(__file__).with_name("pages")


@dataclass(frozen=True)
class Grid:
    """A table as a page shows it; `more` is how many rows it does not show."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    more: int = 0

    @classmethod
    def of(cls, cells: tuple[list[str], list[list[str]]], notes: Sequence[str] = ()) -> "Grid":
        """The first rows of cells, with notes."""
        heads, rows = cells
        return cls(heads, rows[:MOST_ROWS], notes, max(0, len(rows) - MOST_ROWS))


def page(template: str, **values: Any) -> str:
    """A template of `pages/` filled in; with `policy`, where no header of a server says it.

    Raises:
        CapabilityError: jinja2 is not there.
    """
    return _environment().get_template(template).render(**values)


def policy(*more: str) -> str:
    """The content-security policy of a page, with more directives; by default no form sends anything."""
    style = b64encode(sha256(_style().encode()).digest()).decode()
    rules = ("default-src 'none'", f"style-src 'sha256-{style}'", "img-src data:", "base-uri 'none'")
    return "; ".join([*rules, *(more or ("form-action 'none'",))])


def shown(value: Any, most: int = LONGEST) -> Any:
    """A text as a page shows it: its start, and characters that leave no mark by their names."""
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    left_out = len(value) - most
    return show_invisible(value) if left_out <= 0 else f"{show_invisible(value[:most])}… ({left_out:,} more characters)"


@cache
def _style() -> str:
    return (_PAGES / "page.css").read_text(encoding="utf-8")


@cache
def _environment() -> "Environment":
    try:
        import jinja2
        from markupsafe import Markup, escape
    except ImportError:
        raise CapabilityError("pages need the package jinja2: pip install 'helmframe[report]'.") from None
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_PAGES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["style"] = Markup(_style())  # noqa: S704 - our own file
    environment.filters["start"] = lambda text: escape(shown(text, LONGEST_IN_TABLE))
    environment.filters["whole"] = lambda text: escape(shown(text, LONGEST_WHOLE))
    # a value that a form sends back must be as it is
    environment.filters["exact"] = escape
    environment.tests["number_like"] = lambda cell: bool(re.match(r"[\[<+−-]?\d", cell))
    return environment


@dataclass(frozen=True)
class Picture:
    """A chart as two data: addresses, and what it shows in words."""

    light: "Embedded"
    dark: "Embedded"
    description: str


class Embedded(str):
    """A data: address: letters and digits alone, however long."""

    __slots__ = ()

    def __html__(self) -> str:
        return str(self)


def picture(draw: "Callable[[str], Drawn]") -> "Picture | str | None":
    """The chart that `draw` gives for each mode; why there is none, where it says so; None where it is empty."""
    try:
        light, dark = draw("light"), draw("dark")
    except HelmframeError as error:
        return str(error)
    spec = light.to_dict()
    if spec.get("name") == NOTHING:
        return None
    return Picture(_embedded(light), _embedded(dark), str(spec.get("description", "")))


def _embedded(chart: "Drawn") -> Embedded:
    drawn = StringIO()
    chart.save(drawn, format="svg")
    return Embedded("data:image/svg+xml;base64," + b64encode(drawn.getvalue().encode()).decode())
