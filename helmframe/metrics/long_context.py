"""Metrics of HELM's long-context scenarios."""

from collections.abc import Sequence
from difflib import SequenceMatcher

import polars as pl

from helmframe.metrics.protocol import metric


@metric(
    "ruler_string_match_part",
    source="HELM, ruler_qa_metrics.py; Hsieh et al. 2024 (RULER)",
    helm="ruler_string_match_part",
)
def ruler_string_match_part() -> pl.Expr:
    """1 where a correct reference stands anywhere in the completion, in any case.

    "It was Paris." against "paris" is 1.
    """
    completion, gold = pl.col("completion").str.to_lowercase(), pl.col("gold").str.to_lowercase()
    return completion.str.contains(gold, literal=True)


@metric(
    "openai_mrcr_accuracy",
    needs=("random_string_to_prepend",),
    source="HELM, openai_mrcr_metrics.py; OpenAI's data card of mrcr",
    helm="openai_mrcr_accuracy",
)
def openai_mrcr_accuracy(
    completion: str, perturbed_references: Sequence[dict[str, object]], random_string_to_prepend: str
) -> float:
    """How like the completion is to the reference, where it starts as asked; else 0.

    2·M/T, with M characters in common runs of T in both (difflib's ratio), without the start: "xYab" against "xYac",
    to start with "xY": 2·1/4 = 0.5.
    """
    if not completion.startswith(random_string_to_prepend):
        return 0.0
    wanted = str(perturbed_references[0]["text"]).removeprefix(random_string_to_prepend)
    return SequenceMatcher(None, completion.removeprefix(random_string_to_prepend), wanted).ratio()
