"""Noise in letters: typing errors, OCR errors, swapped, missing or repeated letters, look-alikes, invisible characters.

`prob` is a probability per letter. With `per="word"` it is a probability per word, and one letter of each word that is
hit changes. A higher `prob` changes everything that a lower one changes. Letters keep their accents. Characters that
are not letters stay unchanged, in any script.
"""

import numpy as np
import polars as pl

from helmframe.perturbations.characters import (
    DIGIT,
    LETTER,
    UPPER,
    WHERE,
    WHETHER,
    WHICH,
    Text,
    Units,
    changed_characters,
    draws,
    kinds,
    other_case,
    word_numbers,
)
from helmframe.perturbations.factory import perturbation
from helmframe.perturbations.noise_kernel import (
    PER,
    check_word,
    edges,
    in_table,
    one_per_word,
    recased,
    struck,
    substituted,
)
from helmframe.perturbations.text_kernel import Flags, below, probability, scaled

# The rows of a QWERTY keyboard and their insets, in keys.
ROWS = (("1234567890", 0.0), ("qwertyuiop", 0.5), ("asdfghjkl", 0.75), ("zxcvbnm", 1.25))

# Shapes that OCR mistakes for each other; a pair of letters can be mistaken for one letter.
OCR = {
    "0": "O o", "1": "l I", "2": "Z", "5": "S", "6": "b G", "8": "B", "9": "g", "B": "8", "D": "O", "E": "F", "F": "E",
    "G": "6 C", "I": "l 1", "O": "0 Q", "Q": "O", "S": "5", "Z": "2", "b": "6 h", "c": "e", "d": "cl", "e": "c",
    "f": "t", "g": "9 q", "h": "b", "i": "l", "l": "1 I", "m": "rn", "o": "0", "q": "g", "s": "5", "t": "f", "u": "v",
    "v": "u", "w": "vv", "z": "2", "rn": "m", "cl": "d",
}  # fmt: skip
LEET = {"a": "4", "b": "8", "e": "3", "g": "9", "i": "1", "l": "1", "o": "0", "s": "5", "t": "7", "z": "2"}
LEET |= {letter.upper(): digit for letter, digit in LEET.items()}


def _neighbours() -> dict[str, str]:
    """Return a table from each key to the keys that touch it, letters in the same case."""
    points = {key: (column + inset, row) for row, (keys, inset) in enumerate(ROWS) for column, key in enumerate(keys)}
    neighbours = {}
    for key, (x, y) in points.items():
        near = [
            other
            for other, (u, v) in points.items()
            if 0 < abs(x - u) + abs(y - v) < 2 and abs(x - u) <= 1 and abs(y - v) <= 1
        ]
        neighbours[key] = " ".join(near)
        if key.isalpha():
            neighbours[key.upper()] = " ".join(near).upper()
    return neighbours


KEYS = _neighbours()


@perturbation("keyboard")
def keyboard(
    text: pl.Expr, key: pl.Expr, prob: float = 0.05, per: str = "letter", keep_edges: bool = False, digits: bool = False
) -> pl.Expr:
    """Replace letters with neighbouring keys on a QWERTY keyboard, digit keys included.

    Case is preserved. HELM's `typos` replaces letters with letters only.

    Args:
        text: The text column.
        key: The column that random numbers depend on.
        prob: The probability of a change per letter or word, between 0 and 1.
        per: "letter", or "word" to change one letter of each word that is hit.
        keep_edges: Whether the first and last character of each word stay unchanged.
        digits: Whether digits are mistyped too. This changes numbers, and so the question.

    >>> pl.select(keyboard(prob=0.1).on(pl.lit("Who wrote the first program?"), id=pl.lit("a"))).item()
    'Who 2rore 5hw first lrogram?'

    Source: Belinkov & Bisk 2018; TextAttack `WordSwapQWERTY`; nlpaug `KeyboardAug`.
    """
    _check("keyboard", prob, per)

    def change(characters: Units) -> Text:
        typed = in_table(characters, KEYS) & (characters.kinds & (LETTER | DIGIT if digits else LETTER) > 0)
        spots = struck(characters, typed, prob, per, keep_edges)
        return substituted(characters, spots, KEYS)

    return changed_characters(text, key, change)


