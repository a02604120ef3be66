"""Phrases of a text replaced by others: by which, a keyed draw says; in which case, the phrase that was there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import polars as pl

from helmframe._core.expressions import keyed_draws
from helmframe.perturbations.arrays import Bytes, Draws, Flags, Numbers
from helmframe.perturbations.phrases import Found, Phrases, found, phrases
from helmframe.perturbations.text_kernel import Change, below, over_buffer, ranges, scaled, spliced

# The cases of an alternative, as `_Pieces` has them.
_AS_IT_IS, _LOWER, _UPPER, _CAPITALISED = range(4)


@dataclass(frozen=True)
class Lexicon:
    """Phrases with their alternatives; made by `lexicon`.

    Attributes:
        phrases: what is looked for.
        firsts: where the alternatives of each phrase start among all alternatives.
        counts: how many it has.
        data: the bytes of every alternative in its four cases.
        starts: where each starts in `data`, four to an alternative.
        lengths: how long each is.
        identities: a number per phrase that hangs on its letters alone.
        cases: what tells a phrase's case.
    """

    phrases: Phrases
    firsts: Numbers
    counts: Numbers
    data: Bytes
    starts: Numbers
    lengths: Numbers
    identities: Draws
    cases: "_Cases"


@dataclass(frozen=True)
class _Cases:
    """Per phrase: whether it can be all lower, all upper case, and how many ASCII letters it has."""

    lower: Flags
    upper: Flags
    letters: Numbers


def lexicon(table: Mapping[str, Sequence[str]], *, fold: bool = True, hyphens: bool = False) -> Lexicon:
    """A table of phrases and their alternatives, ready for look-ups; phrases without any are left out.

    Args:
        table: phrase → alternatives.
        fold: whether ASCII letters are the same in either case; else the case is part of the phrase.
        hyphens: whether a hyphen is part of the word beside it.

    Raises:
        ArgumentError: a phrase without a word.
    """
    import numpy as np

    table = {phrase: list(others) for phrase, others in table.items() if len(others)}
    counts = np.array([len(others) for others in table.values()], dtype=np.int64)
    pieces = [_cased(other, case).encode() for others in table.values() for other in others for case in range(4)]
    lengths = np.array([len(piece) for piece in pieces], dtype=np.int64)
    cases = _Cases(
        np.array([all(letter.islower() for letter in phrase.lower()) for phrase in table], dtype=bool),
        np.array([all(letter.isupper() for letter in phrase.upper()) for phrase in table], dtype=bool),
        np.array([sum(letter.isascii() and letter.isalpha() for letter in phrase) for phrase in table], dtype=np.int64),
    )
    identities = [int.from_bytes(blake2b(phrase.encode(), digest_size=8).digest(), "little") for phrase in table]
    return Lexicon(
        phrases(list(table), fold=fold, hyphens=hyphens),
        np.cumsum(counts) - counts,
        counts,
        np.frombuffer(b"".join(pieces), dtype=np.uint8),
        np.cumsum(lengths) - lengths,
        lengths,
        np.array(identities, dtype=np.uint64),
        cases,
    )


def lexicon_of(table: Mapping[str, Sequence[str]], *, fold: bool = True, hyphens: bool = False) -> Lexicon:
    """As `lexicon`, made once for each table; `tables` gives the same one as long as its file is the same."""
    key = (id(table), fold, hyphens)
    if key not in _MADE:
        # the table is kept too: while it is, no other can have its id
        _MADE[key] = (table, lexicon(table, fold=fold, hyphens=hyphens))
    return _MADE[key][1]


_MADE: dict[tuple[int, bool, bool], tuple[Mapping[str, Sequence[str]], Lexicon]] = {}


def reworded(text: pl.Expr, key: pl.Expr, words: Lexicon, prob: float, *, by_word: bool = False) -> pl.Expr:
    """The text with each phrase of the lexicon replaced, with probability `prob`, by one of its alternatives.

    Args:
        text: the text column.
        key: an UInt64 column, one key per row.
        words: the lexicon.
        prob: probability per phrase, a fraction.
        by_word: whether draws hang on key and phrase alone, so that a phrase becomes the same wherever it stands; else
            on key and place.
    """
    return over_buffer(text, key, lambda data, offsets, keys: with_words(data, offsets, keys, words, prob, by_word))


def with_words(
    data: Bytes,
    offsets: Numbers,
    keys: Draws,
    words: Lexicon,
    prob: float = 1.0,
    by_word: bool = False,
    then: int | None = None,
) -> tuple[Bytes, Numbers]:
    """What `reworded` does, on a batch's bytes; `then`: a byte that has to follow the phrase."""
    import numpy as np

    hits = found(words.phrases, data, offsets, then=then)
    places = words.identities[hits.numbers] if by_word else hits.places.astype(np.uint64)
    draws = keyed_draws(keys[hits.rows], places)
    kept = np.flatnonzero(below(draws, prob))
    hits = Found(*(column[kept] for column in (hits.numbers, hits.starts, hits.ends, hits.rows, hits.places)))
    again = keyed_draws(draws[kept], places[kept])
    chosen = words.firsts[hits.numbers] + scaled(again, words.counts[hits.numbers])
    pieces = 4 * chosen + _case_of(data, hits, words.cases)
    change = Change(hits.starts, hits.ends, hits.rows, words.starts[pieces], words.lengths[pieces])
    return spliced(data, offsets, change, words.data)


def _case_of(data: Bytes, hits: Found, cases: _Cases) -> Numbers:
    """In which case each alternative is written, by HELM's `match_case`."""
    import numpy as np

    if not len(hits.starts):
        return np.zeros(0, dtype=np.int64)
    lengths = hits.ends - hits.starts
    letters = data[ranges(hits.starts, lengths)]
    capital = (letters >= ord("A")) & (letters <= ord("Z"))
    capitals = np.add.reduceat(capital, np.cumsum(lengths) - lengths, dtype=np.int64)
    first = data[hits.starts]
    capitalised = (first >= ord("A")) & (first <= ord("Z"))
    lower = cases.lower[hits.numbers] & (capitals == 0)
    upper = cases.upper[hits.numbers] & (capitals == cases.letters[hits.numbers])
    return np.select([lower, upper, capitalised], [_LOWER, _UPPER, _CAPITALISED], default=_AS_IT_IS)


def _cased(text: str, case: int) -> str:
    return (text, text.lower(), text.upper(), text.capitalize())[case]
