"""One queue per model: all plans that run in a process ask through it, fill the same batches and take turns."""

import contextvars
import json
import logging
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from helmframe.errors import AnswerError, CapabilityError, NotAModelError, SourceError
from helmframe.models.protocol import Answer, Given, Model, Prompt, as_answer

MAX_ERROR = 500
# A worker takes as many prompts at a time as it answers within these seconds: few enough to show progress and lose
# little when killed, enough that locks don't count.
SLICE_SECONDS = (0.005, 0.02)
MAX_SLICE = 512

logger = logging.getLogger("helmframe.models")

Labels = Callable[[int], dict[str, str]]


class Outcome(NamedTuple):
    """What became of one prompt: an answer or an error; `index` is its place in the prompts asked.

    `latency` (s) is that of the call that held the prompt; `attempts` counts the calls.
    """

    index: int  # type: ignore[assignment]  # shadows a method of tuple that nobody needs here
    answer: Answer | None
    error: str | None
    latency: float
    attempts: int


class ModelQueue:
    """The queue of one model; get it from `queue_of`.

    Threads start when prompts come and end when there are none. A worker takes a batch from the callers that wait with
    the same decoding parameters, the same share from each, and goes on with the next of them.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self._lock = threading.Lock()
        self._open: deque[_Caller] = deque()  # those with prompts that nobody has taken
        self._workers: list[threading.Thread] = []
        self._calls = 1  # batches a worker takes at a time

    def ask(self, prompts: Sequence[Prompt], decoding: Mapping[str, Any], *, labels: Labels) -> Iterator[list[Outcome]]:
        """Every prompt's outcome, in lists as batches complete, in any order.

        A model function that raises gives the rows it was asked an error, and never ends the run; a list function is
        asked again row by row, to find which. Closing the iterator, or Ctrl-C, takes back what was not asked yet.

        Args:
            prompts: read in slices, never copied as a whole.
            decoding: parameters of this request; only callers with the same ones share batches.
            labels: index → scenario, instance_id and model of a prompt, for the log.

        Raises:
            NotAModelError, SourceError, CapabilityError: the model can't be loaded or can't answer such prompts at all.
        """
        caller = _Caller(prompts, decoding, labels, len(prompts))
        if not caller.total:
            return
        self._enter(caller)
        left = caller.total
        try:
            while left:
                outcomes = caller.outbox.get()
                if isinstance(outcomes, BaseException):
                    raise outcomes
                left -= len(outcomes)
                yield outcomes
        except KeyboardInterrupt:
            self._leave(caller)
            yield from caller.rest()
            raise
        finally:
            self._leave(caller)
            if not left:
                self._join()

    def _enter(self, caller: "_Caller") -> None:
        with self._lock:
            self._open.append(caller)
            waiting = sum(each.total - each.taken for each in self._open)
            wanted = min(self.model.workers, -(-waiting // self.model.batch))
            for _ in range(wanted - len(self._workers)):
                worker = threading.Thread(target=self._work, name=f"helmframe-{self.model.name}", daemon=True)
                self._workers.append(worker)
                worker.start()

    def _leave(self, caller: "_Caller") -> None:
        caller.gone = True
        with self._lock:
            if caller in self._open:
                self._open.remove(caller)

    def _join(self) -> None:
        """Wait for workers that have nothing left to do; one still held up by a caller gone is left alone."""
        with self._lock:
            workers = [] if self._open else list(self._workers)
        for worker in workers:
            if worker is not threading.current_thread():
                worker.join(timeout=1.0)

    def _work(self) -> None:
        while True:
            with self._lock:
                shares = self._take()
                if not shares:
                    self._workers.remove(threading.current_thread())
                    return
            started = time.perf_counter()
            try:
                # the callers' context variables hold in the model function; a context can be entered by one thread only
                shares[0].caller.context.copy().run(self._answer, shares)
            except BaseException as error:  # noqa: BLE001 - handed to the callers, which raise it
                for share in shares:
                    share.caller.outbox.put(error)
                    self._leave(share.caller)
            self._adapt(time.perf_counter() - started)

    def _take(self) -> "list[_Share]":
        """The next prompts to ask, from all callers with the decoding parameters of the one whose turn it is."""
        if not self._open:
            return []
        first = self._open[0]
        same = [each for each in self._open if each.key == first.key]
        room = self.model.batch * self._calls
        if self.model.workers > 1:  # leave something for the others
            waiting = sum(each.total - each.taken for each in same)
            room = min(room, max(self.model.batch, waiting // (2 * self.model.workers)))
        shares = []
        while room and same:
            portion = -(-room // len(same))
            for caller in same:
                count = min(portion, room, caller.total - caller.taken)
                if count:
                    shares.append(_Share(caller, caller.taken, caller.taken + count))
                    caller.taken += count
                    room -= count
            same = [each for each in same if each.taken < each.total]
        self._open.rotate(-1)
        for share in shares:
            if share.caller.taken == share.caller.total and share.caller in self._open:
                self._open.remove(share.caller)
        return shares

    def _adapt(self, seconds: float) -> None:
        low, high = SLICE_SECONDS
        if seconds < low and self._calls * self.model.batch < MAX_SLICE:
            self._calls *= 2
        elif seconds > high and self._calls > 1:
            self._calls = max(1, self._calls // 4)

    def _answer(self, shares: "list[_Share]") -> None:
        places = [(share.caller, index) for share in shares for index in range(share.start, share.stop)]
        prompts = [prompt for share in shares for prompt in share.caller.prompts[share.start : share.stop]]
        outcomes: dict[int, list[Outcome]] = {id(share.caller): [] for share in shares}
        last = time.perf_counter()
        for start in range(0, len(places), self.model.batch):
            batch = slice(start, start + self.model.batch)
            if all(caller.gone for caller, _ in places[batch]):
                continue
            self._ask(places[batch], prompts[batch], outcomes)
            if time.perf_counter() - last > SLICE_SECONDS[1]:
                _deliver(shares, outcomes)
                last = time.perf_counter()
        _deliver(shares, outcomes)

    def _ask(
        self,
        places: "Sequence[_Place]",
        prompts: Sequence[Prompt],
        outcomes: dict[int, list[Outcome]],
        attempts: int = 1,
    ) -> None:
        """One call of the model; the rows' outcomes are added to those of their callers."""
        caller, index = places[0]
        _current.set((caller.labels, index))
        started = time.perf_counter()
        given: Sequence[Given]
        try:
            given = self.model.ask(prompts, caller.decoding)
            if len(given) != len(places):
                raise AnswerError(f"model {self.model.name!r} gave {len(given)} answers to {len(places)} prompts.")
        except (NotAModelError, SourceError, CapabilityError):
            raise
        except Exception as error:  # noqa: BLE001 - the model is the user's code: its errors are rows
            if len(places) > 1 and not isinstance(error, AnswerError):
                for place, prompt in zip(places, prompts, strict=True):
                    self._ask([place], [prompt], outcomes, attempts + 1)
                return
            given = [error] * len(places)
        latency = time.perf_counter() - started
        for (caller, index), each in zip(places, given, strict=True):
            outcomes[id(caller)].append(Outcome(index, *self._read(each, caller, index), latency, attempts))

    def _read(self, given: Given, caller: "_Caller", index: int) -> tuple[Answer | None, str | None]:
        try:
            return as_answer(given, self.model.name), None
        except Exception as error:  # noqa: BLE001 - what the model raised, or what is wrong with its answer
            return None, self._logged(error, caller, index)

    def _logged(self, error: Exception, caller: "_Caller", index: int) -> str:
        """The error as one line; the log has the traceback of the first of its kind that a caller meets."""
        text = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")[:MAX_ERROR]
        labels = caller.labels(index)
        origin = traceback.extract_tb(error.__traceback__)[-1:]
        kind = f"{type(error).__name__} {[(each.filename, each.lineno) for each in origin]}"
        details = None if kind in caller.logged else error
        caller.logged.add(kind)
        shown = " ".join(f"{key}={value}" for key, value in labels.items())
        logger.warning("%s [%s]", text, shown, exc_info=details, extra=labels)
        return text


