"""Metrics of log-probabilities: of texts, as ratios of sums, and of options that were requested one by one.

A completion without log-probabilities has no score, and is not part of any sum.
"""

import math

import polars as pl

from helmframe.metrics.options import (
    if_all_scored,
    option_correct,
    option_indices,
    option_scores,
    softmax,
    tokens,
)
from helmframe.metrics.protocol import metric
from helmframe.metrics.text import WORD

HELM = "HELM, basic_metrics.py"
LM_EVAL = "lm-eval, api/task.py"
OPTIONS = ("reference_index", "logprob")
NO_SCORE = "an option has no score"
NO_TOKENS = "the model returned no token counts; option_accuracy needs none"
NOT_CALIBRATED = (
    "an option was not requested without its question; write adapt(method='multiple_choice_separate_calibrated')"
)
NOT_BY_THIS = (
    "an option has no score of this kind: its tokens were not counted, or it was not requested without the question"
)

# -- one text --------------------------------------------------------------------------------------------------------


@metric("logprob", unit="nats", range=(None, 0.0), needs=("logprob",), source=HELM, helm="logprob")
def logprob() -> pl.Expr:
    """Return the log-probability of the completion, in nats.

    Example: Two tokens with log-probabilities of -0.5 and -1.5: -2.
    """
    return pl.col("logprob")


@metric("max_prob", needs=("logprob",), source="HELM, evaluate_reference_metrics.py", helm="max_prob")
def max_prob() -> pl.Expr:
    """Return the probability of the completion: e to the power of its log-probability.

    It is smaller the longer the text is. If options were requested one by one, HELM's max_prob is `option_max_prob`.

    Example: A log-probability of -0.6931 nats: 0.5.
    """
    return pl.col("logprob").exp()


@metric(
    "num_perplexity_tokens", unit="tokens", higher_is_better=None, range=(0.0, None), source=HELM,
    helm="num_perplexity_tokens",
)  # fmt: skip
def num_perplexity_tokens() -> pl.Expr:
    """Return the number of tokens of the completion that have log-probabilities.

    If none has, it is the model's own token count.

    Example: A completion of 3 tokens with log-probabilities: 3.
    """
    return tokens()


@metric("num_bytes", unit="bytes", higher_is_better=None, range=(0.0, None), source=HELM, helm="num_bytes")
def num_bytes() -> pl.Expr:
    """Return the number of bytes of the completion in UTF-8.

    HELM adds up the bytes of its tokens. If the last token ends within a character, HELM counts the first bytes of that
    character; this metric counts the bytes of the replacement character.

    Example: " Zoë" has 5.
    """
    return pl.col("completion").str.len_bytes()


# -- a set of texts --------------------------------------------------------------------------------------------------


@metric(
    "perplexity", level="set", unit="perplexity", higher_is_better=False, range=(1.0, None), needs=("logprob",),
    source=HELM, helm="perplexity",
)  # fmt: skip
def perplexity() -> pl.Expr:
    """Return the perplexity per token over all tokens of the set.

    It is e to the power of minus the log-probability per token: the number of tokens that the model hesitates between.
    It is Inspect's perplexity_per_token. HF evaluate's perplexity is the mean over the texts, and lm-eval's is
    `text_perplexity`.

    Example: Texts of -2 nats in 2 tokens and -4 nats in 1 token: e^(6/3) = 7.389. HF evaluate's value is 28.7.
    """
    return (-_ratio(tokens())).exp()


@metric(
    "text_perplexity", level="set", unit="perplexity", higher_is_better=False, range=(1.0, None), needs=("logprob",),
    source="lm-eval, api/metrics.py; Paperno et al. 2016 (LAMBADA)", lm_eval="perplexity",
)  # fmt: skip
def text_perplexity() -> pl.Expr:
    """Return the perplexity per text, whatever the length of the texts.

    It is lm-eval's perplexity, for texts of one word (LAMBADA).

    Example: Texts of -2 and -4 nats: e^(6/2) = 20.086.
    """
    return (-pl.col("logprob").mean()).exp()


@metric(
    "word_perplexity", level="set", unit="perplexity", higher_is_better=False, range=(1.0, None), needs=("logprob",),
    source="lm-eval, api/metrics.py", lm_eval="word_perplexity",
)  # fmt: skip
def word_perplexity() -> pl.Expr:
    """Return the perplexity per word, with words separated by white space.

    It does not depend on the tokenizer. lm-eval counts the words of WikiText before it joins punctuation to words, and
    so counts more words.

    Example: -6 nats for texts of 4 words together: e^(6/4) = 4.482.
    """
    return (-_ratio(_words())).exp()


