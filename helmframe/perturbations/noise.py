"""Noise in letters: wrong keys, misread shapes, letters swapped, missing or too many, digits that look like them.

`prob` is a probability per letter, or with `per="word"` per word, one letter of which is then hit. What a lower `prob`
changes, a higher one changes too. Letters keep their accents, and what is no letter is left alone, in any script.
"""

import polars as pl

from helmframe.perturbations.arrays import Flags
from helmframe.perturbations.characters import (
    WHERE,
    WHETHER,
    WHICH,
    Text,
    Units,
    changed_characters,
    draws,
    word_numbers,
)
from helmframe.perturbations.graphemes import DIGIT, LETTER, UPPER, kinds, other_case
from helmframe.perturbations.noise_kernel import (
    PER,
    check_word,
    edges,
    known,
    one_of_each,
    recased,
    struck,
    substituted,
)
from helmframe.perturbations.registry import perturbation
from helmframe.perturbations.text_kernel import below, probability, scaled

# The rows of a QWERTY keyboard and how far each is set in, in keys.
ROWS = (("1234567890", 0.0), ("qwertyuiop", 0.5), ("asdfghjkl", 0.75), ("zxcvbnm", 1.25))

# Shapes that are taken for each other; a pair of letters may be taken for one.
OCR = {
    "0": "O o", "1": "l I", "2": "Z", "5": "S", "6": "b G", "8": "B", "9": "g", "B": "8", "D": "O", "E": "F", "F": "E",
    "G": "6 C", "I": "l 1", "O": "0 Q", "Q": "O", "S": "5", "Z": "2", "b": "6 h", "c": "e", "d": "cl", "e": "c",
    "f": "t", "g": "9 q", "h": "b", "i": "l", "l": "1 I", "m": "rn", "o": "0", "q": "g", "s": "5", "t": "f", "u": "v",
    "v": "u", "w": "vv", "z": "2", "rn": "m", "cl": "d",
}  # fmt: skip
LEET = {"a": "4", "b": "8", "e": "3", "g": "9", "i": "1", "l": "1", "o": "0", "s": "5", "t": "7", "z": "2"}
LEET |= {letter.upper(): digit for letter, digit in LEET.items()}


def _beside() -> dict[str, str]:
    """Key → the keys that touch it, with the letters of the same case."""
    places = {key: (place + inset, row) for row, (keys, inset) in enumerate(ROWS) for place, key in enumerate(keys)}
    beside = {}
    for key, (x, y) in places.items():
        near = [
            each
            for each, (u, v) in places.items()
            if 0 < abs(x - u) + abs(y - v) < 2 and abs(x - u) <= 1 and abs(y - v) <= 1
        ]
        beside[key] = " ".join(near)
        if key.isalpha():
            beside[key.upper()] = " ".join(near).upper()
    return beside


KEYS = _beside()


@perturbation("keyboard")
def keyboard(
    text: pl.Expr, key: pl.Expr, prob: float = 0.05, per: str = "letter", keep_edges: bool = False, digits: bool = False
) -> pl.Expr:
    """Letters become a key beside them on a QWERTY keyboard, digits among these; case is kept.

    Args:
        text: the text column.
        key: what the random numbers hang on.
        prob: probability per letter or word, a fraction.
        per: "letter", or "word": one letter of each word that is hit.
        keep_edges: whether the first and last character of each word are left alone.
        digits: whether digits are mistyped too; this changes numbers, and so what is asked.

    Source: Belinkov & Bisk 2018; TextAttack `WordSwapQWERTY`, nlpaug `KeyboardAug`. HELM's `typos` knows letters only.
    """
    _check("keyboard", prob, per)

    def change(characters: Units) -> Text:
        typed = known(characters, KEYS) & (characters.kinds & (LETTER | DIGIT if digits else LETTER) > 0)
        spots = struck(characters, typed, prob, per, keep_edges)
        return substituted(characters, spots, KEYS)

    return changed_characters(text, key, change)


