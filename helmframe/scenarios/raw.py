"""Raw rows as published: Parquet, CSV, JSON, XML, Excel or text, compressed, in an archive, or at a URL.

A layout describes the paths of files, with `{column}` for the value of a column: `mmlu/{subject}/{split}-*.parquet`.
"""

import bz2
import csv
import gzip
import html
import json
import lzma
import re
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any
from xml.etree import ElementTree

import polars as pl

from helmframe._core.specs import placeholders
from helmframe.config import from_home
from helmframe.errors import CapabilityError, SourceBrokenError, SourceMissingError
from helmframe.scenarios.downloads import fetch
from helmframe.scenarios.sql import identifier, text_list, text_literal

_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".zip", ".7z")
# The DuckDB function for each kind. It detects the dialect of CSV; JSON is one object per line or a list of objects.
_READERS = {
    ".parquet": "read_parquet({path})",
    ".csv": "read_csv({path}, sample_size = -1{header})",
    ".tsv": "read_csv({path}, sample_size = -1, delim = '\t'{header})",
    ".jsonl": "read_json({path}, format = 'newline_delimited', maximum_object_size = 33554432)",
    ".json": "read_json({path}, maximum_object_size = 33554432)",
}
_PACKED = (".gz", ".zst")
_COMPRESSED = (".gz", ".zst", ".bz2", ".xz")
# The format of a file by the end of its name.
_FORMATS = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "tsv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".txt": "lines",
    ".xml": "xml",
    ".xlsx": "xlsx",
}
# Formats whose files are one row each: many files are one table.
ROW_PER_FILE = ("objects", "text")
_TEXT_FORMATS = ("csv", "tsv", "json", "jsonl", "objects", "text", "lines")
_PIECE_BYTES = 8 << 20  # of texts that are held before they are written
_CELL_BYTES = 1 << 27  # the longest cell of a CSV file
# DuckDB guesses these types from texts, and would write the texts in another form.
_GUESSED = {
    "date", "time", "timestamp", "timestamp_s", "timestamp_ms", "timestamp_ns", "time with time zone",
    "timestamp with time zone", "uuid",
}  # fmt: skip


@contextmanager
def open_folder(address: str) -> Iterator[Path]:
    """Yield the folder with the rows: as it is, unpacked from an archive, or downloaded from a URL.

    Raises:
        SourceMissingError: The folder, archive, file or URL doesn't exist.
        SourceError: The download or the unpacking fails.
    """
    with tempfile.TemporaryDirectory(prefix="helmframe-raw-") as made:
        is_url = address.startswith(("http://", "https://"))
        path = fetch(address, Path(made)) if is_url else from_home(address)
        if path.is_dir():
            yield path
            return
        if not path.exists():
            raise SourceMissingError(f"--from {address} not found. Write a folder, an archive, a file, or a URL.")
        unpacked = Path(made) / "unpacked"
        unpacked.mkdir()
        if path.name.endswith(_ARCHIVES):
            unpack(path, unpacked)
        else:
            (unpacked / path.name).symlink_to(path.absolute())
        yield unpacked


def files_in(folder: Path, layout: str) -> dict[Path, dict[str, str]]:
    """Return the files of the folder that match a layout: path → the columns in the path.

    Other kinds of files match `.parquet`, compressed or not; the layout's first folder and a shard's number may be
    missing: `mmlu/{subject}/{split}-*.parquet` matches `anatomy/test.csv.gz`.
    """
    first = layout.partition("/")[0]
    whole = "/" not in layout or bool(placeholders(first)) or "*" in first or (folder / first).is_dir()
    pattern = _regex(layout if whole else layout.partition("/")[2])
    base = folder / first if whole and (folder / first).is_dir() else folder
    files = {}
    for path in sorted(base.rglob("*")):
        match = pattern.fullmatch(path.relative_to(folder).as_posix())
        if match is not None and path.is_file():
            files[path] = match.groupdict()
    return files


def reader(path: str, select: str | None = None) -> str:
    """Return the DuckDB expression that reads a file.

    Args:
        path: The path of the file.
        select: SQL over its columns; if it names column0 or the like, a CSV file has no header.

    Raises:
        SourceBrokenError: The kind of file is unsupported.
    """
    name = path
    for packed in _PACKED:
        name = name.removesuffix(packed)
    kind = next((ending for ending in _READERS if name.endswith(ending)), "")
    if not kind:
        raise SourceBrokenError(f"{path} can't be read: its name must end in {', '.join(_READERS)}.")
    headless = select is not None and re.search(r"\bcolumn\d+\b", select) is not None
    return _READERS[kind].format(path=text_literal(path), header=", header = false" if headless else "")


