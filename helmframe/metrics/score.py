"""The stage `score`, and the reading of answers before it."""

from collections.abc import Sequence

import polars as pl

from helmframe._core.expressions import correct_references, look_up_pairs, stripped
from helmframe._schema import OF_REQUEST, SCORES, source_column, with_source_columns
from helmframe.errors import ArgumentError, UnknownNameError
from helmframe.metrics.answers import lenient
from helmframe.metrics.chosen_option import answered, by_option
from helmframe.metrics.helm_outputs import is_helm_output
from helmframe.metrics.judge import Judge
from helmframe.metrics.pairs import GOLD, best_of_pairs
from helmframe.metrics.protocol import OUTPUTS, Metric, check_number, chosen
from helmframe.metrics.row_functions import VALUE, Constant, lifted
from helmframe.metrics.shared import bases, with_shared

# One instance under one perturbation, asked one way: what its outputs have in common.
ASKED = [name for name in SCORES.key if name not in ("output_index", *OF_REQUEST, "metric")]


def check_units(scores: pl.DataFrame, asked: Sequence[str | Metric]) -> None:
    """That scores of metrics whose unit is "fraction" lie between 0 and 1.

    Raises:
        ArgumentError: one does not; says what to write.
    """
    fractions = [each.name for each in chosen(asked) if each.unit == "fraction"]
    outside = scores.filter(pl.col("metric").is_in(fractions) & ~pl.col("score").is_between(0.0, 1.0))
    for name, value in outside.unique("metric").select("metric", "score").iter_rows():
        raise ArgumentError(
            f"metric {name!r} gave {value:g}, and its unit is 'fraction' (between 0 and 1). "
            f"Write @helmframe.metric({name!r}, unit='…')."
        )


def parse(completions: pl.LazyFrame) -> pl.LazyFrame:
    """What each completion says: adds `output`, `parsed`, `truncated` and `correct` to `COMPLETIONS`.

    The completion, stripped; or the first group of `answer_pattern` in it; with `answer_parser` "lenient" what
    `lenient` finds there; where there are `choices`, the text of the reference whose choice it is. What can't be
    read is null with `parsed` False and scores 0; what failed is null with `parsed` null.
    """
    text = stripped(pl.col("completion"))
    pattern = pl.col("answer_pattern")
    said = pl.when(pattern.is_null()).then(text).otherwise(stripped(text.str.extract(pattern, 1)))
    there = completions.collect_schema()
    delimiter = source_column("label_delimiter")  # scenarios have it whose answers may be several labels
    if there.get(delimiter) == pl.String:
        completions = completions.with_columns(label_delimiter=delimiter)
    else:
        completions = completions.with_columns(label_delimiter=pl.lit(None, dtype=pl.String))
    if "answer_parser" in there:  # completions kept by older versions have none
        is_lenient = pl.col("answer_parser") == "lenient"
        said = pl.when(is_lenient).then(lenient(pl.when(is_lenient).then(said), pl.col("choices"))).otherwise(said)
    texts = pl.col("perturbed_references").list.eval(pl.element().struct.field("text"))
    of_choice = stripped(look_up_pairs(said, pl.col("choices"), texts))
    output = pl.when(pl.col("choices").is_null()).then(said).otherwise(of_choice)
    failed = pl.col("completion").is_null()
    return (
        completions.with_columns(output=pl.when(~failed).then(output), correct=correct_references())
        .with_columns(parsed=pl.when(~failed).then(pl.col("output").is_not_null()))
        .with_columns(
            truncated=pl.when(~failed).then(pl.col("finish_reason").eq_missing("length") & pl.col("choices").is_null())
        )
    )


