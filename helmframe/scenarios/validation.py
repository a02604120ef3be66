"""Checks of conditions when a plan is built, and example rows to try a spec without its data.

Unknown columns, unknown values and invalid SQL raise.
"""

import itertools
import re
from base64 import b64decode
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl

from helmframe._core.specs import (
    Condition,
    Equals,
    Expression,
    ScenarioSpec,
    Sql,
    Value,
    placeholders,
    thawed,
)
from helmframe._schema import INSTANCES, TURN
from helmframe.config import data_root, from_home, s3_endpoint
from helmframe.errors import ArgumentError, NoInstancesError, SourceError, SpecError, near
from helmframe.scenarios.conditions import check_column, listed_names
from helmframe.scenarios.query import Query, columns_in_path, list_files, open_query, rows_root, values_in_path
from helmframe.scenarios.sources import Source, connect, open_connection, sql_problem
from helmframe.scenarios.sql import excess_of, identifier

_MAX_CHECKED = 4096  # conditions of a scenario
_ITEMS = 4  # of each list of an example row
# A PNG of one pixel.
_PICTURE = b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg==")
_MOST_PARTS = 4


def check_where(spec: ScenarioSpec, conditions: Sequence[Condition], data: str | None = None) -> None:
    """Raise if a condition is invalid; do nothing if the source is unreachable.

    Columns and values that a check has found are cached in this process. Others are looked up again in the source, so
    that rows added meanwhile are found. The rows of generated scenarios are not made.

    Raises:
        ArgumentError: A column is unknown, a value has another type than its column, no file has a value of a column of
            the path, or the SQL is invalid. The message lists near columns or values.
    """
    for condition in conditions:
        problem = excess_of(condition.text) if isinstance(condition, Sql) else None
        if problem is not None:
            raise ArgumentError(f"where(…): the SQL is too complex: {problem}.")
    facts = _facts(spec, data)
    if all(facts.cover(condition) for condition in conditions):
        return
    try:
        with open_query(spec, conditions, data=data, make_rows=False) as query:
            facts.columns |= query.columns
            facts.value_columns |= {*columns_in_path(spec, query.source), *spec.subsets, "split"}
            for condition in conditions:
                if isinstance(condition, Expression):
                    _check_expression(query, condition)
                elif isinstance(condition, Equals) and condition.column in facts.value_columns:
                    present = _column_values(query, condition, data)
                    for value in condition.values:
                        if str(value) not in present:
                            raise unknown_value(spec, condition.column, value, sorted(present))
                    facts.values.setdefault(condition.column, set()).update(present)
                facts.add(condition)
    except SourceError:
        return
    except ArgumentError:
        if spec.turns and any(getattr(condition, "column", "") == TURN for condition in conditions):
            raise ArgumentError(
                "where(turn=…): conditions select whole conversations, because a turn needs the turns before it. To "
                "select turns of the results, write results.rows(turn=2) or results.table(by='turn')."
            ) from None
        raise


def values(spec: ScenarioSpec, column: str, data: str | None = None) -> list[Any]:
    """Return the distinct values of a column, sorted; of a column of the path without opening a file.

    The subsets of a generated scenario are listed without making its rows.

    Raises:
        ArgumentError: The scenario has no such column.
        SourceError: The rows can't be read. The message has scenario and address.
    """
    if spec.generated:
        from helmframe.scenarios.generated import find_generator

        generator = find_generator(spec.generated)
        if spec.subsets == (generator.column,) and column in (generator.column, "subset"):
            return sorted(generator.subsets)
    elif spec.frame is None:
        source = connect(spec, rows_root(spec, data))
        try:
            if column in columns_in_path(spec, source):
                files = list_files(spec, source)
                if not files:
                    raise source.missing()
                return sorted({values_in_path(spec, file)[column] for file in files})
        finally:
            source.close()
    with open_query(spec, data=data) as query:
        check_column(query.source, query.columns, column)
        name = identifier(column)
        return query.frame(f"DISTINCT {name}", f"AND {name} IS NOT NULL ORDER BY {name}").to_series().to_list()


