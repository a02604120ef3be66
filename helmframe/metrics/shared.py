"""Columns that several metrics read, computed once for all: texts normalised, stemmed, cut into words, counted."""

from collections.abc import Callable, Iterable
from functools import partial

import polars as pl

from helmframe._core.text import normalised
from helmframe.metrics.corpus_counts import bleu_counts, chrf_counts, chrf_words_counts, ter_counts
from helmframe.metrics.tokens import sentences, stems, terms, treebank, words

# name → the columns it is made of, and how
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
}


def base_columns(names: Iterable[str]) -> list[str]:
    """The columns as a frame must have them, those of `SHARED` traced back to what they are made of."""
    names_read: dict[str, None] = {}
    for name in names:
        names_read |= dict.fromkeys(base_columns(SHARED[name][0]) if name in SHARED else [name])
    return list(names_read)


def with_shared(frame: pl.LazyFrame, names: Iterable[str]) -> pl.LazyFrame:
    """The frame with the named columns of `SHARED`, as far as what they are made of is there."""
    available = set(frame.collect_schema().names())
    wanted = [name for name in dict.fromkeys(names) if name in SHARED and set(base_columns([name])) <= available]
    wanted = list(dict.fromkeys([source for name in wanted for source in SHARED[name][0] if source in SHARED] + wanted))
    while wanted := [name for name in wanted if name not in available]:
        ready = [name for name in wanted if set(SHARED[name][0]) <= available]
        frame = frame.with_columns(SHARED[name][1](*map(pl.col, SHARED[name][0])).alias(name) for name in ready)
        available |= set(ready)
    return frame
