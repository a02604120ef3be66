"""Calibration of stated probabilities: debiased calibration error, its null band, and the parts of the Brier score."""

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from helmframe._core.bins import binned, debiased_error, enough, equal_masses, plain_error
from helmframe._core.checks import is_integer
from helmframe.errors import ArgumentError, UnknownNameError
from helmframe.stats.bootstrap import MOST_GROUPS, REPLICATES, few_clusters, replicates
from helmframe.stats.encoded_rows import Floats, Numbers, starts_of
from helmframe.stats.frames import protect_columns
from helmframe.stats.intervals import SMALL_N

CALIBRATION = {
    "squared_calibration_error": pl.Float64(),
    "ci_low": pl.Float64(),
    "ci_high": pl.Float64(),
    "interval": pl.String(),
    "ece": pl.Float64(),
    "null_low": pl.Float64(),
    "null_high": pl.Float64(),
    "brier": pl.Float64(),
    "resolution": pl.Float64(),
    "uncertainty": pl.Float64(),
    "within": pl.Float64(),
    "bins": pl.Int64(),
    "n": pl.Int64(),
    "n_clusters": pl.Int64(),
}
# Up to this number of completions the null band samples each; beyond, the counts of its large bins are normal.
DRAWN = 10_000
_CHUNK = 4_000_000


@protect_columns("by")
def calibration(
    answers: pl.LazyFrame | pl.DataFrame,
    by: str | Sequence[str] = (),
    *,
    confidence: str = "confidence",
    right: str = "right",
    bins: int = 15,
    ci: float = 0.95,
) -> pl.DataFrame:
    """Measure the difference between confidence and accuracy, one row per group.

    A plain calibration error grows with fewer completions, for any model. The headline is therefore the debiased
    squared error, which is around 0 for a calibrated model at any n. The plain error is returned with
    its band under perfect calibration. Bins have the same number of completions, at least 30.

    >>> right = [1] * 40 + [0] * 10 + [1] * 30 + [0] * 20  # 80 % at confidence 0.9, 60 % at 0.6
    >>> table = calibration(pl.DataFrame({"confidence": [0.9] * 50 + [0.6] * 50, "right": right}))
    >>> table.select(pl.col("squared_calibration_error", "ece", "brier").round(3), "bins", "n").row(0)
    (0.001, 0.05, 0.205, 2, 100)

    Args:
        answers: One row per completion: `confidence`, `right`, and optionally cluster (or instance_id) for completions
            that were sampled together. Rows without confidence or without right are excluded.
        by: The columns whose values make a group.
        confidence: The column with the probability of being right, from 0 to 1. For options, it is the probability
            among the options.
        right: The column with the outcome: Boolean, or 0 and 1.
        bins: The maximum number of bins.
        ci: The level of the interval and of the band.

    Returns:
        `by`; squared_calibration_error (squared probability; also the reliability part of the Brier score) with its
        interval from 2,000 samples of clusters within fixed bins; ece, the plain error over the same bins; null_low and
        null_high, the range of ece for a calibrated model (2,000 consistency resamples); brier = squared calibration
        error − resolution + uncertainty + within (the variation inside bins); bins, n, n_clusters. The random numbers
        are keyed by the rows. The debiasing subtracts the variance of independent completions.

    Raises:
        ArgumentError: If a confidence isn't a probability, an outcome is neither 0 nor 1, or `bins` or `ci` is invalid.
        UnknownNameError: If a column is unknown.

    Source: Bröcker 2012 and Ferro & Fricker 2012 (debiased parts); Kumar, Liang & Ma 2019; Bröcker & Smith 2007 (band);
        Stephenson, Coelho & Jolliffe 2008 (within).
    """
    if not is_integer(bins) or bins < 1:
        raise ArgumentError(f"calibration(bins={bins!r}): bins must be an integer ≥ 1.")
    if not 0 < ci < 1:
        raise ArgumentError(f"ci={ci!r}: ci must be between 0 and 1, such as 0.95.")
    keys = [by] if isinstance(by, str) else list(by)
    columns = answers.lazy().collect_schema().names()
    for name in (*keys, confidence, right):
        if name not in columns:
            raise UnknownNameError.among("column", name, columns)
    clusters = [pl.col(name).cast(pl.String) for name in ("cluster", "instance_id") if name in columns]
    # without both columns, each completion is its own cluster
    none = pl.lit(None, dtype=pl.String)
    values = {"claimed": pl.col(confidence), "right": pl.col(right)}
    numbers = [value.cast(pl.Float64).fill_nan(None).alias(name) for name, value in values.items()]
    rows = (
        answers.lazy().select(*keys, *numbers, cluster=pl.coalesce(*clusters, none)).drop_nulls(list(values)).collect()
    )
    _check(rows, confidence, right)
    groups = rows.partition_by(keys, as_dict=True) if keys else {(): rows}
    table_rows = [
        {**dict(zip(keys, values, strict=True)), **_calibrate_group(group, bins, ci)}
        for values, group in groups.items()
        if group.height
    ]
    schema = {**{key: rows.schema[key] for key in keys}, **CALIBRATION}
    return pl.DataFrame(table_rows, schema=schema).sort(keys) if keys else pl.DataFrame(table_rows, schema=schema)


