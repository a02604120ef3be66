"""Tables of runs that stopped early (`until`): their intervals are valid at every look."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from helmframe.errors import NotComparableError
from helmframe.stats.sequential import Population, cluster_means, differences, instance_means, interval_of

# The columns that identify a cell; each cell has its own stopping time.
CELL = ("scenario", "split", "model", "setting", "perturbation")
_NO_BOUNDS = "no interval: stopped early, and the metric has no bounds"
_SEVERAL = "no interval: stopped early; group by scenario, model, setting and perturbation to get one"
_SCHEMA = {**dict.fromkeys((*CELL, "metric"), pl.String), "n_run": pl.Int64, "n_total": pl.Int64,
           **dict.fromkeys(("seen", "low", "high"), pl.Float64), "how": pl.String}  # fmt: skip


def with_sequences(
    table: pl.DataFrame, scores: pl.LazyFrame, until: Mapping[str, Any], keys: Sequence[str], *, mean: str, ci: float
) -> pl.DataFrame:
    """Return a table of scores with the intervals of its confidence sequences, and the number of instances run.

    Args:
        table: A table by `keys` and metric, with `STATS`.
        scores: The scores that the table aggregates.
        until: The stopping rule's entry in the manifest.
        keys: The columns whose values make a group.
        mean: The table's mean over subsets.
        ci: The level of the intervals.

    Returns:
        The table with the columns n_run and n_total (instances). A row that isn't a single cell, or whose metric has no
        such interval, has none, and `interval` has the reason: a fixed-sample interval would miss too often.
    """
    by = [key for key in keys if key in CELL]
    metrics = [name for name in table["metric"].unique() if name in until["metrics"]]
    rows = [row for name in metrics for row in _metric_intervals(scores, until, str(name), mean, ci)]
    sequences = pl.DataFrame(rows, schema=_SCHEMA)
    is_single = pl.len() == 1
    intervals = sequences.group_by([*by, "metric"]).agg(
        how=pl.when(is_single).then(pl.col("how").first()),
        **{name: pl.when(is_single).then(pl.col(name).first()) for name in ("seen", "low", "high")},
    )
    counts = pl.DataFrame([_counts(cell) for cell in cells_of(until)], schema=_SCHEMA)
    counts = counts.group_by(by or [pl.lit(0).alias("all")]).agg(pl.col("n_run", "n_total").sum())
    finer = [key for key in keys if key not in CELL]
    reason = (
        pl.when(~pl.col("metric").is_in(list(until["metrics"]))).then(pl.lit(_NO_BOUNDS)).otherwise(pl.lit(_SEVERAL))
    )
    fits = pl.lit(not finer) & pl.col("how").is_not_null()
    joined = table.join(intervals, on=[*by, "metric"], how="left", nulls_equal=True, maintain_order="left")
    joined = (
        joined.join(counts, on=by, how="left", nulls_equal=True, maintain_order="left")
        if by
        else joined.join(counts.drop("all"), how="cross")
    )
    return joined.with_columns(
        value=pl.when(fits & pl.col("seen").is_not_null()).then("seen").otherwise("value"),
        stderr=pl.lit(None, dtype=pl.Float64),
        ci_low=pl.when(fits).then("low"),
        ci_high=pl.when(fits).then("high"),
        interval=pl.when(fits).then("how").otherwise(reason),
    ).select(*table.columns, "n_run", "n_total")


def with_differences(
    table: pl.DataFrame, scores: pl.LazyFrame, until: Mapping[str, Any], axis: str, *, mean: str, ci: float
) -> pl.DataFrame:
    """Return a comparison with the intervals of the differences' confidence sequences, without tests and p values.

    Args:
        table: A table of `stats.compare`, by scenario, metric and the other axes.
        scores: The scores that the table compares.
        until: The stopping rule's entry in the manifest.
        axis: The column whose values are the sides.
        mean: The table's mean over subsets.
        ci: The level of the intervals; joint intervals have it for all rows together (Bonferroni).
    """
    cells = list(cells_of(until))
    rows = []
    for row in table.iter_rows(named=True):
        sides = [
            [cell for cell in cells if all(cell[key] == row.get(key, cell[key]) for key in CELL if key != axis)
             and cell[axis] == row[side]]
            for side in ("a", "b")
        ]  # fmt: skip
        levels = [ci, 1 - (1 - ci) / table.height]
        intervals = _difference_intervals(scores, until, row["metric"], sides, mean, levels)
        if isinstance(intervals, str):
            interval: dict[str, Any] = {"interval": intervals}
        else:
            single, joint = intervals
            interval = {
                "difference": single["value"], "ci_low": single["ci_low"], "ci_high": single["ci_high"],
                "interval": single["interval"], "joint_low": joint["ci_low"], "joint_high": joint["ci_high"],
            }  # fmt: skip
        none = dict.fromkeys(("stderr", "ci_low", "ci_high", "joint_low", "joint_high", "p", "p_holm", "mde"))
        rows.append({**row, **none, "test": "none: stopped early", **interval})
    return pl.DataFrame(rows, schema=table.schema)


def cells_of(until: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every cell: scenario, split, model, setting, perturbation, n_run, complete, and its `population`."""
    for looks in until["looks"].values():
        populations = {entry["split"]: Population(**entry) for entry in looks.get("populations", [])}
        for cell in looks.get("cells", []):
            yield {"scenario": looks["scenario"], **cell, "population": populations[cell["split"]]}


