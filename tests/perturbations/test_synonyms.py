"""Synonyms, with a small WordNet."""

from pathlib import Path

import polars as pl
import pytest

from helmframe.errors import ArgumentError, SourceBrokenError, SourceMissingError
from helmframe.perturbations.parsing import call, variants

LEMMAS = [
    ("movie", "n", ["movie", "motion_picture"]),
    ("watch", "v", ["watch", "view", "observe"]),
    ("watch", "n", ["watch"]),
    ("go", "v", ["go", "move"]),
    ("good", "a", ["good", "Fine"]),
    ("good", "n", ["good", "goodness"]),
    ("city", "n", ["city", "town"]),
    ("in", "n", ["inch"]),
    ("g", "n", ["gram"]),
    ("again", "r", ["again", "once_more"]),
    ("stop", "v", ["halt"]),
    ("make", "v", ["produce"]),
]


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tables").mkdir()
    lemmas = pl.DataFrame(LEMMAS, schema=["lemma", "pos", "synonyms"], orient="row")
    lemmas.write_parquet(tmp_path / "tables" / "wordnet_synonyms.parquet")
    irregular = pl.DataFrame({"form": ["went"], "pos": ["v"], "bases": [["go"]]})
    irregular.write_parquet(tmp_path / "tables" / "wordnet_exceptions.parquet")
    monkeypatch.setenv("HELMFRAME_DATA", str(tmp_path))
    return tmp_path


def changed(texts: list[str | None] | str, prob: float = 1.0) -> list[str]:
    texts = [texts] if isinstance(texts, str) else list(texts)
    frame = pl.DataFrame({"id": range(len(texts)), "text": pl.Series(texts, dtype=pl.String)})
    return frame.select(call("synonym", prob=prob).on(pl.col("text"), id="id")).to_series().to_list()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a movie again", "a motion picture once more"),
        ("movies", "movie"),
        ("watched, watching", "watch, view"),
        ("they went, going", "they go, go"),
        ("a good city", "a fine town"),
        ("Movie MOVIE", "Movie MOVIE"),
        ("stopped", "stopped"),  # neither is it by WordNet's rules, which know no doubled letters
        ("making", "produce"),
        ("in g unknown", "in g unknown"),
        ("", ""),
    ],
)
def test_words_become_their_synonyms(text: str, expected: str) -> None:
    outs = {changed([None] * number + [text])[-1] for number in range(12)}
    assert expected in outs


def test_the_word_itself_is_none_of_its_synonyms() -> None:
    assert set(changed(["again"] * 50)) == {"once more"}


def test_nulls_stay_and_nothing_gives_nothing() -> None:
    assert changed([None, None]) == [None, None]
    assert changed([]) == []


def test_of_two_parts_of_speech_the_one_with_more_synonyms_counts() -> None:
    assert set(changed(["watches"] * 50)) == {"watch", "view", "observe"}


def test_batches_do_not_matter() -> None:
    texts: list[str | None] = ["movies watched", "good", "city again movie", "watching a movie"]
    frame = pl.DataFrame({"id": range(4), "text": texts})
    expression = call("synonym", prob=0.5).on(pl.col("text"), id="id")
    parts = [frame.slice(place, 1).select(expression) for place in range(4)]
    assert pl.concat(parts).equals(frame.select(expression))


def test_without_the_table_it_says_what_it_is(root: Path) -> None:
    (root / "tables" / "wordnet_exceptions.parquet").unlink()
    with pytest.raises(SourceMissingError, match=r"wordnet_exceptions\.parquet.*(\n.*)*WordNet 3\.0"):
        variants("synonym")


def test_a_table_of_other_columns_is_told(root: Path) -> None:
    pl.DataFrame({"a": [1]}).write_parquet(root / "tables" / "wordnet_synonyms.parquet")
    with pytest.raises(SourceBrokenError, match=r"wordnet_synonyms\.parquet has columns"):
        variants("synonym")


def test_a_probability_lies_between_0_and_1() -> None:
    with pytest.raises(ArgumentError, match="between 0 and 1"):
        call("synonym", prob=2)


@pytest.mark.shared
def test_helms_example(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELMFRAME_DATA", str(shared))
    outs = changed(["This was a good movie, would watch again."] * 20)
    assert all(out.startswith("This was a ") and ", would " in out for out in outs)
    assert len(set(outs)) == 20
