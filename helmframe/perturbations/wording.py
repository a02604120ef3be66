"""Perturbations of wording: contractions, expansions, filler words and translations."""

from functools import lru_cache

import numpy as np
import polars as pl

from helmframe._core.checks import is_integer
from helmframe._core.expressions import keyed_draws
from helmframe.errors import ArgumentError
from helmframe.perturbations.factory import perturbation
from helmframe.perturbations.rewording import Lexicon, lexicon, with_words
from helmframe.perturbations.tables import CONTRACTIONS, FILL_PHRASES, SPEAKER_PHRASES, UNCERTAIN_PHRASES
from helmframe.perturbations.text_kernel import (
    Bytes,
    Change,
    Draws,
    Numbers,
    below,
    numbers,
    over_buffer,
    probability,
    row_of,
    scaled,
    spliced,
)


@perturbation("contraction")
def contraction(text: pl.Expr) -> pl.Expr:
    """Replace phrases with their contractions: "is not" becomes "isn't".

    A phrase is contracted if a space follows it. Case is preserved.

    Args:
        text: The text column.

    >>> pl.select(contraction().on(pl.lit("She is a doctor"), id=pl.lit("a"))).item()
    "She's a doctor"

    Source: HELM `ContractionPerturbation`, after NL-Augmenter (Dhole et al. 2021).
    """
    return over_buffer(text, _NO_KEY, contracted)


@perturbation("expansion")
def expansion(text: pl.Expr) -> pl.Expr:
    """Replace contractions with the phrases they stand for: "isn't" becomes "is not".

    Args:
        text: The text column.

    >>> pl.select(expansion().on(pl.lit("She's a doctor"), id=pl.lit("a"))).item()
    'She is a doctor'

    Source: HELM `ExpansionPerturbation`, after NL-Augmenter (Dhole et al. 2021).

    Differs from HELM: The longest contraction is expanded. "can't've" becomes "cannot have"; HELM writes "cannot've".
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
    """Insert fillers, such as "I think", "maybe" and "uhm", before words.

    Words are separated by spaces.

    Args:
        text: The text column.
        key: The column that random numbers depend on.
        insert_prob: The probability of a filler per word, between 0 and 1.
        max_num_insert: The largest number of fillers per text. None sets no limit.
        speaker_ph: Whether to insert "I think", "I mean" and similar phrases.
        uncertain_ph: Whether to insert "maybe", "perhaps" and similar words.
        fill_ph: Whether to insert "uhm", "like", "you know" and similar words.

    >>> pl.select(filler_words(speaker_ph=False).on(pl.lit("The fox jumps over the dog."), id=pl.lit("a"))).item()
    'most likely The fox jumps over the err dog.'

    Source: HELM `FillerWordsPerturbation`; phrases of Kovatchev et al. 2021 and Laserna et al. 2014.
    """
    prob = probability("filler_words", "insert_prob", insert_prob)
    most = max_num_insert
    if most is not None and (not is_integer(most) or most < 0):
        raise ArgumentError(f"filler_words(max_num_insert={most!r}): max_num_insert must be an integer ≥ 0, or None.")
    groups = {"speaker_ph": speaker_ph, "uncertain_ph": uncertain_ph, "fill_ph": fill_ph}
    for name, value in groups.items():
        if not isinstance(value, bool):
            raise ArgumentError(f"filler_words({name}={value!r}): {name} must be True or False.")
    lists = (SPEAKER_PHRASES, UNCERTAIN_PHRASES, FILL_PHRASES)
    fillers = tuple(
        phrase for phrases, included in zip(lists, groups.values(), strict=True) if included for phrase in phrases
    )
    if not fillers:
        raise ArgumentError("filler_words(): at least one of speaker_ph, uncertain_ph and fill_ph must be True.")
    return over_buffer(text, key, lambda data, offsets, keys: _filled(data, offsets, keys, fillers, prob, most))


def contracted(data: Bytes, offsets: Numbers, keys: Draws) -> tuple[Bytes, Numbers]:
    """Return a batch's bytes and offsets after `contraction`."""
    return with_words(data, offsets, keys, _contracting(), then=ord(" "))


# A perturbation without random numbers needs no key.
_NO_KEY = pl.lit(0, dtype=pl.UInt64)


def _expanded(data: Bytes, offsets: Numbers, keys: Draws) -> tuple[Bytes, Numbers]:
    return with_words(data, offsets, keys, _expanding())


@lru_cache(maxsize=1)
def _contracting() -> Lexicon:
    # as in HELM, the shorter phrase has priority: "cannot have" becomes "can't have"
    table = {expanded.lower(): short.lower() for short, expanded in CONTRACTIONS.items()}
    begun = {long for long in table for short in table if long.startswith(f"{short} ")}
    return lexicon({expanded: [short] for expanded, short in table.items() if expanded not in begun})


@lru_cache(maxsize=1)
def _expanding() -> Lexicon:
    return lexicon({short.lower(): [expanded.lower()] for short, expanded in CONTRACTIONS.items()})


def _filled(
    data: Bytes, offsets: Numbers, keys: Draws, fillers: tuple[str, ...], prob: float, most: int | None
) -> tuple[Bytes, Numbers]:
    after = np.flatnonzero(data == ord(" ")) + 1
    full = np.flatnonzero(np.diff(offsets))  # empty texts get no filler
    rows, starts = np.append(full, row_of(after - 1, offsets)), np.append(offsets[full], after)
    order = np.lexsort((starts, rows))
    rows, starts = rows[order], starts[order]
    places = numbers(rows)
    draws = keyed_draws(keys[rows], places)
    hits = np.flatnonzero(below(draws, prob))
    if most is not None:
        hits = hits[numbers(rows[hits]) < most]
    second_draws = keyed_draws(draws[hits], places[hits])
    texts = [f"{filler} ".encode() for filler in fillers]
    lengths = np.array(list(map(len, texts)))
    chosen = scaled(second_draws, len(fillers))
    change = Change(starts[hits], starts[hits], rows[hits], (np.cumsum(lengths) - lengths)[chosen], lengths[chosen])
    return spliced(data, offsets, change, np.frombuffer(b"".join(texts), dtype=np.uint8))


INSTRUCTIONS = "Translate the text below into {language}. Answer with the translation only."


@perturbation("translate", model_argument="translator", fields="both", kind="")
def translate(text: pl.Expr, language: str, instructions: str = INSTRUCTIONS) -> pl.Expr:
    """Translate the text with a model.

    The translator runs in a separate plan. Each text is translated once, and translations are cached.

    Args:
        text: The text column.
        translator: The model, as `Plan.generate` takes it: a function, `"org/name"`, `"http://host:port/v1#name"`, ….
        language: The target language, under a name that the translator knows: "French".
        instructions: The prompt, with `{language}` for the language. The text follows after an empty line.

    >>> str(translate(translator=str.upper, language="French"))
    "translate(language='French', translator='upper')"

    Source: HELM `TranslatePerturbation`, which uses Google Translate.
    """
    if not isinstance(language, str) or not language.strip():
        raise ArgumentError(
            f"translate(language={language!r}): language must be the name of a language, such as 'French'."
        )
    if not isinstance(instructions, str):
        raise ArgumentError(
            f"translate(instructions={instructions!r}): instructions must be a text, such as {INSTRUCTIONS!r}."
        )
    return pl.lit(instructions.replace("{language}", language) + "\n\n") + text
