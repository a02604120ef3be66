"""Files of a mirror: rows as canonical Parquet, and the folder or bucket that they are written to."""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from helmframe._core.specs import ScenarioSpec
from helmframe.config import S3Options, s3_options
from helmframe.errors import HelmframeError, SourceBrokenError, SourceError
from helmframe.scenarios.sources import execute_one, query_one, read_guarded
from helmframe.scenarios.sql import identifier
from helmframe.store import Address, address_of, below, listing
from helmframe.store.files import read
from helmframe.store.files import write as write_file

GROUP_BYTES = 32 << 20  # of a row group, before compression
# DuckDB's reader keeps the row group of a vector in memory; rows of a batch, and the most rows of a row group.
_BATCH = 2048
_GROUP_ROWS = 131_072
# DuckDB's memory, without Arrow's; and if each row is a whole file of JSON, which queries copy several times.
_MEMORY, WHOLE_FILES_MEMORY = "256MB", "4GB"


def write_canonical(
    connection: Any,
    read: str,
    source: str,
    file: Path,
    spec: ScenarioSpec,
    offset: int,
    values: Mapping[str, str],
    select: str | None = None,
    memory: str | None = None,
) -> tuple[int, dict[str, str]]:
    """Write rows as Parquet in the source's order, which is the order of row_index.

    Args:
        connection: The DuckDB connection.
        read: The expression that reads the source.
        source: The name of the source in errors.
        file: The file to write.
        spec: The scenario with the declared `columns`.
        offset: The row_index of the first row, if the source has no row_index.
        values: The columns in the path. They aren't written to the file.
        select: SQL over the table `rows` that makes the columns; None if the source has them.
        memory: The limit of DuckDB's memory, if the rows need more than usual.

    Returns:
        The number of rows, and the columns with their types.

    Raises:
        SourceBrokenError: A column is missing, or has another type than the spec declares.
        SourceError: The source can't be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    run = partial(read_guarded, spec.scenario, source)
    connection.execute(
        f"SET memory_limit = '{memory or _MEMORY}'; SET threads = 2; SET preserve_insertion_order = true"
    )
    run(lambda: execute_one(connection, f"CREATE OR REPLACE TEMP VIEW rows AS SELECT * FROM {read}"))
    if select is not None:
        run(lambda: execute_one(connection, f"CREATE OR REPLACE TEMP VIEW made AS {select}"))
    rows = "rows" if select is None else "made"
    types = run(lambda: dict(connection.execute(f"SELECT column_name, column_type FROM (DESCRIBE {rows})").fetchall()))
    columns = _columns(spec, types, values, source)
    reader = run(lambda: query_one(connection, f"SELECT {columns} FROM {rows}").to_arrow_reader(_BATCH))
    indexed = "row_index" not in types
    schema = reader.schema.append(pa.field("row_index", pa.int64())) if indexed else reader.schema
    written = 0
    pieces: list[Any] = []
    size = count = 0
    with pq.ParquetWriter(file, schema, compression="zstd", compression_level=3, write_statistics=True) as writer:
        while (batch := run(lambda: next(reader, None))) is not None:
            if indexed:
                index = pa.array(range(offset + written, offset + written + batch.num_rows), pa.int64())
                batch = pa.RecordBatch.from_arrays([*batch.columns, index], schema=schema)
            written += batch.num_rows
            for piece in _split_batch(batch):
                if pieces and (size + piece.nbytes > GROUP_BYTES or count + piece.num_rows > _GROUP_ROWS):
                    writer.write_table(pa.Table.from_batches(pieces, schema), row_group_size=count)
                    pieces, size, count = [], 0, 0
                pieces.append(piece)
                size, count = size + piece.nbytes, count + piece.num_rows
        if pieces:
            writer.write_table(pa.Table.from_batches(pieces, schema), row_group_size=count)
    return written, {**types, **({"row_index": "BIGINT"} if indexed else {})}


def _split_batch(batch: Any) -> list[Any]:
    """Return a batch in slices of at most a row group's bytes."""
    n_parts = max(1, -(-batch.nbytes // GROUP_BYTES))
    step = max(1, -(-batch.num_rows // n_parts))
    return [batch.slice(start, step) for start in range(0, batch.num_rows, step)]


def _columns(spec: ScenarioSpec, types: Mapping[str, str], values: Mapping[str, str], source: str) -> str:
    """Return the SELECT list: all columns, cast where the spec declares another type."""
    declared = dict(spec.columns)
    for name, declared_type in spec.columns:
        if name not in types and name not in values and not spec.union:
            raise SourceBrokenError(
                f"scenario {spec.scenario!r}: {source} has no {name!r} ({declared_type}); it has {', '.join(types)}.\n"
                'Compute the column: --select "SELECT … FROM rows".'
            )
    loose = {
        name for name, dtype in types.items() if name in declared and dtype in ("VARCHAR", "JSON", "BIGINT", "DOUBLE")
    }
    casts = [
        f"CAST({identifier(name)} AS {declared[name]}) AS {identifier(name)}"
        for name in types
        if name in loose
        and str(declared[name]).upper() != types[name]
        and not str(declared[name]).upper().startswith("ENUM")
    ]
    return f"* REPLACE ({', '.join(casts)})" if casts else "*"


T = TypeVar("T")

_TIMEOUT = 60  # seconds, per request
_CHUNK = 8 << 20


class Target:
    """A root to write to, in a folder or bucket: files are written whole or not at all."""

    def __init__(self, root: str | Path) -> None:
        self.root: Address = address_of(root)
        if isinstance(self.root, str) and not self.root.startswith("s3://"):
            raise SourceError(f"--to {root}: unsupported address. Write a folder or s3://bucket/prefix.")

    def sizes(self, below_it: str) -> dict[str, int]:
        """Return the sizes of the files below a folder of the root, by path."""
        folder = below(self.root, *below_it.split("/"))
        return self._done(lambda: {f"{below_it}/{file.name}": file.size for file in listing(folder)})

    def text(self, path: str) -> str | None:
        """Return the content of a small file; None if it can't be read."""
        try:
            return read(self._address(path)).decode()
        except (HelmframeError, OSError):
            return None

    def write(self, text: str, path: str) -> None:
        """Write or replace a small file."""
        self._done(lambda: write_file(text.encode(), self._address(path)))

    def sha256(self, path: str) -> str:
        """Return the sha256 of a file, read in a stream."""
        address = self._address(path)

        def hash_file() -> str:
            digest = hashlib.sha256()
            with address.open("rb") if isinstance(address, Path) else _bucket().open(_key(address), "rb") as file:
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
            return digest.hexdigest()

        return self._done(hash_file)

    @contextmanager
    def new(self, path: str) -> Iterator[Path]:
        """Yield a temporary file, which is moved to the path once it is whole."""
        address = self._address(path)
        if isinstance(address, Path):
            self._done(lambda: address.parent.mkdir(parents=True, exist_ok=True))
            part = address.with_name(f".{address.name}.{uuid4().hex[:8]}.part")
            try:
                yield part
                self._done(lambda: _synced(part).replace(address))
            finally:
                with suppress(OSError):
                    part.unlink()
            return
        with tempfile.TemporaryDirectory(prefix="helmframe-mirror-") as folder:
            part = Path(folder) / "rows.parquet"
            yield part
            self._done(lambda: _bucket().put_file(str(part), _key(address), chunksize=16 << 20))

    def _address(self, path: str) -> Address:
        if ".." in path.split("/"):  # of a spec's layout
            raise SourceError(f"{path!r} isn't below --to {self.root}. Remove '..' from source.rows of the spec.")
        return below(self.root, *path.split("/"))

    def _done(self, action: Callable[[], T]) -> T:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return action()
        except (HelmframeError, OSError, BotoCoreError, ClientError) as error:
            problem = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        for secret in s3_options().secrets:
            problem = problem.replace(secret, "…") if secret else problem
        # raised out here, so that no traceback holds the client, and with it credentials
        raise SourceError(f"the mirror at {self.root} can't be read or written: {problem}")


def _bucket() -> Any:
    return _filesystem(s3_options())


@lru_cache(maxsize=4)
def _filesystem(options: S3Options) -> Any:
    import s3fs

    return s3fs.S3FileSystem(**options.client(_TIMEOUT), use_listings_cache=False)


def _key(address: str) -> str:
    return address.partition("://")[2]


def _synced(path: Path) -> Path:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
    return path
