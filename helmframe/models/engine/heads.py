"""Starts that texts share, as keys and values: read once, and kept as long as there is room."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from helmframe.models.engine.attention import Layer
from helmframe.models.engine.trie import Ids


@dataclass(frozen=True, eq=False)
class Head:
    """Keys and values of a start, by layer."""

    length: int
    layers: Sequence[Layer]

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(states.nbytes for layer in self.layers for states in layer)

    def cut(self, length: int) -> "Head":
        """Its first tokens, in the same memory."""
        return Head(length, [(keys[:, :length], values[:, :length]) for keys, values in self.layers])


@dataclass(eq=False)
class Heads:
    """The heads of one model, whose weights stay as they are; those used last are kept.

    Args:
        room: bytes of the heads kept beside the last one.
    """

    room: int
    _kept: "OrderedDict[bytes, Head]" = field(default_factory=OrderedDict)

    def longest(self, text: Ids, most: int) -> Head | None:
        """The longest head that the text begins with, of at most so many tokens.

        The first tokens of a longer one will do, but for a few of many: a pass that begins with them saves too little.
        """
        start = text[:most].tobytes()
        for key, head in self._kept.items():
            if most <= head.length <= 2 * most and key.startswith(start):
                self._kept.move_to_end(key)
                return head.cut(most)
        for length in sorted({head.length for head in self._kept.values() if head.length <= most}, reverse=True):
            key = text[:length].tobytes()
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        return None

    def known(self, text: Ids, most: int) -> int:
        """How many first tokens of the text need no reading."""
        found = self.longest(text, most)
        return found.length if found else 0

    def keep(self, text: Ids, head: Head) -> None:
        """Keep the head of a text, and let those go that were not used for longest."""
        self._kept[text[: head.length].tobytes()] = head
        size = sum(each.size for each in self._kept.values())
        while size > self.room and len(self._kept) > 1:
            size -= self._kept.popitem(last=False)[1].size

    def make_room(self) -> int:
        """Forget all, and keep half as much from now on; the bytes that this frees."""
        size = sum(each.size for each in self._kept.values())
        if size:
            self.room = min(self.room, size) // 2
            self.clear()
        return size

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()
