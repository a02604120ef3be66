"""Charts of any frame of the documented schema (`hf.schema()`), as Altair charts: `hf.charts`.

Each function takes scores, which it aggregates, or a table that `hf.stats` or `Results` made of them; what it draws is
small, however many rows there were. `results.plot` draws those of a run. Texts from models and data are shown as text;
a model has one colour everywhere; `mode` is "light" or "dark"; PNG, SVG and HTML need no network (`chart.save`).

    hf.charts.scores(pl.scan_parquet("runs/*/scores/**/*.parquet"))
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from helmframe.results.charts import CHARTS
from helmframe.results.charts import chart as chart

__all__ = sorted(["chart", *CHARTS])  # noqa: PLE0605 - the charts register themselves


def __getattr__(name: str) -> Callable[..., Any]:
    if name.startswith("_") or name not in CHARTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    function: Callable[..., Any] = getattr(import_module(CHARTS[name].function.__module__), name)
    return function


def __dir__() -> list[str]:
    # what the Tab key offers: not the modules that the names come from
    return __all__
