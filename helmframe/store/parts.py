"""Parquet parts of completions: the fields of their names, their encoding, and how damage is detected.

    LOW-HIGH-VERSION-TIME-ID-ROWS-CHECKSUM.parquet

The part has the rows with row_index from LOW to HIGH. VERSION is a counter of its folder: if a request has two
completions, the one with the higher version counts. VERSION ends in `r` if the part may replace earlier versions; if
such a part is damaged, the earlier versions do not count. An empty file next to the part, its mark, shows this even if
the part is deleted. TIME (nanoseconds since 1970) is information. ID distinguishes writers, ROWS is the number of rows.
CHECKSUM is the crc32 of the path below `completions`, up to the checksum, and of the bytes. It is needed because
Parquet readers accept many flipped bits, and some end the thread that reads.
"""

import base64
import io
import json
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import uuid4

import polars as pl

from helmframe._core.safe_text import get_logger
from helmframe._core.yaml import decode_json
from helmframe.errors import StoreError
from helmframe.store.files import Address, File, below, move, read_all

FORMAT = 1
# How the metadata in a footer of this format start: if these bytes are found, the footer need not be parsed.
_OURS = (f'{{"format": {FORMAT}}}'.encode(), f'{{"format": {FORMAT}, '.encode())
_FOOTER = 16_384  # bytes at the end of a file that contain them
_ARROW_SCHEMA = "ARROW:schema"
log = get_logger("helmframe.store")

_NAME = re.compile(r"(\d{12})-(\d{12})-(\d{12})(r?)-(\d{20})-([0-9a-f]{8})-(\d+)-([0-9a-f]{8})\.parquet")
MARK = ".replaces"
# Completions, prefixes and the tables of runs.
_SEALED = re.compile(r"(.+)-([0-9a-f]{8})\.parquet")


@dataclass(frozen=True)
class Part:
    """A part of completions, as its name describes it."""

    file: File
    low: int
    high: int
    version: int
    replaces: bool
    time: int
    id: str
    rows: int
    checksum: str

    @classmethod
    def named(cls, file: File) -> "Part | None":
        """Return the part in this file; None if the name of the file isn't that of a part."""
        match = _NAME.fullmatch(file.name.rpartition("/")[2])
        if match is None:
            return None
        low, high, version, replaces, at, ident, rows, checksum = match.groups()
        return cls(file, int(low), int(high), int(version), bool(replaces), int(at), ident, int(rows), checksum)

    @property
    def age(self) -> tuple[int, int, str]:
        """Return a key that sorts parts from the oldest version to the newest."""
        return self.version, self.time, self.id


def mark_of(path: str) -> str:
    """Return the path of the mark of a part that replaces earlier versions.

    The mark is an empty file that is written after the part: if the part is deleted, the mark shows that it existed.

    >>> mark_of("one/two/part.parquet")
    'one/two/part.replaces'
    """
    return path.removesuffix(".parquet") + MARK


def unmatched(files: Sequence[File]) -> list[Part]:
    """Return the parts that were deleted: only their marks show that they existed."""
    names = {file.name for file in files}
    parts = [
        Part.named(replace(file, name=file.name.removesuffix(MARK) + ".parquet"))
        for file in files
        if file.name.endswith(MARK)
    ]
    return [part for part in parts if part is not None and part.file.name not in names]


def part_path(
    folder: str, low: int, high: int, version: int, at: int, rows: int, data: bytes, *, replaces: bool = False
) -> str:
    """Return the path of a new part with these bytes, in a folder below `completions`."""
    mark = "r" * replaces
    name = f"{low:012d}-{high:012d}-{version:012d}{mark}-{at:020d}-{uuid4().hex[:8]}-{rows}"
    return sealed(f"{folder}/{name}", data)


def sealed(path: str, data: bytes) -> str:
    """Return the path of a file: this path, and the checksum of the path and the bytes."""
    return f"{path}-{checksum(data, path)}.parquet"


def checksum(data: bytes, path: str) -> str:
    """Return 8 hex digits, the crc32 of the path and then the bytes: a file at another path is damage too."""
    return f"{zlib.crc32(data, zlib.crc32(path.encode())):08x}"


def encode(
    frame: pl.DataFrame,
    metadata: Mapping[str, Any] | None = None,
    meanings: Mapping[str, Mapping[str, str]] | None = None,
) -> bytes:
    """Return a frame as Parquet.

    Args:
        frame: The rows.
        metadata: Metadata of the footer, besides the format's number.
        meanings: Column → metadata of its field, which pyarrow reads; the part then has statistics too.
    """
    buffer = io.BytesIO()
    text = json.dumps({"format": FORMAT, **(metadata or {})}, ensure_ascii=False)
    schema = _arrow_schema(tuple(frame.schema.items()))
    footer = {"helmframe": text, _ARROW_SCHEMA: schema if meanings is None else _with_meanings(schema, meanings)}
    # no statistics: they cost an eighth of the time, and searches use the names of parts
    frame.with_columns(_constants(frame)).write_parquet(
        buffer, compression="zstd", compression_level=1, statistics=meanings is not None, metadata=footer
    )
    return buffer.getvalue()


