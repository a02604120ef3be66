"""A table of byte strings, and a vectorised search for them in a buffer.

Eight bytes are one number, and a word is two or three of them. The first bits of a hash select the few strings in the
table whose hash begins with them; for most words there are none. The bytes themselves are compared last, so that equal
hashes can't cause an error.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from helmframe.perturbations.text_kernel import Bytes, Draws, Flags, Numbers

_BITS = 17
_ODD = 0x9E3779B97F4A7C15  # 2**64 over the golden ratio; each chunk is multiplied by its next power


@dataclass(frozen=True)
class Table:
    """Byte strings prepared for `find`: lengths, chunks of 8 bytes and hashes, sorted by hash.

    For each prefix of a hash, `filled` is whether a string has it, and `firsts` is the first string that has it. `most`
    is the largest number of strings that share a prefix.
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
    """Return the table of the strings, numbered in this order; strings must be distinct."""
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
    """Return the buffer as numbers of 8 bytes, one starting at each byte; zeros after its end.

    Don't use it with `take`, which copies the whole view first, eight times the buffer.
    """
    padded = np.zeros(len(data) + 8, dtype=np.uint8)
    padded[: len(data)] = data
    return np.ndarray((len(data) + 1,), dtype="<u8", buffer=padded, strides=(1,))


def find(words: Table, view: Draws, starts: Numbers, lengths: Numbers) -> tuple[Numbers, Numbers]:
    """Return the spans that are strings in the table.

    Args:
        words: The table.
        view: The buffer, as returned by `eights`.
        starts: The start of each span.
        lengths: The number of bytes of each span.

    Returns:
        The indices of these spans, in order, and the number of the string that each span is.
    """
    if not len(words):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    hashes = _hashes(view, starts, lengths, len(words.chunks))
    beginnings = _beginning(hashes)
    maybe = np.flatnonzero(words.filled[beginnings])
    index, hashes, lengths = words.firsts[beginnings[maybe]], hashes[maybe], lengths[maybe]
    last = len(words) - 1
    for _ in range(words.most - 1):
        index += (words.hashes[index] < hashes) & (index < last)
    # up to 8 bytes, different spans of one length have different hashes
    same = (words.hashes[index] == hashes) & (words.lengths[index] == lengths)
    longer = np.flatnonzero(same & (lengths > 8))
    chunks = _chunks(view, starts[maybe[longer]], lengths[longer], len(words.chunks))
    for span_chunk, table_chunk in zip(chunks, words.chunks, strict=True):
        same[longer] &= span_chunk == table_chunk[index[longer]]
    return maybe[same], words.numbers[index[same]]


def _hashes(view: Draws, starts: Numbers, lengths: Numbers, chunks: int) -> Draws:
    """Return the sum of length and chunks times odd numbers: its high bits depend on all bits of all chunks."""
    hashes = _chunk(view, starts, lengths, 0) * _odd(0) + lengths.view(np.uint64) * _odd(chunks)
    for number in range(1, chunks):
        longer = np.flatnonzero(lengths > 8 * number)
        if not len(longer):
            break
        hashes[longer] += _chunk(view, starts[longer], lengths[longer], number) * _odd(number)
    return hashes


def _beginning(hashes: Draws) -> Numbers:
    # as signed numbers: NumPy takes no others as indices
    return (hashes >> np.uint64(64 - _BITS)).view(np.int64)


def _odd(number: int) -> np.uint64:
    return np.uint64(pow(_ODD, number + 1, 1 << 64))


def _chunks(view: Draws, starts: Numbers, lengths: Numbers, count: int) -> tuple[Draws, ...]:
    return tuple(_chunk(view, starts, lengths, number) for number in range(count))


def _chunk(view: Draws, starts: Numbers, lengths: Numbers, number: int) -> Draws:
    """Return bytes 8 × number and on of each span, zeros after its end."""
    masks = np.array([(1 << (8 * left)) - 1 for left in range(9)], dtype=np.uint64)
    if number == 0:
        return view[starts] & masks[np.minimum(lengths, 8)]
    # the mask clears bytes that are read in place of those after the end of the buffer
    indices = np.minimum(starts + 8 * number, len(view) - 1)
    left: Numbers = (lengths - 8 * number).clip(0, 8)
    return view[indices] & masks[left]
