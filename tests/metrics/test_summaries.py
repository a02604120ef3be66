"""What a summary copies."""

import pytest

from tests.frames import scored


@pytest.mark.parametrize(
    ("source", "summary", "coverage", "density", "compression"),
    [
        ("the cat sat", "the cat ran", 2 / 3, 4 / 3, 1.0),
        ("The cat sat on the mat", "the CAT sat", 1.0, 3.0, 2.0),
        ("a b c x a b c d", "a b c d", 1.0, 4.0, 2.0),  # the longest fragment, not the first
        ("a b", "b a", 1.0, 1.0, 1.0),
        ("a b", "x y z w", 0.0, 0.0, 0.5),
        ("a b", "", None, None, None),
    ],
)
def test_fragments(
    source: str, summary: str, coverage: float | None, density: float | None, compression: float | None
) -> None:
    made = [
        scored([summary], [[]], name, perturbed_input=[source])[0] for name in ("coverage", "density", "compression")
    ]
    assert made == [each if each is None else pytest.approx(each) for each in (coverage, density, compression)]
