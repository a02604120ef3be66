"""One Parquet part of completions: the fields of its name, how its bytes are encoded and read, and what is damage.

    LOW-HIGH-VERSION-TIME-ID-ROWS-CHECKSUM.parquet

The part holds row_index from LOW to HIGH. VERSION is a counter of its folder: of two completions of one request the one
of the higher version counts. It ends in `r` if the part may replace earlier versions: if such a part is damaged, these
do not count. An empty file beside it, its mark, shows this where the part is deleted. TIME (nanoseconds since 1970) is
information. ID distinguishes writers, ROWS is the number of rows. CHECKSUM is the crc32 of the path below
`completions`, up to the checksum, and of the bytes. Parquet readers accept many flipped bits, and some end the thread
that reads.
"""

import io
import json
import logging
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import uuid4

import polars as pl

from helmframe.errors import StoreError
from helmframe.store.files import Address, File, below, move, read_all

FORMAT = 1
# How the footer of this format says so: found there, the rest of the footer need not be read to know that it is ours.
_OURS = (f'{{"format": {FORMAT}}}'.encode(), f'{{"format": {FORMAT}, '.encode())
_FOOTER = 16_384  # bytes at the end, in which it stands
_ARROW_SCHEMA = "ARROW:schema"
log = logging.getLogger("helmframe.store")

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
        """Return the part that this file is; None if its name isn't a part's."""
        found = _NAME.fullmatch(file.name.rpartition("/")[2])
        if found is None:
            return None
        low, high, version, replaces, at, ident, rows, checksum = found.groups()
        return cls(file, int(low), int(high), int(version), bool(replaces), int(at), ident, int(rows), checksum)

    @property
    def age(self) -> tuple[int, int, str]:
        """Return a key that sorts parts from the oldest version to the newest."""
        return self.version, self.time, self.id


def mark_of(path: str) -> str:
    """Return the path of the mark beside a part that replaces earlier versions.

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


def encode(frame: pl.DataFrame, about: Mapping[str, Any] | None = None) -> bytes:
    """The frame as Parquet; the format's number and what is said about it stand in the footer."""
    buffer = io.BytesIO()
    said = json.dumps({"format": FORMAT, **(about or {})}, ensure_ascii=False)
    footer = {"helmframe": said, _ARROW_SCHEMA: _arrow_schema(tuple(frame.schema.items()))}
    # no statistics: what is searched stands in the names of parts, and they cost an eighth of the time
    frame.with_columns(_constants(frame)).write_parquet(
        buffer, compression="zstd", compression_level=1, statistics=False, metadata=footer
    )
    return buffer.getvalue()


def _constants(frame: pl.DataFrame) -> list[pl.Series]:
    """The columns of one text as enumerations, whose codes need not be found: the same bytes in two thirds of the time.

    The schema in the footer says text all the same, and so does every reader.
    """
    found = []
    for each in frame.iter_columns():
        if each.dtype == pl.String and each.len() and each.null_count() == 0 and (each == each[0]).all():
            one = pl.Series(each.name, each.head(1), dtype=pl.Enum([each[0]]))
            found.append(one.new_from_index(0, each.len()))
    return found


@lru_cache(maxsize=64)
def _arrow_schema(columns: tuple[tuple[str, pl.DataType], ...]) -> str:
    """What Polars writes about these columns."""
    buffer = io.BytesIO()
    pl.DataFrame(schema=dict(columns)).write_parquet(buffer)
    buffer.seek(0)
    return pl.read_parquet_metadata(buffer)[_ARROW_SCHEMA]


def footer_of(data: bytes) -> dict[str, Any]:
    """What the footer says; empty for Parquet that helmframe did not write, or wrote before there was a footer.

    Raises:
        StoreError: a newer helmframe wrote it.
    """
    said = json.loads(pl.read_parquet_metadata(io.BytesIO(data)).get("helmframe", "{}"))
    about = dict(said) if isinstance(said, dict) else {}
    if int(about.get("format", 0)) > FORMAT:
        raise StoreError(
            f"the store was written by a newer helmframe (format {about['format']}; this one reads up to {FORMAT}). "
            "Upgrade: pip install --upgrade helmframe."
        )
    return about


def damage(data: bytes, path: str) -> str | None:
    """Return what is wrong with a file; None if nothing is.

    Args:
        data: its bytes.
        path: its path, as far as its checksum covers it: below `completions`, or below the run's folder.

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
        return "it is no Parquet"
    if any(each in data[-_FOOTER:] for each in _OURS):
        return None
    try:
        footer_of(data)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, ValueError, TypeError, OSError) as error:
        if isinstance(error, StoreError):
            raise
        return "its footer can't be read"
    return None


class Read(NamedTuple):
    """The rows of some parts, the parts they are from, whether none was gone, and the parts that are damaged."""

    rows: pl.DataFrame
    parts: list[Part]
    complete: bool
    damaged: list[Part]


def read_parts(root: Address, parts: Sequence[Part], schema: Mapping[str, Any]) -> Read:
    """The rows of the parts; damaged ones are set aside.

    Args:
        root: the store's.
        parts: which.
        schema: columns to read; null where a part has no such column.

    Raises:
        StoreError: a part can't be reached, or was written by a newer helmframe.
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
    scan = pl.scan_parquet(checked, missing_columns="insert", extra_columns="ignore")
    return Read(scan.select(_conform(scan.collect_schema().names(), schema)).collect(), sound, complete, damaged)


def set_aside(root: Address, file: File, why: str) -> None:
    """Move a damaged file to the store's folder `damaged`, and say so; never fails."""
    address = file.address
    target = below(root, "damaged", *_path(root, address).split("/"))
    try:
        move(file.address, target)
    except StoreError as error:
        log.warning("%s is damaged: %s. It is left out; it could not be set aside: %s", address, why, error)
    else:
        log.warning("%s is damaged: %s. It is set aside to %s; the rest serves.", address, why, target)


def _path(folder: Address, address: Address) -> str:
    """Return the path of a file below a folder, with slashes."""
    return str(address)[len(str(folder)) :].strip("/\\").replace("\\", "/")


def _conform(there: Iterable[str], schema: Mapping[str, Any]) -> list[pl.Expr]:
    names = set(there)
    return [
        pl.col(name).cast(dtype) if name in names else pl.lit(None, dtype=dtype).alias(name)
        for name, dtype in schema.items()
    ]
