"""Rows within instances within clusters within strata (subsets of each group): where each starts, and their sums."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import polars as pl

from helmframe.stats.encoded_rows import EncodedRows, Flags, Floats, Numbers, lengths, starts_of, sums

STRATUM = ("scenario", "subset")
VARIANT = ("perturbation", "perturbation_seed")
INSTANCE = ("scenario", "subset", "cluster", "instance_id")


@dataclass(frozen=True)
class ClusterIndex:
    """Rows within instances within clusters within strata (the groups' subsets): where each starts in the one below.

    `table` has one row per stratum: by, scenario, subset, size (instances), rows; `unit` is one instance per cluster.
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
    import numpy as np

    names, stratum = rows.among(merge_names(by, STRATUM))
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
    places = np.repeat(np.arange(len(strata)), clusters)
    first = unit[of_cluster]
    return ClusterIndex(table, key, order, many, of_instance, of_cluster, of_stratum, cluster_size, size, places, first)


def cluster_sums(nest: ClusterIndex, value: Floats) -> Floats:
    """Per cluster the sum over its instances of their mean."""
    import numpy as np

    if len(nest.of_instance) == len(nest.order) and nest.many is None:
        return sums(value[nest.order], nest.of_cluster)
    order = nest.order
    if len(nest.of_instance) < len(order) and not np.array_equal(value, np.rint(value)):
        # rows of one instance in the order of their values: their sum must not hang on how they came
        order = order[np.lexsort((value[order], nest.key))]
    count = (
        lengths(nest.of_instance, len(order)) if nest.many is None else sums(nest.many[nest.order], nest.of_instance)
    )
    return sums(sums(value[order], nest.of_instance) / count, nest.of_cluster)


def totals(nest: ClusterIndex, value: Floats) -> Floats:
    """Per stratum the sum over its instances of their mean."""
    return sums(cluster_sums(nest, value), nest.of_stratum)


def residuals(nest: ClusterIndex, clusters: Floats) -> Floats:
    """CR2 of a mean: the residual sum of each cluster, over the root of 1 − its share."""
    import numpy as np

    average = (sums(clusters, nest.of_stratum) / nest.size)[nest.stratum_of_cluster]
    with np.errstate(divide="ignore", invalid="ignore"):
        residual: Floats = (clusters - average * nest.cluster_size) / np.sqrt(
            1 - nest.cluster_size / nest.size[nest.stratum_of_cluster]
        )
    return residual


def merge_names(by: Sequence[str], more: Iterable[str]) -> list[str]:
    """The names of both, each once."""
    return list(dict.fromkeys([*by, *more]))


def sum_by(frame: pl.LazyFrame, keys: Sequence[str], value: str, **more: pl.Expr) -> pl.LazyFrame:
    """Per group the total of a column, to the last digit the same in whatever order the rows come, and more."""
    # a million groups of one or two rows need no sorting, nor do whole numbers
    groups = frame.group_by(keys)
    whole = (pl.col(value) == pl.col(value).round()).all()
    plain = groups.agg(total=pl.col(value).sum(), count=pl.len(), whole=whole, **more).collect()
    if plain.filter((pl.col("count") > 2) & ~pl.col("whole")).is_empty():
        return plain.lazy().drop("count", "whole")
    return groups.agg(total=stable_sum(pl.col(value)), **more).collect().lazy()


def stable_sum(terms: pl.Expr) -> pl.Expr:
    """The sum, to the last digit the same in whatever order the rows come."""
    # not .sort().sum(): Polars takes the sort for superfluous and drops it
    return terms.sort().cum_sum().last()