@metric(
    "byte_perplexity", level="set", unit="perplexity", higher_is_better=False, range=(1.0, None), needs=("logprob",),
    source="lm-eval, api/metrics.py", lm_eval="byte_perplexity",
)  # fmt: skip
def byte_perplexity() -> pl.Expr:
    """Return the perplexity per byte.

    It does not depend on the tokenizer.

    Example: -6 nats for texts of 8 bytes together: e^(6/8) = 2.117.
    """
    return (-_ratio(_bytes())).exp()


@metric(
    "bits_per_byte", level="set", unit="bits per byte", higher_is_better=False, range=(0.0, None), needs=("logprob",),
    source=HELM, helm="bits_per_byte", lm_eval="bits_per_byte",
)  # fmt: skip
def bits_per_byte() -> pl.Expr:
    """Return minus the log-probability per byte over all bytes of the set, in bits.

    It is the compressed size of the text.

    Example: -6 nats for texts of 8 bytes together: 6 / 8 / ln 2 = 1.082.
    """
    return -_ratio(_bytes()) / math.log(2)


@metric(
    "logprob_per_byte", level="set", unit="nats per byte", range=(None, 0.0), needs=("logprob",), source=HELM,
    helm="logprob_per_byte",
)  # fmt: skip
def logprob_per_byte() -> pl.Expr:
    """Return the log-probability per byte over all bytes of the set, in nats.

    Example: -6 nats for texts of 8 bytes together: -0.75.
    """
    return _ratio(_bytes())


@metric(
    "logprob_per_token", level="set", unit="nats per token", range=(None, 0.0), needs=("logprob",),
    source=f"{HELM}; `perplexity` is e to the power of minus this",
)  # fmt: skip
def logprob_per_token() -> pl.Expr:
    """Return the log-probability per token over all tokens of the set, in nats.

    Example: -2 nats in 2 tokens and -4 nats in 1 token: -2.
    """
    return _ratio(tokens())


# -- options ---------------------------------------------------------------------------------------------------------


@metric(
    "option_accuracy",
    level="instance",
    needs=OPTIONS,
    source=LM_EVAL,
    lm_eval="acc",
    no_value=NO_SCORE,
    correctness=True,
)
def option_accuracy() -> pl.Expr:
    """Return 1 if the option with the highest log-probability is correct, else 0.

    If several options have the highest log-probability, it is the share of them that is correct. lm-eval takes the
    first of them.

    Example: Log-probabilities -4 ("Paris", correct), -5 ("Lyon") and -4 ("Nice"): 1/2. lm-eval's acc is 1.
    """
    return _accuracy("sum")


@metric(
    "option_accuracy_per_token", level="instance", needs=OPTIONS, source=f"{HELM}, multiple_choice_separate_original",
    helm="exact_match", no_value=NO_TOKENS, correctness=True,
)  # fmt: skip
def option_accuracy_per_token() -> pl.Expr:
    """Return 1 if the option with the highest log-probability per token is correct, else 0.

    Ties are handled as in `option_accuracy`. It is HELM's exact_match for options that are requested one by one. HELM
    counts the tokens that its tokenizer makes of a space and the reference.

    Example: -4 in 2 tokens (correct) and -3 in 1 token: -2 > -3, so 1.
    """
    return _accuracy("token")


@metric(
    "option_accuracy_per_character", level="instance", needs=OPTIONS, source=LM_EVAL, lm_eval="acc_norm",
    no_value=NO_SCORE, correctness=True,
)  # fmt: skip
def option_accuracy_per_character() -> pl.Expr:
    """Return 1 if the option with the highest log-probability per character is correct, else 0.

    Characters are those of the reference, without the space before it. Ties are handled as in `option_accuracy`. It is
    lm-eval's acc_norm. lm-eval's documentation mentions bytes, which are acc_bytes.

    Example: -4 for "Paris" (correct) and -3 for "Lyon": -0.8 < -0.75, so 0.
    """
    return _accuracy("character")


