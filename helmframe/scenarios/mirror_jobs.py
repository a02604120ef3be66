"""The jobs of a mirror: the file to write for each file, or for the drawn rows, of a source."""

import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from helmframe._core.specs import Download, ScenarioSpec, placeholders
from helmframe.errors import SourceBrokenError, SourceMissingError, SpecError
from helmframe.scenarios.downloads import (
    Lock,
    Progress,
    Remote,
    check_checksum,
    choices_of,
    downloads_folder,
    expected_checksum,
    fetch_all,
    match_paths,
    remotes,
    renamed,
)
from helmframe.scenarios.draws import Draw, find_draw
from helmframe.scenarios.mirror_files import WHOLE_FILES_MEMORY
from helmframe.scenarios.raw import (
    ROW_PER_FILE,
    decompressed,
    extract_rows,
    files_in,
    fill_layout,
    format_of,
    is_archive,
    open_folder,
    read_rows,
    reader,
    unpack,
)
from helmframe.scenarios.remote import pin_revision
from helmframe.scenarios.sources import Source, SourceFile, connect, execute_one, query_one, read_guarded
from helmframe.scenarios.sql import identifier, text_list, text_literal

HUB = "hub"
# The fields of a row of Natural Questions, for scenarios whose draw doesn't choose them.
_NATURAL_QUESTIONS = {name: name for name in ("question", "short_answers", "long_answers")}
_STALE = 86_400  # seconds after which the unpacked files of a killed mirror are removed
# Columns that are added to the source's while the rows are read.
_POSITION = "helmframe_position"
_TAKEN = "helmframe_taken"


@dataclass(frozen=True)
class Job:
    """A file to write: `path` below the root, from `source`, which the DuckDB expression `read` reads.

    `size` is the size of the source in bytes, if known; `values` are the columns in its path; `select` is SQL from the
    columns of the source to those of the spec. `made` is a hash of the download and of its entry in the spec.
    """

    path: str
    source: str
    size: int | None
    read: str
    values: Mapping[str, str] = field(default_factory=dict)
    select: str | None = None
    made: str = ""


@dataclass(frozen=True)
class Work:
    """The files to write, in the order of row_index, a connection that reads them, and their source.

    `draw` is the name of the draw that chose the rows, if any. `downloads` are the addresses of downloaded files, each
    in the spec's spelling and resolved. `memory` is the limit of DuckDB's memory, if the rows need more than usual.
    """

    jobs: Sequence[Job]
    connection: Any
    source: str
    revision: str | None
    draw: str = ""
    downloads: Sequence[tuple[str, str]] = ()
    memory: str | None = None


@dataclass(frozen=True)
class Rows:
    """A file of the source, and the columns in its path.

    The DuckDB expression `read` reads it; `query` is SQL from its columns to those of the spec, if they differ. `size`
    is its number of bytes, if known, and `made` a hash of the download and of its entry in the spec.
    """

    path: str
    read: str
    query: str | None = None
    values: Mapping[str, str] = field(default_factory=dict)
    size: int | None = None
    made: str = ""

    @property
    def select(self) -> str:
        """The SELECT of the rows with the spec's columns."""
        if self.query is None:
            return f"SELECT * FROM {self.read}"
        return f"WITH rows AS (SELECT * FROM {self.read}) SELECT * FROM ({self.query})"


@dataclass(frozen=True)
class Drawn:
    """A file to write: the columns in its path, the numbers of its source files, and the SQL that reads its rows.

    `shard` is its number among the files with the same columns in the path: `00000-of-00001`.
    """

    values: Mapping[str, str]
    files: Sequence[int]
    read: str
    shard: str


