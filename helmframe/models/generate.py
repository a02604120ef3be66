"""The stage `generate`: run the requests that are not cached, and cache their completions."""

import json
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import polars as pl

from helmframe import config
from helmframe._core.expressions import is_starved
from helmframe._core.images import LoadImage
from helmframe._core.safe_text import get_logger
from helmframe.errors import (
    ArgumentError,
    CapabilityError,
    NotAModelError,
    SourceBrokenError,
    SourceError,
    StoreError,
    listed,
)
from helmframe.models import reasoning
from helmframe.models.budget import Budget
from helmframe.models.completion_cache import ids_for
from helmframe.models.interrupts import BackgroundTask, run_uninterrupted, wait_for
from helmframe.models.model import SCORES, Completion, Model, Pair, Prompt, Seeded
from helmframe.models.prompts import ImagePrompts, PairedPrompts, Prompts, rows_of
from helmframe.models.scheduler import ModelQueue, Outcome, queue_of
from helmframe.store import COMPLETION_SCHEMA, REQUEST_COLUMNS, CompletionStore, ParquetCompletions
from helmframe.store.claims import Claims, SharedRequests

if TYPE_CHECKING:
    from helmframe.models.batch_runs import Batches

FLUSH_ROWS = 8192
# Completions are written after this share of the interval, so that they are stored when it ends.
FLUSH_SHARE = 0.8
NUMBERS = {"temperature": int | float, "top_p": int | float, "max_tokens": int, "top_k": int, "seed": int}
RANGES = {"temperature": (0, math.inf), "top_p": (0, 1), "max_tokens": (0, math.inf)}
# The duration of a block of requests; between blocks, completions of other processes are read.
BLOCK_SECONDS = 1.0
RESULT = {**COMPLETION_SCHEMA, "attempts": pl.Int64(), "error": pl.String()}

logger = get_logger("helmframe.models")

# A function of an event and its count. The events are: planned, cached, shared (equal to another request), refused (too
# long), generated, failed (a part of generated), rerun (generated again with more head-room), prompt_tokens and
# output_tokens.
Report = Callable[[str, int], None]


def generate(
    requests: pl.DataFrame,
    prefixes: pl.DataFrame,
    model: Model,
    stored: CompletionStore,
    fingerprint: str,
    *,
    send: bool = True,
    fresh: bool = False,
    budget: Budget | None = None,
    report: Report = lambda event, count: None,  # noqa: ARG005
    load_image: LoadImage | None = None,
) -> pl.DataFrame:
    """Return one completion per request and output.

    Completions are cached, and equal requests are sent once. A failed request is a row with `error`. It is not cached,
    so the next run retries it. If reasoning used all tokens although there is head-room for it, the request is sent
    again with twice the head-room. That is another request, with its own `decoding` and `request_id`.

    If the model's first 50 requests in the run fail with one permanent error, the model stops: the rows that are not
    sent have the same error.

    Args:
        requests: `FITTED`, one row per output, as `request_ids` returns them.
        prefixes: `PREFIXES`.
        model: The model.
        stored: The model's stored completions; new completions are added within `config.flush_seconds()`.
        fingerprint: The model's current fingerprint.
        send: Whether to send requests; False reads stored completions only.
        fresh: Whether to generate cached completions again.
        budget: The limits of requests and cost. By default there are none.
        report: A function that receives the counts of events. An error that it raises stops the run.
        load_image: The function that reads the images of prompts.

    Returns:
        `COMPLETIONS`, without requests that were neither cached nor sent.

    Raises:
        StoreError: Completions can't be read or stored.
    """
    options: dict[str, Any] = {
        "send": send,
        "fresh": fresh,
        "budget": budget or Budget(),
        "load_image": load_image,
    }
    if not any(reasoning.head_room(json.loads(text)) for text in requests["decoding"].unique()):
        return _complete(requests, prefixes, model, stored, fingerprint, report=report, **options)
    numbered = requests.with_row_index("_row")
    first = _complete(numbered, prefixes, model, stored, fingerprint, report=report, **options)
    starved = first.filter(is_starved(first.columns)).select("_row")
    starved_requests = numbered.join(starved, on="_row", how="semi", maintain_order="left")
    roomier = roomier_requests(starved_requests, prefixes, model, fingerprint)
    if roomier.is_empty():
        return first.drop("_row")
    second = _complete(roomier, prefixes, model, stored, fingerprint, report=_of_rerun(report), **options)
    second = second.filter(pl.col("completion").is_not_null())  # else the first completion counts
    unchanged = first.join(second, on="_row", how="anti", maintain_order="left")
    return pl.concat([unchanged, second]).sort("_row").drop("_row")