def is_benchmark_mean(until: Mapping[str, Any]) -> bool:
    """Return whether the intervals are about the benchmark's own instances, not the population they are sampled from.

    Rules of runs without this entry, from earlier versions, monitored the benchmark's own instances.
    """
    return str(until.get("population", "benchmark")) == "benchmark"


def refuse_stopped(manifest: Mapping[str, Any], statistic: str) -> None:
    """Raise if the run stopped early.

    Raises:
        NotComparableError: If the run stopped early.
    """
    if "until" in manifest:
        raise NotComparableError(
            f"The run was stopped early by until={manifest['until']['rule']}, and {statistic} needs a fixed number of "
            "instances. Run the rest with .score(), or use table(), compare('model') or gate(at_least=…), whose "
            "intervals are valid after an early stop."
        )


def mark_stopped_intervals(manifest: Mapping[str, Any], table: pl.DataFrame) -> pl.DataFrame:
    """Return the table with a note on each fixed-sample interval if the run stopped early."""
    if "until" not in manifest or "interval" not in table.columns:
        return table
    return table.with_columns(interval=pl.format("{}, ignores early stopping", "interval"))


def notes_of(manifest: Mapping[str, Any]) -> list[str]:
    """Return notes on the stopping rule and its decisions."""
    if "until" not in manifest:
        return []
    until = manifest["until"]
    target = ", for the mean over this benchmark's own instances only" if is_benchmark_mean(until) else ""
    notes = [f"stopped early by {until['rule']}; intervals are valid at every look{target}"]
    listed = set()
    for cell in cells_of(until):
        decision = cell.get("estimate")
        key = tuple(cell[name] for name in CELL if name != "model" and cell[name])
        if not until["rule"].startswith("decided") or decision is None or key in listed:
            continue
        listed.add(key)
        verdict = "decided" if cell["met"] else "undecided"
        notes.append(
            f"{', '.join(key)}: {verdict}, difference {decision['value']:.3f} [{decision['ci_low']:.3f}, "
            f"{decision['ci_high']:.3f}], {decision['n_run']:,} of {decision['n_total']:,} instances"
        )
    return notes


def _difference_intervals(
    scores: pl.LazyFrame,
    until: Mapping[str, Any],
    metric: str,
    sides: Sequence[Sequence[Mapping[str, Any]]],
    mean: str,
    levels: Sequence[float],
) -> list[dict[str, Any]] | str:
    """Return the interval of a − b at each level, over the instances of both sides; or the reason for none."""
    if metric not in until["metrics"]:
        return _NO_BOUNDS
    if any(len(side) != 1 for side in sides):
        return _SEVERAL
    (a,), (b,) = sides
    population: Population = a["population"]
    if not (a["complete"] and b["complete"]):
        return "no interval: stopped early, and not every instance has both variants"
    if not _matches_population(population, mean):
        return f"no interval: stopped early with mean={population.mean!r}"
    entry = until["metrics"][metric]
    bounds = (float(entry["low"]), float(entry["high"]))
    means_a, means_b = (
        instance_means(
            scores.filter(pl.col("metric") == metric, *(pl.col(key) == side[key] for key in CELL)), [], bounds
        ).collect()
        for side in (a, b)
    )
    clusters = cluster_means(differences(means_a, means_b).lazy(), [], population).collect()
    wide = (bounds[0] - bounds[1], bounds[1] - bounds[0])
    finite = is_benchmark_mean(until)
    return [interval_of(clusters, population, wide, binary=False, ci=level, finite=finite) for level in levels]


def _matches_population(population: Population, mean: str) -> bool:
    """Return whether the population was sampled for this mean."""
    return population.mean == mean or len(set(population.subsets.values())) < 2


def _metric_intervals(
    scores: pl.LazyFrame, until: Mapping[str, Any], metric: str, mean: str, ci: float
) -> Iterator[dict[str, Any]]:
    """Yield the interval of a metric in each cell."""
    entry = until["metrics"][metric]
    bounds = (float(entry["low"]), float(entry["high"]))
    metric_scores = scores.filter(pl.col("metric") == metric)
    means = instance_means(metric_scores, CELL, bounds).collect().partition_by(CELL, as_dict=True)
    for cell in cells_of(until):
        name = {key: cell[key] for key in CELL}
        population: Population = cell["population"]
        rows = means.get(tuple(name.values()))
        if not cell["complete"] or rows is None or rows.height != cell["n_run"]:
            missing = "score" if cell["complete"] else "variant"
            interval: dict[str, Any] = {"how": f"no interval: stopped early, and not every instance has this {missing}"}
        elif not _matches_population(population, mean):
            interval = {"how": f"no interval: stopped early with mean={population.mean!r}"}
        else:
            clusters = cluster_means(rows.lazy(), [], population).collect()
            bounded = interval_of(
                clusters, population, bounds, binary=entry["binary"], ci=ci, finite=is_benchmark_mean(until)
            )
            interval = {
                "seen": bounded["value"],
                "low": bounded["ci_low"],
                "high": bounded["ci_high"],
                "how": bounded["interval"],
            }
        yield {**name, "metric": metric, **_counts(cell), **interval}


def _counts(cell: Mapping[str, Any]) -> dict[str, Any]:
    return {**{key: cell[key] for key in CELL}, "n_run": cell["n_run"], "n_total": cell["population"].instances}
