"""Altair charts that are shown and saved without a network, and that escape all text.

This module imports Altair, so import it where a chart is made. `copy`, `properties` and similar preserve the class.
"""

import json
from importlib.util import find_spec
from typing import Any

import altair as alt
from altair.utils.mimebundle import spec_to_mimebundle

# Renderers that write the chart into a page.
_PAGES = ("html", "colab", "kaggle", "zeppelin", "browser", "olli")


class Escaped(json.JSONEncoder):
    """A JSON encoder for use inside <script>: no text can end the element."""

    def encode(self, o: Any) -> str:
        return super().encode(o).replace("<", "\\u003c")


class Offline(alt.TopLevelMixin):
    """A mixin for Altair charts: pages contain their scripts, and notebooks use their built-in renderer."""

    def save(self, fp: Any, format: Any = None, *args: Any, **options: Any) -> None:
        """Save as `alt.Chart.save`; HTML contains all its JavaScript (`inline=False` loads it from a CDN)."""
        page = format == "html" or (format is None and str(fp).endswith(".html"))
        super().save(fp, format, *args, **{**({"inline": True} if page else {}), **_escaped(options)})

    def to_html(self, *args: Any, **options: Any) -> str:
        """Return HTML as `alt.Chart.to_html`; it contains all its JavaScript, unless `inline=False`."""
        return super().to_html(*args, **{"inline": True, **_escaped(options)})

    def _repr_mimebundle_(self, *_: Any, **__: Any) -> Any:
        """Return the output of the enabled renderer; by default the chart and an image of it.

        JupyterLab and Notebook include Vega-Lite 5, which draws these charts, and support no later type. Frontends
        without Vega-Lite show the image.
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
    """A chart of one view."""


class LayerChart(Offline, alt.LayerChart):
    """A chart of views on top of each other."""


class FacetChart(Offline, alt.FacetChart):
    """A chart that repeats a view for each value of a column."""


class ConcatChart(Offline, alt.ConcatChart):
    """A chart of several charts, such as one per value of a column."""


def svg_of(spec: dict[str, Any]) -> str:
    """Return the chart of a specification as SVG."""
    bundle: Any = spec_to_mimebundle(spec, format="svg", mode="vega-lite")
    return str(bundle["image/svg+xml"])


def _escaped(options: dict[str, Any]) -> dict[str, Any]:
    return {**options, "json_kwds": {"cls": Escaped, **(options.get("json_kwds") or {})}}
