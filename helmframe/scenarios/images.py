"""The images of a scenario: references in the rows, and a reader of their bytes with a bounded cache.

In the view `rows`, an image column has texts in place of bytes: `cell:FILE#ROW` for images in a Parquet file, and
`path:PATH` for paths below the data root. So no stage before `generate` reads an image, except to hash it once.
"""

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from helmframe._core.images import ImageRef, digest_of, pillow, thumbnail
from helmframe._core.specs import ScenarioSpec
from helmframe._schema import CONTENT, IMAGES, source_column
from helmframe.config import data_root, from_home, hub_token, s3_options
from helmframe.errors import HelmframeError, SourceBrokenError, SourceMissingError
from helmframe.scenarios.remote import filesystem_of
from helmframe.scenarios.sources import reader_errors, source_error
from helmframe.scenarios.sql import identifier

T = TypeVar("T")

CELL, PATH, FRAME = "cell:", "path:", "frame:"
# The most bytes of images that a reader caches, and the bytes of one read.
CACHED_BYTES = 48 << 20
BUFFER_BYTES = 4 << 20
# The positions from which a reader continues to read: several models may be at different rows.
MOST_CURSORS = 4
# The number of files that are read together.
FILES_AT_ONCE = 16
# The number of images of a run that have a thumbnail.
MOST_THUMBNAILS = 500


def image_sql(column: str, dtype: str, files: str) -> str:
    """Return SQL with the references of an image column, in place of its values.

    Args:
        column: The name of the column.
        dtype: Its DuckDB type: text is a path, and other types contain the bytes.
        files: SQL with the path of the file.
    """
    name = identifier(column)
    if dtype == "VARCHAR":
        return f"('{PATH}' || {name}) AS {name}"
    if dtype == "VARCHAR[]":
        return f"list_transform({name}, lambda path: '{PATH}' || path) AS {name}"
    return f"('{CELL}' || {files} || '#' || file_row_number) AS {name}"


def is_image_type(dtype: str) -> bool:
    """Return whether a DuckDB type can have images: bytes, a path, the Hub's {bytes, path}, or a list of these."""
    item = dtype.removesuffix("[]")
    return item in ("VARCHAR", "BLOB") or re.match(r"STRUCT\((?=.*\bbytes BLOB\b)", item) is not None


