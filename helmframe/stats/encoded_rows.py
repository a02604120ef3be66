"""Rows encoded as integers, so that sums are NumPy operations over sorted keys.

Cells are numbered by runs of equal rows, which are few in scores. Instances are numbered in the order of their names,
so sums are equal to the last digit in any row order. A cluster index has the starts of instances, clusters and strata.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from helmframe.errors import StoreError

Numbers: TypeAlias = "NDArray[np.int64]"
Floats: TypeAlias = "NDArray[np.float64]"
Flags: TypeAlias = "NDArray[np.bool_]"


@dataclass(frozen=True)
class EncodedRows:
    """A frame encoded as integers.

    `cells` has one row per distinct combination of the columns with few values. `cell` is the index of each row in
    `cells`, and `unit` the index of its instance (within its scenario), in the order of (cluster, instance_id).
    `cluster` maps units to clusters, and `names` has instance_id and cluster of each unit. `alone` is whether every
    instance is a cluster of its own, with its own name. `rows` has the other columns.
    """

    cells: pl.DataFrame
    cell: Numbers
    unit: Numbers
    cluster: Numbers
    names: pl.DataFrame
    alone: bool
    rows: pl.DataFrame

    @property
    def units(self) -> int:
        """Return the number of instances, at least 1: the radix of keys of (cell, unit)."""
        return max(len(self.cluster), 1)

    def with_cells(self, cells: pl.DataFrame, cell: Numbers, unit: Numbers) -> "EncodedRows":
        """Return other rows over the same units."""
        return replace(self, cells=cells, cell=cell, unit=unit, rows=pl.DataFrame())

    def index_by(self, names: Sequence[str]) -> tuple[pl.DataFrame, Numbers]:
        """Return the distinct values of some columns of `cells`, and the index of each row in them."""
        table, number = numbered(self.cells, names)
        return table, number[self.cell]


def encode_rows(rows: pl.LazyFrame | pl.DataFrame, names: Sequence[str], more: Sequence[str] = ()) -> EncodedRows:
    """Encode the rows with the columns `names` as cells; `rows` of the result has the columns `more`.

    Args:
        rows: Rows with instance_id and cluster; a null cluster means that the instance is its own cluster.
        names: Columns with few distinct values; more values only cost time.
        more: Other columns.
    """
    texts = [name for name in ("cluster", "instance_id") if name not in names]
    others = [name for name in more if name not in (*names, *texts)]
    frame = rows.lazy().select(*names, *texts, *others).collect()
    cells, cell = _cells(frame.select(names))
    ids = frame["instance_id"].cast(pl.String)
    clusters = frame["cluster"].cast(pl.String).fill_null(ids)
    alone = bool((clusters == ids).all())
    unit, cluster, units = _index_instances(ids) if alone else _units(clusters, ids)
    return EncodedRows(cells, cell, unit, cluster, units, alone, frame.select(more))


def numbered(table: pl.DataFrame, names: Sequence[str]) -> tuple[pl.DataFrame, Numbers]:
    """Return the distinct values of these columns, in order of first appearance, and each row's index."""
    if not names:
        return pl.DataFrame(height=min(table.height, 1)), np.zeros(table.height, dtype=np.int64)
    distinct = table.select(names).unique(maintain_order=True)
    numbering = distinct.with_row_index("row number")
    number = table.select(names).join(numbering, on=names, how="left", nulls_equal=True, maintain_order="left")
    return distinct, number["row number"].to_numpy().astype(np.int64)


def starts_of(keys: Numbers) -> Numbers:
    """Return the start of each run of equal keys, in sorted keys."""
    if not keys.size:
        return np.empty(0, dtype=np.int64)
    return np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))


def lengths(starts: Numbers, end: int) -> Numbers:
    """Return the length of each run; the last run ends at `end`."""
    return np.diff(np.append(starts, end))


def distinct(keys: Numbers) -> Numbers:
    """Return the distinct keys, sorted."""
    # a stable sort is fast for keys that are nearly sorted, as most of ours are
    keys = np.sort(keys, kind="stable")
    return keys[starts_of(keys)]


def sums(values: "NDArray[Any]", starts: Numbers) -> "NDArray[Any]":
    """Return the sum of each run of values."""
    if len(starts) == len(values):
        return values
    return np.add.reduceat(values, starts)


