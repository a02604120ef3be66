"""Texts as a trie: what begins alike is one path, and each token of it stands in a packed row once."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Sorted:
    """Different texts in lexical order, so that those that begin alike are neighbours.

    Args:
        texts: token ids.
        places: of each text given, where it stands here; equal ones stand once.
        common: of each text, how many first tokens it shares with the one before it; 0 for the first.
    """

    texts: list[Ids]
    places: list[int]
    common: Ids


@dataclass(frozen=True)
class Block:
    """The tokens of texts that share a start, each once.

    Args:
        tokens: ids, every token after those it follows.
        depths: of each token, its place in its text.
        paths: of each text, its tokens' places in `tokens`, in order.
    """

    tokens: Ids
    depths: Ids
    paths: list[Ids]

    def sees(self) -> NDArray[np.bool_]:
        """[tokens, tokens]: whether a token is, or comes after, another one in a text."""
        size = len(self.tokens)
        found = np.zeros((size, size), dtype=bool)
        done = 0
        for path in self.paths:
            new = path[path >= done]
            if len(new):
                old = path[: len(path) - len(new)]
                found[np.ix_(new, old)] = True
                found[np.ix_(new, new)] = np.tril(np.ones((len(new), len(new)), dtype=bool))
                done = int(new[-1]) + 1
        return found


def in_order(texts: Sequence[Sequence[int]]) -> Sorted:
    """The texts, sorted.

    >>> found = in_order([[1, 2, 4], [1, 2, 3], [1, 2, 4], [5]])
    >>> [each.tolist() for each in found.texts], found.places, found.common.tolist()
    ([[1, 2, 3], [1, 2, 4], [5]], [1, 0, 1, 2], [0, 2, 0])
    """
    arrays = [np.asarray(text, dtype=np.int64) for text in texts]
    keys = [array.astype(">u4").tobytes() for array in arrays]
    order = {key: place for place, key in enumerate(sorted(set(keys)))}
    found: list[Ids] = [arrays[0]] * len(order)
    for key, array in zip(keys, arrays, strict=True):
        found[order[key]] = array
    common = [0, *(shared(one, other) for one, other in pairwise(found))]
    return Sorted(found, [order[key] for key in keys], np.array(common, dtype=np.int64))


def block(texts: Sequence[Ids], base: int) -> Block:
    """The texts, in lexical order, without their first `base` tokens.

    >>> found = block([np.array(text) for text in ([9, 1, 2, 3], [9, 1, 4], [9, 5])], 1)
    >>> found.tokens.tolist(), found.depths.tolist(), [path.tolist() for path in found.paths]
    ([1, 2, 3, 4, 5], [1, 2, 3, 2, 1], [[0, 1, 2], [0, 3], [4]])
    """
    tokens, depths, paths = [], [], []
    size, before, path = 0, texts[0][:base], np.zeros(0, dtype=np.int64)
    for text in texts:
        known = shared(before, text)
        new = len(text) - known
        path = np.concatenate([path[: known - base], np.arange(size, size + new)])
        tokens.append(text[known:])
        depths.append(np.arange(known, len(text)))
        paths.append(path)
        size, before = size + new, text
    return Block(np.concatenate(tokens), np.concatenate(depths), paths)


def shared(one: Ids, other: Ids) -> int:
    """How many first tokens two texts share."""
    most = min(len(one), len(other))
    unlike = one[:most] != other[:most]
    place = int(unlike.argmax()) if most else 0
    return place if most and unlike[place] else most