@perturbation("ocr")
def ocr(text: pl.Expr, key: pl.Expr, prob: float = 0.1, per: str = "letter", keep_edges: bool = False) -> pl.Expr:
    """Replace characters with similar shapes, as OCR errors do.

    O and 0, or 1, l and I, or m and rn are mistaken for each other. Digits are misread too, which changes numbers;
    `protect="numbers"` prevents this.

    Args:
        text: The text column.
        key: The column that random numbers depend on.
        prob: The probability of a change per shape that can be misread, or per word that has such a shape.
        per: "letter", or "word" to change one shape of each word that is hit.
        keep_edges: Whether the first and last character of each word stay unchanged.

    >>> pl.select(ocr(prob=0.3).on(pl.lit("Who wrote the first program?"), id=pl.lit("a"))).item()
    'Who wrote fhe flr5f prograrn?'

    Source: nlpaug `OcrAug`, with another table of shapes.
    """
    _check("ocr", prob, per)

    def change(characters: Units) -> Text:
        spots = struck(characters, in_table(characters, OCR), prob, per, keep_edges)
        return substituted(characters, spots, OCR)

    return changed_characters(text, key, change)


@perturbation("swap_letters")
def swap_letters(
    text: pl.Expr, key: pl.Expr, prob: float = 0.1, per: str = "letter", keep_edges: bool = False
) -> pl.Expr:
    """Swap neighbouring letters.

    Capitals keep their positions: `The` becomes `Hte`. With `per="letter"`, the letters of a word are paired, starting
    at its first or second letter, and `prob` is the probability per pair. A pair of equal letters stays the same.

    Args:
        text: The text column.
        key: The column that random numbers depend on.
        prob: The probability of a swap per pair of letters, or per word.
        per: "letter", or "word" to swap one pair of each word that is hit.
        keep_edges: Whether the first and last character of each word stay unchanged.

    >>> pl.select(swap_letters(prob=0.3).on(pl.lit("Who wrote the first program?"), id=pl.lit("a"))).item()
    'Who worte hte ifrst rpogarm?'

    Source: Belinkov & Bisk 2018 (swap); TextAttack `WordSwapNeighboringCharacterSwap`; CheckList `add_typos`.
    """
    _check("swap_letters", prob, per)
    return changed_characters(text, key, lambda characters: _swapped(characters, prob, per, keep_edges=keep_edges))


@perturbation("delete_letters")
def delete_letters(
    text: pl.Expr, key: pl.Expr, prob: float = 0.05, per: str = "letter", keep_edges: bool = False
) -> pl.Expr:
    """Delete letters.

    Args:
        text: The text column.
        key: The column that random numbers depend on.
        prob: The probability of a deletion per letter, or per word.
        per: "letter", or "word" to delete one letter of each word that is hit.
        keep_edges: Whether the first and last character of each word stay unchanged.

    >>> pl.select(delete_letters(prob=0.1).on(pl.lit("Who wrote the first program?"), id=pl.lit("a"))).item()
    'Who wrote the frs progra?'

    Source: TextAttack `WordSwapRandomCharacterDeletion`; nlpaug `RandomCharAug(action="delete")`.
    """
    _check("delete_letters", prob, per)

    def change(characters: Units) -> Text:
        return characters.rebuilt(np.flatnonzero(~_letters(characters, prob, per, keep_edges)))

    return changed_characters(text, key, change)


@perturbation("insert_letters")
def insert_letters(
    text: pl.Expr, key: pl.Expr, prob: float = 0.05, per: str = "letter", keep_edges: bool = False
) -> pl.Expr:
    """Insert additional letters into words.

    The inserted letters come from the same text, and so from the same script. Their case is that of the letters around
    them.

    Args:
        text: The text column.
        key: The column that random numbers depend on.
        prob: The probability of an insertion per letter, or per word.
        per: "letter", or "word" to insert one letter into each word that is hit.
        keep_edges: Whether the first two characters and the last character of each word stay unchanged.

    >>> pl.select(insert_letters(prob=0.1).on(pl.lit("Who wrote the first program?"), id=pl.lit("a"))).item()
    'Whow wrote trhe firosts porogram?'

    Source: TextAttack `WordSwapRandomCharacterInsertion`; nlpaug `RandomCharAug(action="insert")`.
    """
    _check("insert_letters", prob, per)
    return changed_characters(text, key, lambda characters: _inserted(characters, prob, per, keep_edges=keep_edges))


