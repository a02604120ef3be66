"""Words of a batch of texts, and the phrases of a table among them.

A word is a run of letters, digits and underscores, as Python's regular expressions have them; the edge of a text is the
edge of a word.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from helmframe.errors import ArgumentError
from helmframe.perturbations.arrays import Bytes, Draws, Flags, Numbers
from helmframe.perturbations.lookup import Table, eights, find, table
from helmframe.perturbations.text_kernel import row_of


@dataclass(frozen=True)
class Phrases:
    """A table's phrases, laid out for `found`.

    Attributes:
        fold: whether ASCII letters are the same in either case.
        hyphens: whether a hyphen is part of the word beside it.
        heads: the phrases of one word, and the first words of the others.
        numbers: of each head, the number of the phrase that it is; -1 where it only begins others.
        begins: of each head, which shapes of others it begins, one bit each.
        longer: the other phrases, by shape.
    """

    fold: bool
    hyphens: bool
    heads: Table
    numbers: Numbers
    begins: Numbers
    longer: tuple["_OfShape", ...]


@dataclass(frozen=True)
class Words:
    """The words of the texts of some rows, in order.

    `firsts` has the number of each row's first, and that of all; `inside` says of each byte whether it is in a word.
    """

    starts: Numbers
    ends: Numbers
    firsts: Numbers
    inside: Flags


@dataclass(frozen=True)
class Found:
    """Phrases in the texts of some rows, in order, none over another; an array each, one element per phrase.

    `numbers`: which of the table; `starts`, `ends`: where in the buffer; `rows`; `places`: the number of its first word
    within the row.
    """

    numbers: Numbers
    starts: Numbers
    ends: Numbers
    rows: Numbers
    places: Numbers


@dataclass(frozen=True)
class _Shape:
    """What a phrase is made of: bytes before its first word, words, bytes after its last word."""

    before: int
    words: int
    after: int


@dataclass(frozen=True)
class _OfShape:
    shape: _Shape
    table: Table
    numbers: Numbers


_ONE_WORD = _Shape(0, 1, 0)


def phrases(said: Sequence[str], *, fold: bool = True, hyphens: bool = False) -> Phrases:
    """The phrases, numbered in this order. One that stands there twice counts as the first.

    Raises:
        ArgumentError: a phrase without a word.
    """
    import numpy as np

    heads: dict[bytes, int] = {}
    begins: dict[bytes, int] = {}
    longer: dict[_Shape, dict[bytes, int]] = {}
    for number, phrase in enumerate(said):
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
            _OfShape(shape, table(list(each)), np.array(list(each.values()), dtype=np.int64))
            for shape, each in longer.items()
        ),
    )


def words(data: Bytes, offsets: Numbers, *, hyphens: bool = False) -> Words:
    """The words of the texts that `offsets` cut the bytes into."""
    import numpy as np

    lower = data | 0x20
    inside = (lower - ord("a") < 26) | (data - ord("0") < 10) | (data == ord("_")) | (data >= 0x80)
    if hyphens:
        inside |= data == ord("-")
    _mend_beyond_ascii(data, inside)
    full = np.flatnonzero(offsets[1:] > offsets[:-1])
    before, after = np.empty_like(inside), np.empty_like(inside)
    before[1:], after[:-1] = inside[:-1], inside[1:]
    before[offsets[full]] = False
    after[offsets[full + 1] - 1] = False
    starts, ends = np.flatnonzero(inside > before), np.flatnonzero(inside > after) + 1
    return Words(starts, ends, np.searchsorted(starts, offsets), inside)


def found(said: Phrases, data: Bytes, offsets: Numbers, *, then: int | None = None) -> Found:
    """The phrases in the texts that `offsets` cut the bytes into, from left to right, the longest where several begin.

    Args:
        said: the phrases.
        data: the bytes of the texts.
        offsets: where the texts start, and where the last ends.
        then: a byte that has to follow the phrase in its text.
    """
    import numpy as np

    if said.fold:
        data = data + ((data - ord("A") < 26).view(np.uint8) << 5)  # ASCII letters in lower case
    view = eights(data)
    each = words(data, offsets, hyphens=said.hyphens)
    at, heads = find(said.heads, view, each.starts, each.ends - each.starts)
    one_word = said.numbers[heads] >= 0
    hits = _spans(each, at[one_word], said.numbers[heads[one_word]], offsets)
    if then is not None:
        hits = hits[:, _followed(data, offsets, hits, then)]
    begins = said.begins[heads]
    spans = [_longer(kind, view, offsets, each, at[begins & 1 << bit > 0]) for bit, kind in enumerate(said.longer)]
    if spans:
        longer = np.concatenate(spans, axis=1)
        if then is not None:
            longer = longer[:, _followed(data, offsets, longer, then)]
        hits = _both(hits, longer[:, _leftmost(longer[_START], longer[_END])], each)
    return Found(hits[_NUMBER], hits[_START], hits[_END], hits[_ROW], hits[_WORD] - each.firsts[hits[_ROW]])


# The rows of an array of spans: number of the first word, number of the phrase, where it is.
_WORD, _NUMBER, _START, _END, _ROW = range(5)


def _spans(each: Words, at: Numbers, numbers: Numbers, offsets: Numbers, shape: _Shape = _ONE_WORD) -> Numbers:
    """An array of spans of this shape, one per word of `at`."""
    import numpy as np

    starts = each.starts[at]
    ends = each.ends[at + shape.words - 1] + shape.after
    return np.stack([at, numbers, starts - shape.before, ends, row_of(starts, offsets)])


def _longer(kind: _OfShape, view: Draws, offsets: Numbers, each: Words, at: Numbers) -> Numbers:
    """The spans of the phrases of one shape whose first words are `at`."""
    shape = kind.shape
    at = at[at + shape.words <= len(each.starts)]
    spans = _spans(each, at, at, offsets, shape)
    spans = spans[:, (spans[_START] >= offsets[spans[_ROW]]) & (spans[_END] <= offsets[spans[_ROW] + 1])]
    if shape.before:
        spans = spans[:, ~_touches(each, offsets, spans[_START] - 1, spans[_ROW])]
    if shape.after:
        spans = spans[:, ~_touches(each, offsets, spans[_END], spans[_ROW])]
    which, strings = find(kind.table, view, spans[_START], spans[_END] - spans[_START])
    spans = spans[:, which]
    spans[_NUMBER] = kind.numbers[strings]
    return spans


def _followed(data: Bytes, offsets: Numbers, spans: Numbers, then: int) -> Flags:
    """Whether the byte `then` follows each span in its row."""
    import numpy as np

    ends = spans[_END]
    goes_on: Flags = ends < offsets[spans[_ROW] + 1]
    return goes_on & (data[np.where(goes_on, ends, 0)] == then) if len(data) else goes_on


def _both(words: Numbers, longer: Numbers, each: Words) -> Numbers:
    """The spans of one word and of more, in order, without the words that are part of a longer span."""
    import numpy as np

    if not longer.shape[1]:
        return words
    ends = np.searchsorted(each.starts, longer[_END])
    taken = np.zeros(len(each.starts) + 1, dtype=np.int8)
    taken[longer[_WORD]] += 1
    np.subtract.at(taken, ends, 1)
    taken = np.cumsum(taken, dtype=np.int8).view(bool)
    both = np.concatenate([words[:, ~taken[words[_WORD]]], longer], axis=1)
    # two sorted runs: the stable sort merges them
    return both[:, np.argsort(both[_WORD], kind="stable")]


def _touches(each: Words, offsets: Numbers, places: Numbers, rows: Numbers) -> Flags:
    """Whether there is a byte of a word at each place of the row."""
    import numpy as np

    there = (places >= offsets[rows]) & (places < offsets[rows + 1])
    return there & each.inside[np.where(there, places, 0)]


def _leftmost(starts: Numbers, ends: Numbers) -> Numbers:
    """The spans that a reader takes from left to right, the longest of those that start together, none over another."""
    import numpy as np

    order = np.lexsort((-ends, starts))
    if not (starts[order[1:]] < ends[order[:-1]]).any():
        return order
    kept, done = [], 0
    for span, start, end in zip(order.tolist(), starts[order].tolist(), ends[order].tolist(), strict=True):
        if start >= done:
            kept.append(span)
            done = end
    return np.array(kept, dtype=np.int64)


def _mend_beyond_ascii(data: Bytes, inside: Flags) -> None:
    """Take the characters beyond ASCII that are neither letter nor number out of `inside`."""
    import numpy as np

    if not len(data) or data.max() < 0x80:
        return
    leads = np.flatnonzero(data >= 0xC0)
    sizes = 2 + (data[leads] >= 0xE0).astype(np.int64) + (data[leads] >= 0xF0)
    points = data[leads].astype(np.int64) & (0x7F >> sizes)
    for place in range(1, 4):
        longer = sizes > place
        points[longer] = points[longer] << 6 | (data[leads[longer] + place] & 0x3F)
    distinct, which = np.unique(points, return_inverse=True)
    outside = ~np.array([_is_word(int(point)) for point in distinct], dtype=bool)[which]
    for place in range(4):
        inside[leads[outside & (sizes > place)] + place] = False


def _shape(phrase: str, hyphens: bool) -> tuple[_Shape, bytes]:
    """Its shape and its first word."""
    spans = [match.span() for match in re.finditer(r"[\w-]+" if hyphens else r"\w+", phrase)]
    if not spans:
        raise ArgumentError(f"the phrase {phrase!r} holds no word: no letter and no digit.")
    (start, end), (_, last) = spans[0], spans[-1]
    return _Shape(len(phrase[:start].encode()), len(spans), len(phrase[last:].encode())), phrase[start:end].encode()


@lru_cache(maxsize=1 << 16)
def _is_word(point: int) -> bool:
    return chr(point).isalnum()


def _folded(text: str) -> bytes:
    """Its bytes, ASCII letters in lower case."""
    return text.encode().lower()
