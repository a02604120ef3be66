"""Metrics of what a completion costs: tokens, time, money; and HELM's bookkeeping."""

from typing import Any

import polars as pl

from helmframe.errors import ArgumentError
from helmframe.metrics.protocol import metric

SOURCE = "HELM, basic_metrics.py"


@metric("num_prompt_tokens", unit="tokens", higher_is_better=None, range=(0, None), needs=("prompt_tokens",),
        source=SOURCE, helm="num_prompt_tokens")  # fmt: skip
def num_prompt_tokens() -> pl.Expr:
    """Return the tokens of the prompt, as the model counts them: " Par" and "is" are 2."""
    return pl.col("prompt_tokens")


@metric("num_output_tokens", unit="tokens", higher_is_better=None, range=(0, None), needs=("output_tokens",),
        source=SOURCE, helm=("num_output_tokens", "num_completion_tokens"))  # fmt: skip
def num_output_tokens() -> pl.Expr:
    """Return the tokens of the completion, as the model counts them: " Par" and "is" are 2."""
    return pl.col("output_tokens")


@metric("inference_runtime", unit="s", higher_is_better=False, range=(0, None), needs=("latency",),
        source="HELM, efficiency_metrics.py", helm="inference_runtime")  # fmt: skip
def inference_runtime() -> pl.Expr:
    """Return the time of the request's batch: with several prompts in it, more than this one took alone.

    8 prompts in a batch of 2 s: 2 s each.
    """
    return pl.col("latency")


@metric("output_tokens_per_second", level="set", unit="tokens/s", range=(0, None), needs=("output_tokens", "latency"),
        source="ratio of sums")  # fmt: skip
def output_tokens_per_second() -> pl.Expr:
    """Return tokens of all completions over the sum of their latencies: the speed for one user, not of a full batch.

    Completions of 10 and 30 tokens in 1 s and 3 s: 10.
    """
    return pl.col("output_tokens").sum() / pl.col("latency").sum()


@metric("cost", unit="price", higher_is_better=False, range=(0, None), needs=("prompt_tokens", "output_tokens"),
        source="the user's price table")  # fmt: skip
def cost(*, prices: Any) -> pl.Expr:
    """Return the price of the completion.

    With `cost(prices={"m": (0.5, 2)})` 1,000 prompt and 100 output tokens of m cost 0.0007. Null for a model without a
    price.

    Args:
        prices: Model → price of a million prompt tokens and of a million output tokens.
    """
    table = _table(prices)
    of_prompt, of_output = (
        pl.col("model").replace_strict(
            {model: pair[index] for model, pair in table.items()}, default=None, return_dtype=pl.Float64
        )
        for index in (0, 1)
    )
    return (pl.col("prompt_tokens") * of_prompt + pl.col("output_tokens") * of_output) / 1e6


@metric(
    "num_references", unit="references", higher_is_better=None, range=(0, None), source=SOURCE, helm="num_references"
)
def num_references() -> pl.Expr:
    """Return the number of references of the instance, correct or not: with options A to D it is 4."""
    return pl.col("references").list.len()


@metric("num_train_instances", unit="examples", higher_is_better=None, range=(0, None), source=SOURCE,
        helm="num_train_instances")  # fmt: skip
def num_train_instances() -> pl.Expr:
    """Return the few-shot examples left in the prompt after truncation: of 5, where 2 were dropped to fit, 3."""
    return pl.col("shots_used")


@metric("prompt_truncated", higher_is_better=None, source=SOURCE, helm="prompt_truncated")
def prompt_truncated() -> pl.Expr:
    """Return 1 if the end of the prompt was cut to fit the model's window: dropped examples alone are 0."""
    return pl.col("prompt_truncated")


@metric("finish_reason_length", higher_is_better=None, source=SOURCE, helm="finish_reason_length")
def finish_reason_length() -> pl.Expr:
    """Return 1 if the completion ended at the token limit: "length" is 1, "stop" is 0."""
    return pl.col("finish_reason").eq_missing("length")


@metric("finish_reason_stop", higher_is_better=None, source=SOURCE, helm="finish_reason_stop")
def finish_reason_stop() -> pl.Expr:
    """Return 1 if the completion ended by itself or at a stop sequence: "stop" is 1.

    HELM distinguishes its end token.
    """
    return pl.col("finish_reason").eq_missing("stop")


@metric("finish_reason_unknown", higher_is_better=None, source=SOURCE, helm="finish_reason_unknown")
def finish_reason_unknown() -> pl.Expr:
    """Return 1 if the model gave no reason why the completion ended: null is 1, "stop" is 0."""
    return ~pl.col("finish_reason").is_in(["length", "stop"]).fill_null(value=False)


def _table(prices: Any) -> dict[str, tuple[float, float]]:
    try:
        return {str(model): (float(prompt), float(output)) for model, (prompt, output) in dict(prices).items()}
    except (TypeError, ValueError):
        raise ArgumentError(
            f"cost(prices={prices!r}): prices must map each model to its prices per million prompt tokens and per "
            "million output tokens: {'gpt': (2.5, 10)}."
        ) from None
