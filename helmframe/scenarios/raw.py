"""Raw rows as published, in the files of a folder: Parquet, CSV or JSON Lines, in a tar or zip, or at a URL.

A layout describes their paths, with `{column}` for the value of a column: `mmlu/{subject}/{split}-*.parquet`.
"""

import gzip
import html
import json
import re
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any

import polars as pl

from helmframe._core.specs import placeholders
from helmframe.config import from_home
from helmframe.errors import SourceBrokenError, SourceError, SourceMissingError
from helmframe.scenarios.sql import text_literal

_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")
# The DuckDB function for each kind. It detects the dialect of CSV; JSON is one object per line or a list of objects.
_READERS = {
    ".parquet": "read_parquet({path})",
    ".csv": "read_csv({path}, sample_size = -1{header})",
    ".tsv": "read_csv({path}, sample_size = -1, delim = '\t'{header})",
    ".jsonl": "read_json({path}, format = 'newline_delimited', maximum_object_size = 33554432)",
    ".json": "read_json({path}, maximum_object_size = 33554432)",
}
_PACKED = (".gz", ".zst")
_TIMEOUT = 60  # seconds, per request


@contextmanager
def open_folder(address: str) -> Iterator[Path]:
    """Yield the folder with the rows: as it is, unpacked from an archive, or downloaded from a URL.

    Raises:
        SourceMissingError: The folder, archive, file or URL doesn't exist.
        SourceError: The download or the unpacking fails.
    """
    with tempfile.TemporaryDirectory(prefix="helmframe-raw-") as made:
        if address.startswith(("http://", "https://")):
            path = Path(made) / (address.partition("?")[0].rstrip("/").rpartition("/")[2] or "rows")
            _fetch(address, path)
        else:
            path = from_home(address)
        if path.is_dir():
            yield path
            return
        if not path.exists():
            raise SourceMissingError(f"--from {address} not found. Write a folder, an archive, a file, or a URL.")
        unpacked = Path(made) / "unpacked"
        unpacked.mkdir()
        if path.name.endswith(_ARCHIVES):
            _unpack(path, unpacked)
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


def _fetch(url: str, path: Path) -> None:
    from tenacity import retry, retry_if_not_exception_type, stop_after_attempt, wait_exponential

    @retry(
        stop=stop_after_attempt(4),
        wait=wait_exponential(multiplier=0.5, max=8),
        retry=retry_if_not_exception_type(SourceMissingError),
        reraise=True,
    )
    def once() -> None:
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT) as response, path.open("wb") as file:  # noqa: S310 - http(s)
                shutil.copyfileobj(response, file, 1 << 20)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code in (403, 404):
                raise SourceMissingError(f"{url} not found: the server returned status {error.code}.") from None
            raise

    try:
        once()
    except SourceError:
        raise
    except OSError as error:
        raise SourceError(
            f"{url} can't be read ({type(error).__name__}: {error}). Check the address and the network."
        ) from None


def _unpack(path: Path, folder: Path) -> None:
    """Unpack plain files only, and only below the folder."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for info in archive.infolist():
                    if not info.is_dir():
                        with archive.open(info) as member:
                            _write_member(member, info.filename, folder)
            return
        with tarfile.open(path) as archive_:
            for tar_info in archive_:
                member_ = archive_.extractfile(tar_info) if tar_info.isfile() else None
                if member_ is not None:
                    _write_member(member_, tar_info.name, folder)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        problem = f"{type(error).__name__}: {str(error).partition(chr(10))[0].rstrip(':')}"
        raise SourceBrokenError(f"unpacking {path} failed ({problem}). Download it again.") from None


def _write_member(member: IO[bytes], name: str, folder: Path) -> None:
    target = folder.joinpath(*(part for part in name.split("/") if part not in ("", ".", "..")))
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        shutil.copyfileobj(member, file, 1 << 20)


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
