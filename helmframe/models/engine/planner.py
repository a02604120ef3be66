"""Planning of forward passes: texts as a trie, which texts share a pass, and which starts are read once before."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Sorted:
    """Different texts in lexical order, so that texts with a common start are neighbours.

    Args:
        texts: token ids.
        indices: For each input text its index here; equal texts have one.
        common: For each text, how many first tokens it shares with the previous text; 0 for the first.
    """

    texts: list[Ids]
    indices: list[int]
    common: Ids


@dataclass(frozen=True)
class Block:
    """The tokens of texts that share a start, each once.

    Args:
        tokens: Token ids, every token after those it follows.
        depths: For each token its index in its text.
        paths: For each text the indices of its tokens in `tokens`, in order.
    """

    tokens: Ids
    depths: Ids
    paths: list[Ids]

    def visible(self) -> NDArray[np.bool_]:
        """Return [tokens, tokens]: whether a token is, or follows, another token in a text."""
        size = len(self.tokens)
        mask = np.zeros((size, size), dtype=bool)
        done = 0
        for path in self.paths:
            new = path[path >= done]
            if len(new):
                old = path[: len(path) - len(new)]
                mask[np.ix_(new, old)] = True
                mask[np.ix_(new, new)] = np.tril(np.ones((len(new), len(new)), dtype=bool))
                done = int(new[-1]) + 1
        return mask


def sort_texts(texts: Sequence[Sequence[int]]) -> Sorted:
    """Sort the texts.

    >>> ordered = sort_texts([[1, 2, 4], [1, 2, 3], [1, 2, 4], [5]])
    >>> [text.tolist() for text in ordered.texts], ordered.indices, ordered.common.tolist()
    ([[1, 2, 3], [1, 2, 4], [5]], [1, 0, 1, 2], [0, 2, 0])
    """
    arrays = [np.asarray(text, dtype=np.int64) for text in texts]
    keys = [array.astype(">u4").tobytes() for array in arrays]
    order = {key: index for index, key in enumerate(sorted(set(keys)))}
    texts_in_order: list[Ids] = [arrays[0]] * len(order)
    for key, array in zip(keys, arrays, strict=True):
        texts_in_order[order[key]] = array
    common = [0, *(n_shared(one, other) for one, other in pairwise(texts_in_order))]
    return Sorted(texts_in_order, [order[key] for key in keys], np.array(common, dtype=np.int64))


def build_block(texts: Sequence[Ids], base: int) -> Block:
    """Return the texts, in lexical order, as a block without their first `base` tokens.

    >>> example = build_block([np.array(text) for text in ([9, 1, 2, 3], [9, 1, 4], [9, 5])], 1)
    >>> example.tokens.tolist(), example.depths.tolist(), [path.tolist() for path in example.paths]
    ([1, 2, 3, 4, 5], [1, 2, 3, 2, 1], [[0, 1, 2], [0, 3], [4]])
    """
    tokens, depths, paths = [], [], []
    size, before, path = 0, texts[0][:base], np.zeros(0, dtype=np.int64)
    for text in texts:
        common = n_shared(before, text)
        new = len(text) - common
        path = np.concatenate([path[: common - base], np.arange(size, size + new)])
        tokens.append(text[common:])
        depths.append(np.arange(common, len(text)))
        paths.append(path)
        size, before = size + new, text
    return Block(np.concatenate(tokens), np.concatenate(depths), paths)


def n_shared(one: Ids, other: Ids) -> int:
    """Return how many first tokens two texts share."""
    most = min(len(one), len(other))
    unlike = one[:most] != other[:most]
    index = int(unlike.argmax()) if most else 0
    return index if most and unlike[index] else most


# (text, most) → how many of the text's first `most` tokens are cached.
CachedLength = Callable[[Ids, int], int]


class Step(NamedTuple):
    """One forward pass: the number of first tokens that its texts share and that were read before, and what to read.

    Texts, by index, with a common start beyond the base form one block, and are read as a trie.
    """

    base: int
    blocks: list[list[int]]


@dataclass(frozen=True)
class Limits:
    """The size of a forward pass, and when one more pass pays.

    Args:
        tokens: The tokens of a pass; a longer text has a pass of its own.
        wanted: The positions whose next-token probabilities a pass returns; where texts are padded, a position that any
            text wants counts for each text.
        worth: The tokens that one more pass must save.
        tries: Whether texts of a pass share tokens; else they are padded to the longest.
        chosen: Whether the model can return logits of chosen positions only.
    """

    tokens: int
    wanted: int
    worth: float
    tries: bool = True
    chosen: bool = True


def plan(texts: Sorted, wanted: Sequence[int], limits: Limits, n_cached: CachedLength) -> Iterator[Step]:
    """Yield steps that read each text once, the longest first, with as few tokens read twice as pays.

    Args:
        texts: The texts to read.
        wanted: For each text, the first position whose next-token probabilities are wanted; no base exceeds it.
        limits: The limits of a pass.
        n_cached: Called for each start that texts share.
    """
    yield from _Planner(texts, np.asarray(wanted, dtype=np.int64), limits, n_cached).part(_Run(0, len(texts.texts)), 0)


class _Run(NamedTuple):
    """A range of neighbouring texts."""

    low: int
    high: int


@dataclass(frozen=True)
class _Planner:
    texts: Sorted
    wanted: Ids
    limits: Limits
    n_cached: CachedLength

    def part(self, run: _Run, base: int) -> Iterator[Step]:
        """Yield the steps of texts that share more than the base, or nothing else."""
        alike = self._alike(run)
        most = min(alike, int(self.wanted[run.low : run.high].min()))
        if most > base:
            base = max(base, self.n_cached(self.texts.texts[run.low], most))
            if self._pays(run, base, most):
                base = most
        small: list[_Run] = []
        for subrun in self._runs(run, max(alike, base)):
            if self._is_small(subrun, base):
                small.append(subrun)
            else:
                yield from self.part(subrun, base)
        if self.limits.tries:
            yield from self._packed(small, base, max(alike - base, 0))
        else:
            yield from self._padded([index for part in small for index in range(*part)], base)

    def _alike(self, run: _Run) -> int:
        """Return how many first tokens all texts of the run share."""
        return int(self.texts.common[run.low + 1 : run.high].min(initial=len(self.texts.texts[run.low])))

    def _pays(self, run: _Run, base: int, most: int) -> bool:
        """Return whether to read the start up to `most` in a pass of its own."""
        times = -(-self._size(run, base) // self.limits.tokens) if self.limits.tries else run.high - run.low
        return (times - 1) * (most - base) > self.limits.worth

    def _size(self, run: _Run, base: int) -> int:
        """Return the number of tokens of the run beyond the base."""
        lengths = np.fromiter(map(len, self.texts.texts[run.low : run.high]), dtype=np.int64)
        if not self.limits.tries:
            return int((lengths - base).max()) * len(lengths)
        again = np.maximum(self.texts.common[run.low : run.high], base)
        again[0] = base
        return int((lengths - again).sum())

    def _wanted(self, run: _Run) -> int:
        indices = range(run.low, run.high)
        return sum(len(self.texts.texts[index]) - int(self.wanted[index]) for index in indices)

    def _is_small(self, run: _Run, base: int) -> bool:
        """Return whether the run fits into a step with this base; a single text always does."""
        most = min(self._alike(run), int(self.wanted[run.low : run.high].min()))
        if most > base and self.n_cached(self.texts.texts[run.low], most) > base:
            return False
        if run.high - run.low == 1:
            return True
        if not self.limits.tries:
            return not self._pays(run, base, most)
        return self._size(run, base) <= self.limits.tokens and self._wanted(run) <= self.limits.wanted

    def _runs(self, run: _Run, alike: int) -> Iterator[_Run]:
        """Split the run where neighbours share at most `alike` tokens."""
        common = self.texts.common[run.low + 1 : run.high]
        starts = [run.low, *(run.low + 1 + np.flatnonzero(common <= alike)).tolist(), run.high]
        for low, high in pairwise(starts):
            yield _Run(low, high)

    def _packed(self, runs: list[_Run], base: int, path: int) -> Iterator[Step]:
        """Yield steps of runs that share a path of `path` tokens beyond the base."""
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

    def _padded(self, indices: list[int], base: int) -> Iterator[Step]:
        """Yield steps of texts side by side, as wide as the longest; any text's wanted columns count for all."""
        texts = self.texts.texts
        group: list[int] = []
        columns: set[int] = set()
        for index in sorted(indices, key=lambda index: -len(texts[index])):
            text_columns = set(range(int(self.wanted[index]) if self.limits.chosen else base, len(texts[index])))
            rows, width = len(group) + 1, len(texts[(group or [index])[0]]) - base
            if group and (rows * width > self.limits.tokens or rows * len(columns | text_columns) > self.limits.wanted):
                yield Step(base, [[row_index] for row_index in group])
                group, columns = [], set()
            group.append(index)
            columns |= text_columns
        if group:
            yield Step(base, [[row_index] for row_index in group])

    def _step(self, group: list[_Run], base: int, path: int) -> Step:
        blocks = [list(range(*run)) for run in group]
        return Step(base, [sorted(index for part in blocks for index in part)] if path else blocks)