@contextmanager
def open_work(spec: ScenarioSpec, source: str, layout: str | None, select: str | None = None) -> Iterator[Work]:
    """Yield the files to write, while the connection is open.

    Args:
        spec: The scenario.
        source: "hub", `s3://…`, or a folder, archive, file or URL.
        layout: The paths in the source; default the spec's layout.
        select: SQL from its columns to the spec's; default the spec's `select` for the hub.

    Raises:
        SourceMissingError: The source has no such file.
        SourceError: The source can't be read.
    """
    address_shown = re.sub(r"://[^/@\s]*@", "://", source)  # without a user's name and password
    select = select or dict(spec.hub).get("select")  # type: ignore[assignment]
    if source == HUB or source.startswith("s3://"):
        address, revision = _hub(spec) if source == HUB else ("", None)
        opened = connect(replace(spec, source=(("rows", address),)) if address else spec, source)
        try:
            files = _ordered(spec, opened.files())
            if not files:
                raise opened.missing()
            rows = [Rows(file.path, reader(file.path, select), select, file.values) for file in files]
            opened.lock(file.path for file in files)
            yield _work(spec, rows, Work([], opened.connection, address or address_shown, revision))
        finally:
            opened.close()
        return
    with open_folder(source) as folder, tempfile.TemporaryDirectory(prefix="helmframe-rows-") as made:
        opened = connect(spec, str(folder))
        try:
            raw_files = _of_folder(spec, folder, layout or _layout(spec))
            if not raw_files:
                raise SourceMissingError(
                    f"scenario {spec.scenario!r}: no file in {address_shown} matches {layout or _layout(spec)}.\n"
                    "Write the pattern of their paths: --layout PATTERN."
                )
            rows = []
            for file in raw_files:
                path = str(_of_rows(spec, Path(file.path), Path(made)))
                rows.append(Rows(path, reader(path, select), select, file.values, Path(file.path).stat().st_size))
            opened.lock((row.path for row in rows), [made])
            work = _work(spec, rows, Work([], opened.connection, address_shown, None))
            yield replace(
                work, jobs=[replace(job, source=_below(job.source, folder, address_shown)) for job in work.jobs]
            )
        finally:
            opened.close()


@contextmanager
def open_downloads(
    spec: ScenarioSpec, lock: Lock, report: Callable[[Progress], None] = lambda _: None
) -> Iterator[Work]:
    """Download the files of the spec's `download`, and yield the files to write, while the connection is open.

    Args:
        spec: The scenario.
        lock: The checksums of earlier downloads. New ones are added.
        report: A function that receives the state of the downloads.

    Raises:
        SpecError: `download` doesn't fit the files.
        SourceError: A download fails, or a file has another checksum than before.
    """
    entries: list[tuple[Download, Remote, list[tuple[str, Download, list[Remote]]]]] = []
    for number, entry in enumerate(spec.download):
        key = f"download.{number}"
        for remote in remotes(spec, entry, lock, key):
            tables = []
            for name, table in entry.tables:
                pinned = replace(table, revision=table.revision or entry.revision)
                tables.append((name, pinned, remotes(spec, pinned, lock, f"{key}.tables.{name}", remote.spelled)))
            entries.append((entry, remote, tables))
    wanted = [(entry, remote) for entry, remote, _ in entries]
    wanted += [(table, remote) for _, _, tables in entries for _, table, files in tables for remote in files]
    with _scratch_folder() as made:
        paths = fetch_all(spec, wanted, lock, made, report)
        opened = connect(spec, str(made))
        try:
            opened.lock(map(str, paths.values()), [str(made)])
            reader_of_files = _Files(spec, paths, made, opened, lock)
            rows = [rows for entry, remote, tables in entries for rows in reader_of_files.rows(entry, remote, tables)]
            revisions = list(dict.fromkeys(remote.revision for _, remote, _ in entries))
            revision = revisions[0] if len(revisions) == 1 else None
            addresses = ", ".join(dict.fromkeys(entry.url for entry in spec.download))
            downloads = [(entry.url, remote.url) for entry, remote in wanted]
            files = [file for entry in spec.download for file in (entry, *(table for _, table in entry.tables))]
            has_objects = any(file.format == "objects" for file in files)
            memory = WHOLE_FILES_MEMORY if has_objects else None
            if memory is not None:
                opened.connection.execute(f"SET memory_limit = '{memory}'")
            yield _work(spec, rows, Work([], opened.connection, addresses, revision, "", downloads, memory))
        finally:
            opened.close()


