"""Options that were requested one by one: expressions over the rows of one instance, and over many instances.

Each row is a request about the reference at `reference_index`, with its `logprob`. Rows whose `request_mode` is
"calibration" are requests without the question. If there are several outputs, the first counts.
"""

from collections.abc import Mapping, Sequence

import polars as pl

from helmframe._core.expressions import stripped
from helmframe._schema import OF_REQUEST, SCORES
from helmframe.errors import ArgumentError

# The key of an instance under one perturbation and one adapter setting: its outputs and options share it.
INSTANCE_KEY = [name for name in SCORES.key if name not in ("output_index", *OF_REQUEST, "metric")]
SCALES = ("sum", "token", "character", "byte", "calibrated")
CALIBRATION = "calibration"

_INDEX = pl.col("reference_index")
_MODE = pl.col("request_mode").fill_null("original")
_REFERENCE = pl.col("perturbed_references").list.get(_INDEX, null_on_oob=True)


# -- one instance, while its rows are aggregated ---------------------------------------------------------------------


def option_scores(by: str) -> pl.Expr:
    """Return the score of each option: highest for the option that the model prefers, null if it has none.

    Args:
        by: "sum" for the log-probability of the whole option. "token", "character" or "byte" divides it by the number
            of the option's tokens, or of its reference's characters or bytes. "calibrated" subtracts the
            log-probability without the question.

    Raises:
        ArgumentError: `by` is unsupported.
    """
    if by not in SCALES:
        raise ArgumentError.unknown_value(f"by={by!r}", by, SCALES)
    if by != "calibrated":
        return _with_question(_scaled(by), by)
    # sorted, each option's request without the question comes right before the one with it
    index, mode, logprob = (_sorted(column) for column in (_INDEX, _MODE, pl.col("logprob")))
    paired = (index == index.shift(1)) & (mode.shift(1) == CALIBRATION)
    return pl.when(paired).then(logprob - logprob.shift(1)).filter(mode != CALIBRATION)


def option_correct(by: str) -> pl.Expr:
    """Return whether each option is correct, in the order of `option_scores(by)`."""
    return _with_question(_REFERENCE.struct.field("correct"), by)


def option_tagged(tag: str, by: str) -> pl.Expr:
    """Return whether each option's reference has the tag, in the order of `option_scores(by)`."""
    return _with_question(_has(tag), by)


def option_indices(by: str) -> pl.Expr:
    """Return the `reference_index` of each option, in the order of `option_scores(by)`."""
    return _with_question(_INDEX, by)


def softmax(scores: pl.Expr) -> pl.Expr:
    """Return the scores as probabilities that sum to 1."""
    raised = (scores - scores.max()).exp()
    return raised / raised.sum()


def if_all_scored(scores: pl.Expr, value: pl.Expr) -> pl.Expr:
    """Return the value; null if an option has no score, or there is no option."""
    return pl.when((scores.len() > 0) & scores.is_not_null().all()).then(value)


def tokens() -> pl.Expr:
    """Return the number of tokens of the completion: those with log-probabilities, or else the model's count."""
    return pl.coalesce(pl.col("token_logprobs").list.len(), "output_tokens").cast(pl.Int64)


# -- many instances at once ------------------------------------------------------------------------------------------


def option_rows(scales: Sequence[str], tags: Sequence[str] = ()) -> dict[str, pl.Expr]:
    """Return the columns that `options` reads as expressions by name; each is a number or flag per row.

    Set metrics are computed about 200 times, each time over fewer rows. Grouping rows by one number is fast.

    Args:
        scales: As in `option_scores`, without "calibrated". Each becomes a column of that name.
        tags: Tags. Each becomes a column that is true if the option has the tag.
    """
    return {
        "instance_key": pl.struct(INSTANCE_KEY).hash(),
        "index": _INDEX,
        "with_question": _MODE != CALIBRATION,
        "output_index": pl.col("output_index"),
        "correct": _REFERENCE.struct.field("correct"),
        **{scale: _scaled(scale) for scale in scales},
        **{tag: _has(tag) for tag in tags},
    }