def _regex(layout: str) -> re.Pattern[str]:
    kinds = "|".join(re.escape(ending) for ending in _READERS)
    packed = "|".join(re.escape(ending) for ending in _PACKED)
    stem = re.sub(r"(-?\*)?\.\w+(\.gz|\.zst)?$", "", layout)
    return re.compile(rf"{_group(stem)}(?:[-_.][^/]*?)?(?:{kinds})(?:{packed})?")


def _group(text: str) -> str:
    seen: set[str] = set()

    def piece(part: str) -> str:
        name = re.fullmatch(r"\{(\w+)\}", part)
        if name is None:
            return "[^/]*" if part == "*" else re.escape(part)
        if name[1] in seen:
            return f"(?P={name[1]})"
        seen.add(name[1])
        return f"(?P<{name[1]}>[^/]+?)"

    return "".join(piece(part) for part in re.split(r"(\{\w+\}|\*)", text))


def format_of(name: str, stated: str = "") -> str:
    """Return the format of a file: the stated one, else by its name.

    >>> format_of("data/test.csv.gz")
    'csv'

    Raises:
        SourceBrokenError: The name has no known ending.
    """
    base = name
    for ending in _COMPRESSED:
        base = base.removesuffix(ending)
    by_name = stated or next((kind for ending, kind in _FORMATS.items() if base.lower().endswith(ending)), "")
    if not by_name:
        raise SourceBrokenError(f"{name}: unknown format. Write `format: csv`, or another format, in `download`.")
    return by_name


def read_rows(
    files: Sequence[tuple[str, Path]],
    kind: str,
    options: Mapping[str, Any],
    folder: Path,
    connection: Any,
    *,
    headless: bool = False,
) -> str:
    """Return the DuckDB expression that reads files of one format as one table.

    Args:
        files: The name and the path of each file.
        kind: The format: one of `DOWNLOAD_FORMATS`, except natural_questions.
        options: header, delimiter, quote, encoding, element or sheet.
        folder: A folder for unpacked and converted files.
        connection: A DuckDB connection, which finds the types of JSON.
        headless: Whether a CSV file has no header, if `options` doesn't specify it.

    Raises:
        SourceBrokenError: A file is damaged, or has another format or encoding.
        CapabilityError: The format needs a package that isn't installed.
    """
    plain = [(name, decompressed(path, folder)) for name, path in files]
    encoding = str(options.get("encoding") or "utf-8")
    if kind == "parquet":
        return f"read_parquet({text_list(str(path) for _, path in plain)}, union_by_name = true)"
    if kind in ("json", "jsonl"):
        paths = [_as_utf8(name, path, folder, encoding) for name, path in plain]
        return _json_expression(paths, kind, connection)
    target = _new_path(folder, "rows.parquet")
    if kind in ROW_PER_FILE:
        column = "json" if kind == "objects" else "text"
        rows = ({"filename": name, column: _text_of(name, path, encoding)} for name, path in plain)
        _write_texts(target, ["filename", column], rows)
        as_json = " REPLACE (json::JSON AS json)" if kind == "objects" else ""
        return f"(SELECT *{as_json} FROM read_parquet({text_literal(str(target))}))"
    targets = []
    for name, path in plain:
        target = _new_path(folder, "rows.parquet")
        if kind == "xlsx":
            _read_sheet(name, path, options, headless=headless).write_parquet(target)
        elif kind == "class_names":
            _class_names(name, path).write_parquet(target)
        elif kind == "xml":
            _write_texts(target, ["json"], _elements(name, path, str(options.get("element") or "")))
        elif kind == "lines":
            _write_texts(target, ["line"], _lines(name, path, encoding))
        else:
            header = bool(options.get("header", not headless))
            columns, cells = _cells(name, path, kind, options, encoding, header=header)
            _write_texts(target, columns, cells)
        targets.append(str(target))
    as_json = " REPLACE (json::JSON AS json)" if kind == "xml" else ""
    return f"(SELECT *{as_json} FROM read_parquet({text_list(targets)}, union_by_name = true))"


