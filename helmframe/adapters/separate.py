"""The adapters that ask about each option on its own: how likely is it as the answer?

They need a model that gives log-probabilities of texts it is given (`loglikelihood`).
"""

import polars as pl

from helmframe._core.specs import AdapterSpec
from helmframe._schema import NO, YES
from helmframe.adapters.adapt import adapter
from helmframe.adapters.generation import generation
from helmframe.adapters.layout import cue_end

ORIGINAL, CALIBRATION = "original", "calibration"
# What stands for the question where it is left out.
NOTHING_ASKED = "Answer:"
_BARE = {"shots": 0, "input_prefix": "", "input_suffix": "", "output_prefix": " ", "output_suffix": ""}


@adapter("multiple_choice_separate_original", defaults=_BARE, examples=generation, scores=True)
def multiple_choice_separate_original(variants: pl.LazyFrame, spec: AdapterSpec) -> pl.LazyFrame:
    """One request per option: `{input_prefix}{input}{input_suffix}{output_prefix}`, and the option as `continuation`.

    What is asked about starts with the space that `output_prefix` ends with, as words do, and ends with
    `output_suffix`. An example is one of `generation`.

    Source: HELM `MultipleChoiceSeparateAdapter`, whose prompt is ours and the continuation.
    """
    return (
        each_reference(variants)
        .with_columns(
            question=pl.concat_str(
                pl.lit(spec.input_prefix), "perturbed_input", pl.lit(spec.input_suffix), pl.lit(spec.output_prefix)
            ),
            continuation=pl.concat_str(
                pl.lit(cue_end(spec)), "reference", pl.lit(spec.output_suffix), pl.lit(spec.global_suffix)
            ),
            request_mode=pl.lit(ORIGINAL),
        )
        .with_columns(answer=pl.lit(None, dtype=pl.String), choices=pl.lit(None, dtype=pl.List(pl.String)))
        .drop("reference")
    )


@adapter("multiple_choice_separate_calibrated", defaults=_BARE, examples=generation, scores=True)
def multiple_choice_separate_calibrated(variants: pl.LazyFrame, spec: AdapterSpec) -> pl.LazyFrame:
    """As `multiple_choice_separate_original`, and each option once more without examples and question.

    `Answer:` stands for the question there (`request_mode` "calibration"); what an option is likely by itself is taken
    off (metric `option_accuracy_calibrated`).

    Source: HELM `MultipleChoiceCalibratedAdapter`; Brown et al. 2020, section 2.4.
    """
    asked = multiple_choice_separate_original(variants, spec)
    without = pl.lit(spec.input_prefix + NOTHING_ASKED + spec.input_suffix + spec.output_prefix)
    modes = pl.concat_list(pl.lit(ORIGINAL), pl.lit(CALIBRATION))
    return (
        asked.with_columns(request_mode=modes)
        .explode("request_mode")
        .with_columns(
            question=pl.when(pl.col("request_mode") == CALIBRATION).then(without).otherwise(pl.col("question"))
        )
    )


def each_reference(variants: pl.LazyFrame) -> pl.LazyFrame:
    """One row per reference, in order: `reference_index`, and its text as `reference`; a row without any goes."""
    count = pl.col("perturbed_references").list.len()
    rows = variants.filter(count > 0).with_columns(reference_index=pl.int_ranges(0, count, dtype=pl.Int64))
    place = pl.col("perturbed_references").list.get(pl.col("reference_index"))
    return rows.explode("reference_index").with_columns(reference=place.struct.field("text"))


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
