"""Similarity through a function that embeds texts."""

import pytest

import helmframe as hf
from helmframe.errors import ArgumentError
from helmframe.metrics.score import score
from tests.frames import completions, right

CALLS: list[list[str]] = []


def embed(texts: list[str]) -> list[list[float]]:
    CALLS.append(texts)
    return [[float(text.count("a")), float(text.count("b"))] for text in texts]


def test_the_cosine_of_the_best_reference() -> None:
    CALLS.clear()
    frame = completions(["a", "ab", None, "a", "x"], [right("a", "b"), right("a"), right("a"), right("b"), right("a")])
    rows = score(frame.lazy(), [hf.metrics.similarity(embed)]).collect()
    assert rows["metric"].unique().to_list() == ["similarity"]
    assert rows["score"].to_list() == [1.0, pytest.approx(0.5**0.5), None, 0.0, 0.0]
    assert [sorted(call) for call in CALLS] == [["a", "ab", "b", "x"]]  # each text once, in one call


def test_it_stands_in_a_sentence() -> None:
    plan = hf.scenario("sampler").where(subject="music").limit(2).generate(hf.models.oracle())
    results = plan.metrics("exact_match", hf.metrics.similarity(lambda texts: [[1.0]] * len(texts), name="one")).score()
    assert results.value("one") == 1.0


def test_a_wrong_shape_is_an_error() -> None:
    frame = completions(["a"], [right("a")])
    with pytest.raises(ArgumentError, match=r"returned an array of shape \(2,\) for 1 texts"):
        score(frame.lazy(), [hf.metrics.similarity(lambda texts: [1.0, 2.0])]).collect()


def test_what_cant_be_called_raises_at_once() -> None:
    with pytest.raises(ArgumentError, match=r"similarity\('mini'\): embed must be a function"):
        hf.metrics.similarity("mini")  # type: ignore[arg-type]
