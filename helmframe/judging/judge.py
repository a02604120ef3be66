"""Judges: models that score the completions of a plan. `hf.judge(…)` returns one, as a metric.

The requests of a judge use the queue of its model and the store, run in batches, and resume with the run.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from helmframe._core.checks import is_integer
from helmframe._core.expressions import stripped
from helmframe._core.specs import (
    UNSET,
    Call,
    Integers,
    Numbers,
    Reasoning,
    Stops,
    decoding_pairs,
    frozen,
    set_values,
    thawed,
)
from helmframe._schema import CONVERSATION, TURN, VERDICTS, with_source_columns
from helmframe.errors import ArgumentError
from helmframe.judging.query import query_model
from helmframe.judging.templates import template_names, template_of
from helmframe.metrics.judge import COMPLETION, FIRST, KEY, ORDER, SECOND, Judge, Template, no_verdicts
from helmframe.metrics.protocol import METRICS, Metric, check_free_of_columns, flatten_metrics, resolve_metrics
from helmframe.metrics.score import parse
from helmframe.models.budget import Budget
from helmframe.models.completion_cache import CompletionCache
from helmframe.models.generate import Report, check_decoding
from helmframe.models.model import Model
from helmframe.models.protocol import check_spelling, from_any

# The common key of the two completions of a pair; their models and settings may differ.
PAIR = [name for name in KEY if name != "model"]
# The columns of a pair's completions; of later turns, they are whole conversations.
_OWN, _OTHER = "\0own", "\0other"
_EARLIER = "\0earlier"  # the text of the turns before
_RETRIES = 2
# The counts of tokens, which are summed over the attempts of a verdict.
_TOKENS = ("prompt_tokens", "cached_prompt_tokens", "output_tokens")
# The parameters of `judge` that aren't decoding parameters.
_PARAMETERS = ("template", "scale", "rescale", "name", "retries")


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
    reasoning: Reasoning = UNSET,
    **options: Any,
) -> Metric:
    """Return a metric whose scores are the verdicts of a model, for `plan.metrics(…)` and `results.judge(…)`.

    The judge's chat template is applied, if it has one. A reply without a readable verdict is requested again with a
    reminder; after the last attempt it is an error of its row. In a spec, in a plan's YAML and on the command line, a
    judge is written as text: `"judge(model='org/name', template='safety')"`.

    >>> import helmframe as hf
    >>> brief = judge(hf.models.echo(), "Is this brief? {completion}", scale={"yes": 1, "no": 0}, name="brief")
    >>> plan = hf.scenario("sampler").metrics("exact_match", brief)
    >>> brief.name, brief.unit
    ('brief', 'fraction')

    Args:
        model: The model that judges, as in `Plan.generate`. With a list of models, the score is the mean of their
            verdicts.
        template: The name of a template (`hf.list_judges()` lists all), the path of a YAML file, or a prompt. A prompt
            contains `{completion}`, and may contain `{input}`, `{reference}` and other columns. The input of a later
            turn is the conversation up to it. A prompt with `{first}` and `{second}` compares pairs, for
            `results.judge(…, against=…)`. The format of the reply is appended.
        scale: The values of a verdict: numbers ([0, .5, 1]), words ({"yes": 1, "no": 0}), or `hf.between(1, 10)`. By
            default the template's own.
        rescale: Whether scores are rescaled to fractions of the scale. By default the template's own, else False.
        name: The name in tables. By default the template's and the model's name, such as "safety_by_gpt".
        retries: The maximum number of times that a reply without a readable verdict is requested again.
        max_tokens: The maximum number of tokens of a reply. By default the template's own.
        temperature: The sampling temperature. By default 0.
        top_p: The probability mass to sample from, as in `Plan.generate`.
        top_k: The number of likeliest tokens to sample from.
        stop: A text that ends a reply, or a list of such texts.
        seed: The seed of sampling.
        presence_penalty: The penalty of tokens that are in the text already.
        frequency_penalty: The penalty of tokens by their count in the text.
        reasoning: The effort and head-room of a judge that reasons, as in `Plan.generate`.
        **options: Further decoding parameters, passed to the judge by name.

    Returns:
        A metric with one score per output. Failed requests have no score, and are retried by the next run.

    Raises:
        UnknownNameError: No template has that name.
        ArgumentError: The prompt has no scale or no completion, the scale is invalid, or tables have a column `name`.
        NotAModelError: The model can't generate.
        CapabilityError: The model doesn't support a decoding parameter.
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
        reasoning=reasoning,
        **options,
    )
    if "json_schema" in decoding:
        decoding |= dict(decoding_pairs({"json_schema": decoding["json_schema"]}, "hf.judge(json_schema=…)"))
    check_spelling(decoding, models, where="hf.judge()", others=_PARAMETERS)
    for judging_model in models:
        check_decoding(judging_model, decoding, where="hf.judge")
    resolved = template_of(template, scale, rescale)
    metric_name = name or f"{resolved.judge}_by_{'+'.join(names)}"
    check_free_of_columns(metric_name)
    decoded = frozen({"max_tokens": resolved.max_tokens, "temperature": 0.0, "stop": [], **decoding})
    arguments = {"rescale": rescale, "name": name, "retries": None if retries == _RETRIES else retries, **decoding}
    low, high = resolved.bounds
    return Metric(
        metric_name,
        Judge(resolved, models, metric_name, decoded, retries, _text(model, template, scale, arguments)),
        unit="fraction" if low is not None and low >= 0 and high <= 1 else "points",
        higher_is_better=resolved.higher_is_better,
        low=low,
        high=high,
        source=resolved.source,
        registered=False,
    )