@perturbation("repeat_letters")
def repeat_letters(
    text: pl.Expr, key: pl.Expr, prob: float = 0.05, per: str = "letter", keep_edges: bool = False
) -> pl.Expr:
    """Type letters twice.

    Args:
        text: The text column.
        key: The column that random numbers depend on.
        prob: The probability of a repetition per letter, or per word.
        per: "letter", or "word" to repeat one letter of each word that is hit.
        keep_edges: Whether the first and last character of each word stay unchanged.

    >>> pl.select(repeat_letters(prob=0.1).on(pl.lit("Who wrote the first program?"), id=pl.lit("a"))).item()
    'Who wrote the firrst program?'

    Source: Heigold et al. 2018; TextFlint `Typos`.
    """
    _check("repeat_letters", prob, per)

    def change(characters: Units) -> Text:
        return characters.rebuilt(
            np.repeat(np.arange(len(characters)), 1 + _letters(characters, prob, per, keep_edges))
        )

    return changed_characters(text, key, change)


@perturbation("leet")
def leet(text: pl.Expr, key: pl.Expr, prob: float = 0.5) -> pl.Expr:
    """Replace letters with digits that look like them.

    Args:
        text: The text column.
        key: The column that random numbers depend on.
        prob: The probability of a change per letter that has such a digit.

    >>> pl.select(leet(prob=0.3).on(pl.lit("Who wrote the first program?"), id=pl.lit("a"))).item()
    'Wh0 wrot3 the f1r57 program?'

    Source: Eger et al. 2019 (VIPER). nlpaug and TextFlint have similar perturbations.
    """
    probability("leet", "prob", prob)

    def change(characters: Units) -> Text:
        return substituted(
            characters, struck(characters, in_table(characters, LEET), prob, "letter", keep_edges=False), LEET
        )

    return changed_characters(text, key, change)


def _check(perturbation: str, prob: object, per: str) -> None:
    probability(perturbation, "prob", prob)
    check_word(perturbation, "per", per, PER)


def _letters(characters: Units, prob: float, per: str, keep_edges: bool) -> Flags:
    return struck(characters, characters.kinds & LETTER > 0, prob, per, keep_edges)


def _swapped(characters: Units, prob: float, per: str, *, keep_edges: bool) -> Text:
    number, rows, places = word_numbers(characters)
    letters = (characters.kinds & LETTER > 0) & (number >= 0)
    if keep_edges:
        letters &= ~edges(number)
    pairs = np.flatnonzero(letters[:-1] & letters[1:] & (number[:-1] == number[1:]))
    if per == "word":
        pair = pairs[one_per_word(number[pairs], rows, places, characters.keys, prob)]
    else:
        # Pairs start at the first or the second letter of a run, at random for each word.
        begins = np.append(True, (np.diff(pairs) > 1) | (np.diff(number[pairs]) > 0))[: len(pairs)]
        run = pairs[begins][np.cumsum(begins) - 1]
        from_second = (draws(characters.keys, WHERE, rows, places) >> np.uint64(63)).astype(np.int64)
        paired = pairs[(pairs - run) % 2 == from_second[number[pairs]]]
        numbers = draws(characters.keys, WHETHER, characters.rows[paired], characters.places[paired])
        pair = paired[below(numbers, prob)]
    order = np.arange(len(characters))
    order[pair], order[pair + 1] = pair + 1, pair
    upper = characters.kinds & UPPER > 0
    mixed = pair[upper[pair] != upper[pair + 1]]
    first, second = characters.first[mixed], characters.first[mixed + 1]
    cased = mixed[(other_case(first) != first) & (other_case(second) != second)]
    return recased(characters, np.concatenate([cased, cased + 1]), order)


def _inserted(characters: Units, prob: float, per: str, *, keep_edges: bool) -> Text:
    kind, rows, points = characters.kinds, characters.rows, characters.first
    letters = kind & LETTER > 0
    # Each text has two pools of letters, Latin and other: an English word gets no Korean letter.
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
    numbers = draws(characters.keys, WHICH, rows[spots], characters.places[spots])
    extra = points[donors[first[pool[spots]] + scaled(numbers, counts[pool[spots]])]]
    lower_after = np.append((kind[1:] & LETTER > 0) & (kind[1:] & UPPER == 0), False)[spots]
    raised = (kind[spots] & UPPER > 0) & ~lower_after & (kinds(extra) & UPPER == 0)
    extra = np.where(raised, other_case(extra), extra)
    return characters.with_extra(spots, extra)