@dataclass(frozen=True)
class _Member:
    """A file with rows: its public address, its path on disk, its columns in the path and their spellings."""

    address: str
    path: Path
    values: Mapping[str, str]
    spelled: Mapping[str, str]


class _Files:
    """The downloaded files of a scenario: unpacked, converted, and as expressions of DuckDB."""

    def __init__(self, spec: ScenarioSpec, paths: Mapping[str, Path], folder: Path, opened: Source, lock: Lock) -> None:
        self._spec, self._paths, self._folder, self._opened, self._lock = spec, paths, folder, opened, lock
        self._unpacked: dict[tuple[str, str], Path] = {}
        self._tables: dict[tuple[str, ...], str] = {}

    def rows(
        self, entry: Download, remote: Remote, tables: Sequence[tuple[str, Download, Sequence[Remote]]]
    ) -> list[Rows]:
        """Return the rows of a file at the publisher; those of each matching file, if it is an archive."""
        members = self._members(entry, remote)
        groups: dict[object, list[_Member]] = {}
        for member in members:
            by_values = tuple(sorted(member.values.items()))
            is_row = format_of(member.path.name, entry.format) in ROW_PER_FILE
            groups.setdefault(by_values if is_row else member.address, []).append(member)
        return [self._rows(entry, remote, group, tables) for group in groups.values()]

    def _rows(
        self,
        entry: Download,
        remote: Remote,
        members: Sequence[_Member],
        tables: Sequence[tuple[str, Download, Sequence[Remote]]],
    ) -> Rows:
        first = members[0]
        in_layout = placeholders(_layout(self._spec))
        with_tables = {name: self._table(table, files, first.spelled) for name, table, files in tables}
        read = self._read(entry, members)
        columns = dict(first.values)
        if len(members) == 1:
            columns["filename"] = first.address.partition("#")[2] or first.path.name
        address = first.address if len(members) == 1 else remote.url
        bare = Rows(address, read)
        present = _types(self._spec, self._opened.connection, bare)
        if entry.select:
            mentioned = {name for name in columns if re.search(rf"\b{re.escape(name)}\b", entry.select)}
        else:
            mentioned = {name for name, _ in self._spec.columns if name not in in_layout}
        added = {name: value for name, value in columns.items() if name in mentioned and name not in present}
        select = _completed(read, entry.select, added, with_tables, in_layout)
        values = {name: value for name, value in first.values.items() if name in in_layout}
        size = sum(member.path.stat().st_size for member in members)
        files = [remote, *(file for _, _, table_files in tables for file in table_files)]
        checksums = [self._lock.entries[file.key]["sha256"] for file in files]
        made = hashlib.sha256(repr((entry, self._spec.columns, checksums)).encode()).hexdigest()[:32]
        return Rows(address, f"({select})", None, values, size, made)

    def _members(self, entry: Download, remote: Remote, spelled: Mapping[str, str] | None = None) -> list[_Member]:
        path = self._paths[remote.url]
        spellings = {**(spelled or {}), **remote.spelled}
        if not is_archive(path, by_content=bool(entry.files)):
            if entry.files:
                raise self._wrong(f"{remote.url} isn't an archive. Remove `files` from its entry in `download`.")
            return [_Member(remote.url, path, remote.values, spellings)]
        folder = self._unpacked_folder(entry, remote, path)
        names = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
        choices = choices_of(entry)
        matches = match_paths(entry.files or "**", names, choices, spellings)
        if not matches:
            raise self._wrong(f"no file in {remote.url} matches {entry.files or '**'}. Correct `files` in `download`.")
        if not entry.files and len(matches) > 1 and entry.format not in ROW_PER_FILE:
            some = ", ".join(name for name, _ in matches[:5])
            raise self._wrong(f"{remote.url} has {len(matches)} files, such as {some}. Write `files: PATTERN`.")
        members = []
        order = {name: index for index, name in enumerate(self._spec.split_names)}
        for name, captured in matches:
            values = {**remote.values, **renamed(choices, captured)}
            if order and "split" in captured and "split" not in choices:
                values["split"] = _split(values["split"], order)
                if values["split"] not in order:
                    continue
            self._check_member(entry, remote, name, folder / name)
            members.append(_Member(f"{remote.url}#{name}", folder / name, values, {**spellings, **captured}))
        return members

    def _unpacked_folder(self, entry: Download, remote: Remote, path: Path) -> Path:
        """Return the folder with the files of an archive that match the pattern of an entry."""
        pattern = re.sub(r"\{\w+\}", "*", entry.files) or "**"
        key = (remote.url, pattern)
        if key not in self._unpacked:
            folder = Path(tempfile.mkdtemp(dir=self._folder))
            unpack(path, folder, lambda name: bool(match_paths(pattern, [name.removeprefix("./")], {}, {})))
            self._unpacked[key] = folder
        return self._unpacked[key]

    def _check_member(self, entry: Download, remote: Remote, name: str, path: Path) -> None:
        expected = expected_checksum(entry, remote, name)
        if expected is not None:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            check_checksum(self._spec.scenario, f"{remote.url}#{name}", digest, expected)

    def _read(self, entry: Download, members: Sequence[_Member]) -> str:
        """Return the DuckDB expression that reads files of an entry as one table."""
        kind = format_of(members[0].path.name, entry.format)
        if kind == "natural_questions":
            extract = find_draw(self._spec.draw).extract if self._spec.draw else None
            extract = extract or partial(extract_rows, columns=_NATURAL_QUESTIONS)
            plain = [decompressed(member.path, self._folder) for member in members]
            return f"read_parquet({text_list(str(extract(path, self._folder)) for path in plain)})"
        files = [(member.address.partition("#")[2] or member.path.name, member.path) for member in members]
        headless = re.search(r"\bcolumn\d+\b", entry.select) is not None
        options = dict(entry.options)
        address = members[0].address
        return str(
            read_guarded(
                self._spec.scenario,
                address,
                lambda: read_rows(files, kind, options, self._folder, self._opened.connection, headless=headless),
            )
        )

    def _table(self, table: Download, files: Sequence[Remote], spelled: Mapping[str, str]) -> str:
        members = [member for remote in files for member in self._members(table, remote, spelled)]
        key = tuple(member.address for member in members)
        if key not in self._tables:
            self._tables[key] = self._read(table, members)
        return self._tables[key]

    def _wrong(self, problem: str) -> SpecError:
        return SpecError.at(self._spec.origin or self._spec.scenario, "download", problem)


