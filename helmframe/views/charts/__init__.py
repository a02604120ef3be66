"""Altair charts of any frame of the documented schema (`hf.schema()`): `hf.charts`.

Each function takes scores, which it aggregates, or a table of `hf.stats` or `Results`, so a chart stays small for any
number of rows. `results.plot` draws the charts of a run. Texts from models and data are shown as text. A model has the
same colour in all charts. `mode` is "light" or "dark". PNG, SVG and HTML need no network (`chart.save`).

    hf.charts.scores(pl.scan_parquet("runs/*/scores/**/*.parquet"))
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from helmframe._core.json_schema import import_jsonschema
from helmframe.results.charts import CHARTS
from helmframe.results.charts import chart as chart


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return sorted(["chart", *CHARTS])
    if name.startswith("_") or name not in CHARTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import_jsonschema()
    function: Callable[..., Any] = getattr(import_module(CHARTS[name].function.__module__), name)
    return function


def __dir__() -> list[str]:
    # for Tab completion: without the modules that define the names
    return sorted(["chart", *CHARTS])
