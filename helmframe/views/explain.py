"""The text of `plan.explain()`: what a run would do, counted without any request to a model."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from helmframe._core.json_schema import schema_name
from helmframe._core.registry import view
from helmframe._core.safe_text import show_invisible, text_table
from helmframe._core.specs import Between, Condition, Equals, Expression, Sql, thawed
from helmframe._pipeline import (
    PlanSpec,
    Task,
    adapt_variants,
    count_instances,
    fit_next_turn,
    fit_requests,
    load_instances,
    only_chatting,
    parses_leniently,
    perturb_instances,
    plan_tasks,
    rows_to_count,
    train_pool,
)
from helmframe._schema import CONVERSATION, ORIGINAL, STRICT
from helmframe.adapters.adapt import LABELLED, Setting, used_fields
from helmframe.engines.notes import dollars
from helmframe.errors import listed
from helmframe.judging.judge import judges_of
from helmframe.judging.query import query_function
from helmframe.models.budget import CHARACTERS_PER_TOKEN, Price, Prices, price_hint, price_of, read_prices
from helmframe.models.completion_cache import completions_of, store_root
from helmframe.models.generate import generate
from helmframe.models.prompts import requests_by_turn
from helmframe.models.reasoning import DEFAULT_ROOM, HEAD_ROOM, head_room
from helmframe.models.tokenizing import stops_of
from helmframe.store import CompletionStore, ParquetCompletions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from helmframe.metrics.judge import Judge
    from helmframe.models.model import Model

# Instances that are counted; counts of a larger scenario are extrapolated.
MOST_COUNTED = 1_000_000
# The number of tokens in which a chat model can state its answer in a sentence.
SENTENCE_TOKENS = 16


@view("PlanSpec.explain")
def explained(plan: PlanSpec, *, prices: Prices | None = None) -> str:
    """Return the plan as text: rows per stage, push-down, cached completions, tokens, cost, and notes.

    Args:
        plan: The plan.
        prices: The user's prices of models, as in `Budget`.
    """
    lines, user_prices = [], read_prices(prices)
    for task in plan_tasks(plan, models=plan.models or ()) if plan.models else _without_models(plan):
        lines += _describe_task(plan, task, user_prices)
    if not plan.models:
        lines.append("no model yet: add .generate(my_function)")
    return show_invisible("\n".join(lines))


def _without_models(plan: PlanSpec) -> list[Task]:
    from helmframe.models.mock import echo

    return plan_tasks(plan, models=[echo()])


class _Counts(NamedTuple):
    """Counts over the instances: rows per stage, requests per model, the subsets, and the training instances.

    `partial`: whether more instances follow.
    """

    rows: dict[str, int]
    requests: dict[str, dict[str, int]]
    subsets: list[str]
    train: int
    partial: bool


def _count_stages(plan: PlanSpec, task: Task) -> _Counts:
    rows = {"instances": 0, "conversations": 0, "variants": 0, "unchanged": 0}
    requests: dict[str, dict[str, int]] = {model.name: {} for model in plan.models}
    train = train_pool(plan, task)
    subsets: dict[str, None] = {}
    most = rows_to_count(plan, task.spec)
    for shard in load_instances(plan, task.spec, most=most):
        subsets |= dict.fromkeys(shard["subset"].unique(maintain_order=True))
        variants = perturb_instances(plan, shard.lazy(), query_function(send=False)).collect()
        unchanged = variants.filter((pl.col("perturbation") != ORIGINAL) & ~pl.col("changed")).height
        _add(rows, instances=shard.height, variants=variants.height, unchanged=unchanged)
        if task.spec.turns:
            _add(rows, conversations=shard[CONVERSATION].n_unique())
        for setting in task.settings:
            adapted, heads = adapt_variants(plan, variants.lazy(), train, setting, task.spec)
            collected = adapted.collect()
            for model in plan.models:
                _count_requests(requests[model.name], collected, heads, task, model)
        if rows["instances"] >= MOST_COUNTED:
            break
    partial = most is not None or rows["instances"] >= MOST_COUNTED
    return _Counts(rows, requests, list(subsets), train.height, partial)


def _describe_task(plan: PlanSpec, task: Task, prices: Mapping[str, Price]) -> list[str]:
    spec, counts = task.spec, _count_stages(plan, task)
    rows = counts.rows
    by_subset = count_instances(plan, spec) if counts.partial else {}
    notes = _extrapolate(sum(by_subset.values()), counts) if by_subset else []
    settings = [setting.for_subset(subset) for setting in task.settings for subset in by_subset or counts.subsets]
    shots = "/".join(dict.fromkeys(str(used_fields(setting.adapter).shots) for setting in settings))
    method = "/".join(dict.fromkeys(setting.adapter.method for setting in settings))
    grid = f", grid: {', '.join(setting.name for setting in task.settings)}" if len(task.settings) > 1 else ""
    turns = f", the turns of {rows['conversations']:,} conversations" if spec.turns else ""
    stages = [
        ["load", _load_details(plan), f"{rows['instances']:,} instances{turns}"],
        ["perturb", ", ".join([ORIGINAL, *(variant.name for variant in task.variants)]),
         f"{rows['variants']:,} variants, {rows['unchanged']:,} unchanged (sent once)"],
        ["adapt", f"{method}, {shots} few-shot examples{grid}", f"{counts.train:,} train instances"],
    ]  # fmt: skip
    if spec.images:
        images = f"images ({', '.join(spec.images)}): sent with the question, and part of a request's identity"
        notes.append(f"  {images}; bytes are read when a prompt is sent")
    for model in plan.models:
        totals = counts.requests[model.name]
        decoding = " or ".join(
            dict.fromkeys(_decoding_text(task.settings[0].for_subset(subset)) for subset in counts.subsets)
        )
        distinct, stored = totals.get("distinct", 0), totals.get("stored", 0)
        requests_text = f"{distinct:,} distinct requests: {stored:,} cached, {distinct - stored:,} to send"
        stages.append(["generate", f"{model.name}: {decoding}", requests_text])
        notes += [*_model_notes(task, model, totals), *_cost_notes(model, totals, prices)]
    notes += [*_label_notes(plan, task, settings), *_schema_notes(settings)]
    completions = rows["variants"] * len(task.settings) * len(plan.models) * task.outputs
    for judge in judges_of(task.metrics):
        names, n_verdicts = ", ".join(model.name for model in judge.models), completions * judge.template.n_verdicts
        text = f"up to {n_verdicts * len(judge.models):,} verdicts, {_grain_of_verdicts(judge)}"
        stages.append(["judge", f"{names}: {judge.template.judge}", text])
        notes += _judge_cost_notes(judge, n_verdicts, list(counts.requests.values()), prices)
    main = task.main
    stages.append(["score", ", ".join(map(str, task.metrics)), f"main: {main.metric} on {main.split}, {main.mean}"])
    head = f"scenario {spec.scenario} (version {spec.version})"
    return [head, *("  " + line for line in text_table(["stage", "details", "rows"], stages).splitlines()), *notes]


def _schema_notes(settings: Sequence[Setting]) -> list[str]:
    """Return a note if a line break ends completions that must be JSON."""
    for decoding in (dict(setting.decoding) for setting in settings):
        if decoding.get("json_schema") and "\n" in stops_of(decoding):
            return ["  stop=['\\n'] ends JSON at its first line break; generate(…, stop=[]) removes it"]
    return []


def _label_notes(plan: PlanSpec, task: Task, settings: Sequence[Setting]) -> list[str]:
    """Return notes on the parsing of option letters, if a model of the plan only chats."""
    labelled = [setting for setting in settings if setting.adapter.method in LABELLED]
    names = only_chatting(plan)
    if not labelled or not names:
        return []
    chatting = f"{listed(names)} only {'chats' if len(names) == 1 else 'chat'}"
    if parses_leniently(plan, task.spec):
        how = "option letters are parsed leniently for all models; adapt(answer_parser='strict') parses as HELM does"
    elif any(setting.adapter.answer_parser == STRICT for setting in labelled):
        how = "option letters are parsed as HELM does, so completions must be the letter alone"
    else:
        how = "option letters are parsed leniently"
    notes = [f"  {chatting}: {how}"]
    if not any(setting.adapter.format_instructions for setting in labelled):
        notes.append("  adapt(format_instructions=True) adds an instruction to answer with a single letter")
    limits = [dict(setting.decoding).get("max_tokens") for setting in labelled]
    smallest = min((limit for limit in limits if isinstance(limit, int)), default=SENTENCE_TOKENS)
    if smallest < SENTENCE_TOKENS:
        notes.append(
            f"  max_tokens={smallest} ends a sentence before its letter; generate(…, max_tokens=100) leaves room for it"
        )
    return notes


def _extrapolate(size: int, counts: _Counts) -> list[str]:
    """Scale all counts up to the size of the scenario, and return a note about it."""
    n_counted = counts.rows["instances"]
    if size <= n_counted:
        return []
    for totals in (counts.rows, *counts.requests.values()):
        totals.update({name: round(count * size / n_counted) for name, count in totals.items()})
    return [f"  counts are scaled up from the first {n_counted:,} of {size:,} instances"]


def _count_requests(
    totals: dict[str, int], requests: pl.DataFrame, heads: pl.DataFrame, task: Task, model: Model
) -> None:
    first, *later = requests_by_turn(requests)
    fingerprint = model.fingerprint()
    cached = completions_of(store_root(), model, fingerprint, task.spec.scenario)
    fitted, prefixes = fit_requests(first, heads, task, model, fingerprint)
    _count_fitted(totals, fitted, prefixes, cached)
    for turn in later:
        completions = generate(fitted, prefixes, model, cached, fingerprint, send=False)
        fitted, prefixes = fit_next_turn(turn, heads, task, model, fingerprint, earlier=fitted, completions=completions)
        _count_fitted(totals, fitted, prefixes, cached)
        unknown = turn.height * task.outputs - fitted.height
        _add(totals, distinct=unknown, unknown=unknown)


def _count_fitted(
    totals: dict[str, int], fitted: pl.DataFrame, prefixes: pl.DataFrame, cached: CompletionStore
) -> None:
    requested = fitted.unique("request_id")
    low, high = requested.select(low=pl.col("row_index").min(), high=pl.col("row_index").max()).row(0)
    stored = cached.read(low or 0, high or 0, requested["request_id"])
    length = pl.col("prefix").str.len_chars() + pl.col("suffix").str.len_chars()
    limits = {text: _most_output(json.loads(text)) for text in requested["decoding"].unique()}
    limit = pl.col("decoding").replace_strict(limits, return_dtype=pl.Int64)
    requested = requested.join(prefixes, on="prefix_id").select(
        "request_id", length=length, limit=pl.when(pl.col("continuation").is_null()).then(limit).otherwise(1)
    )
    missing = requested.join(stored, on="request_id", how="anti")
    tokens, missing_tokens = (int(frame["length"].sum()) // CHARACTERS_PER_TOKEN for frame in (requested, missing))
    _add(totals, distinct=requested.height, stored=requested.height - missing.height, tokens=tokens)
    _add(totals, missing=missing.height, missing_tokens=missing_tokens)
    _add(totals, most_output=int(missing["limit"].sum()), no_limit=missing["limit"].null_count())
    prompts = fitted.filter(output_index=0)
    has_room = pl.col("decoding").str.contains(f'"{HEAD_ROOM}": ', literal=True)
    dropped = prompts.filter(pl.col("shots_used") < pl.col("shot_ids").list.len()).height
    _add(totals, dropped=dropped, cut=prompts.filter("prompt_truncated").height, refused=prompts["refused"].count())
    _add(totals, roomy=prompts.filter(has_room).height)


def _most_output(decoding: Mapping[str, Any]) -> int | None:
    """Return the limit of output tokens with head-room for reasoning; None without a limit."""
    limit = decoding.get("max_tokens")
    return None if limit is None else int(limit) + head_room(decoding)


def _model_notes(task: Task, model: Model, totals: Mapping[str, int]) -> list[str]:
    notes = []
    taken = {*(model.takes or ()), "stop", "reasoning"}
    ignored = [key for key in _decoding(task) if model.takes is not None and key not in taken]
    if ignored:
        notes.append(
            f"  {model.name}: unsupported parameters are not sent: {', '.join(ignored)}; helmframe applies stop "
            "sequences"
        )
    if model.chat is not None and not any(setting.adapter.chat_template for setting in task.settings):
        notes.append(
            f"  {model.name}: the tokenizer has a chat template, which isn't used; adapt(chat_template=True) applies it"
        )
    if totals.get("roomy"):
        notes.append(
            f"  {model.name}: {DEFAULT_ROOM:,} tokens of head-room are added to max_tokens, because the model reasons "
            "before its answers; generate(reasoning=…) sets another number, and reasoning=0 none"
        )
    notes += [f"  {model.name}: {room:,} tokens of head-room are added to max_tokens" for room in _rooms(task)]
    if totals.get("tokens"):
        notes.append(f"  {model.name}: about {totals['tokens']:,} prompt tokens in total")
    if totals.get("unknown"):
        notes.append(
            f"  {model.name}: {totals['unknown']:,} requests of later turns contain completions that aren't generated "
            "yet; prompt tokens exclude them"
        )
    if totals.get("dropped"):
        notes.append(
            f"  {model.name}: {totals['dropped']:,} prompts drop few-shot examples to fit the window of "
            f"{model.window} tokens"
        )
    if totals.get("cut"):
        notes.append(
            f"  {model.name}: {totals['cut']:,} prompts are truncated at the end to fit the window of {model.window} "
            "tokens"
        )
    if totals.get("refused"):
        notes.append(
            f"  {model.name}: {totals['refused']:,} prompts are too long even without few-shot examples and become "
            "errors"
        )
    if model.remembered_by_name and totals.get("stored"):
        notes += _cache_age_notes(task, model)
    if not model.durable:
        notes.append(
            f"  {model.name}: no version, so its completions are stored with their run only; score(resume=…) reuses "
            "them, and hf.model(…, name=…, version=…) shares them with every run"
        )
    texts = [model.note, "" if model.state is None else model.state()]
    return [*notes, *(f"  {model.name}: {text}" for text in texts if text)]


def _cost_notes(model: Model, totals: Mapping[str, int], prices: Mapping[str, Price]) -> list[str]:
    """Return a note with the estimated cost of the requests to send, from no output to `max_tokens` for each."""
    price = price_of(model, prices)
    if not totals.get("missing") or (price is None and not model.price_name):
        return []
    if price is None:
        hint = f"To estimate the cost, write explain(prices={{{model.name!r}: (2.5, 10)}}).{price_hint(model)}"
        return [f"  {model.name}: the price is unknown. {hint}"]
    low = price.cost(totals["missing_tokens"], 0)
    high = price.cost(totals["missing_tokens"], totals["most_output"])
    most = (
        "or more, because max_tokens isn't set" if totals["no_limit"] else f"to {dollars(high)} (max_tokens for each)"
    )
    details = f"{CHARACTERS_PER_TOKEN} characters count as a token; prices: {price.source}"
    return [f"  {model.name}: estimated cost of the requests to send: {dollars(low)} (no output) {most}; {details}"]


def _grain_of_verdicts(judge: Judge) -> str:
    if judge.template.items is not None:
        return f"times the number of {judge.template.items.column}"
    return "two per completion" if judge.template.of_pairs else "one per completion"


def _judge_cost_notes(
    judge: Judge, n_verdicts: int, requests: Sequence[Mapping[str, int]], prices: Mapping[str, Price]
) -> list[str]:
    """Return a note for each model of a judge with the highest estimated cost of its verdicts."""
    distinct, tokens = (sum(totals.get(name, 0) for totals in requests) for name in ("distinct", "tokens"))
    missing, output = (sum(totals.get(name, 0) for totals in requests) for name in ("missing", "most_output"))
    notes = []
    for model in judge.models:
        price = price_of(model, prices)
        limit = dict(judge.decoding)["max_tokens"]
        if price is None and not model.price_name:
            continue
        if price is None or not isinstance(limit, int) or judge.template.items is not None:
            reason = "the price is unknown" if price is None else "max_tokens isn't set"
            if judge.template.items is not None:
                reason = f"the number of {judge.template.items.column} is unknown"
            notes.append(f"  {model.name}: {reason}, so the cost of verdicts isn't estimated")
            continue
        template = len(judge.template.prompt) // CHARACTERS_PER_TOKEN
        prompt = template + tokens / max(distinct, 1) + output / max(missing, 1)
        high = n_verdicts * price.cost(prompt, limit)
        notes.append(f"  {model.name}: estimated cost of verdicts: up to {dollars(high)}; prices: {price.source}")
    return notes


def _cache_age_notes(task: Task, model: Model) -> list[str]:
    """Return a note on the age of the oldest cached completion, for a model that only its name identifies."""
    cached = completions_of(store_root(), model, model.fingerprint(), task.spec.scenario)
    oldest = cached.oldest() if isinstance(cached, ParquetCompletions) else None
    if oldest is None:
        return []
    generated = datetime.fromtimestamp(oldest / 1e9, tz=UTC)
    days = (datetime.now(tz=UTC) - generated).days
    age = "today" if days < 1 else f"{days:,} day{'s' if days > 1 else ''} ago"
    text = f"its oldest cached completion is from {generated:%Y-%m-%d %H:%M} UTC ({age})"
    return [f"  {model.name}: {text}; the server may have changed since then; score(fresh=True) ignores the cache"]


def _decoding(task: Task) -> list[str]:
    pairs = [pair for setting in task.settings[0].with_subsets for pair in setting.decoding]
    return list(dict.fromkeys(key for key, value in pairs if value is not None))


def _rooms(task: Task) -> list[int]:
    """Return the tokens of head-room that the plan specifies."""
    rooms = [head_room(dict(part.decoding)) for setting in task.settings for part in setting.with_subsets]
    return sorted({room for room in rooms if room})


def _decoding_text(setting: Setting) -> str:
    return ", ".join(
        f"{key}={schema_name(str(value)) if key == 'json_schema' else repr(thawed(value))}"
        for key, value in setting.decoding
        if value is not None
    )


def _load_details(plan: PlanSpec) -> str:
    parts = [_condition(condition) for condition in plan.filters]
    if plan.sampling is not None:
        order = {"keyed": "sample", "first": "limit", "helm": "sample (helm)", "chosen": "chosen"}[plan.sampling.order]
        per = "scenario" if plan.sampling.order == "chosen" else "subset"
        parts.append(f"{order} {plan.sampling.n} per {per}")
    return " and ".join(parts) or "all"


def _condition(condition: Condition) -> str:
    match condition:
        case Equals(column, values):
            values_text = repr(values[0]) if len(values) == 1 else f"one of {list(values)}"
            return f"{column} = {values_text} (pushed into the scan)"
        case Between(column, low, high):
            return f"{column} between {low!r} and {high!r} (pushed into the scan)"
        case Sql(text):
            return f"{text} (pushed into the scan)"
        case Expression(text, expr):
            del text
            return f"{expr} (applied after the scan)"


def _add(counts: dict[str, int], **more: int) -> None:
    for name, count in more.items():
        counts[name] = counts.get(name, 0) + count
