"""The confusion matrix: outputs by correct class."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from helmframe._core.expressions import look_up_pairs
from helmframe._core.safe_text import display_labels
from helmframe.metrics.classification import confusion as counted
from helmframe.metrics.options import has_option_requests, with_likeliest_options
from helmframe.metrics.score import parse
from helmframe.results import Results
from helmframe.results.charts import chart
from helmframe.views.charts.frames import Frame, Source, columns_of, original_rows, require_columns
from helmframe.views.charts.marks import MOST_PANELS, cells, faceted
from helmframe.views.charts.theme import apply_theme, empty_chart

if TYPE_CHECKING:
    from helmframe.views.charts.theme import Drawn

COUNTS = ("gold", "output", "n")
# The most classes.
MOST = 20
# Labels of outputs that are not a class.
OTHER, UNREAD = "(other)", "(unparsed)"


def confusion(frame: Frame, *, facet: str | None = None, mode: str = "light") -> "Drawn":
    """Draw how often each output occurs for each correct class, as a share of the class; one panel per model.

    Classes are the normalised texts of the first correct reference. For multiple choice with different options per
    instance they are the labels of the options (A, B, …). Outputs that are not a class are "(other)".

    >>> counts = pl.DataFrame({"gold": ["yes", "yes", "no"], "output": ["yes", "no", "no"], "n": [8, 2, 10]})
    >>> confusion(counts).to_dict()["title"]["text"]
    'confusion'

    Args:
        frame: `COMPLETIONS`, only original inputs; or counts with the columns gold, output, n, and model
            if there are several models.
        facet: As in `scores`.
        mode: "light" or "dark".

    Raises:
        ArgumentError: If the frame or the mode is unsupported.
    """
    import altair as alt

    if facet is not None:
        draw = lambda part, models: confusion(part, mode=mode)  # noqa: ARG005, E731 - panels are models
        return faceted(draw, original_rows(frame), facet, None, mode)  # type: ignore[no-any-return]
    title = "confusion"
    names = columns_of(frame)
    labels: list[str] = []
    if "completion" in names:
        counts, labels = _counts(original_rows(frame).lazy())
    else:
        counts = require_columns(frame, "completions", COUNTS)
    if counts.is_empty():
        return empty_chart("no completion of an instance with a correct reference", mode, title)
    counts = counts if "model" in counts.columns else counts.with_columns(model=pl.lit(""))
    sizes = counts.group_by("gold").agg(size=pl.col("n").sum()).sort("size", "gold", descending=[True, False])
    total, classes = int(sizes["size"].sum()), sizes["gold"].to_list()
    per_model = total / counts["model"].n_unique()
    if len(classes) > MOST and len(classes) > per_model / 2:
        return empty_chart("no classes: nearly every correct reference is unique", mode, title)
    shown_classes = sorted(classes[:MOST])
    answers = sorted({*shown_classes, *labels[:MOST]})
    notes = [f"the {MOST} most frequent of {len(classes):,} classes"] if len(classes) > MOST else []
    models = counts["model"].unique().sort().to_list()
    notes += [f"the first {MOST_PANELS} of {len(models):,} models"] if len(models) > MOST_PANELS else []
    data = _shares(
        counts.filter(pl.col("gold").is_in(shown_classes), pl.col("model").is_in(models[:MOST_PANELS])), answers
    )
    other_labels = [name for name in (OTHER, UNREAD) if name in set(data["output"])]
    shown = display_labels([*answers, *other_labels])
    panels = display_labels(models[:MOST_PANELS])
    chart = cells(
        data.with_columns(
            x=pl.col("output").replace(shown), y=pl.col("gold").replace(shown), panel=pl.col("model").replace(panels)
        ),
        colour=alt.Color("share:Q", title="share of class", scale=alt.Scale(scheme="viridis", domain=[0, 1])),
        text=alt.Text("n:Q", format=",d"),
        titles=("output", "correct"),
        panels=list(panels.values()),
        orders=(list(shown.values()), [shown[name] for name in shown_classes]),
        tooltip=_tooltip(),
    )
    drawn: Drawn = apply_theme(chart, mode, title, ["numbers: completions; colours: share of the class", *notes])
    return drawn


def _shares(counts: pl.DataFrame, answers: Sequence[str]) -> pl.DataFrame:
    """Count these outputs, and all others together, per class, as `n` and as `share` of the class."""
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

    fields: Sequence[tuple[str, str]] = (("y:N", "correct"), ("x:N", "output"), ("n:Q", "completions"))
    return [*(alt.Tooltip(name, title=title) for name, title in fields), alt.Tooltip("share:Q", format=".1%")]


def _counts(completions: pl.LazyFrame) -> tuple[pl.DataFrame, list[str]]:
    """Count outputs per model and class; also return the labels of the options, if these are the classes."""
    parsed = parse(completions)
    parsed = with_likeliest_options(parsed) if has_option_requests(parsed) else parsed
    models = parsed.select(pl.col("model").unique().sort()).collect()["model"].to_list()
    per_model = [counted(parsed.filter(pl.col("model") == model)).with_columns(model=pl.lit(model)) for model in models]
    texts = (
        pl.concat(per_model)
        if per_model
        else pl.DataFrame(schema={"gold": pl.String, "output": pl.String, "n": pl.UInt32})
    )
    if texts["gold"].n_unique() > MOST:
        labelled = _by_label(parsed)
        if not labelled.is_empty():
            labels = {*labelled["gold"], *labelled["output"]} - {""}
            return labelled.with_columns(pl.col("output").replace({"": UNREAD})), sorted(labels)
    return texts.with_columns(pl.col("output").replace({"": UNREAD})), []


def _by_label(parsed: pl.LazyFrame) -> pl.DataFrame:
    """Count the labels of the chosen option by the label of the first correct option.

    Options that were sent separately have no labels, and are counted by their index.
    """
    texts = pl.col("perturbed_references").list.eval(pl.element().struct.field("text"))
    right = pl.col("perturbed_references").list.eval(pl.element().struct.field("correct")).list.arg_max()
    labelled, option_index = pl.col("choices").list.len() > 0, pl.col("reference_index")
    chosen_label = look_up_pairs(pl.col("output"), texts, pl.col("choices")).fill_null("")
    return (
        parsed.filter(labelled | option_index.is_not_null(), pl.col("completion").is_not_null())
        .select(
            "model",
            gold=pl.when(labelled)
            .then(pl.col("choices").list.get(right, null_on_oob=True))
            .otherwise(pl.format("option {}", right + 1)),
            output=pl.when(labelled).then(chosen_label).otherwise(pl.format("option {}", option_index + 1)),
        )
        .group_by("model", "gold", "output")
        .agg(n=pl.len())
        .collect()
    )


@chart("confusion")
def confusion_of_results(results: Results, *, facet: str | None = None, mode: str = "light") -> "Drawn":
    """Draw how often each output occurs for each correct class; one panel per model.

    Args:
        results: Results of a run.
        facet: A column of the completions; each of its values has a chart of its own.
        mode: "light" or "dark".

    >>> import helmframe as hf
    >>> results = hf.scenario("sampler").where(subject="music").generate(hf.models.noisy(0.8)).score()
    >>> results.plot.confusion().to_dict()["title"]["text"]
    'confusion'
    """
    source = Source(results)
    return confusion(source.results.completions, facet=facet, mode=mode)
