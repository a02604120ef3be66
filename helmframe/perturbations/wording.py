"""Perturbations of wording: contractions and their expansions, filler words."""

from functools import lru_cache

import polars as pl

from helmframe._core.expressions import keyed_draws
from helmframe.errors import ArgumentError
from helmframe.perturbations.arrays import Bytes, Draws, Numbers
from helmframe.perturbations.registry import perturbation
from helmframe.perturbations.rewording import Lexicon, lexicon, with_words
from helmframe.perturbations.tables import contractions
from helmframe.perturbations.text_kernel import (
    Change,
    below,
    numbers,
    over_buffer,
    probability,
    row_of,
    scaled,
    spliced,
)
from helmframe.perturbations.word_lists import FILL_PHRASES, SPEAKER_PHRASES, UNCERTAIN_PHRASES


@perturbation("contraction")
def contraction(text: pl.Expr) -> pl.Expr:
    """Each expansion becomes its contraction where a space follows ("is not " → "isn't ").

    Source: HELM `ContractionPerturbation`, after NL-Augmenter (Dhole et al. 2021).
    """
    return over_buffer(text, _NO_KEY, contracted)


@perturbation("expansion")
def expansion(text: pl.Expr) -> pl.Expr:
    """Each contraction becomes its expansion ("isn't" → "is not").

    Source: HELM `ExpansionPerturbation`, after NL-Augmenter. Mended: of two contractions that begin alike, the longer
    counts ("can't've" → "cannot have", where HELM writes "cannot've").
    """
    return over_buffer(text, _NO_KEY, _expanded)


@perturbation("filler_words")
def filler_words(
    text: pl.Expr,
    key: pl.Expr,
    insert_prob: float = 0.333,
    max_num_insert: int | None = None,
    speaker_ph: bool = True,
    uncertain_ph: bool = True,
    fill_ph: bool = True,
) -> pl.Expr:
    """Before each word, with probability `insert_prob`, a filler ("maybe", "you know"); words stand between spaces.

    Args:
        text: the text column.
        key: what the random numbers hang on.
        insert_prob: probability per word, a fraction.
        max_num_insert: the most fillers per text; None: any number.
        speaker_ph: whether "I think" and its like are among them.
        uncertain_ph: whether "maybe" and its like are.
        fill_ph: whether "uhm" and its like are.

    Source: HELM `FillerWordsPerturbation`; phrases of Kovatchev et al. 2021 and Laserna et al. 2014.
    """
    prob = probability("filler_words", "insert_prob", insert_prob)
    most = max_num_insert
    if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 0):
        raise ArgumentError(f"filler_words(max_num_insert={most!r}): a whole number from 0 on, or None.")
    said = {"speaker_ph": speaker_ph, "uncertain_ph": uncertain_ph, "fill_ph": fill_ph}
    for name, value in said.items():
        if not isinstance(value, bool):
            raise ArgumentError(f"filler_words({name}={value!r}): True or False.")
    lists = (SPEAKER_PHRASES, UNCERTAIN_PHRASES, FILL_PHRASES)
    fillers = tuple(phrase for each, wanted in zip(lists, said.values(), strict=True) if wanted for phrase in each)
    if not fillers:
        raise ArgumentError("filler_words() without speaker_ph, uncertain_ph and fill_ph has nothing to insert.")
    return over_buffer(text, key, lambda data, offsets, keys: _filled(data, offsets, keys, fillers, prob, most))


def contracted(data: Bytes, offsets: Numbers, keys: Draws) -> tuple[Bytes, Numbers]:
    """What `contraction` does, on a batch's bytes."""
    return with_words(data, offsets, keys, _contracting(), then=ord(" "))


# What draws nothing needs no key.
_NO_KEY = pl.lit(0, dtype=pl.UInt64)


def _expanded(data: Bytes, offsets: Numbers, keys: Draws) -> tuple[Bytes, Numbers]:
    return with_words(data, offsets, keys, _expanding())


@lru_cache(maxsize=1)
def _contracting() -> Lexicon:
    # "cannot have" becomes "can't have" and "he would have" "he'd have", as in HELM: the shorter is there first
    table = {expanded.lower(): short.lower() for short, expanded in contractions().items()}
    begun = {long for long in table for short in table if long.startswith(f"{short} ")}
    return lexicon({expanded: [short] for expanded, short in table.items() if expanded not in begun})


@lru_cache(maxsize=1)
def _expanding() -> Lexicon:
    return lexicon({short.lower(): [expanded.lower()] for short, expanded in contractions().items()})


def _filled(
    data: Bytes, offsets: Numbers, keys: Draws, fillers: tuple[str, ...], prob: float, most: int | None
) -> tuple[Bytes, Numbers]:
    import numpy as np

    after = np.flatnonzero(data == ord(" ")) + 1
    full = np.flatnonzero(np.diff(offsets))  # before the nothing of an empty text stands no filler
    rows, starts = np.append(full, row_of(after - 1, offsets)), np.append(offsets[full], after)
    order = np.lexsort((starts, rows))
    rows, starts = rows[order], starts[order]
    places = numbers(rows)
    draws = keyed_draws(keys[rows], places)
    hits = np.flatnonzero(below(draws, prob))
    if most is not None:
        hits = hits[numbers(rows[hits]) < most]
    again = keyed_draws(draws[hits], places[hits])
    texts = [f"{filler} ".encode() for filler in fillers]
    lengths = np.array([len(each) for each in texts])
    chosen = scaled(again, len(fillers))
    change = Change(starts[hits], starts[hits], rows[hits], (np.cumsum(lengths) - lengths)[chosen], lengths[chosen])
    return spliced(data, offsets, change, np.frombuffer(b"".join(texts), dtype=np.uint8))
