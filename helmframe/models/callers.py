"""Callers of a model's queue: their prompts and progress, and the requests of the current model call."""

import json
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, Protocol, TypeAlias

from helmframe.models.model import Completion, Prompt

# The number of seconds that a stopped caller waits for calls in flight, whose completions may have a price.
STOP_SECONDS = 5.0
POLL = 0.05

Labels = Callable[[int], dict[str, str]]


class Outcome(NamedTuple):
    """The outcome of one prompt: a completion or an error; `index` is its position among the prompts.

    `latency` (s) is the duration of the call that generated the completion, or of the last failed call. `attempts` is
    the number of calls that contained the prompt. The latency of a batch API is None. `is_permanent`: a retry would
    fail with the same error, and the prompt's own data are not at fault.
    """

    index: int  # type: ignore[assignment]  # shadows an unused method of tuple
    completion: Completion | None
    error: str | None
    latency: float | None
    attempts: int
    is_permanent: bool = False


class Requester(Protocol):
    """The caller that a prompt belongs to."""

    @property
    def labels(self) -> Labels:
        """Return a function from a prompt's index to its labels, for the log."""

    @property
    def context(self) -> Context:
        """Return the context of the caller."""

    @property
    def cancelled(self) -> bool:
        """Return whether the caller no longer waits for outcomes."""

    @property
    def logged(self) -> set[str]:
        """Return the kinds of errors that were logged."""


PromptRef: TypeAlias = tuple[Requester, int]


@dataclass(eq=False)
class Caller:
    """A call of `ModelQueue.run` in progress.

    `taken` counts the prompts that workers took, `fetched` the outcomes that the caller received, and `held` the slices
    that workers run. `cancelled`: the caller no longer waits. `stalled`: the caller must fetch outcomes first.
    """

    prompts: Sequence[Prompt]
    decoding: Mapping[str, Any]
    labels: Labels
    total: int
    priority: int
    taken: int = 0
    fetched: int = 0
    held: int = 0
    cancelled: bool = False
    stalled: bool = False
    key: str = ""
    outbox: "SimpleQueue[list[Outcome] | BaseException]" = field(default_factory=SimpleQueue)
    logged: set[str] = field(default_factory=set)
    context: Context = field(default_factory=copy_context)

    def __post_init__(self) -> None:
        self.key = json.dumps(dict(self.decoding), sort_keys=True, default=repr)

    @property
    def backlog(self) -> int:
        return self.taken - self.fetched

    def next(
        self,
        stop: threading.Event | None,
        idle: float | None = None,
        while_waiting: Callable[[], None] | None = None,
    ) -> list[Outcome] | None:
        """Return the next outcomes; none after `idle` seconds without any, None once `stop` is set.

        While there are none, `while_waiting` is called regularly.
        """
        deadline = math.inf if idle is None else time.monotonic() + idle
        while stop is None or not stop.is_set():
            try:
                # a short timeout, because this thread sees signals of other threads only when it wakes
                outcomes = self.outbox.get(timeout=POLL)
            except Empty:
                if while_waiting is not None:
                    while_waiting()
                if time.monotonic() >= deadline:
                    return []
                continue
            if isinstance(outcomes, BaseException):
                raise outcomes
            return outcomes
        return None

    def last(self) -> Iterator[list[Outcome]]:
        """Yield the outcomes that are not fetched yet, and those of calls in flight that end within a few seconds."""
        deadline = time.monotonic() + STOP_SECONDS
        while self.held and time.monotonic() < deadline:
            time.sleep(POLL)
            yield from self.unfetched()
        yield from self.unfetched()

    def unfetched(self) -> Iterator[list[Outcome]]:
        """Yield the outcomes that are not fetched yet."""
        while True:
            try:
                outcomes = self.outbox.get_nowait()
            except Empty:
                return
            if not isinstance(outcomes, BaseException):
                yield outcomes


class Share(NamedTuple):
    """A range of one caller's prompts."""

    caller: Caller
    start: int
    stop: int


def deliver(shares: Sequence[Share], outcomes: dict[int, list[Outcome]]) -> None:
    """Move the outcomes to the outboxes of their callers."""
    for share in shares:
        if outcomes[id(share.caller)]:
            share.caller.outbox.put(outcomes[id(share.caller)])
            outcomes[id(share.caller)] = []


# The (caller, index) of each prompt in the current model call, set by the queue. Labels are built on demand, because
# most requests are never logged.
CURRENT_REQUESTS: ContextVar[Sequence[PromptRef]] = ContextVar("helmframe_current_requests", default=())

# The warnings that this run has logged and does not repeat; unset outside of runs.
LOGGED_WARNINGS: ContextVar[set[str]] = ContextVar("helmframe_logged_warnings")


@contextmanager
def on_behalf_of(ref: PromptRef) -> Iterator[None]:
    """Attribute log records of the block to this prompt."""
    token = CURRENT_REQUESTS.set([ref])
    try:
        yield
    finally:
        CURRENT_REQUESTS.reset(token)


class CurrentRequests(NamedTuple):
    """The requests of one caller in the current call: its context, the labels of the first prompt, and the count."""

    context: Context
    labels: dict[str, str]
    prompts: int


def current_requests() -> list[CurrentRequests]:
    """Return one entry per caller, in the order of the prompts; empty outside of model functions."""
    refs = CURRENT_REQUESTS.get()
    counts: dict[int, int] = {}
    first: dict[int, PromptRef] = {}
    for caller, index in refs:
        key = id(caller)
        counts[key] = counts.get(key, 0) + 1
        first.setdefault(key, (caller, index))
    return [
        CurrentRequests(caller.context, caller.labels(index), counts[key]) for key, (caller, index) in first.items()
    ]


def current_labels() -> dict[str, str]:
    """Return scenario, instance_id and model of the current request, for log records of a model function."""
    requests = CURRENT_REQUESTS.get()
    return requests[0][0].labels(requests[0][1]) if requests else {}
