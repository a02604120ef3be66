"""The answer where each option was asked about: the likeliest."""

from typing import Any

import polars as pl
import pytest

from helmframe.metrics.protocol import resolve_metrics
from helmframe.metrics.score import prepare_set_metric, score
from tests.frames import completions

OPTIONS = [("cold", True), ("very hot indeed", False)]


def options(*logprobs: float | None, tokens: tuple[int, ...] | None = (1, 3), **columns: Any) -> pl.DataFrame:
    """One instance with these log-probabilities of its options."""
    count = len(logprobs)
    texts = [text for text, _ in OPTIONS] * (count // 2)
    frame_columns: dict[str, Any] = {
        "instance_id": "a",
        "reference_index": [place % 2 for place in range(count)],
        "request_mode": "original",
        "continuation": [f" {text}" for text in texts],
        "logprob": list(logprobs),
        "output_tokens": list(tokens) * (count // 2) if tokens else pl.lit(None, dtype=pl.Int64),
        **columns,
    }
    return completions(
        [None if each is None else text for each, text in zip(logprobs, texts, strict=True)],
        [OPTIONS] * count,
        **frame_columns,
    )


def scores(frame: pl.DataFrame, *names: str) -> list[tuple[str, float | None]]:
    return list(score(frame.lazy(), names).collect().select("metric", "score").iter_rows())


def test_the_likeliest_per_token_answers() -> None:
    # -2 a token against -1
    assert scores(options(-2.0, -3.0), "exact_match", "f1_score") == [("exact_match", 0.0), ("f1_score", 0.0)]
    assert scores(options(-2.0, -9.0), "exact_match") == [("exact_match", 1.0)]


def test_of_as_likely_ones_the_first_answers() -> None:
    assert scores(options(-2.0, -6.0), "exact_match") == [("exact_match", 1.0)]


def test_without_tokens_the_likeliest_as_a_whole_answers() -> None:
    assert scores(options(-2.0, -3.0, tokens=None), "exact_match") == [("exact_match", 1.0)]


def test_with_calibration_what_the_question_adds_answers() -> None:
    # -2 - -1 = -1 against -3 - -9 = 6
    frame = options(-2.0, -3.0, -1.0, -9.0, request_mode=["original"] * 2 + ["calibration"] * 2)
    assert scores(frame, "exact_match") == [("exact_match", 0.0)]


def test_the_output_is_the_options_text() -> None:
    (row,) = score(options(-2.0, -9.0).lazy(), ["exact_match"]).collect().to_dicts()
    assert (row["output"], row["parsed"], row["truncated"]) == ("cold", True, False)


def test_an_option_that_failed_fails_the_instance() -> None:
    (row,) = score(options(-2.0, None).lazy(), ["exact_match"]).collect().to_dicts()
    assert (row["score"], row["parsed"]) == (None, None)


def test_likelihoods_stay_those_of_each_option() -> None:
    assert scores(options(-2.0, -9.0), "logprob", "option_accuracy") == [
        ("logprob", -2.0),
        ("logprob", -9.0),
        ("option_accuracy", 1.0),
    ]


def test_other_rows_are_read_as_always() -> None:
    free = completions(["cold"], [OPTIONS], instance_id="b")
    both = pl.concat([options(-9.0, -2.0), free])
    found = score(both.lazy(), ["exact_match"]).collect().sort("instance_id")
    assert found.select("instance_id", "score").rows() == [("a", 0.0), ("b", 1.0)]


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_the_order_of_rows_does_not_matter(order: list[int]) -> None:
    assert scores(options(-2.0, -9.0)[order], "exact_match") == [("exact_match", 1.0)]


def test_metrics_of_sets_see_the_answers() -> None:
    (metric,) = resolve_metrics(["classification_macro_f1"])
    rows, _ = prepare_set_metric(options(-2.0, -9.0).lazy(), metric)
    assert rows.collect()["output"].to_list() == ["cold"]
    (metric,) = resolve_metrics(["perplexity"])
    rows, _ = prepare_set_metric(options(-2.0, -9.0).lazy(), metric)
    assert rows.collect().height == 2
