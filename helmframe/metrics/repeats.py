"""Metrics over several outputs of one request: the majority vote, and the reliability of correct answers."""

from collections import Counter
from collections.abc import Sequence

import polars as pl

from helmframe.metrics.protocol import OUTPUTS, metric

RIGHT = 1.0


@metric(
    "maj@k", level="instance", needs=(OUTPUTS,), source="Wang et al. 2023 (self-consistency); lm-eval, majority_vote"
)
def maj(
    output: Sequence[str | None],
    score: Sequence[float | None],
    *,
    k: int,
    metric: str = "exact_match",  # noqa: ARG001 - the metric of `score`
) -> float | None:
    """Return the score of the most frequent answer among the first k outputs (self-consistency).

    If several answers are equally frequent, the first counts. Outputs without a parsed answer have no vote. The score
    is null if an output failed.

    Example: "7", "8", "7" against "7": the vote is 7, so 1.

    Args:
        output: The answers.
        score: Their scores under `metric`.
        k: The number of votes.
        metric: The metric that scores the answer.
    """
    if len(score) < k or any(value is None for value in score[:k]):
        return None
    votes = Counter(answer for answer in output[:k] if answer is not None)
    return score[output.index(votes.most_common(1)[0][0])] if votes else 0.0


@metric("pass^k", level="instance", needs=(OUTPUTS,), source="Yao et al. 2024 (tau-bench)")
def pass_all(*, k: int, metric: str = "exact_match") -> pl.Expr:  # noqa: ARG001 - the metric of `score`
    """Return the probability that k outputs, sampled without replacement from an instance's n, are all correct.

    With c correct outputs it is C(c, k) / C(n, k). `pass@k` is the probability that at least one is correct. The score
    is null if an output failed.

    Example: Of 4 outputs with 3 correct, pass^2 is 3/6.

    Args:
        k: The number of sampled outputs.
        metric: The metric; its score 1 means correct.
    """
    n, right = pl.len().cast(pl.Float64), (pl.col("score") >= RIGHT).sum().cast(pl.Float64)
    chance = pl.lit(1.0)
    for index in range(k):
        chance = chance * (right - index).clip(lower_bound=0) / (n - index)
    return pl.when((n >= k) & pl.col("score").is_not_null().all()).then(chance)


@metric("at_least@k", level="instance", needs=(OUTPUTS,), source="inspect_ai, at_least", correctness=True)
def at_least(*, k: int, metric: str = "exact_match") -> pl.Expr:  # noqa: ARG001 - the metric of `score`
    """Return 1 if at least k of an instance's outputs are correct, else 0.

    The score is null if an output failed.

    Example: Of 3 outputs with 2 correct, at_least@2 is 1.

    Args:
        k: The number of outputs that must be correct.
        metric: The metric; its score 1 means correct.
    """
    right = (pl.col("score") >= RIGHT).sum() >= k
    return pl.when((pl.len() >= k) & pl.col("score").is_not_null().all()).then(right.cast(pl.Float64))
