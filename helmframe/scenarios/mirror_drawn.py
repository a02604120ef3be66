"""The files of a mirror that hold what a draw took: which rows of which files of the source become which file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import polars as pl

from helmframe._core.specs import ScenarioSpec
from helmframe.errors import SourceBrokenError
from helmframe.scenarios.canonical import guarded
from helmframe.scenarios.draws import Draw
from helmframe.scenarios.sql import identifier, text_literal

# Columns of ours beside the source's, while the rows are read.
_PLACE = "helmframe_place"
_TAKEN = "helmframe_taken"


@dataclass(frozen=True)
class Rows:
    """One file of the source: the SELECT that reads it as the spec's columns, and the columns that its path says."""

    path: str
    select: str
    values: Mapping[str, str] = field(default_factory=dict)


def is_drawn(spec: ScenarioSpec, draw: Draw, connection: Any, sources: Sequence[Rows]) -> bool:
    """Whether the draw is to be made: not where it was already, nor of splits where HELM has none."""
    if draw.unsplit and any("split" in each.values for each in sources):
        return False
    return "row_index" not in _types(spec, connection, sources[0])


@dataclass(frozen=True)
class Drawn:
    """One file to be: what its path says, the numbers of the files its rows are from, and how DuckDB reads them.

    `shard` is its number among those of which the path says the same: `00000-of-00001`.
    """

    values: Mapping[str, str]
    files: Sequence[int]
    read: str
    shard: str


def drawn(
    spec: ScenarioSpec, draw: Draw, connection: Any, sources: Sequence[Rows], names: Sequence[str]
) -> list[Drawn]:
    """Make the draw over all rows.

    Args:
        spec: the scenario.
        draw: its draw.
        connection: of DuckDB; is given a table of what was taken for each file to be.
        sources: the files, in the order of the rows.
        names: what the path of a file to be says: columns of the source's paths, and `split`.

    Returns:
        The files to be; each is read in the order of row_index.

    Raises:
        SourceBrokenError: the source lacks what the draw needs to know.
    """
    for name in names:
        # of splits the draw may decide
        if not draw.unsplit or name != "split":
            _check_said(spec, name, sources)
    keys = _keys(spec, draw, connection, sources)
    firsts = keys.group_by("file").agg(first=pl.col("place").min()).sort("first")
    taken = draw.take(keys).sort("place").join_asof(firsts, left_on="place", right_on="first", strategy="backward")
    for name in names:
        if name not in taken.columns:
            said = pl.Series(name, [each.values[name] for each in sources])
            taken = taken.with_columns(said.gather(taken["file"]))
    groups = taken.partition_by(names, as_dict=True) if names else {(): taken}
    made: list[Drawn] = []
    for values, rows in groups.items():
        said_there = dict(zip(names, map(str, values), strict=True))
        pieces = list(rows.sort("row_index").iter_slices(draw.rows)) if draw.rows else [rows]
        for number, piece in enumerate(pieces):
            table = f"{_TAKEN}_{len(made)}"
            placed = piece.with_columns((pl.col("place") - pl.col("first")).alias(_PLACE))
            placed = placed.drop("place", "first", *names).rename({"file": "from_file"})
            # texts as views: one that is in many rows is in memory once
            connection.register(table, placed.to_arrow(compat_level=pl.CompatLevel.newest()))
            files = sorted(set(piece["file"].to_list()))
            selects = [
                _select(spec, draw, connection, sources[file], file, table, said_there.get("split")) for file in files
            ]
            read = f"({' UNION ALL BY NAME '.join(selects)} ORDER BY row_index)"
            made.append(Drawn(said_there, files, read, f"{number:05d}-of-{len(pieces):05d}"))
    return made


def _check_said(spec: ScenarioSpec, name: str, sources: Sequence[Rows]) -> None:
    for each in sources:
        if name not in each.values:
            raise SourceBrokenError(
                f"scenario {spec.scenario!r}: {each.path}: its path says no {{{name}}}; say --layout."
            )


def _keys(spec: ScenarioSpec, draw: Draw, connection: Any, sources: Sequence[Rows]) -> pl.DataFrame:
    """What `Draw.take` gets."""
    frames = []
    for number, each in enumerate(sources):
        said = ", ".join(f"({sql}) AS {identifier(name)}" for name, sql in (draw.keys or {"row": "NULL"}).items())
        said = "count(*) AS rows" if draw.by_file else said
        paths = "".join(f", {text_literal(value)} AS {identifier(name)}" for name, value in each.values.items())
        types = _types(spec, connection, each)
        nulls = _nulls(_absent(spec, types, each))
        both = [name for name in each.values if name in types]
        star = f"* EXCLUDE ({', '.join(map(identifier, both))})" if both else "*"
        sql = f"SELECT {said} FROM (SELECT {star}{paths}{nulls} FROM ({each.select}))"
        table = guarded(spec.scenario, each.path, partial(_table, connection, sql))
        path = {name: pl.lit(value) for name, value in each.values.items()}
        frames.append(pl.DataFrame(pl.from_arrow(table)).with_columns(**path, file=number))
    keys = pl.concat(frames, how="diagonal_relaxed")
    if "split" not in keys.columns:
        keys = keys.with_columns(split=pl.lit(None, dtype=pl.String))
    if draw.by_file:
        return keys.with_columns(place=pl.col("rows").cum_sum() - pl.col("rows"))
    return keys.with_columns(place=pl.int_range(pl.len()))


def _table(connection: Any, sql: str) -> Any:
    return connection.sql(sql).to_arrow_table()


def _select(
    spec: ScenarioSpec, draw: Draw, connection: Any, source: Rows, file: int, table: str, split: str | None
) -> str:
    """The rows of one file of the source that go into one file to be."""
    types = _types(spec, connection, source)
    absent = _absent(spec, types, source) if draw.made else {}
    star = "* EXCLUDE (split)" if split is not None and "split" in types else "*"
    named = f", {text_literal(split)} AS split" if split is not None else ""
    replaced = [name for name in draw.made if name in types]
    gone = [_PLACE, *absent, *replaced, *(["split"] if split is not None else [])]
    made = "".join(f", {sql} AS {identifier(name)}" for name, sql in draw.made.items())
    added = "".join(f", taken.{identifier(name)}" for name in (*draw.columns, "row_index"))
    place = f", row_number() OVER () - 1 AS {_PLACE}"
    return (
        f"SELECT source.* EXCLUDE ({', '.join(map(identifier, gone))}){made}{added} "
        f"FROM (SELECT {star}{named}{_nulls(absent)}{place} FROM ({source.select})) AS source "
        f"JOIN {table} AS taken ON taken.from_file = {file} AND taken.{_PLACE} = source.{_PLACE}"
    )


def _absent(spec: ScenarioSpec, types: Mapping[str, str], source: Rows) -> dict[str, str]:
    """The spec's columns, and their types, that a file need not have and does not."""
    return {name: str(dtype) for name, dtype in spec.columns if spec.union and name not in {*types, *source.values}}


def _nulls(columns: Mapping[str, str]) -> str:
    return "".join(f", NULL::{dtype} AS {identifier(name)}" for name, dtype in columns.items())


def _types(spec: ScenarioSpec, connection: Any, source: Rows) -> dict[str, str]:
    described = f"SELECT column_name, column_type FROM (DESCRIBE {source.select})"
    return dict(guarded(spec.scenario, source.path, lambda: connection.execute(described).fetchall()))
