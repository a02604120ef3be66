"""Noise in words, punctuation and numbers.

A word is a run of letters and digits, with the apostrophes, hyphens and points inside it (don't, well-known, 3.14);
text that is written without spaces is one word up to the next punctuation. What a lower `prob` changes, a higher one
changes too.
"""

from dataclasses import replace

import polars as pl

from helmframe.perturbations.arrays import Flags
from helmframe.perturbations.characters import WHERE, WHETHER, WHICH, Text, Units, changed_characters, draws, words
from helmframe.perturbations.graphemes import PUNCTUATION, SPACE
from helmframe.perturbations.noise_kernel import check_word
from helmframe.perturbations.registry import perturbation
from helmframe.perturbations.text_kernel import below, probability, scaled

MODES = ("drop", "insert", "double")
# The six marks of AEDA.
MARKS = ".;?:!,"


@perturbation("drop_words")
def drop_words(text: pl.Expr, key: pl.Expr, prob: float = 0.1) -> pl.Expr:
    """Each word goes missing with probability `prob`, and the space before it; one word of a text always stays.

    Source: Wei & Zou 2019 (EDA, random deletion); nlpaug `RandomWordAug`.
    """
    probability("drop_words", "prob", prob)
    return changed_characters(text, key, lambda characters: _dropped(characters, prob))


@perturbation("swap_words")
def swap_words(text: pl.Expr, key: pl.Expr, prob: float = 0.1) -> pl.Expr:
    """Neighbouring words change places.

    Words are paired, from the first or second after a mark on (which, is drawn), and `prob` is that of a pair; two
    words with more than white space between them stay.

    Source: Wei & Zou 2019 (EDA, random swap); nlpaug `RandomWordAug(action="swap")`.
    """
    probability("swap_words", "prob", prob)
    return changed_characters(text, key, lambda characters: _swapped(characters, prob))


@perturbation("repeat_words")
def repeat_words(text: pl.Expr, key: pl.Expr, prob: float = 0.1) -> pl.Expr:
    """Each word is said twice with probability `prob`, a space between (`the the`). Source: TextFlint, SpeechRepeat."""
    probability("repeat_words", "prob", prob)

    def change(characters: Units) -> Text:
        import numpy as np

        pieces, is_word, _ = words(characters)
        spots = np.flatnonzero(is_word & below(pieces.draws(WHETHER), prob))
        after = np.repeat(spots + 1, 2)
        again = np.column_stack([np.full(len(spots), len(pieces)), spots]).ravel()
        order = np.insert(np.arange(len(pieces)), after, again)
        return pieces.rebuilt(order, np.insert(pieces.rows, after, np.repeat(pieces.rows[spots], 2)), [ord(" ")])

    return changed_characters(text, key, change)


@perturbation("punctuation")
def punctuation(text: pl.Expr, key: pl.Expr, prob: float = 0.3, mode: str = "drop") -> pl.Expr:
    """Punctuation goes missing, is doubled, or comes where there was none; never inside of words and numbers.

    Args:
        text: the text column.
        key: what the random numbers hang on.
        prob: probability per mark ("drop", "double"), or per word after which one may come ("insert").
        mode: "drop", "double", or "insert" (one of `.;?:!,` after a word that has none after it).

    Source: Karimi et al. 2021 (AEDA) for "insert"; CheckList `punctuation`, TextFlint `InsertAdv` for the like.
    """
    probability("punctuation", "prob", prob)
    check_word("punctuation", "mode", mode, MODES)

    def change(characters: Units) -> Text:
        import numpy as np

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
    """Each number becomes, with probability `prob`, another one with as many digits, before the point and after it.

    This changes what is asked, and so often the right answer: a test whether a model reads the numbers at all. It
    counts neither as robustness nor as fairness and is in no preset. A number's first digit stays a zero, or none; the
    last always changes. Only the digits 0 to 9; those in words (`B2B`) are numbers too.

    Source: CheckList `Perturb.change_number` (Ribeiro et al. 2020), there within 20 %.
    """
    probability("change_numbers", "prob", prob)
    return changed_characters(text, key, lambda characters: _renumbered(characters, prob))


def _dropped(characters: Units, prob: float) -> Text:
    import numpy as np

    pieces, is_word, _ = words(characters)
    gone = _going(pieces, is_word, prob)
    is_space = ~is_word & (pieces.kinds & SPACE > 0)
    # Of a stretch of space and words that go, the first space stays if the stretch both begins and ends with one.
    soft = is_space | gone
    new_row = np.append(True, pieces.rows[1:] != pieces.rows[:-1])[: len(pieces)]
    begins = soft & (new_row | ~np.append(False, soft[:-1])[: len(pieces)])
    ends = soft & np.append(new_row[1:] | ~soft[1:], True)[: len(pieces)]
    first, last = np.flatnonzero(begins), np.flatnonzero(ends)
    stretch = np.cumsum(begins) - 1
    with_gone = np.bincount(stretch[gone], minlength=len(first)) > 0
    keep = ~soft
    keep[soft] = ~with_gone[stretch[soft]]
    keep[first[with_gone & is_space[first] & is_space[last]]] = True
    return pieces.rebuilt(np.flatnonzero(keep))


def _going(pieces: Units, is_word: Flags, prob: float) -> Flags:
    """The words that are hit; where all would be, the one with the highest draw stays: the last to go as prob rises."""
    import numpy as np

    own, rows = pieces.draws(WHETHER), pieces.rows
    gone = is_word & below(own, prob)
    left = np.bincount(rows[is_word & ~gone], minlength=len(pieces.keys))
    for row in np.unique(rows[gone & (left == 0)[rows]]):
        of_row = slice(*np.searchsorted(rows, [row, row + 1]))
        gone[of_row.start + int(np.where(is_word[of_row], own[of_row], 0).argmax())] = False
    return gone


def _swapped(characters: Units, prob: float) -> Text:
    import numpy as np

    pieces, is_word, _ = words(characters)
    rows, places = pieces.rows, pieces.places
    pairs = np.flatnonzero(is_word[:-2] & is_word[2:] & (rows[:-2] == rows[2:]))
    pairs = pairs[pieces.kinds[pairs + 1] & SPACE > 0]
    # A run of words begins where the pair before is another run's; from which of its words on it is paired, is drawn.
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
    import numpy as np

    pieces, is_word, _ = words(characters)
    other = ~is_word & (pieces.kinds & SPACE == 0)
    before_other = np.append(other[1:] & (pieces.rows[1:] == pieces.rows[:-1]), False)[: len(pieces)]
    spots = np.flatnonzero(is_word & ~before_other & below(pieces.draws(WHETHER), prob))
    marks = np.array([ord(mark) for mark in MARKS])
    extra = marks[scaled(pieces.draws(WHICH)[spots], len(marks))]
    return pieces.with_extra(spots, extra)


def _renumbered(characters: Units, prob: float) -> Text:
    import numpy as np

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
    old, own = points[spots].astype(np.int64) - ord("0"), characters.draws(WHICH)[spots]
    first, last = first[spots], last[spots]
    other = (old + 1 + scaled(own, 9)) % 10
    other_but_zero = np.where(old == 0, 1 + scaled(own, 9), (old + scaled(own, 8)) % 9 + 1)
    leading = np.where(old == 0, 0, 1 + scaled(own, 9))
    new = np.select([first & last, first, last], [other_but_zero, leading, other], scaled(own, 10))
    changed = characters.points.copy()
    changed[characters.starts[spots]] = new + ord("0")
    return replace(characters, points=changed).rebuilt(np.arange(len(characters)))
