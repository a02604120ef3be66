"""Answers written alike by Hendrycks' rules, and boxed answers."""

from pathlib import Path

import polars as pl
import pytest

from helmframe.metrics.math_equiv import alike, boxed, math_equiv, math_equiv_chain_of_thought
from tests.frames import right, scored


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"\frac{1}{2}", "1/2"),
        (r"\frac12", r"\dfrac{1}{2}"),
        (r"\tfrac1{72}", r"\frac{1}{72}"),
        ("0.5", r"\frac{1}{2}"),
        (".5", "0.5"),
        (r"\sqrt3", r"\sqrt{3}"),
        (r"\left( 3, \frac{\pi}{2} \right)", r"(3,\frac{\pi}{2})"),
        (r"90^\circ", "90"),
        (r"90^{\circ}", "90"),
        (r"\$5", "5"),
        (r"30\%", "30"),
        (r"12\text{ cm}", "12"),
        ("x = 5", "5"),
        ("1,\\!000", "1,000"),
        ("a\nb", "ab"),
    ],
)
def test_alike(one: str, other: str) -> None:
    assert alike(one, other)
    assert alike(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1", "2"),
        (r"\frac14", "0.25"),
        ("abc = 5", "5"),
        ("1/2/3", r"\frac{1}{2}/3"),
        ("01/2", r"\frac{1}{2}"),
        (r"1\text{ a}\text{ b}", "1"),
        (r"2\sqrt", "2"),
        (r"\frac", ""),
    ],
)
def test_not_alike(one: str, other: str) -> None:
    assert not alike(one, other)


def test_what_cannot_be_read_is_compared_as_it_is() -> None:
    assert alike(r"2\sqrt", r"2\sqrt")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so \boxed{2}", "2"),
        (r"\boxed{1} no \boxed{\frac{1}{2}}, then", r"\frac{1}{2}"),
        (r"\boxed{}", ""),
        (r"\boxed{1", None),
        (r"\boxed 1", None),
        (r"\fbox{1}", None),
        ("2", None),
        ("", None),
    ],
)
def test_the_last_box(text: str, answer: str | None) -> None:
    assert boxed(text) == answer


@pytest.mark.parametrize(
    ("output", "gold", "helm", "mended"),
    [
        (r"so \boxed{1/2}", r"it is \boxed{\frac12}", 1.0, 1.0),
        (r"so \boxed{1/3}", r"it is \boxed{\frac12}", 0.0, 0.0),
        ("so 1/2", r"it is \boxed{\frac12}", 0.0, 0.0),
        # HELM: no answer on either side is the same answer
        ("so 1/3", "1/2", 1.0, 0.0),
        (r"so \boxed{1/2}", "1/2", 0.0, 1.0),
    ],
)
def test_chains_of_thought(output: str, gold: str, helm: float, mended: float) -> None:
    assert scored([output], [right(gold)], "math_equiv_chain_of_thought") == [helm]
    assert scored([output], [right(gold)], "math_boxed") == [mended]


def test_the_best_reference_counts() -> None:
    assert scored(["1/2"], [[("3", True), ("1/2", False), (r"\frac12", True)]], "math_equiv") == [1.0]


@pytest.mark.shared
def test_every_recorded_value_of_helm(shared: Path) -> None:
    pairs = pl.read_parquet(shared / "helm_metrics.parquet")
    for name, function in (("math_equiv", math_equiv), ("math_equiv_chain_of_thought", math_equiv_chain_of_thought)):
        texts = [(output.strip(), gold.strip()) for output, gold in pairs.select("prediction", "reference").iter_rows()]
        assert [function(*each) for each in texts] == pairs[name].to_list()


@pytest.mark.shared
def test_every_solution_of_math_has_the_answer_in_its_box(shared: Path) -> None:
    solutions = pl.read_parquet(shared / "scenarios" / "hendrycks_math" / "**" / "*.parquet")["solution"].to_list()
    assert len(solutions) == 5000
    assert None not in [boxed(each) for each in solutions]
