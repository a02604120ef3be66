"""What instances are drawn from when only some are asked: how many, in which seeded order, and how each weighs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from helmframe._core.expressions import key_of
from helmframe.stats.sequential import SampledPopulation, confidence_sequence

UNIT = ("subset", "cluster")
# The heaviest a mean over subsets makes a cluster, for the names of columns here.
_WEIGHT = "weight"


@dataclass(frozen=True)
class Population:
    """The instances of one scenario and split. Whole clusters are drawn, in an order that only names and seed decide.

    `subsets`: instances of each subset; `clusters`: their number; `largest`: the weight of the heaviest cluster,
    where an instance of a subset as large as the mean one weighs 1; `mean`: "macro", subsets weigh alike, or "micro".
    """

    scenario: str
    split: str
    seed: int
    mean: str
    subsets: Mapping[str, int]
    clusters: int
    largest: float

    @classmethod
    def of(cls, instances: pl.DataFrame, scenario: str, split: str, *, seed: int, mean: str) -> "Population":
        """The population that these instances are: subset, cluster, instance_id."""
        subsets = dict(instances.group_by("subset").len().sort("subset").iter_rows())
        sizes = instances.group_by(UNIT).len("n")
        unweighted = cls(scenario, split, seed, mean, subsets, sizes.height, 0.0)
        largest = sizes.select((pl.col("n") * unweighted.weight).max()).item()
        return cls(scenario, split, seed, mean, subsets, sizes.height, float(largest or 0.0))

    @property
    def instances(self) -> int:
        """How many there are in all."""
        return sum(self.subsets.values())

    @property
    def weight(self) -> pl.Expr:
        """What an instance of the row's `subset` weighs in the mean; all of them together as many as there are."""
        if self.mean == "micro" or len(set(self.subsets.values())) < 2:
            return pl.lit(1.0)
        alike = self.instances / len(self.subsets)
        return pl.col("subset").replace_strict(
            {subset: alike / n for subset, n in self.subsets.items()}, return_dtype=pl.Float64
        )

    @property
    def order_key(self) -> pl.Expr:
        """A number for the row's cluster: the order of these numbers is that in which clusters are drawn."""
        return key_of(f"until\0{self.seed}\0{self.scenario}\0{self.split}\0", *map(pl.col, UNIT))

    def to_dict(self) -> dict[str, Any]:
        """As a manifest keeps it: `Population(**about)` is the same."""
        return asdict(self)


def instance_means(scores: pl.LazyFrame, by: Sequence[str], bounds: tuple[float, float]) -> pl.LazyFrame:
    """Per instance the mean over its outputs, trials and seeds.

    Args:
        scores: `SCORES`.
        by: what tells the rows apart, besides.
        bounds: least and greatest score there can be.

    Returns:
        `by`, subset, cluster, instance_id, value (null where a request failed), low and high (those between which it
        is, as a failed one may have been anything), once (whether it is one score).
    """
    score = pl.col("score")
    cluster = pl.col("cluster").fill_null(pl.col("instance_id"))
    return (
        scores.with_columns(cluster=cluster)
        .group_by([*by, *UNIT, "instance_id"])
        .agg(
            value=pl.when(score.null_count() == 0).then(score.mean()),
            low=score.fill_null(bounds[0]).mean(),
            high=score.fill_null(bounds[1]).mean(),
            once=pl.len() == 1,
        )
    )


def differences(a: pl.DataFrame, b: pl.DataFrame, on: Sequence[str] = ()) -> pl.DataFrame:
    """A − b of the `instance_means` that both have; `on` is what tells their rows apart, besides."""
    keys = [*on, *UNIT, "instance_id"]
    return a.join(b, on=keys, suffix=" of b", validate="1:1").select(
        *keys,
        value=pl.col("value") - pl.col("value of b"),
        low=pl.col("low") - pl.col("high of b"),
        high=pl.col("high") - pl.col("low of b"),
        once=pl.lit(value=False),
    )


def cluster_means(instances: pl.LazyFrame, by: Sequence[str], population: Population) -> pl.LazyFrame:
    """Per cluster the means of `instance_means`, what it weighs, n (its instances), and its place."""
    return (
        instances.group_by([*by, *UNIT])
        .agg(pl.col("value", "low", "high").mean(), pl.col("once").all(), n=pl.len().cast(pl.Int64))
        .with_columns((pl.col("n") * population.weight).alias(_WEIGHT), place=population.order_key)
    )


def interval_of(
    clusters: pl.DataFrame, population: Population, bounds: tuple[float, float], *, binary: bool, ci: float
) -> dict[str, Any]:
    """The interval of the mean over the population after these clusters, the first in its order.

    Args:
        clusters: as `cluster_means` gives them, of one group.
        population: what they are drawn from.
        bounds: least and greatest score there can be.
        binary: whether every score, seen or not, is one of the bounds.
        ci: level at which the intervals of all looks hold together.

    Returns:
        asked and of (instances), value, ci_low, ci_high, interval.
    """
    rows = clusters.sort("place", *UNIT)
    n_requested = int(rows["n"].sum())
    if not n_requested:
        return {"asked": 0, "of": population.instances, "value": None, "ci_low": None, "ci_high": None,
                "interval": "no interval: nothing was asked"}  # fmt: skip
    drawn = SampledPopulation(population.clusters, float(population.instances), population.largest)
    alone = population.clusters == population.instances and drawn.largest == 1
    binary = binary and alone and bool(rows["once"].all())
    weights = rows[_WEIGHT].to_numpy()
    sides = [rows["low"]] if rows["low"].equals(rows["high"]) else [rows["low"], rows["high"]]
    ends = [
        confidence_sequence(side.to_numpy(), weights, drawn, binary=binary, bounds=bounds, ci=ci).row(-1, named=True)
        for side in sides
    ]
    value = pl.col("value")
    weight = pl.when(value.is_not_null()).then(_WEIGHT)
    return {
        "asked": n_requested,
        "of": population.instances,
        "value": rows.select((value * weight).sum() / weight.sum()).item() if rows["value"].count() else None,
        "ci_low": ends[0]["ci_low"],
        "ci_high": ends[-1]["ci_high"],
        "interval": ends[0]["interval"],
    }
