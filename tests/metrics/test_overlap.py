"""F1 over sets of words."""

import pytest

from tests.frames import right, scored


@pytest.mark.parametrize(
    ("completion", "reference", "expected"),
    [
        ("the cat sat", "a cat", 2 / 3),
        ("cat", "cat", 1.0),
        ("cat cat cat sat", "cat sat sat", 1.0),  # sets: SQuAD's F1 would be 4/7
        ("sat cat", "cat sat", 1.0),
        ("dog", "cat", 0.0),
        ("The Cat!", "cat", 1.0),
        ("cat\u00a0sat", "cat sat", 1.0),
        ("a b c d", "b c x", 4 / 6),  # the article a goes
        ("", "cat", 0.0),
        ("the", "cat", 0.0),
        ("the", "a", 0.0),
        ("cat", "", 0.0),
    ],
)
def test_f1_score(completion: str, reference: str, expected: float) -> None:
    assert scored([completion], [right(reference)], "f1_score") == pytest.approx([expected], abs=1e-12)


def test_the_best_correct_reference_counts() -> None:
    references = [[("dog", True), ("cat sat", True), ("cat", False)]]
    assert scored(["cat"], references, "f1_score") == pytest.approx([2 / 3])


def test_each_row_has_its_own_references() -> None:
    assert scored(["cat", "dog", None, "x"], [right("cat"), right("cat"), right("cat"), []], "f1_score") == [
        1.0,
        0.0,
        None,
        0.0,
    ]


def test_no_completions() -> None:
    assert scored([], [], "f1_score") == []