def roomier_requests(requests: pl.DataFrame, prefixes: pl.DataFrame, model: Model, fingerprint: str) -> pl.DataFrame:
    """Return the requests that have head-room for reasoning, with twice the head-room and its `request_id`.

    The arguments are those of `generate`.
    """
    roomier = reasoning.with_doubled_room(requests)
    ids = ids_for(roomier, prefixes, fingerprint, by_instance=model.sees_rows)
    return roomier.with_columns(ids)


def _of_rerun(report: Report) -> Report:
    """Return the report of requests that are sent a second time: their completions are planned already."""

    def report_rerun(event: str, count: int) -> None:
        if event in ("generated", "prompt_tokens", "output_tokens"):
            report("rerun" if event == "generated" else event, count)

    return report_rerun


def _complete(
    requests: pl.DataFrame,
    prefixes: pl.DataFrame,
    model: Model,
    stored: CompletionStore,
    fingerprint: str,
    *,
    send: bool,
    fresh: bool,
    budget: Budget,
    load_image: LoadImage | None,
    report: Report,
) -> pl.DataFrame:
    """Return one completion per request, from the store or generated now. The arguments are those of `generate`."""
    batches = _batches_of(model, fingerprint, stored, budget) if send else None
    cached = _cached(requests, stored, batches, fresh=fresh)
    joined = _with_results(requests, cached)
    sent = _unsent(joined, requests, model)
    missing = sent.unique("request_id", keep="first", maintain_order=True)
    planned = missing
    if missing.height and joined["cached"].count():
        planned = _unsent(joined.with_columns(cached=pl.lit(None)), requests, model).unique(
            "request_id", keep="first", maintain_order=True
        )
    if batches is None and budget.first_requests.error((model.name, fingerprint)) is None:
        missing = missing.head(budget.grant(missing.height) if send else 0)
    elif batches is None:
        missing = missing if send else missing.clear()
    else:
        missing = _add_to_batches(missing, prefixes, model, fingerprint, stored, batches, budget)
    report("planned", requests.height)
    report("cached", joined["cached"].count())
    report("refused", requests["refused"].count())
    report("shared", sent.join(missing, on="request_id", how="semi").height - missing.height)
    if missing.height and batches is None:
        frames = _run(missing, planned, prefixes, model, fingerprint, stored, budget, report, load_image)
        joined = _with_results(requests, pl.concat([cached, *frames], how="diagonal"))
    elif missing.height and batches is not None:
        frame = _collect(missing, prefixes, model, stored, batches, budget, report)
        joined = _with_results(requests, pl.concat([cached, frame], how="diagonal"))
    joined = joined.with_columns(error=pl.coalesce("refused", "error"))
    if joined["content"].null_count() == joined.height:
        # all content is text, which prefix and suffix contain, so it isn't stored twice
        joined = joined.with_columns(blocks=pl.lit(None, dtype=joined.schema["blocks"]))
    return joined.filter(pl.col("completion").is_not_null() | pl.col("error").is_not_null())


def add_to_batches(
    requests: pl.DataFrame,
    prefixes: pl.DataFrame,
    model: Model,
    stored: CompletionStore,
    fingerprint: str,
    *,
    fresh: bool,
    budget: Budget,
) -> None:
    """Add the requests that are not cached to the batches of a model with a batch API. Full batches are submitted.

    The arguments are those of `generate`, which waits for the completions later.
    """
    batches = _batches_of(model, fingerprint, stored, budget)
    assert batches is not None  # the model has a batch API
    sent = _unsent(_with_results(requests, _cached(requests, stored, batches, fresh=fresh)), requests, model)
    missing = sent.unique("request_id", keep="first", maintain_order=True)
    _add_to_batches(missing, prefixes, model, fingerprint, stored, batches, budget)


