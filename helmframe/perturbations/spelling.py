"""Perturbations of spelling: case, white space and typing errors; and the placebo `rerun`."""

from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl

from helmframe._core.checks import is_integer
from helmframe._core.expressions import keyed_draws, row_draws
from helmframe.errors import ArgumentError
from helmframe.perturbations.characters import UPPER, WHETHER, Text, Units, changed_characters, other_case, words
from helmframe.perturbations.factory import perturbation
from helmframe.perturbations.noise_kernel import recased
from helmframe.perturbations.text_kernel import below, changed_bytes, probability, respaced, scaled

# The keys that touch each key on a QWERTY keyboard.
NEIGHBOURS = {
    "q": "was", "w": "qesad", "e": "wsdfr", "r": "edfgt", "t": "rfghy", "y": "tghju", "u": "yhjki", "i": "ujklo",
    "o": "iklp", "p": "ol", "a": "qwsz", "s": "weadzx", "d": "erfcxs", "f": "rtgvcd", "g": "tyhbvf", "h": "yujnbg",
    "j": "uikmnh", "k": "iolmj", "l": "opk", "z": "asx", "x": "sdcz", "c": "dfvx", "v": "fgbc", "b": "ghnv",
    "n": "hjmb", "m": "jkn",
}  # fmt: skip


@perturbation("lowercase")
def lowercase(text: pl.Expr) -> pl.Expr:
    """Convert the text to lower case.

    Args:
        text: The text column.

    >>> pl.select(lowercase().on(pl.lit("Who wrote the first program?"), id=pl.lit("a"))).item()
    'who wrote the first program?'

    Source: HELM `LowerCasePerturbation`.
    """
    return text.str.to_lowercase()


@perturbation("rerun", repeats=True, kind="")
def rerun(text: pl.Expr) -> pl.Expr:
    """Leave the text unchanged and request the completion again: the placebo.

    The change from the original shows how much a model's score varies between identical requests. It is the noise level
    for the changes under other perturbations.

    Args:
        text: The text column.

    >>> pl.select(rerun().on(pl.lit("Who wrote it?"), id=pl.lit("a"))).item()
    'Who wrote it?'
    """
    return text


@perturbation("typos")
def typos(text: pl.Expr, key: pl.Expr, prob: float = 0.05) -> pl.Expr:
    """Replace letters with neighbouring letters on a QWERTY keyboard.

    Each letter from a to z changes with probability `prob`. Case is preserved. `keyboard` also replaces letters with
    digits, and can change digits.

    Args:
        text: The text column.
        key: The column that random numbers depend on.
        prob: The probability of a change per letter, between 0 and 1.

    >>> pl.select(typos(prob=0.3).on(pl.lit("Who wrote the first program?"), id=pl.lit("a"))).item()
    'Whp wrote thd rorst progrzm?'

    Source: HELM `TyposPerturbation`.

    Differs from HELM: The random numbers depend on the instance, not on a random stream. The keyboard is the same.
    """
    chance = probability("typos", "prob", prob)
    return changed_bytes(text, key, lambda data, keys, lengths: _typed(data, keys, lengths, chance))


def _typed(data: Any, keys: Any, lengths: Any, prob: float) -> Any:
    """Return the bytes with typos.

    One random number per byte decides whether it changes, a second one into which key.
    """
    count, table = _keyboard()
    hits = np.flatnonzero(below(row_draws(keys, lengths), prob))
    letters = hits[count[data[hits]] > 0]
    ends = np.cumsum(lengths)
    rows = np.searchsorted(ends, letters, side="right")
    places = (letters - (ends - lengths)[rows]).astype(np.uint64)
    draws = keyed_draws(keyed_draws(keys[rows], places), places)
    out = data.copy()
    out[letters] = table[data[letters], scaled(draws, count[data[letters]])]
    return out


@lru_cache(maxsize=1)
def _keyboard() -> tuple[Any, Any]:
    """Return, for each byte, the number of letters that can replace it, and these letters."""
    count = np.zeros(256, dtype=np.uint64)
    table = np.zeros((256, 6), dtype=np.uint8)
    for letter, neighbours in NEIGHBOURS.items():
        for case in (str.lower, str.upper):
            count[ord(case(letter))] = len(neighbours)
            table[ord(case(letter)), : len(neighbours)] = np.frombuffer(case(neighbours).encode(), dtype=np.uint8)
    return count, table


