"""Which characters noise hits, and what it puts in their place."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

from helmframe.errors import ArgumentError
from helmframe.perturbations.arrays import Draws, Flags, Numbers, Points
from helmframe.perturbations.characters import WHERE, WHETHER, WHICH, Text, Units, draws, word_numbers
from helmframe.perturbations.graphemes import other_case
from helmframe.perturbations.text_kernel import below, scaled

PER = ("letter", "word")


def struck(characters: Units, candidates: Flags, prob: float, per: str, keep_edges: bool) -> Flags:
    """Which characters are hit: each candidate by itself, or one of those of each word that is hit."""
    import numpy as np

    if per == "letter" and not keep_edges:
        return candidates & below(characters.draws(WHETHER), prob)
    number, rows, places = word_numbers(characters)
    if keep_edges:
        candidates = candidates & ~edges(number)
    if per == "letter":
        return candidates & below(characters.draws(WHETHER), prob)
    of_words = np.flatnonzero(candidates & (number >= 0))
    spots = np.zeros(len(characters), bool)
    spots[of_words[one_of_each(number[of_words], rows, places, characters.keys, prob)]] = True
    return spots


def one_of_each(number: Numbers, rows: Numbers, places: Draws, keys: Draws, prob: float) -> Flags:
    """Which elements are drawn, one of each word that is hit. `number` is the word of each, ascending."""
    import numpy as np

    counts = np.bincount(number, minlength=len(rows))
    first = np.cumsum(counts) - counts
    chosen = first + scaled(draws(keys, WHERE, rows, places), counts)
    is_hit: Flags = below(draws(keys, WHETHER, rows, places), prob)
    is_chosen: Flags = np.arange(len(number)) == chosen[number]
    return is_hit[number] & is_chosen


def edges(number: Numbers) -> Flags:
    """The first and last character of each word."""
    import numpy as np

    edges = np.ones(len(number), bool)
    if len(number):
        change = number[1:] != number[:-1]
        edges[1:-1] = change[:-1] | change[1:]
    return edges


def known(characters: Units, table: Mapping[str, str]) -> Flags:
    """Which characters the table has, those of a pair at its first; a letter with an accent of its own is another."""
    return _sources(characters, _compiled(tuple(table.items()))) >= 0


def substituted(characters: Units, spots: Flags, table: Mapping[str, str]) -> Text:
    """The texts with what stands at the spots replaced by one of what the table has for it, drawn evenly.

    Args:
        characters: of the texts.
        spots: which characters are replaced, some of those `known`.
        table: one letter, or a pair, to what may stand for it: one letter or a pair each, with spaces between.
    """
    import numpy as np

    compiled = _compiled(tuple(table.items()))
    places = np.flatnonzero(spots)
    source = _sources(characters, compiled)[places]
    own = draws(characters.keys, WHICH, characters.rows[places], characters.places[places])
    choice = scaled(own, compiled.counts[source])
    points = characters.points.copy()
    points[characters.starts[places]] = compiled.first[source, choice]
    second = compiled.second[source, choice]
    changed = replace(characters, points=points)
    if not second.any() and not compiled.is_pair[source].any():
        return changed.rebuilt(np.arange(len(characters)))
    keep = np.ones(len(characters), bool)
    keep[places[compiled.is_pair[source]] + 1] = False
    return changed.with_extra(places[second > 0], second[second > 0], keep)


def recased(characters: Units, spots: "Flags | Numbers", order: "Numbers | None" = None) -> Text:
    """The texts with the characters at these spots in the other case."""
    import numpy as np

    points = characters.points.copy()
    at = characters.starts[spots]
    points[at] = other_case(points[at])
    return replace(characters, points=points).rebuilt(np.arange(len(characters)) if order is None else order)


def check_word(perturbation: str, argument: str, said: object, words: tuple[str, ...]) -> None:
    """That the argument is one of these words.

    Raises:
        ArgumentError: it is not; with near matches.
    """
    if said not in words:
        raise ArgumentError.unknown_value(f"{perturbation}({argument}={said!r})", said, words)


@dataclass(frozen=True)
class _Compiled:
    """A table of substitutions as arrays: `singles` code point → source or -1, `pairs` (first, second, source);
    `counts`, `first`, `second` (0: none) what may stand for each source, and whether it `is_pair`.
    """

    singles: Numbers
    pairs: tuple[tuple[int, int, int], ...]
    counts: Numbers
    first: Points
    second: Points
    is_pair: Flags


@cache
def _compiled(table: tuple[tuple[str, str], ...]) -> _Compiled:
    import numpy as np

    singles = np.full(256, -1, np.int64)
    pairs = []
    options = [said.split() for _, said in table]
    first = np.zeros((len(table), max(map(len, options))), np.uint32)
    second = np.zeros_like(first)
    for number, (source, _) in enumerate(table):
        if len(source) == 1:
            singles[ord(source)] = number
        else:
            pairs.append((ord(source[0]), ord(source[1]), number))
        for place, option in enumerate(options[number]):
            first[number, place] = ord(option[0])
            second[number, place] = ord(option[1]) if len(option) > 1 else 0
    is_pair = np.array([len(source) == 2 for source, _ in table])
    return _Compiled(singles, tuple(pairs), np.array([len(each) for each in options]), first, second, is_pair)


def _sources(characters: Units, table: _Compiled) -> Numbers:
    """Which entry of the table each character is, or -1; the second of a pair is none."""
    import numpy as np

    first, single = characters.first, characters.lengths == 1
    source = np.where(single & (first < 255), table.singles[np.minimum(first, 255)], -1)
    for one, two, number in table.pairs:
        pair = (first[:-1] == one) & (first[1:] == two) & single[:-1] & single[1:]
        pair &= characters.rows[:-1] == characters.rows[1:]
        source[:-1][pair] = number
        source[1:][pair] = -1
    return source
