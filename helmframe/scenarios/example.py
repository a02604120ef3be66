"""Example rows with the columns and types of a spec, to try a spec without its data."""

import itertools
import re
from base64 import b64decode
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from helmframe._core.specs import ScenarioSpec, Value, placeholders, thawed
from helmframe.errors import SpecError
from helmframe.scenarios.sources import sql_problem

_ITEMS = 4  # of each list
# A PNG of one pixel.
_PICTURE = b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg==")
_MOST_PARTS = 4


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

    connection = duckdb.connect()
    types = {}
    for name, dtype in spec.columns:
        try:
            types[name] = connection.sql(f"SELECT NULL::{dtype}").types[0]
        except duckdb.Error as error:
            raise SpecError.at(
                spec.origin or spec.scenario, f"columns.{name}", f"invalid type {str(dtype)!r}: {sql_problem(error)}"
            ) from None
    connection.close()
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
