"""Metrics that compare sets of answers: HELM's "x is a and b" lists, and labels."""

import re

import polars as pl

from helmframe._core.expressions import stripped
from helmframe.metrics.match import HELM
from helmframe.metrics.protocol import metric

_ENTITY_TYPES = ("kpi", "cy", "py", "py1")
_ENTITY = re.compile(r"(?:^|(?<=\],))([^\[\]]+)\[([0-9a-z]+)\](?:$|(?=,))")


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


@metric("word_macro_f1_score", level="set", source="HELM, kpi_edgar_metrics.py", helm="word_macro_f1_score")
def word_macro_f1_score(completion: pl.Series, correct: pl.Series) -> float | None:
    """Return the mean over entity types of the F1 of the words that are marked with the type.

    A text lists entities with their type: "284 [cy], total cost [kpi]". The types are kpi, cy, py and py1. Words are
    counted once per text. The counts of all texts are summed first.

    Example: "284 [cy]" against "284 million [cy]" has the F1 2·1/(2+1) of cy, and 0 of the other types: 1/6.
    """
    return _entity_f1(completion, correct, adjusted=False)


@metric(
    "adjusted_macro_f1_score",
    level="set",
    source="HELM, kpi_edgar_metrics.py; Deußer et al. 2022 (KPI-EDGAR)",
    helm="adjusted_macro_f1_score",
)
def adjusted_macro_f1_score(completion: pl.Series, correct: pl.Series) -> float | None:
    """Return the mean over entity types of the F1 adjusted for partial matches.

    Entities and types are those of `word_macro_f1_score`. True positives are the share of the reference's words that
    the outputs have, false negatives the rest, and false positives the share of wrong words among the output's words.

    Example: "284 [cy]" against "284 million [cy]" has TP = FN = 1/2 and FP = 0 of cy: 2/3, so 1/6 over four types.
    """
    return _entity_f1(completion, correct, adjusted=True)


def _entity_f1(completion: pl.Series, correct: pl.Series, *, adjusted: bool) -> float | None:
    pairs = [
        (text, golds[0]) for text, golds in zip(completion, correct, strict=True) if text is not None and len(golds)
    ]
    if not pairs:
        return None
    counts = {name: [0, 0, 0] for name in _ENTITY_TYPES}  # overlap, and the words of output and reference
    for text, gold in pairs:
        output_words, gold_words = _entity_words(text), _entity_words(gold)
        for name, (output_set, gold_set) in zip(
            _ENTITY_TYPES, zip(output_words.values(), gold_words.values(), strict=True), strict=True
        ):
            for index, words in enumerate((output_set & gold_set, output_set, gold_set)):
                counts[name][index] += len(words)
    return sum(_f1_of(*numbers, adjusted=adjusted) for numbers in counts.values()) / len(counts)


def _f1_of(overlap: int, n_output: int, n_gold: int, *, adjusted: bool) -> float:
    hits, misses, alarms = float(overlap), float(n_gold - overlap), float(n_output - overlap)
    if adjusted:
        hits, misses = (hits / n_gold, misses / n_gold) if n_gold else (0.0, 0.0)
        alarms = alarms / n_output if n_output else 0.0
    total = 2 * hits + alarms + misses
    return 2 * hits / total if total else 0.0


def _entity_words(text: str) -> dict[str, set[str]]:
    """Return the words that a text marks with each type; unknown types are ignored."""
    words: dict[str, set[str]] = {name: set() for name in _ENTITY_TYPES}
    for phrase, name in _ENTITY.findall(text.strip()):
        if name in words:
            words[name] |= set(phrase.split())
    return words


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
