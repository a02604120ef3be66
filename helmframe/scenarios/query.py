"""The DuckDB query of a scenario's instances: files, rows and columns."""

import json
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import polars as pl

from helmframe._core.specs import (
    SPLITS,
    Between,
    Condition,
    Equals,
    Expression,
    Frame,
    ScenarioSpec,
    Sql,
    placeholders,
)
from helmframe._schema import INSTANCES, SOURCE_PREFIX, source_column, source_names
from helmframe.config import download_enabled
from helmframe.errors import SourceBrokenError, SpecError
from helmframe.scenarios.conditions import condition_sql
from helmframe.scenarios.sources import Source, SourceFile, check_statement, connect, connect_frame
from helmframe.scenarios.sql import identifier, text_list, text_literal

# The user's messages of a conversation, and the references of each; `load` makes them rows.
TURN_INPUTS, TURN_REFERENCES = "turn_inputs", "turn_references"
# The rows of DuckDB's vectors: the finest grain at which its reader can be bounded.
_VECTOR = 2048
# A column of a spec's SELECT: the references of HELM's instances, where ours differ.
_HELM_REFERENCES = "helm_references"
# The number of bytes of rows after which DuckDB no longer caches files of a bucket.
_CACHED_BYTES = 64 << 20
# The most scans of one view; beyond them, row groups between those of a sample are read too.
_MOST_SCANS = 64
# A number that is in no scenario.
_SENTINEL = 549_755_813_889


@dataclass(frozen=True)
class _Rows:
    """The files behind the view `rows`.

    Args:
        files: The files that are scanned.
        offsets: Path → row_index of a file's first row; None if the files have row_index.
        scan: A function that returns a SELECT over some of the files, with an SQL condition on their rows.
        one_subset: Whether all selected rows have the same subset.
    """

    files: Sequence[SourceFile]
    offsets: Mapping[str, int] | None
    scan: Callable[[Sequence[SourceFile], str], str]
    one_subset: bool