def _cached(requests: pl.DataFrame, stored: CompletionStore, batches: "Batches | None", *, fresh: bool) -> pl.DataFrame:
    """Return the completions of earlier runs; with `batches`, completions of this run's batches are not cached."""
    wanted = requests.select("scenario", "row_index", "request_id", "refused").filter(pl.col("refused").is_null())
    low, high = _range(wanted) if wanted.height else (0, 0)
    cached = stored.read(low, high, wanted["request_id"])
    if fresh:  # read nevertheless, so that completions stored by now don't count as new later
        cached = cached.clear()
    if wanted.height < requests.height:  # a request that is refused now may have an older completion
        cached = cached.join(wanted, on="request_id", how="semi")
    if batches is not None:
        cached = cached.join(batches.pending(wanted), on="request_id", how="anti", maintain_order="left")
    return cached.with_columns(
        cached=pl.lit(value=True), attempts=pl.lit(0, dtype=pl.Int64), error=pl.lit(None, dtype=pl.String)
    )


def _unsent(joined: pl.DataFrame, requests: pl.DataFrame, model: Model) -> pl.DataFrame:
    """Return the requests without a completion."""
    columns = (
        requests.columns if model.sees_rows else [*REQUEST_COLUMNS, "row_index", "repeat", "request_id", "continuation"]
    )
    if model.images and not model.sees_rows and requests["content"].null_count() < requests.height:
        columns += [name for name in ("blocks", "content_change") if name in requests.columns]
    return joined.filter(pl.col("cached").is_null() & pl.col("refused").is_null()).select(columns)


def _with_results(requests: pl.DataFrame, results: pl.DataFrame) -> pl.DataFrame:
    return requests.join(results, on="request_id", how="left", maintain_order="left", validate="m:1")


def check_decoding(model: Model, arguments: Mapping[str, Any], *, where: str = "generate") -> None:
    """Check the decoding parameters that the user passed to the function `where`.

    Raises:
        CapabilityError: The model does not support a parameter.
        ArgumentError: A parameter has an invalid value.
    """
    for name, value in arguments.items():
        expected = NUMBERS.get(name)
        values = value if isinstance(value, list | tuple) else [value]
        specified = [setting for setting in values if setting is not None]
        if expected and not all(
            isinstance(setting, expected) and not isinstance(setting, bool) for setting in specified
        ):
            kind = "an integer" if expected is int else "a number"
            raise ArgumentError(f"{where}({name}={value!r}): {name} must be {kind}.")
        low, high = RANGES.get(name, (-math.inf, math.inf))
        if expected and not all(low <= setting <= high for setting in specified):
            within = f"≥ {low}" if high == math.inf else f"between {low} and {high}"
            raise ArgumentError(f"{where}({name}={value!r}): {name} must be {within}.")
        if name == "reasoning":
            for setting in values:
                reasoning.check_reasoning(setting, where)
        if name == "stop" and not all(_is_text(setting) for setting in specified):
            raise ArgumentError(
                f"{where}(stop={value!r}): stop must be text, or a list of texts such as ['\\n', '###']."
            )
    if model.takes is None:
        return
    for name in arguments:
        if name == "reasoning" and "max_tokens" in model.takes:  # it has head-room at least
            continue
        if name not in (*model.takes, "stop", "n"):
            raise CapabilityError(
                f"{where}({name}=…): model {model.name!r} doesn't support {name}. Supported: "
                f"{listed(sorted(model.takes)) or 'none'}. Remove it, or use a function that has a parameter {name}."
            )


def _is_text(value: object) -> bool:
    """Return whether a value is text or a list of texts, which is one value of `stop` in a grid."""
    return isinstance(value, str) or (isinstance(value, list | tuple) and all(isinstance(text, str) for text in value))


