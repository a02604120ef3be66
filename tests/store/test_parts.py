import io
from pathlib import Path

import duckdb
import polars as pl
import pyarrow.parquet as pq

from helmframe.store.parts import encode


def test_texts_that_are_all_the_same_are_texts_to_every_reader(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "one": ["", "", ""],
            "two": ["a", "a", "b"],
            "none": [None, None, None],
            "some": ["a", None, "a"],
            "n": [1, 1, 1],
        },
        schema_overrides={"none": pl.String},
    )
    for rows in (frame, frame.head(1), frame.head(0)):
        data = encode(rows, {"model": "m"})
        read = pl.read_parquet(data)
        assert read.schema == frame.schema
        assert read.equals(rows)
        table = pq.read_table(io.BytesIO(data))
        assert [str(each.type) for each in table.schema] == ["large_string"] * 4 + ["int64"]
        (tmp_path / "part.parquet").write_bytes(data)
        found = duckdb.connect().read_parquet(str(tmp_path / "part.parquet"))
        assert [str(each) for each in found.types] == ["VARCHAR"] * 4 + ["BIGINT"]
        assert found.pl().equals(rows)
        assert "model" in pl.read_parquet_metadata(io.BytesIO(data))["helmframe"]
