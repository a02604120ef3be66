"""However large a scenario is, little of it is in memory at once."""

import subprocess
import sys
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import helmframe as hf
from helmframe._core.specs import Expression, Sample
from helmframe._plan import spec_of
from helmframe.scenarios import query
from helmframe.scenarios.load import load
from helmframe.scenarios.spec_file import load_scenario
from tests.s3_server import S3Server

SPEC = """\
scenario: long
version: 1
source: {rows: "{data}/long/{split}-*.parquet"}
columns: {q: VARCHAR}
splits: {test: test}
instances: |
  SELECT row_index, split, q AS input, [{'text': '', 'correct': true}] AS "references" FROM rows
metrics: [exact_match]
main: {metric: exact_match}
"""
READ = """\
import re, sys
from pathlib import Path
import polars as pl
from helmframe.scenarios.load import load
from helmframe.scenarios.spec_file import load_scenario
from helmframe._core.specs import Expression, Sample

def most():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1000

spec, before = load_scenario(Path(sys.argv[1]) / "long.yaml"), most()
some = Expression.of(pl.col("row_index") % 1000 == 0)
rows = [
    sum(frame.height for frame in load(spec, data=sys.argv[1], **said))
    for said in ({}, {"sample": Sample(500)}, {"where": [some]})
]
print(*rows, int(most() - before))
"""


def write(folder: Path, rows: int) -> None:
    """Texts of 1,000 letters, which Parquet holds in much less.

    Many small groups of rows are the harder case, of which DuckDB 1 may read all ahead; DuckDB 2 does not.
    """
    group = 20_000 if duckdb.__version__.startswith("1.") else 2_000
    file = folder / "long" / "test-0.parquet"
    file.parent.mkdir()
    (folder / "long.yaml").write_text(SPEC)
    with pq.ParquetWriter(file, pa.schema({"q": pa.string()}), compression="zstd", use_dictionary=False) as writer:
        for start in range(0, rows, 20_000):
            texts = pa.array([f"{each:08}" * 125 for each in range(start, min(start + 20_000, rows))])
            writer.write_table(pa.table({"q": texts}), row_group_size=group)


def test_a_scenario_of_800_mb_is_never_in_memory_whole(tmp_path: Path) -> None:
    write(tmp_path, 800_000)
    command = [sys.executable, "-c", READ, str(tmp_path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    *rows, megabytes = map(int, said.split())
    assert rows == [800_000, 500, 800]
    assert megabytes < 500


def test_the_cache_of_a_bucket_is_bounded(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def kept() -> int:
        with query.open_query(spec_of(hf.scenario("boolq")).scenarios[0]) as found:
            assert found.frame().height > 3_000
            (count,) = found.source.connection.sql("SELECT count(*) FROM duckdb_external_file_cache()").fetchall()[0]
        return int(count)

    assert kept() > 0
    monkeypatch.setattr(query, "_CACHED_BYTES", 1 << 20)
    assert kept() == 0


def test_what_is_left_does_not_hold_what_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, 10_000)
    spec = load_scenario(tmp_path / "long.yaml")
    drawn = pl.concat(load(spec, data=str(tmp_path), sample=Sample(5)))
    matched = pl.concat(load(spec, data=str(tmp_path), where=[Expression.of(pl.col("row_index") < 5)]))
    for frame in (drawn, matched):
        assert frame.height == 5
        assert held(frame.select("input")) < 10_000


def held(frame: pl.DataFrame) -> int:
    """The bytes of all buffers that the frame keeps alive."""
    return int(frame.to_arrow(compat_level=pl.CompatLevel.newest()).get_total_buffer_size())