def with_judges(metrics: Sequence[object]) -> tuple[str | Metric, ...]:
    """Return the metrics of a plan as one tuple, with judges parsed from text.

    Raises:
        ArgumentError: The text of a judge isn't a call, or lacks an argument.
    """
    flat = [metric for entry in metrics for metric in (entry if isinstance(entry, list | tuple) else [entry])]
    return flatten_metrics([_parse_judge(metric) for metric in flat])


def judges_of(metrics: Sequence[str | Metric]) -> list[Judge]:
    """Return the judges among metrics."""
    return [metric.function for metric in resolve_metrics(metrics) if isinstance(metric.function, Judge)]


def refuse_pairs(metrics: Sequence[str | Metric]) -> None:
    """Check that no judge of a plan compares completions of two models.

    A template with `against` compares with a column of the scenario, and is allowed.

    Raises:
        ArgumentError: A judge compares pairs.
    """
    for judge in judges_of(metrics):
        if judge.template.of_pairs and not judge.template.against:
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
    report: Callable[[str], Report] = lambda judge: lambda event, count: None,  # noqa: ARG005
) -> pl.DataFrame:
    """Return the verdicts of judges on completions: cached verdicts, and new ones for the rest.

    A failed request is retried by the next run. A reply without a verdict is cached as any other.

    Args:
        completions: `COMPLETIONS`; failed completions are not judged. For pairs, the frame that `paired` returns.
        judges: The judges.
        send: Whether to send requests; False reads the store only.
        fresh: Whether to send all requests again.
        budget: The limit of requests.
        cache: The cache, as in `query_model`.
        report: A function that returns the `Report` for a judge's name.

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
    names = [name for judge in judges for name in judge.template.source_columns]
    outputs = with_source_columns(parse(completions.lazy()), names)
    parsed = outputs.filter(pl.col("completion").is_not_null()).collect()
    verdicts = [no_verdicts()]
    for judge in judges:
        rows = parsed if judge.template.of_pairs else with_conversations(parsed)
        if judge.template.against:
            other = pl.col(judge.template.against).cast(pl.String)
            rows = _with_transcripts(parsed).with_columns(other.alias(_OTHER))
        prompts, empty = _judge_prompts(rows, judge)
        for model in judge.models:
            options = {"send": send, "fresh": fresh, "budget": budget, "cache": cache, "report": report(model.name)}
            verdicts += [
                _as_verdicts(rows, judge, model) for rows in (*_replies(prompts, judge, model, **options), empty)
            ]
    return pl.concat(verdicts)


def with_conversations(completions: pl.DataFrame) -> pl.DataFrame:
    """Return the completions with all turns up to this one as their input, in the column `perturbed_input`."""
    if TURN not in completions.columns:
        return completions
    message = pl.col("perturbed_input")
    whole = pl.concat_str(_EARLIER, pl.lit("User: "), message)
    is_later = pl.col(_EARLIER) != ""
    return (
        _with_earlier_turns(completions)
        .with_columns(perturbed_input=pl.when(is_later).then(whole).otherwise(message))
        .drop(_EARLIER)
    )


def _with_earlier_turns(completions: pl.DataFrame) -> pl.DataFrame:
    """Return the completions with the text of the turns before each; it is empty without earlier turns."""
    key = ["scenario", CONVERSATION, *(name for name in KEY if name not in ("scenario", "instance_id"))]
    exchange = pl.format("User: {}\n\nAssistant: {}\n\n", "perturbed_input", stripped(pl.col("completion")))
    turns = completions.filter(pl.col(TURN).is_not_null())
    exchanges = turns.group_by(key).agg(exchange.sort_by(TURN).alias(_EARLIER))
    joined = completions.join(exchanges, on=key, how="left", nulls_equal=True, maintain_order="left")
    earlier = pl.col(_EARLIER).list.head(pl.col(TURN) - 1).list.join("", ignore_nulls=True)
    return joined.with_columns(earlier.fill_null(""))


def _with_transcripts(completions: pl.DataFrame) -> pl.DataFrame:
    """Return the completions with a text to compare in `_OWN`: the completion, or of later turns the conversation."""
    completion = pl.col("completion")
    if TURN not in completions.columns:
        return completions.with_columns(completion.alias(_OWN))
    whole = pl.concat_str(
        _EARLIER, pl.lit("User: "), "perturbed_input", pl.lit("\n\nAssistant: "), stripped(completion)
    )
    text = pl.when(pl.col(_EARLIER) != "").then(whole).otherwise(completion)
    return _with_earlier_turns(completions).with_columns(text.alias(_OWN)).drop(_EARLIER)


def paired(completions: pl.DataFrame, counterparts: pl.DataFrame) -> pl.DataFrame:
    """Return the completions that have a counterpart, with its text, and its model as `against`.

    The texts of a later turn are the whole conversations of both models.

    Args:
        completions: `COMPLETIONS`.
        counterparts: `COMPLETIONS` of one model, one per instance and perturbation.

    Raises:
        ArgumentError: A completion has several counterparts.
    """
    on = [name for name in PAIR if name != "setting" or counterparts["setting"].n_unique() > 1]
    completed = _with_transcripts(counterparts).filter(pl.col("completion").is_not_null())
    if completed.select(on).is_duplicated().any():
        raise ArgumentError(
            "judge(against=…): a completion has several counterparts. Choose one model and one setting."
        )
    other = completed.select(*on, pl.col(_OWN).alias(_OTHER), against="model")
    return _with_transcripts(completions).join(
        other, on=on, how="inner", nulls_equal=True, maintain_order="left", validate="m:1"
    )


def _parse_judge(value: object) -> object:
    """Return the judge that a text specifies; other values unchanged."""
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
    """Return the text that `_parse_judge` parses to this judge; "" if there is no such text."""
    models = model if isinstance(model, list) else [model]
    plain = scale is None or (isinstance(scale, list) and all(isinstance(entry, int | float | str) for entry in scale))
    if not plain or not isinstance(template, str) or not all(isinstance(name, str) for name in models):
        return ""
    fields = {"model": model, "template": template, "scale": scale, **arguments}
    return str(Call("judge", frozen({key: value for key, value in fields.items() if value is not None})))


def _judge_prompts(parsed: pl.DataFrame, judge: Judge) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the completions to judge with the judge's prompts, and the empty completions with their score.

    Pairs have a row for each order, and items a row for each item.
    """
    template = judge.template
    if template.of_pairs:
        completion, other = pl.col(_OWN), pl.col(_OTHER)
        rows = pl.concat(
            [
                parsed.with_columns(
                    completion.alias(FIRST), other.alias(SECOND), pl.lit(0, dtype=pl.Int64).alias(ORDER)
                ),
                parsed.with_columns(
                    other.alias(FIRST), completion.alias(SECOND), pl.lit(1, dtype=pl.Int64).alias(ORDER)
                ),
            ]
        )
    elif template.items is not None:
        item = pl.col(template.items.column)
        numbered = parsed.with_columns(pl.int_ranges(0, item.list.len(), dtype=pl.Int64).alias(ORDER))
        rows = numbered.filter(item.list.len() > 0).explode(template.items.column, ORDER)
        rows = rows.with_columns(item.struct.field(name).alias(name) for name in template.items.fields)
    else:
        rows = parsed.with_columns(pl.lit(0, dtype=pl.Int64).alias(ORDER))
    blank = (stripped(pl.col(COMPLETION)) == "") & pl.lit(template.empty is not None)
    key_columns = [*KEY, "subset", "cluster", ORDER, *(["against"] if "against" in rows.columns else [])]
    prompts = rows.filter(~blank).select(*key_columns, rest=template.rest())
    empty = rows.filter(blank).select(*key_columns, value=pl.lit(template.empty, dtype=pl.Float64), attempts=pl.lit(0))
    return prompts.with_columns(id=_ids(prompts)), empty


