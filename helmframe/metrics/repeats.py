"""Metrics over several outputs of one request: the vote, and how sure a right answer is."""

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
    metric: str = "exact_match",  # noqa: ARG001 - says of what `score` is
) -> float | None:
    """The score of the answer that most of the first k outputs give; of equals the first; null if one failed.

    "7", "8", "7" against "7": the vote is 7, so 1. What can't be read has no vote.

    Args:
        output: the answers.
        score: their scores by `metric`.
        k: how many vote.
        metric: the metric that says what the answer is worth.
    """
    if len(score) < k or any(value is None for value in score[:k]):
        return None
    votes = Counter(answer for answer in output[:k] if answer is not None)
    return score[output.index(votes.most_common(1)[0][0])] if votes else 0.0


@metric("pass^k", level="instance", needs=(OUTPUTS,), source="Yao et al. 2024 (tau-bench)")
def pass_all(*, k: int, metric: str = "exact_match") -> pl.Expr:  # noqa: ARG001 - `metric` says of what `score` is
    """The chance that k outputs, drawn without replacement from an instance's n, are all right: C(c, k) / C(n, k).

    Of 4 outputs with 3 right, pass^2 is 3/6. `pass@k` is the chance that one is. Null if an output failed.

    Args:
        k: how many are drawn.
        metric: the metric whose score of 1 is right.
    """
    n, right = pl.len().cast(pl.Float64), (pl.col("score") >= RIGHT).sum().cast(pl.Float64)
    chance = pl.lit(1.0)
    for drawn in range(k):
        chance = chance * (right - drawn).clip(lower_bound=0) / (n - drawn)
    return pl.when((n >= k) & pl.col("score").is_not_null().all()).then(chance)


@metric("at_least@k", level="instance", needs=(OUTPUTS,), source="inspect_ai, at_least", correctness=True)
def at_least(*, k: int, metric: str = "exact_match") -> pl.Expr:  # noqa: ARG001 - `metric` says of what `score` is
    """1 where at least k of an instance's outputs are right. Of 3 outputs with 2 right, at_least@2 is 1.

    Null if an output failed.

    Args:
        k: how many must be right.
        metric: the metric whose score of 1 is right.
    """
    right = (pl.col("score") >= RIGHT).sum() >= k
    return pl.when((pl.len() >= k) & pl.col("score").is_not_null().all()).then(right.cast(pl.Float64))
