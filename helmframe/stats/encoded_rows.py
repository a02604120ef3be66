"""Rows in numbers: which cell of a table and which instance each row is of, so that sums are NumPy over sorted keys.

Cells are numbered by the runs of rows that say the same, of which scores have few; instances in the order of their
names. What is summed in the order of these numbers comes out the same, to the last digit, in whatever order rows came.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import polars as pl

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Numbers: TypeAlias = "NDArray[np.int64]"
Floats: TypeAlias = "NDArray[np.float64]"
Flags: TypeAlias = "NDArray[np.bool_]"


@dataclass(frozen=True)
class EncodedRows:
    """A frame in numbers.

    `cells` has one row per distinct combination of the columns with few values; `cell` says which of them a row is of,
    `unit` which instance (within its scenario), in the order of (cluster, instance_id); `cluster` says of a unit which
    cluster it is of, `names` has instance_id and cluster of each; `alone`, whether every instance is a cluster of its
    own, by its own name; `rows` holds the other columns.
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
        """How many there are, at least 1: what a key of (cell, unit) counts in."""
        return max(len(self.cluster), 1)

    def others(self, cells: pl.DataFrame, cell: Numbers, unit: Numbers) -> "EncodedRows":
        """Other rows of the same units."""
        return replace(self, cells=cells, cell=cell, unit=unit, rows=pl.DataFrame())

    def among(self, names: Sequence[str]) -> tuple[pl.DataFrame, Numbers]:
        """The distinct values of some columns of `cells`, numbered, and the number of each row."""
        table, number = numbered(self.cells, names)
        return table, number[self.cell]


def encode_rows(rows: pl.LazyFrame | pl.DataFrame, names: Sequence[str], more: Sequence[str] = ()) -> EncodedRows:
    """The rows with the columns `names` as cells; `more` are passed on in `rows`.

    Args:
        rows: with instance_id and cluster; a null cluster is the instance itself.
        names: columns of few distinct values; it works with any.
        more: other columns.
    """
    texts = [name for name in ("cluster", "instance_id") if name not in names]
    others = [name for name in more if name not in (*names, *texts)]
    frame = rows.lazy().select(*names, *texts, *others).collect()
    cells, cell = _cells(frame.select(names))
    ids = frame["instance_id"].cast(pl.String)
    clusters = frame["cluster"].cast(pl.String).fill_null(ids)
    alone = bool((clusters == ids).all())
    unit, cluster, units = _alone(ids) if alone else _units(clusters, ids)
    return EncodedRows(cells, cell, unit, cluster, units, alone, frame.select(more))


def numbered(table: pl.DataFrame, names: Sequence[str]) -> tuple[pl.DataFrame, Numbers]:
    """The distinct values of these columns, in the order of their first appearance, and the number of each row."""
    import numpy as np

    if not names:
        return pl.DataFrame(height=min(table.height, 1)), np.zeros(table.height, dtype=np.int64)
    distinct = table.select(names).unique(maintain_order=True)
    numbering = distinct.with_row_index("row number")
    number = table.select(names).join(numbering, on=names, how="left", nulls_equal=True, maintain_order="left")
    return distinct, number["row number"].to_numpy().astype(np.int64)


def starts_of(keys: Numbers) -> Numbers:
    """Where each run of equal keys starts, in sorted keys."""
    import numpy as np

    if not keys.size:
        return np.empty(0, dtype=np.int64)
    return np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))


def lengths(starts: Numbers, end: int) -> Numbers:
    """How long each run is, where the last ends at `end`."""
    import numpy as np

    return np.diff(np.append(starts, end))


def distinct(keys: Numbers) -> Numbers:
    """The distinct keys, sorted."""
    import numpy as np

    # many of our keys come nearly sorted, which a stable sort makes use of
    keys = np.sort(keys, kind="stable")
    return keys[starts_of(keys)]


def sums(values: "NDArray[Any]", starts: Numbers) -> "NDArray[Any]":
    """The sum of each run of values."""
    import numpy as np

    if len(starts) == len(values):
        return values
    return np.add.reduceat(values, starts)


def in_order(keys: Numbers, values: Floats) -> Numbers:
    """The order that sorts by key; rows of one key by value, so that their sum does not hang on how they came."""
    import numpy as np

    order = np.argsort(keys, kind="stable")
    again = keys[order]
    if not np.any(again[1:] == again[:-1]) or np.array_equal(values, np.rint(values)):
        return order
    return np.lexsort((values, keys))


def _cells(table: pl.DataFrame) -> tuple[pl.DataFrame, Numbers]:
    """As `numbered`; where few rows differ from the one before, only those are looked at."""
    import numpy as np

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
    """The distinct values, and the number of each row's."""
    if values.dtype == pl.String and not values.null_count():
        distinct = values.unique().sort()
        return distinct, _index_in(values, distinct)
    table, number = numbered(values.to_frame(), [values.name])
    return table.to_series(), number


def _alone(ids: pl.Series) -> tuple[Numbers, Numbers, pl.DataFrame]:
    """As `_units`, where each instance is a cluster."""
    import numpy as np

    number, names = _index_texts(ids)
    return number, np.arange(len(names), dtype=np.int64), pl.DataFrame({"instance_id": names, "cluster": names})


def _units(clusters: pl.Series, ids: pl.Series) -> tuple[Numbers, Numbers, pl.DataFrame]:
    """Of each row the number of its instance; of each number the cluster's; and the names of both."""
    import numpy as np

    number, names = _index_texts(ids)
    # an id may stand in several clusters, in scenarios of their own
    many = max(len(names), 1)
    of_cluster, cluster_names = _index_texts(clusters)
    pairs, unit = np.unique(of_cluster * many + number, return_inverse=True)
    cluster, instance = np.divmod(pairs, many)
    named = pl.DataFrame({"instance_id": names[instance], "cluster": cluster_names[cluster]})
    return unit.astype(np.int64), cluster, named


def _index_texts(texts: pl.Series) -> tuple[Numbers, pl.Series]:
    """Of each text its place among the distinct ones, and those, sorted."""
    # rows of one instance stand together: where that is so, only the first of each run is looked up
    heads = texts.ne_missing(texts.shift())
    run = None
    if (heads.sum() or 0) <= len(texts) // 2:
        texts, run = texts.filter(heads), heads.cast(pl.Int64).cum_sum().to_numpy() - 1
    distinct = texts.unique().sort()
    index = _index_in(texts, distinct)
    return index if run is None else index[run], distinct


def _index_in(texts: pl.Series, distinct: pl.Series) -> Numbers:
    import numpy as np

    index: Numbers = texts.cast(pl.Enum(distinct)).to_physical().to_numpy().astype(np.int64)
    return index