@metric(
    "option_accuracy_per_byte",
    level="instance",
    needs=OPTIONS,
    source=LM_EVAL,
    lm_eval="acc_bytes",
    no_value=NO_SCORE,
    correctness=True,
)
def option_accuracy_per_byte() -> pl.Expr:
    """Return 1 if the option with the highest log-probability per byte is correct, else 0.

    Bytes are those of the reference in UTF-8. Ties are handled as in `option_accuracy`.

    Example: -4 for "Zoë" (correct) and -3.3 for "Ann": -1 > -1.1, so 1. Per character it is 0.
    """
    return _accuracy("byte")


@metric(
    "option_accuracy_calibrated", level="instance", needs=(*OPTIONS, "request_mode"),
    source=f"{HELM}, multiple_choice_separate_calibrated; Brown et al. 2020", helm="exact_match",
    lm_eval="acc_mutual_info", no_value=NOT_CALIBRATED, correctness=True,
)  # fmt: skip
def option_accuracy_calibrated() -> pl.Expr:
    """Return 1 if the option whose log-probability rises most with the question is correct, else 0.

    The log-probability of an option without the question, which is low for rare words, is subtracted. There is no score
    if an option was not requested without the question. Ties are handled as in `option_accuracy`.

    Example: -4 (-6 without the question; correct) and -3 (-3 without): 2 > 0, so 1.
    """
    return _accuracy("calibrated")


@metric(
    "predicted_index", level="instance", unit="index", higher_is_better=None, range=(0.0, None), needs=OPTIONS,
    source=HELM, helm="predicted_index", no_value=NOT_BY_THIS,
)  # fmt: skip
def predicted_index(by: str = "token") -> pl.Expr:
    """Return the `reference_index` of the likeliest option, counted from 0.

    Of equally likely options, the first counts.

    Example: Scores of -2, -1 and -1: the index is 1.

    Args:
        by: The score to compare: "sum", "token", "character", "byte" or "calibrated".
    """
    scores = option_scores(by)
    return if_all_scored(scores, option_indices(by).filter(scores == scores.max()).min())


@metric("option_max_prob", level="instance", needs=OPTIONS, source=HELM, helm="max_prob", no_value=NOT_BY_THIS)
def option_max_prob(by: str = "token") -> pl.Expr:
    """Return the probability of the likeliest option among the options, by a softmax of their scores.

    Example: Scores of -1 and -2: 1 / (1 + 1/e) = 0.731.

    Args:
        by: As in `predicted_index`. HELM takes the softmax over log-probabilities per token, which is not a
            probability. "sum" is the model's own probability.
    """
    scores = option_scores(by)
    return if_all_scored(scores, softmax(scores).max())


@metric(
    "correct_probability", level="instance", needs=OPTIONS, source="Lin et al. 2021 (TruthfulQA), MC2",
    lm_eval="truthfulqa_mc2", no_value=NO_SCORE,
)  # fmt: skip
def correct_probability() -> pl.Expr:
    """Return the share of the correct options in the probability of all options.

    Example: Probabilities 0.2 and 0.1 of two correct options, 0.3 of a wrong one: 0.3 / 0.6 = 0.5.
    """
    scores = option_scores("sum")
    return if_all_scored(scores, softmax(scores).filter(option_correct("sum")).sum())


@metric(
    "option_brier", level="instance", unit="squared probability", higher_is_better=False, range=(0.0, None),
    needs=OPTIONS, source="Brier 1950; lm-eval, api/metrics.py", lm_eval="brier_score", no_value=NO_SCORE,
)  # fmt: skip
def option_brier() -> pl.Expr:
    """Return the Brier score over the options: the sum of squared differences between probability and correctness.

    Probabilities are those among the options. `brier_score` rates the likeliest option only.

    Example: Probabilities 0.7 (correct), 0.2 and 0.1: 0.09 + 0.04 + 0.01 = 0.14.
    """
    scores = option_scores("sum")
    return if_all_scored(scores, ((softmax(scores) - option_correct("sum").cast(pl.Float64)) ** 2).sum())


def _accuracy(by: str) -> pl.Expr:
    scores = option_scores(by)
    return if_all_scored(scores, option_correct(by).filter(scores == scores.max()).mean())


def _ratio(length: pl.Expr) -> pl.Expr:
    """Return the sum of log-probabilities over the sum of lengths, for the rows that have both."""
    has_both = pl.col("logprob").is_not_null() & length.is_not_null()
    total = length.filter(has_both).sum()
    return pl.when(total > 0).then(pl.col("logprob").filter(has_both).sum() / total)


def _words() -> pl.Expr:
    return pl.col("completion").str.count_matches(WORD)


def _bytes() -> pl.Expr:
    return pl.col("completion").str.len_bytes()
