"""The actor: one replica of one model, which does spans of the instances and sends back what it counted."""

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
from helmframe.engines.empty import EmptyCompletions, EmptyCounts
from helmframe.engines.local import Execution
from helmframe.engines.logs import recording
from helmframe.engines.progress import Progress
from helmframe.engines.ray.shipping import Parcel, unpacked
from helmframe.errors import HelmframeError, PlanError, StoreError
from helmframe.models.budget import Budget
from helmframe.models.model import Model, Prompt, Response
from helmframe.scenarios.spans import Span
from helmframe.store import RunFolder, below, exists

# kind ("model" or "judge"), scenario, name of who is asked, what is counted → how many
Counts = dict[tuple[str, str, str, str], int]


class Hello(NamedTuple):
    """What a replica says of itself when it is up."""

    host: str
    process: int
    version: str


class Done(NamedTuple):
    """What came of one span.

    Args:
        counts: Its completions.
        cost: Its cost, by the plan's prices.
        error: What ended it before its end.
        parts: The parts of tables that it wrote (`RunFolder.parts`).
        empty: Its empty completions.
    """

    counts: Counts
    cost: float
    error: HelmframeError | None = None
    parts: Mapping[str, int] = {}
    empty: EmptyCounts | None = None


@dataclass(frozen=True)
class Order:
    """One span to do.

    Args:
        writer: 8 hex digits of this attempt; stands in the names of what it writes.
        work: which plan and task of the parcel.
        span: which instances.
        shard: its number in the run.
        most: requests that may be asked.
        refused: in place of asking, why nothing is asked: the error of each request that the store does not have.
    """

    writer: str
    work: int
    span: Span
    shard: int
    most: int | None = None
    refused: str | None = None


class Replica:
    """Made a Ray actor by `lanes`. Its methods run in threads: some orders at a time, and calls beside them."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._parcel: Parcel | None = None
        self._attempts: dict[str, _Attempt] = {}
        self._stopped = False
        self._recorded = ExitStack()
        self._context = copy_context()

    def hello(self) -> "Hello | HelmframeError":
        """Unpack what was sent, and say who this is; an error of helmframe's is given back, for Ray would wrap it."""
        try:
            self._parcel = parcel = unpacked(self._data)
            self._data = b""
            _check(parcel)
        except HelmframeError as error:
            return error
        multiprocessing.current_process().name = f"{socket.gethostname()}-{os.getpid()}"  # as logs say it
        folder = RunFolder(parcel.run)
        self._recorded.enter_context(recording(folder.id, partial(folder.add, LOGS.name, "run")))
        self._context = copy_context()
        return Hello(socket.gethostname(), os.getpid(), version("helmframe"))

    def do(self, order: Order) -> Done:
        """Do a span: read it, change it, ask, score, write. What the store has is not asked."""
        assert self._parcel is not None  # hello() comes first
        attempt = self._attempts[order.writer] = _Attempt(order, self._parcel)
        if self._stopped:
            attempt.budget.stopped.set()
        error = None
        try:
            self._context.copy().run(attempt.go)
        except HelmframeError as found:
            error = found
        except KeyboardInterrupt:
            raise
        except BaseException as found:  # noqa: BLE001 - what a metric or a perturbation of the user's raised
            said = config.redacted(traceback_text(found))
            error = HelmframeError(f"{type_name(type(found))} in {attempt.parcel.model.name!r} on {_here()}:\n{said}")
        finally:
            del self._attempts[order.writer]
        return attempt.done(error)

    def news(self) -> dict[str, Done]:
        """What is counted by now, by the writers of the orders under way."""
        return {writer: attempt.done() for writer, attempt in tuple(self._attempts.items())}

    def stop(self) -> None:
        """Ask no more; what is answered is kept, and the orders under way end soon."""
        self._stopped = True
        for attempt in tuple(self._attempts.values()):
            attempt.budget.stopped.set()

    def close(self) -> None:
        """Write the rest of the log."""
        self._recorded.close()


class _Attempt:
    """One order being done."""

    def __init__(self, order: Order, parcel: Parcel) -> None:
        self.parcel = parcel
        self.budget = Budget(order.most, prices=parcel.prices, priority=parcel.priority)
        self._order = order
        self._counted = _Counted()
        self._folder = RunFolder(parcel.run, order.writer)
        self._empty = EmptyCompletions()

    def go(self) -> None:
        parcel, order = self.parcel, self._order
        plan, task = parcel.work[order.work]
        model = parcel.model if order.refused is None else _refusing(parcel.model, order.refused)
        execution = Execution(
            plans=(plan,),
            root=parcel.root,
            ask=True,
            fresh=parcel.fresh and order.refused is None,
            budget=self.budget,
            until=None,
            folder=self._folder,
            progress=self._counted,
            shard=order.shard,
            empty=self._empty,
            resumed=parcel.resumed,
        )
        cut, alone = replace(plan, span=order.span), replace(task, models=(model,))
        execution.one(cut, alone, {model: parcel.fingerprint})

    def done(self, error: HelmframeError | None = None) -> Done:
        counted, folder = self._counted.found(), self._folder
        return Done(counted, self.budget.cost, error, folder.parts, self._empty.counts())


class _Counted(Progress):
    """Counts, and shows nothing."""

    def __init__(self) -> None:
        super().__init__(enabled=False)
        self._found: Counter[tuple[str, str, str, str]] = Counter()

    def found(self) -> Counts:
        with self._lock:
            return dict(self._found)

    def reporter(self, scenario: str, model: str) -> Callable[[str, int], None]:
        return partial(self._count, "model", scenario, model)

    def judging(self, scenario: str, judge: str) -> Callable[[str, int], None]:
        return partial(self._count, "judge", scenario, judge)

    def _count(self, kind: str, scenario: str, name: str, what: str, count: int) -> None:
        with self._lock:
            self._found[kind, scenario, name, what] += count


def _check(parcel: Parcel) -> None:
    """That this machine has what the one that sent the parcel has: the store, and the model's files."""
    if not exists(below(parcel.run, "manifest.json")):
        raise StoreError(
            f"{_here()} does not see the store at {parcel.root}: name a bucket, or a folder that all machines share "
            "(HELMFRAME_STORE)."
        )
    if parcel.model.durable and parcel.model.fingerprint() != parcel.fingerprint:
        raise PlanError(
            f"model {parcel.model.name!r} has other files or options on {_here()} than where the run was started; "
            "name a folder that all machines share, or a commit on the hub."
        )


def _here() -> str:
    return socket.gethostname()


def _refusing(model: Model, why: str) -> Model:
    """The model with an error in place of every answer."""

    def refuse(prompts: Sequence[Prompt], _: Mapping[str, Any]) -> list[Response]:
        return [HelmframeError(why) for _ in prompts]

    scores = None if model.loglikelihood is None else refuse
    return replace(model, generate=refuse, generate_async=None, loglikelihood=scores)