def _run(
    missing: pl.DataFrame,
    planned: pl.DataFrame,
    prefixes: pl.DataFrame,
    model: Model,
    fingerprint: str,
    stored: CompletionStore,
    budget: Budget,
    report: Report,
    load_image: LoadImage | None,
    *,
    raises: bool = False,
) -> list[pl.DataFrame]:
    """Return the results (`RESULT`), which are stored as they come; `cached` marks completions of other processes.

    If the model stops, the requests that are not sent are results with its error. `raises`: a model that doesn't load
    raises although the run evaluates other models.
    """
    queue = queue_of(model, fingerprint)
    claims = Claims(stored.folder, stored.run) if isinstance(stored, ParquetCompletions) else None
    key, first_requests = (model.name, fingerprint), budget.first_requests
    counts = {"generated": 0, "failed": 0}

    def report_and_count(event: str, count: int) -> None:
        report(event, count)
        if event in counts:
            counts[event] += count

    def store(block: pl.DataFrame, outcomes: list[Outcome]) -> pl.DataFrame:
        frame = _store(model, prefixes, stored, block, outcomes)
        if claims is not None:
            claims.note_progress()
        return frame

    writer = CompletionWriter(store)
    cached: list[pl.DataFrame] = []
    try:
        for waiting in _queues(missing, planned, model, stored, claims):
            while waiting.height and not budget.stopped.is_set() and first_requests.error(key) is None:
                size = queue.block  # read once, because other callers of the model may change it
                block, new, names = waiting.take(size, budget.stopped)
                if new.height:
                    report("cached", new.height)
                    cached.append(
                        new.with_columns(
                            attempts=pl.lit(0, dtype=pl.Int64),
                            error=pl.lit(None, dtype=pl.String),
                            cached=pl.lit(value=True),
                        ).select(*RESULT, "cached")
                    )
                if not block.height:
                    continue
                started = time.monotonic()
                release = partial(claims.release_soon, names) if claims is not None else None
                _run_block(
                    block, prefixes, model, queue, writer, budget, report_and_count, load_image, release, fingerprint
                )
                pace = BLOCK_SECONDS / max(time.monotonic() - started, 1e-3)
                # a block is at least one batch, even for a slow model
                queue.block = max(model.batch, min(round(block.height * min(max(pace, 0.25), 4.0)), FLUSH_ROWS))
    except (NotAModelError, SourceError) as error:
        if raises or not first_requests.stop(key, error):
            raise
    finally:
        # also after a failed write or Ctrl-C, because completions may have a price
        try:
            run_uninterrupted(writer.close)
        finally:
            if claims is not None:
                claims.close()
    frames = cached + [frame.with_columns(cached=pl.lit(value=False)) for frame in writer.frames]
    error_message = first_requests.error(key)
    if error_message is None or budget.stopped.is_set():
        return frames
    unsent = _unsent_rows(missing, frames, error_message)
    budget.refund(unsent.height)
    done = pl.concat([*writer.frames, unsent], how="diagonal")
    report("failed", done["error"].count() - counts["failed"])
    report("generated", done.height - counts["generated"])
    return [*frames, unsent]


def _unsent_rows(missing: pl.DataFrame, frames: Sequence[pl.DataFrame], error: str) -> pl.DataFrame:
    """Return the results of requests that are not sent because the model stopped."""
    ids = missing.select("request_id")
    if frames:
        ids = ids.join(pl.concat(frames, how="diagonal").select("request_id"), on="request_id", how="anti")
    values = {"error": pl.lit(error), "attempts": pl.lit(0, dtype=pl.Int64), "cached": pl.lit(value=False)}
    empty = {name: pl.lit(None, dtype=dtype) for name, dtype in RESULT.items() if name != "request_id"}
    return ids.with_columns(**{**empty, **values}).select(*RESULT, "cached")


class OwnRequests:
    """The requests that this process has not sent yet and that no other process sends; see `SharedRequests`."""

    def __init__(self, missing: pl.DataFrame) -> None:
        self._rows = missing

    @property
    def height(self) -> int:
        """The number of requests that are not sent yet."""
        return self._rows.height

    def take(self, size: int, stopped: threading.Event) -> tuple[pl.DataFrame, pl.DataFrame, list[str]]:  # noqa: ARG002
        """Return `size` requests to send."""
        block, self._rows = self._rows.head(size), self._rows.slice(size)
        return block, block.clear(), []


