"""What a perturbation reaches: references in their lists, and spans that are left alone."""

import polars as pl
import pytest

from helmframe.errors import ArgumentError
from helmframe.perturbations.call import call
from helmframe.perturbations.fields import PROTECTED, change_references, protected_pattern
from tests.frames import instances, right


def upper(text: str | None, protect: str | list[str], name: str = "uppercase", **more: object) -> str | None:
    perturbation = call(name, protect=protect, **more)
    out = pl.DataFrame({"id": ["a"], "text": pl.Series([text], dtype=pl.String)}).select(
        perturbation.on(pl.col("text"), id="id")
    )
    found = out.item()
    assert found is None or isinstance(found, str)
    return found


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("urls", "see https://a.org/b?c=d, or www.e.org", "SEE https://a.org/b?c=d, OR www.e.org"),
        ("urls", "mail jo@uni.edu.", "MAIL jo@uni.edu."),
        ("code", "run `make all` now", "RUN `make all` NOW"),
        ("code", "```\nx = a\n```then", "```\nx = a\n```THEN"),
        ("latex", r"let $x_i$ be \frac{a}{b} or \(y\)", r"LET $x_i$ BE \frac{a}{b} OR \(y\)"),
        ("latex", "it costs $5 and $6, you say", "IT COSTS $5 AND $6, YOU SAY"),
        ("re:[b-d]+", "abcde", "AbcdE"),
        ("re:(?i)the", "the Thelma", "the TheLMA"),
    ],
)
def test_what_matches_stays(kind: str, text: str, expected: str) -> None:
    assert upper(text, kind) == expected


def test_numbers_stay() -> None:
    out = upper("in 1984, 3.14 or -2,000 % of 12:30", "numbers", "leet", prob=1.0)
    assert out == "1n 1984, 3.14 0r -2,000 % 0f 12:30"


def test_several_kinds_are_protected_together() -> None:
    assert upper("a `b` $c$ d", ["code", "latex"]) == "A `b` $c$ D"


@pytest.mark.parametrize("text", [None, "", "`a`", "`a``b`", "\x00", "a\x00`b`\x00c", "`"])
def test_odd_texts_come_back_whole(text: str | None) -> None:
    assert upper(text, "code", "extra_space") == text


def test_a_pattern_that_matches_nothing_between_letters_is_taken() -> None:
    assert upper("ab", "re:x*") == "AB"


def test_a_text_without_protected_spans_changes_as_it_does_without() -> None:
    text = pl.DataFrame({"id": ["a"], "text": ["the quick brown fox jumps over the lazy dog"]})
    plain, protected = (call("typos", prob=0.5, **more) for more in ({}, {"protect": "numbers"}))
    assert text.select(plain.on(pl.col("text"), id="id")).equals(text.select(protected.on(pl.col("text"), id="id")))


def test_pieces_of_a_text_draw_for_themselves() -> None:
    out = upper("aaaaaaaaaa 1 aaaaaaaaaa 1 aaaaaaaaaa", "numbers", "typos", prob=0.5)
    assert out is not None
    assert len({piece.strip() for piece in out.split("1")}) == 3


def test_an_unknown_kind_raises() -> None:
    with pytest.raises(ArgumentError, match=r"Did you mean 'latex'.*\n.*\n?Write a regular expression as 're:…'"):
        protected_pattern("latx", "typos")
    assert sorted(PROTECTED) == ["code", "latex", "numbers", "urls"]


def test_references_are_changed_in_place() -> None:
    frame = instances(["", "", ""], [[*right("A"), ("B", False)], [], right("C")])
    changed = change_references(pl.col("references"), pl.col("instance_id"), lambda text, _: text + "!", one_id=False)
    rows = [[(each["text"], each["correct"]) for each in row] for row in frame.select(changed).to_series().to_list()]
    assert rows == [[("A!", True), ("B!", False)], [], [("C!", True)]]


def test_each_reference_has_an_id_of_its_own_or_that_of_the_list() -> None:
    frame = instances(["", ""], [right("A", "B"), right("C")])

    def ids(*, one_id: bool) -> list[list[str]]:
        expression = change_references(pl.col("references"), pl.col("instance_id"), lambda _, own: own, one_id=one_id)
        return [[each["text"] for each in row] for row in frame.select(expression).to_series().to_list()]

    assert ids(one_id=True) == [["id0", "id0"], ["id1"]]
    assert len({each for row in ids(one_id=False) for each in row}) == 3


def test_no_references_at_all_stay_none() -> None:
    frame = pl.DataFrame(
        {"references": [None], "id": ["a"]},
        schema={"references": instances([""]).schema["references"], "id": pl.String},
    )
    changed = change_references(pl.col("references"), pl.col("id"), lambda text, _: text + "!", one_id=False)
    assert frame.select(changed).item() is None
