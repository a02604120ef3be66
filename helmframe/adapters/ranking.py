"""The adapter `ranking_binary`: the model says of one passage at a time whether it answers the query."""

import polars as pl

from helmframe._core.specs import AdapterSpec
from helmframe._schema import NO, YES
from helmframe.adapters.adapt import adapter
from helmframe.adapters.references import each_reference


def examples(train: pl.LazyFrame, spec: AdapterSpec) -> pl.LazyFrame:
    """An example asks about each of its references in turn, with the answers; all of it is one block."""
    correct = pl.col("perturbed_references").list.get(pl.col("reference_index")).struct.field("correct")
    end = spec.output_suffix + spec.instance_prefix
    numbered = train.with_row_index("place")
    rows = each_reference(numbered).with_columns(answer=pl.when(correct).then(pl.lit(YES)).otherwise(pl.lit(NO)))
    whole = (
        rows.with_columns(asked=pl.concat_str(_question(spec), "answer", pl.lit(end)))
        .group_by("place", maintain_order=True)
        .agg(question=pl.col("asked").str.join(""), answer=pl.col("answer").last())
        .with_columns(question=pl.col("question").str.strip_suffix(pl.col("answer") + pl.lit(end)))
    )
    return (
        numbered.join(whole, on="place", how="left", maintain_order="left")
        .with_columns(pl.col("question", "answer").fill_null(""), choices=pl.lit(None, dtype=pl.List(pl.String)))
        .drop("place")
    )


@adapter(
    "ranking_binary",
    defaults={
        "shots": 2,
        "input_prefix": "Query: ",
        "reference_prefix": "Passage: ",
        "output_prefix": "Does the passage answer the query?\nAnswer: ",
    },
    decoding={"max_tokens": 5, "temperature": 0.0, "stop": ["\n"]},
    examples=examples,
)
def ranking_binary(variants: pl.LazyFrame, spec: AdapterSpec) -> pl.LazyFrame:
    """One request per reference: the passage, the query, and whether it answers it: Yes or No.

    `{reference_prefix}{reference}{reference_suffix}{input_prefix}{input}{input_suffix}{output_prefix}`. The metrics
    `RR@k`, `NDCG@k`, … put the references into an order by the answers and their log-probabilities.

    Source: HELM `BinaryRankingAdapter`.
    """
    return (
        each_reference(variants)
        .with_columns(
            question=_question(spec),
            answer=pl.lit(None, dtype=pl.String),
            choices=pl.lit(None, dtype=pl.List(pl.String)),
            request_mode=pl.lit("original"),
        )
        .drop("reference")
    )


def _question(spec: AdapterSpec) -> pl.Expr:
    return pl.concat_str(
        pl.lit(spec.reference_prefix),
        "reference",
        pl.lit(spec.reference_suffix + spec.input_prefix),
        "perturbed_input",
        pl.lit(spec.input_suffix + spec.output_prefix),
    )
