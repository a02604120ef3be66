"""Which answer was given for which class."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from helmframe._core.expressions import look_up_pairs
from helmframe.metrics.classification import confusion as counted
from helmframe.metrics.options import has_option_requests, with_likeliest_options
from helmframe.metrics.score import parse
from helmframe.results import Results
from helmframe.results.charts import chart
from helmframe.views.characters import shown_as
from helmframe.views.charts.frames import Frame, columns_of, needing, of_original
from helmframe.views.charts.grid import MOST_PANELS, cells
from helmframe.views.charts.source import Source
from helmframe.views.charts.theme import finished, nothing

if TYPE_CHECKING:
    from helmframe.views.charts.theme import Drawn

COUNTS = ("gold", "output", "n")
# The most classes.
MOST = 20
# Answers that are none of them.
OTHER, UNREAD = "(other)", "(unparsed)"


def confusion(frame: Frame, *, mode: str = "light") -> "Drawn":
    """How often each answer was given where each class is right, as shares of the class; a panel per model.

    Classes are the texts of the first correct reference, normalised; of multiple choice whose options are other texts
    each time, the labels of the options (A, B, …). Answers that are no class are "(other)".

    Args:
        frame: `COMPLETIONS`, of which original inputs count; or counts: gold, output, n, and model where there are
            several.
        mode: "light" or "dark".

    Raises:
        ArgumentError: no such frame, or mode.
    """
    import altair as alt

    title = "confusion"
    names = columns_of(frame)
    labels: list[str] = []
    if "completion" in names:
        counts, labels = _counts(of_original(frame).lazy())
    else:
        counts = needing(frame, "completions", COUNTS)
    if counts.is_empty():
        return nothing("no answer to an instance with a correct reference", mode, title)
    counts = counts if "model" in counts.columns else counts.with_columns(model=pl.lit(""))
    sizes = counts.group_by("gold").agg(size=pl.col("n").sum()).sort("size", "gold", descending=[True, False])
    total, classes = int(sizes["size"].sum()), sizes["gold"].to_list()
    per_model = total / counts["model"].n_unique()
    if len(classes) > MOST and len(classes) > per_model / 2:
        return nothing("no classes: nearly every correct reference is a text of its own", mode, title)
    kept = sorted(classes[:MOST])
    answers = sorted({*kept, *labels[:MOST]})
    notes = [f"the {MOST} most frequent of {len(classes):,} classes"] if len(classes) > MOST else []
    models = counts["model"].unique().sort().to_list()
    notes += [f"the first {MOST_PANELS} of {len(models):,} models"] if len(models) > MOST_PANELS else []
    data = _shares(counts.filter(pl.col("gold").is_in(kept), pl.col("model").is_in(models[:MOST_PANELS])), answers)
    others = [each for each in (OTHER, UNREAD) if each in set(data["output"])]
    shown = shown_as([*answers, *others])
    panels = shown_as(models[:MOST_PANELS])
    chart = cells(
        data.with_columns(
            x=pl.col("output").replace(shown), y=pl.col("gold").replace(shown), panel=pl.col("model").replace(panels)
        ),
        colour=alt.Color("share:Q", title="share of class", scale=alt.Scale(scheme="viridis", domain=[0, 1])),
        text=alt.Text("n:Q", format=",d"),
        titles=("answer", "correct"),
        panels=list(panels.values()),
        orders=(list(shown.values()), [shown[each] for each in kept]),
        tooltip=_tooltip(),
    )
    drawn: Drawn = finished(chart, mode, title, ["numbers: answers; colours: their share of the class", *notes])
    return drawn


def _shares(counts: pl.DataFrame, answers: Sequence[str]) -> pl.DataFrame:
    """How often each of these answers, or another, was given to each class, as `n` and as `share` of the class."""
    return (
        counts.with_columns(
            output=pl.when(pl.col("output").is_in([*answers, UNREAD])).then("output").otherwise(pl.lit(OTHER))
        )
        .group_by("model", "gold", "output")
        .agg(pl.col("n").sum())
        .with_columns(share=pl.col("n") / pl.col("n").sum().over("model", "gold"))
        .sort("model", "gold", "output")
    )


def _tooltip() -> list[Any]:
    import altair as alt

    told: Sequence[tuple[str, str]] = (("y:N", "correct"), ("x:N", "answer"), ("n:Q", "answers"))
    return [*(alt.Tooltip(name, title=title) for name, title in told), alt.Tooltip("share:Q", format=".1%")]


def _counts(completions: pl.LazyFrame) -> tuple[pl.DataFrame, list[str]]:
    """Per model how often each answer was given for each class; the labels of options, where these are the classes."""
    read = parse(completions)
    read = with_likeliest_options(read) if has_option_requests(read) else read
    models = read.select(pl.col("model").unique().sort()).collect()["model"].to_list()
    found = [counted(read.filter(pl.col("model") == model)).with_columns(model=pl.lit(model)) for model in models]
    texts = pl.concat(found) if found else pl.DataFrame(schema={"gold": pl.String, "output": pl.String, "n": pl.UInt32})
    if texts["gold"].n_unique() > MOST:
        labelled = _by_label(read)
        if not labelled.is_empty():
            labels = {*labelled["gold"], *labelled["output"]} - {""}
            return labelled.with_columns(pl.col("output").replace({"": UNREAD})), sorted(labels)
    return texts.with_columns(pl.col("output").replace({"": UNREAD})), []


def _by_label(read: pl.LazyFrame) -> pl.DataFrame:
    """The same of multiple choice by the labels of options: that of the first correct one, and that of the answer.

    Options that were asked one by one have none, and count by their place.
    """
    texts = pl.col("perturbed_references").list.eval(pl.element().struct.field("text"))
    right = pl.col("perturbed_references").list.eval(pl.element().struct.field("correct")).list.arg_max()
    labelled, place = pl.col("choices").list.len() > 0, pl.col("reference_index")
    said = look_up_pairs(pl.col("output"), texts, pl.col("choices")).fill_null("")
    return (
        read.filter(labelled | place.is_not_null(), pl.col("completion").is_not_null())
        .select(
            "model",
            gold=pl.when(labelled)
            .then(pl.col("choices").list.get(right, null_on_oob=True))
            .otherwise(pl.format("option {}", right + 1)),
            output=pl.when(labelled).then(said).otherwise(pl.format("option {}", place + 1)),
        )
        .group_by("model", "gold", "output")
        .agg(n=pl.len())
        .collect()
    )


@chart("confusion")
def confusion_of_results(results: Results, *, mode: str = "light") -> "Drawn":
    """How often each answer was given where each class is right; a panel per model.

    Args:
        results: Results of a run.
        mode: "light" or "dark".
    """
    source = Source(results)
    return confusion(source.results.completions, mode=mode)