def decompressed(path: Path, folder: Path) -> Path:
    """Return a file, or the decompressed copy of a .gz, .zst, .bz2 or .xz file.

    Raises:
        SourceBrokenError: The file is damaged.
    """
    if not path.name.endswith(_COMPRESSED):
        return path
    target = _new_path(folder, path.name.rpartition(".")[0])
    try:
        with _decompressing(path) as packed, target.open("wb") as file:
            shutil.copyfileobj(packed, file, 1 << 20)
    except _damage() as error:
        raise SourceBrokenError(f"decompressing {path.name} failed ({_problem(error)}). Download it again.") from None
    return target


def is_archive(path: Path, *, by_content: bool = False) -> bool:
    """Return whether a file is a tar, zip or 7z archive, by its name or, with `by_content`, by its bytes."""
    if path.name.endswith(_ARCHIVES):
        return True
    if not by_content:
        return False
    with path.open("rb") as file:
        start = file.read(6)
    return start == b"7z\xbc\xaf\x27\x1c" or zipfile.is_zipfile(path) or tarfile.is_tarfile(path)


def unpack(path: Path, folder: Path, wanted: Callable[[str], bool] = lambda _: True) -> None:
    """Unpack plain files whose paths are wanted, and only below the folder.

    Raises:
        SourceBrokenError: The archive is damaged.
        CapabilityError: A 7z archive needs a package that isn't installed.
    """
    with path.open("rb") as file:
        is_7z = file.read(6) == b"7z\xbc\xaf\x27\x1c"
    try:
        if is_7z:
            _unpack_7z(path, folder, wanted)
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for info in archive.infolist():
                    if not info.is_dir() and wanted(info.filename):
                        with archive.open(info) as member:
                            _write_member(member, info.filename, folder)
        else:
            _unpack_tar(path, folder, wanted)
    except _damage() as error:
        raise SourceBrokenError(f"unpacking {path} failed ({_problem(error)}). Download it again.") from None


def _unpack_tar(path: Path, folder: Path, wanted: Callable[[str], bool]) -> None:
    with _decompressing(path) if path.name.endswith(".zst") else path.open("rb") as packed:
        streamed = path.name.endswith(".zst")
        with tarfile.open(fileobj=packed, mode="r|" if streamed else "r:*") as archive:
            for info in archive:
                member = archive.extractfile(info) if info.isfile() and wanted(info.name) else None
                if member is not None:
                    _write_member(member, info.name, folder)


def _unpack_7z(path: Path, folder: Path, wanted: Callable[[str], bool]) -> None:
    try:
        import py7zr
        from py7zr.exceptions import ArchiveError
    except ImportError:
        raise CapabilityError(
            f"{path.name} is a 7z archive, which needs the package py7zr. Run: pip install 'helmframe[mirror]'"
        ) from None
    try:
        with py7zr.SevenZipFile(path) as archive, tempfile.TemporaryDirectory(dir=folder) as made:
            names = [info.filename for info in archive.list() if not info.is_directory and wanted(info.filename)]
            if names:
                archive.extract(path=made, targets=names)
            for name in names:
                file = Path(made, name)
                if file.is_file() and not file.is_symlink():
                    with file.open("rb") as member:
                        _write_member(member, name, folder)
    except ArchiveError as error:
        raise SourceBrokenError(f"unpacking {path} failed ({_problem(error)}). Download it again.") from None


def _write_member(member: IO[bytes], name: str, folder: Path) -> None:
    target = folder.joinpath(*(part for part in name.split("/") if part not in ("", ".", "..")))
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        shutil.copyfileobj(member, file, 1 << 20)


def _decompressing(path: Path) -> Any:
    """Return an open stream of the decompressed bytes."""
    if path.name.endswith(".gz"):
        return gzip.open(path)
    if path.name.endswith(".bz2"):
        return bz2.open(path)
    if path.name.endswith(".xz"):
        return lzma.open(path)
    import pyarrow as pa

    return pa.input_stream(str(path), compression="zstd")


def _damage() -> tuple[type[Exception], ...]:
    """Return the types of errors of damaged files; zipfile raises RuntimeError if a file is encrypted."""
    import pyarrow as pa

    damaged = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError)
    return (*damaged, OSError, RuntimeError, pa.ArrowException)


def _problem(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0].rstrip(':')}"


