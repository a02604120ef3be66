"""The stage `generate`: the only one that touches the world. Asks what the store does not have, and keeps it."""

import json
import math
import secrets
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from hashlib import sha256
from typing import Any

import polars as pl

from helmframe.errors import ArgumentError, CapabilityError
from helmframe.models.budget import Budget
from helmframe.models.interrupts import unbroken
from helmframe.models.keeping import Keeping
from helmframe.models.model import SCORES, Answer, Model, Pair, Prompt, Seeded
from helmframe.models.prompts import Beside, Prompts, rows_of
from helmframe.models.scheduler import ModelQueue, Outcome, queue_of
from helmframe.store import COMPLETION_SCHEMA, REQUEST_COLUMNS, CompletionStore

FLUSH_ROWS = 8192
FLUSH_SECONDS = 2.0
NUMBERS = {"temperature": int | float, "top_p": int | float, "max_tokens": int, "top_k": int, "seed": int}
RANGES = {"temperature": (0, math.inf), "top_p": (0, 1), "max_tokens": (0, math.inf)}
# Requests are asked block by block, each of about so many seconds; between them it is looked what others have answered.
BLOCK_SECONDS = 1.0
RESULT = {**COMPLETION_SCHEMA, "attempts": pl.Int64(), "error": pl.String()}

# Called with what happened and to how many completions: planned, kept (in the store), shared (the same as another
# request), refused (too long), answered, failed of those, and the prompt_tokens and output_tokens of the others.
Report = Callable[[str, int], None]


def generate(
    requests: pl.DataFrame,
    prefixes: pl.DataFrame,
    model: Model,
    answers: CompletionStore,
    fingerprint: str,
    *,
    ask: bool = True,
    fresh: bool = False,
    budget: Budget | None = None,
    report: Report = lambda what, count: None,  # noqa: ARG005
) -> pl.DataFrame:
    """One completion per request and output.

    A request that the store has is not asked; the same content is asked once. A failed one is a row with `error`, is
    not kept, and is asked again by the next run.

    Args:
        requests: `FITTED`, one row per output, as `request_ids` gives them.
        prefixes: `PREFIXES`.
        model: who answers.
        answers: what it has answered before; new answers are added at the latest after 2 s.
        fingerprint: the model's, as of now.
        ask: False looks into the store only.
        fresh: True asks everything again.
        budget: how much may be asked; default: all.
        report: told what is planned, kept, answered and failed, as it happens; what it raises stops the asking.

    Returns:
        `COMPLETIONS`; what was neither stored nor asked is left out.
    """
    budget = budget or Budget()
    wanted = requests.select("row_index", "request_id", "refused").filter(pl.col("refused").is_null())
    low, high = _range(wanted) if wanted.height else (0, 0)
    known = answers.read(low, high, wanted["request_id"])
    if fresh:  # looked at all the same: what is there by now is no news later
        known = known.clear()
    if wanted.height < requests.height:  # one that is refused now may have been answered before
        known = known.join(wanted, on="request_id", how="semi")
    known = known.with_columns(
        cached=pl.lit(value=True), attempts=pl.lit(0, dtype=pl.Int64), error=pl.lit(None, dtype=pl.String)
    )
    joined = _with_results(requests, known)
    columns = (
        requests.columns if model.sees_rows else [*REQUEST_COLUMNS, "row_index", "repeat", "request_id", "continuation"]
    )
    sent = joined.filter(pl.col("cached").is_null() & pl.col("refused").is_null()).select(columns)
    missing = sent.unique("request_id", keep="first", maintain_order=True)
    missing = missing.head(budget.grant(missing.height) if ask else 0)
    report("planned", requests.height)
    report("cached", joined["cached"].count())
    report("refused", requests["refused"].count())
    report("shared", sent.join(missing, on="request_id", how="semi").height - missing.height)
    if missing.height:
        found = _ask(missing, prefixes, model, fingerprint, answers, budget, report)
        joined = _with_results(requests, pl.concat([known, *found], how="diagonal"))
    joined = joined.with_columns(error=pl.coalesce("refused", "error"))
    if joined["content"].null_count() == joined.height:
        # All text, and prefix and suffix hold it: nothing is gained by keeping it a second time.
        joined = joined.with_columns(blocks=pl.lit(None, dtype=joined.schema["blocks"]))
    return joined.filter(pl.col("completion").is_not_null() | pl.col("error").is_not_null())


