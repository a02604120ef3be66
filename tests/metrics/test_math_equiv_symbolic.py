"""Answers that are equal as mathematics."""

import time

import pytest

from helmframe.errors import ArgumentError, CapabilityError
from helmframe.metrics import math_equiv
from helmframe.metrics.math_equiv import equal, may_compute
from tests.frames import right, scored


@pytest.mark.parametrize(
    ("output", "gold", "score"),
    [
        ("0.25", r"\frac14", 1.0),
        (r"so \boxed{25\%}", r"\frac14", 1.0),
        ("The answer is $x^2+2x+1$.", "(x+1)^2", 1.0),
        (r"$\{1, 2\}$", r"\{2, 1\}", 1.0),
        ("I think it is 12", "12", 1.0),
        ("13", "12", 0.0),
        ("Paris", "12", 0.0),
        ("", "12", 0.0),
    ],
)
def test_scores(output: str, gold: str, score: float) -> None:
    assert scored([output], [right(gold)], "math_symbolic") == [score]


def test_what_a_model_wrote_is_never_run(tmp_path: object) -> None:
    mark = f"{tmp_path}/mark"
    code = f"__import__('os').mkdir('{mark}')"
    assert equal([(code, "3"), (rf"\boxed{{{code}}}", "3"), (f"${code}$", "3"), ("3.0", "3")]) == [False] * 3 + [True]
    assert not __import__("pathlib").Path(mark).exists()


def test_an_endless_number_times_out_and_the_next_one_is_evaluated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(math_equiv, "_SECONDS", 2.0)
    start = time.perf_counter()
    assert equal([("9**9**9**9", "3"), ("0.25", r"\frac14")]) == [False, True]
    assert time.perf_counter() - start < 30


def test_without_math_verify_the_metric_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(math_equiv, "find_spec", lambda _: None)
    with pytest.raises(CapabilityError, match=r"pip install 'helmframe\[math\]'"):
        may_compute()


def test_a_math_verify_that_does_not_load_is_no_wrong_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(math_equiv, "_CHILD", math_equiv._CHILD.with_name("missing.py"))
    with pytest.raises(ArgumentError, match="Loading the package math-verify failed"):
        equal([("0.25", r"\frac14")])
