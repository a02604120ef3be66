"""Texts as characters or words, and their reassembly: for noise that moves, drops or adds some.

`text_kernel` changes ASCII bytes in place. Here a character is one that a reader sees (a letter with its accents, a
flag, a family emoji: Unicode's grapheme clusters), and is never split.
"""

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import polars as pl

from helmframe._core.expressions import keyed_draws
from helmframe.perturbations.text_kernel import Bytes, Draws, Flags, Numbers, Points, blocks, over_buffer

# The approximate number of bytes per call: large enough for few calls, small enough for the processor's cache.
BLOCK = 1 << 15

# The purposes of a random number per character or word; each purpose has its own random numbers.
WHETHER, WHICH, WHERE = range(3)


@dataclass(frozen=True)
class Units:
    """Pieces of the texts of some rows, in order and without gaps: characters, or words and the text between them.

    The arrays have one element per piece: `starts` and `lengths` in `points` (the code points of all rows, one after
    the other), `rows`, and `places` (the number of the piece within its row). `keys` has one element per row.
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
        """The kind of the first code point of each piece: LETTER, UPPER, … as bits."""
        return kinds(self.first)

    def draws(self, purpose: int) -> Draws:
        """Return a 64-bit random number per piece."""
        return draws(self.keys, purpose, self.rows, self.places)

    def with_extra(self, after: Numbers, extra: Points, keep: Flags | None = None) -> "Text":
        """Return the texts with one more code point after each of some pieces.

        Args:
            after: Indices of pieces, ascending.
            extra: The code point to add after each.
            keep: The pieces to keep; by default all.
        """
        copies = np.ones(len(self), np.int64) if keep is None else keep.astype(np.int64)
        copies[after] += 1
        order = np.repeat(np.arange(len(self)), copies)
        order[np.cumsum(copies)[after] - 1] = len(self) + np.arange(len(after))
        return self.rebuilt(order, np.repeat(self.rows, copies), extra)

    def rebuilt(
        self, order: Numbers, rows: Numbers | None = None, extra: Points | Sequence[int] | None = None
    ) -> "Text":
        """Return the texts that consist of these pieces in this order.

        Args:
            order: Indices of pieces; `len(self) + j` is the code point `extra[j]`.
            rows: The row of each piece, ascending; by default its old row.
            extra: Code points that are not in the texts.
        """
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
    """Changed texts: the code points of all rows, and their number in each row."""

    points: Points
    counts: Numbers


def changed_characters(text: pl.Expr, key: pl.Expr, change: Callable[[Units], Text]) -> pl.Expr:
    """Return the text after `change(characters)`.

    Args:
        text: The text column.
        key: An UInt64 column, one key per row.
        change: A function of the characters of some whole rows.
    """

    def run(data: Bytes, offsets: Numbers, keys: Draws) -> tuple[Bytes, Numbers]:
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
    """Return the texts as words, runs of white space and runs of other marks.

    A word is a run of letters, digits and `_`. An apostrophe, hyphen, point or comma between two of them is part of the
    word (don't, well-known, 3.14). Text without spaces (Chinese) is one word up to the next punctuation.

    Returns:
        The pieces; whether each is a word; and for each character the index of its piece.
    """
    inside = _in_words(characters)
    sort = inside * np.int8(2) + (characters.kinds & SPACE > 0)
    edge = np.ones(len(characters), bool)
    edge[1:] = (sort[1:] != sort[:-1]) | (characters.rows[1:] != characters.rows[:-1])
    heads = np.flatnonzero(edge)
    starts, rows, is_word = characters.starts[heads], characters.rows[heads], inside[heads]
    lengths = np.diff(np.append(starts, len(characters.points)))
    # Words and other pieces are numbered separately.
    places = np.where(is_word, _within(rows, is_word), _within(rows, ~is_word)).astype(np.uint64)
    pieces = Units(characters.points, starts, lengths, rows, places, characters.keys)
    return pieces, is_word, np.cumsum(edge) - 1


def word_numbers(characters: Units) -> tuple[Numbers, Numbers, Draws]:
    """Return the number of each character's word, over all rows, or -1; and the row and place of each word."""
    pieces, is_word, piece = words(characters)
    number = np.where(is_word, np.cumsum(is_word) - 1, -1)
    return number[piece], pieces.rows[is_word], pieces.places[is_word]


def draws(keys: Draws, purpose: int, rows: Numbers, places: Draws) -> Draws:
    """Return a 64-bit random number for each (row, place)."""
    row_keys = keyed_draws(keys, np.full(len(keys), (1 << 32) + purpose, np.uint64))
    return keyed_draws(row_keys[rows], places.astype(np.uint64))


def _characters(data: Bytes, offsets: Numbers, keys: Draws) -> Units:
    """Return the characters of the bytes."""
    if len(data) == 0 or data.max() < 128:
        points, ends = data.astype(np.uint32), offsets
    else:
        points = np.frombuffer(data.tobytes().decode().encode("utf-32-le"), np.uint32)
        before = np.concatenate([[0], np.cumsum((data & 0xC0) != 0x80)])
        ends = before[offsets]
    counts = np.diff(ends)
    rows = np.repeat(np.arange(len(keys)), counts)
    is_start = begins(points, rows)
    if is_start.all():
        places = np.arange(len(points)) - np.repeat(ends[:-1], counts)
        return Units(
            points, np.arange(len(points)), np.ones(len(points), np.int64), rows, places.astype(np.uint64), keys
        )
    starts = np.flatnonzero(is_start)
    rows = rows[starts]
    return Units(points, starts, np.diff(np.append(starts, len(points))), rows, _within(rows).astype(np.uint64), keys)


def _encoded(text: Text) -> tuple[Bytes, Numbers]:
    """Return the bytes of all rows, and their number in each row."""
    points, counts = text.points, text.counts.astype(np.int64)
    if len(points) == 0 or points.max() < 128:
        return points.astype(np.uint8), counts
    sizes = 1 + (points > 0x7F).astype(np.int64) + (points > 0x7FF) + (points > 0xFFFF)
    ends = np.concatenate([[0], np.cumsum(sizes)])[np.concatenate([[0], np.cumsum(counts)])]
    encoded = points.astype("<u4").tobytes().decode("utf-32-le").encode()
    return np.frombuffer(encoded, np.uint8), np.diff(ends)


def _in_words(characters: Units) -> Flags:
    points, kind, rows = characters.first, characters.kinds, characters.rows
    inside: Flags = (kind & (LETTER | DIGIT) > 0) | (points == ord("_"))
    if len(points) < 3:
        return inside
    between = inside[:-2] & inside[2:] & (rows[:-2] == rows[2:])
    digits = (kind[:-2] & DIGIT > 0) & (kind[2:] & DIGIT > 0)
    middle = points[1:-1]
    joins = np.isin(middle, [ord(mark) for mark in "'’-.‐"]) | (middle == ord(",")) & digits
    inside[1:-1] |= between & joins
    return inside


def _within(rows: Numbers, counted: Flags | None = None) -> Numbers:
    """Return the index of each element within its row; with `counted`, the number of such elements before it."""
    if len(rows) == 0:
        return np.zeros(0, np.int64)
    new = np.append(True, rows[1:] != rows[:-1])
    before: Numbers = np.arange(len(rows)) if counted is None else np.cumsum(counted) - counted
    firsts: Numbers = np.repeat(before[new], np.diff(np.append(np.flatnonzero(new), len(rows))))
    return before - firsts


LETTER, UPPER, DIGIT, SPACE, PUNCTUATION, EXTENDS, JOINS, CONTROL = (1 << bit for bit in range(8))


def kinds(points: Points) -> Bytes:
    """Return the kinds of code points, as bits: LETTER, UPPER, DIGIT, SPACE, PUNCTUATION, EXTENDS, JOINS, CONTROL."""
    indices: Points = np.minimum(points, 0x20000) + (points >= 0xE0000)
    return _kinds()[indices]


def other_case(points: Points) -> Points:
    """Return each code point in the other case; itself if it has none, or one that doesn't lead back (ß, ς)."""
    table = _other_cases()
    return np.where(points < len(table), table[np.minimum(points, len(table) - 1)], points)


def begins(points: Points, rows: Numbers) -> Flags:
    """Return where a character begins, close to UAX #29; in doubt together (consonants joined by a virama)."""
    begins = np.ones(len(points), bool)
    if len(points) < 2:
        return begins
    crlf = (points[1:] == 0x0A) & (points[:-1] == 0x0D)
    begins[1:] = ~crlf
    if points.max() >= 0x300:
        kind = kinds(points)
        extends = (kind[1:] & EXTENDS > 0) & (kind[:-1] & CONTROL == 0)
        # a virama joins over other marks that follow it
        index = np.arange(len(points))
        last_joining = np.maximum.accumulate(np.where(kind & JOINS > 0, index, -1))
        last_base = np.maximum.accumulate(np.where(kind & EXTENDS == 0, index, -1))
        joined = (last_joining >= last_base)[:-1] & (kind[1:] & CONTROL == 0) & (last_joining[:-1] >= 0)
        begins[1:] &= ~(extends | joined | _syllable(points) | _flag(points, rows))
    begins[1:] |= rows[1:] != rows[:-1]
    return begins


def _syllable(points: Points) -> Flags:
    """Return where a Hangul vowel or final continues the syllable before it."""
    before, after = points[:-1], points[1:]
    block = (before >= 0xAC00) & (before <= 0xD7A3)
    open_block: Flags = block & ((before - 0xAC00) % 28 == 0)
    after_leading = _leading(before) & (_leading(after) | _vowel(after) | (after >= 0xAC00) & (after <= 0xD7A3))
    after_vowel = (_vowel(before) | open_block) & (_vowel(after) | _final(after))
    return after_leading | after_vowel | (_final(before) | block & ~open_block) & _final(after)


def _leading(points: Points) -> Flags:
    return (points >= 0x1100) & (points <= 0x115F) | (points >= 0xA960) & (points <= 0xA97C)


def _vowel(points: Points) -> Flags:
    return (points >= 0x1160) & (points <= 0x11A7) | (points >= 0xD7B0) & (points <= 0xD7C6)


def _final(points: Points) -> Flags:
    return (points >= 0x11A8) & (points <= 0x11FF) | (points >= 0xD7CB) & (points <= 0xD7FB)


def _flag(points: Points, rows: Numbers) -> Flags:
    """Return where the second letter of a flag follows its first."""
    letter: Flags = (points >= 0x1F1E6) & (points <= 0x1F1FF)
    if not letter.any():
        return np.zeros(len(points) - 1, bool)
    opens = letter.copy()
    opens[1:] &= ~(letter[:-1] & (rows[1:] == rows[:-1]))
    index = np.arange(len(points))
    since_opened: Numbers = index - np.maximum.accumulate(np.where(opens, index, 0))
    second: Flags = since_opened % 2 == 1
    return (letter & second)[1:]


@cache
def _kinds() -> Bytes:
    """Return the kind of each code point below 0x20000; of those above (Chinese); of those from 0xE0000 (tags)."""
    of_category = {
        "Lu": LETTER | UPPER, "Lt": LETTER | UPPER, "Ll": LETTER, "Lm": LETTER, "Lo": LETTER, "Nd": DIGIT,
        "Mn": EXTENDS, "Mc": EXTENDS, "Me": EXTENDS, "Cc": CONTROL, "Zl": CONTROL | SPACE, "Zp": CONTROL | SPACE,
        "Zs": SPACE, "Cf": CONTROL, "Pc": PUNCTUATION, "Pd": PUNCTUATION, "Ps": PUNCTUATION, "Pe": PUNCTUATION,
        "Pi": PUNCTUATION, "Pf": PUNCTUATION, "Po": PUNCTUATION,
    }  # fmt: skip
    table = np.array([of_category.get(unicodedata.category(chr(point)), 0) for point in range(0x20000)], np.uint8)
    table[[0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x1C, 0x1D, 0x1E, 0x1F, 0x85]] |= SPACE
    table[[0x200C, *range(0x1F3FB, 0x1F400)]] = EXTENDS
    table[[0xFF9E, 0xFF9F, 0x0E33, 0x0EB3]] = EXTENDS | LETTER
    table[0x200D] = EXTENDS | JOINS
    viramas = [point for point in range(0x20000) if unicodedata.combining(chr(point)) == 9]
    table[viramas] |= JOINS
    table[[*range(0x0600, 0x0606), 0x06DD, 0x070F, 0x08E2, 0x110BD, 0x110CD]] = JOINS  # signs before what they mark
    return np.append(table, np.array([LETTER, EXTENDS], np.uint8))


@cache
def _other_cases() -> Points:
    table = np.arange(0x20000, dtype=np.uint32)
    for point in range(0x20000):
        other = chr(point).swapcase()
        if len(other) == 1 and other.swapcase() == chr(point):
            table[point] = ord(other)
    return table
