"""Metrics of log-probabilities: of texts, as ratios of sums, and of options that were requested one by one.

A completion without log-probabilities has no score by them, and counts in no sum.
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

# -- of one text -----------------------------------------------------------------------------------------------------


@metric("logprob", unit="nats", range=(None, 0.0), needs=("logprob",), source=HELM, helm="logprob")
def logprob() -> pl.Expr:
    """Return the log-probability of the completion, in nats: of two tokens of -0.5 and -1.5, -2."""
    return pl.col("logprob")


@metric("max_prob", needs=("logprob",), source="HELM, evaluate_reference_metrics.py", helm="max_prob")
def max_prob() -> pl.Expr:
    """Return the probability of the completion, the e-th power of its log-probability. -0.6931 nats are 0.5.

    The longer the text, the smaller. Where options were requested one by one, HELM means `option_max_prob`.
    """
    return pl.col("logprob").exp()


@metric(
    "num_perplexity_tokens", unit="tokens", higher_is_better=None, range=(0.0, None), source=HELM,
    helm="num_perplexity_tokens",
)  # fmt: skip
def num_perplexity_tokens() -> pl.Expr:
    """Return the tokens of the completion with log-probabilities; where none have, as the model counts: 3 of 3."""
    return tokens()


@metric("num_bytes", unit="bytes", higher_is_better=None, range=(0.0, None), source=HELM, helm="num_bytes")
def num_bytes() -> pl.Expr:
    """Return the bytes of the completion in UTF-8. " Zoë" has 5.

    HELM adds up its tokens; where the last ends within a character it counts that character's first bytes, and this
    those of the replacement character.
    """
    return pl.col("completion").str.len_bytes()


# -- of a set of texts -----------------------------------------------------------------------------------------------


@metric(
    "perplexity", level="set", unit="perplexity", higher_is_better=False, range=(1.0, None), needs=("logprob",),
    source=HELM, helm="perplexity",
)  # fmt: skip
def perplexity() -> pl.Expr:
    """Return e to the power of minus the log-probability per token, over all tokens of the set.

    It is the number of tokens that seem likely. Texts of -2 nats in 2 tokens and -4 nats in 1: e^(6/3) = 7.389. It is
    Inspect's perplexity_per_token. HF evaluate's perplexity is the mean over the texts, here 28.7; lm-eval's is
    `text_perplexity`.
    """
    return (-_ratio(tokens())).exp()


@metric(
    "text_perplexity", level="set", unit="perplexity", higher_is_better=False, range=(1.0, None), needs=("logprob",),
    source="lm-eval, api/metrics.py; Paperno et al. 2016 (LAMBADA)", lm_eval="perplexity",
)  # fmt: skip
def text_perplexity() -> pl.Expr:
    """Return `perplexity` per text, however long: lm-eval's perplexity, for texts of one word (LAMBADA).

    Texts of -2 and -4 nats: e^(6/2) = 20.086.
    """
    return (-pl.col("logprob").mean()).exp()


@metric(
    "word_perplexity", level="set", unit="perplexity", higher_is_better=False, range=(1.0, None), needs=("logprob",),
    source="lm-eval, api/metrics.py", lm_eval="word_perplexity",
)  # fmt: skip
def word_perplexity() -> pl.Expr:
    """Return `perplexity` per word between white space: the same for every tokenizer.

    -6 nats for texts of 4 words together: e^(6/4) = 4.482. lm-eval counts WikiText's words before it joins punctuation
    to its word, so there are more of them.
    """
    return (-_ratio(_words())).exp()


@metric(
    "byte_perplexity", level="set", unit="perplexity", higher_is_better=False, range=(1.0, None), needs=("logprob",),
    source="lm-eval, api/metrics.py", lm_eval="byte_perplexity",
)  # fmt: skip
def byte_perplexity() -> pl.Expr:
    """Return `perplexity` per byte: the same for every tokenizer. -6 nats for texts of 8 bytes: e^(6/8) = 2.117."""
    return (-_ratio(_bytes())).exp()


@metric(
    "bits_per_byte", level="set", unit="bits per byte", higher_is_better=False, range=(0.0, None), needs=("logprob",),
    source=HELM, helm="bits_per_byte", lm_eval="bits_per_byte",
)  # fmt: skip
def bits_per_byte() -> pl.Expr:
    """Return minus the log-probability per byte, over all bytes of the set, in bits: the compressed size of the text.

    -6 nats for texts of 8 bytes together: 6 / 8 / ln 2 = 1.082.
    """
    return -_ratio(_bytes()) / math.log(2)


@metric(
    "logprob_per_byte", level="set", unit="nats per byte", range=(None, 0.0), needs=("logprob",), source=HELM,
    helm="logprob_per_byte",
)  # fmt: skip
def logprob_per_byte() -> pl.Expr:
    """Return the log-probability per byte, in nats: the set's sum over its sum of bytes. -6 for 8 bytes: -0.75."""
    return _ratio(_bytes())


@metric(
    "logprob_per_token", level="set", unit="nats per token", range=(None, 0.0), needs=("logprob",),
    source=f"{HELM}, of which perplexity is a power",
)  # fmt: skip
def logprob_per_token() -> pl.Expr:
    """Return the log-probability per token, in nats: the set's sum over that of tokens. -2 in 2 and -4 in 1: -2."""
    return _ratio(tokens())


