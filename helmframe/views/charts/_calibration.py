"""The reliability diagram: accuracy by confidence."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from helmframe._core.bins import binned, enough, equal_masses
from helmframe.errors import ArgumentError
from helmframe.metrics.calibration import NO_CONFIDENCE
from helmframe.metrics.confidence import confident_answers
from helmframe.metrics.score import parse
from helmframe.results import Results
from helmframe.results.charts import chart
from helmframe.stats.calibration import calibration as calibrated
from helmframe.stats.frames import list_names
from helmframe.stats.table import table
from helmframe.views.charts.frames import Frame, Source, columns_of, original_rows, rows_of
from helmframe.views.charts.marks import faceted
from helmframe.views.charts.theme import apply_theme, colour_of, empty_chart, look, shape_of
from helmframe.views.display import number, spread

if TYPE_CHECKING:
    from helmframe.views.charts.theme import Drawn

_SIZE = 340
# The most models whose calibration errors are listed above the chart.
_MOST_NOTED = 4


def calibration(
    frame: Frame,
    *,
    confidence: str | None = None,
    bins: int = 10,
    facet: str | None = None,
    models: Sequence[str] | None = None,
    mode: str = "light",
) -> "Drawn":
    """Draw accuracy over confidence; a calibrated model is on the diagonal.

    Points are bins of equal size (at least 30 completions), with the interval of their accuracy.

    >>> frame = pl.DataFrame({"confidence": [0.9] * 40 + [0.6] * 40, "right": [1] * 30 + [0] * 10 + [1, 0] * 20})
    >>> calibration(frame).to_dict()["title"]["text"]
    'calibration'

    Args:
        frame: `COMPLETIONS`, only original inputs; or one row per completion, with the columns
            confidence (0 to 1) and right, and optionally model, cluster and instance_id.
        confidence: For completions: None is the probability of the likeliest option, if options were sent separately;
            "max_prob" is the probability of the completion; other values name a column.
        bins: The maximum number of bins.
        facet: As in `scores`.
        models: As in `scores`.
        mode: "light" or "dark".

    Raises:
        ArgumentError: If the frame or the mode is unsupported, or a value isn't a probability.
    """
    import altair as alt

    from helmframe.views.charts.offline import LayerChart

    if facet is not None:
        draw = partial(calibration, confidence=confidence, bins=bins, mode=mode)
        return faceted(draw, original_rows(frame), facet, models, mode, columns=2)  # type: ignore[no-any-return]
    answers = _answers(frame, confidence)
    if answers.is_empty():
        return empty_chart(NO_CONFIDENCE, mode, "calibration")
    numbers = calibrated(answers, "model", bins=bins)
    points = pl.concat([_points(answers.filter(model=model), bins) for model in numbers["model"]])
    rows = rows_of(points, [], models)
    scale = alt.Scale(domain=[0, 1])
    x = alt.X("claimed:Q", title="confidence (probability)", scale=scale)
    title = "accuracy (fraction correct)"
    named = rows.shown != [""]
    colour = colour_of(rows.models, rows.shown, mode, legend=named)
    shape = shape_of(rows.models, rows.shown, legend=named)
    corners = alt.InlineData(values=[{"at": 0.0}, {"at": 1.0}])
    diagonal = alt.Chart(corners).mark_line(strokeDash=[4, 4], color=look(mode).quiet).encode(x="at:Q", y="at:Q")
    base = alt.Chart(rows.data)
    lines = base.mark_line(size=1.5).encode(x=x, y=alt.Y("value:Q", title=title, scale=scale), color=colour)
    with_interval = alt.Chart(rows.data.drop_nulls(["ci_low", "ci_high"]))
    rules = with_interval.mark_rule(size=1.5).encode(
        x=x, y=alt.Y("ci_low:Q", title=title), y2="ci_high:Q", color=colour
    )
    tooltip: list[Any] = [alt.Tooltip("model:N")]
    tooltip += [alt.Tooltip(f"{name}:Q", format=".3f") for name in ("claimed", "value", "ci_low", "ci_high")]
    tooltip += [alt.Tooltip("interval:N"), alt.Tooltip("n:Q", title="completions")]
    dots = base.mark_point(filled=True, size=70, opacity=1).encode(
        x=x, y=alt.Y("value:Q", title=title), color=colour, shape=shape, tooltip=tooltip
    )
    chart = LayerChart(layer=[diagonal, rules, lines, dots]).properties(width=_SIZE, height=_SIZE)
    notes = [
        "below the diagonal: overconfident; all bins have the same number of completions",
        *_calibration_notes(numbers),
    ]
    drawn: Drawn = apply_theme(chart, mode, "calibration", notes)
    return drawn


def _answers(frame: Frame, confidence: str | None) -> pl.DataFrame:
    names = columns_of(frame)
    if {"confidence", "right"} <= set(names):
        rows = original_rows(frame).lazy().collect().drop_nulls(["confidence", "right"])
        rows = rows if "model" in names else rows.with_columns(model=pl.lit(""))
        rows = rows if "instance_id" in names else rows.with_row_index("instance_id")
        return rows.with_columns(pl.col("model").cast(pl.String))
    if "completion" not in names:
        raise ArgumentError(
            "calibration(): the frame must contain completions (hf.schema('completions')) or have the columns "
            f"confidence and right. The columns are: {list_names(names)}."
        )
    parsed = parse(original_rows(frame).lazy())
    if confidence not in (None, "max_prob", *names):
        raise ArgumentError.unknown_value(f"calibration(confidence={confidence!r})", confidence, ["max_prob", *names])
    return confident_answers(parsed, confidence)


def _points(answers: pl.DataFrame, bins: int) -> pl.DataFrame:
    """Return the bins of one model's completions: mean confidence (claimed), and accuracy with its interval."""
    answers = answers.sort("confidence")
    confidences, right = answers["confidence"].cast(pl.Float64).to_numpy(), answers["right"].cast(pl.Float64).to_numpy()
    edges = equal_masses(confidences, enough(len(confidences), bins))
    _, claimed, _ = binned(confidences, right, edges)
    bin_index = np.unique(np.searchsorted(edges, confidences), return_inverse=True)[1]
    rows = answers.with_columns(
        bin=pl.Series(bin_index), score=pl.Series(right), subset=pl.lit(""), metric=pl.lit("right")
    )
    statistics = table(
        rows.drop("perturbation", "setting", "trial", strict=False), ["model", "bin"], fractions=["right"]
    )
    return statistics.with_columns(claimed=pl.Series(claimed)[statistics["bin"].cast(pl.Int64)])