def score(completions: pl.LazyFrame, names: Sequence[str | Metric]) -> pl.LazyFrame:
    """One row per completion and output metric, and per instance and instance metric.

    Where options were asked about one by one, metrics that read the answer see the likeliest option as the instance's
    one completion, all others a completion per option. Metrics of level `set` have no score of one completion and add
    no rows; tables compute them from the completions.

    Args:
        completions: `COMPLETIONS`.
        names: the metrics.

    Returns:
        `SCORES`; score is null where the request failed, or where `reason` says that the metric has no value.

    Raises:
        UnknownNameError: a metric reads a column that is not there.
        ArgumentError: an expression of the user's own gives neither numbers nor yes or no.
    """
    asked = chosen(names)
    for metric in asked:
        metric.check_usable()
    read = with_source_columns(parse(completions), _names_read(asked))
    if "entry_point" not in read.collect_schema():  # tests that name no function: the program is the whole completion
        read = read.with_columns(entry_point=pl.lit(None, dtype=pl.String))
    columns = read.collect_schema()
    there = columns.names()
    for metric in asked:
        if not metric.columns and _of_users(metric):  # over the scenario's own columns too, which are known here only
            check_number(metric, columns)
    of_outputs = [metric for metric in asked if metric.level == "output"]
    joined = [metric.base for metric in asked if metric.level == "instance" and metric.base is not None]
    valued = list({metric.name: metric for metric in (*of_outputs, *joined)}.values())
    if by_option(read):
        answers = _valued(
            answered(read).with_columns(**_OF_NO_REQUEST), [metric for metric in valued if _reads_answer(metric)], there
        )
        wide = _valued(read, [metric for metric in valued if not _reads_answer(metric)], there)
    else:
        answers = wide = _valued(read, valued, there)
    helm = _any_by_helm(read)
    frames = [_per_output(answers if _reads_answer(metric) else wide, metric, there, helm) for metric in of_outputs]
    frames += [
        _per_instance(answers if metric.base is not None and _reads_answer(metric.base) else wide, metric, there)
        for metric in asked
        if metric.level == "instance"
    ]
    if not frames:
        return read.select(pl.lit(None, dtype=dtype).alias(name) for name, dtype in SCORES.schema.items()).clear()
    return pl.concat(frames)


def for_sets(completions: pl.LazyFrame, each: Metric, *, helm: bool = False) -> tuple[pl.LazyFrame, pl.Expr]:
    """Return what a metric of level "set" aggregates: `READ` with what it reads, and its value; null where a need is.

    Args:
        completions: `COMPLETIONS`.
        each: The metric.
        helm: Whether to take the outputs that HELM scores, whatever the completions specify.
    """
    read = with_source_columns(parse(completions), _names_read([each]))
    there = read.collect_schema().names()
    if _absent(each, there):
        return read, pl.lit(None, dtype=pl.Float64).first()
    expression = each.expression()
    _check(each, expression, there)
    if _reads_answer(each) and by_option(read):
        read = answered(read)
    if helm:
        read = read.filter(is_helm_output(each, there))
    elif _any_by_helm(read):
        read = _scored_rows(read, each, there)
    has_completion = pl.col("completion").is_not_null()
    missing = (_missing(each, there).is_not_null() & has_completion).any()
    return with_shared(read, expression.meta.root_names()), pl.when(~missing).then(expression)


def why_none(rows: pl.LazyFrame, each: Metric) -> pl.Expr:
    """In words why a metric of level "set" has no value over a group of the rows that `for_sets` gives."""
    there = rows.collect_schema().names()
    absent = _absent(each, there)
    if absent:
        return pl.lit(_lacks(absent[0])).first()
    lacks = pl.when(pl.col("completion").is_not_null()).then(_missing(each, there))
    return pl.coalesce(lacks.drop_nulls().first(), pl.lit(each.no_value))


def _valued(read: pl.LazyFrame, asked: Sequence[Metric], there: Sequence[str]) -> pl.LazyFrame:
    """`read` and, for each metric of outputs, its `VALUE` as a column: all at once, so that they share their parts."""
    values = {_column(each): _value(each, there) for each in asked if not _absent(each, there)}
    roots = {name: each.meta.root_names() for name, each in values.items()}
    single = {name: values[name] for name in values if not _of_gold(roots[name])}
    frame = with_shared(read, [root for name in single for root in roots[name]]).with_columns(**single)
    paired = {name: values[name] for name in values if name not in single}
    if paired:
        higher = {_column(each): each.higher_is_better for each in asked}
        columns = [root for name in paired for root in roots[name]]
        frame = frame.with_columns(pairs=best_of_pairs(paired, higher, columns)).unnest("pairs")
    return frame.cache() if values else frame  # several metrics read it: computed once