@perturbation("ocr")
def ocr(text: pl.Expr, key: pl.Expr, prob: float = 0.1, per: str = "letter", keep_edges: bool = False) -> pl.Expr:
    """Shapes are taken for others like them: 0 for O, l for 1 and I, rn for m, both ways.

    Digits are misread too, which changes numbers; `protect="numbers"` leaves them alone.

    Args:
        text: the text column.
        key: what the random numbers hang on.
        prob: probability per shape that can be misread, or per word with one.
        per: "letter", or "word": one shape of each word that is hit.
        keep_edges: whether the first and last character of each word are left alone.

    Source: nlpaug `OcrAug`; the table is our own.
    """
    _check("ocr", prob, per)

    def change(characters: Units) -> Text:
        spots = struck(characters, known(characters, OCR), prob, per, keep_edges)
        return substituted(characters, spots, OCR)

    return changed_characters(text, key, change)


@perturbation("swap_letters")
def swap_letters(
    text: pl.Expr, key: pl.Expr, prob: float = 0.1, per: str = "letter", keep_edges: bool = False
) -> pl.Expr:
    """Letters change places with the letter beside them; a capital at the place stays one (`The` → `Hte`).

    Per letter: the letters of a word are paired, from the first or second on, and `prob` is that of a pair, and so of
    each letter in one. Two equal letters change places unseen.

    Args:
        text: the text column.
        key: what the random numbers hang on.
        prob: probability per pair of letters, or per word.
        per: "letter", or "word": one pair of each word that is hit.
        keep_edges: whether the first and last character of each word are left alone.

    Source: Belinkov & Bisk 2018 (`swap`); TextAttack `WordSwapNeighboringCharacterSwap`, CheckList `add_typos`.
    """
    _check("swap_letters", prob, per)
    return changed_characters(text, key, lambda characters: _swapped(characters, prob, per, keep_edges=keep_edges))


@perturbation("delete_letters")
def delete_letters(
    text: pl.Expr, key: pl.Expr, prob: float = 0.05, per: str = "letter", keep_edges: bool = False
) -> pl.Expr:
    """Letters go missing.

    Args:
        text: the text column.
        key: what the random numbers hang on.
        prob: probability per letter, or per word.
        per: "letter", or "word": one letter of each word that is hit.
        keep_edges: whether the first and last character of each word are left alone.

    Source: TextAttack `WordSwapRandomCharacterDeletion`, nlpaug `RandomCharAug(action="delete")`.
    """
    _check("delete_letters", prob, per)

    def change(characters: Units) -> Text:
        import numpy as np

        return characters.rebuilt(np.flatnonzero(~_letters(characters, prob, per, keep_edges)))

    return changed_characters(text, key, change)


@perturbation("insert_letters")
def insert_letters(
    text: pl.Expr, key: pl.Expr, prob: float = 0.05, per: str = "letter", keep_edges: bool = False
) -> pl.Expr:
    """A letter too many after a letter: any of the text's own, so of the right script, and in the case around it.

    Args:
        text: the text column.
        key: what the random numbers hang on.
        prob: probability per letter, or per word.
        per: "letter", or "word": one more letter in each word that is hit.
        keep_edges: whether the first two and the last character of each word stay what they are.

    Source: TextAttack `WordSwapRandomCharacterInsertion`, nlpaug `RandomCharAug(action="insert")`.
    """
    _check("insert_letters", prob, per)
    return changed_characters(text, key, lambda characters: _inserted(characters, prob, per, keep_edges=keep_edges))


@perturbation("repeat_letters")
def repeat_letters(
    text: pl.Expr, key: pl.Expr, prob: float = 0.05, per: str = "letter", keep_edges: bool = False
) -> pl.Expr:
    """Letters are typed twice.

    Args:
        text: the text column.
        key: what the random numbers hang on.
        prob: probability per letter, or per word.
        per: "letter", or "word": one letter of each word that is hit.
        keep_edges: whether the first and last character of each word are left alone.

    Source: Heigold et al. 2018; TextFlint `Typos`.
    """
    _check("repeat_letters", prob, per)

    def change(characters: Units) -> Text:
        import numpy as np

        return characters.rebuilt(
            np.repeat(np.arange(len(characters)), 1 + _letters(characters, prob, per, keep_edges))
        )

    return changed_characters(text, key, change)


