"""The robustness chart: original, perturbed and worst scores, with the paired change."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import polars as pl

from helmframe.results import Results
from helmframe.results.charts import chart
from helmframe.stats.robustness import ALL
from helmframe.views.charts.changes import changes_of
from helmframe.views.charts.frames import Frame, Metrics, Source, axis_title, format_of, rows_of, unit_of
from helmframe.views.charts.marks import height, row_encoding, text_column
from helmframe.views.charts.theme import WIDTH, apply_theme, empty_chart, look
from helmframe.views.display import spread

if TYPE_CHECKING:
    import altair as alt

    from helmframe.views.charts.theme import Drawn

EMPTY = "no perturbations: add .perturb('typos') to the plan"
_LEVELS = {"original": "circle", "perturbed, mean": "diamond", "worst": "triangle-down"}


def robustness(
    frame: Frame,
    metric: str | None = None,
    *,
    models: Sequence[str] | None = None,
    metrics: Metrics | None = None,
    mode: str = "light",
) -> "Drawn":
    """Draw the original score, the mean over variants and the worst variant, with the paired change as text.

    >>> frame = pl.DataFrame({"instance_id": [*range(20)] * 2, "perturbation": ["original"] * 20 + ["typos"] * 20,
    ...                       "score": [1] * 16 + [0] * 4 + [1] * 10 + [0] * 10})
    >>> robustness(frame).to_dict()["title"]["text"]
    'score, original to worst'

    Args:
        frame: `SCORES` under perturbations, which are aggregated, or a table of `hf.stats.robustness`, whose
            rows "all" are drawn.
        metric: The metric to draw; default the first.
        models: As in `scores`.
        metrics: As in `scores`.
        mode: "light" or "dark".

    Raises:
        ArgumentError: If the frame or the mode is unsupported.
        UnknownNameError: If the metric is unknown.
    """
    import altair as alt

    from helmframe.views.charts.offline import LayerChart

    table, name = changes_of(frame, metric, metrics)
    table = table.filter(pl.col("perturbation") == ALL)
    if table.is_empty():
        return empty_chart(EMPTY, mode, "robustness")
    rows = rows_of(table, [column for column in ("scenario", "split", "setting") if column in table.columns], models)
    ends = [pl.col(column) for column in ("original", "perturbed", "worst")]
    columns: dict[str, Any] = {
        "low": pl.min_horizontal(ends),
        "high": pl.max_horizontal(ends),
        "change_text": _change_texts(rows.data),
    }
    rows = replace(rows, data=rows.data.with_columns(**columns))
    position = row_encoding(rows, mode)
    title = axis_title(name, metrics)
    scale = alt.Scale(domain=[0, 1]) if unit_of(name, metrics) == "fraction" else alt.Scale(zero=False, nice=True)
    lines = (
        alt.Chart(rows.data)
        .mark_rule(size=2, opacity=0.5)
        .encode(**position, x=alt.X("low:Q", title=title), x2="high:Q")
    )
    tooltip: list[Any] = [alt.Tooltip(f"{column}:N") for column in ("label", "model", "level")]
    tooltip += [alt.Tooltip("score:Q", format=format_of(name, metrics)), alt.Tooltip("k:Q", title="variants")]
    marks = (
        alt.Chart(_levels(rows.data))
        .mark_point(filled=True, size=70, opacity=1)
        .encode(**position, x=alt.X("score:Q", title=title, scale=scale), shape=_shape(mode), tooltip=tooltip)
    )
    change_texts = text_column(rows, "change_text", "paired change", mode)
    chart = LayerChart(layer=[lines, marks, *change_texts]).properties(width=WIDTH, height=height(rows))
    notes = [
        "paired change: perturbed − original of the same instances",
        "worst: over the original and all variants; more variants make it worse",
    ]
    drawn: Drawn = apply_theme(chart, mode, f"{name}, original to worst", [*notes, *rows.notes], legend_at=170)
    return drawn


def _levels(data: pl.DataFrame) -> pl.DataFrame:
    """Return one row per score, with its `level`: original, mean or worst."""
    columns = dict(zip(("original", "perturbed", "worst"), _LEVELS, strict=True))
    return (
        data.select("label", "model", "k", *columns)
        .unpivot(list(columns), index=["label", "model", "k"], variable_name="level", value_name="score")
        .with_columns(pl.col("level").replace(columns))
        .drop_nulls("score")
    )


def _shape(mode: str) -> "alt.Shape":
    import altair as alt

    return alt.Shape(
        "level:N",
        title=None,
        scale=alt.Scale(domain=list(_LEVELS), range=list(_LEVELS.values())),
        legend=alt.Legend(
            orient="top", offset=10, symbolFillColor=look(mode).quiet, symbolStrokeWidth=0, symbolSize=70
        ),
    )


def _change_texts(data: pl.DataFrame) -> pl.Series:
    texts = [
        "" if change is None else f"{change:+.3f} {spread(low, high)}".replace("-", "−").strip()
        for change, low, high in data.select("change", "change_low", "change_high").iter_rows()
    ]
    return pl.Series(texts, dtype=pl.String)


@chart("robustness")
def robustness_of_results(results: Results, metric: str | None = None, *, mode: str = "light") -> "Drawn":
    """Draw original, mean and worst scores over the perturbations that count as robustness, and the paired change.

    Args:
        results: Results of a run.
        metric: The metric; default the main metric.
        mode: "light" or "dark".

    >>> import helmframe as hf
    >>> results = hf.scenario("sampler").where(subject="music").perturb("typos").generate(hf.models.noisy(0.8)).score()
    >>> results.plot.robustness().to_dict()["title"]["text"]
    'exact_match, original to worst'
    """
    source = Source(results)
    name = metric or source.results.main_metrics[0]
    table = source.results.robustness(metrics=name)
    if table.is_empty() and len(source.values("perturbation")) > 1:
        reason = "no perturbation of this run counts as robustness; hf.list_perturbations() lists those that do"
        return empty_chart(reason, mode, f"{name}, original to worst")
    return robustness(table, models=source.models, metrics=source.metrics, mode=mode)
