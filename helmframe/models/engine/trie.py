"""Texts as a trie: texts with a common start share a path, and each token is in a packed row once."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

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


def in_order(texts: Sequence[Sequence[int]]) -> Sorted:
    """Sort the texts.

    >>> ordered = in_order([[1, 2, 4], [1, 2, 3], [1, 2, 4], [5]])
    >>> [text.tolist() for text in ordered.texts], ordered.indices, ordered.common.tolist()
    ([[1, 2, 3], [1, 2, 4], [5]], [1, 0, 1, 2], [0, 2, 0])
    """
    arrays = [np.asarray(text, dtype=np.int64) for text in texts]
    keys = [array.astype(">u4").tobytes() for array in arrays]
    order = {key: index for index, key in enumerate(sorted(set(keys)))}
    texts_in_order: list[Ids] = [arrays[0]] * len(order)
    for key, array in zip(keys, arrays, strict=True):
        texts_in_order[order[key]] = array
    common = [0, *(shared(one, other) for one, other in pairwise(texts_in_order))]
    return Sorted(texts_in_order, [order[key] for key in keys], np.array(common, dtype=np.int64))


def block(texts: Sequence[Ids], base: int) -> Block:
    """Return the texts, in lexical order, as a block without their first `base` tokens.

    >>> example = block([np.array(text) for text in ([9, 1, 2, 3], [9, 1, 4], [9, 5])], 1)
    >>> example.tokens.tolist(), example.depths.tolist(), [path.tolist() for path in example.paths]
    ([1, 2, 3, 4, 5], [1, 2, 3, 2, 1], [[0, 1, 2], [0, 3], [4]])
    """
    tokens, depths, paths = [], [], []
    size, before, path = 0, texts[0][:base], np.zeros(0, dtype=np.int64)
    for text in texts:
        common = shared(before, text)
        new = len(text) - common
        path = np.concatenate([path[: common - base], np.arange(size, size + new)])
        tokens.append(text[common:])
        depths.append(np.arange(common, len(text)))
        paths.append(path)
        size, before = size + new, text
    return Block(np.concatenate(tokens), np.concatenate(depths), paths)


def shared(one: Ids, other: Ids) -> int:
    """Return how many first tokens two texts share."""
    most = min(len(one), len(other))
    unlike = one[:most] != other[:most]
    index = int(unlike.argmax()) if most else 0
    return index if most and unlike[index] else most
