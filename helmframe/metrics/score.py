"""The stage `score`, and the parsing of completions before it."""

from collections.abc import Sequence

import polars as pl

from helmframe._core.expressions import correct_references, is_starved, look_up_pairs, stripped
from helmframe._schema import LENIENT, OF_REQUEST, SCORES, TURN, source_column, with_source_columns
from helmframe.errors import ArgumentError, UnknownNameError
from helmframe.metrics.answers import lenient
from helmframe.metrics.helm_outputs import is_helm_output
from helmframe.metrics.judge import Judge
from helmframe.metrics.options import INSTANCE_KEY, is_option_request, with_likeliest_options
from helmframe.metrics.protocol import OUTPUTS, Metric, check_number, resolve_metrics
from helmframe.metrics.row_functions import VALUE, Constant, row_expression
from helmframe.metrics.shared import GOLD, SHARED, base_columns, best_of_pairs, with_shared

# The counts of completions that state no option.
UNPARSED = ("unparsed", "lenient", "readable", "limited")


def check_units(scores: pl.DataFrame, metrics: Sequence[str | Metric]) -> None:
    """Check that scores of metrics whose unit is "fraction" are between 0 and 1.

    Raises:
        ArgumentError: A score is outside; the message states what to write.
    """
    fractions = [metric.name for metric in resolve_metrics(metrics) if metric.unit == "fraction"]
    outside = scores.filter(pl.col("metric").is_in(fractions) & ~pl.col("score").is_between(0.0, 1.0))
    for name, value in outside.unique("metric").select("metric", "score").iter_rows():
        raise ArgumentError(
            f"Metric {name!r} returned {value:g}, but its unit is 'fraction', a number between 0 and 1. "
            f"Write @hf.metric({name!r}, unit='…')."
        )


def parse(completions: pl.LazyFrame) -> pl.LazyFrame:
    """Return completions with parsed answers: adds `output`, `parsed`, `truncated`, `starved` and `correct`.

    The answer is the stripped completion, or the first group of `answer_pattern` in it. With `answer_parser` "lenient"
    it is the result of `lenient`. If there are `choices`, it is the text of the reference that the choice stands for.
    If parsing the answer fails, it is null with `parsed` False, and scores 0. The answer of a failed request is null
    with `parsed` null.
    """
    text = stripped(pl.col("completion"))
    pattern = pl.col("answer_pattern")
    answer = pl.when(pattern.is_null()).then(text).otherwise(stripped(text.str.extract(pattern, 1)))
    schema = completions.collect_schema()
    delimiter = source_column("label_delimiter")  # set by scenarios whose answers can be several labels
    if schema.get(delimiter) == pl.String:
        completions = completions.with_columns(label_delimiter=delimiter)
    else:
        completions = completions.with_columns(label_delimiter=pl.lit(None, dtype=pl.String))
    texts = pl.col("perturbed_references").list.eval(pl.element().struct.field("text"))
    if "is_greedy" not in schema:  # completions stored by earlier versions don't have it
        completions = completions.with_columns(is_greedy=pl.lit(None, dtype=pl.Boolean))
    if "answer_parser" in schema:  # nor this
        is_lenient = pl.col("answer_parser") == LENIENT
        stated = lenient(pl.when(is_lenient).then(answer), pl.col("choices"), texts)
        answer = pl.when(is_lenient).then(stated).otherwise(answer)
    of_choice = stripped(look_up_pairs(answer, pl.col("choices"), texts))
    output = pl.when(pl.col("choices").is_null()).then(answer).otherwise(of_choice)
    failed = pl.col("completion").is_null()
    return (
        completions.with_columns(output=pl.when(~failed).then(output), correct=correct_references())
        .with_columns(parsed=pl.when(~failed).then(pl.col("output").is_not_null()))
        .with_columns(
            truncated=pl.when(~failed).then(pl.col("finish_reason").eq_missing("length") & pl.col("choices").is_null()),
            starved=is_starved(schema),
        )
    )


