"""Few-shot examples: the train instances before the question."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import cycle
from random import Random

import polars as pl

from helmframe._core.expressions import key_of
from helmframe._core.specs import AdapterSpec
from helmframe.errors import ArgumentError


def draw(train: pl.DataFrame, spec: AdapterSpec, subsets: Iterable[str]) -> pl.DataFrame:
    """Return the few-shot examples of each subset and trial, in order.

    Args:
        train: The train pool with the adapter's `question` and `answer`.
        spec: The adapter: its `shots`, `trials`, `sample_train` and `shot_order` are used.
        subsets: The subsets to sample for. A subset without train instances gets no examples.

    Returns:
        One row per (subset, trial, shot): subset, trial, shot_id, question, answer.
    """
    pools = train.partition_by("subset", as_dict=True) if train.height else {}
    frames = [
        ordered(pools[(subset,)][_sampled_indices(pools[(subset,)], spec, trial)], spec.shot_order).select(
            "subset",
            pl.lit(trial, dtype=pl.Int64).alias("trial"),
            pl.col("instance_id").alias("shot_id"),
            "question",
            "answer",
        )
        for subset in subsets
        for trial in range(spec.trials)
        if (subset,) in pools
    ]
    schema = {"subset": pl.String, "trial": pl.Int64, "shot_id": pl.String, "question": pl.String, "answer": pl.String}
    return pl.concat([pl.DataFrame(schema=schema), *frames])


def ordered(shots: pl.DataFrame, order: str) -> pl.DataFrame:
    """Return the examples as sampled (""), in "reverse", or in a random order ("random", "random:2", …).

    A random order depends on its number and the instances' ids: the same examples have the same order everywhere.
    """
    if order == "reverse":
        return shots.reverse()
    if order:
        return shots.sort(key_of(f"{order.partition(':')[2] or '0'}\x1fshot_order\x1f", pl.col("instance_id")))
    return shots


def check_order(order: str) -> None:
    """Check that `ordered` supports this order.

    Raises:
        ArgumentError: The order is unsupported.
    """
    if not re.fullmatch(r"|reverse|random(:\d+)?", order):
        raise ArgumentError.unknown_value(
            f"adapt(shot_order={order!r})", order, ["reverse", "random", "random:1", "random:2"]
        )


def _sampled_indices(pool: pl.DataFrame, spec: AdapterSpec, trial: int) -> list[int]:
    count = min(spec.shots, pool.height)
    if not spec.sample_train:
        return list(range(pool.height))[count * trial : count * (trial + 1)]
    if spec.balance == "letters":
        correct = pl.col("references").list.eval(pl.element().struct.field("correct").cast(pl.Int8))
        first = pl.when(correct.list.max() > 0).then(correct.list.arg_max()).cast(pl.String)
        indices = balanced(pool.select(first).to_series().to_list(), count, trial)
        Random(trial).shuffle(indices)  # noqa: S311 - else the frequent letters come first
        return indices
    labels = pool.select(
        pl.col("references")
        .list.eval(pl.element().filter(pl.element().struct.field("correct")).struct.field("text"))
        .list.first()
    ).to_series()
    return balanced(labels.to_list(), count, trial)


def balanced(labels: Sequence[str | None], count: int, trial: int) -> list[int]:
    """Return the indices of `count` examples, sampled in turn from each label, frequent labels first.

    Labels of equal size are shuffled. Examples without a label fill the rest. This is HELM's rule with HELM's random
    numbers, so that the prompts are the same. The result depends on the pool and `trial` only.

    >>> balanced(["no", "yes", "no", "no"], 2, trial=0)
    [2, 1]

    Source: helm.benchmark.adaptation.adapters.in_context_learning_adapter; Perez et al. 2021 (true few-shot sampling).
    """
    random = Random(trial)  # noqa: S311 - not for secrets
    by_label: dict[str, list[int]] = defaultdict(list)
    unlabelled = []
    for index, label in enumerate(labels):
        if label is None:
            unlabelled.append(index)
        else:
            by_label[label].append(index)
    by_size: dict[int, list[str]] = defaultdict(list)
    for label in sorted(by_label):
        by_size[len(by_label[label])].append(label)
    order: list[str] = []
    for size in sorted(by_size, reverse=True):
        random.shuffle(by_size[size])
        order += by_size[size]
    indices: list[int] = []
    turns = cycle(order)
    n_labelled = min(count, len(labels) - len(unlabelled))
    while len(indices) < n_labelled:
        remaining = by_label[next(turns)]
        if remaining:
            indices.append(remaining.pop(random.randrange(len(remaining))))
    return indices + random.sample(unlabelled, min(count - len(indices), len(unlabelled)))