# -- of options ------------------------------------------------------------------------------------------------------


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
    """Return 1 if the likeliest option is correct; of several as likely, the share that is.

    Log-probabilities -4 ("Paris", correct), -5 ("Lyon"), -4 ("Nice"): 1/2. lm-eval takes the first of them: 1.
    """
    return _accuracy("sum")


@metric(
    "option_accuracy_per_token", level="instance", needs=OPTIONS, source=f"{HELM}, multiple_choice_separate_original",
    helm="exact_match", no_value=NO_TOKENS, correctness=True,
)  # fmt: skip
def option_accuracy_per_token() -> pl.Expr:
    """Return `option_accuracy` by the log-probability per token.

    -4 in 2 tokens (correct) against -3 in 1: -2 > -3, so 1. It is HELM's exact_match where options are requested one by
    one; HELM takes the number of tokens that its tokenizer makes of a space and the reference.
    """
    return _accuracy("token")


@metric(
    "option_accuracy_per_character", level="instance", needs=OPTIONS, source=LM_EVAL, lm_eval="acc_norm",
    no_value=NO_SCORE, correctness=True,
)  # fmt: skip
def option_accuracy_per_character() -> pl.Expr:
    """Return `option_accuracy` by the log-probability per character of the reference: lm-eval's acc_norm.

    The space before the reference is not counted. lm-eval's documentation says bytes; those are acc_bytes. -4 for
    "Paris" (correct) against -3 for "Lyon": -0.8 < -0.75, so 0.
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
    """Return `option_accuracy` by the log-probability per byte of the reference in UTF-8.

    -4 for "Zoë" (correct) against -3.3 for "Ann": -1 > -1.1, so 1; per character it would be 0.
    """
    return _accuracy("byte")


@metric(
    "option_accuracy_calibrated", level="instance", needs=(*OPTIONS, "request_mode"),
    source=f"{HELM}, multiple_choice_separate_calibrated; Brown et al. 2020", helm="exact_match",
    lm_eval="acc_mutual_info", no_value=NOT_CALIBRATED, correctness=True,
)  # fmt: skip
def option_accuracy_calibrated() -> pl.Expr:
    """Return `option_accuracy` by the log-probability minus that without the question, which is low for rare words.

    -4 (-6 without) against -3 (-3): 2 > 0, so the first. No score where an option was not requested without the
    question.
    """
    return _accuracy("calibrated")


@metric(
    "predicted_index", level="instance", unit="index", higher_is_better=None, range=(0.0, None), needs=OPTIONS,
    source=HELM, helm="predicted_index", no_value=NOT_BY_THIS,
)  # fmt: skip
def predicted_index(by: str = "token") -> pl.Expr:
    """Return the `reference_index` of the likeliest option, counted from 0; of several as likely, the first.

    Of scores -2, -1, -1 it is 1.

    Args:
        by: "sum", "token", "character", "byte" or "calibrated".
    """
    scores = option_scores(by)
    return if_all_scored(scores, option_indices(by).filter(scores == scores.max()).min())


@metric("option_max_prob", level="instance", needs=OPTIONS, source=HELM, helm="max_prob", no_value=NOT_BY_THIS)
def option_max_prob(by: str = "token") -> pl.Expr:
    """Return the probability of the likeliest option among the options: the largest softmax of their scores.

    Of scores -1 and -2: 1 / (1 + 1/e) = 0.731.

    Args:
        by: as in `predicted_index`. HELM's softmax is over log-probabilities per token, which aren't any; "sum" is the
            model's own.
    """
    scores = option_scores(by)
    return if_all_scored(scores, softmax(scores).max())


@metric(
    "correct_probability", level="instance", needs=OPTIONS, source="Lin et al. 2021 (TruthfulQA), MC2",
    lm_eval="truthfulqa_mc2", no_value=NO_SCORE,
)  # fmt: skip
def correct_probability() -> pl.Expr:
    """Return the share of the correct options in the probability of all options.

    Probabilities .2 and .1 of two correct ones, .3 of a wrong one: .3 / .6 = .5.
    """
    scores = option_scores("sum")
    return if_all_scored(scores, softmax(scores).filter(option_correct("sum")).sum())


@metric(
    "option_brier", level="instance", unit="squared probability", higher_is_better=False, range=(0.0, None),
    needs=OPTIONS, source="Brier 1950; lm-eval, api/metrics.py", lm_eval="brier_score", no_value=NO_SCORE,
)  # fmt: skip
def option_brier() -> pl.Expr:
    """Return the sum over the options of (probability among the options - whether it is correct)².

    Probabilities .7 (correct), .2, .1: .09 + .04 + .01 = .14.
    """
    scores = option_scores("sum")
    return if_all_scored(scores, ((softmax(scores) - option_correct("sum").cast(pl.Float64)) ** 2).sum())


def _accuracy(by: str) -> pl.Expr:
    scores = option_scores(by)
    return if_all_scored(scores, option_correct(by).filter(scores == scores.max()).mean())


def _ratio(length: pl.Expr) -> pl.Expr:
    """Return the sum of log-probabilities over the sum of lengths, of the rows that have both."""
    has_both = pl.col("logprob").is_not_null() & length.is_not_null()
    total = length.filter(has_both).sum()
    return pl.when(total > 0).then(pl.col("logprob").filter(has_both).sum() / total)


def _words() -> pl.Expr:
    return pl.col("completion").str.count_matches(WORD)


def _bytes() -> pl.Expr:
    return pl.col("completion").str.len_bytes()