def _with_results(requests: pl.DataFrame, results: pl.DataFrame) -> pl.DataFrame:
    return requests.join(results, on="request_id", how="left", maintain_order="left", validate="m:1")


def check_decoding(model: Model, said: Mapping[str, Any]) -> None:
    """That the model honours each decoding argument the user wrote.

    Raises:
        CapabilityError: it can't.
        ArgumentError: the value can't be.
    """
    for name, value in said.items():
        wanted = NUMBERS.get(name)
        values = value if isinstance(value, list | tuple) else [value]
        said_so = [each for each in values if each is not None]
        if wanted and not all(isinstance(each, wanted) and not isinstance(each, bool) for each in said_so):
            raise ArgumentError(f"generate({name}={value!r}): should be a number.")
        low, high = RANGES.get(name, (-math.inf, math.inf))
        if wanted and not all(low <= each <= high for each in said_so):
            within = f"at least {low}" if high == math.inf else f"between {low} and {high}"
            raise ArgumentError(f"generate({name}={value!r}): should be {within}.")
        if name == "stop" and not all(_is_text(each) for each in said_so):
            raise ArgumentError(f"generate(stop={value!r}): a text, or several: stop=['\\n', '###'].")
    if model.takes is None:
        return
    for name in said:
        if name not in (*model.takes, "stop", "n"):
            takes = ", ".join(sorted(model.takes)) or "none"
            raise CapabilityError(
                f"generate({name}=…): model {model.name!r} can't take {name}; it takes: {takes}. "
                f"Leave it out, or give a model whose function has a parameter {name}."
            )


def _is_text(said: object) -> bool:
    """Whether it is a text, or a list of texts: one value of `stop`, in a list of several."""
    return isinstance(said, str) or (isinstance(said, list | tuple) and all(isinstance(each, str) for each in said))


def _ask(
    missing: pl.DataFrame,
    prefixes: pl.DataFrame,
    model: Model,
    fingerprint: str,
    answers: CompletionStore,
    budget: Budget,
    report: Report,
) -> list[pl.DataFrame]:
    """What came of it (`RESULT`), kept as it came; `cached` tells the answers that another process gave meanwhile."""
    queue = queue_of(model, fingerprint)
    keeping = Keeping(partial(_keep, prefixes, answers))
    found: list[pl.DataFrame] = []
    scored = missing.with_columns(scored=pl.col("continuation").is_not_null())
    try:
        alike = ["decoding", "scored"] if model.seeded else ["decoding", "output_index", "repeat", "scored"]
        for group in scored.partition_by(alike, maintain_order=True):
            rest = _from_own_place(group) if model.durable else group
            while rest.height and not budget.stopped.is_set():
                size = queue.block  # once: others who ask the same model set it meanwhile
                block, rest = rest.head(size), rest.slice(size)
                started = time.monotonic()
                _ask_block(block, prefixes, model, queue, keeping, budget, report)
                pace = BLOCK_SECONDS / max(time.monotonic() - started, 1e-3)
                # what a model takes at once it gets at once, however slow it is
                queue.block = max(model.batch, min(round(block.height * min(max(pace, 0.25), 4.0)), FLUSH_ROWS))
                news = answers.read_new(*_range(rest)).join(rest, on="request_id", how="semi") if rest.height else rest
                if news.height:
                    report("cached", news.height)
                    # Somewhere else, or this process would go on side by side with the one that it has met.
                    rest = _from_own_place(rest.join(news, on="request_id", how="anti", maintain_order="left"))
                    found.append(
                        news.with_columns(
                            attempts=pl.lit(0, dtype=pl.Int64),
                            error=pl.lit(None, dtype=pl.String),
                            cached=pl.lit(value=True),
                        ).select(*RESULT, "cached")
                    )
    finally:
        # Also after a write that failed, and whatever Ctrl-C broke off: what was paid for gets one more try.
        unbroken(keeping.close)
    return found + [frame.with_columns(cached=pl.lit(value=False)) for frame in keeping.frames]


