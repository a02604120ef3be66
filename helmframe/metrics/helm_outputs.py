"""The outputs of a request that HELM scores: one of n, while helmframe takes the mean over all.

Source: HELM, evaluate_reference_metrics.py (compute_reference_metrics) and basic_metrics.py.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress

import polars as pl

from helmframe._schema import COMPLETIONS, SCORES
from helmframe.errors import HelmframeError
from helmframe.metrics.protocol import Metric, resolve_metrics
from helmframe.metrics.shared import GOLD, base_columns

_REQUEST = tuple(name for name in COMPLETIONS.key if name != "output_index")
# metrics of the first output, as the model returned them
_FIRST = (
    *("logprob", "num_bytes", "num_perplexity_tokens", "perplexity", "bits_per_byte", "logprob_per_byte"),
    *("finish_reason_length", "finish_reason_stop", "finish_reason_unknown", "coverage", "density", "compression"),
)


def is_helm_output(metric: Metric, columns: Sequence[str]) -> pl.Expr:
    """Return whether HELM scores an output by this metric, as an expression over completions.

    Metrics that compare an output with references, and `max_prob`, score the output of highest log-probability. Of
    equal ones, the first counts; a missing log-probability counts as 0; failed outputs come last. Some of HELM's own
    counts describe the first output. All other metrics read all outputs.

    Args:
        metric: The metric, of level "output" or "set".
        columns: The columns of the completions.
    """
    output = _output_of(metric)
    if output is None:
        return pl.lit(value=True)
    first = pl.col("output_index") == 0
    return first if output == "first" else _is_likeliest(columns)


def helm_scores(scores: pl.LazyFrame, completions: pl.LazyFrame, names: Sequence[str]) -> pl.LazyFrame:
    """Return the scores that HELM counts: for metrics of one output, those of one output of each request.

    If a request has one score only, that score counts: it is HELM's own, or its output was selected before.

    Args:
        scores: `SCORES`.
        completions: The `COMPLETIONS` that the scores belong to.
        names: The metrics of the scores. All scores of unregistered metrics, such as another tool's, are part of the
            result.
    """
    outputs = dict(_outputs(names))
    likeliest = [name for name, output in outputs.items() if output == "likeliest"]
    first = [name for name, output in outputs.items() if output == "first"]
    columns = completions.collect_schema().names()
    on = [name for name in _REQUEST if name in columns and name in SCORES.schema]
    selected = completions.filter(_is_likeliest(columns)).select(*on, likeliest_index="output_index").unique(on)
    index = pl.col("output_index")
    other = pl.col("metric").is_in(likeliest) & (index != pl.col("likeliest_index"))
    later = pl.col("metric").is_in(first) & (index > 0)
    several = pl.len().over([*on, "metric"]) > 1
    return (
        scores.join(selected, on=on, how="left", nulls_equal=True, maintain_order="left")
        .filter(~(several & (other | later)).fill_null(value=False))
        .drop("likeliest_index")
    )


def _outputs(names: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Yield the metrics of one output, and which output HELM counts."""
    for name in names:
        # not a metric, or one that needs a package or an argument; the names don't have arguments
        with suppress(HelmframeError):
            (metric,) = resolve_metrics([name])
            if metric.level == "output":
                yield metric.name, _output_of(metric)


def _output_of(metric: Metric) -> str | None:
    """Return "likeliest", "first", or None if the metric reads all outputs."""
    name = metric.name.partition("(")[0]
    if name in _FIRST:
        return "first"
    reads = base_columns(metric.columns or metric.expression().meta.root_names())
    return "likeliest" if name == "max_prob" or {GOLD, "correct"} & {*reads} else None


def _is_likeliest(columns: Sequence[str]) -> pl.Expr:
    order = [pl.col("completion").is_not_null(), pl.col("logprob").fill_null(0.0), -pl.col("output_index")]
    likeliest = pl.col("output_index").sort_by(order, descending=True).first()
    return pl.col("output_index") == likeliest.over([name for name in _REQUEST if name in columns])
