"""Metrics of the cost of a completion: tokens, time and money; and HELM's bookkeeping."""

from typing import Any

import polars as pl

from helmframe.errors import ArgumentError
from helmframe.metrics.protocol import metric

SOURCE = "HELM, basic_metrics.py"


@metric("num_prompt_tokens", unit="tokens", higher_is_better=None, range=(0, None), needs=("prompt_tokens",),
        source=SOURCE, helm="num_prompt_tokens")  # fmt: skip
def num_prompt_tokens() -> pl.Expr:
    """Return the number of tokens in the prompt, as the model counts them.

    Example: " Par" and "is": 2.
    """
    return pl.col("prompt_tokens")


@metric("num_output_tokens", unit="tokens", higher_is_better=None, range=(0, None), needs=("output_tokens",),
        source=SOURCE, helm=("num_output_tokens", "num_completion_tokens"))  # fmt: skip
def num_output_tokens() -> pl.Expr:
    """Return the number of tokens in the completion, as the model counts them.

    Example: " Par" and "is": 2.
    """
    return pl.col("output_tokens")


@metric("inference_runtime", unit="s", higher_is_better=False, range=(0, None), needs=("latency",),
        source="HELM, efficiency_metrics.py", helm="inference_runtime")  # fmt: skip
def inference_runtime() -> pl.Expr:
    """Return the latency of the request, in seconds.

    With several prompts in a batch it is the time of the whole batch, longer than the prompt alone would take.

    Example: 8 prompts in a batch of 2 s: 2 s for each.
    """
    return pl.col("latency")


@metric("output_tokens_per_second", level="set", unit="tokens/s", range=(0, None), needs=("output_tokens", "latency"),
        source="ratio of sums")  # fmt: skip
def output_tokens_per_second() -> pl.Expr:
    """Return the number of generated tokens per second of latency.

    It is the sum of all tokens over the sum of all latencies: the speed for one user, not the throughput of a full
    batch.

    Example: Completions of 10 and 30 tokens in 1 s and 3 s: 10.
    """
    return pl.col("output_tokens").sum() / pl.col("latency").sum()


@metric("cost", unit="price", higher_is_better=False, range=(0, None), needs=("prompt_tokens", "output_tokens"),
        source="the user's price table")  # fmt: skip
def cost(*, prices: Any) -> pl.Expr:
    """Return the price of the request by a table of token prices.

    The score is null for models without a price.

    Example: Under `cost(prices={"m": (0.5, 2)})`, 1,000 prompt tokens and 100 output tokens of model m cost 0.0007.

    Args:
        prices: A mapping from models to their prices per million prompt tokens and per million output tokens.
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
    """Return the number of references of the instance, correct or not.

    Example: With options A to D it is 4.
    """
    return pl.col("references").list.len()


@metric("num_train_instances", unit="examples", higher_is_better=None, range=(0, None), source=SOURCE,
        helm="num_train_instances")  # fmt: skip
def num_train_instances() -> pl.Expr:
    """Return the number of few-shot examples in the prompt after truncation.

    Example: With 5 examples, 2 of them dropped to fit the context window, it is 3.
    """
    return pl.col("shots_used")


@metric("prompt_truncated", higher_is_better=None, source=SOURCE, helm="prompt_truncated")
def prompt_truncated() -> pl.Expr:
    """Return 1 if the end of the prompt was cut to fit the model's context window, else 0.

    Example: If only few-shot examples were dropped, it is 0.
    """
    return pl.col("prompt_truncated")


@metric("finish_reason_length", higher_is_better=None, source=SOURCE, helm="finish_reason_length")
def finish_reason_length() -> pl.Expr:
    """Return 1 if the completion ended at the token limit, else 0.

    Example: For the finish reason "length" it is 1, for "stop" it is 0.
    """
    return pl.col("finish_reason").eq_missing("length")


@metric("finish_reason_stop", higher_is_better=None, source=SOURCE, helm="finish_reason_stop")
def finish_reason_stop() -> pl.Expr:
    """Return 1 if the completion ended by itself or at a stop sequence, else 0.

    HELM counts an end token separately.

    Example: For the finish reason "stop" it is 1.
    """
    return pl.col("finish_reason").eq_missing("stop")


@metric("finish_reason_unknown", higher_is_better=None, source=SOURCE, helm="finish_reason_unknown")
def finish_reason_unknown() -> pl.Expr:
    """Return 1 if the model returned no reason why the completion ended, else 0.

    Example: For the finish reason null it is 1, for "stop" it is 0.
    """
    return ~pl.col("finish_reason").is_in(["length", "stop"]).fill_null(value=False)


def _table(prices: Any) -> dict[str, tuple[float, float]]:
    try:
        return {str(model): (float(prompt), float(output)) for model, (prompt, output) in dict(prices).items()}
    except (TypeError, ValueError):
        raise ArgumentError(
            f"cost(prices={prices!r}): prices must map each model to its prices per million prompt tokens and per "
            "million output tokens: {'gpt': (2.5, 10)}."
        ) from None