def _new_path(folder: Path, name: str) -> Path:
    return Path(tempfile.mkdtemp(dir=folder)) / name


def _wrong_encoding(name: str, encoding: str) -> SourceBrokenError:
    return SourceBrokenError(
        f"{name} isn't {encoding} text. Write its encoding in `download`: options: {{encoding: latin-1}}."
    )


def _open_text(path: Path, encoding: str, newline: str | None = None) -> IO[str]:
    # utf-8-sig: a byte order mark isn't part of the first cell
    return path.open(encoding="utf-8-sig" if encoding == "utf-8" else encoding, newline=newline)


def _text_of(name: str, path: Path, encoding: str) -> str:
    try:
        with _open_text(path, encoding, newline="") as file:
            return file.read()
    except (UnicodeError, LookupError):
        raise _wrong_encoding(name, encoding) from None


def _lines(name: str, path: Path, encoding: str) -> Iterator[dict[str, str | None]]:
    try:
        with _open_text(path, encoding) as file:
            for line in file:
                yield {"line": line.removesuffix("\n")}
    except (UnicodeError, LookupError):
        raise _wrong_encoding(name, encoding) from None


def _as_utf8(name: str, path: Path, folder: Path, encoding: str) -> Path:
    """Return a text file in UTF-8 without a byte order mark; a copy, if the file isn't one."""
    with path.open("rb") as file:
        if encoding.lower() in ("utf-8", "utf8") and not file.read(3).startswith(b"\xef\xbb\xbf"):
            return path
    target = _new_path(folder, path.name)
    try:
        with _open_text(path, encoding, newline="") as text, target.open("w", encoding="utf-8", newline="") as copy:
            shutil.copyfileobj(text, copy, 1 << 20)
    except (UnicodeError, LookupError):
        raise _wrong_encoding(name, encoding) from None
    return target


def _cells(
    name: str, path: Path, kind: str, options: Mapping[str, Any], encoding: str, *, header: bool
) -> tuple[list[str], Iterator[dict[str, str | None]]]:
    """Return the columns of a CSV file, and its rows: cells are texts, and empty ones are null.

    Raises:
        SourceBrokenError: A row has more cells than the header, or the file isn't CSV text in this encoding.
    """
    delimiter = str(options.get("delimiter") or ("\t" if kind == "tsv" else ","))
    quote = str(options.get("quote", '"'))

    def rows() -> Iterator[tuple[int, list[str]]]:
        limit = csv.field_size_limit(_CELL_BYTES)
        try:
            with _open_text(path, encoding, newline="") as file:
                if quote:
                    reader = csv.reader(file, delimiter=delimiter, quotechar=quote)
                else:
                    reader = csv.reader(file, delimiter=delimiter, quoting=csv.QUOTE_NONE)
                for row in reader:
                    if row:
                        yield reader.line_num, row
        except (UnicodeError, LookupError):
            raise _wrong_encoding(name, encoding) from None
        except csv.Error as error:
            raise SourceBrokenError(f"{name} isn't CSV: {error}.") from None
        finally:
            csv.field_size_limit(limit)

    lines = rows()
    first = next(lines, (1, []))
    columns = _column_names(first[1]) if header else [f"column{index}" for index in range(len(first[1]))]

    def cells() -> Iterator[dict[str, str | None]]:
        for number, row in lines if header else _chain(first, lines):
            if len(row) > len(columns) and any(row[len(columns) :]):
                raise SourceBrokenError(
                    f"{name}: line {number} has {len(row)} cells, more than the {len(columns)} columns. Write the "
                    "delimiter and the quote of the file in `download`: options: {delimiter: ';', quote: ''}."
                )
            yield dict.fromkeys(columns) | dict(zip(columns, (cell or None for cell in row), strict=False))

    return columns, cells()


def _chain(first: tuple[int, list[str]], lines: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[int, list[str]]]:
    if first[1]:
        yield first
    yield from lines


def _column_names(header: Sequence[str]) -> list[str]:
    """Return unique names of columns, as DuckDB names them.

    >>> _column_names(["a", "", "a"])
    ['a', 'column1', 'a_1']
    """
    names: list[str] = []
    for index, cell in enumerate(header):
        name = base = cell.strip() or f"column{index}"
        number = 0
        while name in names:
            number += 1
            name = f"{base}_{number}"
        names.append(name)
    return names