@perturbation("leet")
def leet(text: pl.Expr, key: pl.Expr, prob: float = 0.5) -> pl.Expr:
    """Letters become digits that look like them: `elite` → `3l173`; `prob` is that of a letter with such a digit.

    Source: Eger et al. 2019 (VIPER); nlpaug and TextFlint have the like.
    """
    probability("leet", "prob", prob)

    def change(characters: Units) -> Text:
        return substituted(
            characters, struck(characters, known(characters, LEET), prob, "letter", keep_edges=False), LEET
        )

    return changed_characters(text, key, change)


def _check(perturbation: str, prob: object, per: str) -> None:
    probability(perturbation, "prob", prob)
    check_word(perturbation, "per", per, PER)


def _letters(characters: Units, prob: float, per: str, keep_edges: bool) -> Flags:
    return struck(characters, characters.kinds & LETTER > 0, prob, per, keep_edges)


def _swapped(characters: Units, prob: float, per: str, *, keep_edges: bool) -> Text:
    import numpy as np

    number, rows, places = word_numbers(characters)
    letters = (characters.kinds & LETTER > 0) & (number >= 0)
    if keep_edges:
        letters &= ~edges(number)
    pairs = np.flatnonzero(letters[:-1] & letters[1:] & (number[:-1] == number[1:]))
    if per == "word":
        pair = pairs[one_of_each(number[pairs], rows, places, characters.keys, prob)]
    else:
        # From the first or the second letter of a run on, drawn for each word.
        begins = np.append(True, (np.diff(pairs) > 1) | (np.diff(number[pairs]) > 0))[: len(pairs)]
        run = pairs[begins][np.cumsum(begins) - 1]
        from_second = (draws(characters.keys, WHERE, rows, places) >> np.uint64(63)).astype(np.int64)
        paired = pairs[(pairs - run) % 2 == from_second[number[pairs]]]
        own = draws(characters.keys, WHETHER, characters.rows[paired], characters.places[paired])
        pair = paired[below(own, prob)]
    order = np.arange(len(characters))
    order[pair], order[pair + 1] = pair + 1, pair
    upper = characters.kinds & UPPER > 0
    mixed = pair[upper[pair] != upper[pair + 1]]
    first, second = characters.first[mixed], characters.first[mixed + 1]
    cased = mixed[(other_case(first) != first) & (other_case(second) != second)]
    return recased(characters, np.concatenate([cased, cased + 1]), order)


def _inserted(characters: Units, prob: float, per: str, *, keep_edges: bool) -> Text:
    import numpy as np

    kind, rows, points = characters.kinds, characters.rows, characters.first
    letters = kind & LETTER > 0
    # Each text has two pools to draw from, Latin letters and others: an English word gets no Korean letter.
    pool = 2 * rows + (points < 0x250)
    pools = 2 * len(characters.keys)
    single = letters & (characters.lengths == 1)
    small = single & (kind & UPPER == 0)
    only_capitals = np.bincount(pool[small], minlength=pools) == 0
    donors = np.flatnonzero(np.where(only_capitals[pool], single, small))
    donors = donors[np.argsort(pool[donors], kind="stable")]
    counts = np.bincount(pool[donors], minlength=pools)
    first = np.cumsum(counts) - counts
    spots = np.flatnonzero(struck(characters, letters & (counts > 0)[pool], prob, per, keep_edges))
    own = draws(characters.keys, WHICH, rows[spots], characters.places[spots])
    extra = points[donors[first[pool[spots]] + scaled(own, counts[pool[spots]])]]
    lower_after = np.append((kind[1:] & LETTER > 0) & (kind[1:] & UPPER == 0), False)[spots]
    raised = (kind[spots] & UPPER > 0) & ~lower_after & (kinds(extra) & UPPER == 0)
    extra = np.where(raised, other_case(extra), extra)
    return characters.with_extra(spots, extra)