def _replies(prompts: pl.DataFrame, judge: Judge, model: Model, **options: Any) -> list[pl.DataFrame]:
    """Return the rows with the judge's replies; a reply without a verdict is requested again, up to `retries` times."""
    done, waiting = [], prompts
    head, name = judge.template.head, judge.scenario
    decoding = {key: thawed(value) for key, value in judge.decoding}
    for attempt in range(1, judge.retries + 2):
        if waiting.is_empty():
            break
        inputs = waiting.select("id", input=pl.col("rest") + (judge.template.reminder if attempt > 1 else ""))
        generated = query_model(
            model, inputs, name=name, decoding=decoding, head=head, chat=model.chat is not None, **options
        )
        totals = [generated[name] if attempt == 1 else waiting[name] + generated[name] for name in _TOKENS]
        rows = pl.concat(
            [
                waiting.with_columns(totals, attempts=pl.lit(attempt), prompt=pl.lit(head) + inputs["input"]),
                generated.select("request_id", "cached", "error", reply="completion",
                             was_cut=pl.col("finish_reason").eq_missing("length")),
            ],
            how="horizontal",
        ).with_columns(judge.template.read("reply"))  # fmt: skip
        has_reply, has_verdict = pl.col("reply").is_not_null(), pl.col("value").is_not_null()
        done.append(rows.filter(has_verdict | pl.col("error").is_not_null()))
        unreadable = rows.filter(has_reply & ~has_verdict)
        if attempt > judge.retries:
            done.append(unreadable.with_columns(error=_no_verdict(judge.template)))
        waiting = unreadable.select(*prompts.columns, *_TOKENS)
    return done


def _no_verdict(template: Template) -> pl.Expr:
    ending = pl.col("reply").str.tail(80).str.replace_all(r"\s+", " ")
    return pl.format(
        "no verdict on the scale ({}) at the end of the reply (attempts: {}{}). The reply ends: {}",
        pl.lit(template.shown),
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


def _ids(prompts: pl.DataFrame) -> pl.Series:
    """Return a unique id for each row, of as few keys as possible, the instance first."""
    names = ["instance_id"]
    for name in ("scenario", *KEY, ORDER):
        if not prompts.select(names).is_duplicated().any():
            break
        if name not in names and prompts[name].n_unique() > 1:
            names.append(name)
    return prompts.select(pl.concat_str(pl.col(names).cast(pl.String).fill_null(""), separator="/")).to_series()