def _from_own_place(group: pl.DataFrame) -> pl.DataFrame:
    """The rows from some place on, and around: processes that share a store seldom ask the same at the same time."""
    place = secrets.randbelow(max(group.height, 1))
    return pl.concat([group.slice(place), group.head(place)])


def _range(rows: pl.DataFrame) -> tuple[int, int]:
    low, high = rows.select(low=pl.col("row_index").min(), high=pl.col("row_index").max()).row(0)
    return int(low), int(high)


def _ask_block(
    block: pl.DataFrame,
    prefixes: pl.DataFrame,
    model: Model,
    queue: ModelQueue,
    keeping: Keeping,
    budget: Budget,
    report: Report,
) -> None:
    def labels(place: int) -> dict[str, str]:
        scenario, instance_id = block.select("scenario", "instance_id").row(place)
        return {"scenario": scenario, "instance_id": instance_id, "model": model.name}

    texts = Prompts(block, prefixes)
    prompts: Sequence[Prompt] = texts
    if model.sees_rows:
        prompts = rows_of(block, prefixes)
    elif block["scored"][0]:
        prompts = Beside(Pair, texts, block["continuation"].to_list())
    elif model.seeded and _samples(block, model):
        prompts = Beside(Seeded, texts, _seeds(block))
    pending: list[Outcome] = []
    left: list[Outcome] = []
    flushed = time.monotonic()
    sizes = _sizes(block, prefixes) if budget.charges(model.name) else []
    outcomes = queue.ask(
        prompts, _sent(block, model), labels=labels, priority=budget.priority, stop=budget.stopped, left=left
    )
    try:
        for batch in outcomes:
            pending += batch
            if sizes:
                characters = sum(sizes[outcome.index] for outcome in batch)
                budget.spend(model.name, characters, [outcome.answer for outcome in batch])
            report("failed", sum(outcome.error is not None for outcome in batch))
            report("generated", len(batch))
            given = [outcome.answer for outcome in batch if outcome.answer is not None]
            for name in ("prompt_tokens", "output_tokens"):
                report(name, sum(getattr(answer, name) or 0 for answer in given))
            if len(pending) >= FLUSH_ROWS or time.monotonic() - flushed > FLUSH_SECONDS:
                lot, pending = pending, []
                keeping.add(block, lot)
                flushed = time.monotonic()
    finally:
        unbroken(partial(_last, outcomes, keeping, block, pending, left))


def _last(
    outcomes: Generator[list[Outcome], None, None],
    keeping: Keeping,
    block: pl.DataFrame,
    pending: list[Outcome],
    left: list[Outcome],
) -> None:
    outcomes.close()
    keeping.add(block, pending + left)


def _sizes(group: pl.DataFrame, prefixes: pl.DataFrame) -> list[int]:
    """Characters of each prompt."""
    lengths = prefixes.select("prefix_id", length=pl.col("prefix").str.len_chars())
    own = pl.concat_str("suffix", "continuation", ignore_nulls=True).str.len_chars()
    joined = group.select("prefix_id", own=own).join(lengths, on="prefix_id", how="left", maintain_order="left")
    sizes: list[int] = joined.select(pl.col("length") + pl.col("own")).to_series().to_list()
    return sizes


def _sent(group: pl.DataFrame, model: Model) -> dict[str, Any]:
    """The decoding parameters of a group; where a model that takes a seed samples, each output has one of its own."""
    if group["scored"][0]:
        return {SCORES: True}
    said: dict[str, Any] = json.loads(group["decoding"][0])
    return {**said, "seed": _seeds(group.head(1))[0]} if not model.seeded and _samples(group, model) else said


