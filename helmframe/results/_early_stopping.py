"""Results of a run that stopped `until` it knew enough: its intervals are those that hold at every look, no others."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from helmframe.errors import NotComparableError
from helmframe.stats.sequential import Population, cluster_means, differences, instance_means, interval_of

# What tells cells apart: each was asked as long as it needed.
CELL = ("scenario", "split", "model", "setting", "perturbation")
_NO_BOUNDS = "no interval: stopped early, by scores with bounds"
_SEVERAL = "no interval: stopped early; by scenario, model, setting and perturbation there is one"
_SCHEMA = {**dict.fromkeys((*CELL, "metric"), pl.String), "asked": pl.Int64, "of": pl.Int64,
           **dict.fromkeys(("seen", "low", "high"), pl.Float64), "how": pl.String}  # fmt: skip


def with_sequences(
    table: pl.DataFrame, scores: pl.LazyFrame, until: Mapping[str, Any], keys: Sequence[str], *, mean: str, ci: float
) -> pl.DataFrame:
    """A table of scores with the intervals of its confidence sequences, and how many were asked.

    Args:
        table: by `keys` and metric, with `STATS`.
        scores: what it is of.
        until: what the manifest says of it.
        keys: what makes a group.
        mean: the table's, over subsets.
        ci: level of the intervals.

    Returns:
        The table and asked, of (instances). A row that is no single cell, or whose metric has no such interval, has
        none, and `interval` says why: one for a fixed number would miss too often.
    """
    by = [key for key in keys if key in CELL]
    metrics = [name for name in table["metric"].unique() if name in until["metrics"]]
    rows = [row for name in metrics for row in _rows(scores, until, str(name), mean, ci)]
    sequences = pl.DataFrame(rows, schema=_SCHEMA)
    one = pl.len() == 1
    known = sequences.group_by([*by, "metric"]).agg(
        how=pl.when(one).then(pl.col("how").first()),
        **{name: pl.when(one).then(pl.col(name).first()) for name in ("seen", "low", "high")},
    )
    counts = pl.DataFrame([_counted(cell) for cell in cells_of(until)], schema=_SCHEMA)
    counts = counts.group_by(by or [pl.lit(0).alias("all")]).agg(pl.col("asked", "of").sum())
    finer = [key for key in keys if key not in CELL]
    reason = (
        pl.when(~pl.col("metric").is_in(list(until["metrics"]))).then(pl.lit(_NO_BOUNDS)).otherwise(pl.lit(_SEVERAL))
    )
    fits = pl.lit(not finer) & pl.col("how").is_not_null()
    joined = table.join(known, on=[*by, "metric"], how="left", nulls_equal=True, maintain_order="left")
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
    ).select(*table.columns, "asked", "of")


def with_differences(
    table: pl.DataFrame, scores: pl.LazyFrame, until: Mapping[str, Any], axis: str, *, mean: str, ci: float
) -> pl.DataFrame:
    """A comparison along an axis with the intervals of the differences' confidence sequences; no test, no p value.

    Args:
        table: as `stats.compare` gives it, by scenario, metric and the other axes.
        scores: what it is of.
        until: what the manifest says of it.
        axis: what the sides differ in.
        mean: the table's, over subsets.
        ci: level of the intervals; of the joint ones for all rows together (Bonferroni).
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
        ends = _difference(scores, until, row["metric"], sides, mean, levels)
        if isinstance(ends, str):
            found: dict[str, Any] = {"interval": ends}
        else:
            single, joint = ends
            found = {
                "difference": single["value"], "ci_low": single["ci_low"], "ci_high": single["ci_high"],
                "interval": single["interval"], "joint_low": joint["ci_low"], "joint_high": joint["ci_high"],
            }  # fmt: skip
        none = dict.fromkeys(("stderr", "ci_low", "ci_high", "joint_low", "joint_high", "p", "p_holm", "mde"))
        rows.append({**row, **none, "test": "none: stopped early", **found})
    return pl.DataFrame(rows, schema=table.schema)


