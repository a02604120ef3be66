"""Rows as canonical Parquet, written in a stream: the source's columns and `row_index`, sized for push-down."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from helmframe._core.specs import ScenarioSpec
from helmframe.errors import SourceBrokenError
from helmframe.scenarios.failures import reader_errors, source_error
from helmframe.scenarios.sql import identifier

GROUP_BYTES = 32 << 20  # of a row group, before compression
# DuckDB's reader holds what a vector holds of a row group; rows in one batch, and at most so many in a row group.
_BATCH = 2048
_GROUP_ROWS = 131_072
# Of DuckDB, beside what Arrow holds.
_MEMORY = "256MB"


def write_canonical(
    connection: Any,
    read: str,
    source: str,
    file: Path,
    spec: ScenarioSpec,
    offset: int,
    values: Mapping[str, str],
    select: str | None = None,
) -> tuple[int, dict[str, str]]:
    """Write the rows in the source's order, and so in that of row_index.

    Args:
        connection: of DuckDB.
        read: the expression that reads the source.
        source: what errors call it.
        file: where to.
        spec: the scenario, whose `columns` must be there.
        offset: row_index of the first row, where the source has none.
        values: columns that the path says; they stay there.
        select: SQL that makes the columns, over the table `rows`.

    Returns:
        How many rows, and the columns with their types.

    Raises:
        SourceBrokenError: a column is missing or can't be read as the spec says.
        SourceError: the source can't be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    said = partial(guarded, spec.scenario, source)
    connection.execute(f"SET memory_limit = '{_MEMORY}'; SET threads = 2; SET preserve_insertion_order = true")
    said(lambda: connection.execute(f"CREATE OR REPLACE TEMP VIEW rows AS SELECT * FROM {read}"))
    if select is not None:
        said(lambda: connection.execute(f"CREATE OR REPLACE TEMP VIEW made AS {select}"))
    rows = "rows" if select is None else "made"
    types = said(lambda: dict(connection.execute(f"SELECT column_name, column_type FROM (DESCRIBE {rows})").fetchall()))
    columns = _columns(spec, types, values, source)
    reader = said(lambda: connection.sql(f"SELECT {columns} FROM {rows}").to_arrow_reader(_BATCH))
    indexed = "row_index" not in types
    schema = reader.schema.append(pa.field("row_index", pa.int64())) if indexed else reader.schema
    written = 0
    held: list[Any] = []
    size = count = 0
    with pq.ParquetWriter(file, schema, compression="zstd", compression_level=3, write_statistics=True) as writer:
        while (batch := said(lambda: next(reader, None))) is not None:
            if indexed:
                index = pa.array(range(offset + written, offset + written + batch.num_rows), pa.int64())
                batch = pa.RecordBatch.from_arrays([*batch.columns, index], schema=schema)
            written += batch.num_rows
            for piece in _pieces(batch):
                if held and (size + piece.nbytes > GROUP_BYTES or count + piece.num_rows > _GROUP_ROWS):
                    writer.write_table(pa.Table.from_batches(held, schema), row_group_size=count)
                    held, size, count = [], 0, 0
                held.append(piece)
                size, count = size + piece.nbytes, count + piece.num_rows
        if held:
            writer.write_table(pa.Table.from_batches(held, schema), row_group_size=count)
    return written, {**types, **({"row_index": "BIGINT"} if indexed else {})}


def _pieces(batch: Any) -> list[Any]:
    """The batch in parts of at most a row group's bytes."""
    parts = max(1, -(-batch.nbytes // GROUP_BYTES))
    step = max(1, -(-batch.num_rows // parts))
    return [batch.slice(start, step) for start in range(0, batch.num_rows, step)]


def _columns(spec: ScenarioSpec, types: Mapping[str, str], values: Mapping[str, str], source: str) -> str:
    """The SELECT list: all columns, those that the spec types as it says where the source has them otherwise."""
    said = dict(spec.columns)
    for name, wanted in spec.columns:
        if name not in types and name not in values and not spec.union:
            raise SourceBrokenError(
                f"scenario {spec.scenario!r}: {source} has no {name!r} ({wanted}); it has {', '.join(types)}.\n"
                'Make the columns of what is there: --select "SELECT … FROM rows".'
            )
    loose = {name for name, dtype in types.items() if name in said and dtype in ("VARCHAR", "JSON", "BIGINT", "DOUBLE")}
    casts = [
        f"CAST({identifier(name)} AS {said[name]}) AS {identifier(name)}"
        for name in types
        if name in loose and str(said[name]).upper() != types[name] and not str(said[name]).upper().startswith("ENUM")
    ]
    return f"* REPLACE ({', '.join(casts)})" if casts else "*"


def guarded(scenario: str, address: str, action: Callable[[], Any]) -> Any:
    """What `action` gives; if it fails, the typed error of what is wrong with the source."""
    import duckdb

    try:
        return action()
    except (duckdb.ProgrammingError, duckdb.DataError, duckdb.NotSupportedError) as error:
        problem = str(error).partition("\n\nLINE")[0].strip()
        failure: Exception = SourceBrokenError(f"scenario {scenario!r}: {address}: {problem}")
    except reader_errors() as error:
        failure = source_error(error, scenario, address, ())
    # raised out here, so that no traceback holds the reader's frames, where credentials may be
    raise failure
