"""Every registered perturbation once, with arguments that make it change something, for tests of what all must keep."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from helmframe.perturbations.parsing import Variant, parse
from helmframe.perturbations.registry import PERTURBATIONS

# Where the defaults leave most texts alone, or do not suffice.
ARGUMENTS = {
    "filler_words": "insert_prob=0.5",
    "gender": "mode='terms', bidirectional=True",
    "misspellings": "prob=1.0",
    "synonym": "prob=1.0",
    "translate": "translator='echo()', language='French'",
    "typos": "prob=0.5",
}
# What reads a table of the data root; a few rows of one of our own stand in.
TABLES = {
    "correct_to_misspelling.json": '{"the": ["teh", "hte"], "about a": ["abouta"], "which": ["whcih"]}',
    "SAE_to_AAVE_mapping.json": '{"the": ["da"], "this": ["dis"], "what": ["wat", "wut"]}',
}
# These read data that there is no small stand-in for, or a model.
ELSEWHERE = ("contrast_sets", "translate")
NAMES = [name for name in PERTURBATIONS if name not in ELSEWHERE and not name.startswith("gives_")]
OF_TEXT = [name for name in NAMES if PERTURBATIONS[name].takes == "text"]


def call_of(name: str, **more: Any) -> str:
    """The call of this perturbation, with its arguments and more."""
    arguments = ", ".join(filter(None, [ARGUMENTS.get(name), *(f"{key}={value!r}" for key, value in more.items())]))
    return f"{name}({arguments})" if arguments else name


def variant(name: str, **more: Any) -> Variant:
    return parse(call_of(name, **more))


def tables(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data root with the word tables."""
    (folder / "tables").mkdir()
    words = {"lemma": ["mother", "cat"], "pos": ["n", "n"], "synonyms": [["female_parent"], ["true_cat", "guy"]]}
    pl.DataFrame(words).write_parquet(folder / "tables" / "wordnet_synonyms.parquet")
    forms = {"form": ["went"], "pos": ["v"], "bases": [["go"]]}
    pl.DataFrame(forms).write_parquet(folder / "tables" / "wordnet_exceptions.parquet")
    for name, text in TABLES.items():
        (folder / "tables" / name).write_text(text, encoding="utf-8")
    monkeypatch.setenv("HELMFRAME_DATA", str(folder))
