"""The images of a scenario: references in the rows, and a reader of their bytes with a bounded cache.

In the view `rows`, an image column has texts in place of bytes: `cell:FILE#ROW` for images in a Parquet file, and
`path:PATH` for paths below the data root. So no stage before `generate` reads an image, except to hash it once.
"""

import re
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from helmframe._core.images import ImageRef, digest_of, pillow, thumbnail
from helmframe._core.specs import ScenarioSpec
from helmframe._schema import CONTENT, IMAGES, source_column
from helmframe.config import data_root, from_home
from helmframe.errors import SourceBrokenError, SourceMissingError
from helmframe.scenarios.sources import Source, connect
from helmframe.scenarios.sql import identifier, text_list, text_literal

CELL, PATH, FRAME = "cell:", "path:", "frame:"
# The most bytes of images that a reader caches, and the most bytes of one read.
CACHED_BYTES = 64 << 20
BLOCK_BYTES = 16 << 20
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

    Bytes are read in blocks of neighbouring rows, and the blocks read last are cached. A reader only reads files of the
    scenario, and paths below the data root.

    Args:
        spec: The scenario.
        data: The root of the rows, instead of the configured one.
    """

    def __init__(self, spec: ScenarioSpec, data: str | None = None) -> None:
        self._spec = spec
        self._data = data
        self._lock = threading.RLock()
        self._source: Source | None = None
        self._cache: OrderedDict[tuple[Any, ...], list[bytes | None]] = OrderedDict()
        self._cached_bytes = 0
        self._files: dict[str, list[tuple[int, int]]] = {}  # file → first and last row of each block
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
        """Close the connection, and drop the cached bytes."""
        with self._lock:
            if self._source is not None:
                self._source.close()
            self._source = None
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
        for text in _as_list(value):
            if text.startswith(PATH):
                path = text.removeprefix(PATH)
                sources, items = [{"path": path}], self._file(path)
            elif text.startswith(CELL):
                file, _, row = text.removeprefix(CELL).rpartition("#")
                with self._lock:
                    self._files.setdefault(file, [])
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
        """Return the images in a cell of a Parquet file; a block of rows is read and cached."""
        with self._lock:
            if file not in self._files or column not in self._spec.images:
                raise SourceBrokenError(f"scenario {self._spec.scenario!r} has no file {file} with column {column!r}.")
            key = (file, row, column)
            if key not in self._cache:
                self._read_block(file, row, column)
            return self._cached(key)

    def _read_block(self, file: str, row: int, column: str) -> None:
        blocks = self._files[file] or self._files.setdefault(file, [])
        if not blocks:
            blocks += self._blocks(file)
        first, last = next((block for block in blocks if block[0] <= row <= block[1]), (row, row))
        names = [name for name in self._spec.images if name == column or self._in_cells(name)]
        select = ", ".join(["file_row_number", *map(identifier, names)])
        sql = (
            f"SELECT {select} FROM read_parquet({text_literal(file)}) WHERE file_row_number BETWEEN {first} AND {last}"
        )
        source = self._connected()
        for number, *values in source.guarded(lambda: source.connection.execute(sql).fetchall(), file):
            for name, value in zip(names, values, strict=True):
                self._add((file, number, name), self._bytes_of(value))

    def _in_cells(self, name: str) -> bool:
        """Return whether a column has the bytes of images, not paths."""
        dtype = str(dict(self._spec.columns).get(name, "VARCHAR")).upper()
        return not dtype.startswith("VARCHAR")

    def _blocks(self, file: str) -> list[tuple[int, int]]:
        """Return the first and last row of each block: a row group, or a part of it if it has many bytes."""
        source = self._connected()
        columns = " OR ".join(
            f"path_in_schema = {text_literal(name)} OR starts_with(path_in_schema, {text_literal(name + ', ')})"
            for name in self._spec.images
        )
        sql = (
            f"SELECT max(row_group_num_rows), coalesce(sum(total_uncompressed_size) FILTER (WHERE {columns}), 0) "
            f"FROM parquet_metadata({text_literal(file)}) GROUP BY row_group_id ORDER BY row_group_id"
        )
        blocks, start = [], 0
        for height, size in source.guarded(lambda: source.connection.execute(sql).fetchall(), file):
            step = max(1, height // max(1, -(-int(size) // BLOCK_BYTES)))
            blocks += [(first, min(first + step, start + height) - 1) for first in range(start, start + height, step)]
            start += height
        return blocks

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
            root = self._root()
            if "://" not in root:
                contents = {path: self._on_disk(address) for path, address in addresses.items()}
            else:
                source = self._connected()
                sql = f"SELECT filename, content FROM read_blob({text_list(addresses.values())})"
                found = dict(
                    source.guarded(lambda: source.connection.execute(sql).fetchall(), next(iter(addresses.values())))
                )
                contents = {path: found.get(address) for path, address in addresses.items()}
            for path, data in contents.items():
                if data is None:
                    raise SourceMissingError(
                        f"scenario {self._spec.scenario!r}: image {addresses[path]} not found. Paths of images are "
                        "relative to the data root."
                    )
                self._add((path,), [data])

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
        if "://" in root and re.search(r"[*?\[\]]", path):
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

    def _connected(self) -> Source:
        if self._source is None:
            spec = self._spec if self._spec.frame is None else _rootless(self._spec)
            self._source = connect(spec, self._data)
            # the blocks are cached here, and DuckDB would cache whole files
            self._source.connection.execute("SET enable_external_file_cache = false")
        return self._source

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


def _rootless(spec: ScenarioSpec) -> ScenarioSpec:
    """Return a spec whose connection reads the data root, for a frame with paths."""
    return replace(spec, frame=None, source=(("rows", "{data}/*.parquet"),))


def _as_list(value: Any) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else [text for text in value if text is not None]


def _size(items: Sequence[bytes | None]) -> int:
    return sum(len(data) for data in items if data is not None)


def _shown(source: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in source.items())