@dataclass(frozen=True)
class Query:
    """The instances of a scenario, in source order, as an open DuckDB query.

    Args:
        spec: The scenario.
        columns: Name → DuckDB type of the columns for conditions: those of `INSTANCES`, and the scenario's own under
            their bare names and with `SOURCE_PREFIX`.
        source: The connection to the rows.
        condition: The condition of the selected rows, as SQL.
        names_instances: Whether the spec's SELECT has instance_id. Otherwise it is derived from row_index.
        rows: The files of the rows; None if no file has a matching row, and for frames.
    """

    spec: ScenarioSpec
    columns: dict[str, str]
    source: Source = field(repr=False)
    condition: str = field(repr=False)
    names_instances: bool = False
    rows: _Rows | None = field(default=None, repr=False)

    @property
    def instances(self) -> str:
        """The columns of an `INSTANCES` frame, as a SELECT list."""
        table = {*INSTANCES.schema, *((TURN_INPUTS, TURN_REFERENCES) if self.spec.turns else ())}
        stored = [name for name in self.columns if name in table or name.startswith(SOURCE_PREFIX)]
        return ", ".join(identifier(name) for name in stored)

    @property
    def is_remote(self) -> bool:
        """Return whether rows come from a bucket or the Hub."""
        return "://" in self.source.address

    @property
    def copies_row_index(self) -> bool:
        """Return whether an instance depends only on the row of the source with the same row_index."""
        if self.rows is None:
            return False
        types = self.source.guarded(lambda: self.source.types("SELECT * FROM rows"))
        return _copies_row_index(self.spec.instances, tuple(types.items()))

    @property
    def n_files(self) -> int:
        """Return the number of scanned files."""
        return len(self.rows.files) if self.rows else 0

    def first_row_groups(self) -> list[tuple[int, int]]:
        """Return the number of rows and the bytes of the row groups of the first file."""
        if self.rows is None:
            return []
        path = text_literal(self.rows.files[0].path)
        sizes = (
            "SELECT any_value(row_group_num_rows), sum(total_compressed_size)::BIGINT "
            f"FROM parquet_metadata({path}) GROUP BY row_group_id ORDER BY row_group_id"
        )
        return self.source.guarded(lambda: self.source.connection.execute(sizes).fetchall())

    def first_keys(self, select: str, n: int) -> pl.DataFrame | None:
        """Return columns of the instances up to the n-th by row_index, and perhaps of more.

        None if the selection has several subsets, or the spec's SELECT computes row_index: then all rows are needed.
        """
        if self.rows is None or not self.rows.one_subset or not self.copies_row_index:
            return None
        # the n first rows of the source need not have the lowest numbers, but the n lowest are at most their maximum
        first = f"SELECT row_index FROM instances WHERE {self.condition} LIMIT {n}"
        run = self.source.connection.execute
        with self.in_order():
            (bound,) = self.source.guarded(lambda: run(f"SELECT max(row_index) FROM ({first})").fetchall()[0])
        return self.frame(select, f"AND row_index <= {bound}" if bound is not None else "")

    @contextmanager
    def in_order(self) -> Iterator[None]:
        """Read row group by row group, so that a query that ends early has read little more than its rows."""
        run = self.source.connection.execute
        ((n_threads,),) = run("SELECT current_setting('threads')").fetchall()
        run("SET threads = 1")
        try:
            yield
        finally:
            run(f"SET threads = {n_threads}")

    def restrict(self, keys: pl.DataFrame) -> None:
        """Restrict the rows to files and row groups that may have these keys, if the spec's SELECT allows it.

        Args:
            keys: subset and row_index of instances.
        """
        if self.rows is None or keys.is_empty() or not self.copies_row_index:
            return
        scans = _scans_of(self.spec, self.source, self.rows, keys)
        if self.is_remote:
            # reads that continue after a cached part are rounded up to the next cached part
            self.source.connection.execute("SET enable_external_file_cache = false")
        _create_rows(self.source, scans)

    def stream(self, select: str = "*", tail: str = "") -> Iterator[pl.DataFrame]:
        """Yield the selected columns in small frames; at least one frame, which may be empty."""
        sql = f"SELECT {select} FROM instances WHERE {self.condition} {tail}"
        import pyarrow as pa

        guarded, connection = self.source.guarded, self.source.connection
        reader: Any = guarded(lambda: connection.sql(sql).to_arrow_reader(_VECTOR))
        # schema.empty_table() imports pandas, if it is installed
        empty = pl.DataFrame(pl.from_arrow(pa.Table.from_batches([], reader.schema)))
        yield empty
        left = _CACHED_BYTES
        while (batch := guarded(lambda: next(reader, None))) is not None:
            if 0 < left <= batch.nbytes:
                # otherwise DuckDB caches what it fetches, up to its memory limit
                connection.cursor().execute("SET enable_external_file_cache = false")
            left -= batch.nbytes
            yield pl.DataFrame(pl.from_arrow(batch), schema=empty.schema)

    def frame(self, select: str = "*", tail: str = "") -> pl.DataFrame:
        """Return the selected columns as one frame."""
        return pl.concat(self.stream(select, tail), rechunk=True)


@contextmanager
def open_query(
    spec: ScenarioSpec,
    where: Sequence[Condition] = (),
    splits: Sequence[str] = SPLITS,
    data: str | None = None,
    *,
    compat: str | None = None,
    make_rows: bool = True,
) -> Iterator[Query]:
    """Open the query of the instances in these splits that meet the conditions, except those that are `pl.Expr`.

    Equalities and ranges over columns of the path prune files before one is opened. The spec's default subsets are not
    added: use `with_default_subsets` first.

    Args:
        spec: The scenario.
        where: The conditions.
        splits: Some of train, valid and test.
        data: The root of the rows, instead of the configured one.
        compat: "helm" reads the references of HELM's instances.
        make_rows: Whether to generate the rows of a generated scenario. False: the query has columns but no rows.

    Raises:
        SourceError: The rows are unreachable, or don't match the spec.
        SpecError: The spec's SELECT fails or lacks a column.
        ArgumentError: A condition has an unknown column, or a value of another type than its column.
    """
    frame = spec.frame
    if spec.generated:
        from helmframe.scenarios.generated import generated_rows, no_rows

        name = spec.generated
        frame = Frame(generated_rows(name, _subset_values(spec, where)) if make_rows else no_rows(name), name)
    source = connect_frame(spec.scenario, frame) if frame else connect(spec, rows_root(spec, data))
    try:
        rows, nothing = None, False
        if frame is None:
            rows = _make_rows(spec, source, where, splits)
            nothing = rows is None
        columns, names_instances = _make_instances(spec, source, compat)
        conditions = [
            condition_sql(source, columns, condition) for condition in where if not isinstance(condition, Expression)
        ]
        conditions.append(f"split IN ({', '.join(text_literal(split) for split in splits)})")
        yield Query(spec, columns, source, "FALSE" if nothing else " AND ".join(conditions), names_instances, rows)
    finally:
        source.close()


