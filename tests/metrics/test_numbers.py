"""Answers that are one number."""

import pytest

from tests.frames import right, scored


@pytest.mark.parametrize(
    ("output", "gold", "score"),
    [
        ("The answer is 18.", "9 * 2 = 18\n#### 18", 1.0),
        ("$18.00", "#### 18", 1.0),
        ("It costs 1,200 dollars.", "#### 1200", 1.0),
        ("from 3-4", "#### 4", 1.0),
        ("it is -4", "#### -4", 1.0),
        ("it is 4", "#### -4", 0.0),
        ("18, or perhaps 19", "#### 18", 0.0),
        ("1.5", "#### 15", 0.0),
        ("no idea", "#### 18", 0.0),
        ("", "#### 18", 0.0),
        ("9" * 5000, "#### 18", 0.0),
        ("18", "no number", 0.0),
    ],
)
def test_the_last_numbers_are_compared_as_numbers(output: str, gold: str, score: float) -> None:
    assert scored([output], [right(gold)], "final_number_equal") == [score]


@pytest.mark.parametrize(
    ("output", "gold", "expected"),
    [("1,010", "1000", 10), (" -5 ", "5", 10), ("about 7", "3", 3), ("3.5", "3", 3), ("7", "seven", 7)],
)
def test_the_difference_of_whole_numbers_as_helm_has_it(output: str, gold: str, expected: float) -> None:
    assert scored([output], [right(gold)], "absolute_value_difference") == [expected]


def test_of_several_references_the_nearest_counts() -> None:
    assert scored(["7"], [right("1", "6")], "absolute_value_difference") == [1.0]
