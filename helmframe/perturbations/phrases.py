"""The words in a batch of texts, and the phrases of a table among them.

A word is a run of letters, digits and underscores, as in Python's regular expressions. The edge of a text is the edge
of a word.

Words are looked up in a table of byte strings. Eight bytes are one number, and a word is two or three of them. The
first bits of a hash select the few strings in the table whose hash begins with them; for most words there are none.
The bytes themselves are compared last, so that equal hashes can't cause an error.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from helmframe.errors import ArgumentError
from helmframe.perturbations.text_kernel import Bytes, Draws, Flags, Numbers, row_of

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


@dataclass(frozen=True)
class Phrases:
    """A table's phrases, prepared for `find_phrases`.

    Attributes:
        fold: Whether the case of ASCII letters is ignored.
        hyphens: Whether a hyphen is part of the word next to it.
        heads: The phrases of one word, and the first words of the others.
        numbers: For each head, the number of its phrase; -1 if it only begins others.
        begins: For each head, the shapes of the phrases that it begins, one bit each.
        longer: The other phrases, by shape.
    """

    fold: bool
    hyphens: bool
    heads: Table
    numbers: Numbers
    begins: Numbers
    longer: tuple["_OfShape", ...]


@dataclass(frozen=True)
class Words:
    """The words in the texts of some rows, in order.

    `firsts` contains the number of each row's first word, and the number of all words. `inside` is whether each byte is
    in a word.
    """

    starts: Numbers
    ends: Numbers
    firsts: Numbers
    inside: Flags


@dataclass(frozen=True)
class Matches:
    """The phrases in the texts of some rows, in order, without overlaps: arrays with one element per phrase.

    `numbers` is the phrase in the table, `starts` and `ends` are its bytes in the buffer, `rows` is its row, and
    `places` is the number of its first word within the row.
    """

    numbers: Numbers
    starts: Numbers
    ends: Numbers
    rows: Numbers
    places: Numbers


@dataclass(frozen=True)
class _Shape:
    """The shape of a phrase: the bytes before its first word, its words, and the bytes after its last word."""

    before: int
    words: int
    after: int


@dataclass(frozen=True)
class _OfShape:
    shape: _Shape
    table: Table
    numbers: Numbers


_ONE_WORD = _Shape(0, 1, 0)


def phrases(texts: Sequence[str], *, fold: bool = True, hyphens: bool = False) -> Phrases:
    """Return the phrases, numbered in this order; a repeated phrase has the number of the first.

    Raises:
        ArgumentError: A phrase contains no word.
    """
    heads: dict[bytes, int] = {}
    begins: dict[bytes, int] = {}
    longer: dict[_Shape, dict[bytes, int]] = {}
    for number, phrase in enumerate(texts):
        whole = _folded(phrase) if fold else phrase.encode()
        shape, head = _shape(whole.decode(), hyphens)
        if shape == _ONE_WORD:
            heads.setdefault(head, number)
        else:
            longer.setdefault(shape, {}).setdefault(whole, number)
            begins[head] = begins.get(head, 0) | 1 << list(longer).index(shape)
    every = [*heads, *(head for head in begins if head not in heads)]
    return Phrases(
        fold,
        hyphens,
        table(every),
        np.array([heads.get(head, -1) for head in every], dtype=np.int64),
        np.array([begins.get(head, 0) for head in every], dtype=np.int64),
        tuple(
            _OfShape(shape, table(list(numbers)), np.array(list(numbers.values()), dtype=np.int64))
            for shape, numbers in longer.items()
        ),
    )


def words(data: Bytes, offsets: Numbers, *, hyphens: bool = False) -> Words:
    """Return the words of the texts that `offsets` cut the bytes into."""
    lower = data | 0x20
    inside = (lower - ord("a") < 26) | (data - ord("0") < 10) | (data == ord("_")) | (data >= 0x80)
    if hyphens:
        inside |= data == ord("-")
    _clear_other_characters(data, inside)
    full = np.flatnonzero(offsets[1:] > offsets[:-1])
    before, after = np.empty_like(inside), np.empty_like(inside)
    before[1:], after[:-1] = inside[:-1], inside[1:]
    before[offsets[full]] = False
    after[offsets[full + 1] - 1] = False
    starts, ends = np.flatnonzero(inside > before), np.flatnonzero(inside > after) + 1
    return Words(starts, ends, np.searchsorted(starts, offsets), inside)


def find_phrases(phrases: Phrases, data: Bytes, offsets: Numbers, *, then: int | None = None) -> Matches:
    """Return the phrases in the texts that `offsets` cut the bytes into; the longest phrase if several match.

    Args:
        phrases: The phrases.
        data: The bytes of the texts.
        offsets: The starts of the texts, and the end of the last.
        then: A byte that must follow the phrase in its text.
    """
    if phrases.fold:
        data = data + ((data - ord("A") < 26).view(np.uint8) << 5)  # ASCII letters in lower case
    view = eights(data)
    text_words = words(data, offsets, hyphens=phrases.hyphens)
    at, heads = find(phrases.heads, view, text_words.starts, text_words.ends - text_words.starts)
    one_word = phrases.numbers[heads] >= 0
    hits = _spans(text_words, at[one_word], phrases.numbers[heads[one_word]], offsets)
    if then is not None:
        hits = hits[:, _followed(data, offsets, hits, then)]
    begins = phrases.begins[heads]
    spans = [
        _longer(kind, view, offsets, text_words, at[begins & 1 << bit > 0]) for bit, kind in enumerate(phrases.longer)
    ]
    if spans:
        longer = np.concatenate(spans, axis=1)
        if then is not None:
            longer = longer[:, _followed(data, offsets, longer, then)]
        hits = _both(hits, longer[:, _leftmost(longer[_START], longer[_END])], text_words)
    return Matches(hits[_NUMBER], hits[_START], hits[_END], hits[_ROW], hits[_WORD] - text_words.firsts[hits[_ROW]])


# The rows of an array of spans: number of the first word, number of the phrase, its bytes, its row.
_WORD, _NUMBER, _START, _END, _ROW = range(5)


def _spans(text_words: Words, at: Numbers, numbers: Numbers, offsets: Numbers, shape: _Shape = _ONE_WORD) -> Numbers:
    """Return an array of spans of this shape, one per word of `at`."""
    starts = text_words.starts[at]
    ends = text_words.ends[at + shape.words - 1] + shape.after
    return np.stack([at, numbers, starts - shape.before, ends, row_of(starts, offsets)])


def _longer(kind: _OfShape, view: Draws, offsets: Numbers, text_words: Words, at: Numbers) -> Numbers:
    """Return the spans of the phrases of one shape whose first words are `at`."""
    shape = kind.shape
    at = at[at + shape.words <= len(text_words.starts)]
    spans = _spans(text_words, at, at, offsets, shape)
    spans = spans[:, (spans[_START] >= offsets[spans[_ROW]]) & (spans[_END] <= offsets[spans[_ROW] + 1])]
    if shape.before:
        spans = spans[:, ~_touches(text_words, offsets, spans[_START] - 1, spans[_ROW])]
    if shape.after:
        spans = spans[:, ~_touches(text_words, offsets, spans[_END], spans[_ROW])]
    which, strings = find(kind.table, view, spans[_START], spans[_END] - spans[_START])
    spans = spans[:, which]
    spans[_NUMBER] = kind.numbers[strings]
    return spans


def _followed(data: Bytes, offsets: Numbers, spans: Numbers, then: int) -> Flags:
    """Return whether the byte `then` follows each span in its row."""
    ends = spans[_END]
    continues: Flags = ends < offsets[spans[_ROW] + 1]
    return continues & (data[np.where(continues, ends, 0)] == then) if len(data) else continues


def _both(words: Numbers, longer: Numbers, text_words: Words) -> Numbers:
    """Return the spans of one word and of several, in order, without words that are part of a longer span."""
    if not longer.shape[1]:
        return words
    ends = np.searchsorted(text_words.starts, longer[_END])
    taken = np.zeros(len(text_words.starts) + 1, dtype=np.int8)
    taken[longer[_WORD]] += 1
    np.subtract.at(taken, ends, 1)
    taken = np.cumsum(taken, dtype=np.int8).view(bool)
    both = np.concatenate([words[:, ~taken[words[_WORD]]], longer], axis=1)
    # two sorted runs: the stable sort merges them
    return both[:, np.argsort(both[_WORD], kind="stable")]


def _touches(text_words: Words, offsets: Numbers, positions: Numbers, rows: Numbers) -> Flags:
    """Return whether a byte of a word is at each position of the row."""
    in_row = (positions >= offsets[rows]) & (positions < offsets[rows + 1])
    return in_row & text_words.inside[np.where(in_row, positions, 0)]


def _leftmost(starts: Numbers, ends: Numbers) -> Numbers:
    """Return the spans without overlaps, from left to right; of spans that start together, the longest."""
    order = np.lexsort((-ends, starts))
    if not (starts[order[1:]] < ends[order[:-1]]).any():
        return order
    taken, done = [], 0
    for span, start, end in zip(order.tolist(), starts[order].tolist(), ends[order].tolist(), strict=True):
        if start >= done:
            taken.append(span)
            done = end
    return np.array(taken, dtype=np.int64)


def _clear_other_characters(data: Bytes, inside: Flags) -> None:
    """Remove non-ASCII characters that are neither letters nor numbers from `inside`."""
    if not len(data) or data.max() < 0x80:
        return
    leads = np.flatnonzero(data >= 0xC0)
    sizes = 2 + (data[leads] >= 0xE0).astype(np.int64) + (data[leads] >= 0xF0)
    points = data[leads].astype(np.int64) & (0x7F >> sizes)
    for number in range(1, 4):
        longer = sizes > number
        points[longer] = points[longer] << 6 | (data[leads[longer] + number] & 0x3F)
    distinct, which = np.unique(points, return_inverse=True)
    outside = ~np.array([_is_word(int(point)) for point in distinct], dtype=bool)[which]
    for number in range(4):
        inside[leads[outside & (sizes > number)] + number] = False


def _shape(phrase: str, hyphens: bool) -> tuple[_Shape, bytes]:
    """Return the shape and the first word of a phrase."""
    spans = [match.span() for match in re.finditer(r"[\w-]+" if hyphens else r"\w+", phrase)]
    if not spans:
        raise ArgumentError(f"The phrase {phrase!r} contains no letter and no digit.")
    (start, end), (_, last) = spans[0], spans[-1]
    return _Shape(len(phrase[:start].encode()), len(spans), len(phrase[last:].encode())), phrase[start:end].encode()


@lru_cache(maxsize=1 << 16)
def _is_word(point: int) -> bool:
    return chr(point).isalnum()


def _folded(text: str) -> bytes:
    """Return the bytes of a text, with ASCII letters in lower case."""
    return text.encode().lower()


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
