"""The chart of paired changes under perturbations."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import polars as pl

from helmframe._schema import ORIGINAL
from helmframe.results import Results
from helmframe.results._data import reader_of
from helmframe.results.charts import chart
from helmframe.stats.robustness import ALL
from helmframe.views.charts._robustness import EMPTY, by_strength, changes_of, with_model
from helmframe.views.charts.frames import (
    Frame,
    Metrics,
    Source,
    as_names,
    format_of,
    pooled_notes,
    rows_of,
    sorted_rows,
    unit_of,
)
from helmframe.views.charts.marks import faceted, height, line_at, points, whiskers
from helmframe.views.charts.theme import WIDTH, apply_theme, empty_chart

if TYPE_CHECKING:
    from helmframe.views.charts.theme import Drawn

_AXES = ("scenario", "split", "setting", "perturbation")


def perturbations(
    frame: Frame,
    metric: str | None = None,
    *,
    by: str | Sequence[str] | None = None,
    facet: str | None = None,
    sort: str | Sequence[str] | None = None,
    models: Sequence[str] | None = None,
    metrics: Metrics | None = None,
    mode: str = "light",
) -> "Drawn":
    """Draw the paired change (perturbed − original, over changed inputs) with its interval, a row per perturbation.

    Perturbations of the same name are adjacent, from weak to strong.

    >>> frame = pl.DataFrame({"instance_id": [*range(20)] * 2, "perturbation": ["original"] * 20 + ["typos"] * 20,
    ...                       "score": [1] * 16 + [0] * 4 + [1] * 10 + [0] * 10})
    >>> perturbations(frame).to_dict()["title"]["text"]
    'score under each perturbation'

    Args:
        frame: `SCORES` under perturbations, which are aggregated, or a table of `hf.stats.robustness`.
        metric: The metric to draw; default the first.
        by: As in `scores`.
        facet: As in `scores`.
        sort: As in `scores`; "value" is the change.
        models: As in `scores`.
        metrics: As in `scores`.
        mode: "light" or "dark".

    Raises:
        ArgumentError: If the frame or the mode is unsupported.
        UnknownNameError: If the metric is unknown.
    """
    import altair as alt

    from helmframe.views.charts.offline import LayerChart

    columns = as_names(by)
    if facet is not None:
        draw = partial(perturbations, metric=metric, by=columns, sort=sort, metrics=metrics, mode=mode)
        return faceted(draw, frame, facet, models, mode)  # type: ignore[no-any-return]
    table, name = changes_of(frame, metric, metrics, columns)
    table = table.filter(pl.col("perturbation") != ALL)
    if table.is_empty():
        return empty_chart(EMPTY, mode, "perturbations")
    labels = by_strength(table["perturbation"].unique().to_list())
    order = {perturbation: index for index, perturbation in enumerate(labels)}
    keys = ["scenario", "split", "setting", *(column for column in columns or () if column not in ("model", *_AXES))]
    keys = [column for column in keys if column in table.columns]
    table = table.sort(*keys, pl.col("perturbation").replace_strict(order), maintain_order=True)
    table = table.with_columns(pl.col("perturbation").replace(labels))
    rows = rows_of(table, [*keys, "perturbation"], models, always="perturbation")
    rows = sorted_rows(rows, sort, "change")
    title = f"change in {name}" + (f" ({unit_of(name, metrics)})" if unit_of(name, metrics) else "")
    number_format = format_of(name, metrics)
    tooltip: list[Any] = [alt.Tooltip("label:N"), alt.Tooltip("model:N")]
    numbers = ("change", "change_low", "change_high", "original", "perturbed")
    tooltip += [alt.Tooltip(f"{column}:Q", format=number_format) for column in numbers]
    tooltip += [alt.Tooltip(f"{column}:N") for column in ("interval", "n_changed") if column in table.columns]
    layers = [
        line_at(0, title, mode),
        whiskers(rows, alt.X("change_low:Q", title=title), "change_high", mode),
        points(rows, alt.X("change:Q", title=title), mode, tooltip),
    ]
    chart = LayerChart(layer=layers).properties(width=WIDTH, height=height(rows))
    notes = ["paired change: perturbed − original of the same instances; lines: intervals"]
    notes += ["no point: no input was changed"] if rows.data["change"].null_count() else []
    alone = rows.data.filter(pl.col("change").is_not_null() & pl.col("change_low").is_null())
    notes += ["no line: no interval; the tooltip has the reason"] if alone.height else []
    drawn: Drawn = apply_theme(
        chart,
        mode,
        f"{name} under each perturbation",
        [*notes, *pooled_notes(frame, columns and [*columns, "model", "perturbation"]), *rows.notes],
    )
    return drawn


@chart("perturbations")
def perturbations_of_results(
    results: Results,
    metric: str | None = None,
    *,
    by: str | Sequence[str] | None = None,
    facet: str | None = None,
    sort: str | Sequence[str] | None = None,
    mode: str = "light",
) -> "Drawn":
    """Draw the paired change under each perturbation of any family, including placebos, from weak to strong.

    Args:
        results: Results of a run.
        metric: The metric; default the main metric.
        by: The columns that rows are split by, and models; scores are averaged over the other axes. By default rows are
            split by all axes.
        facet: A column; each of its values has a chart of its own, with its own rows.
        sort: The order of rows: "value" (the largest change first), "-value", "name", or labels in order.
        mode: "light" or "dark".

    >>> import helmframe as hf
    >>> results = hf.scenario("sampler").where(subject="music").perturb("typos").generate(hf.models.noisy(0.8)).score()
    >>> results.plot.perturbations().to_dict()["title"]["text"]
    'exact_match under each perturbation'
    """
    source = Source(results)
    name = metric or source.results.main_metrics[0]
    perturbed = [perturbation for perturbation in source.values("perturbation") if perturbation != ORIGINAL]
    placebos = [
        perturbation
        for perturbation in perturbed
        if reader_of(source.results).perturbation_entries().get(perturbation, {}).get("repeats")
    ]
    placebo = placebos[0] if placebos and len(perturbed) > 1 else None
    columns = as_names(by)
    grouping, pool = source.grouping(with_model(columns), None if facet == "perturbation" else facet)
    table = source.results.robustness(grouping, metrics=name, perturbations=perturbed, placebo=placebo, pool=pool)
    options = {"by": columns, "facet": facet, "sort": sort, "models": source.models, "metrics": source.metrics}
    return perturbations(table, **options, mode=mode)