def count_unparsed(completions: pl.LazyFrame) -> pl.DataFrame:
    """Count the completions that state no option, and how many the lenient parser reads.

    Args:
        completions: `COMPLETIONS`. Failed requests, and requests without option letters, are not counted.

    Returns:
        One row per scenario and model that has option letters, with numbers of completions: `labelled`, all;
        `unparsed`, without a parsed option; `lenient`, unparsed by the lenient parser of their request; `readable`,
        unparsed, but parsed by the lenient parser; `limited`, parsed by neither, and ended at the token limit.
    """
    keys = ["scenario", "model"]
    available = completions.collect_schema()
    columns = [*keys, *(name for name in _PARSED if name in available)]
    is_labelled = (pl.col("choices").list.len() > 0) & pl.col("completion").is_not_null()
    labelled = completions.filter(is_labelled).select(columns).collect()
    counts = labelled.group_by(keys, maintain_order=True).agg(labelled=pl.len().cast(pl.Int64))
    # the fast check first, because most completions of most models are a choice
    is_choice = pl.col("choices").list.contains(stripped(pl.col("completion"))) & pl.col("answer_pattern").is_null()
    others = labelled.filter(~is_choice)
    if others.is_empty():
        return counts.with_columns(pl.lit(0, dtype=pl.Int64).alias(name) for name in UNPARSED)
    unparsed = parse(others.lazy()).filter(~pl.col("parsed")).select(columns)
    parser = pl.col("answer_parser") if "answer_parser" in available else pl.lit(None, dtype=pl.String)
    again = parse(with_parser(unparsed.with_columns(parser=parser), LENIENT))
    counted = again.select(*keys, "parsed", "finish_reason", "parser").collect()
    ended = pl.col("finish_reason").eq_missing("length")
    sums = counted.group_by(keys).agg(
        unparsed=pl.len().cast(pl.Int64),
        lenient=pl.col("parser").eq_missing(LENIENT).sum().cast(pl.Int64),
        readable=pl.col("parsed").sum().cast(pl.Int64),
        limited=(~pl.col("parsed") & ended).sum().cast(pl.Int64),
    )
    joined = counts.join(sums, on=keys, how="left", maintain_order="left")
    return joined.with_columns(pl.col(UNPARSED).fill_null(0))


def with_parser(completions: pl.LazyFrame, parser: str) -> pl.LazyFrame:
    """Return completions with another parser of answers, "strict" or "lenient"."""
    return completions.with_columns(answer_parser=pl.lit(parser if parser == LENIENT else None, dtype=pl.String))


def score(completions: pl.LazyFrame, names: Sequence[str | Metric]) -> pl.LazyFrame:
    """Return the scores: one row per completion and output metric, and per instance and instance metric.

    Turns of a conversation without references have no row for metrics that compare with them. If options were requested
    one by one, metrics that read the answer get the likeliest option as the instance's only
    completion. All other metrics get one completion per option. Metrics of level "set" have no score per completion and
    add no rows; tables compute them from the completions.

    Args:
        completions: `COMPLETIONS`.
        names: The metrics.

    Returns:
        `SCORES`. The score is null if the request failed, or if the metric has no value; `reason` then states why.

    Raises:
        UnknownNameError: A metric reads a column that is missing.
        ArgumentError: The user's own expression returns neither numbers nor Booleans.
    """
    metrics = resolve_metrics(names)
    for metric in metrics:
        metric.check_usable()
    read = with_source_columns(parse(completions), _names_read(metrics))
    if "entry_point" not in read.collect_schema():  # tests without a function: the program is the whole completion
        read = read.with_columns(entry_point=pl.lit(None, dtype=pl.String))
    shared = [name for metric in metrics if metric.level == "instance" for name in metric.columns if name in SHARED]
    if shared:
        read = with_shared(read, shared).cache()  # computed once for several metrics
    columns = read.collect_schema()
    available = columns.names()
    for metric in metrics:
        if not metric.columns and _is_user_defined(metric):  # the scenario's own columns are known only here
            check_number(metric, columns)
    of_outputs = [metric for metric in metrics if metric.level == "output"]
    joined = [metric.base for metric in metrics if metric.level == "instance" and metric.base is not None]
    valued = list({metric.name: metric for metric in (*of_outputs, *joined)}.values())
    has_options, helm = _request_kinds(read)
    if has_options:
        answers = _valued(
            with_likeliest_options(read).with_columns(**_OF_NO_REQUEST),
            [metric for metric in valued if _reads_answer(metric)],
            available,
        )
        wide = _valued(read, [metric for metric in valued if not _reads_answer(metric)], available)
    else:
        answers = wide = _valued(read, valued, available)
    frames = [_per_output(answers if _reads_answer(metric) else wide, metric, available, helm) for metric in of_outputs]
    frames += [
        _per_instance(answers if metric.base is not None and _reads_answer(metric.base) else wide, metric, available)
        for metric in metrics
        if metric.level == "instance"
    ]
    if not frames:
        return read.select(pl.lit(None, dtype=dtype).alias(name) for name, dtype in SCORES.schema.items()).clear()
    return pl.concat(frames)


