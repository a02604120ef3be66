"""Metrics of a whole corpus of translations, by sacrebleu."""

from typing import Any

import polars as pl

from helmframe.metrics.corpus_counts import corpus_score
from helmframe.metrics.protocol import metric

NEEDS = ("sacrebleu",)


@metric("corpus_bleu", level="set", unit="percent", range=(0.0, 100.0), lm_eval="bleu", packages=NEEDS,
        source="sacrebleu, BLEU with its defaults (13a, exponential smoothing); Post 2018")  # fmt: skip
def corpus_bleu() -> pl.Expr:
    """BLEU of all outputs together, counts summed before they are divided, against all correct references.

    Not a mean of `bleu_4` or `bleu_cumulative`, which are of single outputs. HF evaluate's bleu is a fraction and not
    smoothed. The cat sat. against The cat sat.: 100.
    """
    return _over("BLEU", "bleu_counts")


@metric("corpus_chrf", level="set", unit="percent", range=(0.0, 100.0), lm_eval="chrf", packages=NEEDS,
        source="sacrebleu, CHRF with its defaults (6-grams, beta 2); Popović 2015")  # fmt: skip
def corpus_chrf(*, words: bool = False) -> pl.Expr:
    """chrF: F2 over n-grams of characters of all outputs together. The cat sat against The cat sat.: 88.4.

    Args:
        words: whether single words and pairs count too: chrF++ (Popović 2017), lm-eval's chrf++.
    """
    return _over("CHRF++", "chrf_words_counts") if words else _over("CHRF", "chrf_counts")


@metric("corpus_ter", level="set", unit="percent", range=(0.0, None), higher_is_better=False, lm_eval="ter",
        packages=NEEDS, source="sacrebleu, TER with its defaults; Snover et al. 2006")  # fmt: skip
def corpus_ter() -> pl.Expr:
    """Translation edit rate: edits and shifts over words of the references, in percent; may exceed 100.

    The cat sat against The cat sat down: 1 of 4 words, 25.
    """
    return _over("TER", "ter_counts")


def _over(name: str, column: str) -> pl.Expr:
    def score(columns: Any) -> float | None:
        return corpus_score(name, columns[0])

    return pl.map_batches([column], score, return_dtype=pl.Float64, returns_scalar=True)
