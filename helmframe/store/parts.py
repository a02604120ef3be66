"""One Parquet part of answers: what its name says, how its bytes are made and read, and what is damage.

    LOW-HIGH-TIME-ID-ROWS-CHECKSUM.parquet

row_index from LOW to HIGH, written at TIME (nanoseconds since 1970), ID to tell writers apart, the number of rows, and
the crc32 of the bytes: Parquet readers take many flipped bits for good, and some end the thread that reads.
"""

import io
import json
import logging
import re
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
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

_NAME = re.compile(r"(\d{12})-(\d{12})-(\d{20})-([0-9a-f]{8})(?:-(\d+)-([0-9a-f]{8}))?\.parquet")
# Answers, prefixes and the tables of runs; what was written before checksums has none.
_CHECKED = re.compile(
    r"(?:\d{12}-\d{12}-\d{20}-[0-9a-f]{8}-\d+|prefixes-[0-9a-f]{32}|\d{6,12}-[0-9a-f]{8})-([0-9a-f]{8})\.parquet"
)


@dataclass(frozen=True)
class Part:
    """A part by its name; the parts of before checksums have neither rows nor checksum."""

    file: File
    low: int
    high: int
    time: int
    id: str
    rows: int | None
    checksum: str | None

    @classmethod
    def named(cls, file: File) -> "Part | None":
        """The part that this file is, if its name is a part's."""
        found = _NAME.fullmatch(file.name.rpartition("/")[2])
        if found is None:
            return None
        low, high, at, ident, rows, checksum = found.groups()
        return cls(file, int(low), int(high), int(at), ident, int(rows) if rows else None, checksum)

    @property
    def age(self) -> tuple[int, str]:
        """Orders parts from old to new: the fixed rule by which one of two answers counts."""
        return self.time, self.id


def part_name(low: int, high: int, at: int, rows: int, data: bytes) -> str:
    """The name of a new part with these bytes."""
    return f"{low:012d}-{high:012d}-{at:020d}-{uuid4().hex[:8]}-{rows}-{checksum(data)}.parquet"


def checksum(data: bytes) -> str:
    """8 hex digits."""
    return f"{zlib.crc32(data):08x}"


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


def damage(data: bytes, name: str) -> str | None:
    """What is wrong with these bytes under this name; None where nothing is.

    Raises:
        StoreError: a newer helmframe wrote them.
    """
    if not data:
        return "it is empty"
    said = _CHECKED.fullmatch(name.rpartition("/")[2])
    if said and said[1] != checksum(data):
        return "its bytes are not those that were written"
    if data[:4] != b"PAR1" or data[-4:] != b"PAR1":
        return "it is no Parquet"
    if said and any(each in data[-_FOOTER:] for each in _OURS):
        return None
    try:
        footer_of(data)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, ValueError, TypeError, OSError) as error:
        if isinstance(error, StoreError):
            raise
        return "its footer can't be read"
    return None


class Read(NamedTuple):
    """The rows of some parts, the parts they are from, and whether none of those asked for was gone."""

    rows: pl.DataFrame
    parts: list[Part]
    complete: bool


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
    frames: list[pl.DataFrame] = []
    sound: list[Part] = []
    complete = True
    for part, data in zip(parts, read_all([part.file.address for part in parts]), strict=True):
        if data is None:
            complete = False
            continue
        why = damage(data, part.file.name)
        if why is None and part.checksum is not None:
            checked.append(data)
            sound.append(part)
            continue
        rows = None if why else _unchecked(data, part, schema)
        if rows is None:
            set_aside(root, part.file, why or "its columns can't be read")
        else:
            frames.append(rows)
            sound.append(part)
    if checked:
        scan = pl.scan_parquet(checked, missing_columns="insert", extra_columns="ignore")
        frames.append(scan.select(_conform(scan.collect_schema().names(), schema)).collect())
    return Read(pl.concat(frames) if frames else pl.DataFrame(schema=schema), sound, complete)


def newest(rows: pl.DataFrame) -> pl.DataFrame:
    """One row per request_id, of several the one written last, by the column `written`."""
    # The hash of an id is enough to see that none repeats, which is the usual case, and six times as fast.
    if rows["request_id"].hash().n_unique() == rows.height:
        return rows
    return rows.sort("written", maintain_order=True).unique("request_id", keep="last", maintain_order=True)


def set_aside(root: Address, file: File, why: str) -> None:
    """Move a damaged file to the store's folder `damaged`, and say so; never fails."""
    address, base = str(file.address), str(root)
    names = address[len(base) :].strip("/\\").replace("\\", "/").split("/")
    target = below(root, "damaged", *names)
    try:
        move(file.address, target)
    except StoreError as error:
        log.warning("%s is damaged: %s. It is left out; it could not be set aside: %s", address, why, error)
    else:
        log.warning("%s is damaged: %s. It is set aside to %s; the rest serves.", address, why, target)


class Clock:
    """Nanoseconds since 1970 that only grow within a process, even where the machine's clock is set back."""

    def __init__(self, clock: Callable[[], int] = time.time_ns) -> None:
        self._clock = clock
        self._last = 0
        self._lock = threading.Lock()

    def now(self) -> int:
        """A time that no earlier call gave."""
        with self._lock:
            self._last = max(self._last + 1, self._clock())
            return self._last


def _unchecked(data: bytes, part: Part, schema: Mapping[str, Any]) -> pl.DataFrame | None:
    """The rows of a part of before checksums; None where they can't be read."""
    try:
        rows = pl.read_parquet(io.BytesIO(data))
        rows = rows.select(_conform(rows.columns, schema))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return None
    return rows.with_columns(written=pl.lit(part.time, dtype=pl.Int64)) if "written" in schema else rows


def _conform(there: Iterable[str], schema: Mapping[str, Any]) -> list[pl.Expr]:
    names = set(there)
    return [
        pl.col(name).cast(dtype) if name in names else pl.lit(None, dtype=dtype).alias(name)
        for name, dtype in schema.items()
    ]
