"""What holds for every perturbation of words: order, batches and nulls do not matter; any text survives."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helmframe.perturbations.call import call

SAID: list[tuple[str, dict[str, Any]]] = [
    ("misspellings", {"prob": 0.5}),
    ("mild_mix", {}),
    ("contraction", {}),
    ("expansion", {}),
    ("filler_words", {"insert_prob": 0.5}),
    ("dialect", {"prob": 0.5}),
    ("gender", {"mode": "terms", "prob": 0.5}),
    ("gender", {"prob": 0.5}),
    ("person_name", {"prob": 0.5}),
    ("synonym", {"prob": 0.5}),
    ("space", {}),
    ("typos", {"prob": 0.5}),
]
WORDS = [
    "the",
    "he",
    "is not",
    "isn't",
    "Peter",
    "man",
    "a",
    "movie",
    " ",
    ". ",
    "’",
    "é",
    "日本",
    "\n",
    "😀",
    "it is ",
]
texts = st.lists(
    st.none() | st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join) | st.text(max_size=15), max_size=6
)
once = pytest.mark.parametrize(("name", "arguments"), SAID, ids=[f"{name}{arguments}" for name, arguments in SAID])


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "tables"
    folder.mkdir()
    table = {"the": ["teh", "hte"], "it is": ["its"], "a": ["ay"]}
    for name in ("correct_to_misspelling.json", "SAE_to_AAVE_mapping.json"):
        (folder / name).write_text(json.dumps(table))
    lemmas = pl.DataFrame({"lemma": ["movie"], "pos": ["n"], "synonyms": [["film", "motion_picture"]]})
    lemmas.write_parquet(folder / "wordnet_synonyms.parquet")
    irregular = pl.DataFrame({"form": ["men"], "pos": ["n"], "bases": [["man"]]})
    irregular.write_parquet(folder / "wordnet_exceptions.parquet")
    monkeypatch.setenv("HELMFRAME_DATA", str(tmp_path))


@once
@given(texts=texts)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_neither_order_nor_batches_nor_nulls_matter(
    name: str, arguments: dict[str, Any], texts: list[str | None]
) -> None:
    frame = pl.DataFrame({"id": range(len(texts)), "text": pl.Series(texts, dtype=pl.String)})
    expression = call(name, **arguments).on(pl.col("text"), id="id")
    whole = frame.with_columns(expression)
    assert frame.reverse().with_columns(expression).reverse().equals(whole)
    assert frame.filter(pl.col("id") != 1).with_columns(expression).equals(whole.filter(pl.col("id") != 1))
    parts = [frame.slice(place, 2).with_columns(expression) for place in range(0, len(texts), 2)]
    assert not parts or pl.concat(parts).equals(whole)
    assert [out is None for out in whole["text"]] == [text is None for text in texts]
    assert all(out == "" for out, text in zip(whole["text"], texts, strict=True) if text == "")


@once
def test_megabytes_go_through(name: str, arguments: dict[str, Any]) -> None:
    rows = ["".join(WORDS) * 20_000, "x" * (1 << 20), "x " * (1 << 19), "'" * (1 << 20), "日" * 300_000, " " * 999_999]
    frame = pl.DataFrame({"id": range(len(rows)), "text": rows})
    out = frame.select(call(name, **arguments).on(pl.col("text"), id="id")).to_series()
    assert out.null_count() == 0
    assert out.head(5).str.len_bytes().min() >= 300_000  # type: ignore[operator]


@once
def test_one_id_for_all_rows(name: str, arguments: dict[str, Any]) -> None:
    frame = pl.DataFrame({"text": ["he is not the man Peter, it is a movie"] * 3})
    out = frame.select(call(name, **arguments).on(pl.col("text"), id=pl.lit("one"))).to_series()
    assert out.n_unique() == 1
