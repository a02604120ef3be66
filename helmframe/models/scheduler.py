"""The queue of a model, which all plans of a process share: they fill the same batches and take turns."""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from helmframe.errors import CapabilityError, NotAModelError, SourceError
from helmframe.models import event_loop
from helmframe.models.batches import BatchRunner, Call, Reply, Steps, fail
from helmframe.models.callers import Caller, Labels, Outcome, PromptRef, Share, current_labels, deliver
from helmframe.models.interrupts import TimeoutThread
from helmframe.models.model import SCORES, GenerateFunction, Model, Prompt, Response
from helmframe.models.pace import Busy, Pace, Ticket

if TYPE_CHECKING:
    import asyncio

__all__ = ["Labels", "ModelQueue", "Outcome", "busy_of", "current_labels", "queue_of"]

# The seconds in which a worker completes the prompts that it takes at a time: short enough to show progress and to lose
# little when killed, and long enough that locks cost little.
SLICE_SECONDS = (0.005, 0.02)
MAX_SLICE = 512
# The maximum of prompts of one caller that workers take before it fetches their outcomes.
BACKLOG = 4 * MAX_SLICE
FIRST_BLOCK = 64


@dataclass(eq=False)
class Flight:
    """The prompts that a task on the event loop runs.

    Attributes:
        shares: The prompts.
        loop: The event loop.
        missing: The prompts without a delivered outcome.
        outcomes: The outcomes that are not delivered yet, by the id of the caller.
        lost: Whether the loop was replaced, so that outcomes which still come are ignored.
    """

    shares: list[Share]
    loop: "asyncio.AbstractEventLoop"
    missing: dict[tuple[int, int], PromptRef] = field(default_factory=dict)
    outcomes: dict[int, list[Outcome]] = field(default_factory=dict)
    lost: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        for share in self.shares:
            self.outcomes[id(share.caller)] = []
            self.missing |= {
                (id(share.caller), index): (share.caller, index) for index in range(share.start, share.stop)
            }

    def deliver(self) -> None:
        """Deliver the outcomes, unless the loop was replaced."""
        with self.lock:
            if not self.lost:
                self._deliver(self.outcomes)

    def lose(self) -> list[PromptRef]:
        """Deliver the outcomes, ignore all later ones, and return the prompts without an outcome."""
        with self.lock:
            self.lost = True
            # copies, because the call may end now, and add its outcome
            self._deliver({caller: list(outcomes) for caller, outcomes in self.outcomes.items()})
            return list(self.missing.values())

    def _deliver(self, outcomes: dict[int, list[Outcome]]) -> None:
        for caller, delivered in outcomes.items():
            for outcome in delivered:
                self.missing.pop((caller, outcome.index), None)
        deliver(self.shares, outcomes)


