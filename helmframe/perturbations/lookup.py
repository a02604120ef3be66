"""Which byte strings of a buffer a table holds: 8 bytes are one number, and a word is two or three of them.

The first bits of a hash lead to the few strings of the table that begin so, for most words to none; the bytes
themselves are compared last, so that no hash decides.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from helmframe.perturbations.arrays import Bytes, Draws, Flags, Numbers

if TYPE_CHECKING:
    import numpy as np

_BITS = 17
_ODD = 0x9E3779B97F4A7C15  # 2**64 over the golden ratio; each chunk is multiplied by its next power


@dataclass(frozen=True)
class Table:
    """Byte strings laid out for `find`: lengths, chunks of 8 bytes and hashes, sorted by hash.

    `filled`: of each beginning of a hash, whether a string has it; `firsts`: the first that does; `most`: how many do.
    """

    lengths: Numbers
    chunks: tuple[Draws, ...]
    hashes: Draws
    numbers: Numbers
    filled: Flags
    firsts: Numbers
    most: int

    def __len__(self) -> int:
        return len(self.numbers)


def table(strings: Sequence[bytes]) -> Table:
    """The strings, none of them twice, numbered in this order."""
    import numpy as np

    lengths = np.array([len(string) for string in strings], dtype=np.int64)
    starts = np.cumsum(lengths) - lengths
    view = eights(np.frombuffer(b"".join(strings), dtype=np.uint8))
    chunks = _chunks(view, starts, lengths, max(1, -(-int(lengths.max(initial=0)) // 8)))
    hashes = _hashes(view, starts, lengths, len(chunks))
    order = np.argsort(hashes, kind="stable")
    sizes = np.bincount(_beginning(hashes), minlength=1 << _BITS)
    chunks = tuple(chunk[order] for chunk in chunks)
    firsts = np.cumsum(sizes) - sizes
    return Table(lengths[order], chunks, hashes[order], order, sizes > 0, firsts, int(sizes.max()))


def eights(data: Bytes) -> Draws:
    """The buffer as numbers of 8 bytes, one from each byte on; zeros beyond its end.

    Not for `take`, which copies the whole view first, eight times the buffer.
    """
    import numpy as np

    padded = np.zeros(len(data) + 8, dtype=np.uint8)
    padded[: len(data)] = data
    return np.ndarray((len(data) + 1,), dtype="<u8", buffer=padded, strides=(1,))


def find(words: Table, view: Draws, starts: Numbers, lengths: Numbers) -> tuple[Numbers, Numbers]:
    """Which of the spans are strings of the table.

    Args:
        words: the table.
        view: the buffer, as `eights` gives it.
        starts: where each span starts.
        lengths: how many bytes it has.

    Returns:
        The numbers of the spans that are, in order, and the number of the string that each is.
    """
    import numpy as np

    if not len(words):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    hashes = _hashes(view, starts, lengths, len(words.chunks))
    beginnings = _beginning(hashes)
    maybe = np.flatnonzero(words.filled[beginnings])
    place, hashes, lengths = words.firsts[beginnings[maybe]], hashes[maybe], lengths[maybe]
    last = len(words) - 1
    for _ in range(words.most - 1):
        place += (words.hashes[place] < hashes) & (place < last)
    # among spans of one length, up to 8 bytes, a hash is that of no others
    same = (words.hashes[place] == hashes) & (words.lengths[place] == lengths)
    longer = np.flatnonzero(same & (lengths > 8))
    mine = _chunks(view, starts[maybe[longer]], lengths[longer], len(words.chunks))
    for chunk, theirs in zip(mine, words.chunks, strict=True):
        same[longer] &= chunk == theirs[place[longer]]
    return maybe[same], words.numbers[place[same]]


def _hashes(view: Draws, starts: Numbers, lengths: Numbers, chunks: int) -> Draws:
    """Length and chunks of each span times odd numbers, added up: the high bits depend on all bits of all of them."""
    import numpy as np

    hashes = _chunk(view, starts, lengths, 0) * _odd(0) + lengths.view(np.uint64) * _odd(chunks)
    for place in range(1, chunks):
        longer = np.flatnonzero(lengths > 8 * place)
        if not len(longer):
            break
        hashes[longer] += _chunk(view, starts[longer], lengths[longer], place) * _odd(place)
    return hashes


def _beginning(hashes: Draws) -> Numbers:
    import numpy as np

    # as signed numbers: NumPy takes no others as places
    return (hashes >> np.uint64(64 - _BITS)).view(np.int64)


def _odd(place: int) -> "np.uint64":
    import numpy as np

    return np.uint64(pow(_ODD, place + 1, 1 << 64))


def _chunks(view: Draws, starts: Numbers, lengths: Numbers, count: int) -> tuple[Draws, ...]:
    return tuple(_chunk(view, starts, lengths, place) for place in range(count))


def _chunk(view: Draws, starts: Numbers, lengths: Numbers, place: int) -> Draws:
    """Bytes 8 × place and on of each span, zeros where it has ended."""
    import numpy as np

    kept = np.array([(1 << (8 * left)) - 1 for left in range(9)], dtype=np.uint64)
    if place == 0:
        return view[starts] & kept[np.minimum(lengths, 8)]
    # beyond the buffer's end there is nothing of a span: what is read there instead is not kept
    places = np.minimum(starts + 8 * place, len(view) - 1)
    left: Numbers = (lengths - 8 * place).clip(0, 8)
    return view[places] & kept[left]
