"""Judges: a plan over another plan's completions. `hf.judge(…)` makes one; its requests are handled like all requests.

They share the queue of the judge's model and the store, are sent in batches, and are resumed when a run was stopped.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from helmframe._core.checks import is_integer
from helmframe._core.expressions import stripped
from helmframe._core.specs import UNSET, Call, Integers, Numbers, Stops, frozen, set_values, thawed
from helmframe._schema import VERDICTS, with_source_columns
from helmframe.errors import ArgumentError
from helmframe.judging.query import query_model
from helmframe.judging.templates import template_names, template_of
from helmframe.metrics.judge import COMPLETION, FIRST, KEY, ORDER, SECOND, Judge, Template, no_verdicts
from helmframe.metrics.protocol import METRICS, Metric, flatten_metrics, resolve_metrics
from helmframe.metrics.score import parse
from helmframe.models.budget import Budget
from helmframe.models.completion_cache import CompletionCache
from helmframe.models.generate import Report, check_decoding
from helmframe.models.model import Model
from helmframe.models.protocol import check_spelling, from_any

# The common key of the two completions of a pair; their models and settings may differ.
PAIR = [name for name in KEY if name != "model"]
# Column of a pair's other completion.
_OTHER = "\0other"
_RETRIES = 2


def judge(
    model: Any,
    template: str | Path,
    *,
    scale: Any = None,
    rescale: bool | None = None,
    name: str | None = None,
    retries: int = _RETRIES,
    max_tokens: Integers = UNSET,
    temperature: Numbers = UNSET,
    top_p: Numbers = UNSET,
    top_k: Integers = UNSET,
    stop: Stops = UNSET,
    seed: Integers = UNSET,
    presence_penalty: Numbers = UNSET,
    frequency_penalty: Numbers = UNSET,
    **options: Any,
) -> Metric:
    """Return a metric that models judge: `.metrics("exact_match", hf.judge(model, "safety"))`, `results.judge(…)`.

    As text, in a spec, a plan's YAML and on the command line: `"judge(model='org/name', template='safety')"`.

    A verdict that can't be read is requested again with a reminder; after that it is an error of its row. If a judge
    has a chat template, it is used.

    Args:
        model: A model as in `.generate`, or a list of them: then the score is the mean of their verdicts.
        template: A name (`hf.list_judges()` lists them), the path of a YAML file, or the prompt, with `{input}`,
            `{completion}`, `{reference}`, or any column in braces; a prompt with `{first}` and `{second}` is about
            pairs, for `results.judge(…, against=…)`. The form of the reply is added to it.
        scale: The values of a verdict: numbers ([0, .5, 1]), words ({"yes": 1, "no": 0}), or `hf.between(1, 10)`;
            default the template's own.
        rescale: Whether scores are fractions of the scale; default the template's own, else not.
        name: The name in tables; default "safety_by_gpt".
        retries: The largest number of times that a verdict is requested again.
        max_tokens: The most tokens of a reply; default the template's.
        temperature: The temperature of sampling; default 0.
        top_p: As in `Plan.generate`, and so are the parameters below.
        top_k: The number of tokens to sample from.
        stop: A text that ends a reply, or a list of such texts.
        seed: The seed of sampling.
        presence_penalty: The penalty of tokens that are in the text.
        frequency_penalty: The penalty of tokens by their number in the text.
        **options: Further decoding parameters, passed to the judge by name.

    Raises:
        UnknownNameError: No template has that name.
        ArgumentError: The prompt has no scale or no completion, or the scale is invalid.
        NotAModelError: The model can't generate.
        CapabilityError: The model doesn't support a decoding argument.
    """
    models = tuple(from_any(entry) for entry in (model if isinstance(model, list) else [model]))
    names = [judging_model.name for judging_model in models]
    twice = [name for name in names if names.count(name) > 1]
    if not models:
        raise ArgumentError("judge(model=[]): at least one model is required.")
    if twice:
        raise ArgumentError(f"judge(model=…): two models have the name {twice[0]!r}. Name them: hf.model(…, name='…').")
    if not is_integer(retries) or retries < 0:
        raise ArgumentError(f"judge(retries={retries!r}): retries must be an integer ≥ 0.")
    decoding = set_values(
        max_tokens=max_tokens,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        stop=stop,
        seed=seed,
        presence_penalty=presence_penalty,
        frequency_penalty=frequency_penalty,
        **options,
    )
    check_spelling(decoding, models)
    for judging_model in models:
        check_decoding(judging_model, decoding)
    resolved = template_of(template, scale, rescale)
    metric_name = name or f"{resolved.judge}_by_{'+'.join(names)}"
    decoded = frozen({"max_tokens": resolved.max_tokens, "temperature": 0.0, "stop": [], **decoding})
    arguments = {"rescale": rescale, "name": name, "retries": None if retries == _RETRIES else retries, **decoding}
    low, high = (0.0, 1.0) if resolved.rescale else (resolved.scale.low, resolved.scale.high)
    return Metric(
        metric_name,
        Judge(resolved, models, metric_name, decoded, retries, _text(model, template, scale, arguments)),
        unit="fraction" if low >= 0 and high <= 1 else "points",
        higher_is_better=resolved.higher_is_better,
        low=low,
        high=high,
        source=resolved.source,
        registered=False,
    )


def with_judges(metrics: Sequence[object]) -> tuple[str | Metric, ...]:
    """Return the plan's values of metrics, one by one or in lists, with judges parsed from text.

    Raises:
        ArgumentError: A judge's text isn't a call, or lacks an argument.
    """
    flat = [metric for entry in metrics for metric in (entry if isinstance(entry, list | tuple) else [entry])]
    return flatten_metrics([_parse_judge(metric) for metric in flat])


def judges_of(metrics: Sequence[str | Metric]) -> list[Judge]:
    """Return the judges among metrics."""
    return [metric.function for metric in resolve_metrics(metrics) if isinstance(metric.function, Judge)]


def refuse_pairs(metrics: Sequence[str | Metric]) -> None:
    """Check that no judge among a plan's metrics needs a second completion to compare with.

    Raises:
        ArgumentError: One does.
    """
    for judge in judges_of(metrics):
        if judge.template.of_pairs:
            raise ArgumentError(
                f"metrics(): judge {judge.name!r} compares pairs of completions. Score the plan first, then name the "
                "other model: results.judge(…, against='model')."
            )


def verdicts_on(
    completions: pl.DataFrame,
    judges: Sequence[Judge],
    *,
    send: bool = True,
    fresh: bool = False,
    budget: Budget | None = None,
    cache: CompletionCache | None = None,
    report: Callable[[str], Report] = lambda judge: lambda what, count: None,  # noqa: ARG005
) -> pl.DataFrame:
    """Return the verdicts of judges on completions: from the store, or requested now.

    A request that failed is retried by the next run; a reply that could not be read is stored, and counts.

    Args:
        completions: `COMPLETIONS`; failed ones are not judged. For pairs as `paired` returns them.
        judges: The judges.
        send: Whether to send requests; False reads the store only.
        fresh: Whether to send all requests again.
        budget: The limit of requests.
        cache: As for `query_model`.
        report: A function from the judge's name to a function that receives the counts of planned, cached, generated
            and failed requests.

    Returns:
        `VERDICTS`; requests that were neither stored nor sent have no row.

    Raises:
        UnknownNameError: A template names a column that is missing.
    """
    columns = completions.columns
    for judge in judges:
        judge.template.check([*columns, "output"])
    if not judges:
        return no_verdicts()
    names = [name for judge in judges for name in judge.template.columns]
    parsed = with_source_columns(parse(completions.lazy()), names)
    read = parsed.filter(pl.col("completion").is_not_null()).collect()
    verdicts = [no_verdicts()]
    for judge in judges:
        put, empty = _put(read, judge)
        for model in judge.models:
            options = {"send": send, "fresh": fresh, "budget": budget, "cache": cache, "report": report(model.name)}
            verdicts += [_as_verdicts(rows, judge, model) for rows in (*_replies(put, judge, model, **options), empty)]
    return pl.concat(verdicts)


def paired(completions: pl.DataFrame, others: pl.DataFrame) -> pl.DataFrame:
    """Return the completions that have a counterpart among others, with its text and, as `against`, its model.

    Args:
        completions: `COMPLETIONS`.
        others: `COMPLETIONS` of one model; one for each instance under each perturbation.

    Raises:
        ArgumentError: A completion has several counterparts.
    """
    on = [name for name in PAIR if name != "setting" or others["setting"].n_unique() > 1]
    answered = others.filter(pl.col("completion").is_not_null())
    if answered.select(on).is_duplicated().any():
        raise ArgumentError(
            "judge(against=…): a completion has several counterparts. Choose one model and one setting."
        )
    other = answered.select(*on, pl.col("completion").alias(_OTHER), against="model")
    return completions.join(other, on=on, how="inner", nulls_equal=True, maintain_order="left", validate="m:1")


def _parse_judge(value: object) -> object:
    """Return the judge of a text; other values unchanged."""
    if not isinstance(value, str):
        return value
    if value not in METRICS and value in template_names():
        raise ArgumentError(
            f"metrics({value!r}): {value!r} is a judge template, which needs a model. Write "
            f"hf.judge(model, {value!r}), or as text: \"judge(model='org/name', template={value!r})\"."
        )
    if not re.match(r"\s*judge\s*\(", value):
        return value
    arguments = {key: thawed(value) for key, value in Call.parse(value).arguments}
    if not {"model", "template"} <= set(arguments):
        raise ArgumentError(
            f"{value!r}: judge() needs model and template. Write judge(model='org/name', template='safety')."
        )
    return judge(arguments.pop("model"), arguments.pop("template"), **arguments)


def _text(model: Any, template: str | Path, scale: Any, arguments: Mapping[str, Any]) -> str:
    """Return the text that `_parse_judge` reads as this judge; empty where there is none."""
    models = model if isinstance(model, list) else [model]
    plain = scale is None or (isinstance(scale, list) and all(isinstance(entry, int | float | str) for entry in scale))
    if not plain or not isinstance(template, str) or not all(isinstance(name, str) for name in models):
        return ""
    fields = {"model": model, "template": template, "scale": scale, **arguments}
    return str(Call("judge", frozen({key: value for key, value in fields.items() if value is not None})))


def _put(read: pl.DataFrame, judge: Judge) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return completions with the prompt about them, and those that are empty.

    For pairs there is a row per order.
    """
    template = judge.template
    if template.of_pairs:
        completion, other = pl.col(COMPLETION), pl.col(_OTHER)
        rows = pl.concat(
            [
                read.with_columns(completion.alias(FIRST), other.alias(SECOND), pl.lit(0, dtype=pl.Int64).alias(ORDER)),
                read.with_columns(other.alias(FIRST), completion.alias(SECOND), pl.lit(1, dtype=pl.Int64).alias(ORDER)),
            ]
        )
    else:
        rows = read.with_columns(pl.lit(0, dtype=pl.Int64).alias(ORDER))
    blank = (stripped(pl.col(COMPLETION)) == "") & pl.lit(template.empty is not None)
    key_columns = [*KEY, "subset", "cluster", ORDER, *(["against"] if "against" in rows.columns else [])]
    put = rows.filter(~blank).select(*key_columns, rest=template.rest())
    empty = rows.filter(blank).select(*key_columns, value=pl.lit(template.empty, dtype=pl.Float64), attempts=pl.lit(0))
    return put.with_columns(id=_id(put)), empty


