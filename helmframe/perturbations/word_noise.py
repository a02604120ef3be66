"""Noise in words, punctuation and numbers.

A word is a run of letters and digits, with the apostrophes, hyphens and points inside it (don't, well-known, 3.14).
Text without spaces is one word up to the next punctuation. A higher `prob` changes everything that a lower one changes.
"""

from dataclasses import replace

import numpy as np
import polars as pl

from helmframe.perturbations.characters import (
    PUNCTUATION,
    SPACE,
    WHERE,
    WHETHER,
    WHICH,
    Text,
    Units,
    changed_characters,
    draws,
    words,
)
from helmframe.perturbations.factory import perturbation
from helmframe.perturbations.noise_kernel import check_word
from helmframe.perturbations.text_kernel import Flags, below, probability, scaled

MODES = ("drop", "insert", "double")
# The six marks of AEDA.
MARKS = ".;?:!,"


@perturbation("drop_words")
def drop_words(text: pl.Expr, key: pl.Expr, prob: float = 0.1) -> pl.Expr:
    """Drop words, each with the space before it.

    At least one word of a text remains.

    Args:
        text: The text column.
        key: The column that random numbers depend on.
        prob: The probability of a deletion per word.

    >>> pl.select(drop_words(prob=0.5).on(pl.lit("Who wrote the first program?"), id=pl.lit("a"))).item()
    'Who wrote the program?'

    Source: Wei & Zou 2019 (EDA, random deletion); nlpaug `RandomWordAug`.
    """
    probability("drop_words", "prob", prob)
    return changed_characters(text, key, lambda characters: _dropped(characters, prob))


@perturbation("swap_words")
def swap_words(text: pl.Expr, key: pl.Expr, prob: float = 0.1) -> pl.Expr:
    """Swap neighbouring words.

    Words are paired, starting at the first or second word after a punctuation mark. The start is random. Two words are
    swapped only if nothing but white space is between them.

    Args:
        text: The text column.
        key: The column that random numbers depend on.
        prob: The probability of a swap per pair of words.

    >>> pl.select(swap_words(prob=0.3).on(pl.lit("Who wrote the first program?"), id=pl.lit("a"))).item()
    'wrote Who first the program?'

    Source: Wei & Zou 2019 (EDA, random swap); nlpaug `RandomWordAug(action="swap")`.
    """
    probability("swap_words", "prob", prob)
    return changed_characters(text, key, lambda characters: _swapped(characters, prob))


@perturbation("repeat_words")
def repeat_words(text: pl.Expr, key: pl.Expr, prob: float = 0.1) -> pl.Expr:
    """Repeat words, with a space between.

    Args:
        text: The text column.
        key: The column that random numbers depend on.
        prob: The probability of a repetition per word.

    >>> pl.select(repeat_words(prob=0.1).on(pl.lit("Who wrote the first program?"), id=pl.lit("a"))).item()
    'Who wrote the first program program?'

    Source: TextFlint, SpeechRepeat.
    """
    probability("repeat_words", "prob", prob)

    def change(characters: Units) -> Text:
        pieces, is_word, _ = words(characters)
        spots = np.flatnonzero(is_word & below(pieces.draws(WHETHER), prob))
        after = np.repeat(spots + 1, 2)
        repeated = np.column_stack([np.full(len(spots), len(pieces)), spots]).ravel()
        order = np.insert(np.arange(len(pieces)), after, repeated)
        return pieces.rebuilt(order, np.insert(pieces.rows, after, np.repeat(pieces.rows[spots], 2)), [ord(" ")])

    return changed_characters(text, key, change)


@perturbation("punctuation")
def punctuation(text: pl.Expr, key: pl.Expr, prob: float = 0.3, mode: str = "drop") -> pl.Expr:
    """Drop, double or insert punctuation marks, but never inside words and numbers.

    Args:
        text: The text column.
        key: The column that random numbers depend on.
        prob: The probability per mark ("drop", "double"), or per word without a mark after it ("insert").
        mode: "drop", "double", or "insert", which adds one of `.;?:!,` after words.

    >>> pl.select(punctuation(prob=1.0, mode='double').on(pl.lit("Who wrote it?"), id=pl.lit("a"))).item()
    'Who wrote it??'

    Source: Karimi et al. 2021 (AEDA) for "insert". CheckList `punctuation` and TextFlint `InsertAdv` are similar.
    """
    probability("punctuation", "prob", prob)
    check_word("punctuation", "mode", mode, MODES)

    def change(characters: Units) -> Text:
        if mode == "insert":
            return _marked(characters, prob)
        _, is_word, piece = words(characters)
        inside = is_word[piece]
        spots = (characters.kinds & PUNCTUATION > 0) & ~inside & below(characters.draws(WHETHER), prob)
        return characters.rebuilt(
            np.repeat(np.arange(len(characters)), np.where(spots, 2 if mode == "double" else 0, 1))
        )

    return changed_characters(text, key, change)


@perturbation("change_numbers", kind="")
def change_numbers(text: pl.Expr, key: pl.Expr, prob: float = 1.0) -> pl.Expr:
    """Replace numbers with other numbers that have the same number of digits.

    The digits before and after the decimal point are counted separately. This changes the question, and often the
    correct answer: it tests whether a model reads the numbers at all. It is neither a robustness nor a fairness
    perturbation, and no preset contains it.

    A first digit that is zero stays zero, and one that is not stays nonzero. The last digit always changes. Only the
    digits 0 to 9 change, those inside words (`B2B`) too.

    Args:
        text: The text column.
        key: The column that random numbers depend on.
        prob: The probability of a change per number.

    >>> pl.select(change_numbers().on(pl.lit("Add 12.50 and 7."), id=pl.lit("a"))).item()
    'Add 95.13 and 6.'

    Source: CheckList `Perturb.change_number` (Ribeiro et al. 2020), which changes numbers by up to 20 %.
    """
    probability("change_numbers", "prob", prob)
    return changed_characters(text, key, lambda characters: _renumbered(characters, prob))