def _queues(
    missing: pl.DataFrame, planned: pl.DataFrame, model: Model, stored: CompletionStore, claims: Claims | None
) -> Iterator[SharedRequests | OwnRequests]:
    """Yield the requests that can share model calls: those with the same decoding parameters."""
    keys = ["decoding", "scored"] if model.seeded else ["decoding", "output_index", "repeat", "scored"]
    scored = pl.col("continuation").is_not_null()
    groups = missing.with_columns(scored=scored).partition_by(keys, maintain_order=True, as_dict=True)
    if claims is None or not isinstance(stored, ParquetCompletions):
        yield from map(OwnRequests, groups.values())
        return
    named = planned.select("request_id", "decoding", "output_index", "repeat", scored=scored)
    all_groups = named.partition_by(keys, as_dict=True, maintain_order=True)
    for key, group in groups.items():
        yield SharedRequests(group, all_groups[key], stored, claims, model.batch)


def _batches_of(model: Model, fingerprint: str, stored: CompletionStore, budget: Budget) -> "Batches | None":
    """Return the model's batches in the run that has this budget; None if the model has no batch API."""
    if model.batches is None:
        return None
    from helmframe.models.batch_api import BatchApi  # late: most runs have no batches
    from helmframe.models.batch_runs import Batches

    # models of servers are durable
    assert isinstance(model.batches, BatchApi)
    assert isinstance(stored, ParquetCompletions)
    key = (model.name, fingerprint)
    with _batches_lock:
        if key not in budget.batches:
            budget.batches[key] = Batches(
                model.batches,
                model.name,
                fingerprint,
                stored.root,
                store=partial(_store, model),
                release=budget.release,
            )
        return budget.batches[key]


_batches_lock = threading.Lock()


def _add_to_batches(
    missing: pl.DataFrame,
    prefixes: pl.DataFrame,
    model: Model,
    fingerprint: str,
    stored: CompletionStore,
    batches: "Batches",
    budget: Budget,
) -> pl.DataFrame:
    """Add the requests that the budget allows, and return all that are in batches.

    The first request of each setting is sent live: an error of the server shows now, not after hours, and the batch is
    submitted without the parameters that the server rejects.
    """
    with batches.lock:
        new = batches.unseen(missing)
        new = _affordable(new, prefixes, model, budget).with_columns(scored=pl.lit(value=False))
        for part in new.partition_by(["decoding", "output_index", "repeat"], maintain_order=True):
            group = part
            if part["decoding"][0] not in batches.settings:
                batches.settings.add(part["decoding"][0])
                if _sent_live(part.head(1), prefixes, model, fingerprint, stored, budget):
                    batches.add_live(part.head(1))
                    budget.release(part["reserved"][0])
                    group = part.slice(1)
            if group.height:
                batches.add(group, prefixes, Prompts(group, prefixes), _decoding(group, model))
        return batches.requested(missing)


def _sent_live(
    request: pl.DataFrame,
    prefixes: pl.DataFrame,
    model: Model,
    fingerprint: str,
    stored: CompletionStore,
    budget: Budget,
) -> bool:
    """Send a request live, and return whether its completion is stored."""
    try:
        unreported: Report = lambda event, count: None  # noqa: ARG005, E731
        frames = _run(request, request, prefixes, model, fingerprint, stored, budget, unreported, None, raises=True)
    except (CapabilityError, SourceBrokenError) as error:  # some deployments run batches only
        logger.warning("%s: the first request is not sent live, but in a batch: %s", model.name, error)
        return False
    return bool(frames) and frames[0]["error"][0] is None


def _affordable(rows: pl.DataFrame, prefixes: pl.DataFrame, model: Model, budget: Budget) -> pl.DataFrame:
    """Return the first requests that the budget allows, with their estimated cost in `reserved`."""
    estimates = [0.0] * rows.height
    if budget.charges(model.name):
        limits = [reasoning.as_sent(json.loads(decoding)).get("max_tokens") for decoding in rows["decoding"]]
        estimates = budget.reserve(model.name, _sizes(rows, prefixes), limits)
    rows = rows.head(len(estimates)).with_columns(reserved=pl.Series(estimates, dtype=pl.Float64))
    return rows.head(budget.grant(rows.height))


