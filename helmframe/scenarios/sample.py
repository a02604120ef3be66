"""Which instances a sample takes, from their keys alone."""

from hashlib import blake2b

import polars as pl

from helmframe._core.specs import Sample
from helmframe.errors import ArgumentError

ORDERS = ("keyed", "first", "helm")


def draw(keys: pl.DataFrame, sample: Sample, scenario: str) -> pl.DataFrame:
    """The keys of the instances that the sample takes, at most `sample.n` per subset.

    Orders: "keyed" takes the instances whose keyed hash is smallest, so that neither their order nor the others matter;
    "first" the first by row_index; "helm" draws as HELM does.

    Args:
        keys: subset, row_index, instance_id; subsets together, row_index ascending within each.
        sample: how many per subset, drawn how.
        scenario: its name; goes into the keyed hash.

    Returns:
        subset, row_index and `place`, the order to ask in: by row_index, for "helm" as drawn.

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
    chosen = keys.group_by("subset", maintain_order=True).head(sample.n)
    return chosen.select("subset", "row_index").with_row_index("place")


def _smallest(keys: pl.DataFrame, sample: Sample, scenario: str) -> pl.DataFrame:
    # hashlib's hash: those of Polars and DuckDB may change from version to version
    start = blake2b(f"{sample.seed}\0{scenario}\0".encode(), digest_size=8)

    def hashed(instance_id: str) -> int:
        each = start.copy()
        each.update(instance_id.encode())
        return int.from_bytes(each.digest(), "big")

    order = pl.Series("order", [hashed(each) for each in keys["instance_id"]], dtype=pl.UInt64)
    rank = pl.col("order").rank("ordinal").over("subset")
    return keys.with_columns(order).filter(rank <= sample.n)


def _drawn_as_helm(keys: pl.DataFrame, n: int) -> pl.DataFrame:
    import numpy as np

    drawn = [
        subset[np.random.RandomState(0).choice(subset.height, n, replace=False)] if subset.height > n else subset
        for subset in keys.select("subset", "row_index").partition_by("subset", maintain_order=True)
    ]
    return pl.concat([keys.select("subset", "row_index").clear(), *drawn]).with_row_index("place")