def queue_of(model: Model, fingerprint: str) -> ModelQueue:
    """The one queue of what answers under this fingerprint, shared by all that ask at the same time."""
    with _queues_lock:
        queue = _queues.get(fingerprint)
        if queue is None:
            queue = _queues[fingerprint] = ModelQueue(model)
        return queue


def current_labels() -> dict[str, str]:
    """Scenario, instance_id and model of the request being answered, for log records made inside a model function."""
    found = _current.get()
    return {} if found is None else found[0](found[1])


_queues: WeakValueDictionary[str, ModelQueue] = WeakValueDictionary()
_queues_lock = threading.Lock()
# labels are made only when somebody looks: most requests are never logged
_current: contextvars.ContextVar[tuple[Labels, int] | None] = contextvars.ContextVar("helmframe_request", default=None)


@dataclass(eq=False)
class _Caller:
    """One `ask` in progress; `taken` counts the prompts that workers have, `gone` says that nobody waits any more."""

    prompts: Sequence[Prompt]
    decoding: Mapping[str, Any]
    labels: Labels
    total: int
    taken: int = 0
    gone: bool = False
    key: str = ""
    outbox: "SimpleQueue[list[Outcome] | BaseException]" = field(default_factory=SimpleQueue)
    logged: set[str] = field(default_factory=set)
    context: contextvars.Context = field(default_factory=contextvars.copy_context)

    def __post_init__(self) -> None:
        self.key = json.dumps(dict(self.decoding), sort_keys=True, default=repr)

    def rest(self) -> Iterator[list[Outcome]]:
        """What is answered but not fetched yet."""
        while True:
            try:
                outcomes = self.outbox.get_nowait()
            except Empty:
                return
            if not isinstance(outcomes, BaseException):
                yield outcomes


def _deliver(shares: "Sequence[_Share]", outcomes: dict[int, list[Outcome]]) -> None:
    for share in shares:
        if outcomes[id(share.caller)]:
            share.caller.outbox.put(outcomes[id(share.caller)])
            outcomes[id(share.caller)] = []


class _Share(NamedTuple):
    """A range of one caller's prompts."""

    caller: _Caller
    start: int
    stop: int


_Place = tuple[_Caller, int]
