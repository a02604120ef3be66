"""Metrics of what output and reference have in common: words, n-grams, the longest common subsequence."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import polars as pl

from helmframe.errors import CapabilityError
from helmframe.metrics.match import HELM
from helmframe.metrics.ngrams import Shared, common_subsequence, shared_distinct, shared_ngrams
from helmframe.metrics.protocol import metric
from helmframe.metrics.shared import corpus_score

ROUGE = "HELM, evaluate_reference_metrics.py; rouge_score with use_stemmer=True (Lin 2004)"
BLEU = "HELM, evaluate_reference_metrics.py; nltk.translate.bleu_score.sentence_bleu (Papineni et al. 2002)"

SENTENCES = ("nltk", "punkt")  # NLTK's sentence tokenizer, and its English model


@metric("f1_score", source=f"{HELM}; nltk.metrics.f_measure", helm="f1_score")
def f1_score() -> pl.Expr:
    """Return the harmonic mean of precision and recall over *sets* of normalised words, the best over the references.

    "the cat sat" against "a cat": common {cat}, precision 1/2, recall 1, so 2/3. HELM's: repeated words count once;
    `f1_bag`, SQuAD's, counts them as often as they occur. F1 of labels is `class_f1`, `classification_macro_f1`.
    """

    def value(columns: Any) -> pl.Series:
        common, output, gold = shared_distinct(*columns)
        # as NLTK has it, so that it rounds the same
        with np.errstate(divide="ignore", invalid="ignore"):
            f_measure = 1 / (0.5 / (common / output) + 0.5 / (common / gold))
        return pl.Series(np.where(common > 0, f_measure, 0.0))

    return pl.map_batches(["words_output", "words_gold"], value, return_dtype=pl.Float64, is_elementwise=True)


@metric("f1_bag", source="Rajpurkar et al. 2016 (SQuAD), evaluate-v1.1.py", lm_eval="f1")
def f1_bag() -> pl.Expr:
    """Return SQuAD's F1: `f1_score` over words counted as often as they occur. The f1 of lm-eval's CoQA and of Inspect.

    "cat cat sat" against "cat sat sat": common cat and sat, so 2/3, where `f1_score` gives 1.
    """
    return _counted("words", 1, _f_measure)


@metric("rouge_1", source=ROUGE, helm="rouge_1", lm_eval="rouge1")
def rouge_1(*, stemmed: bool = True) -> pl.Expr:
    """Return the F-measure over stemmed words.

    "cats sat" against "the cat sat" has 2 in common, so 2·(1·2/3)/(1+2/3) = 0.8.

    Args:
        stemmed: Whether cats is cat, as in HELM; HF evaluate's rouge1 and lm-eval's TruthfulQA don't stem.
    """
    return _counted(_words(stemmed=stemmed), 1, _f_measure)


@metric("rouge_2", source=ROUGE, helm="rouge_2", lm_eval="rouge2")
def rouge_2(*, stemmed: bool = True) -> pl.Expr:
    """Return the F-measure over pairs of neighbouring stemmed words.

    "cats sat" against "the cat sat" has the pair cat-sat in common: 2·(1·1/2)/(1+1/2) = 2/3.

    Args:
        stemmed: as in `rouge_1`.
    """
    return _counted(_words(stemmed=stemmed), 2, _f_measure)


@metric("rouge_l", source=ROUGE, helm="rouge_l", lm_eval="rougeL", packages=("rapidfuzz",))
def rouge_l(*, stemmed: bool = True) -> pl.Expr:
    """Return the F-measure over the longest common subsequence of stemmed words.

    "sat a cat" against "cat sat" has 1, so 0.4. HF evaluate's rougeLsum, which works line by line, is another.

    Args:
        stemmed: As in `rouge_1`.
    """

    def value(columns: Any) -> pl.Series:
        output, gold = columns
        common = common_subsequence(output, gold)
        sizes = (column.list.len().fill_null(0).to_numpy() for column in columns)
        return _f_measure(Shared(common, *sizes))

    kind = _words(stemmed=stemmed)
    return pl.map_batches([f"{kind}_output", f"{kind}_gold"], value, return_dtype=pl.Float64, is_elementwise=True)


@metric("bleu_1", source=BLEU, helm="bleu_1", packages=SENTENCES)
def bleu_1() -> pl.Expr:
    """Return the share of the output's words that the reference has, times exp(1 − reference/output) if it is shorter.

    "the the cat" against "the cat sat": 2 of 3. As in HELM: the text is split into sentences first, so the full
    stop of each sentence is a word. `bleu_1_unsplit` takes the text as one sentence.
    """
    return _bleu([1], "sentences")


@metric("bleu_4", source=BLEU, helm="bleu_4", packages=SENTENCES)
def bleu_4() -> pl.Expr:
    """Return the precision of 4-grams alone, times the brevity penalty, as in HELM; sentences are split as in `bleu_1`.

    "a b c d x" against "a b c d e": 1 of 2. The BLEU-4 of most papers is `bleu_cumulative`.
    """
    return _bleu([0, 0, 0, 1], "sentences")


@metric("bleu_1_unsplit", source=BLEU)
def bleu_1_unsplit() -> pl.Expr:
    """Return `bleu_1` of the text as one sentence: only its last full stop is a word, and punkt is not needed.

    "It sat. Go." against "Go.": of the words It, sat., Go and the stop, the reference has 2, so 2/4; `bleu_1`: 2/5.
    """
    return _bleu([1], "treebank")


@metric("bleu_4_unsplit", source=BLEU)
def bleu_4_unsplit() -> pl.Expr:
    """Return `bleu_4` of the text as one sentence: "a b c d x" against "a b c d e" is 1 of 2."""
    return _bleu([0, 0, 0, 1], "treebank")


@metric("bleu_cumulative", source=BLEU)
def bleu_cumulative(*, sentences: bool = False) -> pl.Expr:
    """Return sentence BLEU as published: the geometric mean of 1- to 4-gram precisions, times the brevity penalty.

    "a b c d x" against "a b c d e": (4/5 · 3/4 · 2/3 · 1/2)^¼ = 0.669. Without a common 4-gram it is 0; not smoothed.

    Args:
        sentences: Whether to split the text into sentences first, as `bleu_1` does.
    """
    if sentences and find_spec("punkt") is None:
        raise CapabilityError("bleu_cumulative(sentences=True) needs punkt: pip install 'helmframe[metrics]'.")
    return _bleu([0.25] * 4, "sentences" if sentences else "treebank")


NEEDS = ("sacrebleu",)


@metric("corpus_bleu", level="set", unit="percent", range=(0.0, 100.0), lm_eval="bleu", packages=NEEDS,
        source="sacrebleu, BLEU with its defaults (13a, exponential smoothing); Post 2018")  # fmt: skip
def corpus_bleu() -> pl.Expr:
    """Return BLEU of all outputs together, counts summed before they are divided, against all correct references.

    It isn't a mean of `bleu_4` or `bleu_cumulative`, which are of single outputs. HF evaluate's bleu is a fraction and
    not smoothed. The cat sat. against The cat sat.: 100.
    """
    return _over("BLEU", "bleu_counts")


@metric("corpus_chrf", level="set", unit="percent", range=(0.0, 100.0), lm_eval="chrf", packages=NEEDS,
        source="sacrebleu, CHRF with its defaults (6-grams, beta 2); Popović 2015")  # fmt: skip
def corpus_chrf(*, words: bool = False) -> pl.Expr:
    """Return chrF: F2 over n-grams of characters of all outputs together. The cat sat against The cat sat.: 88.4.

    Args:
        words: Whether single words and pairs count too: chrF++ (Popović 2017), lm-eval's chrf++.
    """
    return _over("CHRF++", "chrf_words_counts") if words else _over("CHRF", "chrf_counts")


@metric("corpus_ter", level="set", unit="percent", range=(0.0, None), higher_is_better=False, lm_eval="ter",
        packages=NEEDS, source="sacrebleu, TER with its defaults; Snover et al. 2006")  # fmt: skip
def corpus_ter() -> pl.Expr:
    """Return the translation edit rate: edits and shifts over words of the references, in percent; may exceed 100.

    The cat sat against The cat sat down: 1 of 4 words, 25.
    """
    return _over("TER", "ter_counts")


def _words(*, stemmed: bool) -> str:
    return "stems" if stemmed else "terms"


def _counted(kind: str, n: int, value: Callable[[Shared], pl.Series]) -> pl.Expr:
    def over(columns: Any) -> pl.Series:
        return value(shared_ngrams(columns[0], columns[1], n))

    return pl.map_batches([f"{kind}_output", f"{kind}_gold"], over, return_dtype=pl.Float64, is_elementwise=True)


def _f_measure(shared: Shared) -> pl.Series:
    both = shared.output + shared.gold
    return pl.Series(np.where(shared.common > 0, 2 * shared.common / np.maximum(both, 1), 0.0))


def _bleu(weights: Sequence[float], kind: str) -> pl.Expr:
    """Return the weighted geometric mean of the n-gram precisions, times the brevity penalty; 0 without a common word.

    Args:
        weights: Of 1-grams, 2-grams, …
        kind: The words in `shared.SHARED`: "sentences" or "treebank".
    """

    def over(columns: Any) -> pl.Series:
        output, gold = (column.list.len().fill_null(0).to_numpy() for column in columns)
        short = np.minimum(1 - gold / np.maximum(output, 1), 0.0)
        logs = np.where(output > 0, np.where(output > gold, 0.0, short), -np.inf)
        with np.errstate(divide="ignore"):
            for index, weight in enumerate(weights):
                if weight:
                    shared = shared_ngrams(columns[0], columns[1], index + 1)
                    logs = logs + weight * np.log(shared.common / np.maximum(shared.output, 1))
        return pl.Series(np.exp(logs))

    return pl.map_batches([f"{kind}_output", f"{kind}_gold"], over, return_dtype=pl.Float64, is_elementwise=True)


def _over(name: str, column: str) -> pl.Expr:
    def score(columns: Any) -> float | None:
        return corpus_score(name, columns[0])

    return pl.map_batches([column], score, return_dtype=pl.Float64, returns_scalar=True)