class ImageReader:
    """A reader of the images of one scenario; thread-safe.

    A Parquet file is read row by row, from the start of a row group, and the images read last are cached. A reader only
    reads files of the scenario, and paths below the data root.

    Args:
        spec: The scenario.
        data: The root of the rows, instead of the configured one.
    """

    def __init__(self, spec: ScenarioSpec, data: str | None = None) -> None:
        self._spec = spec
        self._data = data
        self._lock = threading.RLock()
        self._filesystems: dict[str, Any] = {}
        self._open: dict[str, Any] = {}  # file → its open pyarrow reader
        self._cursors: list[_Cursor] = []
        self._cache: OrderedDict[tuple[Any, ...], list[bytes | None]] = OrderedDict()
        self._cached_bytes = 0
        self._files: set[str] = set()  # the files to which references were made
        self._thumbnails: dict[str, dict[str, Any]] = {}
        self._new: list[str] = []  # digests of thumbnails that `take_thumbnails` has not returned yet

    def described(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return instances with references to their images in `content`, in place of the image columns.

        Raises:
            SourceError: An image can't be read.
        """
        names = [source_column(name) for name in self._spec.images]
        pillow()  # before the first read, because every model needs it
        parts = [self._parts(dict(zip(self._spec.images, row, strict=True))) for row in self._rows(frame, names)]
        earlier = frame["content"].to_list()
        content = [[*own, *(other or [])] or None for own, other in zip(parts, earlier, strict=True)]
        return frame.drop(names).with_columns(content=pl.Series(content, dtype=CONTENT))

    def read(self, ref: ImageRef) -> bytes:
        """Return the bytes of an image.

        Raises:
            SourceBrokenError: The bytes have changed since the reference was made.
            SourceError: The image can't be read.
        """
        source = ref.source
        if "path" in source:
            items = self._file(str(source["path"]))
        elif "file" in source:
            items = self._cell(str(source["file"]), int(source["row"]), str(source["column"]))
        else:
            items = self._frame_cell(int(source["row"]), str(source["column"]))
        position = int(source.get("item", 0))
        data = items[position] if position < len(items) else None
        if data is None or digest_of(data) != ref.digest:
            raise SourceBrokenError(
                f"scenario {self._spec.scenario!r}: the image at {_shown(source)} changed during the run. Rerun the "
                "plan."
            )
        return data

    def take_thumbnails(self) -> pl.DataFrame:
        """Return the thumbnails that were made since the last call, as `IMAGES`."""
        with self._lock:
            new, self._new = self._new, []
            return pl.DataFrame([self._thumbnails[digest] for digest in new], schema=IMAGES.schema)

    def close(self) -> None:
        """Close the files, and drop the cached bytes."""
        with self._lock:
            self._cursors.clear()
            self._open.clear()
            self._cache.clear()
            self._cached_bytes = 0

    def _rows(self, frame: pl.DataFrame, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """Yield the values of the image columns, and read paths in groups."""
        rows = list(frame.select(names).iter_rows())
        for start in range(0, len(rows), FILES_AT_ONCE):
            group = rows[start : start + FILES_AT_ONCE]
            texts = [text for row in group for value in row for text in _as_list(value)]
            self._read_files([text.removeprefix(PATH) for text in texts if text.startswith(PATH)])
            yield from group

    def _parts(self, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the content parts of the images of one instance."""
        parts: list[dict[str, Any]] = []
        for number, (column, value) in enumerate(values.items(), 1):
            for item, (source, data) in enumerate(self._images(column, value)):
                digest = digest_of(data)
                self._add_thumbnail(digest, data)
                ref = ImageRef(digest, source, f"<image {number + item}>")
                parts.append({"type": "image", "text": None, "media": {"name": ref.json(), "data": None}})
        return parts

    def _images(self, column: str, value: Any) -> Iterator[tuple[dict[str, Any], bytes]]:
        """Yield the source and the bytes of each image of a cell."""
        sources: list[dict[str, Any]]
        for text in _as_list(value):
            if text.startswith(PATH):
                path = text.removeprefix(PATH)
                sources, items = [{"path": path}], self._file(path)
            elif text.startswith(CELL):
                file, _, row = text.removeprefix(CELL).rpartition("#")
                with self._lock:
                    self._files.add(file)
                items = self._cell(file, int(row), column)
                sources = [
                    {"file": file, "row": int(row), "column": column, "item": item} for item in range(len(items))
                ]
            else:
                row = text.removeprefix(FRAME)
                items = self._frame_cell(int(row), column)
                sources = [{"row": int(row), "column": column, "item": item} for item in range(len(items))]
            yield from ((source, data) for source, data in zip(sources, items, strict=True) if data is not None)

    def _add_thumbnail(self, digest: str, data: bytes) -> None:
        with self._lock:
            if digest in self._thumbnails or len(self._thumbnails) >= MOST_THUMBNAILS:
                return
        entry = {"scenario": self._spec.scenario, "sha256": digest, "bytes": len(data), **thumbnail(data)}
        with self._lock:
            if digest not in self._thumbnails:
                self._thumbnails[digest] = entry
                self._new.append(digest)

    def _frame_cell(self, row: int, column: str) -> list[bytes | None]:
        images = self._spec.frame.images if self._spec.frame is not None else None
        if images is None or column not in images.columns or not 0 <= row < images.height:
            raise SourceBrokenError(f"scenario {self._spec.scenario!r}: the frame has no image in row {row}.")
        return self._bytes_of(images[column][row])

    def _cell(self, file: str, row: int, column: str) -> list[bytes | None]:
        """Return the images in a cell of a Parquet file; the rows before it in its row group are cached."""
        key = (file, row, column)
        with self._lock:
            if file not in self._files or column not in self._spec.images:
                raise SourceBrokenError(f"scenario {self._spec.scenario!r} has no file {file} with column {column!r}.")
            if key not in self._cache:
                self._guarded(file, partial(self._read_up_to, file, row, column))
            return self._cached(key)

    def _read_up_to(self, file: str, row: int, column: str) -> None:
        """Read and cache the cells up to a row, from an open cursor or from the start of the row group."""
        usable = [cursor for cursor in self._cursors if cursor.key == (file, column) and cursor.row <= row < cursor.end]
        cursor = max(usable, key=lambda cursor: cursor.row, default=None)
        if cursor is None:
            cursor = self._cursor(file, row, column)
            self._cursors.append(cursor)
        while cursor.row <= row:
            for value in next(cursor.batches).column(0).to_pylist():
                self._add((file, cursor.row, column), self._bytes_of(value))
                cursor.row += 1
        if cursor.row >= cursor.end:
            self._cursors.remove(cursor)

    def _cursor(self, file: str, row: int, column: str) -> "_Cursor":
        """Return a cursor at the start of the row group of a row."""
        import pyarrow.parquet as pq

        if file not in self._open:
            handle = file if "://" not in file else self._filesystem(file).open(_path_of(file), "rb", cache_type="none")
            self._open[file] = pq.ParquetFile(handle, pre_buffer=False, buffer_size=BUFFER_BYTES)
        parquet = self._open[file]
        start = 0
        for group in range(parquet.metadata.num_row_groups):
            height = parquet.metadata.row_group(group).num_rows
            if row < start + height:
                # one row at a time, because the size of images differs
                batches = parquet.iter_batches(1, row_groups=[group], columns=[column], use_threads=False)
                del self._cursors[: max(0, len(self._cursors) - MOST_CURSORS + 1)]
                return _Cursor((file, column), start, start + height, batches)
            start += height
        raise SourceBrokenError(f"scenario {self._spec.scenario!r}: {file} has no row {row}; it has {start}.")

    def _bytes_of(self, value: Any) -> list[bytes | None]:
        """Return the images in a value: bytes, a path, the Hub's {bytes, path}, a list of these, or null."""
        if value is None:
            return []
        if isinstance(value, bytes | bytearray | memoryview):
            return [bytes(value)]
        if isinstance(value, str):
            return self._file(value)
        if isinstance(value, Mapping):
            data = value.get("bytes")
            return self._bytes_of(data if data is not None else value.get("path"))
        return [data for item in value for data in self._bytes_of(item)]

    def _file(self, path: str) -> list[bytes | None]:
        with self._lock:
            if (path,) not in self._cache:
                self._read_files([path])
            return self._cached((path,))

    def _read_files(self, paths: Sequence[str]) -> None:
        with self._lock:
            new = [path for path in dict.fromkeys(paths) if (path,) not in self._cache]
            if not new:
                return
            addresses = {path: self._address(path) for path in new}
            if "://" not in self._root():
                contents = {path: self._on_disk(address) for path, address in addresses.items()}
            else:
                contents = self._in_bucket(addresses)
            for path, data in contents.items():
                if data is None:
                    raise SourceMissingError(
                        f"scenario {self._spec.scenario!r}: image {addresses[path]} not found. Paths of images are "
                        "relative to the data root."
                    )
                self._add((path,), [data])

    def _in_bucket(self, addresses: Mapping[str, str]) -> dict[str, bytes | None]:
        """Return the content of files in a bucket or on the Hub; None for missing ones."""
        names = {path: _path_of(address) for path, address in addresses.items()}
        filesystem = self._filesystem(next(iter(addresses.values())))
        found: dict[str, Any] = self._guarded(
            self._root(), lambda: filesystem.cat(list(names.values()), on_error="return")
        )
        contents = {path: found[name] if isinstance(found, dict) else found for path, name in names.items()}
        for path, content in contents.items():
            if isinstance(content, Exception) and not isinstance(content, FileNotFoundError):
                self._guarded(addresses[path], partial(_raise, content))
        return {path: content if isinstance(content, bytes) else None for path, content in contents.items()}

    def _on_disk(self, address: str) -> bytes | None:
        file, root = Path(address).resolve(), Path(self._root()).resolve()
        if not file.is_relative_to(root):
            raise self._refused(address, "it is a link to a file outside the data root")
        try:
            return file.read_bytes() if file.is_file() else None
        except OSError as error:
            raise SourceBrokenError(f"scenario {self._spec.scenario!r}: image {address}: {error.strerror}.") from None

    def _address(self, path: str) -> str:
        """Return the address of a path below the data root.

        Raises:
            SourceBrokenError: The path leads elsewhere.
        """
        parts = path.split("/")
        if not path or path.startswith("/") or re.search(r"[\\\0:]", path) or {"", ".", ".."} & set(parts):
            raise self._refused(path, "it must be a relative path below the data root, without '..'")
        root = self._root()
        if "://" in root and re.search(r"[*?\[\]]", path):  # file systems would expand these
            raise self._refused(path, "names with *, ?, [ or ] aren't supported in a bucket")
        return f"{root}/{path}"

    def _refused(self, path: str, reason: str) -> SourceBrokenError:
        return SourceBrokenError(f"scenario {self._spec.scenario!r}: image path {path!r} is refused: {reason}.")

    def _root(self) -> str:
        root = (self._data or data_root() or "").rstrip("/")
        if root:
            return root if "://" in root else str(from_home(root).absolute())
        hub = str(dict(self._spec.hub).get("rows") or "")
        match = re.match(r"hf://datasets/[^/]+/[^/]+", hub)
        if match is None:
            raise SourceMissingError(
                f"scenario {self._spec.scenario!r}: its images are paths, but no data root is set. Write "
                "hf.configure(data=…) or hf.scenario(…, data=…): a folder or s3://bucket/prefix."
            )
        return match.group()

    def _filesystem(self, address: str) -> Any:
        scheme = address.partition("://")[0]
        if scheme not in self._filesystems:
            self._filesystems[scheme] = filesystem_of(address)
        return self._filesystems[scheme]

    def _guarded(self, address: str, action: Callable[[], T]) -> T:
        """Return the result of an action; raise the typed error of a failure, without credentials."""
        try:
            return action()
        except HelmframeError:
            raise
        except reader_errors() as error:
            secrets = _secrets(address)
            failure = source_error(error, self._spec.scenario, address, secrets, self._spec.terms)
        # raised outside of `except`, so that no traceback holds the reader's frames, which may have credentials
        raise failure

    def _add(self, key: tuple[Any, ...], items: list[bytes | None]) -> None:
        self._cached_bytes += _size(items) - _size(self._cache.pop(key, []))
        self._cache[key] = items
        while self._cached_bytes > CACHED_BYTES and len(self._cache) > 1:
            oldest, dropped = next(iter(self._cache.items()))
            if oldest == key:
                break
            del self._cache[oldest]
            self._cached_bytes -= _size(dropped)

    def _cached(self, key: tuple[Any, ...]) -> list[bytes | None]:
        items = self._cache.get(key, [])
        if key in self._cache:
            self._cache.move_to_end(key)
        return items


@dataclass
class _Cursor:
    """A position in a row group of a Parquet file, whose next rows are read in order."""

    key: tuple[str, str]  # file and column
    row: int
    end: int
    batches: Iterator[Any]


def _path_of(address: str) -> str:
    """Return an address as Python file systems spell it."""
    return address.partition("://")[2]


def _secrets(address: str) -> tuple[str, ...]:
    """Return the credentials with which an address is read."""
    if address.startswith("s3://"):
        return s3_options().secrets
    token = hub_token() if address.startswith("hf://") else None
    return (token.reveal(),) if token else ()


def _raise(error: Exception) -> None:
    raise error


def _as_list(value: Any) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else [text for text in value if text is not None]


def _size(items: Sequence[bytes | None]) -> int:
    return sum(len(data) for data in items if data is not None)


def _shown(source: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in source.items())