def options(rows: pl.DataFrame, by: str) -> pl.DataFrame:
    """Return the requests of options with their question, and their `score`; instances that lack a score are skipped.

    Args:
        rows: Rows with the columns of `option_rows`.
        by: One of its scales, or "calibrated", which needs "sum".
    """
    requests = rows.filter(pl.col("index").is_not_null())
    if requests["output_index"].n_unique() > 1:
        requests = requests.filter(pl.col("output_index") == pl.col("output_index").min().over("instance_key"))
    with_question = requests.filter("with_question")
    if by == "calibrated":
        keys = ["instance_key", "index"]
        without = requests.filter(~pl.col("with_question")).select(*keys, without="sum").unique(keys)
        paired = with_question.join(without, on=keys, how="left", maintain_order="left")
        scored = paired.with_columns(score=pl.col("sum") - pl.col("without"))
    else:
        scored = with_question.with_columns(score=by)
    lacking = scored.filter(pl.col("score").is_null() | pl.col("score").is_nan())["instance_key"]
    return scored if lacking.is_empty() else scored.filter(~pl.col("instance_key").is_in(lacking.implode()))


def has_option_requests(read: pl.LazyFrame) -> bool:
    """Return whether any instance's options were requested one by one."""
    if not {"continuation", "reference_index"} <= set(read.collect_schema().names()):
        return False
    return bool(read.select(is_option_request().any()).collect().item())


def with_likeliest_options(read: pl.LazyFrame) -> pl.LazyFrame:
    """Return one row for each group of options, with the likeliest option's text as `output`; other rows are unchanged.

    As in HELM, the likeliest option is that with the highest log-probability per token. With requests of mode
    "calibration" it is that with the highest log-probability relative to the one without the question. If several
    options are equally likely, the first counts. If the model returns no token counts, the log-probability of the whole
    option counts. If one option failed, the instance failed.

    Args:
        read: `READ`.

    Source: HELM `compute_reference_metrics`; its exact_match is then that of this output.
    """
    names = read.collect_schema().names()
    likeliest_index = (
        pl.when((pl.col("request_mode") == CALIBRATION).any())
        .then(_likeliest("calibrated"))
        .when(tokens().is_not_null().all())
        .then(_likeliest("token"))
        .otherwise(_likeliest("sum"))
    )
    options = (
        read.filter(is_option_request())
        .group_by(INSTANCE_KEY, maintain_order=True)
        .agg(
            pl.exclude(INSTANCE_KEY).first(),
            failed=pl.col("completion").is_null().any(),
            error_of_one=pl.col("error").drop_nulls().first(),
            likeliest_index=likeliest_index,
        )
    )
    text = pl.col("perturbed_references").list.get(pl.col("likeliest_index"), null_on_oob=True).struct.field("text")
    succeeded = ~pl.col("failed")
    chosen = options.with_columns(
        output=pl.when(succeeded).then(stripped(text)),
        completion=pl.when(succeeded).then("completion"),
        parsed=pl.when(succeeded).then(text.is_not_null()),
        truncated=pl.when(succeeded).then(pl.lit(value=False)),
        starved=pl.when(succeeded).then(pl.lit(value=False)),
        error=pl.coalesce("error_of_one", "error"),
        reference_index=pl.col("likeliest_index"),
    )
    return pl.concat([read.filter(~is_option_request()), chosen.select(names)])


def _scaled(by: str) -> pl.Expr:
    text = _REFERENCE.struct.field("text")
    lengths: Mapping[str, pl.Expr] = {
        "sum": pl.lit(1),
        "token": tokens(),
        "character": text.str.len_chars(),
        "byte": text.str.len_bytes(),
    }
    return pl.col("logprob") / lengths[by]


def _has(tag: str) -> pl.Expr:
    return _REFERENCE.struct.field("tags").list.contains(tag)


def _with_question(column: pl.Expr, by: str) -> pl.Expr:
    """Return the column for the rows that request an option with its question."""
    if by == "calibrated":
        return _sorted(column).filter(_sorted(_MODE) != CALIBRATION)
    return column.filter(_first(), _MODE != CALIBRATION)


def _sorted(column: pl.Expr) -> pl.Expr:
    rows = _first()
    return column.filter(rows).sort_by(_INDEX.filter(rows), _MODE.filter(rows))


def _first() -> pl.Expr:
    return _INDEX.is_not_null() & (pl.col("output_index") == pl.col("output_index").min())


def _likeliest(by: str) -> pl.Expr:
    """Return the `reference_index` of the option with the highest score; of equal scores, the first."""
    return option_indices(by).get(option_scores(by).arg_max(), null_on_oob=True)


def is_option_request() -> pl.Expr:
    return pl.col("continuation").is_not_null() & pl.col("reference_index").is_not_null()
