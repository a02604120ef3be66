"""Metrics of the words, n-grams and subsequences that output and reference have in common."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from string import punctuation
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
_DROP = "Dua et al. 2019 (DROP); lm-eval, drop/utils.py"

_NO_PUNCTUATION = str.maketrans("", "", punctuation)
SENTENCES = ("nltk", "punkt")  # NLTK's sentence tokenizer, and its English model


@metric("f1_score", source=f"{HELM}; nltk.metrics.f_measure", helm="f1_score")
def f1_score() -> pl.Expr:
    """Return the F1 of output and reference over their sets of normalised words.

    Repeated words count once. The best of several references counts.

    Example: "the cat sat" against "a cat" has the common word cat: precision 1/2, recall 1, F1 = 2/3.

    The rule is HELM's. `f1_bag`, SQuAD's F1, counts repeated words. `class_f1` and `classification_macro_f1` are F1 of
    labels.
    """

    def value(columns: Any) -> pl.Series:
        common, output, gold = shared_distinct(*columns)
        # the order of operations is NLTK's, so that rounding is the same
        with np.errstate(divide="ignore", invalid="ignore"):
            f_measure = 1 / (0.5 / (common / output) + 0.5 / (common / gold))
        return pl.Series(np.where(common > 0, f_measure, 0.0))

    return pl.map_batches(["words_output", "words_gold"], value, return_dtype=pl.Float64, is_elementwise=True)


@metric("f1_bag", source="Rajpurkar et al. 2016 (SQuAD), evaluate-v1.1.py", lm_eval="f1")
def f1_bag() -> pl.Expr:
    """Return the F1 of output and reference over their normalised words, repeated words included.

    This is SQuAD's F1, lm-eval's f1 for CoQA, and Inspect's f1.

    Example: "cat cat sat" against "cat sat sat" has the common words cat and sat: F1 = 2/3. `f1_score` gives 1.
    """
    return _counted("words", 1, _f_measure)


@metric("drop_f1", needs=("answers",), source=_DROP)
def drop_f1(output: str, answers: Sequence[Sequence[str]]) -> float:
    """Return the F1 of DROP: the share of common words of the output and the nearest answer, rounded to two decimals.

    Articles, case and punctuation are ignored, and numbers are compared by value. An answer of several spans shares the
    score of its best span among all of them. A span with a number counts only if the output has one of its numbers.

    Example: "12 yards" against the answer ["12"] is 2·1/(2+1) = 0.67.
    """
    return max((_drop_scores(output, spans)[1] for spans in answers if spans and spans[0].strip()), default=0.0)


@metric("drop_em", needs=("answers",), source=_DROP, lm_eval="em", correctness=True)
def drop_em(output: str, answers: Sequence[Sequence[str]]) -> float:
    """Return 1 if the output equals an answer of DROP, normalised as in `drop_f1`, else 0.

    The output is one span, so that it never equals an answer of several.

    Example: "the 12.0" against the answer ["12"] is 1.
    """
    return max((_drop_scores(output, spans)[0] for spans in answers if spans and spans[0].strip()), default=0.0)


def _check_language(language: str = "en") -> None:
    if language == "th" and find_spec("pythainlp") is None:
        raise CapabilityError(
            "squad_f1_score(language='th') and squad_exact_match_score(language='th') need pythainlp: "
            "pip install 'helmframe[thai]'."
        )


SEAHELM = "HELM, seahelm_metrics.py; Rajpurkar et al. 2016 (SQuAD)"


@metric("squad_f1_score", source=SEAHELM, helm="squad_f1_score", check=_check_language)
def squad_f1_score(output: str, gold: str, *, language: str = "en") -> float:
    """Return SEA-HELM's F1 of output and reference over their words in one language, repeated words included.

    Words are in lower case, without ASCII punctuation. In Thai, which has no spaces between words, PyThaiNLP splits
    them. With the default language it is SQuAD's F1, as `f1_bag`.

    Example: Under `squad_f1_score(language='id')`, "di kota Bandung" against "Bandung, Indonesia" has the common word
    bandung: precision 1/3, recall 1/2, F1 = 0.4.

    Args:
        output: The output.
        gold: A correct reference.
        language: The language as an ISO code. English articles are ignored, and "th" splits words.
    """
    words, expected = (_squad_words(text, language) for text in (output, gold))
    common = (Counter(words) & Counter(expected)).total()
    return 2 * common / (len(words) + len(expected)) if common else 0.0


@metric(
    "squad_exact_match_score", source=SEAHELM, helm="squad_exact_match_score", check=_check_language, correctness=True
)
def squad_exact_match_score(output: str, gold: str, *, language: str = "en") -> float:
    """Return 1 if output and reference have the same words in one language, else 0.

    Words are those of `squad_f1_score`. As in HELM, two texts without words are equal.

    Example: Under `squad_exact_match_score(language='vi')`, "Hà Nội." against "hà nội" is 1.

    Args:
        output: The output.
        gold: A correct reference.
        language: As in `squad_f1_score`.
    """
    return float(_squad_words(output, language) == _squad_words(gold, language))


@metric("rouge_1", source=ROUGE, helm="rouge_1", lm_eval="rouge1")
def rouge_1(*, stemmed: bool = True) -> pl.Expr:
    """Return ROUGE-1: the F-measure over the stemmed words of output and reference.

    Example: "cats sat" against "the cat sat" has 2 common words: 2·(1·2/3)/(1+2/3) = 0.8.

    Args:
        stemmed: Whether words are stemmed, as in HELM: cats becomes cat. HF evaluate's rouge1 and lm-eval's TruthfulQA
            don't stem.
    """
    return _counted(_words(stemmed=stemmed), 1, _f_measure)


@metric("rouge_2", source=ROUGE, helm="rouge_2", lm_eval="rouge2")
def rouge_2(*, stemmed: bool = True) -> pl.Expr:
    """Return ROUGE-2: the F-measure over pairs of neighbouring stemmed words.

    Example: "cats sat" against "the cat sat" has the common pair cat-sat: 2·(1·1/2)/(1+1/2) = 2/3.

    Args:
        stemmed: As in `rouge_1`.
    """
    return _counted(_words(stemmed=stemmed), 2, _f_measure)


@metric("rouge_l", source=ROUGE, helm="rouge_l", lm_eval="rougeL", packages=("rapidfuzz",))
def rouge_l(*, stemmed: bool = True) -> pl.Expr:
    """Return ROUGE-L: the F-measure over the longest common subsequence of stemmed words.

    HF evaluate's rougeLsum, which works line by line, is a different metric.

    Example: "sat a cat" against "cat sat" has a common subsequence of 1 word: F = 0.4.

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
    """Return BLEU-1: the share of the output's words that the reference has, times the brevity penalty.

    The brevity penalty is exp(1 − reference/output) if the output is shorter than the reference. As in HELM, the text
    is first split into sentences, so that the full stop of each sentence is a word. `bleu_1_unsplit` does not split.

    Example: "the the cat" against "the cat sat" is 2 of 3, so 2/3.
    """
    return _bleu([1], "sentences")


