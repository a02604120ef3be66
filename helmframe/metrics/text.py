"""Metrics of the output's text: length, repetition, diversity, refusals, JSON, and similarity of meaning.

Metrics over several outputs of one request are the majority vote, and the reliability of correct answers.
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl

from helmframe._core.json_schema import check_available, json_problem, schema_problem, schema_text
from helmframe.errors import ArgumentError
from helmframe.metrics.ngrams import distinct_ngrams
from helmframe.metrics.protocol import OUTPUTS, Metric, metric

# A word as Python's str.split returns it.
WORD = r"[^\s\x1c-\x1f]+"
# The beginnings of refusals, in English.
REFUSALS = (
    r"(?i)^\W*(?:(?:i['’]?m|i am)\s+(?:very\s+|really\s+|so\s+)?(?:sorry|afraid)\b|sorry\b"
    r"|(?:i|we)\s+apologi[sz]e\b|my apologies\b"
    r"|(?:unfortunately,?\s+)?(?:i|we)(?:"
    r"\s+(?:can ?not|could not|will not|must decline|have to decline|decline|am not able|am unable)"
    r"|\s+(?:can|won|couldn|don)['’]t\s+(?:\w+\s+)?(?:help|assist|do|provide|answer|comply|fulfil+|create|write|generate"
    r"|discuss|share|give|engage|support|feel)"
    r"|['’]m (?:not able|unable))"
    r"|as an? (?:ai|artificial intelligence|language model)\b)"
)


@metric("output_words", unit="words", higher_is_better=None, range=(0, None), source="words separated by white space")
def output_words() -> pl.Expr:
    """Return the number of words in the output, separated by white space.

    Example: "one, two" has 2.
    """
    return pl.col("output").str.count_matches(WORD)


@metric("output_characters", unit="characters", higher_is_better=None, range=(0, None), source="Unicode characters")
def output_characters() -> pl.Expr:
    """Return the number of Unicode characters in the output.

    Example: "Zoë" has 3.
    """
    return pl.col("output").str.len_chars()


@metric("repetition", higher_is_better=False, source="Welleck et al. 2020 (seq-rep-n)")
def repetition(*, n: int = 4) -> pl.Expr:
    """Return the share of the output's n-grams that occur earlier in the output.

    Words are normalised. Outputs with fewer than n words score 0.

    Example: "tick tock tick tock" has the pairs tick-tock, tock-tick, tick-tock: repetition(n=2) is 1/3.

    Args:
        n: The number of words in an n-gram.
    """
    return 1 - _distinct(n)


@metric("distinct", source="Li et al. 2016 (distinct-n), per output")
def distinct(*, n: int = 2) -> pl.Expr:
    """Return the share of distinct n-grams among the output's n-grams.

    Words are normalised.

    Example: "tick tock tick tock" has the pairs tick-tock, tock-tick, tick-tock: distinct(n=2) is 2/3.

    Args:
        n: The number of words in an n-gram.
    """
    return _distinct(n)


@metric("distinct_in_all", level="set", source="Li et al. 2016 (distinct-n)")
def distinct_in_all(*, n: int = 2) -> pl.Expr:
    """Return the share of distinct n-grams among the n-grams of all outputs together.

    Words are normalised. The share falls with the number of outputs.

    Example: "one two three" and "one two" have 3 pairs of words, 2 of them distinct: 2/3.

    Args:
        n: The number of words in an n-gram.
    """

    def compute(columns: Any) -> float | None:
        different, total = distinct_ngrams(columns[0], n, together=True)
        return float(different.sum() / total.sum()) if total.sum() else None

    return pl.map_batches(["words_output"], compute, return_dtype=pl.Float64, returns_scalar=True)


@metric("refusal", higher_is_better=None, source="phrases of refusal at the start, after XSTest (Röttger et al. 2024)")
def refusal(*, pattern: str = REFUSALS) -> pl.Expr:
    """Return 1 if the output starts like a refusal, else 0.

    The default pattern is English. A judge recognises more refusals.

    Example: "I'm sorry, but I can't help with that." is 1.

    Args:
        pattern: The regular expression for refusals.
    """
    return pl.col("output").str.contains(pattern)


@metric(
    "self_bleu",
    level="instance",
    unit="percent",
    range=(0.0, 100.0),
    higher_is_better=False,
    packages=("sacrebleu",),
    source="HELM, disinformation_metrics.py; Zhu et al. 2018",
    helm="self_bleu",
)
def self_bleu(output: Sequence[str | None]) -> float:
    """Return the mean sentence BLEU of each of an instance's outputs against its other outputs, in percent.

    High values mean that the outputs resemble each other. Empty outputs are skipped. With fewer than two outputs it is
    0.

    Example: The outputs "a b c d" and "a b c d" have 100.

    Args:
        output: The outputs of the instance.
    """
    from sacrebleu import BLEU

    texts = [text.strip() for text in output if text and text.strip()]
    if len(texts) < 2:
        return 0.0
    bleu = BLEU(effective_order=True)
    scores = [bleu.sentence_score(text, texts[:i] + texts[i + 1 :]).score for i, text in enumerate(texts)]
    # a sum of logarithms may come out a little above 100
    return min(sum(scores) / len(texts), 100.0)


@metric(
    "monte_carlo_entropy",
    level="instance",
    unit="nats",
    range=(0.0, None),
    higher_is_better=None,
    needs=("logprob",),
    partial=True,
    source="HELM, disinformation_metrics.py",
    helm="monte_carlo_entropy",
    no_value="no output has tokens",
)
def monte_carlo_entropy() -> pl.Expr:
    """Return the mean negative log-probability of an instance's outputs, in nats.

    At temperature 1 it estimates the entropy of the model's outputs. Outputs without tokens are skipped.

    Example: Log-probabilities of -2 and -4: 3.
    """
    # HELM records a log-probability of 0 for an output without tokens
    has_tokens = (pl.col("logprob") != 0) | (pl.col("token_logprobs").list.len() > 0)
    return -pl.col("logprob").filter(has_tokens).mean()


@metric("json_valid", source="RFC 8259")
def json_valid(completion: str) -> tuple[float, str | None]:
    """Return 1 if the completion is JSON, else 0 with the reason in the column `reason` of scores.

    White space around the value is allowed; other text and code fences are not.

    Example: "[1]" is 1. "[1" isn't JSON, so it is 0.
    """
    problem = json_problem(completion)
    return float(problem is None), problem


def _check_schema(schema: str = "") -> None:
    check_available()
    if schema:
        schema_text(schema, "json_schema_valid(schema=…)")


@metric("json_schema_valid", source="JSON Schema, draft 2020-12 and earlier", check=_check_schema)
def json_schema_valid(completion: str, decoding: str, *, schema: str = "") -> tuple[float | None, str | None]:
    """Return 1 if the completion is JSON that matches a schema, else 0 with the reason in the column `reason`.

    The schema is that of the request, `generate(model, json_schema=…)`. Formats such as "date" are not checked.

    Example: "[1]" for the schema {"type": "object"} is 0. The reason is: $: [1] is not of type 'object'.

    Args:
        completion: The completion.
        decoding: The decoding parameters of the request, as JSON.
        schema: Another schema, as JSON text. Requests without a schema need it.
    """
    text = _schema_of(decoding, schema)
    if text is None:
        return None, "the request has no json_schema"
    problem = schema_problem(completion, text)
    return float(problem is None), problem


@lru_cache(maxsize=64)
def _schema_of(decoding: str, schema: str) -> str | None:
    """Return the text of the schema in the metric's argument, or in the decoding parameters of the request."""
    specified = schema or json.loads(decoding).get("json_schema")
    return schema_text(specified, "json_schema_valid()") if specified else None


