"""What is to be known before all is asked: how it is said, and what can't be."""

from collections.abc import Callable

import pytest

import helmframe as hf
from helmframe.early_stopping.rules import Until, until_said
from helmframe.errors import ArgumentError


@pytest.mark.parametrize(
    "until",
    [hf.precise(0.03), hf.precise(1, metric="f1_score", seed=3), hf.decided("a", "org/b'c", ci=0.9, mean="micro")],
)
def test_what_it_says_of_itself_can_be_said_again(until: Until) -> None:
    assert until_said(str(until)) == until


def test_the_command_line_takes_bare_words() -> None:
    assert until_said("precise(.03)") == hf.precise(0.03)
    assert until_said(" decided(base, tuned, metric=f1_score) ") == hf.decided("base", "tuned", metric="f1_score")


@pytest.mark.parametrize(
    ("say", "message"),
    [
        (lambda: hf.precise(0), "such as 0.03"),
        (lambda: hf.precise(float("nan")), "such as 0.03"),
        (lambda: hf.precise("0.1"), "such as 0.03"),  # type: ignore[arg-type]
        (lambda: hf.precise(0.1, ci=95), "ci=95"),
        (lambda: hf.precise(0.1, mean="median"), "neither 'macro'"),
        (lambda: hf.precise(0.1, seed=0.5), "seed=0.5"),  # type: ignore[arg-type]
        (lambda: hf.decided("a", "a"), "two models, not one"),
        (lambda: hf.decided("a", 1), "names of two models"),  # type: ignore[arg-type]
        (lambda: until_said("precise"), "write .precise"),
        (lambda: until_said("precice(.1)"), "write .precise"),
        (lambda: until_said("precise(.1, cii=.9)"), "Did you mean 'ci'"),
        (lambda: until_said("precise()"), "half_width"),
        (lambda: until_said("decided(a)"), "'b'"),
        (lambda: until_said("__import__('os').getcwd()"), "write .precise"),
        (lambda: until_said("precise(open('x'))"), "write .precise"),
    ],
)
def test_what_can_not_be_is_said(say: Callable[[], Until], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        say()