def prepare_set_metric(
    completions: pl.LazyFrame, metric: Metric, *, helm: bool = False
) -> tuple[pl.LazyFrame, pl.Expr]:
    """Return the input of a metric of level "set", `READ` with the columns that it reads, and its expression.

    The expression is null if a needed column is null.

    Args:
        completions: `COMPLETIONS`.
        metric: The metric.
        helm: Whether to score the outputs that HELM scores, whatever the completions specify.
    """
    read = with_source_columns(parse(completions), _names_read([metric]))
    available = read.collect_schema().names()
    if _absent(metric, available):
        return read, pl.lit(None, dtype=pl.Float64).first()
    expression = metric.expression()
    _check(metric, expression, available)
    has_options, by_helm = _request_kinds(read)
    if _reads_answer(metric) and has_options:
        read = with_likeliest_options(read)
    read = _comparable(read, metric, available)
    if helm:
        read = read.filter(is_helm_output(metric, available))
    elif by_helm:
        read = _scored_rows(read, metric, available)
    has_completion = pl.col("completion").is_not_null()
    missing = (_missing(metric, available).is_not_null() & has_completion).any()
    return with_shared(read, expression.meta.root_names()), pl.when(~missing).then(expression)


def missing_reason(rows: pl.LazyFrame, metric: Metric) -> pl.Expr:
    """Return the reason why a metric of level "set" has no value over a group of the rows of `prepare_set_metric`."""
    available = rows.collect_schema().names()
    absent = _absent(metric, available)
    if absent:
        return pl.lit(_lacks(absent[0])).first()
    lacks = pl.when(pl.col("completion").is_not_null()).then(_missing(metric, available))
    return pl.coalesce(lacks.drop_nulls().first(), pl.lit(metric.no_value))


def _valued(read: pl.LazyFrame, metrics: Sequence[Metric], available: Sequence[str]) -> pl.LazyFrame:
    """Return `read` with the `VALUE` of each output metric as a column.

    All values are computed at once, so that they share intermediate columns.
    """
    values = {_column(metric): _value(metric, available) for metric in metrics if not _absent(metric, available)}
    roots = {name: expression.meta.root_names() for name, expression in values.items()}
    single = {name: values[name] for name in values if not _reads_gold(roots[name])}
    frame = with_shared(read, [root for name in single for root in roots[name]]).with_columns(**single)
    paired = {name: values[name] for name in values if name not in single}
    if paired:
        higher = {_column(metric): metric.higher_is_better for metric in metrics}
        columns = [root for name in paired for root in roots[name]]
        frame = frame.with_columns(pairs=best_of_pairs(paired, higher, columns)).unnest("pairs")
    return frame.cache() if values else frame  # computed once for several metrics


def _per_output(wide: pl.LazyFrame, metric: Metric, available: Sequence[str], helm: bool) -> pl.LazyFrame:
    rows = _comparable(_scored_rows(wide, metric, available) if helm else wide, metric, available)
    return _scores(rows.with_columns(_finished(metric, available)), metric.name)


def _comparable(rows: pl.LazyFrame, metric: Metric, available: Sequence[str]) -> pl.LazyFrame:
    """Return the rows that the metric can score: without turns that have no references, if it compares with them."""
    if TURN not in available or not {"correct", GOLD} & _reads(metric):
        return rows
    return rows.filter(pl.col(TURN).is_null() | (pl.col("correct").list.len() > 0))


def _request_kinds(read: pl.LazyFrame) -> tuple[bool, bool]:
    """Return whether any options were requested one by one, and whether HELM's rule decides which outputs are scored.

    Completions stored by earlier versions lack some columns.
    """
    available, no = set(read.collect_schema().names()), pl.lit(value=False)
    options = is_option_request().any() if {"continuation", "reference_index"} <= available else no
    helm = (pl.col("scored_outputs") == "helm").any() if "scored_outputs" in available else no
    has_options, by_helm = read.select(options=options, helm=helm).collect().row(0)
    return bool(has_options), bool(by_helm)