def unknown_value(spec: ScenarioSpec, column: str, value: object, column_values: Sequence[str]) -> NoInstancesError:
    """Return the error of a value that no row has, with near values of the column."""
    # a column may have very many values: then only near values are listed
    shown = column_values if len(column_values) <= 100 else near(value, column_values)
    return NoInstancesError.unknown_value(
        f"where({column}={value!r}) matches no instance of scenario {spec.scenario!r}", value, shown
    )


@dataclass
class _Facts:
    """Facts about a scenario's rows that stay true when rows are added.

    Args:
        columns: Name → DuckDB type of the columns that conditions may name.
        value_columns: The columns whose values are checked.
        values: Column → its values as text.
        checked: Conditions that DuckDB accepted, as text.
    """

    columns: dict[str, str] = field(default_factory=dict)
    value_columns: set[str] = field(default_factory=set)
    values: dict[str, set[str]] = field(default_factory=dict)
    checked: set[str] = field(default_factory=set)

    def cover(self, condition: Condition) -> bool:
        """Return whether a condition is right by these facts alone."""
        if isinstance(condition, Expression):
            return bool(self.columns) and set(condition.expr.meta.root_names()) <= {*self.columns, *INSTANCES.schema}
        if isinstance(condition, Sql):
            return repr(condition) in self.checked
        if isinstance(condition, Equals) and condition.column in self.value_columns:
            return {str(value) for value in condition.values} <= self.values.get(condition.column, set())
        # every value but None can be text
        texts = condition.values if isinstance(condition, Equals) else (condition.low, condition.high)
        is_text = self.columns.get(condition.column) == "VARCHAR" and None not in texts
        return is_text or repr(condition) in self.checked

    def add(self, condition: Condition) -> None:
        """Add a condition that DuckDB accepted."""
        if len(self.checked) >= _MAX_CHECKED:
            self.checked.clear()
        if not isinstance(condition, Expression):
            self.checked.add(repr(condition))


def _facts(spec: ScenarioSpec, data: str | None) -> _Facts:
    root = data or data_root()
    if root and "://" not in root:
        root = str(from_home(root).absolute())
    if spec.frame is not None:
        # without the rows, which the cache must not hold
        return _cached_facts(replace(spec, frame=None), spec.frame.digest, None)
    return _cached_facts(spec, root, s3_endpoint())


@lru_cache(maxsize=256)
def _cached_facts(spec: ScenarioSpec, rows: str | None, endpoint: str | None) -> _Facts:  # noqa: ARG001 - the key
    return _Facts()


def _column_values(query: Query, condition: Equals, data: str | None) -> set[str]:
    """Return the values of a condition's column as text; on the hub only the condition's own, if files have them."""
    spec, column = query.spec, condition.column
    if spec.frame is None and not spec.generated and column in columns_in_path(spec, query.source):
        # the hub is listed folder by folder, a disk or bucket at once
        is_hub = query.source.address.startswith("hf://")
        # a new connection: that of the query can't list files any more
        with closing(connect(spec, rows_root(spec, data))) as source:
            files = list_files(spec, source, [condition] if is_hub else [])
        present = {values_in_path(spec, file)[column] for file in files}
        if not is_hub or all(str(value) in present for value in condition.values):
            return present
    return {str(value) for value in values(spec, column, data)}


def _check_expression(query: Query, condition: Expression) -> None:
    columns = [*INSTANCES.schema, *(name for name in listed_names(query.columns) if name not in INSTANCES.schema)]
    for name in condition.expr.meta.root_names():
        if name not in columns and name not in query.columns:
            raise ArgumentError.unknown_value(
                f"where({condition.expr}): scenario {query.spec.scenario!r} has no column {name!r}", name, columns
            )