def _collect(
    missing: pl.DataFrame,
    prefixes: pl.DataFrame,
    model: Model,
    stored: CompletionStore,
    batches: "Batches",
    budget: Budget,
    report: Report,
) -> pl.DataFrame:
    """Wait for the batches of these requests, and return the results (`RESULT`) of batches that have ended."""
    batches.submit()
    batches.wait(missing, budget.stopped)
    rows, failed = batches.ended(missing)
    batches.deliver(rows)
    done = stored.read(*_range(rows), rows["request_id"]) if rows.height else pl.DataFrame(schema=COMPLETION_SCHEMA)
    done = done.join(rows, on="request_id", how="semi").join(failed, on="request_id", how="anti")
    results = pl.concat([done, failed.select("request_id", "error")], how="diagonal").with_columns(
        cached=pl.lit(value=False), attempts=pl.lit(1, dtype=pl.Int64)
    )
    report("failed", failed.height)
    report("generated", results.height)
    for name in ("prompt_tokens", "output_tokens"):
        report(name, int(done[name].sum()))
    charged = batches.sent_in_batches(rows).join(failed, on="request_id", how="anti")
    if budget.charges(model.name) and charged.height:
        sizes = charged.select("request_id", size=pl.Series(_sizes(charged, prefixes), dtype=pl.Int64))
        counts = ("prompt_tokens", "output_tokens", "cached_prompt_tokens")
        paid = done.join(sizes, on="request_id", how="inner").select("size", "completion", *counts)
        completions = [
            Completion(text, **dict(zip(counts, tokens, strict=True))) for _, text, *tokens in paid.iter_rows()
        ]
        budget.spend(model.name, paid["size"].to_list(), completions)
    return results.select(*RESULT, "cached")


def _range(rows: pl.DataFrame) -> tuple[int, int]:
    low, high = rows.select(low=pl.col("row_index").min(), high=pl.col("row_index").max()).row(0)
    return int(low), int(high)


def _run_block(
    block: pl.DataFrame,
    prefixes: pl.DataFrame,
    model: Model,
    queue: ModelQueue,
    writer: "CompletionWriter",
    budget: Budget,
    report: Report,
    load_image: LoadImage | None,
    stored: Callable[[], None] | None,
    fingerprint: str,
) -> None:
    """Send the requests of a block until the model stops; `stored` is called once their completions are stored."""
    key, first_requests = (model.name, fingerprint), budget.first_requests

    def labels(index: int) -> dict[str, str]:
        scenario, instance_id = block.select("scenario", "instance_id").row(index)
        return {"scenario": scenario, "instance_id": instance_id, "model": model.name}

    texts: Sequence[Any] = Prompts(block, prefixes)
    if "blocks" in block.columns and not model.sees_rows:
        texts = ImagePrompts(texts, block, load_image)
    prompts: Sequence[Prompt] = texts
    if model.sees_rows:
        prompts = rows_of(block, prefixes)
    elif block["scored"][0]:
        prompts = PairedPrompts(Pair, texts, block["continuation"].to_list())
    elif model.seeded and _is_sampled(block, model):
        prompts = PairedPrompts(Seeded, texts, _seeds(block))
    pending: list[Outcome] = []
    left: list[Outcome] = []
    flushed = time.monotonic()
    interval = FLUSH_SHARE * config.flush_seconds()
    sizes = _sizes(block, prefixes) if budget.charges(model.name) else []
    outcomes = queue.run(
        prompts,
        _decoding(block, model),
        labels=labels,
        priority=budget.priority,
        stop=budget.stopped,
        left=left,
        idle=interval / 4,  # so that the completions of a slow model are written in time
    )
    try:
        for batch in outcomes:
            first_requests.add(key, batch)
            if not batch and not pending and first_requests.error(key) is None:
                continue
            pending += batch
            if sizes:
                characters = [sizes[outcome.index] for outcome in batch]
                budget.spend(model.name, characters, [outcome.completion for outcome in batch])
            report("failed", sum(outcome.error is not None for outcome in batch))
            report("generated", len(batch))
            completions = [outcome.completion for outcome in batch if outcome.completion is not None]
            for name in ("prompt_tokens", "output_tokens"):
                report(name, sum(getattr(completion, name) or 0 for completion in completions))
            if len(pending) >= FLUSH_ROWS or time.monotonic() - flushed > interval:
                lot, pending = pending, []
                writer.add(block, lot)
                flushed = time.monotonic()
            if first_requests.error(key) is not None:
                break
    finally:
        run_uninterrupted(partial(_finish, outcomes, writer, block, pending, left, stored))