def _elements(name: str, path: Path, element: str) -> Iterator[dict[str, str | None]]:
    """Yield the elements of this name as JSON; without a name, the children of the root."""
    depth = 0
    parents: list[Any] = []
    inside = 0
    try:
        # Expat fetches nothing, and limits the expansion of entities
        for event, node in ElementTree.iterparse(path, events=("start", "end")):  # noqa: S314
            matches = _local(node.tag) == element if element else depth == (1 if event == "start" else 2)
            if event == "start":
                depth += 1
                parents.append(node)
                inside += matches
                continue
            depth -= 1
            parents.pop()
            inside -= matches
            if matches and not inside:
                yield {"json": json.dumps(_as_object(node), ensure_ascii=False)}
            if not inside and parents:
                parents[-1].remove(node)
    except ElementTree.ParseError as error:
        raise SourceBrokenError(f"{name} isn't XML: {error}.") from None


def _as_object(node: Any) -> dict[str, Any]:
    """Return an element as an object: attributes as "@name", its own text as "#text", children by tag as lists."""
    content: dict[str, Any] = {f"@{_local(key)}": value for key, value in node.attrib.items()}
    text = "".join([node.text or "", *(child.tail or "" for child in node)])
    if text.strip():
        content["#text"] = text
    for child in node:
        content.setdefault(_local(child.tag), []).append(_as_object(child))
    return content


def _local(tag: object) -> str:
    return str(tag).rpartition("}")[2]


def _class_names(name: str, path: Path) -> pl.DataFrame:
    """Return the names of class labels, which the Hub stores in its Parquet files: column, class, name."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_schema(path).metadata or {}
        features = json.loads(metadata.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    except (pa.ArrowException, ValueError, OSError) as error:
        raise SourceBrokenError(f"{name} isn't a Parquet file of the Hub ({_problem(error)}).") from None
    rows = []
    for column, feature in features.items():
        # a list of labels has the names one level deeper
        label = feature if "names" in feature else feature.get("feature", {})
        rows += [(column, index, text) for index, text in enumerate(label.get("names") or ())]
    return pl.DataFrame(rows, schema={"column": pl.String, "class": pl.Int64, "name": pl.String}, orient="row")


def _read_sheet(name: str, path: Path, options: Mapping[str, Any], *, headless: bool) -> pl.DataFrame:
    sheet = str(options.get("sheet") or "")
    header = bool(options.get("header", not headless))
    try:
        import fastexcel
    except ImportError:
        raise CapabilityError(
            f"{name} is an Excel file, which needs the package fastexcel. Run: pip install 'helmframe[mirror]'"
        ) from None
    try:
        frame = pl.read_excel(
            path,
            sheet_name=sheet or None,
            engine="calamine",
            has_header=header,
            raise_if_empty=False,
        )
    except (fastexcel.FastExcelError, ValueError, pl.exceptions.PolarsError) as error:
        raise SourceBrokenError(f"{name} can't be read as an Excel file ({_problem(error)}).") from None
    return frame if header else frame.rename({column: f"column{index}" for index, column in enumerate(frame.columns)})


def _json_expression(paths: Sequence[Path], kind: str, connection: Any) -> str:
    """Return the expression that reads JSON; texts that look like dates, times or UUIDs remain texts."""
    form = "newline_delimited"
    if kind == "json":
        form = "array" if _first_character(paths[0]) == "[" else "unstructured"
    # DuckDB's buffers are twice as long as the longest object, and no object is longer than its file
    longest = min(1 << 27 if form == "unstructured" else 1 << 25, max(path.stat().st_size for path in paths) + 1)
    stated = (
        f"read_json({text_list(map(str, paths))}, format = {text_literal(form)}, sample_size = -1, "
        f"maximum_object_size = {longest}, union_by_name = true"
    )
    relation = connection.sql(f"SELECT * FROM {stated}) LIMIT 0")
    types = dict(zip(relation.columns, relation.types, strict=True))
    columns = ", ".join(
        f"{text_literal(name)}: {text_literal(_without_guesses(dtype))}" for name, dtype in types.items()
    )
    return f"{stated}, columns = {{{columns}}})" if columns else f"{stated})"


def _without_guesses(dtype: Any) -> str:
    """Return a type as SQL, with VARCHAR for types that DuckDB guesses from texts."""
    kind = str(dtype.id)
    if kind in _GUESSED:
        return "VARCHAR"
    if kind in ("list", "array") and str(dtype) != "JSON":
        return f"{_without_guesses(dict(dtype.children)['child'])}[]"
    if kind == "struct":
        return f"STRUCT({', '.join(f'{identifier(name)} {_without_guesses(child)}' for name, child in dtype.children)})"
    if kind == "map":
        children = dict(dtype.children)
        return f"MAP({_without_guesses(children['key'])}, {_without_guesses(children['value'])})"
    return str(dtype)


def _first_character(path: Path) -> str:
    with path.open("rb") as file:
        while start := file.read(4096):
            if text := start.lstrip():
                return chr(text[0])
    return ""


def _write_texts(target: Path, columns: Sequence[str], rows: Iterable[Mapping[str, str | None]]) -> None:
    """Write rows of texts as Parquet, in pieces of a few megabytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([pa.field(name, pa.string()) for name in columns])
    pieces: list[Mapping[str, str | None]] = []
    size = 0
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:

        def write() -> None:
            values = {name: [piece.get(name) for piece in pieces] for name in columns}
            writer.write_table(pa.table(values, schema=schema))

        for row in rows:
            pieces.append(row)
            size += sum(len(text) for text in row.values() if text is not None)
            if size > _PIECE_BYTES or len(pieces) >= 50_000:
                write()
                pieces, size = [], 0
        if pieces:
            write()


