"""The adapters of free text: `generation`, `chat`, and `language_modeling`, which scores a whole text."""

import polars as pl

from helmframe._core.expressions import correct_references
from helmframe._core.specs import AdapterSpec
from helmframe._schema import BLOCK, MEDIA, TURN, source_column
from helmframe.adapters.adapt import adapter
from helmframe.errors import ArgumentError


@adapter("generation", decoding={"max_tokens": 100, "temperature": 0.0})
def generation(variants: pl.LazyFrame, spec: AdapterSpec) -> pl.LazyFrame:
    """Request a completion of the input: `{input_prefix}{input}{input_suffix}{output_prefix}`.

    A few-shot example ends with its first correct reference, or with n/a if it has none. With `multi_label` it ends
    with all correct references, separated by commas.

    Source: HELM `GenerationAdapter`.
    """
    correct = correct_references()
    answer = correct.list.join(", ") if spec.multi_label else correct.list.first()
    return variants.with_columns(
        question=pl.concat_str(
            pl.lit(spec.input_prefix), "perturbed_input", pl.lit(spec.input_suffix), pl.lit(spec.output_prefix)
        ),
        answer=pl.when(correct.list.len() > 0).then(answer).otherwise(pl.lit("n/a")),
        choices=pl.lit(None, dtype=pl.List(pl.String)),
    )


MESSAGE = pl.Struct({"role": pl.String, "content": pl.String})


@adapter(
    "chat",
    defaults={"shots": 0, "input_prefix": "", "input_suffix": "", "output_prefix": "", "output_suffix": ""},
    decoding={"max_tokens": 2000, "temperature": 0.0},
    ignores=("shots", "instructions", "global_prefix", "global_suffix"),
)
def chat(variants: pl.LazyFrame, spec: AdapterSpec) -> pl.LazyFrame:
    """Request the next message of a conversation: the instance's column `messages`, a list of {role, content}.

    The last message is the input, which perturbations change. Without the column, the input is the only message. The
    conversation is rendered with the model's chat template, if the model has one. With `chat_template=True`, a model
    without one is an error.

    Raises:
        ArgumentError: The column `messages` has another type.

    Source: HELM `ChatAdapter`.
    """
    schema = variants.collect_schema()
    rows = variants
    column = source_column("messages")
    if column in schema and TURN in schema:
        raise ArgumentError("A scenario with turns can't have a column 'messages' too. Remove one of them.")
    if column in schema:
        if schema[column] not in (pl.List(MESSAGE), pl.List(pl.Null), pl.Null()):
            raise ArgumentError(
                f"Column 'messages' has type {schema[column]}. Method 'chat' needs a list of {{role, content}} texts."
            )
        messages = pl.col(column).cast(pl.List(MESSAGE))
        rows = rows.with_columns(earlier=messages.list.head(messages.list.len() - 1).list.eval(_block()))
    return rows.with_columns(
        question=pl.col("perturbed_input"),
        answer=pl.lit(None, dtype=pl.String),
        choices=pl.lit(None, dtype=pl.List(pl.String)),
        chat_template=pl.lit(True if spec.chat_template else None, dtype=pl.Boolean),
    )


def _block() -> pl.Expr:
    part = pl.struct(type=pl.lit("text"), text=pl.element().struct.field("content"), media=pl.lit(None, dtype=MEDIA))
    role = pl.element().struct.field("role")
    return pl.struct(role=role, kind=pl.lit("message"), content=pl.concat_list(part)).cast(BLOCK)


@adapter(
    "language_modeling",
    defaults={"shots": 0, "input_prefix": "", "input_suffix": "", "output_prefix": "", "output_suffix": ""},
    scores=True,
    ignores=("shots", "trials", "instructions", "system", "global_prefix", "global_suffix"),
)
def language_modeling(variants: pl.LazyFrame, spec: AdapterSpec) -> pl.LazyFrame:
    """Request the log-probability of the whole input as a text.

    The stage `fit` cuts the text into windows that fit the model's context. The model must return log-probabilities of
    texts (`loglikelihood`). None of the adapter's texts are used, as in HELM.

    Source: HELM `LanguageModelingAdapter`.
    """
    del spec
    return variants.with_columns(
        question=pl.lit(""),
        continuation=pl.col("perturbed_input"),
        answer=pl.lit(None, dtype=pl.String),
        choices=pl.lit(None, dtype=pl.List(pl.String)),
    )
