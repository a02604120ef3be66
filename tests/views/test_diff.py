import itertools
import time

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helmframe.views.diff import changes, flips_html, with_diff, word_diff, word_diff_html


@pytest.mark.parametrize(
    ("before", "after", "shown"),
    [
        ("the quick fox", "the quikc fox", "the [quick→quikc] fox"),
        ("one two", "one  two", "one[ →  ]two"),
        ("who wrote it", "uhm who wrote it", "[→uhm ]who wrote it"),
        ("a b c", "a c", "a [b →]c"),
        ("same", "same", "same"),
        ("", "new", "[→new]"),
        ("", "", ""),
        ("ab", "a\u200bb", "[ab→a⟨U+200B⟩b]"),
        ("line\none", "line\ntwo", "line\n[one→two]"),
    ],
)
def test_a_diff_shows_words_in_place(before: str, after: str, shown: str) -> None:
    assert word_diff(before, after) == shown


TEXTS = st.text(st.sampled_from("ab \n\t\u00a0é<&"), max_size=40) | st.text(max_size=40)


@given(TEXTS, TEXTS)
def test_the_pieces_are_the_texts_again(before: str, after: str) -> None:
    pieces = list(changes(before, after))
    assert "".join(old for old, _ in pieces) == before
    assert "".join(new for _, new in pieces) == after
    changed = [old != new for old, new in pieces]
    assert all(one != two for one, two in itertools.pairwise(changed))


@given(st.text(max_size=60), st.text(max_size=60))
def test_html_has_no_markup_but_its_own(before: str, after: str) -> None:
    html = word_diff_html(before, after)
    for tag in ("<ins>", "</ins>", "<del>", "</del>"):
        html = html.replace(tag, "")
    assert "<" not in html
    assert ">" not in html


def test_two_long_texts_without_a_word_in_common_are_one_change() -> None:
    start = time.perf_counter()
    pieces = list(changes("a " * 50_000, "b " * 40_000))
    assert [old == new for old, new in pieces] == [False, True]
    assert time.perf_counter() - start < 5


def flips(**columns: object) -> pl.DataFrame:
    row = {
        "scenario": "s", "instance_id": "id0", "perturbation": "typos", "perturbation_seed": 0, "setting": "",
        "trial": 0, "model": "m", "output_index": 0, "flip": "worse", "input": "two words",
        "perturbed_input": "tow words",
        "completion": "A", "perturbed_completion": "B", "output": "x", "perturbed_output": "y", "score": 1.0,
        "perturbed_score": 0.0, **columns,
    }  # fmt: skip
    return pl.DataFrame([row])


def test_the_frame_carries_the_diff_beside_the_texts() -> None:
    frame = with_diff(flips())
    assert frame.columns[frame.columns.index("perturbed_input") + 1] == "diff"
    assert frame["diff"].to_list() == ["[two→tow] words"]
    assert frame.filter(flip="worse").height == 1


def test_in_a_notebook_the_change_is_marked() -> None:
    html = flips_html(with_diff(flips()))
    assert "<del>two</del><ins>tow</ins> words" in html
    assert "1.000 → 0.000" in html


@pytest.mark.parametrize(
    "column", ["instance_id", "perturbation", "model", "input", "perturbed_input", "completion", "perturbed_completion"]
)
def test_hostile_text_is_escaped(column: str) -> None:
    html = flips_html(flips(**{column: "<script>alert(1)</script>"}))
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


def test_many_flips_and_long_texts_are_cut_with_a_note() -> None:
    html = flips_html(pl.concat([flips(completion="x" * 100_000)] * 60))
    assert "60 flips, 10 are not shown" in html
    assert len(html) < 300_000


def test_no_flips_are_an_empty_table() -> None:
    assert flips_html(with_diff(flips().clear())).count("<tr>") == 1
