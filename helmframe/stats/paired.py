"""Scores of several sides paired with those of one of them, instance by instance, as integer-coded arrays."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import polars as pl

from helmframe.stats.encoded_rows import (
    STRATUM,
    EncodedRows,
    Flags,
    Floats,
    Numbers,
    distinct,
    encode_rows,
    in_order,
    lengths,
    merge_names,
    numbered,
    starts_of,
    sums,
)
from helmframe.stats.estimate import floats


@dataclass(frozen=True)
class Pairs:
    """Paired scores: one entry per pair that both sides have a score for.

    `rows` has the axis, the keys, scenario and subset of each entry in its cells. `a` and `b` are the means of side and
    base. `single` is whether both sides have one score of 0 or 1. `dropped` has one row per side and group, including
    those without a pair: the axis, the keys, n_dropped (instances with a score on only one side), and n_error (those of
    them that both sides were run on).
    """

    rows: EncodedRows
    a: Floats
    b: Floats
    single: Flags
    dropped: pl.DataFrame


def pair_sides(scores: pl.LazyFrame, axis: str, keys: Sequence[str], base: str, on: Sequence[str]) -> Pairs:
    """Pair every other value of `axis` with `base`.

    Args:
        scores: `SCORES` of all sides.
        axis: The column that identifies the sides.
        keys: The columns whose values make a separate comparison.
        base: The value that the others are paired with; it sets the subset and cluster of an instance.
        on: The columns that identify an instance on both sides, besides scenario, instance and keys.
    """
    question_columns = [name for name in merge_names(keys, ("scenario", *on)) if name not in (axis, "instance_id")]
    rows = encode_rows(scores, merge_names([axis, *question_columns], STRATUM), ["score"])
    questions = _Questions.of(rows, question_columns, keys)
    sides = _sides(rows, axis, questions)
    reference = sides.pop(base)
    matches = [(answers, _match(answers, reference)) for answers in sides.values()]
    base_index = np.concatenate([match.base for _, match in matches])
    side = np.repeat(np.arange(len(matches)), [len(match.base) for _, match in matches])
    cells = rows.cells.select(merge_names(keys, STRATUM))
    axis_values = [pl.lit(label, dtype=rows.cells[axis].dtype).alias(axis) for label in sides]
    dropped = [
        questions.counted(answers.key, reference.key, n_dropped=match.alone, n_error=match.failed)
        for answers, match in matches
    ]
    return Pairs(
        rows=rows.with_cells(
            pl.concat([cells.with_columns(label) for label in axis_values]),
            side * cells.height + reference.cell[base_index],
            reference.unit[base_index],
        ),
        a=np.concatenate([answers.mean[match.side] for answers, match in matches]),
        b=reference.mean[base_index],
        single=np.concatenate([answers.single[match.side] for answers, match in matches])
        & reference.single[base_index],
        dropped=pl.concat([frame.with_columns(label) for frame, label in zip(dropped, axis_values, strict=True)]),
    )


@dataclass(frozen=True)
class _Questions:
    """Numbered questions: a key is a question's number times `width`, plus the number of an instance's id."""

    of_cell: Numbers
    id_of_unit: Numbers
    width: int
    count: int
    groups: pl.DataFrame
    group: Numbers
    scenario: Numbers

    @classmethod
    def of(cls, rows: EncodedRows, columns: Sequence[str], keys: Sequence[str]) -> "_Questions":
        questions, of_cell = numbered(rows.cells, columns)
        width, id_of_unit = _ids(rows)
        groups, group = numbered(questions, keys)
        scenario = numbered(questions, ["scenario"])[1]
        return cls(of_cell, id_of_unit, width, max(questions.height, 1), groups, group, scenario)

    def counted(self, side_keys: Numbers, base_keys: Numbers, **keys: Numbers) -> pl.DataFrame:
        """Return the groups that a side has, each with the number of its instances among some keys."""
        present = distinct(self.group[distinct(np.concatenate([side_keys, base_keys]) // self.width)])
        counts = {name: pl.Series(self._instances(some), dtype=pl.Int64) for name, some in keys.items()}
        return self.groups.with_columns(**counts)[present]

    def _instances(self, keys: Numbers) -> Numbers:
        """Return the number of instances per group among these keys."""
        question, instance = np.divmod(keys, self.width)
        lost = distinct((self.group[question] * self.count + self.scenario[question]) * self.width + instance)
        return np.bincount(lost // (self.count * self.width), minlength=self.groups.height)


@dataclass(frozen=True)
class _Answers:
    """Mean scores, one per question and instance in the order of `key`, averaged over outputs."""

    key: Numbers
    cell: Numbers
    unit: Numbers
    mean: Floats
    scored: Flags
    single: Flags

    def between(self, start: int, end: int) -> "_Answers":
        return _Answers(*(getattr(self, field.name)[start:end] for field in fields(self)))


@dataclass(frozen=True)
class _Match:
    """Indices of the pairs on both sides, keys without a partner, and those of them that failed on a side."""

    side: Numbers
    base: Numbers
    alone: Numbers
    failed: Numbers


def _ids(rows: EncodedRows) -> tuple[int, Numbers]:
    """Return the number of instance ids, at least 1, and each unit's id; an id may be in several clusters."""
    if rows.alone:
        return rows.units, np.arange(rows.names.height)
    ids, number = numbered(rows.names, ["instance_id"])
    return max(ids.height, 1), number


def _sides(rows: EncodedRows, axis: str, questions: _Questions) -> dict[str, _Answers]:
    labels, side = numbered(rows.cells, [axis])
    whole = questions.count * questions.width
    key = (side * questions.count + questions.of_cell)[rows.cell] * questions.width + questions.id_of_unit[rows.unit]
    value, scored = floats(rows.rows["score"])
    order = in_order(key, value)
    key, value, scored = key[order], value[order], scored[order]
    starts = starts_of(key)
    count = sums(scored.astype(np.int64), starts)
    fractional = sums(((value != 0) & (value != 1)).astype(np.int64), starts)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = sums(value, starts) / count
    first = order[starts]
    answers = _Answers(
        key=key[starts] % whole,
        cell=rows.cell[first],
        unit=rows.unit[first],
        mean=mean,
        scored=count > 0,
        single=(lengths(starts, len(key)) == 1) & (fractional == 0),
    )
    edges = np.searchsorted(key[starts], np.arange(labels.height + 1) * whole)
    return {label: answers.between(edges[index], edges[index + 1]) for index, label in enumerate(labels[axis])}


def _match(side: _Answers, base: _Answers) -> _Match:
    if not len(base.key):
        none = np.empty(0, np.int64)
        return _Match(none, none, side.key, none)
    base_index = np.minimum(np.searchsorted(base.key, side.key), len(base.key) - 1)
    same = base.key[base_index] == side.key
    is_pair = same & side.scored & base.scored[base_index]
    alone = np.concatenate([side.key[~is_pair], np.delete(base.key, base_index[is_pair])])
    return _Match(np.flatnonzero(is_pair), base_index[is_pair], alone, side.key[same & ~is_pair])
