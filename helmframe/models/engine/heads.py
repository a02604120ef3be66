"""Starts that texts share, as keys and values: read once, and cached while there is room."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from helmframe.models.engine.attention import Layer
from helmframe.models.engine.trie import Ids


@dataclass(frozen=True, eq=False)
class Head:
    """Keys and values of a start of texts, by layer."""

    length: int
    layers: Sequence[Layer]

    @property
    def size(self) -> int:
        """Return the size in bytes."""
        return sum(states.nbytes for layer in self.layers for states in layer)

    def cut(self, length: int) -> "Head":
        """Return the first tokens of the head, in the same memory."""
        return Head(length, [(keys[:, :length], values[:, :length]) for keys, values in self.layers])


@dataclass(eq=False)
class Heads:
    """The cached heads of one model whose weights do not change; the least recently used are removed.

    Args:
        room: Bytes of the heads that are cached besides the last one.
    """

    room: int
    _cached: "OrderedDict[bytes, Head]" = field(default_factory=OrderedDict)

    def longest(self, text: Ids, most: int) -> Head | None:
        """Return the longest cached head of at most `most` tokens that the text begins with.

        A longer head can be cut, but not to a small fraction: a pass that begins with a few of many tokens saves too
        little.
        """
        start = text[:most].tobytes()
        for key, head in self._cached.items():
            if most <= head.length <= 2 * most and key.startswith(start):
                self._cached.move_to_end(key)
                return head.cut(most)
        for length in sorted({head.length for head in self._cached.values() if head.length <= most}, reverse=True):
            key = text[:length].tobytes()
            if key in self._cached:
                self._cached.move_to_end(key)
                return self._cached[key]
        return None

    def n_cached(self, text: Ids, most: int) -> int:
        """Return how many first tokens of the text are cached."""
        head = self.longest(text, most)
        return head.length if head else 0

    def add(self, text: Ids, head: Head) -> None:
        """Add the head of a text, and remove the least recently used heads."""
        self._cached[text[: head.length].tobytes()] = head
        size = sum(cached.size for cached in self._cached.values())
        while size > self.room and len(self._cached) > 1:
            size -= self._cached.popitem(last=False)[1].size

    def make_room(self) -> int:
        """Remove all heads, halve the room, and return the number of bytes freed."""
        size = sum(cached.size for cached in self._cached.values())
        if size:
            self.room = min(self.room, size) // 2
            self.clear()
        return size

    def clear(self) -> None:
        """Remove all heads."""
        self._cached.clear()
