"""Word tables: shipped, or found below the data root, on disk and in a bucket."""

import importlib.machinery
import importlib.util
import json
import os
from pathlib import Path

import polars as pl
import pytest

import helmframe as hf
from helmframe.errors import SourceBrokenError, SourceError, SourceMissingError
from helmframe.perturbations.tables import CONTRACTIONS, GENDER_PRONOUNS, GENDER_TERMS, Tables
from tests.s3_server import BUCKET, S3Server

MISSPELLED = "correct_to_misspelling.json"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tables").mkdir()
    monkeypatch.setenv("HELMFRAME_DATA", str(tmp_path))
    return tmp_path / "tables"


def test_a_plans_own_root_comes_before_the_configured_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Tables.of(None) == Tables()
    monkeypatch.setenv("HELMFRAME_DATA", "/a")
    assert Tables.of("/b").roots == ("/b", "/a")
    assert Tables.of(None).roots == Tables.of("/a").roots == ("/a",)


def test_contractions_are_lower_case_but_for_i() -> None:
    assert CONTRACTIONS["isn't"] == "is not"
    assert {short for short in CONTRACTIONS if short != short.lower()} == {"I'd", "I'll", "I'm", "I've"}


def test_of_gendered_terms_the_plurals_follow_the_singulars() -> None:
    terms = list(GENDER_TERMS)
    irregular = {"child": "children", "person": "people", "woman": "women", "man": "men"}
    irregular["waitress"] = "waitresses"
    irregular |= {f"{each}child": f"{each}children" for each in ("step", "grand")}
    assert len(terms) == 32
    for one, many in zip(terms[::2], terms[1::2], strict=True):
        assert many == tuple(irregular.get(each, f"{each}s") for each in one)


def test_pronouns_are_five_triples() -> None:
    assert GENDER_PRONOUNS[0] == ("they", "she", "he")
    assert len(GENDER_PRONOUNS) == 5


def test_first_names_are_shipped_twenty_five_of_each_group() -> None:
    names = Tables.of(None).names()
    races = names.filter(category="race").group_by("value").len().sort("value").rows()
    assert races == [("black_american", 50), ("white_american", 50)]
    assert names["name"].n_unique() == 100
    assert names.filter(name="emily").rows() == [
        ("emily", "first_name", "race", "white_american"),
        ("emily", "first_name", "gender", "female"),
    ]


def test_names_of_the_root_come_first(root: Path) -> None:
    (root / "person_names.txt").write_text("Li, last_name, race, Chinese\n")
    assert Tables.of(None).names().rows() == [("li", "last_name", "race", "chinese")]


def test_a_sentence_reads_the_tables_of_its_own_root_before_the_configured_ones(root: Path, tmp_path: Path) -> None:
    frame = pl.DataFrame({"q": ["the"], "a": ["x"]})
    (tmp_path / "own" / "tables").mkdir(parents=True)
    perturbation = hf.perturbations.misspellings(prob=1.0)  # nothing is read yet, so nothing is missing

    def changed(data: Path | None) -> str:
        plan = hf.scenario(frame, input="q", references="a", data=data).perturb(perturbation)
        (out,) = plan.variants().filter(pl.col("perturbation") != "original").collect()["perturbed_input"]
        return str(out)

    with pytest.raises(SourceMissingError, match=r"isn't found at \S+own/tables/correct_\S+ or \S+\.\n"):
        changed(tmp_path / "own")
    (root / MISSPELLED).write_text('{"the": ["teh"]}')
    assert changed(tmp_path / "own") == changed(None) == "teh"
    (tmp_path / "own" / "tables" / MISSPELLED).write_text('{"the": ["hte"]}')
    assert (changed(tmp_path / "own"), changed(None)) == ("hte", "teh")


def test_a_table_keeps_the_order_of_its_file(root: Path) -> None:
    (root / MISSPELLED).write_text('{"b": ["z", "y"], "a": []}')
    assert list(Tables.of(None).misspellings().items()) == [("b", ("z", "y")), ("a", ())]


