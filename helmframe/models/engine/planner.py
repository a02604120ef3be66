"""Which texts are read in one forward pass, and which starts of theirs are read before, once for all of them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from helmframe.models.engine.trie import Ids, Sorted

# How many of a text's first tokens, at most so many, are read already.
Known = Callable[[Ids, int], int]


class Step(NamedTuple):
    """One forward pass: so many first tokens that its texts share were read before, and what is read now.

    Texts, by their places, that begin alike beyond the base stand in one block, and are read as a trie.
    """

    base: int
    blocks: list[list[int]]


@dataclass(frozen=True)
class Limits:
    """What a forward pass holds, and when it pays to have one more.

    Args:
        tokens: read in a pass; a longer text is alone in its own.
        wanted: places whose successors' probabilities a pass gives: those that are wanted; where texts are padded, of
            each text those that are wanted of any.
        worth: tokens that one pass more must save.
        tries: whether texts of one pass share tokens; else they are padded to the longest.
        chosen: whether the model can be told which places are wanted; else it gives those of all.
    """

    tokens: int
    wanted: int
    worth: float
    tries: bool = True
    chosen: bool = True


def plan(texts: Sorted, wanted: Sequence[int], limits: Limits, known: Known) -> Iterator[Step]:
    """Every text in one step, the longest first, and as few tokens read twice as pays.

    Args:
        texts: what is to read.
        wanted: of each, the first place whose successor's probability is wanted; no base goes beyond it.
        limits: of a pass.
        known: asked for every start that texts share.
    """
    yield from _Planner(texts, np.asarray(wanted, dtype=np.int64), limits, known).part(_Run(0, len(texts.texts)), 0)


class _Run(NamedTuple):
    """Texts that are neighbours."""

    low: int
    high: int


@dataclass(frozen=True)
class _Planner:
    texts: Sorted
    wanted: Ids
    limits: Limits
    known: Known

    def part(self, run: _Run, base: int) -> Iterator[Step]:
        """The steps of texts that share more than the base, or nothing else."""
        alike = self._alike(run)
        most = min(alike, int(self.wanted[run.low : run.high].min()))
        if most > base:
            base = max(base, self.known(self.texts.texts[run.low], most))
            if self._pays(run, base, most):
                base = most
        small: list[_Run] = []
        for each in self._runs(run, max(alike, base)):
            if self._is_small(each, base):
                small.append(each)
            else:
                yield from self.part(each, base)
        if self.limits.tries:
            yield from self._packed(small, base, max(alike - base, 0))
        else:
            yield from self._padded([each for part in small for each in range(*part)], base)

    def _alike(self, run: _Run) -> int:
        """How many first tokens all texts of the run share."""
        return int(self.texts.common[run.low + 1 : run.high].min(initial=len(self.texts.texts[run.low])))

    def _pays(self, run: _Run, base: int, most: int) -> bool:
        """Whether to read so much of the texts' start on its own."""
        times = -(-self._size(run, base) // self.limits.tokens) if self.limits.tries else run.high - run.low
        return (times - 1) * (most - base) > self.limits.worth

    def _size(self, run: _Run, base: int) -> int:
        """The tokens of the run beyond the base."""
        lengths = np.fromiter(map(len, self.texts.texts[run.low : run.high]), dtype=np.int64)
        if not self.limits.tries:
            return int((lengths - base).max()) * len(lengths)
        again = np.maximum(self.texts.common[run.low : run.high], base)
        again[0] = base
        return int((lengths - again).sum())

    def _wanted(self, run: _Run) -> int:
        places = range(run.low, run.high)
        return sum(len(self.texts.texts[each]) - int(self.wanted[each]) for each in places)

    def _is_small(self, run: _Run, base: int) -> bool:
        """Whether the run can be part of a step with this base; a text alone always can."""
        most = min(self._alike(run), int(self.wanted[run.low : run.high].min()))
        if most > base and self.known(self.texts.texts[run.low], most) > base:
            return False
        if run.high - run.low == 1:
            return True
        if not self.limits.tries:
            return not self._pays(run, base, most)
        return self._size(run, base) <= self.limits.tokens and self._wanted(run) <= self.limits.wanted

    def _runs(self, run: _Run, alike: int) -> Iterator[_Run]:
        """The run in parts, where neighbours share no more than so many tokens."""
        common = self.texts.common[run.low + 1 : run.high]
        starts = [run.low, *(run.low + 1 + np.flatnonzero(common <= alike)).tolist(), run.high]
        for low, high in pairwise(starts):
            yield _Run(low, high)

    def _packed(self, runs: list[_Run], base: int, path: int) -> Iterator[Step]:
        """Steps of runs that share a path of so many tokens beyond the base."""
        sizes = {run: self._size(run, base) - path for run in runs}
        runs = sorted(runs, key=lambda run: -sizes[run])
        group: list[_Run] = []
        size, wanted = path, 0
        for run in runs:
            size += sizes[run]
            wanted += self._wanted(run)
            if group and (size > self.limits.tokens or wanted > self.limits.wanted):
                yield self._step(group, base, path)
                group, size, wanted = [], path + sizes[run], self._wanted(run)
            group.append(run)
        if group:
            yield self._step(group, base, path)

    def _padded(self, places: list[int], base: int) -> Iterator[Step]:
        """Steps of texts side by side, as wide as the longest of each, with logits of all where any text wants some."""
        texts = self.texts.texts
        group: list[int] = []
        columns: set[int] = set()
        for place in sorted(places, key=lambda place: -len(texts[place])):
            own = set(range(int(self.wanted[place]) if self.limits.chosen else base, len(texts[place])))
            rows, width = len(group) + 1, len(texts[(group or [place])[0]]) - base
            if group and (rows * width > self.limits.tokens or rows * len(columns | own) > self.limits.wanted):
                yield Step(base, [[each] for each in group])
                group, columns = [], set()
            group.append(place)
            columns |= own
        if group:
            yield Step(base, [[each] for each in group])

    def _step(self, group: list[_Run], base: int, path: int) -> Step:
        blocks = [list(range(*run)) for run in group]
        return Step(base, [sorted(each for part in blocks for each in part)] if path else blocks)