def _completed(
    read: str, query: str, values: Mapping[str, str], tables: Mapping[str, str], in_layout: Sequence[str]
) -> str:
    """Return the SELECT from an expression to the spec's columns.

    Args:
        read: The expression that reads the source.
        query: SQL over the table `rows`, which has the columns of the source and the `values`; "" for all columns.
        values: Further columns: placeholders, and the name of the file.
        tables: Name → expression of the tables that the query joins.
        in_layout: The columns in the path of the file to write, which has them no second time.
    """
    constants = "".join(f", {text_literal(value)} AS {identifier(name)}" for name, value in values.items())
    rows = f"SELECT *{constants} FROM {read}"
    if not query:
        return rows
    more = "".join(f", {identifier(name)} AS (SELECT * FROM {table})" for name, table in tables.items())
    # a copy of all rows in memory would not fit
    star = f"COLUMNS(lambda name: name NOT IN ({_texts(in_layout)}))" if in_layout else "*"
    return f"WITH rows AS NOT MATERIALIZED ({rows}){more} SELECT {star} FROM ({query}\n)"


def _texts(texts: Iterable[str]) -> str:
    return ", ".join(map(text_literal, texts))


@contextmanager
def _scratch_folder() -> Iterator[Path]:
    """Yield a folder for unpacked files, next to the downloads: the folder for temporary files may be in memory."""
    parent = downloads_folder()
    parent.mkdir(parents=True, exist_ok=True)
    for folder in parent.glob("unpacked-*"):
        if time.time() - folder.stat().st_mtime > _STALE:
            shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"unpacked-{os.getpid()}-", dir=parent) as made:
        yield Path(made)


