"""Which of a request's n outputs HELM scores."""

from collections.abc import Sequence
from typing import Any

import polars as pl
import pytest

from helmframe.metrics.helm_outputs import helm_scores
from helmframe.metrics.protocol import resolve_metrics
from helmframe.metrics.score import prepare_set_metric, score
from tests.frames import completions, right


def outputs(texts: Sequence[str | None], logprobs: Sequence[float | None], **columns: Any) -> pl.DataFrame:
    """Return `COMPLETIONS` of one request, an output per text; the reference is "yes"."""
    n = len(texts)
    return completions(
        texts,
        [right("yes")] * n,
        instance_id=["id0"] * n,
        output_index=list(range(n)),
        logprob=pl.Series(logprobs, dtype=pl.Float64),
        **columns,
    )


def values(frame: pl.DataFrame, *names: str) -> dict[str, list[float | None]]:
    rows = score(frame.lazy(), names).collect()
    return {name: rows.filter(metric=name)["score"].to_list() for name in names}


def test_all_outputs_are_scored_by_default() -> None:
    frame = outputs(["no", "yes", "no"], [-2.0, -1.0, -3.0])
    assert values(frame, "exact_match") == {"exact_match": [0.0, 1.0, 0.0]}


def test_by_helm_the_likeliest_output_is_scored() -> None:
    frame = outputs(["no", "yes", "no"], [-2.0, -1.0, -3.0], scored_outputs="helm")
    names = ("exact_match", "f1_score", "max_prob", "logprob", "num_output_tokens", "exact_match@3")
    assert values(frame.with_columns(output_tokens=pl.Series([1, 2, 3])), *names) == {
        "exact_match": [1.0],
        "f1_score": [1.0],
        "max_prob": [pytest.approx(0.36787944)],
        "logprob": [-2.0],  # of the first output
        "num_output_tokens": [1.0, 2.0, 3.0],
        "exact_match@3": [1.0],
    }


@pytest.mark.parametrize(
    ("texts", "logprobs", "expected"),
    [
        (["yes", "no"], [-1.0, -1.0], 1.0),  # the first of equal ones
        (["no", "yes"], [None, None], 0.0),  # HELM has 0 where a model returns no log-probability
        ([None, "yes", "no"], [None, -2.0, -3.0], 1.0),  # a failed output comes last
        ([None, None], [None, None], None),
    ],
)
def test_the_likeliest_of(texts: list[str | None], logprobs: list[float | None], expected: float | None) -> None:
    assert values(outputs(texts, logprobs, scored_outputs="helm"), "exact_match") == {"exact_match": [expected]}


def test_each_trial_and_perturbation_has_its_likeliest_output() -> None:
    frames = [
        outputs(["yes", "no"], logprobs, scored_outputs="helm", trial=trial, perturbation=perturbation)
        for trial, perturbation, logprobs in [
            (0, "original", [-1.0, -2.0]), (1, "original", [-2.0, -1.0]), (0, "typos", [-9.0, -8.0]),
        ]
    ]  # fmt: skip
    assert values(pl.concat(frames), "exact_match") == {"exact_match": [1.0, 0.0, 0.0]}


def test_scores_of_all_outputs_can_be_reduced_to_helms_later() -> None:
    frame = outputs(["no", "yes", "no"], [-2.0, -1.0, -3.0]).lazy()
    names = ["exact_match", "logprob", "output_words"]
    counted = helm_scores(score(frame, names), frame, [*names, "unknown to us"]).collect()
    assert counted.select("metric", "output_index").rows() == [
        ("exact_match", 1), ("logprob", 0), ("output_words", 0), ("output_words", 1), ("output_words", 2),
    ]  # fmt: skip


def test_the_only_score_of_a_request_stays() -> None:
    # HELM's own, as it is imported: of output 0, whichever was the likeliest
    frame = outputs(["no", "yes", "no"], [-2.0, -1.0, -3.0]).lazy()
    imported = score(frame, ["exact_match"]).filter(pl.col("output_index") == 0)
    assert helm_scores(imported, frame, ["exact_match"]).collect().height == 1


def test_a_metric_of_a_set_has_helms_outputs() -> None:
    frame = outputs(["no", "yes", "no"], [-2.0, -1.0, -3.0])
    (ece,) = resolve_metrics(["ece_1_bin"])
    for rows, value in (
        prepare_set_metric(frame.lazy(), ece, helm=True),
        prepare_set_metric(frame.with_columns(scored_outputs=pl.lit("helm")).lazy(), ece),
    ):
        # one output, of confidence e^-1, and right
        assert rows.select(value).collect().item() == pytest.approx(1 - 0.36787944)
