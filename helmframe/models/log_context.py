"""Whose requests a model is answering right now, in this thread or task: for log records made inside its function."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import Context, ContextVar
from typing import NamedTuple, Protocol


class Asker(Protocol):
    """One who asks a model."""

    @property
    def labels(self) -> Callable[[int], dict[str, str]]:
        """Scenario, instance_id and model of a prompt."""

    @property
    def context(self) -> Context:
        """Where it was asked from."""


# (who asks, which of his prompts) of each prompt in the call; set by the queue before it calls the model. Labels are
# made only when somebody looks: most requests are never logged.
ASKED: ContextVar[Sequence[tuple[Asker, int]]] = ContextVar("helmframe_asked", default=())

# What this run has been warned of once and need not be again; none outside of a run.
SAID: ContextVar[set[str]] = ContextVar("helmframe_said")


@contextmanager
def on_behalf_of(place: tuple[Asker, int]) -> Iterator[None]:
    """What is logged meanwhile is about this prompt."""
    token = ASKED.set([place])
    try:
        yield
    finally:
        ASKED.reset(token)


class Asked(NamedTuple):
    """What one asker has in the call: his context, the labels of his first prompt, and how many prompts."""

    context: Context
    labels: dict[str, str]
    prompts: int


def asked_now() -> list[Asked]:
    """One entry per asker, in the order of the prompts; none outside a model function."""
    places = ASKED.get()
    counts: dict[int, int] = {}
    first: dict[int, tuple[Asker, int]] = {}
    for asker, index in places:
        key = id(asker)
        counts[key] = counts.get(key, 0) + 1
        first.setdefault(key, (asker, index))
    return [Asked(asker.context, asker.labels(index), counts[key]) for key, (asker, index) in first.items()]
