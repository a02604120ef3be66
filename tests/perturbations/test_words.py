"""Misspellings and the mild mix, with a small table of their own."""

import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helmframe.errors import ArgumentError, SourceMissingError
from helmframe.perturbations.parsing import call, variants

TABLE = {
    "about": ["baout"],
    "about a": ["abouta"],
    "About": ["Baout"],
    "the": ["teh", "hte"],
    "doesn't": ["doesnt"],
    "countries'": ["countrie's"],
    "Cape Town": ["Capetown"],
}


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "correct_to_misspelling.json").write_text(json.dumps(TABLE))
    monkeypatch.setenv("HELMFRAME_DATA", str(tmp_path))
    return tmp_path


def changed(text: str | None, name: str, *, id: str = "id0", **arguments: float) -> str:
    frame = pl.DataFrame({"id": [id], "text": pl.Series([text], dtype=pl.String)})
    out: str = frame.select(call(name, **arguments).on(pl.col("text"), id="id")).item()
    return out


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("About it", "Baout it"),
        ("what about", "what baout"),
        ("about, about", "baout, baout"),
        ("about a man", "abouta man"),
        ("about an", "baout an"),
        ("ABOUT", "ABOUT"),
        ("it doesn't.", "it doesnt."),
        ("two countries' law", "two countrie's law"),
        ("Cape Town", "Capetown"),
        ("", ""),
    ],
)
def test_misspellings(text: str, expected: str) -> None:
    assert changed(text, "misspellings", prob=1) == expected


def test_of_several_misspellings_each_comes() -> None:
    assert {changed("the", "misspellings", prob=1, id=f"id{number}") for number in range(20)} == {"teh", "hte"}


def test_misspellings_stay_the_same_for_good() -> None:
    text = "the man in the moon knows the end of the story about the sea"
    assert changed(text, "misspellings", prob=0.5) == ("hte man in the moon knows the end of the story about the sea")


def test_mild_mix_is_lower_case_contracted_and_spaced() -> None:
    out = changed("He said that It is not  HERE", "mild_mix")
    assert out.split() == ["he", "said", "that", "it's", "not", "here"]
    assert all(1 <= len(run) <= 3 for run in out.replace("'", "x").split("x") if run.isspace())


def test_mild_mix_stays_the_same_for_good() -> None:
    assert changed("The man is not about, the boy is.", "mild_mix") == ("the man isn't   about,   the   boy   is.")


def test_one_word_in_ten_is_misspelled_by_mild_mix() -> None:
    words = changed("about " * 20_000, "mild_mix").split()
    # four standard errors
    assert abs(words.count("baout") / 20_000 - 0.1) < 4 * (0.1 * 0.9 / 20_000) ** 0.5


@pytest.mark.parametrize("name", ["misspellings", "mild_mix"])
@given(texts=st.lists(st.none() | st.text("about the.é \n'", max_size=30), max_size=6))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_order_and_batches_do_not_matter(name: str, texts: list[str | None]) -> None:
    frame = pl.DataFrame({"id": range(len(texts)), "text": pl.Series(texts, dtype=pl.String)})
    expression = call(name).on(pl.col("text"), id="id")
    whole = frame.with_columns(expression)
    assert frame.reverse().with_columns(expression).reverse().equals(whole)
    parts = [frame.slice(place, 2).with_columns(expression) for place in range(0, len(texts), 2)]
    assert not parts or pl.concat(parts).equals(whole)
    assert [out is None for out in whole["text"]] == [text is None for text in texts]


@pytest.mark.parametrize("name", ["misspellings", "mild_mix"])
def test_without_the_table_it_says_how_to_get_it(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELMFRAME_DATA", str(root / "elsewhere"))
    with pytest.raises(SourceMissingError, match=r"elsewhere/tables/correct_to_misspelling\.json is not there"):
        variants(name)
    monkeypatch.delenv("HELMFRAME_DATA")
    with pytest.raises(SourceMissingError, match="pip install --no-deps crfm-helm"):
        variants(name)


@pytest.mark.parametrize("prob", [-0.1, 1.1, "x", None, True])
def test_a_probability_lies_between_0_and_1(prob: object) -> None:
    with pytest.raises(ArgumentError, match="a probability lies between 0 and 1"):
        call("misspellings", prob=prob)
