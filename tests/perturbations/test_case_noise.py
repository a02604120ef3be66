"""Noise in the case of letters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.perturbations.texts import changed, each_changed

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def test_random_case_stays_the_same_for_good() -> None:
    assert (
        changed("The quick brown fox — café, ende\u0301!", "random_case") == "ThE QUIck bROwn foX — cAFé, ende\u0301!"
    )


@given(ANY_TEXT)
def test_random_case_changes_case_alone(text: str) -> None:
    out = changed(text, "random_case", prob=0.5)
    assert all(new in (old, old.swapcase()) for new, old in zip(out, text, strict=True))


@given(ANY_TEXT)
def test_twice_in_the_other_case_is_the_text(text: str) -> None:
    assert changed(changed(text, "random_case", prob=1), "random_case", prob=1) == text


@pytest.mark.parametrize(
    ("text", "out"), [("Who wrote it?", "WHO WROTE IT?"), ("straße, ς ά", "STRASSE, Σ Ά"), ("ŉ 1!", "ʼN 1!")]
)
def test_uppercase(text: str, out: str) -> None:
    assert changed(text, "uppercase") == out


@pytest.mark.parametrize(
    ("text", "out"),
    [
        ("who wrote it? NASA's 3rd iPod", "Who Wrote It? NASA's 3rd IPod"),
        ("it's well-known (by all)", "It's Well-known (By All)"),
        ("élan e\u0301lan ßa ΐ", "Élan E\u0301lan ßa ΐ"),
        ("2nd place", "2nd Place"),
    ],
)
def test_titlecase(text: str, out: str) -> None:
    assert changed(text, "titlecase") == out


@pytest.mark.parametrize("perturbation", ["random_case", "uppercase", "titlecase"])
def test_null_empty_and_no_letters(perturbation: str) -> None:
    texts = [None, "", " \n", "13 — 👩‍👩‍👧", None]
    assert each_changed(texts, perturbation) == texts