def _with_meanings(schema: str, meanings: Mapping[str, Mapping[str, str]]) -> str:
    """Return an Arrow schema in Parquet's form with metadata of its fields."""
    import pyarrow as pa

    fields = [
        field.with_metadata(meanings[field.name]) if field.name in meanings else field
        for field in pa.ipc.read_schema(pa.py_buffer(base64.b64decode(schema)))
    ]
    return base64.b64encode(pa.schema(fields).serialize().to_pybytes()).decode()


def _constants(frame: pl.DataFrame) -> list[pl.Series]:
    """Return the text columns with one value as enumerations: the same bytes in two thirds of the time.

    The schema in the footer still has them as text, as every reader does.
    """
    constants = []
    for column in frame.iter_columns():
        if column.dtype == pl.String and column.len() and column.null_count() == 0 and (column == column[0]).all():
            one = pl.Series(column.name, column.head(1), dtype=pl.Enum([column[0]]))
            constants.append(one.new_from_index(0, column.len()))
    return constants


@lru_cache(maxsize=64)
def _arrow_schema(columns: tuple[tuple[str, pl.DataType], ...]) -> str:
    """Return the Arrow schema that Polars writes for these columns."""
    buffer = io.BytesIO()
    pl.DataFrame(schema=dict(columns)).write_parquet(buffer)
    buffer.seek(0)
    return pl.read_parquet_metadata(buffer)[_ARROW_SCHEMA]


def footer_of(data: bytes) -> dict[str, Any]:
    """Return the metadata in a footer; empty for Parquet that helmframe did not write, or wrote without a footer.

    Raises:
        StoreError: A newer helmframe wrote it.
    """
    content = decode_json(pl.read_parquet_metadata(io.BytesIO(data)).get("helmframe", "{}"))
    footer = dict(content) if isinstance(content, dict) else {}
    if int(footer.get("format", 0)) > FORMAT:
        raise StoreError(
            f"The store was written by a newer helmframe (format {footer['format']}; this one reads up to {FORMAT}). "
            "Upgrade: pip install --upgrade helmframe."
        )
    return footer


def damage(data: bytes, path: str) -> str | None:
    """Return what is wrong with a file; None if nothing is.

    Args:
        data: The bytes of the file.
        path: The part of its path that its checksum covers: below `completions`, or below the run's folder.

    Raises:
        StoreError: A newer helmframe wrote it.
    """
    if not data:
        return "it is empty"
    named = _SEALED.fullmatch(path)
    if named is None:
        return "its name has no checksum"
    if named[2] != checksum(data, named[1]):
        return "its content or its path does not match the checksum in its name"
    if data[:4] != b"PAR1" or data[-4:] != b"PAR1":
        return "it isn't Parquet"
    if any(start in data[-_FOOTER:] for start in _OURS):
        return None
    try:
        footer_of(data)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, ValueError, TypeError, OSError) as error:
        if isinstance(error, StoreError):
            raise
        return "its footer can't be read"
    return None


class Read(NamedTuple):
    """The rows of some parts, the sound parts, whether no part was missing, and the damaged parts."""

    rows: pl.DataFrame
    parts: list[Part]
    complete: bool
    damaged: list[Part]


def read_parts(root: Address, parts: Sequence[Part], schema: Mapping[str, Any]) -> Read:
    """Return the rows of parts; damaged parts are set aside.

    Args:
        root: The root of the store.
        parts: The parts to read.
        schema: The columns to read; null if a part has no such column.

    Raises:
        StoreError: A part is unreachable, or a newer helmframe wrote it.
    """
    parts = sorted(parts, key=lambda part: part.age)
    checked: list[bytes] = []
    sound: list[Part] = []
    damaged: list[Part] = []
    complete = True
    for part, data in zip(parts, read_all([part.file.address for part in parts]), strict=True):
        if data is None:
            complete = False
            continue
        why = damage(data, _path(below(root, "completions"), part.file.address))
        if why is None:
            checked.append(data)
            sound.append(part)
        else:
            damaged.append(part)
            set_aside(root, part.file, why)
    if not checked:
        return Read(pl.DataFrame(schema=schema), sound, complete, damaged)
    # the schema of the first part, which may be older than the columns of others
    columns = pl.read_parquet_schema(io.BytesIO(checked[0]))
    columns |= {name: dtype for name, dtype in schema.items() if name not in columns}
    scan = pl.scan_parquet(checked, schema=columns, missing_columns="insert", extra_columns="ignore")
    return Read(scan.select(_conform(columns, schema)).collect(), sound, complete, damaged)


def set_aside(root: Address, file: File, why: str) -> None:
    """Move a damaged file to the store's folder `damaged`, with a warning; never fails."""
    address = file.address
    target = below(root, "damaged", *_path(root, address).split("/"))
    try:
        move(file.address, target)
    except StoreError as error:
        log.warning("%s is damaged: %s. It is skipped, because moving it failed: %s", address, why, error)
    else:
        log.warning("%s is damaged: %s. It was moved to %s; the other parts are used.", address, why, target)


def _path(folder: Address, address: Address) -> str:
    """Return the path of a file below a folder, with slashes."""
    return str(address)[len(str(folder)) :].strip("/\\").replace("\\", "/")


def _conform(columns: Iterable[str], schema: Mapping[str, Any]) -> list[pl.Expr]:
    names = set(columns)
    return [
        pl.col(name).cast(dtype) if name in names else pl.lit(None, dtype=dtype).alias(name)
        for name, dtype in schema.items()
    ]