def _calibration_notes(numbers: pl.DataFrame) -> list[str]:
    """Return the calibration error of each model, and its range for a calibrated model."""
    if numbers.height > _MOST_NOTED:
        return []
    return [
        f"{model or 'all'}: calibration error {number(ece)} (if calibrated: {spread(low, high)}), {n:,} completions"
        for model, ece, low, high, n in numbers.select("model", "ece", "null_low", "null_high", "n").iter_rows()
    ]


@chart("calibration")
def calibration_of_results(
    results: Results,
    *,
    confidence: str | None = None,
    bins: int = 10,
    facet: str | None = None,
    mode: str = "light",
) -> "Drawn":
    """Draw accuracy over confidence.

    Args:
        results: Results of a run.
        confidence: None is the probability of the likeliest option, if options were sent separately; "max_prob" is the
            probability of the completion; other values name a column.
        bins: The maximum number of bins; each has at least 30 completions.
        facet: A column of the completions; each of its values has a chart of its own.
        mode: "light" or "dark".

    >>> import helmframe as hf
    >>> results = hf.scenario("sampler").where(subject="music").generate(hf.models.noisy(0.8)).score()
    >>> results.plot.calibration().to_dict()["title"]["text"]
    'calibration'
    """
    source = Source(results)
    completions = source.results.completions
    return calibration(completions, confidence=confidence, bins=bins, facet=facet, models=source.models, mode=mode)