def test_a_file_is_read_once_until_it_changes(root: Path) -> None:
    file = root / MISSPELLED
    file.write_text('{"a": ["b"]}')
    first = Tables.of(None).misspellings()
    assert Tables.of(None).misspellings() is first
    file.write_text('{"a": ["c"]}')
    os.utime(file, ns=(1, 1))
    assert Tables.of(None).misspellings() == {"a": ("c",)}


def test_a_table_cannot_be_changed(root: Path) -> None:
    (root / MISSPELLED).write_text('{"a": ["b"]}')
    with pytest.raises(TypeError):
        Tables.of(None).misspellings()["a"] = ("c",)  # type: ignore[index]


def test_what_an_installed_crfm_helm_carries_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "helm" / "benchmark" / "augmentations"
    folder.mkdir(parents=True)
    (folder / MISSPELLED).write_text('{"a": ["b"]}')
    spec = importlib.machinery.ModuleSpec("helm", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path / "helm")]
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec if name == "helm" else find(name))
    assert Tables.of(None).misspellings() == {"a": ("b",)}


def test_a_missing_table_says_where_it_belongs(root: Path) -> None:
    with pytest.raises(SourceMissingError, match=f"isn't found at {root}/{MISSPELLED}"):
        Tables.of(None).misspellings()
    with pytest.raises(SourceMissingError, match=r"wordnet_synonyms\.parquet"):
        Tables.of(None).synonyms()


def test_a_file_that_is_no_table_raises(root: Path) -> None:
    (root / MISSPELLED).write_bytes(b"\xff")
    with pytest.raises(SourceBrokenError, match=f"{MISSPELLED} is invalid: "):
        Tables.of(None).misspellings()
    (root / "wordnet_synonyms.parquet").write_bytes(b"PAR1")
    with pytest.raises(SourceBrokenError, match=r"wordnet_synonyms\.parquet is invalid: "):
        Tables.of(None).synonyms()


def test_a_root_that_is_a_file_has_no_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HELMFRAME_DATA", str(tmp_path / "file"))
    with pytest.raises(SourceMissingError):
        Tables.of(None).dialect()


def test_a_folder_in_the_place_of_a_table_raises(root: Path) -> None:
    (root / MISSPELLED).mkdir()
    with pytest.raises(SourceError, match="Word table: can't read"):
        Tables.of(None).misspellings()


@pytest.mark.shared
def test_tables_come_from_a_bucket(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    filesystem = s3.filesystem()
    monkeypatch.setenv("HELMFRAME_DATA", f"s3://{BUCKET}/words")
    with pytest.raises(SourceMissingError, match=f"isn't found at s3://{BUCKET}/words/tables/{MISSPELLED}"):
        Tables.of(None).misspellings()
    filesystem.pipe_file(f"{BUCKET}/words/tables/{MISSPELLED}", json.dumps({"a": ["b"]}).encode())
    assert Tables.of(None).misspellings() == {"a": ("b",)}
    before = s3.traffic()
    Tables.of(None).misspellings()
    assert (s3.traffic() - before).requests == 0


@pytest.mark.shared
def test_a_bucket_that_lets_nobody_in_raises(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELMFRAME_DATA", f"s3://{BUCKET}/locked")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret-nobody-knows")
    with pytest.raises(SourceError, match="Word table: can't read s3://") as caught:
        Tables.of(None).misspellings()
    assert "wrong-secret" not in str(caught.value)


@pytest.mark.shared
def test_another_scheme_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELMFRAME_DATA", "gs://bucket")
    with pytest.raises(SourceError, match="gs://bucket"):
        Tables.of(None).misspellings()


@pytest.mark.shared
def test_the_gathered_tables_are_understood(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELMFRAME_DATA", str(shared))
    assert (len(Tables.of(None).misspellings()), len(Tables.of(None).dialect())) == (6523, 1050)
    assert Tables.of(None).synonyms().height == 155_287
    assert Tables.of(None).exceptions().height == 5952
    assert Tables.of(None).names()["type"].unique().sort().to_list() == ["first_name", "last_name"]