def _finish(
    outcomes: Generator[list[Outcome], None, None],
    writer: "CompletionWriter",
    block: pl.DataFrame,
    pending: list[Outcome],
    left: list[Outcome],
    stored: Callable[[], None] | None,
) -> None:
    outcomes.close()
    writer.add(block, pending + left, stored)


def _sizes(group: pl.DataFrame, prefixes: pl.DataFrame) -> list[int]:
    """Return the number of characters of each prompt."""
    lengths = prefixes.select("prefix_id", length=pl.col("prefix").str.len_chars())
    suffix_length = pl.concat_str("suffix", "continuation", ignore_nulls=True).str.len_chars()
    suffixes = group.select("prefix_id", suffix_length=suffix_length)
    joined = suffixes.join(lengths, on="prefix_id", how="left", maintain_order="left")
    sizes: list[int] = joined.select(pl.col("length") + pl.col("suffix_length")).to_series().to_list()
    return sizes


def _decoding(group: pl.DataFrame, model: Model) -> dict[str, Any]:
    """Return the decoding parameters of a group, with the seed of its output if the model samples with a seed."""
    if group["scored"][0]:
        return {SCORES: True}
    decoding = reasoning.as_sent(json.loads(group["decoding"][0]))
    if isinstance(decoding.get("json_schema"), str):
        decoding["json_schema"] = json.loads(decoding["json_schema"])
    return (
        {**decoding, "seed": _seeds(group.head(1))[0]} if not model.seeded and _is_sampled(group, model) else decoding
    )


def _is_sampled(group: pl.DataFrame, model: Model) -> bool:
    """Return whether the model samples, and supports a seed."""
    decoding = json.loads(group["decoding"][0])
    return not group["scored"][0] and bool(decoding.get("temperature")) and "seed" in {*decoding, *(model.takes or ())}


def _seeds(group: pl.DataFrame) -> list[int]:
    """Return the sampling seed of each row: the specified seed for the first output, else a derived seed."""
    seed = int(json.loads(group["decoding"][0]).get("seed") or 0)
    rows = group.select("output_index", "repeat").rows()
    return [_seed_of(seed, *row) if any(row) else seed for row in rows]


def _seed_of(seed: int, output_index: int, repeat: int) -> int:
    return int.from_bytes(sha256(f"{seed}/{output_index}/{repeat}".encode()).digest()[:4], "little") >> 1


def _store(
    model: Model, prefixes: pl.DataFrame, stored: CompletionStore, group: pl.DataFrame, outcomes: list[Outcome]
) -> pl.DataFrame:
    """Return the outcomes as a frame (`RESULT`), and store those that succeeded."""
    decoding = json.loads(group["decoding"][0])
    stops = decoding.get("stop") or []
    frame = _frame(outcomes)
    sent = group.select(*REQUEST_COLUMNS, "row_index", "request_id")[[outcome.index for outcome in outcomes]]
    if not group["scored"][0]:
        frame = frame.with_columns(opened=sent.select(reasoning.opens_reasoning(pl.col("suffix"))).to_series())
        frame = reasoning.with_reasoning_tokens(frame.with_columns(*_without_reasoning()).drop("opened"), model)
        # stop sequences are not sent with head-room, so the log-probabilities are those of the whole text
        are_sent = not reasoning.head_room(decoding)
        frame = frame.with_columns(*_truncated([stops] if isinstance(stops, str) else stops, are_sent=are_sent))
    frame = frame.with_columns(request_id=sent["request_id"])
    good = frame.hstack(sent.drop("request_id")).filter(pl.col("error").is_null())
    if good.height:
        used = prefixes.join(good.select("prefix_id"), on="prefix_id", how="semi")
        stored.append(good.drop("attempts", "error"), used)
    return frame.select(list(RESULT))


