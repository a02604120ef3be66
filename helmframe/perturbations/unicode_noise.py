"""Noise that a reader does not see: letters of another alphabet that look the same, and characters without width."""

import polars as pl

from helmframe.perturbations.characters import WHICH, Text, Units, changed_characters
from helmframe.perturbations.graphemes import LETTER
from helmframe.perturbations.noise_kernel import check_word, known, struck, substituted
from helmframe.perturbations.registry import perturbation
from helmframe.perturbations.text_kernel import probability, scaled

# Pairs that Unicode lists as confusable (UTS #39), those that look the same in common fonts.
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
    """Latin letters become ones of another alphabet that look the same.

    Args:
        text: the text column.
        key: what the random numbers hang on.
        prob: probability per letter that has a look-alike.
        alphabet: "cyrillic", "greek" or "both".

    Source: Boucher et al. 2022 (Bad Characters); TextAttack `WordSwapHomoglyphSwap`.
    """
    probability("homoglyphs", "prob", prob)
    check_word("homoglyphs", "alphabet", alphabet, tuple(ALPHABETS))
    table = ALPHABETS[alphabet]

    def change(characters: Units) -> Text:
        spots = struck(characters, known(characters, table), prob, "letter", keep_edges=False)
        return substituted(characters, spots, table)

    return changed_characters(text, key, change)


@perturbation("zero_width")
def zero_width(text: pl.Expr, key: pl.Expr, prob: float = 0.1) -> pl.Expr:
    """Characters without width (U+200B, U+200C, U+2060) between two letters, with probability `prob` per such place.

    Source: Boucher et al. 2022 (Bad Characters, invisible characters).
    """
    probability("zero_width", "prob", prob)

    def change(characters: Units) -> Text:
        import numpy as np

        letters, rows = characters.kinds & LETTER > 0, characters.rows
        between = np.append(letters[:-1] & letters[1:] & (rows[:-1] == rows[1:]), False)[: len(rows)]
        spots = np.flatnonzero(struck(characters, between, prob, "letter", keep_edges=False))
        extra = np.array(INVISIBLE)[scaled(characters.draws(WHICH)[spots], len(INVISIBLE))]
        return characters.with_extra(spots, extra)

    return changed_characters(text, key, change)