def _scored_rows(read: pl.LazyFrame, metric: Metric, available: Sequence[str]) -> pl.LazyFrame:
    """Return the rows that the metric scores: one output each for requests with `scored_outputs` "helm"."""
    by_helm = pl.col("scored_outputs").eq_missing("helm")
    return read.filter(~by_helm | is_helm_output(metric, available))


def _per_instance(wide: pl.LazyFrame, metric: Metric, available: Sequence[str]) -> pl.LazyFrame:
    """Return the outputs of each instance in their order, joined into one row."""
    base, columns = metric.base, [*available, "score"]
    # scores of the joined metric; without one, null and a reason if an output is missing
    frame = _comparable(wide, base or metric, available)
    frame = frame.with_columns(_finished(base, available) if base else _NO_SCORE)
    absent = _absent(metric, columns)
    lists = [pl.col(name).implode().alias(name) for name in metric.columns]
    value = _NO_VALUE if absent else pl.struct(lists) if lists else _value(metric, columns)
    unanswered = pl.col("completion").is_null()
    lacking = pl.when(~unanswered).then(_missing(metric, available))
    lacks = lacking.drop_nulls().first()
    if metric.partial:
        lacks = pl.when((lacking.is_not_null() | unanswered).all()).then(lacks)
    missing = pl.lit(_lacks(absent[0])) if absent else lacks
    first = [name for name in SCORES.schema if name not in (*INSTANCE_KEY, *_JOINED)]
    read = {*INSTANCE_KEY, *_JOINED, *first, "completion", *value.meta.root_names(), *missing.meta.root_names()} - {
        "metric"
    }
    joined = (
        frame.select(sorted(read))
        .sort("output_index", maintain_order=True)
        .group_by(INSTANCE_KEY, maintain_order=True)
        .agg(
            *(pl.col(name).first() for name in first),
            parsed=pl.col("parsed").any(),
            truncated=pl.col("truncated").all(),
            starved=pl.col("starved").all(),
            reason=pl.coalesce(missing, pl.col("reason").drop_nulls().first()),
            unanswered=unanswered.any(),
            value=value,
        )
    )
    if lists and not absent:
        joined = joined.with_columns(_list_value(metric))
    number, metric_reason = pl.col("value").struct.field("score"), pl.col("value").struct.field("reason")
    failed = pl.col("unanswered") if base is None else _FALSE
    is_missing = failed | pl.col("reason").is_not_null() | ~number.is_finite()
    default_reason = pl.when((is_missing | number.is_null()) & ~pl.col("unanswered")).then(
        _no_value_reason(metric, number)
    )
    scored = joined.with_columns(
        score=pl.when(~is_missing).then(number),
        # for a failed request the function's reason is dropped
        reason=pl.when(~failed).then(pl.coalesce("reason", metric_reason, default_reason)),
        output=pl.lit(None, dtype=pl.String),
        output_index=pl.lit(None, dtype=pl.Int64),
        **_OF_NO_REQUEST,
    )
    return _scores(scored, metric.name)


def _is_user_defined(metric: Metric) -> bool:
    """Return whether the metric's function is not part of this package."""
    return isinstance(metric.function, Constant) or not str(metric.function.__module__).startswith("helmframe.")


def _names_read(metrics: Sequence[Metric]) -> list[str]:
    """Return the names of the columns that metrics read or need."""
    with_bases = [*metrics, *(metric.base for metric in metrics if metric.base is not None)]
    roots = [name for metric in with_bases for name in metric.columns or metric.expression().meta.root_names()]
    return [*base_columns(roots), *(name for metric in with_bases for name in metric.needs)]


def _reads_gold(roots: Sequence[str]) -> bool:
    return GOLD in base_columns(roots)


def _value(metric: Metric, available: Sequence[str]) -> pl.Expr:
    """Return the metric as an expression of type `VALUE`."""
    expression = metric.expression()
    _check(metric, expression, available)
    has_reasons = metric.columns or isinstance(metric.function, Judge)
    return expression if has_reasons else pl.struct(score=expression.cast(pl.Float64), reason=_NO_REASON)


def _check(metric: Metric, expression: pl.Expr, available: Sequence[str]) -> None:
    for root in base_columns(expression.meta.root_names()):
        if root not in available and root != GOLD:
            raise UnknownNameError.among("column", root, available, hint=f"Metric {metric.name!r} reads it.")


