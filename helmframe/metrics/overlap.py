"""Metrics that count what output and reference have in common."""

import polars as pl

from helmframe.expressions import best_reference, normalised, words
from helmframe.metrics.score import metric


@metric("f1_score", source="HELM, evaluate_reference_metrics.py; nltk.metrics.f_measure")
def f1_score() -> pl.Expr:
    """Harmonic mean of precision and recall over the *sets* of normalised words, the best over the correct references.

    "the cat sat" against "a cat": common {cat}, precision 1/2, recall 1, so 2/3.
    SQuAD's F1 counts repeated words; this does not.
    """
    return best_reference(_f1)


def _f1(output: pl.Expr, gold: pl.Expr) -> pl.Expr:
    said = words(normalised(output)).list.unique()
    wanted = words(normalised(gold)).list.unique()
    common = said.list.set_intersection(wanted).list.len()
    both = said.list.len() + wanted.list.len()
    return pl.when(common > 0).then(2 * common / both).otherwise(0.0)