def _replies(put: pl.DataFrame, judge: Judge, model: Model, **options: Any) -> list[pl.DataFrame]:
    """Return the rows with the judge's replies; badly formed ones are requested again, within the bound."""
    done, left = [], put
    head, name = judge.template.head, judge.scenario
    decoding = {key: thawed(value) for key, value in judge.decoding}
    for attempt in range(1, judge.retries + 2):
        if left.is_empty():
            break
        prompts = left.select("id", input=pl.col("rest") + (judge.template.reminder if attempt > 1 else ""))
        generated = query_model(
            model, prompts, name=name, decoding=decoding, head=head, chat=model.chat is not None, **options
        )
        rows = pl.concat(
            [
                left.with_columns(attempts=pl.lit(attempt), prompt=pl.lit(head) + prompts["input"]),
                generated.select("request_id", "prompt_tokens", "output_tokens", "cached", "error", reply="completion",
                             was_cut=pl.col("finish_reason").eq_missing("length")),
            ],
            how="horizontal",
        ).with_columns(judge.template.read("reply"))  # fmt: skip
        answered, read = pl.col("reply").is_not_null(), pl.col("value").is_not_null()
        done.append(rows.filter(read | pl.col("error").is_not_null()))
        bad = rows.filter(answered & ~read)
        if attempt > judge.retries:
            done.append(bad.with_columns(error=_badly_formed(judge.template)))
        left = bad.select(put.columns)
    return done