def _check(rows: pl.DataFrame, confidence: str, right: str) -> None:
    outside = rows["claimed"].filter(~rows["claimed"].is_between(0.0, 1.0))
    if len(outside):
        raise ArgumentError(
            f"calibration(confidence={confidence!r}): {outside[0]:g} isn't a probability between 0 and 1."
        )
    other = rows["right"].filter(~rows["right"].is_in([0.0, 1.0]))
    if len(other):
        raise ArgumentError(f"calibration(right={right!r}): {other[0]:g} is neither 0 nor 1.")


def _calibrate_group(group: pl.DataFrame, bins: int, ci: float) -> dict[str, object]:
    # sorted, so that sums don't depend on the row order
    answers = group.sort("claimed", "right", "cluster")
    confidences, right = answers["claimed"].to_numpy(), answers["right"].to_numpy()
    edges = equal_masses(confidences, enough(len(confidences), bins))
    sizes, claimed, accuracy = binned(confidences, right, edges)
    error, base = debiased_error(sizes, claimed, accuracy), float(right.mean())
    spread = base * (1 - base)
    # random variation of accuracies adds equally to reliability and to resolution
    noise = float((sizes * accuracy * (1 - accuracy) / np.maximum(sizes - 1, 1)).sum()) / len(confidences)
    unbiased = spread * len(confidences) / (len(confidences) - 1) if len(confidences) > 1 else float("nan")
    resolution = float(sizes @ (accuracy - base) ** 2) / len(confidences) - noise + (unbiased - spread)
    brier = float(((confidences - right) ** 2).mean())
    # the non-empty bins, in order
    bin_index = np.unique(np.searchsorted(edges, confidences), return_inverse=True)[1]
    names = answers["cluster"]
    alone = np.arange(len(confidences)) + names.n_unique()
    cluster = np.unique(names.rank("dense").cast(pl.Int64).fill_null(pl.Series(alone)).to_numpy(), return_inverse=True)[
        1
    ]
    low, high, method, n_clusters = _interval(cluster, confidences, right, bin_index, float(error), ci)
    null = _null_band(confidences, bin_index, ci)
    numbers = {
        "squared_calibration_error": float(error), "ci_low": low, "ci_high": high,
        "ece": plain_error(confidences, right, edges), "null_low": null[0], "null_high": null[1], "brier": brier,
        "resolution": resolution, "uncertainty": unbiased, "within": brier - float(error) + resolution - unbiased,
    }  # fmt: skip
    results = {name: None if value is None or np.isnan(value) else value for name, value in numbers.items()}
    fewer_bins = f", {len(sizes)} of {bins} bins" if len(sizes) < bins else ""
    small = ", n small" if len(confidences) < SMALL_N else ""
    interval = method if low is None else f"{method}{fewer_bins}{small}"
    return {**results, "interval": interval, "bins": len(sizes), "n": len(confidences), "n_clusters": n_clusters}


