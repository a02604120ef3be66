"""The chart of what a run takes by the local engine and on Ray, as docs/ray_arithmetic.md shows it.

`python -m tests.acceptance.ray_scale_chart FOLDER FIGURES.csv …`: of the figures that test_ray_scale.py and
tests/benchmarks/ten_million_on_ray.py left, the two images into the folder.
"""

import sys
from pathlib import Path
from typing import Any

import polars as pl

from helmframe.views.charts.theme import apply_theme, look
from tests.acceptance.ray_scale_child import ENGINES

FIGURES = {
    "seconds": "seconds",
    "read_mb": "MB read of the rows",
    "requests": "S3 requests for the rows",
    "parts": "parts written",
    "written_mb": "MB written",
    "driver_mb": "peak memory, driver, MB",
    "worker_mb": "peak memory, largest worker, MB",
}
LOGARITHMIC = ("seconds", "read_mb", "parts", "written_mb")
DECADES = [0.1, 1, 10, 100, 1_000, 10_000]


def drawn(figures: pl.DataFrame, mode: str) -> Any:
    """Above by instances, below by evals; a view for each figure, a colour for each engine."""
    import altair as alt

    from helmframe.views.charts.offline import Chart

    together: int = figures.filter(pl.col("evals") > 1).item(0, "instances")
    colours = alt.Scale(domain=list(ENGINES), range=list(look(mode).models[:2]))

    def figure(name: str, title: str) -> Any:
        y = alt.Y(f"{name}:Q", title=title)
        return y.scale(type="log").axis(values=DECADES) if name in LOGARITHMIC else y

    def row(rows: pl.DataFrame, axis: Any) -> Any:
        views = [
            Chart(rows.select(axis.shorthand.split(":")[0], "engine", name))
            .mark_line(point=True)
            .encode(axis, figure(name, title), alt.Color("engine:N", scale=colours, title="engine"))
            .properties(width=200, height=160)
            for name, title in FIGURES.items()
            if name != "requests"
        ]
        return alt.concat(*views, columns=3)

    instances = alt.X("instances:Q", title="instances, one eval", scale=alt.Scale(type="log"))
    instances = instances.axis(values=figures["instances"].unique().sort().to_list(), format="~s")
    evals = alt.X("evals:O", title=f"evals, {together:,} instances in all").axis(labelAngle=0)
    one, many = figures.filter(pl.col("evals") == 1), figures.filter(pl.col("instances") == together)
    rows = [row(one, instances), row(many, evals)]
    return apply_theme(alt.vconcat(*rows), mode, "What a run takes, reads and writes: the local engine and Ray")


if __name__ == "__main__":
    folder, *files = sys.argv[1:]
    rows = pl.concat([pl.read_csv(file) for file in files], how="diagonal_relaxed")
    for each in ("light", "dark"):
        drawn(rows, each).save(Path(folder) / f"ray_scale-{each}.svg")
