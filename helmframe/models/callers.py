"""Callers that wait for outcomes: their prompts, their progress, and which caller's requests a model is running."""

import contextvars
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from helmframe.models.answering import Labels, Outcome
from helmframe.models.model import Prompt

# How long a stopped caller waits for calls in flight, whose completions may have been paid for.
STOP_SECONDS = 5.0
POLL = 0.05


@dataclass(eq=False)
class Caller:
    """One `ModelQueue.run` in progress.

    `taken` counts the prompts that workers have taken, `fetched` the outcomes that the caller has received, `held` the
    slices that workers have; `cancelled`: the caller no longer waits; `stalled`: outcomes must be fetched first.
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
    context: contextvars.Context = field(default_factory=contextvars.copy_context)

    def __post_init__(self) -> None:
        self.key = json.dumps(dict(self.decoding), sort_keys=True, default=repr)

    @property
    def backlog(self) -> int:
        return self.taken - self.fetched

    def next(self, stop: threading.Event | None) -> list[Outcome] | None:
        """Return the next outcomes; None once `stop` is set."""
        while stop is None or not stop.is_set():
            try:
                # a short timeout: this thread sees a signal that another thread got only when it wakes
                outcomes = self.outbox.get(timeout=POLL)
            except Empty:
                continue
            if isinstance(outcomes, BaseException):
                raise outcomes
            return outcomes
        return None

    def last(self) -> Iterator[list[Outcome]]:
        """Yield outcomes that are not fetched yet, and those of calls in flight that end within a few seconds."""
        deadline = time.monotonic() + STOP_SECONDS
        while self.held and time.monotonic() < deadline:
            time.sleep(POLL)
            yield from self.rest()
        yield from self.rest()

    def rest(self) -> Iterator[list[Outcome]]:
        """Yield outcomes that are not fetched yet."""
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
    for share in shares:
        if outcomes[id(share.caller)]:
            share.caller.outbox.put(outcomes[id(share.caller)])
            outcomes[id(share.caller)] = []
