"""What a store holds, as tables."""

from pathlib import Path

import polars as pl
import pytest

from helmframe.errors import ArgumentError, StoreError, UnknownNameError
from helmframe.store import Address
from helmframe.store.contents import contents, export, list_entries, read_completions
from tests.store.rows import filled, parts_of


def test_contents_has_one_row_per_model_and_scenario(root: Address) -> None:
    filled(root, parts=2, scenario="mmlu")
    filled(root, parts=1, scenario="a/b")
    table = contents(root)
    assert table.select("model", "scenario", "parts", "rows").rows() == [
        ("mine", "a/b", 1, 10),
        ("mine", "mmlu", 2, 20),
    ]
    assert table.filter((pl.col("bytes") < 1000) | (pl.col("newest") < pl.col("oldest"))).is_empty()


def test_an_empty_store_has_no_rows(root: Address) -> None:
    assert contents(root).is_empty()


def test_a_shelf_is_named_by_its_newest_part_that_can_be_read(tmp_path: Path) -> None:
    store = filled(tmp_path, parts=2)
    Path(parts_of(store)[1]).write_bytes(b"PAR1 torn")
    assert [shelf.model for shelf in list_entries(tmp_path)] == ["mine"]


def test_a_model_is_found_by_the_start_of_its_fingerprint(tmp_path: Path) -> None:
    filled(tmp_path)
    assert [shelf.model for shelf in list_entries(tmp_path, "ffffff")] == ["mine"]
    with pytest.raises(UnknownNameError):
        list_entries(tmp_path, "f")


def test_completions_have_the_prompt_as_sent(root: Address) -> None:
    filled(root, parts=1, rows=1)
    (shelf,) = list_entries(root)
    rows = read_completions(root, shelf)
    assert rows.select("model", "row_index", "prompt", "completion").rows() == [("mine", 0, "Q: what is it?", "A")]


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_all_is_exported_to_one_file(tmp_path: Path, kind: str) -> None:
    filled(tmp_path / "store", scenario="mmlu")
    filled(tmp_path / "store", scenario="gsm8k")
    file = tmp_path / f"all.{kind}"
    assert export(tmp_path / "store", file, "mine") == 80
    rows = pl.read_parquet(file) if kind == "parquet" else pl.read_ndjson(file)
    assert rows.select("scenario", "row_index", "prompt", "completion").row(0) == ("gsm8k", 0, "Q: what is it?", "A")


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"\.parquet or \.jsonl"):
        export(tmp_path, tmp_path / "all.csv")


def test_an_empty_store_can_not_be_exported(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="has no completions"):
        export(tmp_path, tmp_path / "all.jsonl")