def _distinct(n: int) -> pl.Expr:
    def compute(columns: Any) -> pl.Series:
        different, total = distinct_ngrams(columns[0], n)
        return pl.Series(np.where(total > 0, different / np.maximum(total, 1), 1.0))

    value = pl.map_batches(["words_output"], compute, return_dtype=pl.Float64, is_elementwise=True)
    return pl.when(pl.col("output").is_not_null()).then(value)


RIGHT = 1.0


@metric(
    "maj@k", level="instance", needs=(OUTPUTS,), source="Wang et al. 2023 (self-consistency); lm-eval, majority_vote"
)
def maj(
    output: Sequence[str | None],
    score: Sequence[float | None],
    *,
    k: int,
    metric: str = "exact_match",  # noqa: ARG001 - the metric of `score`
) -> float | None:
    """Return the score of the most frequent answer among the first k outputs (self-consistency).

    If several answers are equally frequent, the first counts. Outputs without a parsed answer have no vote. The score
    is null if an output failed.

    Example: "7", "8", "7" against "7": the vote is 7, so 1.

    Args:
        output: The answers.
        score: Their scores under `metric`.
        k: The number of votes.
        metric: The metric that scores the answer.
    """
    if len(score) < k or any(value is None for value in score[:k]):
        return None
    votes = Counter(answer for answer in output[:k] if answer is not None)
    return score[output.index(votes.most_common(1)[0][0])] if votes else 0.0


