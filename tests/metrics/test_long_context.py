"""HELM's metrics of long contexts."""

import pytest

from tests.frames import right, scored


@pytest.mark.parametrize(
    ("completion", "reference", "expected"),
    [("It was Paris.", "paris", 1), ("par is", "paris", 0), ("a.b", "a.b", 1), ("axb", "a.b", 0), ("", "x", 0)],
)
def test_a_reference_anywhere_counts(completion: str, reference: str, expected: float) -> None:
    assert scored([completion], [right(reference)], "ruler_string_match_part") == [expected]


@pytest.mark.parametrize(
    ("completion", "reference", "expected"),
    [("xYab", "xYac", 0.5), ("xYab", "xYab", 1.0), ("ab", "xYab", 0.0), ("xY", "xY", 1.0)],
)
def test_what_comes_after_the_start_is_compared(completion: str, reference: str, expected: float) -> None:
    start = {"random_string_to_prepend": ["xY"]}
    assert scored([completion], [right(reference)], "openai_mrcr_accuracy", **start) == [expected]