def rows_root(spec: ScenarioSpec, data: str | None) -> str | None:
    """Return the root to read a scenario from: `data`, or the cache of downloads, which is filled if necessary.

    Raises:
        SourceError: Fetching the rows fails.
    """
    if not download_enabled():
        return data
    from helmframe.scenarios.mirror import fetched_root

    return fetched_root(spec, data)


def with_default_subsets(spec: ScenarioSpec, where: Sequence[Condition]) -> list[Condition]:
    """Return the conditions, and the default subsets of columns that no condition mentions."""

    def mentions(condition: Condition, column: str) -> bool:
        if isinstance(condition, Sql):
            return re.search(rf"\b{re.escape(column)}\b", condition.text) is not None
        if isinstance(condition, Expression):
            return column in condition.expr.meta.root_names()
        return condition.column in (column, "subset")

    more = []
    for column, default in spec.default:
        if not any(mentions(condition, column) for condition in where):
            values = default if isinstance(default, tuple) else (default,)
            more.append(Equals(column, tuple(value for value in values if not isinstance(value, tuple))))
    return [*where, *more]


def columns_in_path(spec: ScenarioSpec, source: Source) -> list[str]:
    """Return the columns that follow from the path of a file: the table's `subset` only if all its columns do."""
    names = placeholders(source.address)
    bare = [name for name in names if name != "subset"]
    return [*bare, "subset"] if spec.subsets and set(spec.subsets) <= set(names) else bare


def values_in_path(spec: ScenarioSpec, file: SourceFile) -> dict[str, str]:
    """Return the columns in the path of a file, with helmframe's names of splits."""
    values = dict(file.values)
    if "split" in values:
        values["split"] = spec.split_names.get(values["split"], values["split"])
    subset = "/".join(values.get(name, "") for name in spec.subsets)
    whole = bool(spec.subsets) and set(spec.subsets) <= set(values)
    # the table's column wins over a source column called `subset`
    values.pop("subset", None)
    return {**values, "subset": subset} if whole else values


def list_files(spec: ScenarioSpec, source: Source, where: Sequence[Condition] = ()) -> list[SourceFile]:
    """Return the files of the subsets that meet the conditions, by subset, split and name: row_index's order."""
    in_path = placeholders(source.address)
    subset_values = {name: values for name, values in _subset_values(spec, where).items() if name in in_path}
    order = {name: index for index, name in enumerate(spec.split_names)}
    files = [
        file
        for file in source.files(subset_values)
        # splits that the spec doesn't name don't belong to the scenario ("auxiliary_train")
        if not order or "split" not in file.values or file.values["split"] in order
    ]
    return sorted(
        files,
        key=lambda file: (
            [file.values.get(column, "") for column in spec.subsets],
            order.get(file.values.get("split", ""), 0),
            file.path,
        ),
    )


def matching_files(
    spec: ScenarioSpec,
    source: Source,
    where: Sequence[Condition],
    splits: Sequence[str],
    files: Sequence[SourceFile] | None = None,
) -> list[SourceFile]:
    """Return the files whose paths allow rows of these splits under these conditions.

    `files`: the result of `list_files`, if available.
    """
    files = list_files(spec, source, where) if files is None else files
    return [file for file in files if _may_hold_rows(spec, file, where, splits)]


def _subset_values(spec: ScenarioSpec, where: Sequence[Condition]) -> dict[str, list[str]]:
    """Return the values of subset columns that meet the equalities, as text."""
    allowed: dict[str, list[str]] = {}
    # the table's `subset` is a column of that name in the source only if no other column makes it
    columns = spec.subsets if spec.subsets == ("subset",) else tuple(name for name in spec.subsets if name != "subset")
    for condition in where:
        if isinstance(condition, Equals) and condition.column in columns:
            values = [str(value) for value in condition.values]
            allowed[condition.column] = [value for value in values if value in allowed.get(condition.column, values)]
    return allowed


