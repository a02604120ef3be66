"""Metrics that compare sets of answers: HELM's "x is a and b" lists, and labels."""

import polars as pl

from helmframe._core.expressions import stripped
from helmframe.metrics.match import HELM
from helmframe.metrics.protocol import metric


@metric("iou_set_match", source=HELM, helm="iou_set_match")
def iou_set_match(*, start: str = " is ", separator: str = " and ", empty: str = "Nothing.") -> pl.Expr:
    """Return the share of common elements among all elements of the output's and the reference's sets.

    A set is the text after its last `start`, without full stops, split at `separator`. Only the first line of the
    output counts. A text equal to `empty` is the empty set; against it only the empty set scores 1.

    Example: "it is a and b" against "it is b and c" has 1 of 3 elements in common: 1/3.

    Args:
        start: The text before the elements.
        separator: The text between the elements.
        empty: The text of the empty set.
    """
    output_set, gold_set = _sets(start, separator, empty)
    common = output_set.list.set_intersection(gold_set).list.len()
    return _unless_empty(common / output_set.list.set_union(gold_set).list.len(), output_set, gold_set)


@metric("f1_set_match", source=HELM, helm="f1_set_match")
def f1_set_match(*, start: str = " is ", separator: str = " and ", empty: str = "Nothing.") -> pl.Expr:
    """Return the F1 of the output's and the reference's sets.

    The sets are those of `iou_set_match`.

    Example: "it is a and b" against "it is b and c" is 2·1/(2+2) = 1/2.

    Args:
        start: As in `iou_set_match`.
        separator: As in `iou_set_match`.
        empty: As in `iou_set_match`.
    """
    output_set, gold_set = _sets(start, separator, empty)
    common = output_set.list.set_intersection(gold_set).list.len()
    return _unless_empty(2 * common / (output_set.list.len() + gold_set.list.len()), output_set, gold_set)


@metric("exact_set_match", source=HELM, helm="exact_set_match")
def exact_set_match(*, start: str = " is ", separator: str = " and ", empty: str = "Nothing.") -> pl.Expr:
    """Return 1 if the output's and the reference's sets are equal, else 0.

    The sets are those of `iou_set_match`.

    Example: "it is a and b" against "it is b and a" is 1.

    Args:
        start: As in `iou_set_match`.
        separator: As in `iou_set_match`.
        empty: As in `iou_set_match`.
    """
    output_set, gold_set = _sets(start, separator, empty)
    return output_set.list.sort() == gold_set.list.sort()


@metric(
    "label_f1", source="scikit-learn, f1_score(average='samples'); HELM, MultiLabelClassificationMetric per instance"
)
def label_f1(*, separator: str = ",") -> pl.Expr:
    """Return the F1 of the output's labels against all correct references as one set of labels.

    Labels are normalised.

    Example: "red, blue" against the references "red" and "green" has 1 common label of 2 and 2: 1/2.

    Args:
        separator: The text between labels, in the output and within references.
    """
    predicted = _labels(pl.col("output").str.split(separator))
    expected = _labels(pl.col("correct").list.join(separator).str.split(separator))
    both = predicted.list.len() + expected.list.len()
    common = predicted.list.set_intersection(expected).list.len()
    return pl.when(both > 0).then(2 * common / both).otherwise(1.0)


def _sets(start: str, separator: str, empty: str) -> tuple[pl.Expr, pl.Expr]:
    line = pl.col("output").str.split("\n").list.first()
    return _set(line, start, separator, empty), _set(pl.col("gold"), start, separator, empty)


def _set(text: pl.Expr, start: str, separator: str, empty: str) -> pl.Expr:
    listed = text.str.replace_all(".", "", literal=True).str.split(start).list.last().str.split(separator).list.unique()
    return pl.when(text == empty).then(pl.lit([], dtype=pl.List(pl.String))).otherwise(listed)


def _unless_empty(value: pl.Expr, output_set: pl.Expr, gold_set: pl.Expr) -> pl.Expr:
    return pl.when(gold_set.list.len() > 0).then(value).otherwise((output_set.list.len() == 0).cast(pl.Float64))


def _labels(parts: pl.Expr) -> pl.Expr:
    label = stripped(pl.element().str.to_lowercase())
    return parts.list.eval(label.filter(label != "")).list.unique()