def _dropped(characters: Units, prob: float) -> Text:
    pieces, is_word, _ = words(characters)
    dropped = _words_to_drop(pieces, is_word, prob)
    is_space = ~is_word & (pieces.kinds & SPACE > 0)
    # In a stretch of spaces and dropped words, the first space stays if the stretch both begins and ends with a space.
    soft = is_space | dropped
    new_row = np.append(True, pieces.rows[1:] != pieces.rows[:-1])[: len(pieces)]
    begins = soft & (new_row | ~np.append(False, soft[:-1])[: len(pieces)])
    ends = soft & np.append(new_row[1:] | ~soft[1:], True)[: len(pieces)]
    first, last = np.flatnonzero(begins), np.flatnonzero(ends)
    stretch = np.cumsum(begins) - 1
    has_dropped = np.bincount(stretch[dropped], minlength=len(first)) > 0
    keep = ~soft
    keep[soft] = ~has_dropped[stretch[soft]]
    keep[first[has_dropped & is_space[first] & is_space[last]]] = True
    return pieces.rebuilt(np.flatnonzero(keep))


def _words_to_drop(pieces: Units, is_word: Flags, prob: float) -> Flags:
    """Return the words to drop.

    If all words are hit, the word with the highest random number remains: it is the last to be dropped as `prob` rises.
    """
    numbers, rows = pieces.draws(WHETHER), pieces.rows
    dropped = is_word & below(numbers, prob)
    left = np.bincount(rows[is_word & ~dropped], minlength=len(pieces.keys))
    for row in np.unique(rows[dropped & (left == 0)[rows]]):
        of_row = slice(*np.searchsorted(rows, [row, row + 1]))
        dropped[of_row.start + int(np.where(is_word[of_row], numbers[of_row], 0).argmax())] = False
    return dropped


def _swapped(characters: Units, prob: float) -> Text:
    pieces, is_word, _ = words(characters)
    rows, places = pieces.rows, pieces.places
    pairs = np.flatnonzero(is_word[:-2] & is_word[2:] & (rows[:-2] == rows[2:]))
    pairs = pairs[pieces.kinds[pairs + 1] & SPACE > 0]
    # A run begins where the pair before belongs to another run; its first pair starts at its first or second word.
    begins = np.append(True, np.diff(pairs) > 2)[: len(pairs)]
    run = np.cumsum(begins) - 1
    first = pairs[begins][run]
    from_second = draws(pieces.keys, WHERE, rows[first], places[first]) >> np.uint64(63)
    pairs = pairs[(pairs - first) // 2 % 2 == from_second]
    pairs = pairs[below(draws(pieces.keys, WHETHER, rows[pairs], places[pairs]), prob)]
    order = np.arange(len(pieces))
    order[pairs], order[pairs + 2] = pairs + 2, pairs
    return pieces.rebuilt(order)


def _marked(characters: Units, prob: float) -> Text:
    pieces, is_word, _ = words(characters)
    other = ~is_word & (pieces.kinds & SPACE == 0)
    before_other = np.append(other[1:] & (pieces.rows[1:] == pieces.rows[:-1]), False)[: len(pieces)]
    spots = np.flatnonzero(is_word & ~before_other & below(pieces.draws(WHETHER), prob))
    marks = np.array([ord(mark) for mark in MARKS])
    extra = marks[scaled(pieces.draws(WHICH)[spots], len(marks))]
    return pieces.with_extra(spots, extra)


def _renumbered(characters: Units, prob: float) -> Text:
    points, rows = characters.first, characters.rows
    digit = (points >= ord("0")) & (points <= ord("9")) & (characters.lengths == 1)
    part = digit.copy()
    part[1:-1] |= np.isin(points[1:-1], [ord("."), ord(",")]) & digit[:-2] & digit[2:] & (rows[:-2] == rows[2:])
    new_row = np.append(True, rows[1:] != rows[:-1])[: len(rows)]
    first = part & (new_row | ~np.append(False, part[:-1])[: len(part)])
    last = part & np.append(new_row[1:] | ~part[1:], True)[: len(part)]
    number = np.cumsum(first) - 1
    is_hit = below(characters.draws(WHETHER)[first], prob)
    spots = np.flatnonzero(digit)
    spots = spots[is_hit[number[spots]]]
    old, numbers = points[spots].astype(np.int64) - ord("0"), characters.draws(WHICH)[spots]
    first, last = first[spots], last[spots]
    other = (old + 1 + scaled(numbers, 9)) % 10
    other_but_zero = np.where(old == 0, 1 + scaled(numbers, 9), (old + scaled(numbers, 8)) % 9 + 1)
    leading = np.where(old == 0, 0, 1 + scaled(numbers, 9))
    new = np.select([first & last, first, last], [other_but_zero, leading, other], scaled(numbers, 10))
    changed = characters.points.copy()
    changed[characters.starts[spots]] = new + ord("0")
    return replace(characters, points=changed).rebuilt(np.arange(len(characters)))
