"""Prediction-powered inference: estimates of mean labels from the scores of a judge and the labels of a sample."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from helmframe.errors import ArgumentError
from helmframe.stats.encoded_rows import INSTANCE, STRATUM, Flags, Floats, Numbers, merge_names
from helmframe.stats.estimate import group_keys
from helmframe.stats.frames import protect_columns
from helmframe.stats.intervals import FEW_CLUSTERS, t_interval, unanimous, wilson

CORRECTED = {
    "value": pl.Float64(),
    "stderr": pl.Float64(),
    "ci_low": pl.Float64(),
    "ci_high": pl.Float64(),
    "interval": pl.String(),
    "judged": pl.Float64(),
    "labelled": pl.Float64(),
    "labelled_low": pl.Float64(),
    "labelled_high": pl.Float64(),
    "bias": pl.Float64(),
    "bias_low": pl.Float64(),
    "bias_high": pl.Float64(),
    "trust": pl.Float64(),
    "n": pl.Int64(),
    "n_labelled": pl.Int64(),
    "n_clusters": pl.Int64(),
}


@protect_columns("by")
def prediction_powered(
    rows: pl.DataFrame | pl.LazyFrame,
    by: Sequence[str] = (),
    *,
    ci: float = 0.95,
    mean: str = "macro",
    tuned: bool = True,
    fraction: bool = False,
) -> pl.DataFrame:
    """Estimate the mean label of all rows, from the judge's scores of all rows and the labels of some.

    θ = ȳ + λ(F − f̄): the mean label, moved by the difference between the judge's means of all and of the labelled
    rows. The judge's bias cancels out, and a better judge makes the interval narrower. λ of a row is chosen from the
    other clusters (leave one out), because a λ chosen from the row itself biases the mean if labels are few. Labels are
    assumed to be a random sample of all rows.

    >>> rows = pl.DataFrame({"instance_id": list("abcdefgh"), "judged": [1, 1, 1, 0, 1, 1, 0, 1],
    ...                      "label": [1, 1, 0, 0, None, None, None, None]})
    >>> rows = rows.with_columns(scenario=pl.lit("s"), subset=pl.lit(""), cluster="instance_id")
    >>> table = prediction_powered(rows, tuned=False, fraction=True)
    >>> table.select(pl.col("value", "ci_low", "ci_high").round(3), "judged", "labelled", "n_labelled").row(0)
    (0.5, 0.043, 0.957, 0.75, 0.5, 4)

    Args:
        rows: One row per completion: scenario, subset, cluster, instance_id, `by`, `judged` (rows without are excluded)
            and `label` (null if unlabelled).
        by: The columns whose values make a group.
        ci: The level of the intervals.
        mean: The mean over subsets: "macro" or "micro", as in `aggregate`. Instances have equal weights.
        tuned: Whether λ is chosen, from 0 to 1, for the narrowest interval; else it is 1.
        fraction: Whether labels are in [0, 1]. If so, values and intervals stay there. If all labels are 0 or 1, the
            interval is Wilson's at the effective number of labels, with room for errors of the judge that the labels
            don't show (one more in each direction).

    Returns:
        `by`, value, stderr, ci_low, ci_high, interval; judged (the judge's mean, uncorrected), labelled (the mean of
        the labels, with its interval), bias (judge − label over labelled rows, with its interval), trust (λ), n,
        n_labelled, n_clusters (of labelled rows). There is no
        interval with fewer than 3 labelled clusters (2 if λ is 1).

    Raises:
        ArgumentError: If no row has both a score and a label, or `mean` is invalid.

    Source: Angelopoulos, Bates, Fannjiang, Jordan & Zrnic 2023, Science 382:669; for λ Angelopoulos, Duchi & Zrnic 2023
        (arXiv 2311.01453), with λ fitted as in Zrnic & Candès 2024, PNAS 121:e2322083121; as the difference estimator,
        Särndal, Swensson & Wretman 1992 §6.3; Bonett & Price 2012, J. Educ. Behav. Stat. 37:479 (unseen errors).
    """
    if mean not in ("macro", "micro"):
        raise ArgumentError(
            f"mean={mean!r}: mean must be 'macro' (equal weight per subset) or 'micro' (weight by size)."
        )
    keys = group_keys(rows, by, ())
    frame = (
        rows.lazy()
        .filter(pl.col("judged").is_not_null())
        .with_columns(
            pl.col("judged", "label").cast(pl.Float64), cluster=pl.coalesce("cluster", "instance_id")
        )
        .sort(*merge_names(keys, INSTANCE), "judged", "label")
        .collect()
    )  # fmt: skip
    if frame["label"].count() == 0:
        raise ArgumentError(
            "No judged row has a label. Labels must have the instance_id (and model, …) of judged completions."
        )
    groups = frame.partition_by(keys, as_dict=True, maintain_order=True) if keys else {(): frame}
    table_rows = [
        {**dict(zip(keys, group, strict=True)), **_correct_group(group_rows, ci, mean, tuned, fraction)}
        for group, group_rows in groups.items()
    ]
    return pl.DataFrame(table_rows, schema={**{name: frame.schema[name] for name in keys}, **CORRECTED})


def _correct_group(rows: pl.DataFrame, ci: float, mean: str, tuned: bool, fraction: bool) -> dict[str, object]:
    rows = _with_weights(rows, mean)
    w, f = rows["weight"].to_numpy(), rows["judged"].to_numpy()
    labelled = rows["label"].is_not_null().to_numpy()
    y, label_weight = rows["label"].fill_null(0.0).to_numpy(), np.where(labelled, w, 0.0)
    label_weight = label_weight / label_weight.sum() if labelled.any() else label_weight
    # a cluster in several subsets is one cluster
    cluster = rows.select(pl.struct("scenario", "cluster").rank("dense") - 1).to_series().to_numpy()
    subset = rows.select(pl.struct(STRATUM).rank("dense") - 1).to_series().to_numpy()
    within = np.bincount(subset, w * f) / np.bincount(subset, w)
    # the contributions of each cluster to the judge's mean (subsets are fixed) and to the labelled means
    of_all = _cluster_residuals(cluster, w * (f - within[subset]), np.ones(len(w), dtype=bool))
    means = {"y": float(label_weight @ y), "f": float(label_weight @ f)}
    of_y = _cluster_residuals(cluster, label_weight * (y - means["y"]), labelled)
    of_f = _cluster_residuals(cluster, label_weight * (f - means["f"]), labelled)
    all_judged, count = float(w @ f), len(np.unique(cluster[labelled]))
    shift = of_f - of_all
    trust = _trust(of_y, shift) if tuned else 1.0
    trusts = _trusts_without(of_y, shift, count) if tuned and count > 2 else np.full(len(of_y), trust)
    # the judge's mean over the labelled rows of each cluster, less that over all rows
    excess = np.bincount(cluster, label_weight * (f - all_judged), minlength=len(of_y))
    value = means["y"] - float(trusts @ excess) if labelled.any() else None
    spread = of_y - trusts * shift
    variance, df = float(spread @ spread), count - 1 - (1 if tuned else 0)
    error = of_f - of_y
    least = 0.0 if fraction else None
    is_binary = fraction and bool(np.isin(y[labelled], (0.0, 1.0)).all())
    if value is not None and fraction:
        value = min(max(value, 0.0), 1.0)
    low: float | None
    high: float | None
    if is_binary and value is not None and df >= 1 and variance > _NO_SPREAD:
        unseen = 2 * trust**2 / (count + 2) ** 2
        low, high = _wilson_ends(value, variance + unseen, len(rows), count, df, ci)
    else:
        low, high = _ends(value, variance, df, count, ci, least)
    variance_y = float(of_y @ of_y)
    labelled_low, labelled_high = (
        _wilson_ends(means["y"], variance_y, int(labelled.sum()), count, count - 1, ci)
        if is_binary and count > 1 and variance_y > _NO_SPREAD
        else _ends(means["y"], variance_y, count - 1, count, ci, least)
    )
    bias = means["f"] - means["y"]
    bias_low, bias_high = _ends(bias, float(error @ error), count - 1, count, ci, -1.0 if fraction else None)
    has_labels = labelled.any()
    return {
        "value": value,
        "stderr": float(np.sqrt(variance)) if low is not None else None,
        "ci_low": low,
        "ci_high": high,
        "interval": _interval_label(count, df, variance, fraction, is_binary),
        "judged": all_judged,
        "labelled": means["y"] if has_labels else None,
        "labelled_low": labelled_low,
        "labelled_high": labelled_high,
        "bias": bias if has_labels else None,
        "bias_low": bias_low,
        "bias_high": bias_high,
        "trust": trust if has_labels else None,
        "n": len(w),
        "n_labelled": int(labelled.sum()),
        "n_clusters": count,
    }


def _with_weights(rows: pl.DataFrame, mean: str) -> pl.DataFrame:
    """Return the rows with `weight`, each row's share of the mean."""
    instances = pl.struct("cluster", "instance_id").n_unique().over(STRATUM)
    subsets = pl.struct(STRATUM).n_unique()
    of_subset = 1 / subsets / instances if mean == "macro" else 1 / pl.struct(INSTANCE).n_unique()
    return rows.with_columns(weight=of_subset / pl.len().over(INSTANCE))


