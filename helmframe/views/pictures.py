"""Charts as images that a page holds: SVG, light and dark, in which nothing can run."""

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING

from helmframe.errors import HelmframeError
from helmframe.views.charts.theme import NOTHING

if TYPE_CHECKING:
    from helmframe.views.charts.theme import Drawn


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