def in_order(keys: Numbers, values: Floats) -> Numbers:
    """Return the order that sorts by key, then by value, so that sums do not depend on the row order."""
    order = np.argsort(keys, kind="stable")
    sorted_keys = keys[order]
    if not np.any(sorted_keys[1:] == sorted_keys[:-1]) or np.array_equal(values, np.rint(values)):
        return order
    return np.lexsort((values, keys))


def _cells(table: pl.DataFrame) -> tuple[pl.DataFrame, Numbers]:
    """Return the same as `numbered`, but faster if few rows differ from the previous row."""
    names = table.columns
    changes = table.select(pl.col(name).ne_missing(pl.col(name).shift()) for name in names)
    restless = [name for name in names if (changes[name].sum() or 0) > table.height // 8]
    calm = [name for name in names if name not in restless]
    first = pl.int_range(pl.len()) == 0
    run = changes.select(pl.any_horizontal(first, *calm).cast(pl.UInt32).cum_sum() - 1).to_series()
    cells, of_run = numbered(table.filter(run.ne_missing(run.shift())), calm)
    cell = of_run[run.to_numpy()]
    for name in restless:
        values, number = _column(table[name])
        both, present = cell * max(len(values), 1) + number, np.zeros(cells.height * len(values), dtype=np.int64)
        present[both] = 1
        occupied = np.flatnonzero(present)
        present[occupied] = np.arange(len(occupied))
        cells = cells[occupied // len(values)].with_columns(values[occupied % len(values)])
        cell = present[both]
    return cells.select(names), cell


def _column(values: pl.Series) -> tuple[pl.Series, Numbers]:
    """Return the distinct values, and the index of each row's value."""
    if values.dtype == pl.String and not values.null_count():
        distinct = values.unique().sort()
        return distinct, _index_in(values, distinct)
    table, number = numbered(values.to_frame(), [values.name])
    return table.to_series(), number


def _index_instances(ids: pl.Series) -> tuple[Numbers, Numbers, pl.DataFrame]:
    """Return the same as `_units`, if each instance is a cluster."""
    number, names = _index_texts(ids)
    return number, np.arange(len(names), dtype=np.int64), pl.DataFrame({"instance_id": names, "cluster": names})


def _units(clusters: pl.Series, ids: pl.Series) -> tuple[Numbers, Numbers, pl.DataFrame]:
    """Map rows to instances, and instances to clusters; return both with their names."""
    number, names = _index_texts(ids)
    # an id may be in several clusters, in different scenarios
    many = max(len(names), 1)
    of_cluster, cluster_names = _index_texts(clusters)
    pairs, unit = np.unique(of_cluster * many + number, return_inverse=True)
    cluster, instance = np.divmod(pairs, many)
    named = pl.DataFrame({"instance_id": names[instance], "cluster": cluster_names[cluster]})
    return unit.astype(np.int64), cluster, named


def _index_texts(texts: pl.Series) -> tuple[Numbers, pl.Series]:
    """Return each text's index among the sorted distinct texts, and those texts.

    Raises:
        StoreError: A text is null, as it may be in a damaged table.
    """
    if texts.null_count():
        raise StoreError(f"Column {texts.name!r} of the scores is null in {texts.null_count():,} rows.")
    # rows of one instance are usually adjacent: then only the first of each run is looked up
    heads = texts.ne_missing(texts.shift())
    run = None
    if (heads.sum() or 0) <= len(texts) // 2:
        texts, run = texts.filter(heads), heads.cast(pl.Int64).cum_sum().to_numpy() - 1
    distinct = texts.unique().sort()
    index = _index_in(texts, distinct)
    return index if run is None else index[run], distinct


def _index_in(texts: pl.Series, distinct: pl.Series) -> Numbers:
    index: Numbers = texts.cast(pl.Enum(distinct)).to_physical().to_numpy().astype(np.int64)
    return index


STRATUM = ("scenario", "subset")
VARIANT = ("perturbation", "perturbation_seed")
INSTANCE = ("scenario", "subset", "cluster", "instance_id")


@dataclass(frozen=True)
class ClusterIndex:
    """The starts of instances, clusters and strata (the subsets of groups), each in the level below.

    `table` has one row per stratum: by, scenario, subset, size (instances), rows. `unit` has one instance per cluster.
    """

    table: pl.DataFrame
    key: Numbers
    order: Numbers
    many: "Numbers | None"
    of_instance: Numbers
    of_cluster: Numbers
    of_stratum: Numbers
    cluster_size: Floats
    size: Floats
    stratum_of_cluster: Numbers
    unit: Numbers


def build_cluster_index(rows: EncodedRows, by: Sequence[str], mask: Flags, many: "Numbers | None") -> ClusterIndex:
    names, stratum = rows.index_by(merge_names(by, STRATUM))
    units = rows.units
    stratum, unit = (stratum, rows.unit) if mask.all() else (stratum[mask], rows.unit[mask])
    key = stratum * units + unit
    order = np.argsort(key, kind="stable")
    key = key[order]
    of_instance = starts_of(key)
    first = order[of_instance]
    stratum, unit = stratum[first], unit[first]
    if rows.alone:
        of_cluster = np.arange(len(of_instance))
        cluster_size = np.ones(len(of_instance))
    else:
        of_cluster = starts_of(stratum * units + rows.cluster[unit])
        cluster_size = lengths(of_cluster, len(of_instance)).astype(np.float64)
    of_stratum = starts_of(stratum[of_cluster])
    strata, clusters = stratum[of_cluster][of_stratum], lengths(of_stratum, len(of_cluster))
    size = sums(cluster_size, of_stratum)
    count = np.ones(len(order), dtype=np.int64) if many is None else many[order]
    table = names[strata].with_columns(
        size=pl.Series(size),
        rows=pl.Series(sums(count, of_instance[of_cluster][of_stratum]), dtype=pl.Float64),
    )
    stratum_of_cluster = np.repeat(np.arange(len(strata)), clusters)
    first = unit[of_cluster]
    return ClusterIndex(
        table, key, order, many, of_instance, of_cluster, of_stratum, cluster_size, size, stratum_of_cluster, first
    )


def cluster_sums(nest: ClusterIndex, value: Floats) -> Floats:
    """Return per cluster the sum over its instances of their mean."""
    if len(nest.of_instance) == len(nest.order) and nest.many is None:
        return sums(value[nest.order], nest.of_cluster)
    order = nest.order
    if len(nest.of_instance) < len(order) and not np.array_equal(value, np.rint(value)):
        # rows of one instance sorted by value, so that their sum does not depend on the row order
        order = order[np.lexsort((value[order], nest.key))]
    count = (
        lengths(nest.of_instance, len(order)) if nest.many is None else sums(nest.many[nest.order], nest.of_instance)
    )
    return sums(sums(value[order], nest.of_instance) / count, nest.of_cluster)


def totals(nest: ClusterIndex, value: Floats) -> Floats:
    """Return per stratum the sum over its instances of their mean."""
    return sums(cluster_sums(nest, value), nest.of_stratum)


def residuals(nest: ClusterIndex, clusters: Floats) -> Floats:
    """Return the CR2 residuals of a mean: the residual sum of each cluster, over the root of 1 − its share."""
    average = (sums(clusters, nest.of_stratum) / nest.size)[nest.stratum_of_cluster]
    with np.errstate(divide="ignore", invalid="ignore"):
        residual: Floats = (clusters - average * nest.cluster_size) / np.sqrt(
            1 - nest.cluster_size / nest.size[nest.stratum_of_cluster]
        )
    return residual


def merge_names(by: Sequence[str], more: Iterable[str]) -> list[str]:
    """Return the names of both, without duplicates."""
    return list(dict.fromkeys([*by, *more]))


def sum_by(frame: pl.LazyFrame, keys: Sequence[str], value: str, **more: pl.Expr) -> pl.LazyFrame:
    """Return per group the total of a column, equal to the last digit in any row order, and `more` expressions."""
    # groups of one or two rows, and integers, need no sorting
    groups = frame.group_by(keys)
    whole = (pl.col(value) == pl.col(value).round()).all()
    plain = groups.agg(total=pl.col(value).sum(), count=pl.len(), whole=whole, **more).collect()
    if plain.filter((pl.col("count") > 2) & ~pl.col("whole")).is_empty():
        return plain.lazy().drop("count", "whole")
    return groups.agg(total=stable_sum(pl.col(value)), **more).collect().lazy()


def stable_sum(terms: pl.Expr) -> pl.Expr:
    """Return the sum, equal to the last digit in any row order."""
    # not .sort().sum(): Polars removes the sort as redundant
    return terms.sort().cum_sum().last()