@metric("pass^k", level="instance", needs=(OUTPUTS,), source="Yao et al. 2024 (tau-bench)")
def pass_all(*, k: int, metric: str = "exact_match") -> pl.Expr:  # noqa: ARG001 - the metric of `score`
    """Return the probability that k outputs, sampled without replacement from an instance's n, are all correct.

    With c correct outputs it is C(c, k) / C(n, k). `pass@k` is the probability that at least one is correct. The score
    is null if an output failed.

    Example: Of 4 outputs with 3 correct, pass^2 is 3/6.

    Args:
        k: The number of sampled outputs.
        metric: The metric; its score 1 means correct.
    """
    n, right = pl.len().cast(pl.Float64), (pl.col("score") >= RIGHT).sum().cast(pl.Float64)
    chance = pl.lit(1.0)
    for index in range(k):
        chance = chance * (right - index).clip(lower_bound=0) / (n - index)
    return pl.when((n >= k) & pl.col("score").is_not_null().all()).then(chance)


@metric("at_least@k", level="instance", needs=(OUTPUTS,), source="inspect_ai, at_least", correctness=True)
def at_least(*, k: int, metric: str = "exact_match") -> pl.Expr:  # noqa: ARG001 - the metric of `score`
    """Return 1 if at least k of an instance's outputs are correct, else 0.

    The score is null if an output failed.

    Example: Of 3 outputs with 2 correct, at_least@2 is 1.

    Args:
        k: The number of outputs that must be correct.
        metric: The metric; its score 1 means correct.
    """
    right = (pl.col("score") >= RIGHT).sum() >= k
    return pl.when((pl.len() >= k) & pl.col("score").is_not_null().all()).then(right.cast(pl.Float64))


def similarity(embed: Callable[[list[str]], Any], *, name: str = "similarity") -> Metric:
    """Return a metric: the cosine similarity between the embeddings of output and reference.

    The best of several correct references counts. A plan with this metric has no YAML form, because the metric
    contains a function.

    Args:
        embed: A function from a list of texts to a list of vectors: an array, a tensor on the CPU, or lists. It is
            called once per shard, with distinct texts.
        name: The name of the metric in tables.

    Raises:
        ArgumentError: `embed` is not a function. When scored: it returns another number of vectors than texts.

    >>> metric = similarity(lambda texts: [[len(text), 1.0] for text in texts])
    >>> metric.name, metric.unit, metric.low, metric.high
    ('similarity', 'cosine', -1.0, 1.0)

    Source: Reimers & Gurevych 2019 (Sentence-BERT).
    """
    if not callable(embed):
        raise ArgumentError(
            f"similarity({embed!r}): embed must be a function from a list of texts to a list of vectors."
        )

    def cosine() -> pl.Expr:
        """Return the cosine of the embeddings of output and reference."""
        return pl.map_batches(["output", "gold"], lambda columns: _cosines(embed, *columns), return_dtype=pl.Float64)

    return Metric(name, cosine, unit="cosine", higher_is_better=True, low=-1.0, high=1.0, registered=False)


def _cosines(embed: Callable[[list[str]], Any], outputs: pl.Series, golds: pl.Series) -> pl.Series:
    texts = pl.concat([outputs, golds]).drop_nulls().unique(maintain_order=True).to_list()
    if not texts:
        return pl.Series([None] * len(outputs), dtype=pl.Float64)
    vectors = np.asarray(embed(texts), dtype=np.float64)
    if vectors.ndim != 2 or len(vectors) != len(texts):
        raise ArgumentError(
            f"similarity(): embed returned an array of shape {vectors.shape} for {len(texts)} texts. It must return "
            "one row of numbers per text."
        )
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    units = vectors / np.where(lengths > 0, lengths, 1.0)
    row = {text: index for index, text in enumerate(texts)}
    pairs: Sequence[tuple[str | None, str | None]] = list(zip(outputs, golds, strict=True))
    return pl.Series(
        [
            None if output is None or gold is None else float(units[row[output]] @ units[row[gold]])
            for output, gold in pairs
        ],
        dtype=pl.Float64,
    )