def _list_value(metric: Metric) -> pl.Expr:
    """Return the value of a plain function over lists of an instance's values."""
    fields = [pl.col("value").struct.field(name) for name in metric.columns]
    return row_expression(metric.function, fields, dict(metric.arguments)).alias("value")


def _finished(metric: Metric, available: Sequence[str]) -> list[pl.Expr]:
    """Return `score` and `reason` of an output metric, from its value."""
    absent = _absent(metric, available)
    value = _NO_VALUE if absent else pl.col(_column(metric))
    missing = pl.lit(_lacks(absent[0])) if absent else _missing(metric, available)
    number, metric_reason = value.struct.field("score"), value.struct.field("reason")
    reads = set() if absent else _reads(metric)
    unread = pl.col("output").is_null() if {"output", "correct", GOLD} & reads else _FALSE
    unmatched = (pl.col("correct").list.len() == 0) if {"correct", GOLD} & reads else _FALSE
    # an unparsed or incomparable answer scores 0; null if lower is better, where 0 would be the best score
    zero = pl.when((unread | unmatched) & metric_reason.is_null()).then(0.0 if metric.higher_is_better else None)
    finite = pl.when(number.is_finite()).then(number).when(number.is_null()).then(zero)
    failed = pl.col("completion").is_null()
    score = pl.when(~failed & missing.is_null()).then(finite)
    default_reason = (
        pl.when(unread & number.is_null()).then(pl.lit("no answer could be read"))
        .when(unmatched & number.is_null()).then(pl.lit("no correct reference"))
        .otherwise(_no_value_reason(metric, number))
    )  # fmt: skip
    absence = pl.coalesce(missing, metric_reason, default_reason)
    reason = pl.when(~failed).then(pl.when(score.is_null()).then(absence).otherwise(metric_reason))
    return [score.alias("score"), reason.alias("reason")]


def _no_value_reason(metric: Metric, number: pl.Expr) -> pl.Expr:
    """Return the reason for a missing score, if no other reason is known."""
    return pl.when(number.is_not_null()).then(pl.lit(_NOT_A_NUMBER)).otherwise(pl.lit(metric.no_value))


def _reads(metric: Metric) -> set[str]:
    return set(base_columns(metric.columns or metric.expression().meta.root_names()))


def _reads_answer(metric: Metric) -> bool:
    """Return whether the metric is about the model's answer, not about its probability, length and the like."""
    return bool({"output", "correct", GOLD} & _reads(metric))


def _absent(metric: Metric, available: Sequence[str]) -> list[str]:
    return [name for name in metric.needs if name not in available and name != OUTPUTS]


def _missing(metric: Metric, available: Sequence[str]) -> pl.Expr:
    """Return, per row, which of the columns that the metric needs is null, as a text."""
    lacks = [pl.when(pl.col(name).is_null()).then(pl.lit(_lacks(name))) for name in metric.needs if name in available]
    return pl.coalesce(*lacks, _NO_REASON)


def _lacks(name: str) -> str:
    return _LACKS.get(name, f"no {name}")


def _column(metric: Metric) -> str:
    return f"value {metric.name}"


def _scores(frame: pl.LazyFrame, name: str) -> pl.LazyFrame:
    return frame.with_columns(metric=pl.lit(name)).select(
        pl.col(column).cast(dtype) for column, dtype in SCORES.schema.items()
    )


# The columns that `parse` reads for option letters.
_PARSED = ("completion", "choices", "answer_pattern", "answer_parser", "perturbed_references", "finish_reason")
_JOINED = (*OF_REQUEST, "output", "parsed", "truncated", "starved", "output_index", "metric", "score", "reason")
_LACKS = {
    "logprob": "the model returned no log-probability",
    "token_logprobs": "the model returned no log-probabilities of tokens",
    "choices": "the adapter has no choices",
    "reference_index": "options were not requested one by one",
    "request_mode": "options were not requested one by one",
}
_NOT_A_NUMBER = "the value isn't a number"
_FALSE = pl.lit(value=False)
_OF_NO_REQUEST = {name: pl.lit(None, dtype=SCORES.schema[name]) for name in OF_REQUEST}
_NO_REASON = pl.lit(None, dtype=pl.String)
_NO_VALUE = pl.lit(None, dtype=VALUE)
_NO_SCORE = [pl.lit(None, dtype=pl.Float64).alias("score"), _NO_REASON.alias("reason")]