# a larger number for every space of a text doesn't fit into memory
_MAX_SPACES = 1000


@perturbation("extra_space")
def extra_space(text: pl.Expr, num_spaces: int = 2) -> pl.Expr:
    """Replace each space with `num_spaces` spaces.

    Args:
        text: The text column.
        num_spaces: The number of spaces, an integer from 1 to 1000.

    >>> pl.select(extra_space(num_spaces=2).on(pl.lit("Who wrote the first program?"), id=pl.lit("a"))).item()
    'Who  wrote  the  first  program?'

    Source: HELM `ExtraSpacePerturbation`.
    """
    _check_spaces("extra_space", "num_spaces", num_spaces)
    return text.str.replace_all(" ", " " * num_spaces, literal=True)


@perturbation("space")
def space(text: pl.Expr, key: pl.Expr, max_spaces: int = 3) -> pl.Expr:
    """Replace each run of spaces with 1 to `max_spaces` spaces.

    Each number of spaces has the same probability.

    Args:
        text: The text column.
        key: The column that random numbers depend on.
        max_spaces: The largest number of spaces, an integer from 1 to 1000.

    >>> pl.select(space(max_spaces=3).on(pl.lit("Who wrote the first program?"), id=pl.lit("a"))).item()
    'Who  wrote  the first program?'

    Source: HELM `SpacePerturbation`.
    """
    _check_spaces("space", "max_spaces", max_spaces)
    return respaced(text, key, max_spaces)


def _check_spaces(perturbation: str, argument: str, spaces: object) -> None:
    if not is_integer(spaces) or not 1 <= spaces <= _MAX_SPACES:
        raise ArgumentError(
            f"{perturbation}({argument}={spaces!r}): {argument} must be an integer from 1 to {_MAX_SPACES}."
        )


@perturbation("random_case")
def random_case(text: pl.Expr, key: pl.Expr, prob: float = 0.5) -> pl.Expr:
    """Change the case of random letters.

    Args:
        text: The text column.
        key: The column that random numbers depend on.
        prob: The probability of a change per letter that has a case, between 0 and 1.

    >>> pl.select(random_case(prob=0.3).on(pl.lit("Who wrote the first program?"), id=pl.lit("a"))).item()
    'who wRotE tHe firST PrOgram?'

    Source: Röttger et al. 2021 (HateCheck); TextFlint `Case`.
    """
    probability("random_case", "prob", prob)

    def change(characters: Units) -> Text:
        first = characters.first
        spots = np.flatnonzero(below(characters.draws(WHETHER), prob) & (other_case(first) != first))
        return recased(characters, spots)

    return changed_characters(text, key, change)


@perturbation("uppercase")
def uppercase(text: pl.Expr) -> pl.Expr:
    """Convert the text to upper case.

    Args:
        text: The text column.

    >>> pl.select(uppercase().on(pl.lit("Who wrote the first program?"), id=pl.lit("a"))).item()
    'WHO WROTE THE FIRST PROGRAM?'

    Source: TextFlint `Case("upper")`.
    """
    return text.str.to_uppercase()


@perturbation("titlecase")
def titlecase(text: pl.Expr) -> pl.Expr:
    """Start each word with a capital letter; the other letters stay unchanged.

    Args:
        text: The text column.

    >>> pl.select(titlecase().on(pl.lit("Who wrote the first program?"), id=pl.lit("a"))).item()
    'Who Wrote The First Program?'

    Source: TextFlint `Case("title")`.
    """

    def change(characters: Units) -> Text:
        pieces, is_word, _ = words(characters)
        heads = np.searchsorted(characters.starts, pieces.starts[is_word])
        first = characters.first[heads]
        lower = (characters.kinds[heads] & UPPER == 0) & (other_case(first) != first)
        return recased(characters, heads[lower])

    return changed_characters(text, pl.lit(0, dtype=pl.UInt64), change)