@metric("bleu_4", source=BLEU, helm="bleu_4", packages=SENTENCES)
def bleu_4() -> pl.Expr:
    """Return HELM's BLEU-4: the precision of 4-grams, times the brevity penalty.

    1-grams to 3-grams are not part of it. `bleu_cumulative` is the BLEU-4 of most papers. Sentences are
    split as in `bleu_1`.

    Example: "a b c d x" against "a b c d e" has 1 of 2 common 4-grams: 1/2.
    """
    return _bleu([0, 0, 0, 1], "sentences")


@metric("bleu_1_unsplit", source=BLEU)
def bleu_1_unsplit() -> pl.Expr:
    """Return `bleu_1` of the text as one sentence.

    Only the last full stop of the text is a word. The package punkt is not needed.

    Example: "It sat. Go." against "Go.": of the words It, sat., Go and the full stop, the reference has 2, so 2/4.
    `bleu_1` gives 2/5.
    """
    return _bleu([1], "treebank")


@metric("bleu_4_unsplit", source=BLEU)
def bleu_4_unsplit() -> pl.Expr:
    """Return `bleu_4` of the text as one sentence.

    Example: "a b c d x" against "a b c d e" is 1 of 2, so 1/2.
    """
    return _bleu([0, 0, 0, 1], "treebank")


