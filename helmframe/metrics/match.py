"""Metrics that compare the output with the references as wholes."""

import polars as pl

from helmframe.expressions import best_reference, normalised, stripped
from helmframe.metrics.score import metric

HELM = "HELM, evaluate_reference_metrics.py"


@metric("exact_match", source=HELM)
def exact_match() -> pl.Expr:
    """1 where the output equals a correct reference, both stripped; an empty output scores 0.

    "Paris" against "Paris " is 1, "paris" is 0.
    """
    golds = pl.col("correct").list.eval(stripped(pl.element()))
    return golds.list.contains(pl.col("output")) & _answered()


@metric("quasi_exact_match", source=HELM)
def quasi_exact_match() -> pl.Expr:
    """1 where both are equal in lower case, without punctuation and articles; an empty output scores 0.

    "the Eiffel tower!" against "Eiffel Tower" is 1.
    """
    golds = pl.col("correct").list.eval(normalised(pl.element()))
    return golds.list.contains(normalised(pl.col("output"))) & _answered()


@metric("prefix_exact_match", source=HELM)
def prefix_exact_match() -> pl.Expr:
    """1 where the output starts with a correct reference, both stripped. "Paris, of course" against "Paris" is 1."""
    return best_reference(lambda output, gold: output.str.starts_with(stripped(gold)) & (output != ""))


@metric("quasi_prefix_exact_match", source=HELM)
def quasi_prefix_exact_match() -> pl.Expr:
    """As `prefix_exact_match`, after the normalisation of `quasi_exact_match`."""
    return best_reference(lambda output, gold: normalised(output).str.starts_with(normalised(gold)) & (output != ""))


def _answered() -> pl.Expr:
    return pl.col("output") != ""
