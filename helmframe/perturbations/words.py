"""Perturbations of words: common misspellings, and HELM's mild mix."""

import polars as pl

from helmframe._core.expressions import keyed_draws
from helmframe.perturbations import tables
from helmframe.perturbations.arrays import Bytes, Draws, Numbers
from helmframe.perturbations.registry import perturbation
from helmframe.perturbations.rewording import Lexicon, lexicon_of, reworded, with_words
from helmframe.perturbations.text_kernel import over_buffer, probability, with_spaces
from helmframe.perturbations.wording import contracted


@perturbation("misspellings")
def misspellings(text: pl.Expr, key: pl.Expr, prob: float = 0.1) -> pl.Expr:
    """Each word that people often misspell becomes, with probability `prob`, one of its misspellings; case is kept.

    Args:
        text: the text column.
        key: what the random numbers hang on.
        prob: probability per word of the table, a fraction.

    Raises:
        SourceMissingError: neither data root nor an installed crfm-helm has the table, which can't be shipped.

    Source: HELM `MisspellingPerturbation`; Wikipedia's list of common misspellings. Mended: of two phrases that begin
    alike the longer counts ("about a" → "abouta"), where HELM takes that which its table has first, and never meets
    most of those of two words; and a phrase that ends in an apostrophe ("countries'") is found, which HELM finds only
    before a letter.
    """
    return reworded(text, key, _misspelled(), probability("misspellings", "prob", prob))


@perturbation("mild_mix")
def mild_mix(text: pl.Expr, key: pl.Expr) -> pl.Expr:
    """Lower case, then contractions, then one word in ten that people misspell misspelled, then 1 to 3 spaces for each.

    Raises:
        SourceMissingError: as `misspellings`.

    Source: HELM `MildMixPerturbation`; what is mended is said at `contraction` and `misspellings`.
    """
    words = _misspelled()

    def mixed(data: Bytes, offsets: Numbers, keys: Draws) -> tuple[Bytes, Numbers]:
        import numpy as np

        data, offsets = contracted(data, offsets, keys)
        data, offsets = with_words(data, offsets, keys, words, 0.1)
        # the numbers of words and of spaces are the same: each has a key of its own
        return with_spaces(data, offsets, keyed_draws(keys, np.full_like(keys, 1 << 63)), 3)

    return over_buffer(text.str.to_lowercase(), key, mixed)


def _misspelled() -> Lexicon:
    return lexicon_of(tables.misspellings(), fold=False)