def _cluster_residuals(cluster: Numbers, residual: Floats, mask: Flags) -> Floats:
    """Return per cluster the sum of its residuals, scaled up for the mean estimated from them."""
    count = len(np.unique(cluster[mask]))
    sums = np.bincount(cluster, np.where(mask, residual, 0.0))
    return np.asarray(sums * np.sqrt(count / (count - 1)) if count > 1 else sums * 0.0)


def _trust(labels: Floats, shift: Floats) -> float:
    """Return λ of the narrowest interval."""
    square = float(shift @ shift)
    return min(max(float(labels @ shift) / square, 0.0), 1.0) if square > 1e-24 else 0.0


def _trusts_without(labels: Floats, shift: Floats, count: int) -> Floats:
    """Return λ of each cluster, chosen from the other clusters."""
    # one observation less changes a centred sum of products by n/(n − 1) times its own product
    less = count / (count - 1)
    square = float(shift @ shift) - less * shift**2
    product = float(labels @ shift) - less * labels * shift
    with np.errstate(divide="ignore", invalid="ignore"):
        trusts = np.where(square > 1e-24, product / square, 0.0)
    clipped: Floats = np.clip(trusts, 0.0, 1.0)
    return clipped


def _wilson_ends(value: float, variance: float, n: int, clusters: int, df: int, ci: float) -> tuple[float, float]:
    """Return Wilson's interval at the number of labels that would have this variance, at most n."""
    from scipy.special import ndtri, stdtrit

    # a value of 0 or 1 has no binomial variance, so it is moved towards the middle by one label in each direction
    near = (value * clusters + 1) / (clusters + 2)
    effective = min(near * (1 - near) / variance, n) * (ndtri((1 + ci) / 2) / stdtrit(df, (1 + ci) / 2)) ** 2
    low, high = wilson(value * effective, effective, ci)
    return float(low), float(high)


def _ends(
    value: float | None, variance: float, df: int, clusters: int, ci: float, least: float | None
) -> tuple[float | None, float | None]:
    """Return the interval, cut at `least` and 1 unless `least` is None; for constant labels, the exact interval."""
    if value is None or df < 1:
        return None, None
    if variance <= _NO_SPREAD:
        if least is None:
            return None, None
        low, high = unanimous(value, clusters, ci, least=least)
    else:
        low, high = t_interval(value, variance, df, ci)
    return (float(low), float(high)) if least is None else (max(float(low), least), min(float(high), 1.0))


def _interval_label(clusters: int, df: int, variance: float, fraction: bool, is_binary: bool) -> str:
    if df < 1:
        return f"no interval: {clusters} labelled clusters, at least {clusters - df + 1} needed"
    if variance <= _NO_SPREAD and not fraction:
        return "no interval: labels and judge don't differ"
    method = "prediction-powered, Wilson" if is_binary else "prediction-powered, t"
    name = "Clopper–Pearson" if variance <= _NO_SPREAD else method
    return name + (", few labels" if clusters < FEW_CLUSTERS else "")


_NO_SPREAD = 1e-20