def _per_output(wide: pl.LazyFrame, each: Metric, there: Sequence[str], helm: bool) -> pl.LazyFrame:
    rows = _scored_rows(wide, each, there) if helm else wide
    return _scores(rows.with_columns(_finished(each, there)), each.name)


def _any_by_helm(read: pl.LazyFrame) -> bool:
    """Return whether HELM's rule says which outputs of any request are scored."""
    if "scored_outputs" not in read.collect_schema():  # completions stored by earlier versions
        return False
    return bool(read.select((pl.col("scored_outputs") == "helm").any()).collect().item())


def _scored_rows(read: pl.LazyFrame, each: Metric, there: Sequence[str]) -> pl.LazyFrame:
    """Return the rows that the metric scores: of requests with `scored_outputs` "helm", one output each."""
    by_helm = pl.col("scored_outputs").eq_missing("helm")
    return read.filter(~by_helm | is_helm_output(each, there))


def _per_instance(wide: pl.LazyFrame, each: Metric, there: Sequence[str]) -> pl.LazyFrame:
    """The outputs of each instance in their order, joined into one row."""
    base, known = each.base, [*there, "score"]
    # of the metric whose scores are joined; else none, and a reason where an output is missing
    frame = wide.with_columns(_finished(base, there) if base else _NONE)
    absent = _absent(each, known)
    lists = [pl.col(name).implode().alias(name) for name in each.columns]
    value = _NOTHING if absent else pl.struct(lists) if lists else _value(each, known)
    unanswered = pl.col("completion").is_null()
    lacking = pl.when(~unanswered).then(_missing(each, there))
    lacks = lacking.drop_nulls().first()
    if each.partial:
        lacks = pl.when((lacking.is_not_null() | unanswered).all()).then(lacks)
    missing = pl.lit(_lacks(absent[0])) if absent else lacks
    first = [name for name in SCORES.schema if name not in (*ASKED, *_JOINED)]
    read = {*ASKED, *_JOINED, *first, "completion", *value.meta.root_names(), *missing.meta.root_names()} - {"metric"}
    joined = (
        frame.select(sorted(read))
        .sort("output_index", maintain_order=True)
        .group_by(ASKED, maintain_order=True)
        .agg(
            *(pl.col(name).first() for name in first),
            parsed=pl.col("parsed").any(),
            truncated=pl.col("truncated").all(),
            reason=pl.coalesce(missing, pl.col("reason").drop_nulls().first()),
            unanswered=unanswered.any(),
            value=value,
        )
    )
    if lists and not absent:
        joined = joined.with_columns(_of_lists(each))
    number, why = pl.col("value").struct.field("score"), pl.col("value").struct.field("reason")
    failed = pl.col("unanswered") if base is None else _FALSE
    none = failed | pl.col("reason").is_not_null() | ~number.is_finite()
    nothing = pl.when((none | number.is_null()) & ~pl.col("unanswered")).then(_nothing(each, number))
    scored = joined.with_columns(
        score=pl.when(~none).then(number),
        # what a function makes of a failed completion is no reason: the request failed
        reason=pl.when(~failed).then(pl.coalesce("reason", why, nothing)),
        output=pl.lit(None, dtype=pl.String),
        output_index=pl.lit(None, dtype=pl.Int64),
        **_OF_NO_REQUEST,
    )
    return _scores(scored, each.name)


def _of_users(each: Metric) -> bool:
    """Whether its expression is not one of this package."""
    return isinstance(each.function, Constant) or not str(each.function.__module__).startswith("helmframe.")


def _names_read(metrics: Sequence[Metric]) -> list[str]:
    """Return the names of the columns that metrics read or need."""
    every = [*metrics, *(metric.base for metric in metrics if metric.base is not None)]
    roots = [name for metric in every for name in metric.columns or metric.expression().meta.root_names()]
    return [*bases(roots), *(name for metric in every for name in metric.needs)]


def _of_gold(roots: Sequence[str]) -> bool:
    return GOLD in bases(roots)


def _value(each: Metric, there: Sequence[str]) -> pl.Expr:
    """The metric as an expression that gives `VALUE`."""
    expression = each.expression()
    _check(each, expression, there)
    has_reasons = each.columns or isinstance(each.function, Judge)
    return expression if has_reasons else pl.struct(score=expression.cast(pl.Float64), reason=_NO_REASON)


