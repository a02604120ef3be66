"""Labels of options, counted up from a prefix: A, B, C; 1, 2, 3; i, ii, iii."""

import re
from itertools import takewhile

from helmframe._core.specs import AdapterSpec
from helmframe.errors import ArgumentError

# Alphabets without an end (Han, Hangul) are cut here; Latin ends at Z by itself.
MOST = 64

_ROMAN = (("xl", 40), ("x", 10), ("ix", 9), ("v", 5), ("iv", 4), ("i", 1))


def labels(spec: AdapterSpec) -> tuple[list[str], list[str]]:
    """What stands before each option, and the label in it: those that the adapter lists, else counted up.

    Raises:
        ArgumentError: there is no letter or digit in `reference_prefix`, or a label is there twice.
    """
    prefixes, counted_up = counted(spec.reference_prefix)
    said = list(spec.reference_prefix_characters)
    if not said:
        return prefixes, counted_up
    if len(set(said)) < len(said) or not all(said):
        raise ArgumentError(f"adapt(reference_prefix_characters={said!r}): labels should differ, and not be empty.")
    return [spec.reference_prefix.replace(counted_up[0], each) for each in said], said


def counted(prefix: str) -> tuple[list[str], list[str]]:
    """`A. ` → `A. `, `B. `, … and A, B, …: the first letter or digit counts up; an i or I by itself as a Roman numeral.

    >>> counted("(i) ")[0][:3]
    ['(i) ', '(ii) ', '(iii) ']

    Raises:
        ArgumentError: there is nothing to count up from.
    """
    found = re.search(r"[^\W_]", prefix)
    if found is None:
        raise ArgumentError(
            f"adapt(reference_prefix={prefix!r}): needs a letter or digit to count up from, such as 'A. '."
        )
    start = found.group()
    alone = not prefix[found.end() : found.end() + 1].isalnum()
    if start in "iI" and alone:
        romans = [_roman(number) for number in range(1, MOST + 1)]
        labels = [each.upper() for each in romans] if start == "I" else romans
    else:
        labels = list(takewhile(str.isalnum, (chr(code) for code in range(ord(start), ord(start) + MOST))))
    return [prefix[: found.start()] + label + prefix[found.end() :] for label in labels], labels


def _roman(number: int) -> str:
    """`number` below 90 as a Roman numeral."""
    said = "l" if number >= 50 else ""
    left = number - 50 if said else number
    for numeral, value in _ROMAN:
        said += numeral * (left // value)
        left %= value
    return said
