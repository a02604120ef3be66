"""Misspellings, the mild mix, dialect and synonyms, each with a small table of its own."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helmframe.errors import ArgumentError, SourceBrokenError, SourceMissingError
from helmframe.perturbations import words as words_module
from helmframe.perturbations.call import call
from helmframe.perturbations.parsing import variants

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
    (tmp_path / "tables").mkdir(exist_ok=True)
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
    with pytest.raises(SourceMissingError, match=r"isn't found at \S+elsewhere/tables/correct_to_misspelling\.json"):
        variants(name)
    monkeypatch.delenv("HELMFRAME_DATA")
    with pytest.raises(SourceMissingError, match="pip install --no-deps crfm-helm"):
        variants(name)


@pytest.mark.parametrize("prob", [-0.1, 1.1, "x", None, True])
def test_a_probability_lies_between_0_and_1(prob: object) -> None:
    with pytest.raises(ArgumentError, match="prob must be a number between 0 and 1"):
        call("misspellings", prob=prob)


DIALECT_TABLE = {
    "the": ["da"],
    "with": ["wit"],
    "a little": ["alil"],
    "a": ["ay"],
    "w/": ["wit"],
    "going": ["goin", "gon"],
}


@pytest.fixture(autouse=True)
def dialect_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tables").mkdir(exist_ok=True)
    (tmp_path / "tables" / "SAE_to_AAVE_mapping.json").write_text(json.dumps(DIALECT_TABLE))
    monkeypatch.setenv("HELMFRAME_DATA", str(tmp_path))
    return tmp_path


def in_dialect(text: str, **arguments: Any) -> str:
    frame = pl.DataFrame({"id": ["id0"], "text": [text]})
    out: str = frame.select(call("dialect", **arguments).on(pl.col("text"), id="id")).item()
    return out


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Come with me.", "Come wit me."),
        ("The the THE", "Da da DA"),  # HELM misses those at the edges, and the second of two
        ("with-the the-", "with-the the-"),
        ("a little, a lot", "alil, ay lot"),
        ("w/ it, w/o", "wit it, w/o"),
        ("bathe", "bathe"),
        ("", ""),
    ],
)
def test_words_of_the_table_change(text: str, expected: str) -> None:
    assert in_dialect(text) == expected


def test_another_pair_has_a_table_of_its_own(dialect_root: Path) -> None:
    (dialect_root / "tables" / "SAE_to_XY_mapping.json").write_text('{"the": ["ze"]}')
    assert in_dialect("the", target="xy") == "ze"


def test_a_table_that_changes_is_read_again(dialect_root: Path) -> None:
    assert in_dialect("the") == "da"
    (dialect_root / "tables" / "SAE_to_AAVE_mapping.json").write_text('{"the": ["dat one"]}')
    assert in_dialect("the") == "dat one"


def test_slurs_are_left_out_on_request(dialect_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words_module, "_is_slur", lambda word: word in {"goin", "da"})
    assert {in_dialect("going going going " * 5, filter_slurs=True)} == {"gon gon gon " * 5}
    assert in_dialect("the", filter_slurs=True) == "the"
    assert "goin " in in_dialect("going " * 20)


@pytest.mark.shared
def test_slurs_among_the_lexicons_words_are_known(shared: Path) -> None:
    lexicon = json.loads((shared / "tables" / "SAE_to_AAVE_mapping.json").read_text())
    slurs = {word for words in lexicon.values() for word in words if words_module._is_slur(word)}
    assert len(slurs) == 20
    assert not slurs & {"da", "hoo", "homie", "boi"}


def test_without_the_table_of_dialect_it_says_what_it_is(dialect_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceMissingError, match=r"isn't found at \S+SAE_to_XY_mapping\.json"):
        variants(call("dialect", target="XY"))
    monkeypatch.delenv("HELMFRAME_DATA")
    with pytest.raises(SourceMissingError, match=r"no data root is configured.*(\n.*)*no licence and contains slurs"):
        variants("dialect")


@pytest.mark.parametrize("content", ["", "[]", '{"a": "b"}', '{"a": [1]}', '{"a": null}', "\x00"])
def test_a_file_that_is_no_table_raises(dialect_root: Path, content: str) -> None:
    (dialect_root / "tables" / "SAE_to_AAVE_mapping.json").write_text(content)
    with pytest.raises(SourceBrokenError, match=r"SAE_to_AAVE_mapping\.json is invalid: "):
        variants("dialect")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prob": 2}, "between 0 and 1"),
        ({"source": "../x"}, "must be the name of a dialect, letters only"),
        ({"target": 1}, "must be the name of a dialect, letters only"),
        ({"filter_slurs": "no"}, "filter_slurs must be True or False"),
    ],
)
def test_invalid_values_raise(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        call("dialect", **arguments)


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
def synonym_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tables").mkdir(exist_ok=True)
    lemmas = pl.DataFrame(LEMMAS, schema=["lemma", "pos", "synonyms"], orient="row")
    lemmas.write_parquet(tmp_path / "tables" / "wordnet_synonyms.parquet")
    irregular = pl.DataFrame({"form": ["went"], "pos": ["v"], "bases": [["go"]]})
    irregular.write_parquet(tmp_path / "tables" / "wordnet_exceptions.parquet")
    monkeypatch.setenv("HELMFRAME_DATA", str(tmp_path))
    return tmp_path


def with_synonyms(texts: list[str | None] | str, prob: float = 1.0) -> list[str]:
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
    outs = {with_synonyms([None] * number + [text])[-1] for number in range(12)}
    assert expected in outs


def test_the_word_itself_is_none_of_its_synonyms() -> None:
    assert set(with_synonyms(["again"] * 50)) == {"once more"}


def test_nulls_stay_and_nothing_gives_nothing() -> None:
    assert with_synonyms([None, None]) == [None, None]
    assert with_synonyms([]) == []


def test_of_two_parts_of_speech_the_one_with_more_synonyms_counts() -> None:
    assert set(with_synonyms(["watches"] * 50)) == {"watch", "view", "observe"}


def test_batches_do_not_matter() -> None:
    texts: list[str | None] = ["movies watched", "good", "city again movie", "watching a movie"]
    frame = pl.DataFrame({"id": range(4), "text": texts})
    expression = call("synonym", prob=0.5).on(pl.col("text"), id="id")
    parts = [frame.slice(place, 1).select(expression) for place in range(4)]
    assert pl.concat(parts).equals(frame.select(expression))


def test_without_the_table_of_synonyms_it_says_what_it_is(synonym_root: Path) -> None:
    (synonym_root / "tables" / "wordnet_exceptions.parquet").unlink()
    with pytest.raises(SourceMissingError, match=r"wordnet_exceptions\.parquet.*(\n.*)*WordNet 3\.0"):
        variants("synonym")


def test_a_table_of_other_columns_raises(synonym_root: Path) -> None:
    pl.DataFrame({"a": [1]}).write_parquet(synonym_root / "tables" / "wordnet_synonyms.parquet")
    with pytest.raises(SourceBrokenError, match=r"wordnet_synonyms\.parquet must have the columns lemma String"):
        variants("synonym")


def test_a_probability_of_synonyms_lies_between_0_and_1() -> None:
    with pytest.raises(ArgumentError, match="between 0 and 1"):
        call("synonym", prob=2)


@pytest.mark.shared
def test_helms_example(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELMFRAME_DATA", str(shared))
    outs = with_synonyms(["This was a good movie, would watch again."] * 20)
    assert all(out.startswith("This was a ") and ", would " in out for out in outs)
    assert len(set(outs)) == 20
