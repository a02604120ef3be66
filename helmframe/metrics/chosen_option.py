"""The answer of a model that was asked about each option on its own: the likeliest option."""

import polars as pl

from helmframe._core.expressions import stripped
from helmframe.metrics.options import CALIBRATION, INSTANCE_KEY, option_indices, option_scores, tokens


def has_option_requests(read: pl.LazyFrame) -> bool:
    """Whether any instance's options were asked about one by one."""
    if not {"continuation", "reference_index"} <= set(read.collect_schema().names()):
        return False
    return bool(read.select(_is_option().any()).collect().item())


def with_likeliest_options(read: pl.LazyFrame) -> pl.LazyFrame:
    """One row where there was one per option, whose `output` is the text of the likeliest; other rows as they are.

    As HELM: the likeliest per token, or, with requests of mode "calibration", beside its likelihood without the
    question; of several the first. Where the model counts no tokens, the likeliest as a whole. One option that failed
    fails the instance.

    Args:
        read: `READ`.

    Source: HELM `compute_reference_metrics`, whose exact_match is then that of this output.
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
        read.filter(_is_option())
        .group_by(INSTANCE_KEY, maintain_order=True)
        .agg(
            pl.exclude(INSTANCE_KEY).first(),
            failed=pl.col("completion").is_null().any(),
            error_of_one=pl.col("error").drop_nulls().first(),
            likeliest_index=likeliest_index,
        )
    )
    text = pl.col("perturbed_references").list.get(pl.col("likeliest_index"), null_on_oob=True).struct.field("text")
    fine = ~pl.col("failed")
    chosen = options.with_columns(
        output=pl.when(fine).then(stripped(text)),
        completion=pl.when(fine).then("completion"),
        parsed=pl.when(fine).then(text.is_not_null()),
        truncated=pl.when(fine).then(pl.lit(value=False)),
        error=pl.coalesce("error_of_one", "error"),
        reference_index=pl.col("likeliest_index"),
    )
    return pl.concat([read.filter(~_is_option()), chosen.select(names)])


def _likeliest(by: str) -> pl.Expr:
    """The `reference_index` of the option with the highest score; of several the first."""
    return option_indices(by).get(option_scores(by).arg_max(), null_on_oob=True)


def _is_option() -> pl.Expr:
    return pl.col("continuation").is_not_null() & pl.col("reference_index").is_not_null()
