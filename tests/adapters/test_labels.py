"""Labels of options, counted up."""

import pytest

from helmframe.adapters.labels import counted
from helmframe.errors import ArgumentError


@pytest.mark.parametrize(
    ("prefix", "lines", "labels"),
    [
        ("A. ", ["A. ", "B. ", "C. ", "D. "], ["A", "B", "C", "D"]),
        ("(a) ", ["(a) ", "(b) ", "(c) ", "(d) "], ["a", "b", "c", "d"]),
        ("1) ", ["1) ", "2) ", "3) ", "4) "], ["1", "2", "3", "4"]),
        ("i. ", ["i. ", "ii. ", "iii. ", "iv. "], ["i", "ii", "iii", "iv"]),
        ("(I) ", ["(I) ", "(II) ", "(III) ", "(IV) "], ["I", "II", "III", "IV"]),
        ("α: ", ["α: ", "β: ", "γ: ", "δ: "], ["α", "β", "γ", "δ"]),
        ("Item: ", ["Item: ", "Jtem: ", "Ktem: ", "Ltem: "], ["I", "J", "K", "L"]),
    ],
)
def test_labels_count_up(prefix: str, lines: list[str], labels: list[str]) -> None:
    assert (counted(prefix)[0][:4], counted(prefix)[1][:4]) == (lines, labels)


def test_roman_numerals() -> None:
    labels = counted("i. ")[1]
    assert len(set(labels)) == 64
    said = [labels[number - 1] for number in (4, 9, 14, 19, 38, 40, 49, 50, 64)]
    assert said == ["iv", "ix", "xiv", "xix", "xxxviii", "xl", "xlix", "l", "lxiv"]


@pytest.mark.parametrize(("prefix", "count"), [("A. ", 26), ("1. ", 9), ("W. ", 4), ("中 ", 64)])
def test_alphabets_end(prefix: str, count: int) -> None:
    assert len(counted(prefix)[1]) == count


def test_nothing_to_count_up_from_is_told() -> None:
    with pytest.raises(ArgumentError, match="needs a letter or digit to count up from"):
        counted("- ")