def _samples(group: pl.DataFrame, model: Model) -> bool:
    """Whether answers are drawn, by a seed."""
    said = json.loads(group["decoding"][0])
    return not group["scored"][0] and bool(said.get("temperature")) and "seed" in {*said, *(model.takes or ())}


def _seeds(group: pl.DataFrame) -> list[int]:
    """The seed of each row's draws: as said for the first output, another one for each of the others."""
    said = int(json.loads(group["decoding"][0]).get("seed") or 0)
    rows = group.select("output_index", "repeat").rows()
    return [_seed_of(said, *row) if any(row) else said for row in rows]


def _seed_of(said: int, output_index: int, repeat: int) -> int:
    return int.from_bytes(sha256(f"{said}/{output_index}/{repeat}".encode()).digest()[:4], "little") >> 1


def _keep(
    prefixes: pl.DataFrame, answers: CompletionStore, group: pl.DataFrame, outcomes: list[Outcome]
) -> pl.DataFrame:
    """The outcomes as a frame (`RESULT`); what succeeded is added to the answers."""
    stops = json.loads(group["decoding"][0]).get("stop") or []
    frame = _frame(outcomes)
    if not group["scored"][0]:
        frame = frame.with_columns(*_without_reasoning()).with_columns(
            *_cut([stops] if isinstance(stops, str) else stops)
        )
    sent = group.select(*REQUEST_COLUMNS, "row_index", "request_id")[[outcome.index for outcome in outcomes]]
    frame = frame.with_columns(request_id=sent["request_id"])
    good = frame.hstack(sent.drop("request_id")).filter(pl.col("error").is_null())
    if good.height:
        used = prefixes.join(good.select("prefix_id"), on="prefix_id", how="semi")
        answers.append(good.drop("attempts", "error"), used)
    return frame.select(list(RESULT))


def _frame(outcomes: list[Outcome]) -> pl.DataFrame:
    schema = {name: dtype for name, dtype in RESULT.items() if name != "request_id"}
    if not outcomes:
        return pl.DataFrame(schema=schema)
    _, given, errors, latencies, attempts = zip(*outcomes, strict=True)
    nothing: Sequence[Any] = (None,) * len(Answer._fields)
    said = given if None not in given else [answer or nothing for answer in given]
    columns = dict(zip(Answer._fields, zip(*said, strict=True), strict=True))
    columns["completion"] = columns.pop("text")
    columns |= {"latency": latencies, "attempts": attempts, "error": errors}
    # most models leave most fields out: a column of nothing is not built value by value
    told = {name: column for name, column in columns.items() if column.count(None) < len(column)}
    return pl.DataFrame(told, schema={name: schema[name] for name in told}).select(
        pl.col(name) if name in told else pl.lit(None, dtype=dtype).alias(name) for name, dtype in schema.items()
    )


def _without_reasoning() -> list[pl.Expr]:
    """Text between think tags goes to `reasoning`; the opening tag may stand in the prompt, the closing one lack.

    Log-probabilities are of both then, and the completion has none of its own.
    """
    text = pl.col("completion")
    thought = text.str.extract(r"(?s)^\s*(?:<think>)?(.*?)(?:</think>|\z)", 1)
    thinks = text.str.contains(r"^\s*<think>|</think>")
    return [
        pl.coalesce("reasoning", pl.when(thinks).then(thought)).alias("reasoning"),
        pl.when(thinks).then(text.str.replace(r"(?s)^.*?(?:</think>\s*|\z)", "")).otherwise(text).alias("completion"),
        *(pl.when(thinks).then(None).otherwise(name).alias(name) for name in ("logprob", "token_logprobs")),
    ]


def _cut(stops: list[str]) -> list[pl.Expr]:
    """The completion up to the first stop sequence in it."""
    text = pl.col("completion")
    for stop in stops:
        text = text.str.splitn(stop, 2).struct.field("field_0")
    was_cut = text.str.len_bytes() < pl.col("completion").str.len_bytes()
    return [
        text.alias("completion"),
        pl.when(was_cut).then(pl.lit("stop")).otherwise("finish_reason").alias("finish_reason"),
    ]