def _interval(
    cluster: Numbers, confidences: Floats, right: Floats, bin_index: Numbers, error: float, ci: float
) -> tuple[float | None, float | None, str, int]:
    """Return low, high, method and the number of clusters."""
    n_clusters, kinds = int(cluster.max()) + 1, int(bin_index.max()) + 1
    if n_clusters < 2:
        return None, None, "no interval: fewer than 2 clusters", n_clusters
    if np.isnan(error):
        return None, None, "no interval: no bin has 2 completions", n_clusters
    groups = min(n_clusters, MOST_GROUPS)
    if groups < n_clusters:
        # random groups of clusters bound the cost
        cluster = (_generator(confidences).permutation(n_clusters) % groups)[cluster]
    cell = cluster * kinds + bin_index
    sums = np.concatenate(
        [
            np.bincount(cell, values, groups * kinds).reshape(groups, kinds)
            for values in (np.ones(len(confidences)), confidences, right)
        ],
        axis=1,
    )

    def parts(samples: Floats) -> tuple[Floats, Floats, Floats]:
        sizes, claimed, hits = (samples[..., start : start + kinds] for start in (0, kinds, 2 * kinds))
        with np.errstate(divide="ignore", invalid="ignore"):
            return sizes, claimed / sizes, hits / sizes

    # samples vary around the plain square of the observed values, not around the debiased square
    sizes, claimed, accuracy = parts(sums.sum(axis=0))
    centre = float(np.nansum(sizes * (claimed - accuracy) ** 2) / sizes.sum())
    samples = replicates(sums, lambda values: debiased_error(*parts(values)))
    defined = samples[~np.isnan(samples)]
    if len(defined) < 0.95 * REPLICATES:
        return None, None, "no interval: undefined for some resamples", n_clusters
    low, high = np.quantile(defined, [(1 - ci) / 2, (1 + ci) / 2]) - centre
    return error + float(low), error + float(high), f"bootstrap ({REPLICATES:,}){few_clusters(n_clusters)}", n_clusters


def _null_band(confidences: Floats, bin_index: Numbers, ci: float) -> tuple[float, float]:
    """Return the band of the plain error if each completion is right with the probability it claims."""
    generator = _generator(confidences)
    claimed = np.bincount(bin_index, confidences)
    if len(confidences) > DRAWN:
        variance = np.bincount(bin_index, confidences * (1 - confidences))
        hits = claimed + generator.standard_normal((REPLICATES, len(claimed))) * np.sqrt(variance)
    else:
        hits = np.concatenate(list(_right_counts(confidences, starts_of(bin_index), generator)))
    errors = np.abs(hits - claimed).sum(axis=1) / len(confidences)
    low, high = np.quantile(errors, [(1 - ci) / 2, (1 + ci) / 2])
    return float(low), float(high)


def _generator(confidences: Floats) -> "np.random.Generator":
    """Return a random generator keyed by the sorted confidences."""
    key = hashlib.sha256(confidences.astype("<f8").tobytes()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(key[:16], "little")))


def _right_counts(confidences: Floats, starts: Numbers, generator: "np.random.Generator") -> Iterator[Floats]:
    """Yield the number of right completions per bin, a batch of resamples at a time."""
    at_once = max(1, _CHUNK // len(confidences))
    for start in range(0, REPLICATES, at_once):
        count = min(at_once, REPLICATES - start)
        right = (generator.random((count, len(confidences))) < confidences).astype(np.float64)
        yield np.add.reduceat(right, starts, axis=1)
