"""The adapters of options: all options in one prompt, or one request per option.

In `multiple_choice_joint…` each option has a letter, and the answer is a letter. `multiple_choice_separate…` scores
each option by its likelihood, which needs a model with log-probabilities of texts (`loglikelihood`). `ranking_binary`
requests an answer about each passage.
"""

from collections.abc import Sequence

import polars as pl

from helmframe._core.specs import AdapterSpec
from helmframe._schema import NO, YES, source_column
from helmframe.adapters.adapt import adapter
from helmframe.adapters.generation import generation
from helmframe.adapters.layout import cue_end, labels
from helmframe.errors import ArgumentError

_TEXTS = {"input_prefix": "Question: ", "output_prefix": "Answer: "}


@adapter("multiple_choice_joint", defaults=_TEXTS, decoding={"max_tokens": 1, "temperature": 0.0})
def multiple_choice_joint(variants: pl.LazyFrame, spec: AdapterSpec) -> pl.LazyFrame:
    """Request the letter of an option: `Question: …`, one line per option (`A. …`), and `Answer: `.

    A few-shot example ends with its first correct letter, or with n/a if it has none. With `multi_label` it ends with
    all correct letters, separated by commas. The letters are the first letter or digit of `reference_prefix`, counted
    up, or those of `reference_prefix_characters`. The prefix `i. ` counts i, ii, iii, which may take several tokens. A
    completion may have one token per character of the longest label, and ends at the end of the line.

    Raises:
        ArgumentError: `reference_prefix` has no letter or digit, or there are fewer letters than options.

    Source: HELM `MultipleChoiceJointAdapter`.
    """
    _, letters = labels(spec)
    most = _most_options(variants, len(letters), spec)
    questions = _with_options(variants, spec, most).with_columns(answer=_correct(letters, most, spec))
    if all(len(label) == 1 for label in letters[:most]):
        return questions
    # one token per character: no tokenizer needs more for these
    longest = pl.col("choices").list.eval(pl.element().str.len_chars()).list.max()
    return questions.with_columns(answer_tokens=longest.fill_null(1).cast(pl.Int64))


@adapter("multiple_choice_joint_chain_of_thought", defaults=_TEXTS, decoding={"max_tokens": 2048, "temperature": 0.0})
def multiple_choice_joint_chain_of_thought(variants: pl.LazyFrame, spec: AdapterSpec) -> pl.LazyFrame:
    """Request reasoning and then the letter of an option; the prompt is that of `multiple_choice_joint`.

    A few-shot example has the reasoning in its column `chain_of_thought`, as
    `{chain_of_thought_prefix}…{chain_of_thought_suffix}`, and ends with the answer in the form of the options: `B. `.
    In HELM, the metric `chain_of_thought_correctness` parses the letter. `answer_parser="lenient"` parses it for all
    metrics.

    Source: HELM `MultipleChoiceJointChainOfThoughtAdapter`.
    """
    prefixes, letters = labels(spec)
    most = _most_options(variants, len(letters), spec)
    column = source_column("chain_of_thought")
    present = column in variants.collect_schema()
    thought = pl.col(column).cast(pl.String).fill_null("") if present else pl.lit("")
    answer = pl.concat_str(
        pl.lit(spec.chain_of_thought_prefix),
        thought,
        pl.lit(spec.chain_of_thought_suffix),
        _correct(prefixes, most, spec),
    )
    return _with_options(variants, spec, most).with_columns(answer=answer)


def _with_options(variants: pl.LazyFrame, spec: AdapterSpec, most: int) -> pl.LazyFrame:
    """Add `question` and `choices`."""
    prefixes, letters = labels(spec)
    references, count = pl.col("perturbed_references"), pl.col("perturbed_references").list.len()
    # Option by option over whole columns: list.eval with an index per row would run once per row.
    texts = references.list.eval(pl.element().struct.field("text"))
    lines = [
        pl.when(count > index)
        .then(
            pl.concat_str(
                pl.lit(prefixes[index]), texts.list.get(index, null_on_oob=True), pl.lit(spec.reference_suffix)
            )
        )
        .otherwise(pl.lit(""))
        for index in range(most)
    ]
    # looked up by the number of options: six times as fast as slicing a list per row
    choices = pl.Series([letters[:number] for number in range(most + 1)], dtype=pl.List(pl.String))
    return variants.with_columns(
        question=pl.concat_str(
            pl.lit(spec.input_prefix),
            "perturbed_input",
            pl.lit(spec.input_suffix),
            *lines,
            pl.lit(spec.output_prefix),
        ),
        choices=pl.lit(choices).gather(count.fill_null(0)),
    )


def _correct(letters: Sequence[str], most: int, spec: AdapterSpec) -> pl.Expr:
    """Return the label of the first correct reference, or the labels of all; n/a if none is correct."""
    correct = pl.col("perturbed_references").list.eval(pl.element().struct.field("correct").cast(pl.Int8))
    if spec.multi_label and most:
        hits = [pl.when(correct.list.get(i, null_on_oob=True) > 0).then(pl.lit(letters[i])) for i in range(most)]
        answer = pl.concat_list(hits).list.drop_nulls().list.join(", ")
    else:
        answer = correct.list.arg_max().replace_strict(list(range(len(letters))), list(letters), return_dtype=pl.String)
    return pl.when(correct.list.max() > 0).then(answer).otherwise(pl.lit("n/a"))


def _most_options(variants: pl.LazyFrame, letters: int, spec: AdapterSpec) -> int:
    """Return the largest number of options of an instance."""
    count = pl.col("perturbed_references").list.len()
    most: int = variants.select(count.max()).collect().item() or 0
    if most > letters:
        instance = variants.filter(count == most).select("scenario", "instance_id").head(1).collect().row(0)
        where = "reference_prefix_characters" if spec.reference_prefix_characters else "reference_prefix"
        start = spec.reference_prefix_characters or spec.reference_prefix
        raise ArgumentError(
            f"Instance {instance[1]!r} of scenario {instance[0]!r} has {most} options, but {where}={start!r} has only "
            f"{letters} labels. Use method='generation' or another {where}."
        )
    return most


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
