"""Confidence sequences: intervals that are valid at every look.

They are about the population that the instances stand for, or about the mean of a finite set of instances.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from helmframe._core.expressions import key_of
from helmframe.errors import ArgumentError
from helmframe.stats.encoded_rows import Flags, Floats, Numbers

# The number of candidate means to bet against, and the shares of the largest possible bet.
CANDIDATES = 500
STAKES = (0.9, 0.64, 0.45, 0.32, 0.16, 0.08, 0.04, 0.02)


def sequential(
    scores: "pl.Series | Sequence[float] | Floats",
    population: int | None = None,
    *,
    sizes: "Sequence[float] | Floats | None" = None,
    binary: bool = False,
    bounds: tuple[float, float] = (0.0, 1.0),
    ci: float = 0.95,
) -> pl.DataFrame:
    """Return the interval of the mean after each score; all intervals are valid at once.

    The scores may therefore be monitored, and the run stopped at any time, for any reason: in a share `ci` of all runs,
    no interval of the sequence misses the mean. Each interval is within the previous ones, unless these exclude the
    current mean.

    By default, the mean is that of the population that the instances are sampled from, as for every other interval.

    >>> sequential([1, 1, 0, 1], binary=True).select("n_run", pl.col("ci_low", "ci_high").round(2)).tail(1).rows()
    [(4, 0.14, 1.0)]

    With `population`, the mean is that of a finite set, such as the instances of one benchmark. It is known once all of
    them have run:

    >>> sequential([1, 1, 0, 1], 4, binary=True).select("n_run", "ci_low", "ci_high").tail(2).rows()
    [(3, 0.5, 0.75), (4, 0.75, 0.75)]

    If whole clusters are sampled, each score is the mean of a cluster, and `sizes` has their numbers of instances:

    >>> sequential([1.0, 0.5], 3, sizes=[2, 4, 2]).select("n_run", "value", "ci_low", "ci_high").row(-1)
    (2, 0.6666666666666666, 0.5, 0.75)

    Args:
        scores: The scores in the order of sampling, which is random and independent of the scores.
        population: The number of instances (or clusters) of a finite set; None: an unlimited population.
        sizes: The weight of every instance in the mean, in sampling order; default equal weights. For an unlimited
            population, at least the weights of the scores; the largest one bounds all weights.
        binary: Whether each score, seen or not, is one of the bounds; the seen scores cannot show this. The interval
            then has a closed form and is slightly narrower.
        bounds: The smallest and largest possible score: (−1, 1) for differences of fractions.
        ci: The share of runs in which every interval covers the mean.

    Returns:
        n_run, value (the mean so far), ci_low, ci_high, interval (its method); one row per score.

    Raises:
        ArgumentError: If a score is unknown or out of bounds, a bound is infinite (as for perplexity), there are more
            scores than the population, or `sizes` are not positive or too few.

    Source: Waudby-Smith & Ramdas 2020, NeurIPS, "Confidence sequences for sampling without replacement"
        (prior–posterior ratio, uniform beta-binomial prior; without a finite population, the mixture of Robbins 1970);
        the same 2024, JRSS-B 86:1, arXiv 2010.09686 (betting, hedged, the capital spread over a grid of bets).
    """
    least, most = bounds
    if not (np.isfinite(least) and np.isfinite(most) and least < most):
        raise ArgumentError(
            f"sequential(bounds={bounds!r}): bounds must be two finite numbers, the smallest and the largest possible "
            "score. A metric without bounds, such as perplexity, has no such interval."
        )
    if not 0 < ci < 1:
        raise ArgumentError(f"ci={ci!r}: ci must be between 0 and 1, such as 0.95.")
    values = np.asarray(pl.Series(scores, dtype=pl.Float64, strict=False).fill_null(np.nan), dtype=np.float64)
    if population is not None and len(values) > population:
        raise ArgumentError(
            f"sequential(population={population}): population must be at least the number of scores, {len(values)}."
        )
    if not np.all((values >= least) & (values <= most)):
        raise ArgumentError(
            f"sequential(): each score must be between {least:g} and {most:g}, and none may be null. Write other "
            "bounds=(…, …)."
        )
    if binary and not np.all((values == least) | (values == most)):
        raise ArgumentError(f"sequential(binary=True): each score must be {least:g} or {most:g}. Write binary=False.")
    units = len(values) if population is None else population
    weight = np.ones(units) if sizes is None else np.asarray(sizes, dtype=np.float64)
    right_number = len(weight) >= units if population is None else len(weight) == units
    if not right_number or not np.all((weight > 0) & np.isfinite(weight)):
        raise ArgumentError(
            f"sequential(sizes=…): sizes must be {units} positive numbers, one for each unit of the population."
            if population is not None
            else f"sequential(sizes=…): sizes must be at least {units} positive numbers, one for each score."
        )
    sampled = SampledPopulation(units, float(weight.sum()), float(weight.max(initial=0.0)), population is not None)
    alike = bool(np.all(weight == sampled.largest))
    return confidence_sequence(values, weight[: len(values)], sampled, binary=binary and alike, bounds=bounds, ci=ci)


class SampledPopulation(NamedTuple):
    """The units sampled from: their number, total weight and largest weight.

    `finite` is whether the mean is that of these units. Otherwise they are themselves a sample.
    """

    units: int
    size: float
    largest: float
    finite: bool = True


def confidence_sequence(
    values: Floats, sizes: Floats, sampled: SampledPopulation, *, binary: bool, bounds: tuple[float, float], ci: float
) -> pl.DataFrame:
    """Return `sequential` of checked scores; `sizes` has only the sizes of these scores, all equal if `binary`."""
    least, most = bounds
    seen = (values - least) / (most - least)
    if not binary:
        ends = _betting_ends(seen, sizes, sampled, 1 - ci)
    elif sampled.finite:
        ends = _posterior_ratio_ends(seen, sampled.units, 1 - ci)
    else:
        ends = _mixture_ends(seen, 1 - ci)
    so_far = np.cumsum(seen * sizes) / np.cumsum(sizes)
    low, high = (least + (most - least) * end for end in _narrow(*ends, so_far))
    method = f"{'prior–posterior ratio' if binary else 'betting'} (anytime{f', {OWN_INSTANCES}' * sampled.finite})"
    return pl.DataFrame({
        "n_run": np.arange(1, len(values) + 1),
        "value": least + (most - least) * so_far,
        "ci_low": low,
        "ci_high": high,
    }).with_columns(interval=pl.lit(method))  # fmt: skip


def _narrow(low: Floats, high: Floats, value: Floats) -> tuple[Floats, Floats]:
    """Cut each interval by the previous ones, unless these exclude the current mean (one of them has missed)."""
    lows, highs = np.maximum.accumulate(low), np.minimum.accumulate(high)
    misses = (lows > value) | (value > highs)
    return np.where(misses, low, lows), np.where(misses, high, highs)


def _posterior_ratio_ends(seen: Floats, population: int, alpha: float) -> tuple[Floats, Floats]:
    """Return the range of totals of ones whose prior is less than 1/α times their posterior, over the population.

    With K ones among N, s ones in a sample of t have the hypergeometric probability C(K,s)·C(N−K,t−s)/C(N,t). Under a
    uniform prior of K the probability is 1/(t+1). The first is concave in K (in logarithms), so bisection finds both
    ends.
    """
    from scipy.special import gammaln

    factorials = gammaln(np.arange(population + 2, dtype=np.float64) + 1)
    t = np.arange(1, len(seen) + 1)
    s = np.rint(np.cumsum(seen)).astype(np.int64)
    # ln 1/α without the terms that are independent of K
    needed = np.log(alpha) - np.log(t + 1.0) + (factorials[population] - factorials[t] - factorials[population - t])
    needed += factorials[s] + factorials[t - s]

    def holds(n_ones: Numbers) -> Flags:
        chance = factorials[n_ones] - factorials[n_ones - s]
        zeros = population - n_ones
        covered: Flags = chance + factorials[zeros] - factorials[zeros - (t - s)] > needed
        return covered

    least, most = s, population - t + s
    likeliest = np.clip(s * (population + 1) // t, least, most)
    low = _outermost(holds, least, likeliest)
    high = _outermost(holds, most, likeliest)
    return low / population, high / population


def _mixture_ends(seen: Floats, alpha: float) -> tuple[Floats, Floats]:
    """Return the range of probabilities whose likelihood is more than α times that under a uniform prior.

    s ones in a sample of t have the likelihood p^s·(1−p)^(t−s), and s!(t−s)!/(t+1)! under the prior. The first is
    concave in p (in logarithms), so bisection finds both ends.
    """
    from scipy.special import betaln, xlogy

    t = np.arange(1, len(seen) + 1, dtype=np.float64)
    s = np.rint(np.cumsum(seen))
    needed = np.log(alpha) + betaln(s + 1, t - s + 1)
    ends = []
    for limit in (0.0, 1.0):
        inner, outer = s / t, np.full_like(t, limit)
        for _ in range(50):
            middle = (inner + outer) / 2
            inside = xlogy(s, middle) + xlogy(t - s, 1 - middle) > needed
            inner, outer = np.where(inside, middle, inner), np.where(inside, outer, middle)
        ends.append(outer)
    return ends[0], ends[1]


def _outermost(holds: Callable[[Numbers], Flags], outer: Numbers, inner: Numbers) -> Numbers:
    """Return the outermost integer from outer to inner for which `holds` is true."""
    inner = np.where(holds(outer), outer, inner)
    while np.any(np.abs(inner - outer) > 1):
        middle = (inner + outer) // 2
        inside = holds(middle)
        inner, outer = np.where(inside, middle, inner), np.where(inside, outer, middle)
    return inner


def _betting_ends(seen: Floats, sizes: Floats, sampled: SampledPopulation, alpha: float) -> tuple[Floats, Floats]:
    """Return the means against which no capital of 2/α could be won, after each score.

    If the mean were m, the sum of the unseen scores would be known (N·m − the sum seen), and bets that the next one is
    above (or below) their average would be fair: the capital would reach 2/α in at most α/2 of orders. A share g of the
    largest possible bet turns 1 into 1 + g(x/m' − 1). This falls with m, so all m below a rejected one are rejected
    too, and the end is the last rejected candidate.

    For unequal sizes, x is the excess of a cluster's sum over the usual sum of a cluster of its size so far. Otherwise
    the bets would be on the sizes, which are known. x is shifted and scaled to be between 0 and 1.

    For an unlimited population, m' is m itself, and a bet is smaller by the cluster's share of the largest size.
    """
    candidates = np.linspace(0, 1, CANDIDATES + 1)
    stakes = np.array(STAKES)[:, None]
    above, below = (np.ones((len(STAKES), len(candidates))) for _ in range(2))
    # the candidates from start to end are not rejected
    start, end = 0, len(candidates)
    low, high = np.zeros(len(seen)), np.ones(len(seen))
    limit = 2 / alpha * len(STAKES)
    total, weight = 0.0, 0.0
    for index, (score, size) in enumerate(zip(seen, sizes, strict=True)):
        if sampled.finite:
            n_left = sampled.units - index
            usual = (total + sampled.largest / 2) / (weight + sampled.largest)
            rest = (sampled.size * candidates[start:end] - total - usual * (sampled.size - weight)) / n_left
            mean = rest / sampled.largest + usual
            excess = (score - usual) * size / sampled.largest + usual
        else:
            mean = candidates[start:end]
            excess = mean + (score - mean) * size / sampled.largest
        # no bets on values that rounding may have moved over an edge
        inside = (mean > 1e-9) & (mean < 1 - 1e-9)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            above *= 1 + stakes * np.where(inside, excess / mean - 1, 0.0)
            below *= 1 + stakes * np.where(inside, (1 - excess) / (1 - mean) - 1, 0.0)
            lost_above = np.flatnonzero(above.sum(axis=0) >= limit)
            lost_below = np.flatnonzero(below.sum(axis=0) >= limit)
        first = int(lost_above.max(initial=-1)) + 1
        last = max(int(lost_below.min(initial=len(mean))), first)
        above, below = above[:, first:last], below[:, first:last]
        start, end = start + first, start + last
        total, weight = total + score * size, weight + size
        ends = candidates[max(start - 1, 0)], candidates[min(end, CANDIDATES)]
        # the mean of the unseen scores is between 0 and 1 too
        bounds = (total, total + sampled.size - weight) if sampled.finite else (0.0, sampled.size)
        low[index], high[index] = np.clip(ends, bounds[0] / sampled.size, bounds[1] / sampled.size)
    return low, high


UNIT = ("subset", "cluster")
# The column with the weight of a cluster.
_WEIGHT = "weight"


@dataclass(frozen=True)
class Population:
    """The instances of one scenario and split. Whole clusters are sampled, in an order set by names and seed.

    `subsets` has the number of instances of each subset, `clusters` the number of clusters. `largest` is the weight of
    the heaviest cluster, where an instance of a subset of mean size weighs 1. `mean` is "macro" (equal weights of
    subsets) or "micro".
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
        """Return the population of these instances: subset, cluster, instance_id."""
        subsets = dict(instances.group_by("subset").len().sort("subset").iter_rows())
        sizes = instances.group_by(UNIT).len("n")
        unweighted = cls(scenario, split, seed, mean, subsets, sizes.height, 0.0)
        largest = sizes.select((pl.col("n") * unweighted.weight).max()).item()
        return cls(scenario, split, seed, mean, subsets, sizes.height, float(largest or 0.0))

    @property
    def instances(self) -> int:
        """Return the number of instances."""
        return sum(self.subsets.values())

    @property
    def weight(self) -> pl.Expr:
        """Return the weight of an instance of the row's `subset` in the mean; the weights sum to their number."""
        if self.mean == "micro" or len(set(self.subsets.values())) < 2:
            return pl.lit(1.0)
        alike = self.instances / len(self.subsets)
        return pl.col("subset").replace_strict(
            {subset: alike / n for subset, n in self.subsets.items()}, return_dtype=pl.Float64
        )

    @property
    def order_key(self) -> pl.Expr:
        """Return a number for the row's cluster, by which clusters are sampled in ascending order."""
        return key_of(f"until\0{self.seed}\0{self.scenario}\0{self.split}\0", *map(pl.col, UNIT))

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a manifest stores them: `Population(**fields)` is equal."""
        return asdict(self)


def instance_means(scores: pl.LazyFrame, by: Sequence[str], bounds: tuple[float, float]) -> pl.LazyFrame:
    """Return per instance the mean over its outputs, trials and seeds.

    Args:
        scores: `SCORES`.
        by: The columns that identify the rows, besides the instance.
        bounds: The smallest and largest possible score.

    Returns:
        `by`, subset, cluster, instance_id, value (null if a request failed), low and high (its range, as a failed
        request could have any score), once (whether it is a single score).
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
    """Return a − b of the `instance_means` that both have, matched by `on` too."""
    keys = [*on, *UNIT, "instance_id"]
    return a.join(b, on=keys, suffix=" of b", validate="1:1").select(
        *keys,
        value=pl.col("value") - pl.col("value of b"),
        low=pl.col("low") - pl.col("high of b"),
        high=pl.col("high") - pl.col("low of b"),
        once=pl.lit(value=False),
    )


def cluster_means(instances: pl.LazyFrame, by: Sequence[str], population: Population) -> pl.LazyFrame:
    """Return per cluster the means of `instance_means`, its weight, n (its instances), and its order key."""
    return (
        instances.group_by([*by, *UNIT])
        .agg(pl.col("value", "low", "high").mean(), pl.col("once").all(), n=pl.len().cast(pl.Int64))
        .with_columns((pl.col("n") * population.weight).alias(_WEIGHT), place=population.order_key)
    )


# The populations that a mean may be about: that of the instances, or the instances of this benchmark alone.
POPULATIONS = ("population", "benchmark")
# The mark of intervals that are about the instances of this benchmark alone.
OWN_INSTANCES = "this benchmark only"


def interval_of(
    clusters: pl.DataFrame,
    population: Population,
    bounds: tuple[float, float],
    *,
    binary: bool,
    ci: float,
    finite: bool = False,
) -> dict[str, Any]:
    """Return the interval of the mean after these clusters, the first in the order of the population.

    Args:
        clusters: The result of `cluster_means`, of one group.
        population: The population that they are sampled from.
        bounds: The smallest and largest possible score.
        binary: Whether every score, seen or not, is one of the bounds.
        ci: The simultaneous level of the intervals of all looks.
        finite: Whether the mean is that of these instances alone, not that of the population they are sampled from.

    Returns:
        n_run and n_total (instances), value, ci_low, ci_high, interval.
    """
    rows = clusters.sort("place", *UNIT)
    n_requested = int(rows["n"].sum())
    if not n_requested:
        return {"n_run": 0, "n_total": population.instances, "value": None, "ci_low": None, "ci_high": None,
                "interval": "no interval: no instance was run"}  # fmt: skip
    sampled = SampledPopulation(population.clusters, float(population.instances), population.largest, finite)
    alone = population.clusters == population.instances and sampled.largest == 1
    binary = binary and alone and bool(rows["once"].all())
    weights = rows[_WEIGHT].to_numpy()
    sides = [rows["low"]] if rows["low"].equals(rows["high"]) else [rows["low"], rows["high"]]
    ends = [
        confidence_sequence(side.to_numpy(), weights, sampled, binary=binary, bounds=bounds, ci=ci).row(-1, named=True)
        for side in sides
    ]
    value = pl.col("value")
    weight = pl.when(value.is_not_null()).then(_WEIGHT)
    return {
        "n_run": n_requested,
        "n_total": population.instances,
        "value": rows.select((value * weight).sum() / weight.sum()).item() if rows["value"].count() else None,
        "ci_low": ends[0]["ci_low"],
        "ci_high": ends[-1]["ci_high"],
        "interval": ends[0]["interval"],
    }
