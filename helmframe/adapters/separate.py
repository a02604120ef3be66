"""The adapters with one request per reference: options by their likelihood, and binary ranking of passages.

For likelihoods, the model must return log-probabilities of texts (`loglikelihood`).
"""

import polars as pl

from helmframe._core.specs import AdapterSpec
from helmframe._schema import NO, YES
from helmframe.adapters.adapt import adapter
from helmframe.adapters.generation import generation
from helmframe.adapters.layout import cue_end

ORIGINAL, CALIBRATION = "original", "calibration"
# The text that replaces the question in calibration.
NO_QUESTION = "Answer:"
_BARE = {"shots": 0, "input_prefix": "", "input_suffix": "", "output_prefix": " ", "output_suffix": ""}


@adapter("multiple_choice_separate_original", defaults=_BARE, examples=generation, scores=True)
def multiple_choice_separate_original(variants: pl.LazyFrame, spec: AdapterSpec) -> pl.LazyFrame:
    """Request the log-probability of each option after the question.

    The question is `{input_prefix}{input}{input_suffix}{output_prefix}`. The option is the `continuation`. It starts
    with the space at the end of `output_prefix`, as words do, and ends with `output_suffix`. Few-shot examples are
    those of `generation`.

    Source: HELM `MultipleChoiceSeparateAdapter`; its prompt is the question and the continuation.
    """
    return (
        one_row_per_reference(variants)
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
    """Request the log-probability of each option after the question, and again without question and examples.

    Without the question, the prompt is `Answer:`, and `request_mode` is "calibration". The metric
    `option_accuracy_calibrated` subtracts this log-probability.

    Source: HELM `MultipleChoiceCalibratedAdapter`; Brown et al. 2020, section 2.4.
    """
    original = multiple_choice_separate_original(variants, spec)
    without = pl.lit(spec.input_prefix + NO_QUESTION + spec.input_suffix + spec.output_prefix)
    modes = pl.concat_list(pl.lit(ORIGINAL), pl.lit(CALIBRATION))
    return (
        original.with_columns(request_mode=modes)
        .explode("request_mode")
        .with_columns(
            question=pl.when(pl.col("request_mode") == CALIBRATION).then(without).otherwise(pl.col("question"))
        )
    )


def one_row_per_reference(variants: pl.LazyFrame) -> pl.LazyFrame:
    """Return one row per reference, in order: `reference_index`, and its text as `reference`.

    Rows without references are dropped.
    """
    count = pl.col("perturbed_references").list.len()
    rows = variants.filter(count > 0).with_columns(reference_index=pl.int_ranges(0, count, dtype=pl.Int64))
    reference = pl.col("perturbed_references").list.get(pl.col("reference_index"))
    return rows.explode("reference_index").with_columns(reference=reference.struct.field("text"))


def examples(train: pl.LazyFrame, spec: AdapterSpec) -> pl.LazyFrame:
    """Return few-shot examples that contain each of their references in turn, with its answer.

    An example is one block.
    """
    correct = pl.col("perturbed_references").list.get(pl.col("reference_index")).struct.field("correct")
    end = spec.output_suffix + spec.instance_prefix
    numbered = train.with_row_index("_row")
    rows = one_row_per_reference(numbered).with_columns(answer=pl.when(correct).then(pl.lit(YES)).otherwise(pl.lit(NO)))
    whole = (
        rows.with_columns(block=pl.concat_str(_question(spec), "answer", pl.lit(end)))
        .group_by("_row", maintain_order=True)
        .agg(question=pl.col("block").str.join(""), answer=pl.col("answer").last())
        .with_columns(question=pl.col("question").str.strip_suffix(pl.col("answer") + pl.lit(end)))
    )
    return (
        numbered.join(whole, on="_row", how="left", maintain_order="left")
        .with_columns(pl.col("question", "answer").fill_null(""), choices=pl.lit(None, dtype=pl.List(pl.String)))
        .drop("_row")
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
    """Request, for each reference, whether the passage answers the query: Yes or No.

    The question is `{reference_prefix}{reference}{reference_suffix}{input_prefix}{input}{input_suffix}{output_prefix}`.
    The metrics `RR@k`, `NDCG@k`, … rank the references by the completions and their log-probabilities.

    Source: HELM `BinaryRankingAdapter`.
    """
    return (
        one_row_per_reference(variants)
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
