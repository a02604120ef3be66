"""Perturbations of letters: case and typing errors."""

from functools import lru_cache
from typing import Any

import polars as pl

from helmframe._core.expressions import keyed_draws, row_draws
from helmframe.perturbations.registry import perturbation
from helmframe.perturbations.text_kernel import below, changed_bytes, probability, scaled

# The keys that touch each key on a QWERTY keyboard.
NEIGHBOURS = {
    "q": "was", "w": "qesad", "e": "wsdfr", "r": "edfgt", "t": "rfghy", "y": "tghju", "u": "yhjki", "i": "ujklo",
    "o": "iklp", "p": "ol", "a": "qwsz", "s": "weadzx", "d": "erfcxs", "f": "rtgvcd", "g": "tyhbvf", "h": "yujnbg",
    "j": "uikmnh", "k": "iolmj", "l": "opk", "z": "asx", "x": "sdcz", "c": "dfvx", "v": "fgbc", "b": "ghnv",
    "n": "hjmb", "m": "jkn",
}  # fmt: skip


@perturbation("lowercase")
def lowercase(text: pl.Expr) -> pl.Expr:
    """The text in lower case. Source: HELM `LowerCasePerturbation`."""
    return text.str.to_lowercase()


@perturbation("rerun", repeats=True, kind="")
def rerun(text: pl.Expr) -> pl.Expr:
    """Return the text unchanged: the placebo. The same prompt is requested again.

    The difference from the original shows how much a sampled model varies by itself.
    """
    return text


@perturbation("typos")
def typos(text: pl.Expr, key: pl.Expr, prob: float = 0.05) -> pl.Expr:
    """Each letter a–z becomes, with probability `prob`, one of the keys beside it; case is kept.

    Args:
        text: the text column.
        key: what the random numbers hang on.
        prob: probability per letter, a fraction.

    Source: HELM `TyposPerturbation` (same keyboard; our random numbers hang on the instance, not on a stream).
    """
    chance = probability("typos", "prob", prob)
    return changed_bytes(text, key, lambda data, keys, lengths: _typed(data, keys, lengths, chance))


def _typed(data: Any, keys: Any, lengths: Any, prob: float) -> Any:
    """The bytes after typing: one draw per byte decides whether, another which."""
    import numpy as np

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
    """Of each byte, how many letters can come of it, and which."""
    import numpy as np

    count = np.zeros(256, dtype=np.uint64)
    table = np.zeros((256, 6), dtype=np.uint8)
    for letter, beside in NEIGHBOURS.items():
        for case in (str.lower, str.upper):
            count[ord(case(letter))] = len(beside)
            table[ord(case(letter)), : len(beside)] = np.frombuffer(case(beside).encode(), dtype=np.uint8)
    return count, table
