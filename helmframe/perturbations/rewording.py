"""Replacement of phrases by alternatives: a keyed random number selects one, and the old phrase sets its case."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import polars as pl

from helmframe._core.expressions import keyed_draws
from helmframe.perturbations.phrases import Matches, Phrases, find_phrases, phrases
from helmframe.perturbations.text_kernel import (
    Bytes,
    Change,
    Draws,
    Flags,
    Numbers,
    below,
    over_buffer,
    ranges,
    scaled,
    spliced,
)

# The four cases in which `Lexicon` stores an alternative.
_AS_IT_IS, _LOWER, _UPPER, _CAPITALISED = range(4)


@dataclass(frozen=True)
class Lexicon:
    """Phrases with their alternatives; `lexicon` returns one.

    Attributes:
        phrases: The phrases to look for.
        firsts: For each phrase, the index of its first alternative among all alternatives.
        counts: The number of its alternatives.
        data: The bytes of every alternative in its four cases.
        starts: The start of each in `data`, four per alternative.
        lengths: The length of each.
        identities: A number per phrase that depends on its letters only.
        cases: The data that determines a phrase's case.
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
    """For each phrase: whether it can be all lower or all upper case, and its number of ASCII letters."""

    lower: Flags
    upper: Flags
    letters: Numbers


def lexicon(table: Mapping[str, Sequence[str]], *, fold: bool = True, hyphens: bool = False) -> Lexicon:
    """Return a table of phrases and alternatives prepared for look-ups; phrases without alternatives are skipped.

    Args:
        table: A mapping from phrases to alternatives.
        fold: Whether the case of ASCII letters is ignored; else it is part of the phrase.
        hyphens: Whether a hyphen is part of the word next to it.

    Raises:
        ArgumentError: A phrase contains no word.
    """
    table = {phrase: list(alternatives) for phrase, alternatives in table.items() if len(alternatives)}
    counts = np.array([len(alternatives) for alternatives in table.values()], dtype=np.int64)
    pieces = [
        _cased(alternative, case).encode()
        for alternatives in table.values()
        for alternative in alternatives
        for case in range(4)
    ]
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
    """Return `lexicon` of a table, built once: `tables` returns the same object while its file is unchanged."""
    key = (id(table), fold, hyphens)
    if key not in _LEXICONS:
        # the entry contains the table, so that no other object gets its id while it exists
        _LEXICONS[key] = (table, lexicon(table, fold=fold, hyphens=hyphens))
    return _LEXICONS[key][1]


_LEXICONS: dict[tuple[int, bool, bool], tuple[Mapping[str, Sequence[str]], Lexicon]] = {}


def reworded(text: pl.Expr, key: pl.Expr, words: Lexicon, prob: float, *, by_word: bool = False) -> pl.Expr:
    """Return the text with each phrase of the lexicon replaced, with probability `prob`, by one of its alternatives.

    Args:
        text: The text column.
        key: An UInt64 column, one key per row.
        words: The lexicon.
        prob: The probability per phrase, between 0 and 1.
        by_word: True makes random numbers depend on key and phrase only, so that a phrase has the same replacement
            throughout a text. False makes them depend on key and position.
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
    """Return a batch's bytes and offsets after `reworded`; `then` is a byte that must follow the phrase."""
    hits = find_phrases(words.phrases, data, offsets, then=then)
    places = words.identities[hits.numbers] if by_word else hits.places.astype(np.uint64)
    draws = keyed_draws(keys[hits.rows], places)
    selected = np.flatnonzero(below(draws, prob))
    hits = Matches(*(column[selected] for column in (hits.numbers, hits.starts, hits.ends, hits.rows, hits.places)))
    choices = keyed_draws(draws[selected], places[selected])
    chosen = words.firsts[hits.numbers] + scaled(choices, words.counts[hits.numbers])
    pieces = 4 * chosen + _case_of(data, hits, words.cases)
    change = Change(hits.starts, hits.ends, hits.rows, words.starts[pieces], words.lengths[pieces])
    return spliced(data, offsets, change, words.data)


def _case_of(data: Bytes, hits: Matches, cases: _Cases) -> Numbers:
    """Return the case of each alternative, by HELM's `match_case`."""
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