# Pairs that Unicode lists as confusable (UTS #39) and that look the same in common fonts.
CYRILLIC = {
    "a": "а", "c": "с", "d": "ԁ", "e": "е", "h": "һ", "i": "і", "j": "ј", "o": "о", "p": "р", "q": "ԛ", "s": "ѕ",
    "w": "ԝ", "x": "х", "y": "у", "A": "А", "B": "В", "C": "С", "E": "Е", "H": "Н", "I": "І", "J": "Ј", "K": "К",
    "M": "М", "O": "О", "P": "Р", "S": "Ѕ", "T": "Т", "X": "Х",
}  # fmt: skip
GREEK = {
    "i": "ι", "o": "ο", "p": "ρ", "u": "υ", "v": "ν", "A": "Α", "B": "Β", "E": "Ε", "H": "Η", "I": "Ι", "K": "Κ",
    "M": "Μ", "N": "Ν", "O": "Ο", "P": "Ρ", "T": "Τ", "X": "Χ", "Y": "Υ", "Z": "Ζ",
}  # fmt: skip
ALPHABETS = {
    "cyrillic": CYRILLIC,
    "greek": GREEK,
    "both": {
        letter: f"{CYRILLIC.get(letter, '')} {GREEK.get(letter, '')}".strip() for letter in sorted({*CYRILLIC, *GREEK})
    },
}
# Zero width space, zero width non-joiner, word joiner. The joiner (U+200D) would change how some scripts look.
INVISIBLE = (0x200B, 0x200C, 0x2060)


@perturbation("homoglyphs")
def homoglyphs(text: pl.Expr, key: pl.Expr, prob: float = 0.1, alphabet: str = "cyrillic") -> pl.Expr:
    r"""Replace Latin letters with letters of another alphabet that look the same.

    Args:
        text: The text column.
        key: The column that random numbers depend on.
        prob: The probability of a change per letter that has a look-alike.
        alphabet: "cyrillic", "greek" or "both".

    >>> changed = pl.select(homoglyphs().on(pl.lit("Who wrote the first program?"), id=pl.lit("a"))).item()
    >>> changed == "Who wrote the fir\u0455t program?"
    True

    Source: Boucher et al. 2022 (Bad Characters); TextAttack `WordSwapHomoglyphSwap`.
    """
    probability("homoglyphs", "prob", prob)
    check_word("homoglyphs", "alphabet", alphabet, tuple(ALPHABETS))
    table = ALPHABETS[alphabet]

    def change(characters: Units) -> Text:
        spots = struck(characters, in_table(characters, table), prob, "letter", keep_edges=False)
        return substituted(characters, spots, table)

    return changed_characters(text, key, change)


@perturbation("zero_width")
def zero_width(text: pl.Expr, key: pl.Expr, prob: float = 0.1) -> pl.Expr:
    """Insert invisible characters of width zero (U+200B, U+200C, U+2060) between letters.

    Args:
        text: The text column.
        key: The column that random numbers depend on.
        prob: The probability of an insertion between two neighbouring letters.

    >>> changed = pl.select(zero_width(prob=1.0).on(pl.lit("It is."), id=pl.lit("a"))).item()
    >>> len("It is."), len(changed)
    (6, 8)

    Source: Boucher et al. 2022 (Bad Characters, invisible characters).
    """
    probability("zero_width", "prob", prob)

    def change(characters: Units) -> Text:
        letters, rows = characters.kinds & LETTER > 0, characters.rows
        between = np.append(letters[:-1] & letters[1:] & (rows[:-1] == rows[1:]), False)[: len(rows)]
        spots = np.flatnonzero(struck(characters, between, prob, "letter", keep_edges=False))
        extra = np.array(INVISIBLE)[scaled(characters.draws(WHICH)[spots], len(INVISIBLE))]
        return characters.with_extra(spots, extra)

    return changed_characters(text, key, change)
