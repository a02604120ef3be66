"""The plan of forward passes: texts as a trie, the texts of each pass, and the starts that are read before."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Sorted:
    """Distinct texts in lexical order, so that texts with a common start are neighbours.

    Args:
        texts: The token ids of the texts.
        indices: The index of each input text in `texts`.
        common: The number of first tokens that each text shares with the previous text; 0 for the first.
    """

    texts: list[Ids]
    indices: list[int]
    common: Ids


@dataclass(frozen=True)
class Block:
    """The tokens of texts that share a start, without repetitions.

    Args:
        tokens: The token ids; every token comes after the tokens that it follows in a text.
        depths: The index of each token in its text.
        paths: The indices of each text's tokens in `tokens`, in order.
    """

    tokens: Ids
    depths: Ids
    paths: list[Ids]

    def visible(self) -> NDArray[np.bool_]:
        """Return whether a token is or follows another token in a text, [tokens, tokens]."""
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
    """Return the distinct texts in lexical order.

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
    common = [0, *(n_shared(text, following) for text, following in pairwise(texts_in_order))]
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


def n_shared(a: Ids, b: Ids) -> int:
    """Return the number of first tokens that two texts share."""
    length = min(len(a), len(b))
    differs = a[:length] != b[:length]
    index = int(differs.argmax()) if length else 0
    return index if length and differs[index] else length


# (text, length) → the number of the text's first `length` tokens that are cached.
CachedLength = Callable[[Ids, int], int]


class Step(NamedTuple):
    """One forward pass over texts that share `base` first tokens, which were read before.

    A block contains the indices of texts with a common start beyond the base, which are read as a trie.
    """

    base: int
    blocks: list[list[int]]


@dataclass(frozen=True)
class Limits:
    """The limits of a forward pass, and the worth of one more pass.

    Args:
        tokens: The maximum number of tokens of a pass; a longer text has its own pass.
        wanted: The maximum number of positions whose logits a pass returns. If texts are padded, a position that any
            text wants counts for each text.
        worth: The number of tokens that one more pass must save.
        tries: Whether texts of a pass share tokens; else they are padded to the longest text.
        chosen: Whether the model can return the logits of selected positions only.
    """

    tokens: int
    wanted: int
    worth: float
    tries: bool = True
    chosen: bool = True


def plan(texts: Sorted, wanted: Sequence[int], limits: Limits, n_cached: CachedLength) -> Iterator[Step]:
    """Yield steps that read each text once, the longest first; shared starts are read before if that saves tokens.

    Args:
        texts: The texts to read.
        wanted: The first position of each text whose next-token logits are wanted; no base exceeds it.
        limits: The limits of a pass.
        n_cached: A function that returns the number of cached tokens of a shared start.
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
        """Yield the steps of the texts of a run, which share at least the base."""
        n_common = self._n_common(run)
        length = min(n_common, int(self.wanted[run.low : run.high].min()))
        if length > base:
            base = max(base, self.n_cached(self.texts.texts[run.low], length))
            if self._pays(run, base, length):
                base = length
        small: list[_Run] = []
        for subrun in self._runs(run, max(n_common, base)):
            if self._is_small(subrun, base):
                small.append(subrun)
            else:
                yield from self.part(subrun, base)
        if self.limits.tries:
            yield from self._packed(small, base, max(n_common - base, 0))
        else:
            yield from self._padded([index for small_run in small for index in range(*small_run)], base)

    def _n_common(self, run: _Run) -> int:
        """Return the number of first tokens that all texts of the run share."""
        return int(self.texts.common[run.low + 1 : run.high].min(initial=len(self.texts.texts[run.low])))

    def _pays(self, run: _Run, base: int, length: int) -> bool:
        """Return whether one more pass for the start up to `length` saves enough tokens."""
        times = -(-self._size(run, base) // self.limits.tokens) if self.limits.tries else run.high - run.low
        return (times - 1) * (length - base) > self.limits.worth

    def _size(self, run: _Run, base: int) -> int:
        """Return the number of tokens of the run beyond the base."""
        lengths = np.fromiter(map(len, self.texts.texts[run.low : run.high]), dtype=np.int64)
        if not self.limits.tries:
            return int((lengths - base).max()) * len(lengths)
        shared = np.maximum(self.texts.common[run.low : run.high], base)
        shared[0] = base
        return int((lengths - shared).sum())

    def _wanted(self, run: _Run) -> int:
        indices = range(run.low, run.high)
        return sum(len(self.texts.texts[index]) - int(self.wanted[index]) for index in indices)

    def _is_small(self, run: _Run, base: int) -> bool:
        """Return whether the run fits into a step with this base; a single text always does."""
        length = min(self._n_common(run), int(self.wanted[run.low : run.high].min()))
        if length > base and self.n_cached(self.texts.texts[run.low], length) > base + self.limits.worth:
            return False
        if run.high - run.low == 1:
            return True
        if not self.limits.tries:
            return not self._pays(run, base, length)
        return self._size(run, base) <= self.limits.tokens and self._wanted(run) <= self.limits.wanted

    def _runs(self, run: _Run, n_common: int) -> Iterator[_Run]:
        """Yield the parts of a run, split between neighbours that share at most `n_common` tokens."""
        common = self.texts.common[run.low + 1 : run.high]
        starts = [run.low, *(run.low + 1 + np.flatnonzero(common <= n_common)).tolist(), run.high]
        for low, high in pairwise(starts):
            yield _Run(low, high)

    def _packed(self, runs: list[_Run], base: int, path: int) -> Iterator[Step]:
        """Yield steps of runs that share `path` tokens beyond the base."""
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
        """Yield steps of padded texts; a column that any text wants counts for all texts."""
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
        return Step(base, [sorted(index for block in blocks for index in block)] if path else blocks)