def _of_rows(spec: ScenarioSpec, path: Path, folder: Path) -> Path:
    """Return a file of rows: of a file in its makers' format, the rows that the scenario's draw extracts."""
    extract = find_draw(spec.draw).extract if spec.draw else None
    return path if extract is None else extract(path, folder)


def _work(spec: ScenarioSpec, sources: Sequence[Rows], bare: Work) -> Work:
    """Return the jobs: one for each file of the source, or those of the rows that the spec's draw chooses."""
    if spec.draw:
        draw = find_draw(spec.draw)
        if is_drawn(spec, draw, bare.connection, sources):
            names = placeholders(_layout(spec))
            order = {name: index for index, name in enumerate(spec.split_names)}
            made = sorted(
                drawn(spec, draw, bare.connection, sources, names),
                key=lambda planned: (
                    [planned.values.get(name, "") for name in spec.subsets],
                    order.get(planned.values.get("split", ""), 0),
                ),
            )
            return replace(bare, jobs=[_job(spec, sources, planned, bare.source) for planned in made], draw=spec.draw)
    return replace(bare, jobs=_numbered(spec, sources))


def _job(spec: ScenarioSpec, sources: Sequence[Rows], made: Drawn, address: str) -> Job:
    """Return the job of a file of drawn rows."""
    sizes = [sources[number].size for number in made.files]
    size = sum(size or 0 for size in sizes) if None not in sizes else None
    path = fill_layout(_layout(spec), made.values, made.shard)
    hashes = "".join(source.made for source in sources)
    digest = hashlib.sha256(hashes.encode()).hexdigest()[:32] if hashes else ""
    return Job(path, address, size, made.read, made.values, made=digest)


def _below(file: str, folder: Path, shown: str) -> str:
    """Return the public address of a file in the folder; that of the folder for rows of several files."""
    return f"{shown}#{Path(file).relative_to(folder).as_posix()}" if file != shown else shown


def _layout(spec: ScenarioSpec) -> str:
    return str(dict(spec.source)["rows"]).removeprefix("{data}/")


def _hub(spec: ScenarioSpec) -> tuple[str, str | None]:
    # a draw may need more files than the scenario reads without it, and they may have other columns
    addresses = dict(spec.hub)
    hub = (
        addresses.get("rows")
        if "rows" in addresses and not spec.draw
        else addresses.get("whole", addresses.get("rows"))
    )
    if isinstance(hub, str):
        return pin_revision(hub)
    why = f" ({spec.status})" if spec.status else ""
    raise SourceMissingError(
        f"scenario {spec.scenario!r} isn't on the Hub{why}.\n"
        f"Write the source of its rows, with files like {_layout(spec)}: --from FOLDER|ARCHIVE|URL."
    )


def _of_folder(spec: ScenarioSpec, folder: Path, layout: str) -> list[SourceFile]:
    order = {name: index for index, name in enumerate(spec.split_names)}
    files = []
    for path, values in files_in(folder, layout).items():
        split = {"split": _split(values["split"], order)} if "split" in values else {}
        files.append(SourceFile(str(path), {**values, **split}))
    return _ordered(spec, files)


def _ordered(spec: ScenarioSpec, files: Iterable[SourceFile]) -> list[SourceFile]:
    """Return the files of the spec's splits, by subset, split and name: the order of row_index."""
    order = {name: index for index, name in enumerate(spec.split_names)}
    return sorted(
        # splits that the spec doesn't name don't belong to the scenario ("auxiliary_train")
        (file for file in files if not order or file.values.get("split", next(iter(order))) in order),
        key=lambda file: (
            [file.values.get(name, "") for name in spec.subsets],
            order.get(file.values.get("split", ""), 0),
            file.path,
        ),
    )


