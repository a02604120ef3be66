"""Scores encoded as the variants of each instance, to count worst cases, changes and flips."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from helmframe._schema import ORIGINAL
from helmframe.errors import ArgumentError
from helmframe.stats.encoded_rows import (
    STRATUM,
    VARIANT,
    EncodedRows,
    Flags,
    Floats,
    Numbers,
    encode_rows,
    in_order,
    lengths,
    merge_names,
    numbered,
    starts_of,
    sums,
)

RUN_KEYS = ("model", "setting", "trial")


@dataclass(frozen=True)
class Variants:
    """One row per variant of an instance in a model, setting and trial, the original first.

    `rows` has the cells without the perturbation. `kinds` has one row per perturbation and seed, the original (0)
    first, and `variant` is a row's index in it. `score` is the mean over outputs, NaN without a score. `changed` is
    whether the input or the references changed. `higher` is, per cell, whether its metric is better when higher.
    `coverage` has the perturbations and seeds of each group's scenarios, in any cell: keys, scenario, perturbation, its
    seed. `answers` has the source rows.
    """

    rows: EncodedRows
    kinds: pl.DataFrame
    variant: Numbers
    score: Floats
    changed: Flags
    higher: Flags
    coverage: pl.DataFrame
    answers: EncodedRows

    @cached_property
    def instance(self) -> Numbers:
        """Return the number of each row's instance and run, ascending."""
        return self.rows.cell * self.rows.units + self.rows.unit

    @cached_property
    def original(self) -> Floats:
        """Return the original's score for each row; NaN if it has none."""
        first = starts_of(self.instance)
        # the original is the first of its variants
        score = np.where(self.variant[first] == 0, self.score[first], np.nan)
        return np.repeat(score, lengths(first, len(self.instance)))


@dataclass(frozen=True)
class VariantGroups:
    """The effect of each group of variants: one row per instance, run and group.

    `rows` has the column perturbation, the group's name, in its cells. `instance` numbers instances and runs, the same
    in all groups. `original` is the original score, `total` the sum over the `scored` variants, `worst` the worst of
    the original and the variants, `change` the sum of variant − original over the `altered` ones. `worse` and `better`
    count variants. `binary` is whether all scores are 0 or 1, and `complete` whether the original and all of the
    scenario's variants were scored. `k` is the number of variants, per cell.
    """

    rows: EncodedRows
    instance: Numbers
    original: Floats
    total: Floats
    scored: Numbers
    worst: Floats
    change: Floats
    altered: Numbers
    worse: Numbers
    better: Numbers
    binary: Flags
    complete: Flags
    k: Numbers