def _badly_formed(template: Template) -> pl.Expr:
    ending = pl.col("reply").str.tail(80).str.replace_all(r"\s+", " ")
    return pl.format(
        "no verdict on the scale ({}) at the end of the reply (attempts: {}{}). The reply ends: {}",
        pl.lit(template.scale.shown),
        "attempts",
        pl.when("was_cut").then(pl.lit(", truncated at max_tokens")).otherwise(pl.lit("")),
        ending,
    )


def _as_verdicts(rows: pl.DataFrame, judge: Judge, model: Model) -> pl.DataFrame:
    scale = judge.template.scale
    verdicts = rows.with_columns(metric=pl.lit(judge.name), judge=pl.lit(model.name))
    if judge.template.of_pairs and "value" in verdicts.columns:
        turned = pl.when(pl.col(ORDER) == 1).then(scale.low + scale.high - pl.col("value"))
        verdicts = verdicts.with_columns(value=pl.coalesce(turned, "value"))
    return verdicts.select(
        pl.col(name).cast(dtype) if name in verdicts.columns else pl.lit(None, dtype=dtype).alias(name)
        for name, dtype in VERDICTS.schema.items()
    )


def _id(put: pl.DataFrame) -> pl.Series:
    """Return a unique name for each row: as few of its keys as are needed, the instance first."""
    names = ["instance_id"]
    for name in ("scenario", *KEY, ORDER):
        if not put.select(names).is_duplicated().any():
            break
        if name not in names and put[name].n_unique() > 1:
            names.append(name)
    return put.select(pl.concat_str(pl.col(names).cast(pl.String).fill_null(""), separator="/")).to_series()
