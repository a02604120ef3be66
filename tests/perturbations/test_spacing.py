"""White space."""

import re
from collections import Counter

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helmframe.perturbations.parsing import call


def changed(texts: list[str], perturbation: str, **arguments: int) -> list[str]:
    frame = pl.DataFrame({"id": range(len(texts)), "text": pl.Series(texts, dtype=pl.String)})
    return frame.select(call(perturbation, **arguments).on(pl.col("text"), id="id")).to_series().to_list()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello my name is", "Hello  my  name  is"),  # HELM's own test
        ("a  b", "a    b"),
        (" a ", "  a  "),
        ("a\tb\nc\u00a0d", "a\tb\nc\u00a0d"),
        ("", ""),
    ],
)
def test_extra_space(text: str, expected: str) -> None:
    assert changed([text], "extra_space") == [expected]


def test_extra_space_takes_a_number() -> None:
    assert changed(["a b"], "extra_space", num_spaces=4) == ["a    b"]


def test_extra_space_of_one_changes_nothing() -> None:
    assert changed(["a b  c"], "extra_space", num_spaces=1) == ["a b  c"]


def test_space_stays_the_same_for_good() -> None:
    assert changed(["Hello World!\nQuite a day, huh?"], "space") == ["Hello  World!\nQuite  a day,   huh?"]


def test_space_of_one_leaves_single_spaces() -> None:
    assert changed(["a  b c    d"], "space", max_spaces=1) == ["a b c d"]


@given(st.lists(st.text("ab \t\né🎓", max_size=20), max_size=6), st.integers(1, 5))
def test_only_runs_of_spaces_change(texts: list[str], max_spaces: int) -> None:
    for new, old in zip(changed(texts, "space", max_spaces=max_spaces), texts, strict=True):
        assert re.split(" +", new) == re.split(" +", old)
        assert all(1 <= len(run) <= max_spaces for run in re.findall(" +", new))


def test_a_run_ends_with_its_row() -> None:
    first, second = changed(["a ", " b"], "space")
    assert re.fullmatch("a {1,3}", first)
    assert re.fullmatch(" {1,3}b", second)


def test_lengths_are_drawn_evenly() -> None:
    from scipy.stats import chisquare

    (out,) = changed(["a " * 30_000], "space")
    counts = Counter(len(run) for run in re.findall(" +", out))
    assert sorted(counts) == [1, 2, 3]
    assert chisquare([counts[1], counts[2], counts[3]]).pvalue > 0.001


def test_the_length_of_a_run_does_not_decide_what_it_becomes() -> None:
    short, long = changed(["a b c d"], "space"), changed(["a    b  c   d"], "space")
    assert short == long