def variants_of(
    scores: pl.LazyFrame | pl.DataFrame,
    keys: Sequence[str],
    higher_is_better: Mapping[str, bool],
    *,
    coverage: pl.DataFrame | None = None,
    more: Sequence[str] = (),
) -> Variants:
    """Encode the scores as variants.

    Args:
        scores: `SCORES`.
        keys: The columns of the table to make, metric among them, without the perturbation.
        higher_is_better: A dict of metric → direction.
        coverage: `Variants.coverage` of all scores, if these are only some.
        more: The columns that `answers` should have besides score and changed.

    Raises:
        ArgumentError: If a metric has no direction.
    """
    names = merge_names(keys, (*STRATUM, *RUN_KEYS))
    rows = encode_rows(scores, merge_names(names, VARIANT), ["score", "changed", *more])
    run_cells, of_cell = numbered(rows.cells, names)
    kinds, kind_of_cell = _kinds(rows.cells)
    score = rows.rows["score"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    changed = rows.rows["changed"].fill_null(value=True).to_numpy()

    units, many = rows.units, max(kinds.height, 1)
    cell, variant, unit = of_cell[rows.cell], kind_of_cell[rows.cell], rows.unit
    key = (cell * units + unit) * many + variant
    order = in_order(key, score)
    key, score, changed = key[order], score[order], changed[order]
    starts = starts_of(key)
    first = order[starts]
    if len(starts) < len(key):
        scored = ~np.isnan(score)
        with np.errstate(invalid="ignore"):
            score = sums(np.where(scored, score, 0.0), starts) / sums(scored.astype(np.int64), starts)
        changed = sums(changed.astype(np.int64), starts) > 0
    variant_rows = rows.with_cells(run_cells, cell[first], unit[first])
    if coverage is None:
        of_kind = np.flatnonzero(np.bincount(of_cell * many + kind_of_cell))
        groups = run_cells.select(merge_names(keys, ("scenario",)))[of_kind // many]
        coverage = groups.hstack(kinds[of_kind % many]).unique(maintain_order=True)
    higher = _cell_directions(run_cells, higher_is_better)
    return Variants(variant_rows, kinds, variant[first], score, changed, higher, coverage, rows)


def group_variants(variants: Variants, keys: Sequence[str], group: pl.Expr) -> VariantGroups:
    """Compute the effect of each group of variants on each instance.

    Args:
        variants: The result of `variants_of`, for the same keys.
        keys: As in `variants_of`.
        group: The name of the group that a perturbation belongs to, null for none; the original's is ignored.
    """
    rows = variants.rows
    names, of_kind = group_names(variants, group)
    many = max(len(names), 1)
    instance = variants.instance
    group_of = of_kind[variants.variant]
    inside = np.flatnonzero(group_of >= 0)
    key = instance[inside] * many + group_of[inside]
    if np.any(key[1:] < key[:-1]):
        order = np.argsort(key, kind="stable")
        key, inside = key[order], inside[order]
    score, original, changed = variants.score[inside], variants.original[inside], variants.changed[inside]
    starts = starts_of(key)
    first_rows = inside[starts]
    cells, cell = cells_of(rows.cells, rows.cell[first_rows], group_of[first_rows], names)
    k = counts_of(variants, keys, cells, group)

    is_scored, difference = ~np.isnan(score), score - original
    altered = changed & ~np.isnan(difference)
    original_of = original[starts]
    up, gain = variants.higher[rows.cell[first_rows]], difference
    value, first = np.where(is_scored, score, np.inf), original_of
    if not up.all():
        sign = np.where(variants.higher, 1.0, -1.0)[rows.cell[inside]]
        value, gain, first = np.where(is_scored, sign * score, np.inf), sign * difference, np.where(up, first, -first)
    lowest = np.minimum(np.minimum.reduceat(value, starts) if len(starts) < len(value) else value, first)
    neither = ~(((score == 0) | (score == 1)) & ((original == 0) | (original == 1)))
    scored = _count(is_scored, starts)
    return VariantGroups(
        rows=rows.with_cells(cells, cell, rows.unit[first_rows]),
        instance=instance[first_rows],
        original=original_of,
        total=sums(np.where(is_scored, score, 0.0), starts),
        scored=scored,
        worst=lowest if up.all() else np.where(up, lowest, -lowest),
        change=sums(np.where(altered, difference, 0.0), starts),
        altered=_count(altered, starts),
        worse=_count(gain < 0, starts),
        better=_count(gain > 0, starts),
        binary=_count(neither, starts) == 0,
        complete=~np.isnan(original_of) & (scored == k[cell]),
        k=k,
    )


def combine_groups(singles: VariantGroups, variants: Variants, keys: Sequence[str], group: pl.Expr) -> VariantGroups:
    """Combine the `group_variants` of single perturbations into one group of several."""
    names, _ = group_names(variants, group)
    named = singles.rows.cells.select(_group_label(group)).to_series().is_not_null().to_numpy()
    inside = np.flatnonzero(named[singles.rows.cell])
    instance = singles.instance[inside]
    starts = starts_of(instance)
    first = instance[starts]
    run_cell, unit = np.divmod(first, variants.rows.units)
    cells, cell = cells_of(variants.rows.cells, run_cell, np.zeros(len(run_cell), dtype=np.int64), names)
    k = counts_of(variants, keys, cells, group)
    worst, up = singles.worst[inside], variants.higher[run_cell]
    if not up.all():
        worst = np.where(np.repeat(up, lengths(starts, len(worst))), worst, -worst)
    worst = np.minimum.reduceat(worst, starts) if len(starts) else worst
    original, scored = singles.original[inside[starts]], sums(singles.scored[inside], starts)
    return VariantGroups(
        rows=variants.rows.with_cells(cells, cell, unit),
        instance=first,
        original=original,
        total=sums(singles.total[inside], starts),
        scored=scored,
        worst=worst if up.all() else np.where(up, worst, -worst),
        change=sums(singles.change[inside], starts),
        altered=sums(singles.altered[inside], starts),
        worse=sums(singles.worse[inside], starts),
        better=sums(singles.better[inside], starts),
        binary=_count(~singles.binary[inside], starts) == 0,
        complete=~np.isnan(original) & (scored == k[cell]),
        k=k,
    )


def group_names(variants: Variants, group: pl.Expr) -> tuple[list[str], Numbers]:
    """Return the names of the groups, and the group's index for each of `kinds`; −1 for none."""
    labels = variants.kinds.select(_group_label(group)).to_series().to_list()
    names = [name for name in dict.fromkeys(labels) if name is not None]
    return names, np.array([-1 if name is None else names.index(name) for name in labels], dtype=np.int64)


def describe_variants(coverage: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """Return `keys` and variants of every group of `Variants.coverage`, such as "original, lowercase, typos × 2"."""
    return (
        coverage.select(*keys, *VARIANT)
        .unique()
        .group_by([*keys, "perturbation"])
        .agg(draws=pl.len())
        .sort(pl.col("perturbation") != ORIGINAL, "perturbation")
        .with_columns(
            variants=pl.when(pl.col("draws") > 1)
            .then(pl.format("{} × {}", "perturbation", "draws"))
            .otherwise("perturbation")
        )
        .group_by(keys, maintain_order=True)
        .agg(pl.col("variants").str.join(", "))
    )


def cells_of(
    run_cells: pl.DataFrame, cell: Numbers, name: Numbers, names: Sequence[str]
) -> tuple[pl.DataFrame, Numbers]:
    """Return the cells present, with the name of the group, and the cell of each row."""
    both = cell * max(len(names), 1) + name
    present = np.flatnonzero(np.bincount(both))
    number = np.zeros(int(both.max(initial=-1)) + 1, dtype=np.int64)
    number[present] = np.arange(len(present))
    label = pl.Series("perturbation", names, dtype=pl.String)[present % max(len(names), 1)]
    return run_cells[present // max(len(names), 1)].with_columns(label), number[both]


def counts_of(variants: Variants, keys: Sequence[str], cells: pl.DataFrame, group: pl.Expr) -> Numbers:
    """Count per cell the variants of its group that the scenario has, in any cell."""
    on = merge_names(keys, ("scenario", "perturbation"))
    coverage = variants.coverage.with_columns(_group_label(group), kind=pl.struct(VARIANT)).drop_nulls("perturbation")
    counts = coverage.group_by(on).agg(many=pl.col("kind").n_unique())
    joined = cells.select(on).join(counts, on=on, how="left", nulls_equal=True, maintain_order="left")
    many: Numbers = joined["many"].cast(pl.Int64).to_numpy()
    return many


def _group_label(group: pl.Expr) -> pl.Expr:
    return pl.when(pl.col("perturbation") != ORIGINAL).then(group).alias("perturbation")


def _count(flags: Flags, starts: Numbers) -> Numbers:
    return sums(flags.astype(np.int64), starts)


def _kinds(cells: pl.DataFrame) -> tuple[pl.DataFrame, Numbers]:
    """Return the perturbations and seeds, the original first, and the index of each cell's."""
    seed = pl.when(pl.col("perturbation") == ORIGINAL).then(0).otherwise("perturbation_seed")
    variants = cells.select("perturbation", perturbation_seed=seed.cast(pl.Int64))
    original = pl.DataFrame({"perturbation": [ORIGINAL], "perturbation_seed": [0]})
    perturbed = variants.filter(pl.col("perturbation") != ORIGINAL).unique().sort(VARIANT)
    kinds, number = numbered(pl.concat([original, perturbed, variants]), VARIANT)
    return kinds, number[1 + perturbed.height :]


def _cell_directions(cells: pl.DataFrame, higher_is_better: Mapping[str, bool]) -> Flags:
    for metric in cells["metric"].unique().sort():
        if higher_is_better.get(metric) is None:
            raise ArgumentError(
                f"Metric {metric!r} has no direction. Write higher_is_better={{{metric!r}: True}}, or False if lower "
                "is better."
            )
    return np.array([bool(higher_is_better[metric]) for metric in cells["metric"]], dtype=np.bool_)