def _check(each: Metric, expression: pl.Expr, there: Sequence[str]) -> None:
    for root in bases(expression.meta.root_names()):
        if root not in there and root != GOLD:
            raise UnknownNameError.among("column", root, there, hint=f"Metric {each.name!r} reads it.")


def _of_lists(each: Metric) -> pl.Expr:
    """A plain function over lists of an instance's values."""
    fields = [pl.col("value").struct.field(name) for name in each.columns]
    return lifted(each.function, fields, dict(each.arguments)).alias("value")


def _finished(each: Metric, there: Sequence[str]) -> list[pl.Expr]:
    """`score` and `reason` of a metric of outputs, from its value."""
    absent = _absent(each, there)
    value = _NOTHING if absent else pl.col(_column(each))
    missing = pl.lit(_lacks(absent[0])) if absent else _missing(each, there)
    number, why = value.struct.field("score"), value.struct.field("reason")
    reads = set() if absent else _reads(each)
    unread = pl.col("output").is_null() if {"output", "correct", GOLD} & reads else _FALSE
    unmatched = (pl.col("correct").list.len() == 0) if {"correct", GOLD} & reads else _FALSE
    # what can't be read or compared scores 0; where low is good, that would be a prize
    zero = pl.when((unread | unmatched) & why.is_null()).then(0.0 if each.higher_is_better else None)
    finite = pl.when(number.is_finite()).then(number).when(number.is_null()).then(zero)
    failed = pl.col("completion").is_null()
    score = pl.when(~failed & missing.is_null()).then(finite)
    nothing = (
        pl.when(unread & number.is_null()).then(pl.lit("no answer could be read"))
        .when(unmatched & number.is_null()).then(pl.lit("no correct reference"))
        .otherwise(_nothing(each, number))
    )  # fmt: skip
    reason = pl.when(~failed & score.is_null()).then(pl.coalesce(missing, why, nothing))
    return [score.alias("score"), reason.alias("reason")]


def _nothing(each: Metric, number: pl.Expr) -> pl.Expr:
    """Why there is no score, where nothing else says."""
    return pl.when(number.is_not_null()).then(pl.lit(_NOT_A_NUMBER)).otherwise(pl.lit(each.no_value))


def _reads(each: Metric) -> set[str]:
    return set(bases(each.columns or each.expression().meta.root_names()))


def _reads_answer(each: Metric) -> bool:
    """Whether it is about what the model answers, and not about how likely that is, how long, …"""
    return bool({"output", "correct", GOLD} & _reads(each))


def _absent(each: Metric, there: Sequence[str]) -> list[str]:
    return [name for name in each.needs if name not in there and name != OUTPUTS]


def _missing(each: Metric, there: Sequence[str]) -> pl.Expr:
    """Per row which of the columns it needs is null, in words."""
    lacks = [pl.when(pl.col(name).is_null()).then(pl.lit(_lacks(name))) for name in each.needs if name in there]
    return pl.coalesce(*lacks, _NO_REASON)


def _lacks(name: str) -> str:
    return _LACKS.get(name, f"no {name}")


def _column(each: Metric) -> str:
    return f"value {each.name}"


def _scores(frame: pl.LazyFrame, name: str) -> pl.LazyFrame:
    return frame.with_columns(metric=pl.lit(name)).select(
        pl.col(each).cast(dtype) for each, dtype in SCORES.schema.items()
    )


_JOINED = (*OF_REQUEST, "output", "parsed", "truncated", "output_index", "metric", "score", "reason")
_LACKS = {
    "logprob": "the model gave no log-probability",
    "token_logprobs": "the model gave no log-probabilities of tokens",
    "choices": "the adapter gave no choices",
    "reference_index": "options were not asked about one by one",
    "request_mode": "options were not asked about one by one",
}
_NOT_A_NUMBER = "its value is no number"
_FALSE = pl.lit(value=False)
_OF_NO_REQUEST = {name: pl.lit(None, dtype=SCORES.schema[name]) for name in OF_REQUEST}
_NO_REASON = pl.lit(None, dtype=pl.String)
_NOTHING = pl.lit(None, dtype=VALUE)
_NONE = [pl.lit(None, dtype=pl.Float64).alias("score"), _NO_REASON.alias("reason")]