def _make_rows(spec: ScenarioSpec, source: Source, where: Sequence[Condition], splits: Sequence[str]) -> _Rows | None:
    """Create the view `rows`; return None if no file can have a matching row, so that the view has only columns."""
    files = list_files(spec, source, where)
    scanned = matching_files(spec, source, where, splits, files)
    shown = scanned or files[:1] or list_files(spec, source)[:1]
    if not shown:
        raise source.missing()
    source.read_ahead(shown)
    source.lock(file.path for file in files or shown)
    several = ", union_by_name = true" if spec.union else ""
    seen = text_list(file.path for file in (shown if spec.union else shown[:1]))
    types = source.guarded(lambda: source.types(f"SELECT * FROM read_parquet({seen}{several})"), shown[0].path)
    source_columns, from_path = list(types), list(shown[0].values)
    absent = [name for name, _ in spec.columns if name not in (*types, *from_path)] if spec.union else []
    _check_columns(spec, source, shown[0].path, types, [*from_path, *absent])
    declared = dict(spec.columns) | dict.fromkeys(spec.images, "VARCHAR")
    fixed = [f"NULL::{declared[name]} AS {identifier(name)}" for name in absent]
    # the columns that a draw adds exist only in a mirror
    added = _drawn_columns(spec.draw) if spec.draw else {}
    fixed += [f"NULL::{dtype} AS {identifier(name)}" for name, dtype in added.items() if name not in types]
    images = [name for name in spec.images if name in types and name not in from_path]
    as_references = _image_references() if images else None
    _check_images(spec, shown[0].path, types)
    stored = [identifier(name) for name in source_columns if name not in from_path and name not in images]
    offsets = None if "row_index" in source_columns else _offsets(spec, source, files or shown, shown)

    def scan(files: Sequence[SourceFile], condition: str = "") -> str:
        computed = [
            f"{_by_file([text_literal(file.values[name]) for file in files])}::{_path_type(spec, name)} "
            f"AS {identifier(name)}"
            for name in from_path
        ]
        by_file = _by_file([text_literal(file.path) for file in files])
        if as_references is not None:
            computed += [as_references(name, types[name], by_file) for name in images]
        if offsets is not None:
            computed.append(f"file_row_number + {_by_file([str(offsets[file.path]) for file in files])} AS row_index")
        paths = text_list(file.path for file in files)
        rows = f"read_parquet({paths}{several}){condition and f' WHERE {condition}'}"
        return f"SELECT {', '.join([*stored, *computed, *fixed])} FROM {rows}"

    # values that are looked up by file keep DuckDB from skipping row groups; constants of a single file do not
    ranged = any(isinstance(condition, Between) and condition.column == "row_index" for condition in where)
    _create_rows(source, [scan([file]) for file in shown] if ranged and not spec.union else [scan(shown)])
    if not scanned:
        return None
    return _Rows(scanned, offsets, scan, _is_one_subset(spec, scanned, where))


def _create_rows(source: Source, scans: Sequence[str]) -> None:
    view = f"CREATE OR REPLACE VIEW rows AS {' UNION ALL BY NAME '.join(scans)}"
    source.guarded(lambda: source.execute(view))


def _is_one_subset(spec: ScenarioSpec, files: Sequence[SourceFile], where: Sequence[Condition]) -> bool:
    """Return whether path or conditions give each subset column a single value."""
    wanted = _subset_values(spec, where)
    return all(
        len(wanted.get(column, ())) == 1 or len({file.values.get(column, file.path) for file in files}) == 1
        for column in spec.subsets
    )


