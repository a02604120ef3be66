"""Whose requests a model is answering right now, in this thread or task: for log records made inside its function."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import Context, ContextVar
from typing import NamedTuple, Protocol


class Requester(Protocol):
    """One who asks a model."""

    @property
    def labels(self) -> Callable[[int], dict[str, str]]:
        """Scenario, instance_id and model of a prompt."""

    @property
    def context(self) -> Context:
        """Where it was asked from."""


# (caller, index) of each prompt in the current call; set by the queue before it calls the model. Labels are built on
# demand only: most requests are never logged.
CURRENT_REQUESTS: ContextVar[Sequence[tuple[Requester, int]]] = ContextVar("helmframe_asked", default=())

# Warnings that this run has logged, which it does not repeat; unset outside of a run.
LOGGED_WARNINGS: ContextVar[set[str]] = ContextVar("helmframe_said")


@contextmanager
def on_behalf_of(ref: tuple[Requester, int]) -> Iterator[None]:
    """Attribute log records made in the block to this prompt."""
    token = CURRENT_REQUESTS.set([ref])
    try:
        yield
    finally:
        CURRENT_REQUESTS.reset(token)


class CurrentRequests(NamedTuple):
    """The requests of one caller in the current call: its context, the labels of its first prompt, and their number."""

    context: Context
    labels: dict[str, str]
    prompts: int


def current_requests() -> list[CurrentRequests]:
    """Return one entry per caller, in the order of the prompts; none outside a model function."""
    refs = CURRENT_REQUESTS.get()
    counts: dict[int, int] = {}
    first: dict[int, tuple[Requester, int]] = {}
    for caller, index in refs:
        key = id(caller)
        counts[key] = counts.get(key, 0) + 1
        first.setdefault(key, (caller, index))
    return [
        CurrentRequests(caller.context, caller.labels(index), counts[key]) for key, (caller, index) in first.items()
    ]
