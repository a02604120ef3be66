"""The paired change under each perturbation."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from helmframe._schema import ORIGINAL
from helmframe.results import Results
from helmframe.results._data import reader_of
from helmframe.results.charts import chart
from helmframe.stats.robustness import ALL
from helmframe.views.charts._robustness import NOTHING
from helmframe.views.charts.drops import by_strength, changes_of
from helmframe.views.charts.frames import Frame, rows_of
from helmframe.views.charts.intervals import height, line_at, points, whiskers
from helmframe.views.charts.source import Source
from helmframe.views.charts.theme import WIDTH, finished, nothing
from helmframe.views.charts.words import Metrics, format_of, unit_of

if TYPE_CHECKING:
    from helmframe.views.charts.theme import Drawn


def perturbations(
    frame: Frame,
    metric: str | None = None,
    *,
    models: Sequence[str] | None = None,
    metrics: Metrics | None = None,
    mode: str = "light",
) -> "Drawn":
    """The paired change (perturbed − original, over changed inputs) with its interval, a row per perturbation.

    Those of one name stand together, weak to strong.

    Args:
        frame: `SCORES` under perturbations, which are aggregated, or a table as `hf.stats.robustness` gives it.
        metric: which; default the first.
        models: as in `scores`.
        metrics: as in `scores`.
        mode: "light" or "dark".

    Raises:
        ArgumentError: no such frame, or mode.
        UnknownNameError: no such metric.
    """
    import altair as alt

    from helmframe.views.charts.offline import LayerChart

    table, name = changes_of(frame, metric, metrics)
    table = table.filter(pl.col("perturbation") != ALL)
    if table.is_empty():
        return nothing(NOTHING, mode, "perturbations")
    called = by_strength(table["perturbation"].unique().to_list())
    order = {each: place for place, each in enumerate(called)}
    keys = [each for each in ("scenario", "split", "setting") if each in table.columns]
    table = table.sort(*keys, pl.col("perturbation").replace_strict(order), maintain_order=True)
    table = table.with_columns(pl.col("perturbation").replace(called))
    rows = rows_of(table, [*keys, "perturbation"], models, always="perturbation")
    title = f"change in {name}" + (f" ({unit_of(name, metrics)})" if unit_of(name, metrics) else "")
    written = format_of(name, metrics)
    tooltip: list[Any] = [alt.Tooltip("label:N"), alt.Tooltip("model:N")]
    numbers = ("change", "change_low", "change_high", "original", "perturbed")
    tooltip += [alt.Tooltip(f"{each}:Q", format=written) for each in numbers]
    tooltip += [alt.Tooltip(f"{each}:N") for each in ("interval", "n_changed") if each in table.columns]
    layers = [
        line_at(0, title, mode),
        whiskers(rows, alt.X("change_low:Q", title=title), "change_high", mode),
        points(rows, alt.X("change:Q", title=title), mode, tooltip),
    ]
    chart = LayerChart(layer=layers).properties(width=WIDTH, height=height(rows))
    notes = ["perturbed − original of the same instances; lines: the interval"]
    notes += ["no point: no input was changed"] if rows.data["change"].null_count() else []
    alone = rows.data.filter(pl.col("change").is_not_null() & pl.col("change_low").is_null())
    notes += ["a point without a line has no interval; it says why"] if alone.height else []
    drawn: Drawn = finished(chart, mode, f"{name} under each perturbation", [*notes, *rows.notes])
    return drawn


@chart("perturbations")
def perturbations_of_results(results: Results, metric: str | None = None, *, mode: str = "light") -> "Drawn":
    """The paired change under each perturbation, of any family, placebos too; those of one name weak to strong.

    Args:
        results: Results of a run.
        metric: default the main one.
        mode: "light" or "dark".
    """
    source = Source(results)
    name = metric or source.results.main_metrics[0]
    there = [each for each in source.values("perturbation") if each != ORIGINAL]
    placebos = [each for each in there if reader_of(source.results).perturbation_kinds().get(each, {}).get("repeats")]
    placebo = placebos[0] if placebos and len(there) > 1 else None
    found = source.results.robustness(metrics=name, perturbations=there, placebo=placebo)
    return perturbations(found, models=source.models, metrics=source.metrics, mode=mode)