def write_examples(spec: ScenarioSpec, root: Path, rows: int = 8, *, distinct: bool = False) -> None:
    """Write Parquet files below `root`, at the spec's address, with its columns and types.

    Texts have the names of their column and row. Values of an ENUM, and those of the spec's `example`, are used in
    turn. Integers are 0 and 1, like labels; ids count up, and with `distinct` all integers. A generated scenario needs
    no files.

    Raises:
        SpecError: A type that DuckDB does not know.
    """
    address = str(dict(spec.source).get("rows") or "")
    if not address:
        return
    types = _types(spec)
    names = placeholders(address)
    for number, values in enumerate(itertools.product(*(_path_values(spec, types, name) for name in names))):
        filled = dict(zip(names, values, strict=True))
        path = re.sub(r"\{(\w+)\}", lambda match: filled.get(match[1], str(root)), address)  # noqa: B023 - used at once
        file = Path(path.replace("*", "0"))
        file.parent.mkdir(parents=True, exist_ok=True)
        columns = [name for name in types if name not in names]
        frame = pl.DataFrame([_column(spec, name, types[name], rows) for name in columns])
        index = pl.int_range(number * rows, (number + 1) * rows, eager=True)
        numbers = [name for name in columns if frame.schema[name] == pl.Int64]
        frame = frame.with_columns(index.alias(name) for name in numbers if distinct or re.search(r"(^|_)id$", name))
        frame.write_parquet(file)


def _types(spec: ScenarioSpec) -> dict[str, Any]:
    """Return the columns of the source and their types, as DuckDB reads them."""
    import duckdb

    types = {}
    with closing(Source(spec.scenario, "", open_connection(), lambda _: {})) as source:
        source.lock()
        for name, dtype in spec.columns:
            try:
                types[name] = source.relation(f"SELECT NULL::{dtype}").types[0]
            except duckdb.Error as error:
                raise SpecError.at(
                    spec.origin or spec.scenario,
                    f"columns.{name}",
                    f"invalid type {str(dtype)!r}: {sql_problem(error)}",
                ) from None
    return types


def _path_values(spec: ScenarioSpec, types: dict[str, Any], name: str) -> Sequence[str]:
    if name == "split":
        return list(spec.split_names) or ["test"]
    if name in types and types[name].id == "enum":
        return _enum_values(types[name])[:_MOST_PARTS]
    example = thawed(dict(spec.example).get(name) or dict(spec.default).get(name) or ("one", "two"))
    return [example] if isinstance(example, str) else [str(value) for value in example][:_MOST_PARTS]


def _column(spec: ScenarioSpec, name: str, dtype: Any, rows: int) -> pl.Series:
    examples = dict(spec.example).get(name)
    values = list(_examples(examples, rows)) if examples else [_value(dtype, name, row) for row in range(rows)]
    return pl.Series(name, values, dtype=_polars_type(dtype), strict=False)


def _examples(example: Value, rows: int) -> Iterator[Any]:
    values = [thawed(value) for value in example] if isinstance(example, tuple) else [example]
    return (values[row % len(values)] for row in range(rows))


def _value(dtype: Any, name: str, row: int) -> Any:
    if dtype.id == "varchar":
        return f"{name.replace('_', ' ')} {row}"
    if dtype.id == "enum":
        values = _enum_values(dtype)
        return values[row % len(values)]
    if dtype.id == "boolean":
        return row % 2 == 0
    if dtype.id == "blob":
        return _PICTURE
    if dtype.id in ("float", "double"):
        return (row % 4) / 4
    if dtype.id == "list":
        # a list in a list of rows has as many items in each, and no two alike
        return [_value(dict(dtype.children)["child"], name, row * _ITEMS + item) for item in range(_ITEMS)]
    if dtype.id == "struct":
        return {field: _value(child, field, row) for field, child in dtype.children}
    return row % 2


def _enum_values(dtype: Any) -> list[str]:
    return [str(value) for value in dict(dtype.children)["values"]]


def _polars_type(dtype: Any) -> pl.DataType:
    if dtype.id in ("varchar", "enum"):
        return pl.String()
    if dtype.id == "boolean":
        return pl.Boolean()
    if dtype.id == "blob":
        return pl.Binary()
    if dtype.id in ("float", "double"):
        return pl.Float64()
    if dtype.id == "list":
        return pl.List(_polars_type(dict(dtype.children)["child"]))
    if dtype.id == "struct":
        return pl.Struct({field: _polars_type(child) for field, child in dtype.children})
    return pl.Int64()
