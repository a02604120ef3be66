"""HELM's own statistics as `HELM_STATS`, and back as HELM's JSON."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import polars as pl

from helmframe._schema import HELM_STATS
from helmframe.errors import SourceBrokenError
from helmframe.interop.helm.runs import RUN, Run
from helmframe.interop.helm.statistics import summed

_SUMS = ("count", "sum", "sum_squared", "min", "max")
Row: TypeAlias = dict[str, Any]


def row_of(stat: Mapping[str, Any], instance_id: str | None = None, trial: int | None = None) -> Row:
    """Return a row of `HELM_STATS` without the columns that are the same in a run."""
    name = stat["name"]
    perturbation = name.get("perturbation")
    return {
        "instance_id": instance_id,
        "trial": trial,
        "description": None if perturbation is None else json.dumps(perturbation, ensure_ascii=False),
        "split": name.get("split"),
        "sub_split": name.get("sub_split"),
        "metric": str(name["name"]),
        **{field: stat.get(field) for field in _SUMS},
    }


def frame_of(run: Run, stats: Iterable[Mapping[str, Any]], of_instances: pl.DataFrame) -> pl.DataFrame:
    """Return `HELM_STATS` of one run.

    Args:
        run: The run.
        stats: The elements of stats.json.
        of_instances: `rows_of` statistics of single instances.

    Raises:
        SourceBrokenError: An element of stats.json is not as HELM has it.
    """
    rows = []
    for number, stat in enumerate(stats):
        try:
            rows.append(row_of(stat))
        except (KeyError, TypeError, AttributeError) as error:
            problem = f"element {number} of stats.json is not as HELM has it: {type(error).__name__} {error}."
            raise SourceBrokenError(problem) from None
    columns = {name: pl.lit(getattr(run, name)) for name in RUN}
    return pl.concat([of_instances, rows_of(rows)]).with_columns(**columns).select(list(HELM_STATS.schema))


def rows_of(rows: Sequence[Row]) -> pl.DataFrame:
    """Return rows as a frame with the columns of `HELM_STATS` that differ within a run."""
    schema = {name: dtype for name, dtype in HELM_STATS.schema.items() if name not in RUN}
    return pl.DataFrame(rows, schema=schema, orient="row", strict=False)


def statistic_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the statistic of a row of `HELM_STATS` as HELM's JSON has it."""
    count, total, squared, low, high = (row[field] for field in _SUMS)
    return summed(row["metric"], row["split"], row["sub_split"], row["description"], (count, total, squared, low, high))
