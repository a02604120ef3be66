"""The tables as data."""

import polars as pl
import pytest

import helmframe as hf
from helmframe._schema import INSTANCES, TABLES, conform
from helmframe.errors import SourceBrokenError, UnknownNameError


def test_every_column_is_documented() -> None:
    table = hf.schema()
    assert table.filter((pl.col("meaning") == "") | (pl.col("dtype") == "")).is_empty()
    assert table["table"].unique().sort().to_list() == sorted(each.name for each in TABLES)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_the_key_of_each_table_is_among_its_columns(table) -> None:  # type: ignore[no-untyped-def]
    assert set(table.key) <= set(table.schema)


def test_each_stage_holds_the_columns_of_the_stage_before() -> None:
    for table in TABLES:
        if table.after is not None:
            assert list(table.schema)[: len(table.after.schema)] == list(table.after.schema)


def test_conform_fills_optional_columns_and_keeps_the_scenarios_own() -> None:
    row = {
        "scenario": "s", "scenario_version": "1", "instance_id": "id0", "row_index": 0, "subset": "", "cluster": "id0",
        "split": "test", "input": "?", "references": [{"text": "a", "correct": True, "tags": []}], "subject": "x",
    }  # fmt: skip
    frame = conform(pl.DataFrame([row]), INSTANCES)
    assert frame.columns == [*INSTANCES.schema, "subject"]
    assert frame.schema["content"] == INSTANCES.schema["content"]
    assert frame["sub_split"].to_list() == [None]


def test_a_missing_column_is_named() -> None:
    with pytest.raises(SourceBrokenError, match=r"mine: column .*input"):
        conform(pl.DataFrame({"scenario": ["s"]}), INSTANCES, "mine")


def test_an_unknown_table_raises() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown table 'completion'. Did you mean 'completions'"):
        hf.schema("completion")