def _split(raw_name: str, split_names: Mapping[str, int]) -> str:
    """Return the spec's name of a split: raw files have val or valid for validation."""
    alike = [name for name in split_names if name.startswith(raw_name) or raw_name.startswith(name)]
    return raw_name if raw_name in split_names or len(alike) != 1 else alike[0]


def _numbered(spec: ScenarioSpec, sources: Sequence[Rows]) -> list[Job]:
    """Return the job of each file: its path follows the spec's layout, with a number among files of one path."""
    layout = _layout(spec)
    names = placeholders(layout)
    totals: dict[tuple[str, ...], int] = {}
    for source in sources:
        missing = [name for name in names if name not in source.values]
        if missing:
            raise SourceBrokenError(
                f"{source.path}: the path has no {{{missing[0]}}}, which {layout} needs. Write --layout PATTERN, or "
                "add it to `values` in `download`."
            )
        group = tuple(source.values[name] for name in names)
        totals[group] = totals.get(group, 0) + 1
    jobs = []
    numbers = dict.fromkeys(totals, 0)
    for source in sources:
        group = tuple(source.values[name] for name in names)
        path = fill_layout(layout, source.values, f"{numbers[group]:05d}-of-{totals[group]:05d}")
        numbers[group] += 1
        jobs.append(Job(path, source.path, source.size, source.read, source.values, source.query, source.made))
    return jobs


def is_drawn(spec: ScenarioSpec, draw: Draw, connection: Any, sources: Sequence[Rows]) -> bool:
    """Return whether to make the draw: not if the source has row_index, nor for sources with splits of their own."""
    if draw.unsplit and any("split" in source.values for source in sources):
        return False
    return "row_index" not in _types(spec, connection, sources[0])


def drawn(
    spec: ScenarioSpec, draw: Draw, connection: Any, sources: Sequence[Rows], names: Sequence[str]
) -> list[Drawn]:
    """Choose rows by a draw over all rows, and return the files to write.

    Args:
        spec: The scenario.
        draw: The draw of the scenario.
        connection: A connection of DuckDB, in which a table of chosen rows is created for each file to write.
        sources: The files, in the order of the rows.
        names: The columns in the path of a file to write: columns of the source's paths, and `split`.

    Returns:
        The files to write; each is read in the order of row_index.

    Raises:
        SourceBrokenError: The source lacks a column that the draw needs.
    """
    for name in names:
        # the draw may choose the split
        if not draw.unsplit or name != "split":
            _check_path_columns(spec, name, sources)
    keys = _keys(spec, draw, connection, sources)
    firsts = keys.group_by("file").agg(first=pl.col("position").min()).sort("first")
    taken = (
        draw.take(keys).sort("position").join_asof(firsts, left_on="position", right_on="first", strategy="backward")
    )
    for name in names:
        if name not in taken.columns:
            path_values_ = pl.Series(name, [source.values[name] for source in sources])
            taken = taken.with_columns(path_values_.gather(taken["file"]))
    groups = taken.partition_by(names, as_dict=True) if names else {(): taken}
    files_to_be: list[Drawn] = []
    for values, rows in groups.items():
        path_values = dict(zip(names, map(str, values), strict=True))
        pieces = list(rows.sort("row_index").iter_slices(draw.rows)) if draw.rows else [rows]
        for number, piece in enumerate(pieces):
            table = f"{_TAKEN}_{len(files_to_be)}"
            placed = piece.with_columns((pl.col("position") - pl.col("first")).alias(_POSITION))
            placed = placed.drop("position", "first", *names).rename({"file": "from_file"})
            # long texts as views: a text in many rows is in memory once; PyArrow can't filter views if DuckDB needs it
            level = pl.CompatLevel.newest() if draw.rows else pl.CompatLevel.oldest()
            connection.register(table, placed.to_arrow(compat_level=level))
            files = sorted(set(piece["file"].to_list()))
            selects = [
                _select(spec, draw, connection, sources[file], file, table, path_values.get("split")) for file in files
            ]
            read = f"({' UNION ALL BY NAME '.join(selects)} ORDER BY row_index)"
            files_to_be.append(Drawn(path_values, files, read, f"{number:05d}-of-{len(pieces):05d}"))
    return files_to_be