def fill_layout(layout: str, values: Mapping[str, str], shard: str) -> str:
    """Return the path from a layout: values replace the columns' names, the shard's number the last star.

    >>> fill_layout("mmlu/{subject}/{split}-*.parquet", {"subject": "music", "split": "test"}, "00000-of-00001")
    'mmlu/music/test-00000-of-00001.parquet'
    """
    path = re.sub(r"\{(\w+)\}", lambda match: values[match[1]], layout)
    start, star, end = path.rpartition("*")
    return (start.replace("*", "default") + shard + end) if star else path


_ROWS = 1_000  # held at once
_TEXTS = pl.List(pl.String)
_SCHEMA = pl.Schema({"question": pl.String(), "short_answers": _TEXTS, "long_answers": _TEXTS})


def extract_rows(path: Path, folder: Path, columns: Mapping[str, str]) -> Path:
    """Return a file of rows extracted from a file of Natural Questions; another file is returned as it is.

    Args:
        path: A file such as `nq-dev-00.jsonl.gz`, compressed or not.
        folder: The folder to write to.
        columns: Name → question, short_answers, or long_answers, the passage of each of these.

    Raises:
        SourceBrokenError: A line doesn't have the format of Natural Questions; names file and line.

    Source: HELM `natural_qa_scenario.py`; Kwiatkowski et al. 2019.
    """
    import pyarrow.parquet as pq

    with _open(path) as file:
        if b'"document_html"' not in file.readline():
            return path
    target = folder / f"{path.name}.parquet"
    writer = None
    try:
        rows = _rows(path)
        while chunk := list(islice(rows, _ROWS)):
            frame = pl.DataFrame(chunk, schema=_SCHEMA)
            table = frame.select(pl.col(field).alias(name) for name, field in columns.items()).to_arrow()
            writer = writer or pq.ParquetWriter(target, table.schema)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()
    return target


def _open(path: Path) -> Any:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with _open(path) as file:
        for number, line in enumerate(file, 1):
            try:
                yield _row(json.loads(line))
            except (ValueError, KeyError, TypeError, EOFError) as error:
                problem = (
                    f"{path}: line {number} isn't in the format of Natural Questions: {type(error).__name__}: {error}."
                )
                raise SourceBrokenError(problem) from None


def _row(page: Mapping[str, Any]) -> dict[str, Any]:
    text = page["document_html"].encode()
    short, long = [], []
    for annotation in page["annotations"]:
        for answer in annotation["short_answers"]:
            short.append(_text(text, answer))
            long.append(_text(text, annotation["long_answer"]))
    return {"question": page["question_text"], "short_answers": short, "long_answers": long}


def _text(page: bytes, span: Mapping[str, int]) -> str:
    """Return the text between two bytes, with spaces for no-break spaces and without tags."""
    text = page[span["start_byte"] : span["end_byte"]].replace(b"\xc2\xa0", b" ").decode()
    return re.sub("<([^>]*)>", "", html.unescape(text))