class ModelQueue:
    """The queue of one model; `queue_of` returns it.

    A worker takes a batch from the callers with the same decoding parameters, with an equal share from each caller, and
    then the next batch. A worker of a sync function is a thread, which starts when prompts come and ends when there are
    none. A worker of an async function is a task on the event loop. The pace limits the number of workers.

    A call that blocks the event loop for longer than the model's timeout fails. The loop is replaced, and its other
    calls run again on the new one.
    """

    def __init__(self, model: Model, pace: Pace | None = None, busy: Busy | None = None) -> None:
        self.model = model
        self.pace = pace or _pace(model)
        self.busy = busy or Busy()
        self._lock = threading.Lock()
        self._open: deque[Caller] = deque()  # callers with prompts that are not taken yet
        self._workers: list[threading.Thread] = []
        self._tasks: dict[asyncio.Task[None], Flight] = {}
        self._lost: deque[Share] = deque()  # prompts of replaced event loops, which run again
        self._calls = 1  # the number of batches that a worker takes at a time
        self.block = max(FIRST_BLOCK, model.batch)  # the number of requests that a run sends at a time

    def run(
        self,
        prompts: Sequence[Prompt],
        decoding: Mapping[str, Any],
        *,
        labels: Labels,
        priority: int = 0,
        stop: threading.Event | None = None,
        left: list[Outcome] | None = None,
        idle: float | None = None,
    ) -> Generator[list[Outcome], None, None]:
        """Yield the outcome of every prompt, in lists as batches complete, in any order.

        An error of the model function becomes the error of its rows, and does not end the run. Transient errors (a lost
        connection, a timeout, or a status such as 429 or 503) are retried first. A batch that fails with another error
        is halved to isolate bad rows. If the model is down, every row soon gets the same error. Prompts that were not
        sent are withdrawn if the iterator is closed, and after Ctrl-C.

        A caller that does not fetch its outcomes is paused after a while, so that outcomes don't accumulate. Other
        callers continue.

        Args:
            prompts: The prompts, which are read in slices.
            decoding: The decoding parameters; only callers with equal parameters share batches.
            labels: A function from a prompt's index to its scenario, instance_id and model, for the log.
            priority: The priority. A caller gets a turn only if no caller of higher priority waits; it may fill up
                their last batch. Callers of equal priority take turns. Priorities don't change with time, so a caller
                waits for the end of a long run of higher priority.
            stop: An event that stops the iteration. Prompts that were not sent are withdrawn, and nothing is retried.
                The available outcomes, and those of calls that end within 5 s, are still yielded.
            left: A list that receives the outcomes that are not fetched if the iteration ends early.
            idle: The seconds after which an empty list is yielded if there are no outcomes. By default none is.

        Raises:
            NotAModelError, SourceError, CapabilityError: The model doesn't load, or doesn't support the prompts.
            RuntimeError: An async model called this function on its own event loop.
        """
        if event_loop.inside():
            raise RuntimeError(
                "An async model can't wait for completions inside its own call. Run the prompts in a thread."
            )
        caller = Caller(prompts, decoding, labels, len(prompts), priority)
        if not caller.total or (stop is not None and stop.is_set()):
            return
        self.pace.try_again()
        self._enter(caller)
        try:
            while caller.fetched < caller.total:
                unblock = None if self.model.generate_async is None else self._unblock
                outcomes = caller.next(stop, idle, unblock)
                if outcomes is None:
                    self._leave(caller)
                    yield from caller.last()
                    return
                self._fetched(caller, len(outcomes))
                yield outcomes
        except KeyboardInterrupt:
            self._leave(caller)
            yield from caller.unfetched()
            raise
        finally:
            self._leave(caller)
            if left is not None:
                left += [outcome for batch in caller.unfetched() for outcome in batch]
            if caller.fetched == caller.total:
                self._join()

    @property
    def idle(self) -> bool:
        """Return whether no caller waits, and no call is in flight."""
        with self._lock:
            return not (self._open or self._workers or self._tasks or self._lost)

    def _enter(self, caller: Caller) -> None:
        with self._lock:
            self._open.append(caller)
            self._staff()

    def _fetched(self, caller: Caller, count: int) -> None:
        with self._lock:
            caller.fetched += count
            if caller.stalled and caller.backlog <= self._bound() // 2:
                caller.stalled = False
                self._staff()

    def _leave(self, caller: Caller) -> None:
        caller.cancelled = True
        with self._lock:
            if caller in self._open:
                self._open.remove(caller)

    def _join(self) -> None:
        """Wait for workers without prompts; don't wait for a worker that runs prompts of a cancelled caller."""
        with self._lock:
            workers = [] if self._open else list(self._workers)
        for worker in workers:
            if worker is not threading.current_thread():
                worker.join(timeout=1.0)

    def _staff(self) -> None:
        """Start the workers that the pace allows and the waiting prompts need; called with the lock held."""
        waiting = sum(caller.total - caller.taken for caller in self._open if not caller.stalled)
        if not waiting:
            return
        if self.model.generate_async is not None:
            event_loop.loop().call_soon_threadsafe(self._start_tasks)
            return
        wanted = min(self.pace.limit, -(-waiting // self.model.batch))
        for _ in range(wanted - len(self._workers)):
            worker = threading.Thread(target=self._work, name=f"helmframe-{self.model.name}", daemon=True)
            self._workers.append(worker)
            worker.start()

    def _work(self) -> None:
        """Run slices of prompts in a thread, for sync functions."""
        timeout_thread = None if self.model.timeout is None else TimeoutThread(threading.current_thread().name)
        while True:
            with self._lock:
                shares = [] if len(self._workers) > self.pace.limit else self._take()
                if not shares:
                    self._workers.remove(threading.current_thread())
                    break
            started = time.perf_counter()
            try:
                # in a copy of a caller's context, because only one thread can enter a context
                context = shares[0].caller.context.copy()
                context.run(self._take_steps, self._steps(shares), shares[0].caller.decoding, timeout_thread)
            except BaseException as error:  # noqa: BLE001 - passed to the callers, which raise it
                self._abort(shares, error)
            self._release(shares, time.perf_counter() - started)
        if timeout_thread is not None:
            timeout_thread.end()

    def _take_steps(self, steps: Steps, decoding: Mapping[str, Any], timeout_thread: TimeoutThread | None) -> None:
        """Take the steps in this thread."""
        with closing(steps), suppress(StopIteration):
            step = next(steps)
            while True:
                if isinstance(step, Call):
                    step = steps.send(self._call(step, decoding, timeout_thread))
                else:
                    time.sleep(step)
                    step = next(steps)

    def _call(self, call: Call, decoding: Mapping[str, Any], timeout_thread: TimeoutThread | None) -> Reply:
        started = time.perf_counter()
        responses: Sequence[Response] = ()
        error: BaseException | None = None
        try:
            with self.busy.generating:
                if timeout_thread is None or self.model.timeout is None:
                    responses = self.model.function_for(decoding)(call.prompts, decoding)
                else:
                    responses = timeout_thread.call(
                        partial(self.model.function_for(decoding), call.prompts, decoding), self.model.timeout
                    )
        except (NotAModelError, SourceError, CapabilityError, KeyboardInterrupt):
            raise
        except BaseException as raised:  # noqa: BLE001 - errors of the model function are rows
            error = raised
        return Reply(responses, error, time.perf_counter() - started)

    def _start_tasks(self) -> None:
        """Start the workers of an async function; called on the event loop."""
        import asyncio

        loop = event_loop.loop()
        while loop is asyncio.get_running_loop():  # not if it was replaced meanwhile
            with self._lock:
                shares: list[Share] = []
                if len(self._tasks) < self.pace.limit:
                    shares = [self._lost.popleft()] if self._lost else self._take()
                if not shares:
                    return
                context, flight = shares[0].caller.context.copy(), Flight(shares, loop)
                task = loop.create_task(self._work_async(flight), context=context)
                self._tasks[task] = flight
            task.add_done_callback(self._task_ended)

    def _task_ended(self, task: "asyncio.Task[None]") -> None:
        with self._lock:
            flight = self._tasks.pop(task, None)
        if flight is not None:
            self._start_tasks()

    async def _work_async(self, flight: Flight) -> None:
        """Run one slice of prompts, as a task on the event loop."""
        started = time.perf_counter()
        try:
            await self._take_steps_async(self._steps(flight.shares, flight), flight.shares[0].caller.decoding)
        except BaseException as error:  # noqa: BLE001 - passed to the callers, which raise it
            if not flight.lost:
                self._abort(flight.shares, error)
        if not flight.lost:
            self._release(flight.shares, time.perf_counter() - started)

    def _unblock(self) -> None:
        """Replace the event loop if a call of this model blocks it, and run again the prompts of replaced loops."""
        stalled = event_loop.blocked()
        if stalled is None:
            return
        flight = self._tasks.get(stalled.task) if stalled.task is not None else None
        if flight is not None and not stalled.requests:  # the task reads the responses of a call
            stalled = stalled._replace(requests=list(flight.missing.values()))
        if self.model.timeout is not None and stalled.seconds > self.model.timeout and self._may_replace(stalled):
            event_loop.replace(stalled)
        current = event_loop.loop()
        with self._lock:
            flights = [flight for flight in self._tasks.values() if flight.loop is not current]
            self._tasks = {task: flight for task, flight in self._tasks.items() if flight.loop is current}
        for flight in flights:
            self._run_again(flight)

    def _may_replace(self, stalled: event_loop.Blocked) -> bool:
        """Return whether the call that blocks the loop belongs to this queue, or to no caller that still waits."""
        with self._lock:
            callers = {share.caller for flight in self._tasks.values() for share in flight.shares}
        return all(caller in callers or caller.cancelled for caller, _ in stalled.requests)

    def _run_again(self, flight: Flight) -> None:
        """Run the prompts of a replaced event loop again, except the one that blocked it."""
        requests = event_loop.blocking_requests(flight.loop)
        blocking = {(id(caller), index) for caller, index in requests}
        timeout = self.model.timeout
        seconds = "" if timeout is None else f" for more than {timeout:g} s"
        error = TimeoutError(f"the call blocked the event loop{seconds}")
        shares = []
        for caller, index in flight.lose():
            assert isinstance(caller, Caller)
            if not blocking or blocking == {(id(caller), index)}:
                self.pace.failed(Ticket(-1, probe=False), error)
                caller.outbox.put([fail(error, caller, index, timeout)])
            else:
                # a batch that blocked the loop runs row by row, so that only the bad row fails
                shares.append(Share(caller, index, index + 1))
        self.pace.dropped(Ticket(-1, probe=True))
        with self._lock:
            for share in flight.shares:
                share.caller.held -= 1
            for share in shares:
                share.caller.held += 1
            self._lost += shares
        event_loop.loop().call_soon_threadsafe(self._start_tasks)

    async def _take_steps_async(self, steps: Steps, decoding: Mapping[str, Any]) -> None:
        import asyncio

        with closing(steps), suppress(StopIteration):
            step = next(steps)
            while True:
                if isinstance(step, Call):
                    step = steps.send(await self._call_async(step, decoding))
                else:
                    await asyncio.sleep(step)
                    step = next(steps)

    async def _call_async(self, call: Call, decoding: Mapping[str, Any]) -> Reply:
        import asyncio

        assert self.model.generate_async is not None
        started = time.perf_counter()
        responses: Sequence[Response] = ()
        error: BaseException | None = None
        try:
            if SCORES in decoding:
                pending = event_loop.in_thread(_scored, self.model.function_for(decoding), call.prompts, decoding)
            else:
                pending = self.model.generate_async(call.prompts, decoding)
            with self.busy.generating:
                responses = await event_loop.within(pending, self.model.timeout)
        except (NotAModelError, SourceError, CapabilityError, KeyboardInterrupt):
            raise
        except (asyncio.CancelledError, GeneratorExit):  # the task itself is cancelled; see `event_loop.within`
            raise
        except BaseException as raised:  # noqa: BLE001 - errors of the model function are rows
            error = raised
        return Reply(responses, error, time.perf_counter() - started)

    def _take(self) -> list[Share]:
        """Return the next prompts to run, of all callers with the decoding parameters of the next caller.

        Callers of the highest priority fill the slice with equal shares. Other callers only fill up the last batch.
        Called with the lock held.
        """
        ready = [caller for caller in self._open if not self._stalls(caller)]
        if not ready:
            return []
        first = max(
            ready, key=lambda caller: caller.priority
        )  # the first of the highest priority, because callers take turns
        compatible = [caller for caller in ready if caller.key == first.key]
        room = self.model.batch * self._calls
        if self.pace.limit > 1:  # leaves prompts for other workers
            waiting = sum(caller.total - caller.taken for caller in compatible)
            room = min(room, max(self.model.batch, waiting // (2 * self.pace.limit)))
        shares: list[Share] = []
        for priority in sorted({caller.priority for caller in compatible}, reverse=True):
            if priority < first.priority:
                room = min(room, -sum(share.stop - share.start for share in shares) % self.model.batch)
            room = self._share_out([caller for caller in compatible if caller.priority == priority], room, shares)
        self._open.remove(first)
        self._open.append(first)
        for share in shares:
            share.caller.held += 1
            if share.caller.taken == share.caller.total and share.caller in self._open:
                self._open.remove(share.caller)
        return shares

    def _share_out(self, callers: list[Caller], room: int, shares: list[Share]) -> int:
        """Fill the room with equal numbers of prompts of the callers, and return the remaining room."""
        while room and callers:
            portion = -(-room // len(callers))
            for caller in callers:
                count = min(portion, room, caller.total - caller.taken)
                if count:
                    shares.append(Share(caller, caller.taken, caller.taken + count))
                    caller.taken += count
                    room -= count
            callers = [caller for caller in callers if caller.taken < caller.total]
        return room

    def _stalls(self, caller: Caller) -> bool:
        caller.stalled = caller.stalled or caller.backlog >= self._bound()
        return caller.stalled

    def _bound(self) -> int:
        return max(BACKLOG, 2 * self.model.batch * self.pace.max_calls)

    def _steps(self, shares: list[Share], flight: Flight | None = None) -> Steps:
        """Yield the steps that run these prompts, and deliver their outcomes."""
        refs: list[PromptRef] = [(share.caller, index) for share in shares for index in range(share.start, share.stop)]
        prompts = [prompt for share in shares for prompt in share.caller.prompts[share.start : share.stop]]
        outcomes: dict[int, list[Outcome]] = {id(share.caller): [] for share in shares}
        hand_over: Callable[[], None] = partial(deliver, shares, outcomes)
        if flight is not None:
            outcomes, hand_over = flight.outcomes, flight.deliver
        runner = BatchRunner(self.model.name, self.pace, outcomes)
        last = time.perf_counter()
        for start in range(0, len(refs), self.model.batch):
            batch = slice(start, start + self.model.batch)
            if refs[start][0].cancelled and all(caller.cancelled for caller, _ in refs[batch]):
                continue
            if flight is not None and flight.lost:
                return
            yield from runner.run(refs[batch], prompts[batch])
            if time.perf_counter() - last > SLICE_SECONDS[1]:
                hand_over()
                last = time.perf_counter()
        hand_over()

    def _abort(self, shares: Sequence[Share], error: BaseException) -> None:
        for share in shares:
            share.caller.outbox.put(error)
            self._leave(share.caller)

    def _release(self, shares: Sequence[Share], seconds: float) -> None:
        low, high = SLICE_SECONDS
        if seconds < low and self._calls * self.model.batch < MAX_SLICE:
            self._calls *= 2
        elif seconds > high and self._calls > 1:
            self._calls = max(1, self._calls // 4)
        with self._lock:
            for share in shares:
                share.caller.held -= 1
            if self.pace.adaptive and self.model.generate_async is None:
                self._staff()


def _scored(function: GenerateFunction, prompts: Sequence[Prompt], decoding: Mapping[str, Any]) -> Sequence[Response]:
    """Call a function in a thread for which a task waits."""
    try:
        return function(prompts, decoding)
    except StopIteration as error:
        # asyncio can't set StopIteration on a future, so the task would wait forever
        raise RuntimeError("the function raised StopIteration") from error


def queue_of(model: Model, fingerprint: str) -> ModelQueue:
    """Return the queue of a model, which all concurrent callers with this fingerprint and key share.

    The queue is freed with its last caller. The next queue of the model reuses its pace.
    """
    with _queues_lock:
        account = (fingerprint, model.key_env)
        queue = _queues.get(account)
        # a stored traceback may keep a queue alive, which must not be used for a new model object
        if queue is None or (queue.idle and _settings_of(queue.model) != _settings_of(model)):
            key = (fingerprint, model.workers, model.adaptive)
            pace = _paces.setdefault(key, _pace(model))
            busy = busy_of(fingerprint)
            busy.refused = model.refused
            queue = _queues[account] = ModelQueue(model, pace, busy)
        return queue


def busy_of(fingerprint: str) -> Busy:
    """Return the counter of busy seconds of a fingerprint in this process."""
    return _busy.setdefault(fingerprint, Busy())


def _settings_of(model: Model) -> tuple[object, ...]:
    return model, model.batch, model.workers, model.adaptive, model.timeout


def _pace(model: Model) -> Pace:
    return Pace(model.name, model.workers, adaptive=model.adaptive)


_queues: WeakValueDictionary[tuple[str, str | None], ModelQueue] = WeakValueDictionary()
_paces: dict[tuple[str, int, bool], Pace] = {}
_busy: dict[str, Busy] = {}
_queues_lock = threading.Lock()


def _after_fork() -> None:
    """Reset the queues in a forked child, where their threads are missing and their locks may be held."""
    global _queues, _queues_lock
    _queues = WeakValueDictionary()
    _paces.clear()
    _busy.clear()
    _queues_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
