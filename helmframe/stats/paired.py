"""Answers of several sides paired with those of one of them, instance by instance, in numbers."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import polars as pl

from helmframe.stats.cluster_index import STRATUM, merged
from helmframe.stats.encoded_rows import (
    Coded,
    Flags,
    Floats,
    Numbers,
    coded,
    distinct,
    in_order,
    lengths,
    numbered,
    starts_of,
    sums,
)
from helmframe.stats.estimate import floats


@dataclass(frozen=True)
class Pairs:
    """One entry per pair that both sides answered.

    `rows` says where each belongs (the axis, the keys, scenario and subset in its cells); `a` and `b` are the means of
    side and base; `single`, whether both were one answer of 0 or 1. `dropped` has a row per side and group, also those
    without a pair: the axis, the keys, n_dropped (instances with an answer on one side alone), and n_error (those of
    them that both sides were run on: one failed).
    """

    rows: Coded
    a: Floats
    b: Floats
    single: Flags
    dropped: pl.DataFrame


def pairs_of(scores: pl.LazyFrame, axis: str, keys: Sequence[str], base: str, on: Sequence[str]) -> Pairs:
    """Every other value of `axis` paired with `base`.

    Args:
        scores: `SCORES` of all sides.
        axis: the column that tells the sides apart.
        keys: columns whose values make a comparison of their own.
        base: the value that the others are paired with; subset and cluster of an instance are as it has them.
        on: what makes an answer the same on both sides, besides scenario, instance and keys.
    """
    import numpy as np

    asked = [name for name in merged(keys, ("scenario", *on)) if name not in (axis, "instance_id")]
    rows = coded(scores, merged([axis, *asked], STRATUM), ["score"])
    questions = _Questions.of(rows, asked, keys)
    sides = _sides(rows, axis, questions)
    theirs = sides.pop(base)
    matches = [(ours, _match(ours, theirs)) for ours in sides.values()]
    at = np.concatenate([match.theirs for _, match in matches])
    place = np.repeat(np.arange(len(matches)), [len(match.theirs) for _, match in matches])
    cells = rows.cells.select(merged(keys, STRATUM))
    said = [pl.lit(label, dtype=rows.cells[axis].dtype).alias(axis) for label in sides]
    dropped = [
        questions.counted(ours.key, theirs.key, n_dropped=match.alone, n_error=match.failed) for ours, match in matches
    ]
    return Pairs(
        rows=rows.others(
            pl.concat([cells.with_columns(label) for label in said]),
            place * cells.height + theirs.cell[at],
            theirs.unit[at],
        ),
        a=np.concatenate([ours.mean[match.ours] for ours, match in matches]),
        b=theirs.mean[at],
        single=np.concatenate([ours.single[match.ours] for ours, match in matches]) & theirs.single[at],
        dropped=pl.concat([frame.with_columns(label) for frame, label in zip(dropped, said, strict=True)]),
    )


@dataclass(frozen=True)
class _Questions:
    """What is asked, numbered: a key is the number of a question times `width`, and the number of an instance's id."""

    of_cell: Numbers
    id_of_unit: Numbers
    width: int
    count: int
    groups: pl.DataFrame
    group: Numbers
    scenario: Numbers

    @classmethod
    def of(cls, rows: Coded, asked: Sequence[str], keys: Sequence[str]) -> "_Questions":
        questions, of_cell = numbered(rows.cells, asked)
        width, id_of_unit = _ids(rows)
        groups, group = numbered(questions, keys)
        scenario = numbered(questions, ["scenario"])[1]
        return cls(of_cell, id_of_unit, width, max(questions.height, 1), groups, group, scenario)

    def counted(self, ours: Numbers, theirs: Numbers, **keys: Numbers) -> pl.DataFrame:
        """Return the groups that one of the sides has, each with the number of its instances among some keys."""
        import numpy as np

        there = distinct(self.group[distinct(np.concatenate([ours, theirs]) // self.width)])
        counts = {name: pl.Series(self._instances(some), dtype=pl.Int64) for name, some in keys.items()}
        return self.groups.with_columns(**counts)[there]

    def _instances(self, keys: Numbers) -> Numbers:
        """Return the number of instances per group among these keys."""
        import numpy as np

        question, instance = np.divmod(keys, self.width)
        lost = distinct((self.group[question] * self.count + self.scenario[question]) * self.width + instance)
        return np.bincount(lost // (self.count * self.width), minlength=self.groups.height)


@dataclass(frozen=True)
class _Answers:
    """One per question and instance, in the order of `key`; the mean is of what was scored, of several outputs say."""

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
    """Places of the pairs on both sides, the keys that have no partner, and those of them that failed on a side."""

    ours: Numbers
    theirs: Numbers
    alone: Numbers
    failed: Numbers


def _ids(rows: Coded) -> tuple[int, Numbers]:
    """How many instance ids there are, at least 1, and the number of each unit's; an id may be in several clusters."""
    import numpy as np

    if rows.alone:
        return rows.units, np.arange(rows.names.height)
    ids, number = numbered(rows.names, ["instance_id"])
    return max(ids.height, 1), number


def _sides(rows: Coded, axis: str, questions: _Questions) -> dict[str, _Answers]:
    import numpy as np

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
    return {label: answers.between(edges[place], edges[place + 1]) for place, label in enumerate(labels[axis])}


def _match(ours: _Answers, theirs: _Answers) -> _Match:
    import numpy as np

    if not len(theirs.key):
        none = np.empty(0, np.int64)
        return _Match(none, none, ours.key, none)
    at = np.minimum(np.searchsorted(theirs.key, ours.key), len(theirs.key) - 1)
    same = theirs.key[at] == ours.key
    both = same & ours.scored & theirs.scored[at]
    alone = np.concatenate([ours.key[~both], np.delete(theirs.key, at[both])])
    return _Match(np.flatnonzero(both), at[both], alone, ours.key[same & ~both])
