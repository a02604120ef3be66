"""The actor: a replica of a model, which completes spans of instances and returns counts."""

import multiprocessing
import os
import socket
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from typing import Any, NamedTuple

from helmframe import config
from helmframe._core.safe_text import traceback_text, type_name
from helmframe._schema import LOGS
from helmframe.engines.local import Execution
from helmframe.engines.logs import recording
from helmframe.engines.notes import EmptyCompletions, EmptyCounts
from helmframe.engines.progress import Progress
from helmframe.engines.ray.shipping import Parcel, unpack
from helmframe.errors import HelmframeError, PlanError, StoreError
from helmframe.models.budget import Budget
from helmframe.models.model import Model, Prompt, Response
from helmframe.scenarios.spans import Span
from helmframe.store import RunFolder, below, exists

# (kind "model" or "judge", scenario, name of the model or judge, event) → count
Counts = dict[tuple[str, str, str, str], int]


class Hello(NamedTuple):
    """The description of a replica that is ready."""

    host: str
    process: int
    version: str


class Done(NamedTuple):
    """The result of one span.

    Args:
        counts: The counts of its completions.
        cost: The cost of its completions, by the plan's prices.
        error: The error that ended the span.
        parts: The parts of tables that were written (`RunFolder.parts`).
        empty: The counts of its empty completions.
    """

    counts: Counts
    cost: float
    error: HelmframeError | None = None
    parts: Mapping[str, int] = {}
    empty: EmptyCounts | None = None


@dataclass(frozen=True)
class Order:
    """One span to complete.

    Args:
        writer: The id of this attempt, 8 hex digits, which are part of the names of its files.
        work: The index of plan and task in the parcel.
        span: The instances.
        shard: The shard's number in the run.
        max_requests: The maximum number of requests.
        refused: The error of each request that isn't cached, which is not sent; None: requests are sent.
    """

    writer: str
    work: int
    span: Span
    shard: int
    max_requests: int | None = None
    refused: str | None = None


class Replica:
    """A Ray actor of a model. Its methods run in threads: several orders and other calls at a time."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._parcel: Parcel | None = None
        self._attempts: dict[str, _Attempt] = {}
        self._stopped = False
        self._recorded = ExitStack()
        self._context = copy_context()

    def hello(self) -> "Hello | HelmframeError":
        """Unpack the data, and return the replica's description; our errors are returned, as Ray would wrap them."""
        try:
            self._parcel = parcel = unpack(self._data)
            self._data = b""
            _check(parcel)
        except HelmframeError as error:
            return error
        multiprocessing.current_process().name = f"{socket.gethostname()}-{os.getpid()}"  # shown in logs
        folder = RunFolder(parcel.run)
        self._recorded.enter_context(recording(folder.id, partial(folder.add, LOGS.name, "run")))
        self._context = copy_context()
        return Hello(socket.gethostname(), os.getpid(), version("helmframe"))

    def do(self, order: Order) -> Done:
        """Complete a span: read, perturb, generate, score and write it. Cached completions are reused."""
        assert self._parcel is not None  # hello() comes first
        attempt = self._attempts[order.writer] = _Attempt(order, self._parcel)
        if self._stopped:
            attempt.budget.stopped.set()
        error = None
        try:
            self._context.copy().run(attempt.go)
        except HelmframeError as raised:
            error = raised
        except KeyboardInterrupt:
            raise
        except BaseException as raised:  # noqa: BLE001 - raised by metrics or perturbations of the user
            trace = config.redacted(traceback_text(raised))
            name = attempt.parcel.model.name
            error = HelmframeError(f"{type_name(type(raised))} in {name!r} on {_host_name()}:\n{trace}")
        finally:
            del self._attempts[order.writer]
        return attempt.done(error)

    def news(self) -> dict[str, Done]:
        """Return the counts of running orders so far, by writer."""
        return {writer: attempt.done() for writer, attempt in tuple(self._attempts.items())}

    def stop(self) -> None:
        """Stop generating: completions are stored, and running orders end soon."""
        self._stopped = True
        for attempt in tuple(self._attempts.values()):
            attempt.budget.stopped.set()

    def close(self) -> None:
        """Write the remaining records of the log."""
        self._recorded.close()


class _Attempt:
    """One running order."""

    def __init__(self, order: Order, parcel: Parcel) -> None:
        self.parcel = parcel
        self.budget = Budget(order.max_requests, prices=parcel.prices, priority=parcel.priority, standing=False)
        self._order = order
        self._counted = _CountingProgress()
        self._folder = RunFolder(parcel.run, order.writer)
        self._empty = EmptyCompletions()

    def go(self) -> None:
        parcel, order = self.parcel, self._order
        plan, task = parcel.work[order.work]
        model = parcel.model if order.refused is None else _refusing(parcel.model, order.refused)
        execution = Execution(
            plans=(plan,),
            root=parcel.root,
            send=True,
            fresh=parcel.fresh and order.refused is None,
            budget=self.budget,
            until=None,
            folder=self._folder,
            progress=self._counted,
            shard=order.shard,
            empty=self._empty,
            resumed=parcel.resumed,
        )
        span_plan, model_task = replace(plan, span=order.span), replace(task, models=(model,))
        execution.run_task(span_plan, model_task, {model: parcel.fingerprint})

    def done(self, error: HelmframeError | None = None) -> Done:
        counted, folder = self._counted.totals(), self._folder
        return Done(counted, self.budget.cost, error, folder.parts, self._empty.counts())


class _CountingProgress(Progress):
    """A `Progress` that only counts."""

    def __init__(self) -> None:
        super().__init__(enabled=False)
        self._totals: Counter[tuple[str, str, str, str]] = Counter()

    def totals(self) -> Counts:
        with self._lock:
            return dict(self._totals)

    def reporter(self, scenario: str, model: str) -> Callable[[str, int], None]:
        return partial(self._count, "model", scenario, model)

    def judging(self, scenario: str, judge: str) -> Callable[[str, int], None]:
        return partial(self._count, "judge", scenario, judge)

    def _count(self, kind: str, scenario: str, name: str, event: str, count: int) -> None:
        with self._lock:
            self._totals[kind, scenario, name, event] += count


def _check(parcel: Parcel) -> None:
    """Check that this machine reads the same store and model files as the sender."""
    if not exists(below(parcel.run, "manifest.json")):
        raise StoreError(
            f"{_host_name()} can't read the store at {parcel.root}. Set HELMFRAME_STORE to a bucket, or to a folder "
            "that all machines share."
        )
    if parcel.model.durable and parcel.model.fingerprint() != parcel.fingerprint:
        raise PlanError(
            f"Model {parcel.model.name!r} has other files or options on {_host_name()} than where the run was started. "
            "Use a folder that all machines share, or a commit on the Hub."
        )


def _host_name() -> str:
    return socket.gethostname()


def _refusing(model: Model, reason: str) -> Model:
    """Return the model with this error in place of every completion."""

    def refuse(prompts: Sequence[Prompt], _: Mapping[str, Any]) -> list[Response]:
        return [HelmframeError(reason) for _ in prompts]

    scores = None if model.loglikelihood is None else refuse
    return replace(model, generate=refuse, generate_async=None, loglikelihood=scores)
