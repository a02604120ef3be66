"""Texts taken apart into characters or words, and put together again: for noise that moves, drops or adds some.

`text_kernel` changes ASCII bytes in place. Here a character is what a reader sees (a letter with its accents, a flag, a
family of emoji: Unicode's grapheme clusters), and stays whole.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from helmframe._core.expressions import keyed_draws
from helmframe.perturbations.arrays import Bytes, Draws, Flags, Numbers, Points
from helmframe.perturbations.graphemes import DIGIT, LETTER, SPACE, begins, kinds
from helmframe.perturbations.text_kernel import blocks, over_buffer

# Bytes per call, about: large enough that the many steps are few, small enough for the processor's cache.
BLOCK = 1 << 15

# What a number per character or word is drawn for; each purpose has random numbers of its own.
WHETHER, WHICH, WHERE = range(3)


@dataclass(frozen=True)
class Units:
    """Pieces of the texts of some rows, in order and without gaps: characters, or words and what is between them.

    Arrays, one element per piece: `starts` and `lengths` in `points` (code points of all rows, one after the other),
    `rows` (which row), `places` (number of the piece within its row). `keys` has one element per row.
    """

    points: Points
    starts: Numbers
    lengths: Numbers
    rows: Numbers
    places: Draws
    keys: Draws

    def __len__(self) -> int:
        return len(self.starts)

    @cached_property
    def first(self) -> Points:
        """The first code point of each piece."""
        return self.points[self.starts]

    @cached_property
    def kinds(self) -> Bytes:
        """What the first code point of each piece is: LETTER, UPPER, … as bits."""
        return kinds(self.first)

    def draws(self, purpose: int) -> Draws:
        """A 64-bit random number per piece."""
        return draws(self.keys, purpose, self.rows, self.places)

    def with_extra(self, after: Numbers, extra: Points, keep: "Flags | None" = None) -> "Text":
        """The texts with one more code point after each of some pieces.

        Args:
            after: numbers of pieces, ascending.
            extra: the code point that comes after each.
            keep: which pieces stay; default: all.
        """
        import numpy as np

        copies = np.ones(len(self), np.int64) if keep is None else keep.astype(np.int64)
        copies[after] += 1
        order = np.repeat(np.arange(len(self)), copies)
        order[np.cumsum(copies)[after] - 1] = len(self) + np.arange(len(after))
        return self.rebuilt(order, np.repeat(self.rows, copies), extra)

    def rebuilt(
        self, order: Numbers, rows: "Numbers | None" = None, extra: "Points | Sequence[int] | None" = None
    ) -> "Text":
        """The texts from these pieces in this order.

        Args:
            order: numbers of pieces; `len(self) + j` stands for the code point `extra[j]`.
            rows: which row each belongs to, ascending; default: its own.
            extra: code points that are not in the texts.
        """
        import numpy as np

        points, starts, lengths = self.points, self.starts, self.lengths
        if extra is not None:
            starts = np.concatenate([starts, len(points) + np.arange(len(extra))])
            lengths = np.concatenate([lengths, np.ones(len(extra), lengths.dtype)])
            points = np.concatenate([points, np.asarray(extra, points.dtype)])
        rows = self.rows[order] if rows is None else rows
        starts, lengths = starts[order], lengths[order]
        ends = np.cumsum(lengths)
        if len(order) and ends[-1] != len(order):
            starts = np.repeat(starts - ends + lengths, lengths) + np.arange(ends[-1])
            rows = np.repeat(rows, lengths)
        return Text(points[starts], np.bincount(rows, minlength=len(self.keys)))


@dataclass(frozen=True)
class Text:
    """Changed texts: the code points of all rows, and how many each row has."""

    points: Points
    counts: Numbers


def changed_characters(text: pl.Expr, key: pl.Expr, change: Callable[[Units], Text]) -> pl.Expr:
    """The text after `change(characters)`.

    Args:
        text: the text column.
        key: an UInt64 column, one key per row.
        change: sees the characters of some whole rows.
    """

    def run(data: Bytes, offsets: Numbers, keys: Draws) -> tuple[Bytes, Numbers]:
        import numpy as np

        parts, ends = [data[:0]], [np.zeros(1, np.int64)]
        for first, last in blocks(offsets, BLOCK):
            block = data[offsets[first] : offsets[last]]
            text = change(_characters(block, offsets[first : last + 1] - offsets[first], keys[first:last]))
            changed, lengths = _encoded(text)
            parts.append(changed)
            ends.append(ends[-1][-1] + np.cumsum(lengths))
        return np.concatenate(parts), np.concatenate(ends)

    return over_buffer(text, key, run)


def words(characters: Units) -> tuple[Units, Flags, Numbers]:
    """The texts as words, runs of white space and runs of other marks.

    A word is a run of letters, digits and `_`; an apostrophe, hyphen, point or comma between two of them belongs to it
    (don't, well-known, 3.14). Text without spaces (Chinese) is one word as far as the punctuation.

    Returns:
        The pieces; which of them are words; and for each character the number of its piece.
    """
    import numpy as np

    inside = _in_words(characters)
    sort = inside * np.int8(2) + (characters.kinds & SPACE > 0)
    edge = np.ones(len(characters), bool)
    edge[1:] = (sort[1:] != sort[:-1]) | (characters.rows[1:] != characters.rows[:-1])
    heads = np.flatnonzero(edge)
    starts, rows, is_word = characters.starts[heads], characters.rows[heads], inside[heads]
    lengths = np.diff(np.append(starts, len(characters.points)))
    # Words count by themselves, and so do the other pieces: the number of a word is which word of the text it is.
    places = np.where(is_word, _within(rows, is_word), _within(rows, ~is_word)).astype(np.uint64)
    pieces = Units(characters.points, starts, lengths, rows, places, characters.keys)
    return pieces, is_word, np.cumsum(edge) - 1


def word_numbers(characters: Units) -> tuple[Numbers, Numbers, Draws]:
    """For each character the number of the word it is in, over all rows, or -1; for each word its row and its place."""
    import numpy as np

    pieces, is_word, piece = words(characters)
    number = np.where(is_word, np.cumsum(is_word) - 1, -1)
    return number[piece], pieces.rows[is_word], pieces.places[is_word]


def draws(keys: Draws, purpose: int, rows: Numbers, places: Draws) -> Draws:
    """A 64-bit random number for each (row, place)."""
    import numpy as np

    own = keyed_draws(keys, np.full(len(keys), (1 << 32) + purpose, np.uint64))
    return keyed_draws(own[rows], places.astype(np.uint64))


def _characters(data: Bytes, offsets: Numbers, keys: Draws) -> Units:
    """The bytes as characters."""
    import numpy as np

    if len(data) == 0 or data.max() < 128:
        points, ends = data.astype(np.uint32), offsets
    else:
        points = np.frombuffer(data.tobytes().decode().encode("utf-32-le"), np.uint32)
        before = np.concatenate([[0], np.cumsum((data & 0xC0) != 0x80)])
        ends = before[offsets]
    counts = np.diff(ends)
    rows = np.repeat(np.arange(len(keys)), counts)
    each = begins(points, rows)
    if each.all():
        places = np.arange(len(points)) - np.repeat(ends[:-1], counts)
        return Units(
            points, np.arange(len(points)), np.ones(len(points), np.int64), rows, places.astype(np.uint64), keys
        )
    starts = np.flatnonzero(each)
    rows = rows[starts]
    return Units(points, starts, np.diff(np.append(starts, len(points))), rows, _within(rows).astype(np.uint64), keys)


def _encoded(text: Text) -> tuple[Bytes, Numbers]:
    """The bytes of all rows, and how many each row has."""
    import numpy as np

    points, counts = text.points, text.counts.astype(np.int64)
    if len(points) == 0 or points.max() < 128:
        return points.astype(np.uint8), counts
    sizes = 1 + (points > 0x7F).astype(np.int64) + (points > 0x7FF) + (points > 0xFFFF)
    ends = np.concatenate([[0], np.cumsum(sizes)])[np.concatenate([[0], np.cumsum(counts)])]
    encoded = points.astype("<u4").tobytes().decode("utf-32-le").encode()
    return np.frombuffer(encoded, np.uint8), np.diff(ends)


def _in_words(characters: Units) -> Flags:
    import numpy as np

    points, kind, rows = characters.first, characters.kinds, characters.rows
    inside: Flags = (kind & (LETTER | DIGIT) > 0) | (points == ord("_"))
    if len(points) < 3:
        return inside
    between = inside[:-2] & inside[2:] & (rows[:-2] == rows[2:])
    digits = (kind[:-2] & DIGIT > 0) & (kind[2:] & DIGIT > 0)
    middle = points[1:-1]
    joins = np.isin(middle, [ord(each) for each in "'’-.‐"]) | (middle == ord(",")) & digits
    inside[1:-1] |= between & joins
    return inside


def _within(rows: Numbers, counted: "Flags | None" = None) -> Numbers:
    """The number of each element within its row; with `counted`, how many such come before it there."""
    import numpy as np

    if len(rows) == 0:
        return np.zeros(0, np.int64)
    new = np.append(True, rows[1:] != rows[:-1])
    before: Numbers = np.arange(len(rows)) if counted is None else np.cumsum(counted) - counted
    firsts: Numbers = np.repeat(before[new], np.diff(np.append(np.flatnonzero(new), len(rows))))
    return before - firsts