@metric("bleu_cumulative", source=BLEU)
def bleu_cumulative(*, sentences: bool = False) -> pl.Expr:
    """Return sentence BLEU: the geometric mean of the 1- to 4-gram precisions, times the brevity penalty.

    This is the published definition, without smoothing: it is 0 without a common 4-gram.

    Example: "a b c d x" against "a b c d e" is (4/5 · 3/4 · 2/3 · 1/2)^¼ = 0.669.

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
    """Return the corpus BLEU of all outputs against all their correct references, in percent.

    Counts are summed over the outputs before they are divided. It is not the mean of `bleu_4` or `bleu_cumulative`. HF
    evaluate's bleu is a fraction, without smoothing.

    Example: "The cat sat." against "The cat sat." is 100.
    """
    return _corpus_metric("BLEU", "bleu_counts")


@metric("corpus_chrf", level="set", unit="percent", range=(0.0, 100.0), lm_eval="chrf", packages=NEEDS,
        source="sacrebleu, CHRF with its defaults (6-grams, beta 2); Popović 2015")  # fmt: skip
def corpus_chrf(*, words: bool = False) -> pl.Expr:
    """Return chrF, the F2 over character n-grams of all outputs, in percent.

    Example: "The cat sat" against "The cat sat." is 88.4.

    Args:
        words: Whether single words and pairs of words count too. This is chrF++ (Popović 2017), lm-eval's chrf++.
    """
    return _corpus_metric("CHRF++", "chrf_words_counts") if words else _corpus_metric("CHRF", "chrf_counts")


@metric("chr_f_plus_plus", unit="percent", range=(0.0, 100.0), helm="chr_f_plus_plus", packages=NEEDS,
        source="HELM, seahelm_metrics.py; sacrebleu, sentence CHRF with word_order=2; Popović 2017")  # fmt: skip
def chr_f_plus_plus(output: str, gold: str) -> float:
    """Return chrF++ of one output: the F2 over n-grams of characters and words, in percent.

    `corpus_chrf(words=True)` is the score of all outputs together.

    Example: "The cat sat" against "The cat sat." is 85.2.
    """
    return float(_chrf().sentence_score(output.strip(), [gold]).score)


@metric("corpus_ter", level="set", unit="percent", range=(0.0, None), higher_is_better=False, lm_eval="ter",
        packages=NEEDS, source="sacrebleu, TER with its defaults; Snover et al. 2006")  # fmt: skip
def corpus_ter() -> pl.Expr:
    """Return the translation edit rate: edits and shifts per word of the references, in percent.

    It can be above 100.

    Example: "The cat sat" against "The cat sat down" needs 1 edit for 4 words, so 25.
    """
    return _corpus_metric("TER", "ter_counts")


def _drop_scores(output: str, spans: Sequence[str]) -> tuple[float, float]:
    """Return DROP's exact match and F1 of the output and one answer."""
    predicted = _drop_normalised(output)
    expected = [_drop_normalised(span) for span in spans]
    shares = [_drop_overlap(set(predicted.split()), set(span.split())) for span in expected]
    # rounded by NumPy, as in DROP's script: halves are rounded to even numbers
    return float(expected == [predicted]), float(np.round(max(shares) / len(shares), 2))


def _drop_overlap(predicted: set[str], expected: set[str]) -> float:
    numbers = {word for word in expected if _drop_number(word) is not None}
    if numbers and not numbers & predicted:
        return 0.0
    common = len(expected & predicted)
    precision = common / len(predicted) if predicted else 1.0
    recall = common / len(expected) if expected else 1.0
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _drop_normalised(text: str) -> str:
    words = []
    for token in re.split("[ -]", text.lower()):
        word = token if _drop_number(token) is not None else token.translate(_NO_PUNCTUATION)
        number = _drop_number(word)
        words += re.sub(r"\b(?:a|an|the)\b", " ", word if number is None else str(number)).split()
    return " ".join(words)


def _drop_number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None


@cache
def _chrf() -> Any:
    from sacrebleu import CHRF

    return CHRF(word_order=2)


def _squad_words(text: str, language: str) -> list[str]:
    plain = "".join(character for character in text.strip().lower() if character not in punctuation)
    if language == "th":
        from pythainlp.tokenize import word_tokenize

        return list(word_tokenize(plain, engine="newmm"))
    return (re.sub(r"\b(a|an|the)\b", " ", plain) if language == "en" else plain).split()


def _words(*, stemmed: bool) -> str:
    return "stems" if stemmed else "terms"


def _counted(kind: str, n: int, value: Callable[[Shared], pl.Series]) -> pl.Expr:
    def compute(columns: Any) -> pl.Series:
        return value(shared_ngrams(columns[0], columns[1], n))

    return pl.map_batches([f"{kind}_output", f"{kind}_gold"], compute, return_dtype=pl.Float64, is_elementwise=True)


def _f_measure(shared: Shared) -> pl.Series:
    both = shared.output + shared.gold
    return pl.Series(np.where(shared.common > 0, 2 * shared.common / np.maximum(both, 1), 0.0))


def _bleu(weights: Sequence[float], kind: str) -> pl.Expr:
    """Return the weighted geometric mean of the n-gram precisions, times the brevity penalty; 0 without a common word.

    Args:
        weights: The weights of 1-grams, 2-grams, ….
        kind: The kind of words in `shared.SHARED`: "sentences" or "treebank".
    """

    def compute(columns: Any) -> pl.Series:
        output, gold = (column.list.len().fill_null(0).to_numpy() for column in columns)
        short = np.minimum(1 - gold / np.maximum(output, 1), 0.0)
        logs = np.where(output > 0, np.where(output > gold, 0.0, short), -np.inf)
        with np.errstate(divide="ignore"):
            for index, weight in enumerate(weights):
                if weight:
                    shared = shared_ngrams(columns[0], columns[1], index + 1)
                    logs = logs + weight * np.log(shared.common / np.maximum(shared.output, 1))
        return pl.Series(np.exp(logs))

    return pl.map_batches([f"{kind}_output", f"{kind}_gold"], compute, return_dtype=pl.Float64, is_elementwise=True)


def _corpus_metric(name: str, column: str) -> pl.Expr:
    def score(columns: Any) -> float | None:
        return corpus_score(name, columns[0])

    return pl.map_batches([column], score, return_dtype=pl.Float64, returns_scalar=True)
