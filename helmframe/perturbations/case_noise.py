"""Noise in the case of letters."""

import polars as pl

from helmframe.perturbations.characters import WHETHER, Text, Units, changed_characters, words
from helmframe.perturbations.graphemes import UPPER, other_case
from helmframe.perturbations.noise_kernel import recased
from helmframe.perturbations.registry import perturbation
from helmframe.perturbations.text_kernel import below, probability


@perturbation("random_case")
def random_case(text: pl.Expr, key: pl.Expr, prob: float = 0.5) -> pl.Expr:
    """Each letter with a case changes it with probability `prob`. Source: Röttger et al. 2021, TextFlint `Case`."""
    probability("random_case", "prob", prob)

    def change(characters: Units) -> Text:
        import numpy as np

        first = characters.first
        spots = np.flatnonzero(below(characters.draws(WHETHER), prob) & (other_case(first) != first))
        return recased(characters, spots)

    return changed_characters(text, key, change)


@perturbation("uppercase")
def uppercase(text: pl.Expr) -> pl.Expr:
    """The text in capitals. Source: TextFlint `Case("upper")`."""
    return text.str.to_uppercase()


@perturbation("titlecase")
def titlecase(text: pl.Expr) -> pl.Expr:
    """Each word with a capital; the other letters are left as they are. Source: TextFlint `Case("title")`."""

    def change(characters: Units) -> Text:
        import numpy as np

        pieces, is_word, _ = words(characters)
        heads = np.searchsorted(characters.starts, pieces.starts[is_word])
        first = characters.first[heads]
        lower = (characters.kinds[heads] & UPPER == 0) & (other_case(first) != first)
        return recased(characters, heads[lower])

    return changed_characters(text, pl.lit(0, dtype=pl.UInt64), change)
