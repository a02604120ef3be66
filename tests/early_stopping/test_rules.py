"""What is to be known before all is asked: how it is said, and what can't be."""

from collections.abc import Callable

import pytest

import helmframe as hf
from helmframe.early_stopping.rules import Until, parse_until
from helmframe.errors import ArgumentError


@pytest.mark.parametrize(
    "until",
    [hf.precise(0.03), hf.precise(1, metric="f1_score", seed=3), hf.decided("a", "org/b'c", ci=0.9, mean="micro")],
)
def test_the_repr_of_a_rule_is_a_rule(until: Until) -> None:
    assert parse_until(str(until)) == until


def test_the_command_line_takes_bare_words() -> None:
    assert parse_until("precise(.03)") == hf.precise(0.03)
    assert parse_until(" decided(base, tuned, metric=f1_score) ") == hf.decided("base", "tuned", metric="f1_score")


@pytest.mark.parametrize(
    ("say", "message"),
    [
        (lambda: hf.precise(0), "such as 0.03"),
        (lambda: hf.precise(float("nan")), "such as 0.03"),
        (lambda: hf.precise("0.1"), "such as 0.03"),  # type: ignore[arg-type]
        (lambda: hf.precise(0.1, ci=95), "ci=95"),
        (lambda: hf.precise(0.1, mean="median"), "mean must be 'macro'"),
        (lambda: hf.precise(0.1, seed=0.5), "seed=0.5"),  # type: ignore[arg-type]
        (lambda: hf.decided("a", "a"), "a and b must be different models"),
        (lambda: hf.decided("a", 1), "a and b must be names of models"),  # type: ignore[arg-type]
        (lambda: parse_until("precise"), "the rule must be .precise"),
        (lambda: parse_until("precice(.1)"), "the rule must be .precise"),
        (lambda: parse_until("precise(.1, cii=.9)"), "Did you mean 'ci'"),
        (lambda: parse_until("precise()"), "half_width"),
        (lambda: parse_until("decided(a)"), "'b'"),
        (lambda: parse_until("__import__('os').getcwd()"), "the rule must be .precise"),
        (lambda: parse_until("precise(open('x'))"), "the rule must be .precise"),
    ],
)
def test_invalid_arguments_raise(say: Callable[[], Until], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        say()