def _check_path_columns(spec: ScenarioSpec, name: str, sources: Sequence[Rows]) -> None:
    for source in sources:
        if name not in source.values:
            raise SourceBrokenError(
                f"scenario {spec.scenario!r}: {source.path}: the path has no {{{name}}}. Write --layout PATTERN."
            )


def _keys(spec: ScenarioSpec, draw: Draw, connection: Any, sources: Sequence[Rows]) -> pl.DataFrame:
    """Return the rows that `Draw.take` receives."""
    frames = []
    for number, source in enumerate(sources):
        columns = ", ".join(f"({sql}) AS {identifier(name)}" for name, sql in (draw.keys or {"row": "NULL"}).items())
        columns = "count(*) AS rows" if draw.by_file else columns
        paths = "".join(f", {text_literal(value)} AS {identifier(name)}" for name, value in source.values.items())
        types = _types(spec, connection, source)
        nulls = _nulls(_absent(spec, types, source))
        both = [name for name in source.values if name in types]
        star = f"* EXCLUDE ({', '.join(map(identifier, both))})" if both else "*"
        sql = f"SELECT {columns} FROM (SELECT {star}{paths}{nulls} FROM ({source.select}))"
        table = read_guarded(spec.scenario, source.path, partial(_table, connection, sql))
        path = {name: pl.lit(value) for name, value in source.values.items()}
        frames.append(pl.DataFrame(pl.from_arrow(table)).with_columns(**path, file=number))
    keys = pl.concat(frames, how="diagonal_relaxed")
    if "split" not in keys.columns:
        keys = keys.with_columns(split=pl.lit(None, dtype=pl.String))
    if draw.by_file:
        return keys.with_columns(position=pl.col("rows").cum_sum() - pl.col("rows"))
    return keys.with_columns(position=pl.int_range(pl.len()))


def _table(connection: Any, sql: str) -> Any:
    return query_one(connection, sql).to_arrow_table()


def _select(
    spec: ScenarioSpec, draw: Draw, connection: Any, source: Rows, file: int, table: str, split: str | None
) -> str:
    """Return the SQL for the rows of one source file that belong to one file to write."""
    types = _types(spec, connection, source)
    absent = _absent(spec, types, source) if draw.made else {}
    star = "* EXCLUDE (split)" if split is not None and "split" in types else "*"
    named = f", {text_literal(split)} AS split" if split is not None else ""
    replaced = [name for name in draw.made if name in types]
    excluded = [_POSITION, *absent, *replaced, *(["split"] if split is not None else [])]
    made = "".join(f", {sql} AS {identifier(name)}" for name, sql in draw.made.items())
    added = "".join(f", taken.{identifier(name)}" for name in (*draw.columns, "row_index"))
    position = f", row_number() OVER () - 1 AS {_POSITION}"
    return (
        f"SELECT source.* EXCLUDE ({', '.join(map(identifier, excluded))}){made}{added} "
        f"FROM (SELECT {star}{named}{_nulls(absent)}{position} FROM ({source.select})) AS source "
        f"JOIN {table} AS taken ON taken.from_file = {file} AND taken.{_POSITION} = source.{_POSITION}"
    )


def _absent(spec: ScenarioSpec, types: Mapping[str, str], source: Rows) -> dict[str, str]:
    """Return the optional columns of the spec that a file lacks, with their types."""
    return {name: str(dtype) for name, dtype in spec.columns if spec.union and name not in {*types, *source.values}}


def _nulls(columns: Mapping[str, str]) -> str:
    return "".join(f", NULL::{dtype} AS {identifier(name)}" for name, dtype in columns.items())


def _types(spec: ScenarioSpec, connection: Any, source: Rows) -> dict[str, str]:
    described = f"SELECT column_name, column_type FROM (DESCRIBE {source.select})"
    return dict(read_guarded(spec.scenario, source.path, lambda: execute_one(connection, described).fetchall()))
