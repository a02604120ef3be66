"""What counts as a word, and which phrases of a table are found, as a regular expression would."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helmframe.errors import ArgumentError
from helmframe.perturbations.phrases import find_phrases, phrases, words

ATOMS = ["a", "b", "ab", "é", "’", "-", " ", "'", ".", "_", "1", "A", "日", "😀", "up", "to", "\u0301", "²"]


def laid_out(texts: Sequence[str]) -> tuple[Any, Any]:
    data = [text.encode() for text in texts]
    offsets = np.concatenate([[0], np.cumsum([len(each) for each in data])]).astype(np.int64)
    return np.frombuffer(b"".join(data), dtype=np.uint8), offsets


def hits(table: Sequence[str], *texts: str, then: int | None = None, **how: bool) -> list[tuple[str, int, str, int]]:
    """Phrase, row, the text itself, and the number of the first word."""
    data, offsets = laid_out(texts)
    each = find_phrases(phrases(table, **how), data, offsets, then=then)
    return [
        (table[number], row, data[start:end].tobytes().decode(), place)
        for number, start, end, row, place in zip(
            each.numbers, each.starts, each.ends, each.rows.tolist(), each.places.tolist(), strict=True
        )
    ]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), max_size=5))
def test_words_are_those_of_regular_expressions(texts: list[str]) -> None:
    data, offsets = laid_out(texts)
    each = words(data, offsets)
    spans = [data[start:end].tobytes().decode() for start, end in zip(each.starts, each.ends, strict=True)]
    assert spans == [word for text in texts for word in re.findall(r"\w+", text)]
    assert np.diff(each.firsts).tolist() == [len(re.findall(r"\w+", text)) for text in texts]


def test_words_at_the_edges_of_texts_are_found() -> None:
    assert hits(["up"], "up and up", "up") == [("up", 0, "up", 0), ("up", 0, "up", 2), ("up", 1, "up", 0)]


def test_words_side_by_side_are_found() -> None:
    assert [place for _, _, _, place in hits(["a"], "a a a-a")] == [0, 1, 2, 3]


def test_parts_of_words_are_not() -> None:
    assert hits(["up"], "cup upper _up up_ up1 éup up日 up\u00b2") == []


def test_a_word_does_not_reach_into_the_next_text() -> None:
    assert hits(["ab", "up to"], "a", "b", "up ", "to", "up", " to") == []


def test_beside_punctuation_of_any_script_a_word_ends() -> None:
    assert len(hits(["up"], "“up” (up) up—up 。up")) == 5


def test_the_longest_of_several_counts() -> None:
    assert hits(["about", "about a", "a"], "about a man, about") == [
        ("about a", 0, "about a", 0),
        ("about", 0, "about", 3),
    ]


def test_from_left_to_right_none_lies_over_another() -> None:
    assert [phrase for phrase, *_ in hits(["it is", "is not", "not so"], "it is not so")] == ["it is", "not so"]


def test_a_long_chain_of_overlaps_is_read_in_a_moment() -> None:
    assert len(hits(["a b", "b a"], "a b " * 100_000)) == 100_000


def test_case_may_be_part_of_the_phrase() -> None:
    assert hits(["up"], "Up UP up", fold=False) == [("up", 0, "up", 2)]
    assert [text for _, _, text, _ in hits(["up"], "Up UP up")] == ["Up", "UP", "up"]


def test_of_phrases_that_are_the_same_the_first_counts() -> None:
    assert hits(["Up", "up"], "up") == [("Up", 0, "up", 0)]


def test_a_hyphen_may_be_part_of_the_word() -> None:
    assert hits(["up", "-_-", "a-hole"], "up-to -_- a-hole up", hyphens=True) == [
        ("-_-", 0, "-_-", 1),
        ("a-hole", 0, "a-hole", 2),
        ("up", 0, "up", 3),
    ]


def test_phrases_may_begin_and_end_with_other_signs() -> None:
    assert hits(["here!", "w/", ".net"], "here! w/ x.net .net w/o") == [
        ("here!", 0, "here!", 0),
        ("w/", 0, "w/", 1),
        (".net", 0, ".net", 4),
    ]


def test_a_byte_may_have_to_follow() -> None:
    assert hits(["is not", "is"], "is not, is not is", then=ord(" ")) == [
        ("is", 0, "is", 0),
        ("is not", 0, "is not", 2),
    ]


def test_long_words_are_distinguished_to_the_last_letter() -> None:
    long = "a" * 60
    assert hits([long + "b"], f"{long}a {long}b {long}bb") == [(long + "b", 0, long + "b", 1)]


def test_a_nul_byte_is_a_byte() -> None:
    assert hits(["a\x00b"], "a\x00b a\x00c a") == [("a\x00b", 0, "a\x00b", 0)]
    assert hits(["a"], "a\x00") == [("a", 0, "a", 0)]


def test_nothing_in_nothing_out() -> None:
    assert hits(["up"]) == hits(["up"], "", "") == hits([], "up") == hits(["up to"], "up") == []


@pytest.mark.parametrize("phrase", ["", " ", "...", "’"])
def test_a_phrase_without_a_word_raises(phrase: str) -> None:
    with pytest.raises(ArgumentError, match="contains no letter and no digit"):
        phrases([phrase])


texts_of_atoms = st.lists(st.sampled_from(ATOMS), max_size=12).map("".join)
tables_of_atoms = st.lists(
    st.lists(st.sampled_from(ATOMS), min_size=1, max_size=4).map("".join).filter(lambda each: re.search(r"\w", each)),
    max_size=6,
    unique=True,
)


@given(tables_of_atoms, st.lists(texts_of_atoms, max_size=4), st.booleans(), st.booleans(), st.booleans())
@settings(deadline=None)
def test_the_phrases_found_are_those_that_reading_finds(
    table: list[str], texts: list[str], fold: bool, hyphens: bool, spaced: bool
) -> None:
    data, offsets = laid_out(texts)
    each = find_phrases(phrases(table, fold=fold, hyphens=hyphens), data, offsets, then=ord(" ") if spaced else None)
    got = list(zip(each.numbers, each.rows, each.starts - offsets[each.rows], each.places, strict=True))
    assert got == [hit for row, text in enumerate(texts) for hit in read(table, row, text, fold, hyphens, spaced)]


def read(
    table: list[str], row: int, text: str, fold: bool, hyphens: bool, spaced: bool
) -> list[tuple[int, int, int, int]]:
    """What `found` finds, one character after the other."""

    def folded(phrase_text: str) -> str:
        return phrase_text.encode().lower().decode() if fold else phrase_text

    word = re.compile(r"[\w-]" if hyphens else r"\w")
    starts = [match.start() for match in re.finditer(f"{word.pattern}+", text)]
    text, table = folded(text), [folded(each) for each in table]
    longest = sorted(range(len(table)), key=lambda number: -len(table[number].encode()))
    out, place = [], 0
    while place < len(text):
        for number in longest:
            end = place + len(table[number])
            if (
                text.startswith(table[number], place)
                and not (place and word.match(text[place - 1]))
                and not (end < len(text) and word.match(text[end]))
                and (not spaced or text[end : end + 1] == " ")
            ):
                first = re.search(word.pattern, table[number])
                assert first is not None
                before = starts.index(place + first.start())
                out.append((table.index(table[number]), row, len(text[:place].encode()), before))
                place = end
                break
        else:
            place += 1
    return out
