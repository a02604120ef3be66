"""Several outputs of one request."""

import math
from itertools import combinations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helmframe.metrics.score import score
from tests.frames import completions, right


def joined(name: str, texts: list[str | None], gold: str = "7") -> float | None:
    count = len(texts)
    frame = completions(texts, [right(gold)] * count, instance_id=["id0"] * count, output_index=list(range(count)))
    value = score(frame.lazy(), [name]).collect()["score"].item()
    assert value is None or isinstance(value, float)
    return value


@pytest.mark.parametrize(
    ("name", "texts", "expected"),
    [
        ("maj@3", ["7", "8", "7"], 1.0),
        ("maj@3", ["8", "7", "8"], 0.0),
        ("maj@2", ["7", "8"], 1.0),  # of equals the first
        ("maj@1", ["8", "7", "7"], 0.0),
        ("maj@3", ["7", "7", None], None),
        ("maj@2", ["7", "7", None], 1.0),
        ("maj@4", ["7", "7", "7"], None),
        ("maj@3(metric='f1_score')", ["7 9", "7 9", "7"], 2 / 3),
        ("pass^2", ["7", "7", "7", "8"], 0.5),
        ("pass^1", ["7", "8"], 0.5),
        ("pass^2", ["7", "8"], 0.0),
        ("pass^2", ["7"], None),
        ("pass^1", ["7", None], None),
        ("at_least@2", ["7", "8", "7"], 1.0),
        ("at_least@2", ["7", "8", "8"], 0.0),
        ("at_least@2", ["7", None, "7"], None),
        ("at_least@1(metric='quasi_exact_match')", ["7!", "x"], 1.0),
    ],
)
def test_joined_outputs(name: str, texts: list[str | None], expected: float | None) -> None:
    assert joined(name, texts) == (expected if expected is None else pytest.approx(expected))


def test_what_cant_be_read_has_no_vote() -> None:
    references = [[("Paris", True), ("Lyon", False)]] * 3
    frame = completions(
        ["?", "?", "A"], references, choices=[["A", "B"]] * 3, instance_id=["id0"] * 3, output_index=[0, 1, 2]
    )
    rows = score(frame.lazy(), ["maj@3", "maj@2"]).collect()
    assert rows["score"].to_list() == [1.0, 0.0]


@settings(deadline=None)
@given(st.lists(st.sampled_from(["7", "8"]), min_size=1, max_size=6), st.integers(1, 6))
def test_pass_all_is_the_share_of_draws_that_are_all_right(texts: list[str], k: int) -> None:
    draws = list(combinations(texts, k))
    value = joined(f"pass^{k}", list(texts))
    if not draws:
        assert value is None
    else:
        assert value is not None
        assert math.isclose(value, sum(set(draw) == {"7"} for draw in draws) / len(draws))


def test_each_instance_votes_for_itself() -> None:
    frame = completions(
        ["7", "8", "8", "7"], [right("7")] * 4, instance_id=["a", "a", "b", "b"], output_index=[0, 1, 0, 1]
    )
    rows = score(frame.lazy(), ["maj@2"]).collect()
    assert rows.select("instance_id", "score", "output_index").rows() == [("a", 1.0, None), ("b", 0.0, None)]
    assert rows["output"].dtype == pl.String
