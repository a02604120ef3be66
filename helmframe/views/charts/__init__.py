"""Charts of any frame of the documented schema (`hf.schema()`), as Altair charts: `hf.charts`.

Each function takes scores, which it aggregates, or a table that `hf.stats` or `Results` made of them; what it draws is
small, however many rows there were. `results.plot` draws those of a run. Texts from models and data are shown as text;
a model has one colour everywhere; `mode` is "light" or "dark"; PNG, SVG and HTML need no network (`chart.save`).

    hf.charts.scores(pl.scan_parquet("runs/*/scores/**/*.parquet"))
"""

from helmframe.views.charts.calibration import calibration
from helmframe.views.charts.confusion import confusion
from helmframe.views.charts.forest import forest
from helmframe.views.charts.heatmap import heatmap
from helmframe.views.charts.leaderboard import leaderboard
from helmframe.views.charts.pareto import pareto
from helmframe.views.charts.perturbations import perturbations
from helmframe.views.charts.robustness import robustness
from helmframe.views.charts.scores import scores

__all__ = [
    "calibration",
    "confusion",
    "forest",
    "heatmap",
    "leaderboard",
    "pareto",
    "perturbations",
    "robustness",
    "scores",
]


def __dir__() -> list[str]:
    # what the Tab key offers: not the modules that the names come from
    return __all__
