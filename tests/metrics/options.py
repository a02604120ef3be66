"""Frames of options that were asked one by one, and values of metrics of sets."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from helmframe._schema import REFERENCE
from helmframe.metrics.protocol import Metric, resolve_metrics
from helmframe.metrics.score import prepare_set_metric, score
from tests.frames import completions


def asked(
    options: Mapping[str, Sequence[Any]], tokens: Sequence[int] | None = None, instance: str = "id0"
) -> pl.DataFrame:
    """One instance: option → (log-probability, correct or a tag[, log-probability without the question])."""
    references = [
        {"text": text, "correct": mark is True, "tags": [mark] if isinstance(mark, str) else []}
        for text, (_, mark, *_) in options.items()
    ]
    logprobs = [given[0] for given in options.values()]
    without = [given[2] for given in options.values() if len(given) > 2]
    count = len(logprobs) + len(without)
    places = [*range(len(logprobs)), *range(len(without))]
    return completions(
        [list(options)[place] for place in places],
        [[]] * count,
        instance_id=[instance] * count,
        reference_index=pl.Series(places, dtype=pl.Int64),
        request_mode=pl.Series(["original"] * len(logprobs) + ["calibration"] * len(without), dtype=pl.String),
        logprob=pl.Series([*logprobs, *without], dtype=pl.Float64),
        output_tokens=pl.Series([tokens[place] if tokens else 1 for place in places], dtype=pl.Int64),
    ).with_columns(perturbed_references=pl.Series([references] * count, dtype=pl.List(REFERENCE)))


def of_instances(frame: pl.DataFrame, metric: str | Metric) -> list[float | None]:
    """The score of each instance by one metric."""
    return score(frame.lazy(), [metric]).collect()["score"].to_list()


def why(frame: pl.DataFrame, metric: str) -> tuple[float | None, str | None]:
    """Score and reason of the one row of scores."""
    row = score(frame.lazy(), [metric]).collect().row(0, named=True)
    return row["score"], row["reason"]


def of_set(frame: pl.DataFrame, metric: str) -> float | None:
    """The value of a metric of sets over all rows."""
    rows, value = prepare_set_metric(frame.lazy(), resolve_metrics([metric])[0])
    found: float | None = rows.select(value).collect().item()
    return found