def _frame(outcomes: list[Outcome]) -> pl.DataFrame:
    schema = {name: dtype for name, dtype in RESULT.items() if name != "request_id"}
    if not outcomes:
        return pl.DataFrame(schema=schema)
    _, completions, errors, latencies, attempts, _ = zip(*outcomes, strict=True)
    nothing: Sequence[Any] = (None,) * len(Completion._fields)
    values = completions if None not in completions else [completion or nothing for completion in completions]
    columns = dict(zip(Completion._fields, zip(*values, strict=True), strict=True))
    columns["completion"] = columns.pop("text")
    columns |= {"latency": latencies, "attempts": attempts, "error": errors}
    # columns without values, which most models have many of, are not built value by value
    filled = {name: column for name, column in columns.items() if column.count(None) < len(column)}
    return pl.DataFrame(filled, schema={name: schema[name] for name in filled}).select(
        pl.col(name) if name in filled else pl.lit(None, dtype=dtype).alias(name) for name, dtype in schema.items()
    )


def _without_reasoning() -> list[pl.Expr]:
    """Return expressions that move text between think tags to `reasoning`.

    The opening tag may be in the prompt (`opened`), and the closing tag may be missing. Log-probabilities are removed,
    because they cover both texts.
    """
    text = pl.col("completion")
    thought = text.str.extract(r"(?s)^\s*(?:<think>)?(.*?)(?:</think>|\z)", 1)
    thinks = text.str.contains(r"^\s*<think>|</think>") | pl.col("opened")
    return [
        pl.coalesce("reasoning", pl.when(thinks).then(thought)).alias("reasoning"),
        pl.when(thinks).then(text.str.replace(r"(?s)^.*?(?:</think>\s*|\z)", "")).otherwise(text).alias("completion"),
        *(pl.when(thinks).then(None).otherwise(name).alias(name) for name in ("logprob", "token_logprobs")),
    ]


def _truncated(stops: list[str], *, are_sent: bool) -> list[pl.Expr]:
    """Return expressions that truncate the completion at its first stop sequence.

    Log-probabilities of a truncated text are removed if the model did not receive the stop sequences.
    """
    text = pl.col("completion")
    for stop in stops:
        text = text.str.splitn(stop, 2).struct.field("field_0")
    was_cut = text.str.len_bytes() < pl.col("completion").str.len_bytes()
    return [
        text.alias("completion"),
        pl.when(was_cut).then(pl.lit("stop")).otherwise("finish_reason").alias("finish_reason"),
        *(pl.when(~was_cut).then(name).alias(name) for name in ("logprob", "token_logprobs") if not are_sent),
    ]


# A function that stores the outcomes of some requests of a block, and returns them as a frame.
Store = Callable[[pl.DataFrame, list[Outcome]], pl.DataFrame]


class CompletionWriter:
    """A writer that stores lots of outcomes in order; while a lot is written, the next lot is collected.

    Attributes:
        frames: The frames of the stored lots.
    """

    def __init__(self, store: Store) -> None:
        self.frames: list[pl.DataFrame] = []
        self._store = store
        # lots that are not stored yet, with the function that is called afterwards
        self._lots: deque[tuple[pl.DataFrame, list[Outcome], Callable[[], None] | None]] = deque()
        self._task: BackgroundTask[None] | None = None

    def add(self, block: pl.DataFrame, outcomes: list[Outcome], stored: Callable[[], None] | None = None) -> None:
        """Store outcomes in the background, after waiting until earlier outcomes are stored; then call `stored`.

        Raises:
            StoreError: Earlier outcomes could not be stored. `close` retries them.
        """
        if not outcomes and stored is None:
            return
        self._lots.append((block, outcomes, stored))
        if self._task is not None:
            self._task.result()
        self._task = BackgroundTask(self._write)

    def close(self) -> None:
        """Wait until all outcomes are stored; a failed write is retried once.

        Raises:
            StoreError: Some outcomes are not stored; the message states their number.
        """
        if self._task is not None:
            wait_for([self._task.ended])
        try:
            self._write()
        except StoreError as error:
            lost = sum(len(outcomes) for _, outcomes, _ in self._lots)
            raise StoreError(f"{error} {lost:,} completions are not stored.") from error

    def _write(self) -> None:
        while self._lots:
            block, outcomes, stored = self._lots[0]
            if outcomes:
                self.frames.append(self._store(block, outcomes))
            self._lots.popleft()
            if stored is not None:
                stored()