def cells_of(until: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every cell: scenario, split, model, setting, perturbation, asked, whole, and its `population`."""
    for looks in until["looks"].values():
        populations = {each["split"]: Population(**each) for each in looks.get("populations", [])}
        for cell in looks.get("cells", []):
            yield {"scenario": looks["scenario"], **cell, "population": populations[cell["split"]]}


def refuse(manifest: Mapping[str, Any], what: str) -> None:
    """That these results were not stopped early.

    Raises:
        NotComparableError: they were; says what to do.
    """
    if "until" in manifest:
        raise NotComparableError(
            f"these results were asked until={manifest['until']['said']}: p values and intervals of {what} are for a "
            "number of instances that is fixed beforehand. Ask the rest with .score(); the table, compare('model') and "
            "gate(at_least=…) have intervals that hold."
        )


def marked(manifest: Mapping[str, Any], table: pl.DataFrame) -> pl.DataFrame:
    """A table whose intervals are for a number of instances fixed beforehand: where it was not, each says so."""
    if "until" not in manifest or "interval" not in table.columns:
        return table
    return table.with_columns(interval=pl.format("{}, though stopped early", "interval"))


def notes_of(manifest: Mapping[str, Any]) -> list[str]:
    """In words until when these results were asked, and what was decided."""
    if "until" not in manifest:
        return []
    until = manifest["until"]
    notes = [f"asked until {until['said']}; intervals hold at every look"]
    said = set()
    for cell in cells_of(until):
        found = cell.get("watched")
        where = tuple(cell[name] for name in CELL if name != "model" and cell[name])
        if not until["said"].startswith("decided") or found is None or where in said:
            continue
        said.add(where)
        verdict = "decided" if cell["met"] else "undecided"
        notes.append(
            f"{', '.join(where)}: {verdict}, difference {found['value']:.3f} "
            f"[{found['ci_low']:.3f}, {found['ci_high']:.3f}], {found['asked']:,} of {found['of']:,} asked"
        )
    return notes


def _difference(
    scores: pl.LazyFrame,
    until: Mapping[str, Any],
    metric: str,
    sides: Sequence[Sequence[Mapping[str, Any]]],
    mean: str,
    levels: Sequence[float],
) -> list[dict[str, Any]] | str:
    """The interval of a − b at each level, over the instances that both were asked; or why there is none."""
    if metric not in until["metrics"]:
        return _NO_BOUNDS
    if any(len(side) != 1 for side in sides):
        return _SEVERAL
    (a,), (b,) = sides
    population: Population = a["population"]
    if not (a["whole"] and b["whole"]):
        return "no interval: stopped early, and not every instance has both variants"
    if not _weighed(population, mean):
        return f"no interval: stopped early by another mean: mean={population.mean!r}"
    about = until["metrics"][metric]
    bounds = (float(about["low"]), float(about["high"]))
    means_a, means_b = (
        instance_means(
            scores.filter(pl.col("metric") == metric, *(pl.col(key) == side[key] for key in CELL)), [], bounds
        ).collect()
        for side in (a, b)
    )
    clusters = cluster_means(differences(means_a, means_b).lazy(), [], population).collect()
    wide = (bounds[0] - bounds[1], bounds[1] - bounds[0])
    return [interval_of(clusters, population, wide, binary=False, ci=level) for level in levels]


def _weighed(population: Population, mean: str) -> bool:
    """Whether a mean of this kind is the one that the population was drawn for."""
    return population.mean == mean or len(set(population.subsets.values())) < 2


def _rows(
    scores: pl.LazyFrame, until: Mapping[str, Any], metric: str, mean: str, ci: float
) -> Iterator[dict[str, Any]]:
    """The interval of a metric in each cell of which it can be known."""
    kept = until["metrics"][metric]
    bounds = (float(kept["low"]), float(kept["high"]))
    there = scores.filter(pl.col("metric") == metric)
    means = instance_means(there, CELL, bounds).collect().partition_by(CELL, as_dict=True)
    for cell in cells_of(until):
        name = {key: cell[key] for key in CELL}
        population: Population = cell["population"]
        rows = means.get(tuple(name.values()))
        if not cell["whole"] or rows is None or rows.height != cell["asked"]:
            what = "score" if cell["whole"] else "variant"
            interval: dict[str, Any] = {"how": f"no interval: stopped early, and not every instance has this {what}"}
        elif not _weighed(population, mean):
            interval = {"how": f"no interval: stopped early by another mean: mean={population.mean!r}"}
        else:
            clusters = cluster_means(rows.lazy(), [], population).collect()
            bounded = interval_of(clusters, population, bounds, binary=kept["binary"], ci=ci)
            interval = {
                "seen": bounded["value"],
                "low": bounded["ci_low"],
                "high": bounded["ci_high"],
                "how": bounded["interval"],
            }
        yield {**name, "metric": metric, **_counted(cell), **interval}


def _counted(cell: Mapping[str, Any]) -> dict[str, Any]:
    return {**{key: cell[key] for key in CELL}, "asked": cell["asked"], "of": cell["population"].instances}
