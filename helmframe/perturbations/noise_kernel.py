"""The characters that noise changes, and their substitutes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from helmframe.errors import ArgumentError
from helmframe.perturbations.characters import WHERE, WHETHER, WHICH, Text, Units, draws, other_case, word_numbers
from helmframe.perturbations.text_kernel import Draws, Flags, Numbers, Points, below, scaled

PER = ("letter", "word")


def struck(characters: Units, candidates: Flags, prob: float, per: str, keep_edges: bool) -> Flags:
    """Return which characters are hit: each candidate independently, or one candidate of each word that is hit."""
    if per == "letter" and not keep_edges:
        return candidates & below(characters.draws(WHETHER), prob)
    number, rows, places = word_numbers(characters)
    if keep_edges:
        candidates = candidates & ~edges(number)
    if per == "letter":
        return candidates & below(characters.draws(WHETHER), prob)
    of_words = np.flatnonzero(candidates & (number >= 0))
    spots = np.zeros(len(characters), bool)
    spots[of_words[one_per_word(number[of_words], rows, places, characters.keys, prob)]] = True
    return spots


def one_per_word(number: Numbers, rows: Numbers, places: Draws, keys: Draws, prob: float) -> Flags:
    """Return which elements are sampled, one of each word that is hit. `number` is the word of each, ascending."""
    counts = np.bincount(number, minlength=len(rows))
    first = np.cumsum(counts) - counts
    chosen = first + scaled(draws(keys, WHERE, rows, places), counts)
    is_hit: Flags = below(draws(keys, WHETHER, rows, places), prob)
    is_chosen: Flags = np.arange(len(number)) == chosen[number]
    return is_hit[number] & is_chosen


def edges(number: Numbers) -> Flags:
    """Return the first and last character of each word."""
    edges = np.ones(len(number), bool)
    if len(number):
        change = number[1:] != number[:-1]
        edges[1:-1] = change[:-1] | change[1:]
    return edges


def in_table(characters: Units, table: Mapping[str, str]) -> Flags:
    """Return which characters the table has.

    A pair counts at its first letter. A letter with a combining accent does not count.
    """
    return _sources(characters, _compiled(tuple(table.items()))) >= 0


def substituted(characters: Units, spots: Flags, table: Mapping[str, str]) -> Text:
    """Return the texts with the characters at the spots replaced by one of their substitutes, each equally likely.

    Args:
        characters: The characters of the texts.
        spots: The characters to replace, a subset of those `in_table`.
        table: A letter or a pair of letters to its substitutes, each a letter or a pair, separated by spaces.
    """
    compiled = _compiled(tuple(table.items()))
    indices = np.flatnonzero(spots)
    source = _sources(characters, compiled)[indices]
    numbers = draws(characters.keys, WHICH, characters.rows[indices], characters.places[indices])
    choice = scaled(numbers, compiled.counts[source])
    points = characters.points.copy()
    points[characters.starts[indices]] = compiled.first[source, choice]
    second = compiled.second[source, choice]
    changed = replace(characters, points=points)
    if not second.any() and not compiled.is_pair[source].any():
        return changed.rebuilt(np.arange(len(characters)))
    keep = np.ones(len(characters), bool)
    keep[indices[compiled.is_pair[source]] + 1] = False
    return changed.with_extra(indices[second > 0], second[second > 0], keep)


def recased(characters: Units, spots: Flags | Numbers, order: Numbers | None = None) -> Text:
    """Return the texts with the characters at these spots in the other case."""
    points = characters.points.copy()
    at = characters.starts[spots]
    points[at] = other_case(points[at])
    return replace(characters, points=points).rebuilt(np.arange(len(characters)) if order is None else order)


def check_word(perturbation: str, argument: str, value: object, words: tuple[str, ...]) -> None:
    """Check that the argument is one of these words.

    Raises:
        ArgumentError: It isn't; the message suggests near matches.
    """
    if value not in words:
        raise ArgumentError.unknown_value(f"{perturbation}({argument}={value!r})", value, words)


@dataclass(frozen=True)
class _Compiled:
    """A table of substitutions as arrays.

    `singles` maps a code point to its source or -1. `pairs` are (first, second, source). For each source, `counts` is
    the number of its substitutes, `first` and `second` (0 if absent) are their code points, and `is_pair` is whether
    the source is a pair.
    """

    singles: Numbers
    pairs: tuple[tuple[int, int, int], ...]
    counts: Numbers
    first: Points
    second: Points
    is_pair: Flags


@cache
def _compiled(table: tuple[tuple[str, str], ...]) -> _Compiled:
    singles = np.full(256, -1, np.int64)
    pairs = []
    options = [substitutes.split() for _, substitutes in table]
    first = np.zeros((len(table), max(map(len, options))), np.uint32)
    second = np.zeros_like(first)
    for number, (source, _) in enumerate(table):
        if len(source) == 1:
            singles[ord(source)] = number
        else:
            pairs.append((ord(source[0]), ord(source[1]), number))
        for column, option in enumerate(options[number]):
            first[number, column] = ord(option[0])
            second[number, column] = ord(option[1]) if len(option) > 1 else 0
    is_pair = np.array([len(source) == 2 for source, _ in table])
    return _Compiled(singles, tuple(pairs), np.array(list(map(len, options))), first, second, is_pair)


def _sources(characters: Units, table: _Compiled) -> Numbers:
    """Return the table's entry for each character, or -1; the second character of a pair has no entry."""
    first, single = characters.first, characters.lengths == 1
    source = np.where(single & (first < 255), table.singles[np.minimum(first, 255)], -1)
    for one, two, number in table.pairs:
        pair = (first[:-1] == one) & (first[1:] == two) & single[:-1] & single[1:]
        pair &= characters.rows[:-1] == characters.rows[1:]
        source[:-1][pair] = number
        source[1:][pair] = -1
    return source