def _scans_of(spec: ScenarioSpec, source: Source, rows: _Rows, keys: pl.DataFrame) -> list[str]:
    """Return SELECTs over the row groups that may have these keys."""
    numbers = {subset: sorted(group) for subset, group in keys.group_by("subset").agg("row_index").iter_rows()}
    every = sorted(number for group in numbers.values() for number in group)
    in_path = bool(spec.subsets) and set(spec.subsets) <= set(rows.files[0].values)
    column = "row_index" if rows.offsets is None else "file_row_number"
    ranges: list[tuple[SourceFile, list[tuple[int, int]]]] = []
    groups_of = _row_groups(source, rows)
    for file in rows.files:
        wanted = numbers.get(values_in_path(spec, file)["subset"], []) if in_path else every
        offset = 0 if rows.offsets is None else rows.offsets[file.path]
        groups = [(low, high) for low, high in groups_of.get(file.path, ()) if _any_between(wanted, low, high)]
        if groups:
            ranges.append((file, [(low - offset, high - offset) for low, high in _merged(groups)]))
    if sum(len(some) for _, some in ranges) > _MOST_SCANS:
        ranges = [(file, [(some[0][0], some[-1][1])]) for file, some in ranges]
    if spec.union or len(ranges) > _MOST_SCANS:
        # the files of a union have different columns, so all of them are needed for the columns
        files = rows.files if spec.union else [file for file, _ in ranges]
        bounds = [bound for _, some in ranges for ends in some for bound in ends]
        return [rows.scan(files, f"{column} BETWEEN {min(bounds)} AND {max(bounds)}")]
    return [rows.scan([file], f"{column} BETWEEN {low} AND {high}") for file, some in ranges for low, high in some]


def _row_groups(source: Source, rows: _Rows) -> dict[str, list[tuple[int, int]]]:
    """Return the lowest and highest row_index of each row group, by path of the file."""
    paths = text_list(file.path for file in rows.files)
    stats = (
        "any_value(row_group_num_rows), min(TRY_CAST({0}_min_value AS BIGINT)), max(TRY_CAST({0}_max_value AS BIGINT))"
    )
    only = "" if rows.offsets is not None else "WHERE path_in_schema = 'row_index'"
    query = (
        f"SELECT file_name, {stats.format('stats')} FROM parquet_metadata({paths}) {only} "
        "GROUP BY file_name, row_group_id ORDER BY file_name, row_group_id"
    )
    groups: dict[str, list[tuple[int, int]]] = {}
    for path, n_rows, low, high in source.guarded(lambda: source.connection.execute(query).fetchall()):
        before = groups.setdefault(path, [])
        if rows.offsets is None:
            before.append((-_SENTINEL if low is None else low, _SENTINEL if high is None else high))
        elif n_rows:
            start = before[-1][1] + 1 if before else rows.offsets[path]
            before.append((start, start + n_rows - 1))
    return groups


def _any_between(numbers: Sequence[int], low: int, high: int) -> bool:
    """Return whether sorted numbers have one between two bounds, both included."""
    position = bisect_left(numbers, low)
    return position < len(numbers) and numbers[position] <= high


