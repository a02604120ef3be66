"""Columns that several metrics read, computed once for all, and metrics over pairs of an output and one reference.

The columns are texts normalised, stemmed, split into words, or counted. The pairs of a shard are in one frame.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from typing import Any

import polars as pl

from helmframe._core.text import normalised
from helmframe.metrics.lm_eval import VALUE_COLUMNS, document_values
from helmframe.metrics.row_functions import VALUE
from helmframe.metrics.tokens import sentences, stems, terms, treebank, words

GOLD = "gold"
ROW = "pair_row"
COUNTS = pl.List(pl.Float64)  # sacrebleu's counts for one output and its references


def bleu_counts(output: pl.Expr, correct: pl.Expr) -> pl.Expr:
    """Return the counts for corpus BLEU: lengths, and for 1- to 4-grams the matches and totals."""
    return _counts("BLEU", output, correct)


def chrf_counts(output: pl.Expr, correct: pl.Expr) -> pl.Expr:
    """Return the counts for chrF: 1- to 6-grams of characters of each side, and common ones."""
    return _counts("CHRF", output, correct)


def chrf_words_counts(output: pl.Expr, correct: pl.Expr) -> pl.Expr:
    """Return the counts for chrF++: those for chrF, and the same for single words and pairs of words."""
    return _counts("CHRF++", output, correct)


def ter_counts(output: pl.Expr, correct: pl.Expr) -> pl.Expr:
    """Return the counts for TER: edits, and the length of the references."""
    return _counts("TER", output, correct)


def lm_eval_values(*columns: pl.Expr) -> pl.Expr:
    """Return the values of documents of an lm-eval task by filter and metric, as JSON on the first row of each."""

    def compute(inputs: Any) -> pl.Series:
        rows = [series.alias(name) for name, series in zip(VALUE_COLUMNS, inputs, strict=True)]
        return document_values(pl.DataFrame(rows))

    return pl.map_batches(list(columns), compute, return_dtype=pl.String)


# name → the columns it is computed from, and the function
SHARED: dict[str, tuple[tuple[str, ...], Callable[..., pl.Expr]]] = {
    **{f"normal_{text}": ((text,), normalised) for text in ("output", "gold")},
    **{f"bare_{text}": ((text,), partial(normalised, articles=True)) for text in ("output", "gold")},
    **{f"stems_{text}": ((text,), stems) for text in ("output", "gold")},
    **{f"terms_{text}": ((text,), terms) for text in ("output", "gold")},
    **{f"treebank_{text}": ((text,), treebank) for text in ("output", "gold")},
    **{f"sentences_{text}": ((text,), sentences) for text in ("output", "gold")},
    **{f"words_{text}": ((f"normal_{text}",), words) for text in ("output", "gold")},
    "bleu_counts": (("output", "correct"), bleu_counts),
    "chrf_counts": (("output", "correct"), chrf_counts),
    "chrf_words_counts": (("output", "correct"), chrf_words_counts),
    "ter_counts": (("output", "correct"), ter_counts),
    "lm_eval_values": (VALUE_COLUMNS, lm_eval_values),
}


def base_columns(names: Iterable[str]) -> list[str]:
    """Return the columns that a frame must have: columns in `SHARED` are replaced by those they are computed from."""
    names_read: dict[str, None] = {}
    for name in names:
        names_read |= dict.fromkeys(base_columns(SHARED[name][0]) if name in SHARED else [name])
    return list(names_read)


def with_shared(frame: pl.LazyFrame, names: Iterable[str]) -> pl.LazyFrame:
    """Return the frame with the named columns of `SHARED`, if it has the columns that they are computed from."""
    available = set(frame.collect_schema().names())
    missing = [name for name in dict.fromkeys(names) if name in SHARED and set(base_columns([name])) <= available]
    missing = list(
        dict.fromkeys([source for name in missing for source in SHARED[name][0] if source in SHARED] + missing)
    )
    while missing := [name for name in missing if name not in available]:
        ready = [name for name in missing if set(SHARED[name][0]) <= available]
        frame = frame.with_columns(SHARED[name][1](*map(pl.col, SHARED[name][0])).alias(name) for name in ready)
        available |= set(ready)
    return frame


def best_of_pairs(
    values: Mapping[str, pl.Expr], higher_is_better: Mapping[str, bool | None], columns: Sequence[str]
) -> pl.Expr:
    """Return, per row, the best of each value over its correct references: a struct with a `VALUE` per name.

    Columns that the values share, such as normalised texts, are computed once. A row without a correct reference is
    null.

    Args:
        values: Expressions of type `VALUE` over `columns` and `gold`, by name.
        higher_is_better: The direction of each name.
        columns: The columns that the expressions read; those in `SHARED` are computed here.
    """
    fields = pl.Struct(dict.fromkeys(values, VALUE))
    read = ["correct", *(name for name in base_columns(columns) if name not in (GOLD, "correct"))]

    def compute(inputs: Any) -> pl.Series:
        frame = pl.DataFrame([series.alias(name) for name, series in zip(read, inputs, strict=True)])
        # columns of the output only, before each reference becomes a row
        rows = with_shared(frame.with_row_index(ROW).lazy(), columns)
        pairs = rows.rename({"correct": GOLD}).explode(GOLD, empty_as_null=True)
        scored = with_shared(pairs, columns).select(
            ROW, *(expression.alias(name) for name, expression in values.items())
        )
        if frame["correct"].list.len().max() not in (None, 0, 1):
            scored = scored.group_by(ROW, maintain_order=True).agg(
                _best(name, lowest=higher_is_better[name] is False) for name in values
            )
        return scored.drop(ROW).collect(engine="in-memory").to_struct("best").cast(fields)

    return pl.map_batches(read, compute, return_dtype=fields)


def score_pairs(pairs: pl.DataFrame, values: Mapping[str, pl.Expr]) -> pl.DataFrame:
    """Return each value over the texts `output` and `gold` of any frame."""
    roots = [root for expression in values.values() for root in expression.meta.root_names()]
    return with_shared(pairs.lazy(), roots).select(**values).collect(engine="in-memory")


def corpus_score(name: str, counts: pl.Series) -> float | None:
    """Return the score of a corpus in percent from its counts, one list per output; null if there are none."""
    import numpy as np

    counted = counts.drop_nulls()
    if counted.is_empty():
        return None
    sums = np.array(counted.to_list()).sum(axis=0).tolist()
    scored = _scorer(name)._compute_score_from_stats(sums if name == "TER" else [int(count) for count in sums])  # noqa: SLF001
    return float(scored.score)


def _best(name: str, *, lowest: bool) -> pl.Expr:
    score, reason = pl.col(name).struct.field("score"), pl.col(name).struct.field("reason")
    return pl.struct(score=score.min() if lowest else score.max(), reason=reason.drop_nulls().first()).alias(name)


def _counts(name: str, output: pl.Expr, correct: pl.Expr) -> pl.Expr:
    def compute(columns: Any) -> pl.Series:
        rows = zip(*(column.to_list() for column in columns), strict=True)
        return pl.Series([_row_counts(name, *row) for row in rows], dtype=COUNTS)

    return pl.map_batches([output, correct], compute, return_dtype=COUNTS, is_elementwise=True)


def _row_counts(name: str, output: str | None, correct: Sequence[str] | None) -> list[float] | None:
    if output is None or not correct:
        return None
    # sacrebleu sums these over a corpus; one list per output lets a jackknife reuse them
    (counts,) = _scorer(name)._extract_corpus_statistics([output], [[reference] for reference in correct])  # noqa: SLF001
    return [float(count) for count in counts]


@cache
def _scorer(name: str) -> Any:
    import sacrebleu

    return sacrebleu.CHRF(word_order=2) if name == "CHRF++" else getattr(sacrebleu, name)()
