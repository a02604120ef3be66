"""What sacrebleu counts in one output and its references: summed over a corpus, they give its score."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import polars as pl

COUNTS = pl.List(pl.Float64)


def bleu_counts(output: pl.Expr, correct: pl.Expr) -> pl.Expr:
    """Of corpus BLEU: lengths, and for 1- to 4-grams hits and totals."""
    return _counts("BLEU", output, correct)


def chrf_counts(output: pl.Expr, correct: pl.Expr) -> pl.Expr:
    """Of chrF: for 1- to 6-grams of characters how many each side has, and in common."""
    return _counts("CHRF", output, correct)


def chrf_words_counts(output: pl.Expr, correct: pl.Expr) -> pl.Expr:
    """Of chrF++: the same, and for single words and pairs."""
    return _counts("CHRF++", output, correct)


def ter_counts(output: pl.Expr, correct: pl.Expr) -> pl.Expr:
    """Of TER: edits, and the length of the references."""
    return _counts("TER", output, correct)


def corpus_score(name: str, counts: pl.Series) -> float | None:
    """The score, in percent, of a corpus with these counts, one list per output; null without any."""
    import numpy as np

    counted = counts.drop_nulls()
    if counted.is_empty():
        return None
    sums = np.array(counted.to_list()).sum(axis=0).tolist()
    scored = _scorer(name)._compute_score_from_stats(sums if name == "TER" else [int(count) for count in sums])  # noqa: SLF001
    return float(scored.score)


def _counts(name: str, output: pl.Expr, correct: pl.Expr) -> pl.Expr:
    def over(columns: Any) -> pl.Series:
        rows = zip(*(column.to_list() for column in columns), strict=True)
        return pl.Series([_row_counts(name, *row) for row in rows], dtype=COUNTS)

    return pl.map_batches([output, correct], over, return_dtype=COUNTS, is_elementwise=True)


def _row_counts(name: str, output: str | None, correct: Sequence[str] | None) -> list[float] | None:
    if output is None or not correct:
        return None
    # sacrebleu sums these over a corpus itself; taken apart here, a jackknife need not count again
    (counts,) = _scorer(name)._extract_corpus_statistics([output], [[reference] for reference in correct])  # noqa: SLF001
    return [float(count) for count in counts]


@cache
def _scorer(name: str) -> Any:
    import sacrebleu

    return sacrebleu.CHRF(word_order=2) if name == "CHRF++" else getattr(sacrebleu, name)()