def _merged(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return ranges in order; those that overlap or adjoin are one."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], high))
        else:
            merged.append((low, high))
    return merged


@lru_cache(maxsize=256)
def _copies_row_index(select: str, types: tuple[tuple[str, str], ...]) -> bool:
    """Return whether the rows of a SELECT with one row_index depend only on the rows of `rows` with the same one.

    They do if DuckDB moves an equality of row_index into the only scan of `rows`.
    """
    import duckdb

    columns = ", ".join(f"{identifier(name)} {dtype}" for name, dtype in types)
    inner = f"SELECT * FROM (\n{select.rstrip().rstrip(';')}\n) AS selected WHERE row_index = {_SENTINEL}"
    config = {"autoinstall_known_extensions": False, "enable_external_access": False, "threads": 1}
    with duckdb.connect(config=config) as connection:  # type: ignore[arg-type]  # as in DuckDB's own documentation
        try:
            check_statement(connection, f"EXPLAIN (FORMAT json) {inner}")
            # otherwise the query of an empty table is empty
            connection.execute("SET disabled_optimizers = 'statistics_propagation'")
            connection.execute(f"CREATE TABLE rows ({columns})")
            ((_, text),) = connection.execute(f"EXPLAIN (FORMAT json) {inner}").fetchall()
        except duckdb.Error:
            return False
    scans = [node for node in _plan_nodes(json.loads(text)) if "SCAN" in node["name"]]
    tables = [node["extra_info"] for node in scans if node["name"].strip() not in ("DELIM_SCAN", "DUMMY_SCAN")]
    if len(tables) != 1:
        return False
    filters = tables[0].get("Filters", [])
    texts = [filters] if isinstance(filters, str) else filters
    return any(re.fullmatch(rf"\(?row_index ?= ?{_SENTINEL}\)?", text) for text in texts)


def _plan_nodes(nodes: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for node in nodes:
        yield node
        yield from _plan_nodes(node["children"])


def _drawn_columns(draw: str) -> Mapping[str, str]:
    from helmframe.scenarios.draws import find_draw

    return find_draw(draw).columns


def _by_file(expressions: Sequence[str]) -> str:
    """Return SQL that has one of these values for each file."""
    return expressions[0] if len(expressions) == 1 else f"([{', '.join(expressions)}])[file_index::BIGINT + 1]"


def _path_type(spec: ScenarioSpec, name: str) -> str:
    """Return the type of a column in the path: text, unless the spec declares a type other than an ENUM."""
    dtype = str(dict(spec.columns).get(name, "VARCHAR"))
    return "VARCHAR" if dtype.upper().startswith("ENUM") else dtype


def _may_hold_rows(spec: ScenarioSpec, file: SourceFile, where: Sequence[Condition], splits: Sequence[str]) -> bool:
    values = values_in_path(spec, file)
    if values.get("split", splits[0]) not in splits:
        return False
    types = dict(spec.columns)
    for condition in where:
        if isinstance(condition, Equals) and condition.column in values:
            if values[condition.column] not in [str(value) for value in condition.values]:
                return False
        # a path has text; only text is compared as text
        elif (
            isinstance(condition, Between)
            and condition.column in values
            and types.get(condition.column, "VARCHAR") == "VARCHAR"
            and not str(condition.low) <= values[condition.column] <= str(condition.high)
        ):
            return False
    return True


def _offsets(
    spec: ScenarioSpec, source: Source, files: Sequence[SourceFile], scanned: Sequence[SourceFile]
) -> dict[str, int]:
    """Return the number of rows before each file in its subset, by path, so that row_index is always the same.

    Subset columns that are not in the path are ignored: then row_index is the position among all rows of these files,
    which orders each subset too, with gaps.
    """

    def subset(file: SourceFile) -> tuple[str, ...]:
        return tuple(file.values.get(column, "") for column in spec.subsets)

    last = {subset(file): files.index(file) for file in scanned}
    counted = [file.path for index, file in enumerate(files) if index < last.get(subset(file), 0)]
    heights = source.heights(counted)
    before: dict[tuple[str, ...], int] = {}
    offsets: dict[str, int] = {}
    for file in files:
        offsets[file.path] = before.get(subset(file), 0)
        before[subset(file)] = offsets[file.path] + heights.get(file.path, 0)
    return offsets


def _make_instances(spec: ScenarioSpec, source: Source, compat: str | None) -> tuple[dict[str, str], bool]:
    """Create the view `instances`; return its columns, name → type, and whether the spec's SELECT has instance_id.

    It has the columns of `INSTANCES` that are in the spec's SELECT or are derived from it. Other columns of the SELECT
    have two names: with `SOURCE_PREFIX`, and the bare name for conditions, unless that name is taken.
    """
    where = spec.origin or f"scenario {spec.scenario!r}"
    select = f"(\n{spec.instances.rstrip().rstrip(';')}\n)"

    def refused(problem: str) -> SpecError:
        columns = _first_names(source.types("SELECT * FROM rows"))
        return SpecError.at(where, "instances", f"the SELECT is invalid: {problem}\nColumns of rows: {columns}.")

    types = source.understood(lambda: source.types(f"SELECT * FROM {select}"), refused)
    source_columns = _source_columns(spec, types)
    needed = (spec.turns,) if spec.turns else ("input", "references")
    for name in ("row_index", "split", *needed, *spec.subsets):
        if name not in types and name not in source_columns:
            raise SpecError.at(
                where, "instances", f"the SELECT must have a column {name!r}; it has {', '.join(types)}."
            )
    for name in spec.images:
        if name not in source_columns or types[source_columns[name]] not in ("VARCHAR", "VARCHAR[]"):
            problem = f"the SELECT must have the image column {name!r} unchanged; it has {_first_names(types)}."
            raise SpecError.at(where, "images", problem)
    if spec.turns:
        texts = _of_turns(where, types, source_columns.get(spec.turns, spec.turns))
    else:
        texts = _of_input(where, types, _HELM_REFERENCES if compat and _HELM_REFERENCES in types else "references")
    subset = (
        " || '/' || ".join(f"{identifier(source_columns.get(column, column))}::VARCHAR" for column in spec.subsets)
        or "''"
    )
    table = {
        "row_index": "row_index::BIGINT",
        "split": _split_sql(spec),
        **texts,
        "subset": subset,
        "instance_id": "instance_id::VARCHAR"
        if "instance_id" in types
        else (f"{subset} || '/id' || row_index" if spec.subsets else "'id' || row_index"),
    }
    table["cluster"] = "cluster::VARCHAR" if "cluster" in types else table["instance_id"]
    table |= {
        name: identifier(name) for name in ("content", "sub_split") if name in types and name not in source_columns
    }
    prefixed = {source_column(name): identifier(column) for name, column in source_columns.items()}
    taken = {name.lower() for name in (*INSTANCES.schema, *table, *prefixed)}
    bare = {name: identifier(column) for name, column in source_columns.items() if name.lower() not in taken}
    columns = [f"{sql} AS {identifier(name)}" for name, sql in {**table, **prefixed, **bare}.items()]
    view = f"CREATE OR REPLACE VIEW instances AS SELECT {', '.join(columns)} FROM {select} AS selected"
    source.understood(lambda: source.execute(view), refused)
    relation = source.guarded(lambda: source.connection.sql("SELECT * FROM instances"))
    made = dict(zip(relation.columns, relation.types, strict=True))
    for name, column in source_columns.items():
        if _lacks_arrow_type(made[source_column(name)]):
            raise SpecError.at(
                where,
                "instances",
                f"column {name!r} has the unsupported type {types[column]}. Write {identifier(name)}::VARCHAR.",
            )
    names_instances = "instance_id" in types and spec.frame is None
    return {name: str(dtype) for name, dtype in made.items()}, names_instances


_REFERENCES = r"STRUCT\((?=.*\btext\b)(?=.*\bcorrect\b).*\)\[\]"


def _of_input(where: str, types: Mapping[str, str], references: str) -> dict[str, str]:
    """Return input and references as SQL, after checks of their types; `references` is the column's name."""
    if not re.match(f"{_REFERENCES}$", types[references]):
        example = f"[{{'text': answer, 'correct': true}}] AS \"{references}\""
        problem = f"{references} must be a list of text and correct, not {types[references]}. Write {example}."
        raise SpecError.at(where, "instances", problem)
    if _is_nested(types["input"]):
        raise SpecError.at(where, "instances", f"input must be text, not {types['input']}.")
    return {"input": "input::VARCHAR", "references": _references_sql(types[references], identifier(references))}


def _of_turns(where: str, types: Mapping[str, str], turns: str) -> dict[str, str]:
    """Return the messages and references of all turns as SQL, with those of the first turn as input and references."""
    if types[turns] != "VARCHAR[]":
        raise SpecError.at(where, "turns", f"column {turns!r} must be a list of texts, not {types[turns]}.")
    dtype = types.get("references", "")
    if dtype and not re.match(rf"{_REFERENCES}\[\]$", dtype):
        example = "[[{'text': answer_1, 'correct': true}], [{'text': answer_2, 'correct': true}]] AS \"references\""
        problem = f"references must have a list of text and correct for each turn, not {dtype}. Write {example}."
        raise SpecError.at(where, "instances", problem)
    empty = '[]::STRUCT("text" VARCHAR, correct BOOLEAN, tags VARCHAR[])[]'
    each = _references_sql(dtype.removesuffix("[]"), "turn")
    references = f'list_transform("references", lambda turn: coalesce({each}, {empty}))' if dtype else f"[{empty}]"
    return {
        "input": f"{identifier(turns)}[1]",
        "references": f"coalesce({references}[1], {empty})",
        TURN_INPUTS: identifier(turns),
        TURN_REFERENCES: references,
    }


def _lacks_arrow_type(dtype: Any) -> bool:
    """Return whether Polars can't read a DuckDB type, or a type inside it."""
    if dtype.id in ("interval", "union", "variant", "bignum", "tuple"):
        return True
    if dtype.id not in ("list", "array", "struct", "map"):
        return False
    children = dtype.children[:1] if dtype.id == "array" else dtype.children
    return any(name == "" or _lacks_arrow_type(child) for name, child in children)


def _source_columns(spec: ScenarioSpec, types: Mapping[str, str]) -> dict[str, str]:
    """Return the scenario's own columns, which aren't in `INSTANCES`: name → column of the SELECT.

    A frame's own columns have the prefix already.
    """
    if spec.frame is not None:
        return {name: source_column(name) for name in source_names(types)}
    return {name: name for name, dtype in types.items() if not _has_meaning(name, dtype)}


def _has_meaning(name: str, dtype: str) -> bool:
    """Return whether a column of a SELECT is one of `INSTANCES`."""
    if name == "content":
        return re.match(r"STRUCT\((?=.*\btype\b)(?=.*\btext\b).*\)\[\]$", dtype) is not None
    if name == "sub_split":
        return not _is_nested(dtype)
    return name in ("row_index", "split", "input", "references", _HELM_REFERENCES, "instance_id", "cluster")


def _is_nested(dtype: str) -> bool:
    return dtype.endswith("]") or dtype.startswith(("STRUCT", "MAP", "UNION"))


def _split_sql(spec: ScenarioSpec) -> str:
    if not spec.splits:
        return "split::VARCHAR"
    cases = " ".join(
        f"WHEN {text_literal(source_name)} THEN {text_literal(name)}" for source_name, name in spec.split_names.items()
    )
    return f"CASE split::VARCHAR {cases} ELSE split::VARCHAR END"


def _references_sql(dtype: str, references: str = '"references"') -> str:
    if "tags" in dtype:
        return references
    return (
        f"list_transform({references}, "
        "lambda reference: {'text': reference.text, 'correct': reference.correct, 'tags': []::VARCHAR[]})"
    )


def _check_columns(
    spec: ScenarioSpec, source: Source, path: str, types: dict[str, str], from_path: Sequence[str]
) -> None:
    """Check that the source has the columns that the spec declares, of compatible types."""
    for name, wanted in spec.columns:
        if name in from_path:
            continue
        if name not in types:
            raise SourceBrokenError(
                f"scenario {spec.scenario!r}: {path} has no column {name!r} ({wanted}); it has {_first_names(types)}."
            )
        if not _fits(source, spec, name, str(wanted), types[name]):
            raise SourceBrokenError(
                f"scenario {spec.scenario!r}: {path}: column {name!r} must be {wanted}, as the spec declares, "
                f"not {types[name]}."
            )


def _image_references() -> Callable[[str, str, str], str]:
    from helmframe.scenarios.images import image_sql  # late: most scenarios have no images

    return image_sql


def _check_images(spec: ScenarioSpec, path: str, types: Mapping[str, str]) -> None:
    """Check that the source has the image columns, of types that can have images."""
    if not spec.images:
        return
    from helmframe.scenarios.images import is_image_type

    for name in spec.images:
        if name not in types and not spec.union:
            raise SourceBrokenError(
                f"scenario {spec.scenario!r}: {path} has no image column {name!r}; it has {_first_names(types)}."
            )
        if name in types and not is_image_type(types[name]):
            raise SourceBrokenError(
                f"scenario {spec.scenario!r}: {path}: image column {name!r} must be bytes, a path, {{bytes, path}} or "
                f"a list of these, not {types[name]}."
            )


def _first_names(names: Iterable[str]) -> str:
    """Return at most five names for an error."""
    shown = list(names)
    return ", ".join(shown[:5]) + (f", … ({len(shown)} in all)" if len(shown) > 5 else "")


def _fits(source: Source, spec: ScenarioSpec, name: str, declared: str, actual: str) -> bool:
    probe = f"SELECT NULL::{declared} AS declared, NULL::{actual} AS actual"

    def refused(problem: str) -> SpecError:
        return SpecError.at(spec.origin or spec.scenario, f"columns.{name}", f"invalid type {declared!r}: {problem}")

    want, have = source.understood(lambda: source.relation(probe).types, refused)
    return _holds(have, want, partly=spec.union)


def _holds(have: Any, want: Any, *, partly: bool = False) -> bool:
    """Return whether a type has all fields of another; structs may have more, with `partly` also fewer."""
    for family in (
        {"tinyint", "smallint", "integer", "bigint", "utinyint", "usmallint", "uinteger", "ubigint"},
        {"float", "double"},
    ):
        if want.id in family and have.id in family:
            return True
    if want.id == "enum" and have.id == "varchar":  # a text column can have the values of the enum
        return True
    if have.id != want.id:
        return False
    if want.id not in ("list", "struct"):
        return True
    fields = dict(have.children)
    return all(
        _holds(fields[name], child, partly=partly) if name in fields else partly for name, child in want.children
    )
