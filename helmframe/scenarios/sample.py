"""Which instances a sample takes, from their keys alone."""

from hashlib import blake2b

import polars as pl

from helmframe._core.specs import Sample
from helmframe.errors import ArgumentError

ORDERS = ("keyed", "first", "helm")


def draw(keys: pl.DataFrame, sample: Sample, scenario: str) -> pl.DataFrame:
    """The keys of the instances that the sample takes, at most `sample.n` per part.

    Orders: "keyed" takes the instances whose keyed hash is smallest, so that neither their order nor the others matter;
    "first" the first by row_index; "helm" draws as HELM does.

    Args:
        keys: part, row_index, instance_id; parts together, row_index ascending within each.
        sample: how many per part, drawn how.
        scenario: its name; goes into the keyed hash.

    Returns:
        part, row_index and `place`, the order to ask in: by row_index, for "helm" as drawn.

    Raises:
        ArgumentError: no such order, or a negative n.

    Source: helm/benchmark/runner.py `downsample_eval_instances`, for "helm".
    """
    if sample.order not in ORDERS:
        raise ArgumentError.unknown_value(f"sample(order={sample.order!r}) is no order", sample.order, ORDERS)
    if sample.n < 0:
        raise ArgumentError(f"sample(n={sample.n}): n should be 0 or more.")
    if sample.order == "helm":
        return _drawn_as_helm(keys, sample.n)
    if sample.order == "keyed":
        keys = _smallest(keys, sample, scenario)
    chosen = keys.group_by("part", maintain_order=True).head(sample.n)
    return chosen.select("part", "row_index").with_row_index("place")


def _smallest(keys: pl.DataFrame, sample: Sample, scenario: str) -> pl.DataFrame:
    # hashlib's hash: those of Polars and DuckDB may change from version to version
    start = blake2b(f"{sample.seed}\0{scenario}\0".encode(), digest_size=8)

    def hashed(instance_id: str) -> int:
        each = start.copy()
        each.update(instance_id.encode())
        return int.from_bytes(each.digest(), "big")

    order = pl.Series("order", [hashed(each) for each in keys["instance_id"]], dtype=pl.UInt64)
    rank = pl.col("order").rank("ordinal").over("part")
    return keys.with_columns(order).filter(rank <= sample.n)


def _drawn_as_helm(keys: pl.DataFrame, n: int) -> pl.DataFrame:
    import numpy as np

    drawn = [
        part[np.random.RandomState(0).choice(part.height, n, replace=False)] if part.height > n else part
        for part in keys.select("part", "row_index").partition_by("part", maintain_order=True)
    ]
    return pl.concat([keys.select("part", "row_index").clear(), *drawn]).with_row_index("place")
