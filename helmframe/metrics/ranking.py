"""Metrics of ranked references: each reference has its own request, and the completions order them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from helmframe.metrics.protocol import metric

SOURCE = "HELM, ranking_metrics.py; trec_eval"
NEEDS = ("logprob", "reference_index")
NO_RELEVANT = "no reference is relevant"


@metric("RR@k", level="instance", needs=NEEDS, source=SOURCE, helm="RR@k", no_value=NO_RELEVANT)
def reciprocal_rank(
    completion: Sequence[str], logprob: Sequence[float], reference_index: Sequence[int], perturbed_references: Any,
    *, k: int, topk: int = 0, right: str = "yes", wrong: str = "no",
) -> float | None:  # fmt: skip
    """Return 1 / the rank of the first relevant reference, or 0 if it is not among the first k.

    References with the completion `right` come first, by falling probability. Then come those with `wrong`, by rising
    probability, and then the rest. Correct references are relevant. Grades (tag `relevance=…`) count in `NDCG@k` only.
    As in HELM, passages of grade 1 in MS MARCO's TREC track are therefore not relevant.

    Example: Relevant references on ranks 2 and 5: 1/2.

    Args:
        completion: The completions.
        logprob: Their log-probabilities.
        reference_index: The reference of each completion.
        perturbed_references: The references.
        k: The number of ranks that count.
        topk: The largest tag `rank=…` of references that are ranked, HELM's suffix "(topk=…)". 0 ranks all references.
        right: The completion for a relevant reference.
        wrong: The completion for an irrelevant reference.
    """
    ranked = _ranked(completion, logprob, reference_index, perturbed_references[0], topk, right, wrong)
    ranks = [rank for rank, reference in enumerate(ranked[:k], start=1) if reference["correct"]]
    return _if_judged(perturbed_references[0], 1 / ranks[0] if ranks else 0.0)


@metric(
    "NDCG@k",
    level="instance",
    needs=NEEDS,
    source=f"{SOURCE}; Järvelin & Kekäläinen 2002",
    helm="NDCG@k",
    no_value=NO_RELEVANT,
)
def ndcg(
    completion: Sequence[str], logprob: Sequence[float], reference_index: Sequence[int], perturbed_references: Any,
    *, k: int, topk: int = 0, right: str = "yes", wrong: str = "no",
) -> float | None:  # fmt: skip
    """Return the normalised discounted cumulative gain (NDCG) of the first k ranks.

    It is the sum of relevance / log2(rank + 1), as a share of the best order's sum. The order is that of `RR@k`. The
    relevance of a reference is its tag `relevance=…`; without the tag it is 1 if the reference is correct. Relevance is
    used as in trec_eval; others use 2^relevance - 1.

    Example: Relevances 0 and 1 in this order: (1/log2 3) / 1 = 0.631.

    Args:
        completion: As in `RR@k`.
        logprob: As in `RR@k`.
        reference_index: As in `RR@k`.
        perturbed_references: As in `RR@k`.
        k: As in `RR@k`.
        topk: As in `RR@k`.
        right: As in `RR@k`.
        wrong: As in `RR@k`.
    """
    ranked = _ranked(completion, logprob, reference_index, perturbed_references[0], topk, right, wrong)
    gains = [_relevance(reference) for reference in ranked]
    ideal = sorted((_relevance(reference) for reference in perturbed_references[0]), reverse=True)
    best = _discounted(ideal[:k])
    return _if_judged(perturbed_references[0], _discounted(gains[:k]) / best if best else 0.0)


@metric(
    "success@k", level="instance", needs=NEEDS, source=SOURCE, helm="Success@k", no_value=NO_RELEVANT, correctness=True
)
def success(
    completion: Sequence[str], logprob: Sequence[float], reference_index: Sequence[int], perturbed_references: Any,
    *, k: int, topk: int = 0, right: str = "yes", wrong: str = "no",
) -> float | None:  # fmt: skip
    """Return 1 if a relevant reference is among the first k, else 0.

    The order is that of `RR@k`.

    Example: With the first relevant reference on rank 2, success@1 is 0 and success@2 is 1.

    Args:
        completion: As in `RR@k`.
        logprob: As in `RR@k`.
        reference_index: As in `RR@k`.
        perturbed_references: As in `RR@k`.
        k: As in `RR@k`.
        topk: As in `RR@k`.
        right: As in `RR@k`.
        wrong: As in `RR@k`.
    """
    ranked = _ranked(completion, logprob, reference_index, perturbed_references[0], topk, right, wrong)
    return _if_judged(perturbed_references[0], float(any(reference["correct"] for reference in ranked[:k])))


@metric("recall@k", level="instance", needs=NEEDS, source=SOURCE, helm="Recall@k", no_value=NO_RELEVANT)
def recall(
    completion: Sequence[str], logprob: Sequence[float], reference_index: Sequence[int], perturbed_references: Any,
    *, k: int, topk: int = 0, right: str = "yes", wrong: str = "no",
) -> float | None:  # fmt: skip
    """Return the share of the relevant references that are among the first k.

    The order is that of `RR@k`.

    Example: With relevant references on ranks 2 and 5, recall@3 is 1/2.

    Args:
        completion: As in `RR@k`.
        logprob: As in `RR@k`.
        reference_index: As in `RR@k`.
        perturbed_references: As in `RR@k`.
        k: As in `RR@k`.
        topk: As in `RR@k`.
        right: As in `RR@k`.
        wrong: As in `RR@k`.
    """
    ranked = _ranked(completion, logprob, reference_index, perturbed_references[0], topk, right, wrong)
    n_relevant = sum(reference["correct"] for reference in perturbed_references[0])
    n_ranked = sum(reference["correct"] for reference in ranked[:k])
    return _if_judged(perturbed_references[0], n_ranked / n_relevant if n_relevant else 0.0)


def _ranked(
    completion: Sequence[str], logprob: Sequence[float], index: Sequence[int], references: Sequence[Mapping[str, Any]],
    topk: int, right: str, wrong: str,
) -> list[Mapping[str, Any]]:  # fmt: skip
    """Return the ranked references, the first rank first; of n outputs about a reference, the first counts."""

    def sort_key(row: int) -> tuple[int, float]:
        answer = completion[row].strip().lower()
        kind = 2 if answer == right.lower() else 1 if answer == wrong.lower() else 0
        return kind, logprob[row] if kind == 2 else -logprob[row]

    rows = [row for row, reference in enumerate(index) if reference not in index[:row]]
    order = sorted(rows, key=sort_key, reverse=True)
    ranked = [references[index[row]] for row in order]
    return [reference for reference in ranked if not topk or 0 < _tag(reference, "rank") <= topk]


def _relevance(reference: Mapping[str, Any]) -> int:
    grade = _tag(reference, "relevance", -1)
    return grade if grade >= 0 else int(reference["correct"])


def _tag(reference: Mapping[str, Any], name: str, absent: int = 0) -> int:
    tags = [tag.removeprefix(f"{name}=") for tag in reference["tags"] or () if tag.startswith(f"{name}=")]
    return int(tags[0]) if tags and tags[0].isdigit() else absent


def _discounted(gains: Sequence[int]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, start=1))


def _if_judged(references: Sequence[Mapping[str, Any]], value: float) -> float | None:
    """Return the value, or null if all references are irrelevant: there is nothing to find."""
    return value if any(reference["correct"] or _relevance(reference) > 0 for reference in references) else None
