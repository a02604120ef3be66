"""Altair's charts, as they show and save themselves without a network and with any text in them.

Imports Altair, so it is imported where a chart is made. `copy`, `properties` and the like keep the class.
"""

import json
from importlib.util import find_spec
from typing import Any

import altair as alt
from altair.utils.mimebundle import spec_to_mimebundle

# Renderers that write the chart into a page.
_PAGES = ("html", "colab", "kaggle", "zeppelin", "browser", "olli")


class Escaped(json.JSONEncoder):
    """JSON that may stand inside of <script>: a text in it can't end the element."""

    def encode(self, o: Any) -> str:
        return super().encode(o).replace("<", "\\u003c")


class Offline(alt.TopLevelMixin):
    """What differs from Altair's own: pages carry their scripts; a notebook draws the chart with what is built in."""

    def save(self, fp: Any, format: Any = None, *args: Any, **options: Any) -> None:
        """As `alt.Chart.save`; HTML holds all its JavaScript (`inline=False` loads it from a CDN)."""
        page = format == "html" or (format is None and str(fp).endswith(".html"))
        super().save(fp, format, *args, **{**({"inline": True} if page else {}), **_escaped(options)})

    def to_html(self, *args: Any, **options: Any) -> str:
        """As `alt.Chart.to_html`; a page that holds all its JavaScript, unless `inline=False`."""
        return super().to_html(*args, **{"inline": True, **_escaped(options)})

    def _repr_mimebundle_(self, *_: Any, **__: Any) -> Any:
        """What the renderer says that the user enabled; by default the chart itself and an image of it.

        JupyterLab and Notebook bring Vega-Lite 5, which draws these charts, and know no later type; who brings none
        shows the image.
        """
        if alt.renderers.active != "default":
            renderer: Any = alt.renderers.get()
            page = _escaped({}) if alt.renderers.active in _PAGES else {}
            return renderer(self.to_dict(), **page)
        spec = self.to_dict()
        bundle = {"application/vnd.vegalite.v5+json": spec, "text/plain": repr(self)}
        if find_spec("vl_convert") is None:
            return bundle
        image: Any = spec_to_mimebundle(spec, format="png", mode="vega-lite", scale_factor=2)
        return bundle | image[0], image[1]


class Chart(Offline, alt.Chart):
    """One view."""


class LayerChart(Offline, alt.LayerChart):
    """Views on top of each other."""


class FacetChart(Offline, alt.FacetChart):
    """The same view once for each value of a column."""


def _escaped(options: dict[str, Any]) -> dict[str, Any]:
    return {**options, "json_kwds": {"cls": Escaped, **(options.get("json_kwds") or {})}}
