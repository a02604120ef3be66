"""HELM's synonyms, by the tags of spaCy's real model and a small WordNet."""

import sys
from pathlib import Path
from random import Random

import polars as pl
import pytest

import helmframe as hf
from helmframe.errors import CapabilityError
from helmframe.perturbations import helm_synonyms
from helmframe.perturbations.call import call
from helmframe.perturbations.parsing import variants

LEMMAS = [
    ("movie", "n", ["movie", "motion_picture"]),
    ("go", "v", ["go", "move"]),
    ("goose", "n", ["goose", "fathead"]),
    ("watch", "v", ["watch", "view"]),
    ("watch", "n", ["watch", "ticker"]),
    ("watched", "a", ["watched", "seen"]),
    ("good", "a", ["good", "Fine"]),
    ("quickly", "r", ["quickly", "apace"]),
    ("paris", "n", ["Paris", "City_of_Light"]),
]


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tables").mkdir()
    lemmas = pl.DataFrame(LEMMAS, schema=["lemma", "pos", "synonyms"], orient="row")
    lemmas.write_parquet(tmp_path / "tables" / "wordnet_synonyms.parquet")
    irregular = pl.DataFrame({"form": ["geese", "went"], "pos": ["n", "v"], "bases": [["goose"], ["go"]]})
    irregular.write_parquet(tmp_path / "tables" / "wordnet_exceptions.parquet")
    monkeypatch.setenv("HELMFRAME_DATA", str(tmp_path))
    return tmp_path


def changed(text: str | None, prob: float = 1.0, id: str = "id0", seed: int = 0) -> str | None:
    frame = pl.DataFrame({"id": [id], "text": pl.Series([text], dtype=pl.String)})
    expression = call("synonym", prob=prob, compat="helm").on(pl.col("text"), id="id", seed=seed)
    out: str | None = frame.select(expression).item()
    return out


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I watch a movie.", "I view a motion picture."),
        ("Is that your watch?", "Is that your ticker?"),  # the same word as a noun
        ("The geese went away.", "The goose go away."),
        ("It was a Good movie", "It was a Fine motion picture"),  # in the case of the word
        ("Run  quickly\n\n now", "Run  apace\n\n now"),
        ("He lives in Paris.", "He lives in Paris."),  # a proper noun is none of HELM's four kinds
        ("", ""),
    ],
)
def test_a_word_becomes_a_synonym_of_its_part_of_speech(text: str, expected: str) -> None:
    outs = {changed(text, id=f"id{place}") for place in range(12)}
    assert expected in outs


def test_only_a_word_that_has_synonyms_draws() -> None:
    hits = [changed("The blue sky is in a movie", 0.5, name) != "The blue sky is in a movie" for name in "abcdefgh"]
    assert hits == [Random(name).uniform(0, 1) < 0.5 for name in "abcdefgh"]


def test_nulls_stay_and_seeds_are_helms() -> None:
    assert changed(None) is None
    text = "I watch a movie and a good movie and go."
    assert changed(text, 0.5, "id1", seed=1) == changed(text, 0.5, "1id1") != changed(text, 0.5, "id1")


def test_bases_are_wordnets() -> None:
    known = dict.fromkeys([("go", "v"), ("goose", "n"), ("match", "n"), ("matches", "v"), ("late", "a")])
    irregular = {("went", "v"): ["go"], ("geese", "n"): ["goose"]}
    assert helm_synonyms.bases("went", "v", known, irregular) == ["go"]
    assert helm_synonyms.bases("geese", "n", known, irregular) == ["goose"]
    assert helm_synonyms.bases("matches", "n", known, irregular) == ["match"]
    assert helm_synonyms.bases("later", "a", known, irregular) == ["late"]
    assert helm_synonyms.bases("geese", "v", known, irregular) == []


def test_the_error_states_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "spacy", None)
        with pytest.raises(CapabilityError, match=r"pip install 'helmframe\[synonym\]' && python -m spacy download"):
            variants("synonym", compat="helm")
    monkeypatch.setattr(helm_synonyms, "MODEL", "en_core_web_xs")
    with pytest.raises(CapabilityError, match="en_core_web_xs, which is not installed"):
        hf.perturbations.synonym(compat="helm")
    assert variants("synonym")


def test_longer_than_spacy_reads_raises() -> None:
    with pytest.raises(CapabilityError, match=r"a text has 1,000,001 characters, and spaCy reads at most 1,000,000"):
        changed("a" * 1_000_001)


def test_a_model_that_spacy_cannot_load_raises() -> None:
    with pytest.raises(CapabilityError, match=r"spaCy 3\.\S+ can't load its model en_core_web_none: \[E050\]"):
        helm_synonyms._tagged("en_core_web_none", "a word")
