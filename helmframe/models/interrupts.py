"""Work that Ctrl-C does not interrupt, waiting for threads despite Ctrl-C, and calls with a time limit.

`Thread.join` is not used: a Ctrl-C in it makes the thread look as if it had ended (Python 3.11, bpo-45274).
"""

import contextvars
import math
import threading
import time
from collections.abc import Callable, Sequence
from contextvars import copy_context
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

T = TypeVar("T")

# How long a Ctrl-C waits for the work to end, in seconds.
PATIENCE = 10.0


class BackgroundTask(Generic[T]):
    """Work in its own thread, which the interpreter waits for at exit."""

    def __init__(self, action: Callable[[], T]) -> None:
        self.ended = threading.Event()
        self._action = action
        self._results: list[T] = []
        self._errors: list[BaseException] = []
        # not a daemon, even if this thread is one
        context = copy_context()
        threading.Thread(target=context.run, args=(self._run,), daemon=False, name="helmframe-unbroken").start()

    def result(self) -> T:
        """Return the result of the work, once it has ended.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed meanwhile; the work continues.
            BaseException: The error that the work raised.
        """
        wait_for([self.ended])
        if self._errors:
            raise self._errors[0]
        return self._results[0]

    def _run(self) -> None:
        try:
            self._results.append(self._action())
        except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
            self._errors.append(error)
        finally:
            self.ended.set()


def run_uninterrupted(action: Callable[[], T]) -> T:
    """Return the action's result; it runs in a thread, and a Ctrl-C meanwhile is raised when it has ended.

    After 10 s the Ctrl-C is raised at once. The work then continues, and the interpreter waits for it at exit.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed meanwhile.
        BaseException: The error that the action raised.
    """
    task = BackgroundTask(action)
    try:
        return task.result()
    except KeyboardInterrupt:
        wait_through([task.ended])
        raise


def wait_for(ended: Sequence[threading.Event], seconds: float = math.inf) -> None:
    """Return once all events are set, or after this number of seconds."""
    deadline = time.monotonic() + seconds
    for event in ended:
        while not event.is_set() and time.monotonic() < deadline:
            event.wait(0.1)  # a short wait: a signal that another thread got is seen only by a thread that wakes


def wait_through(ended: Sequence[threading.Event], seconds: float = PATIENCE) -> None:
    """Wait as `wait_for` does, after a Ctrl-C; further ones count as impatience and change nothing."""
    deadline = time.monotonic() + seconds
    try:
        wait_for(ended, seconds)
    except KeyboardInterrupt:
        wait_through(ended, deadline - time.monotonic())


Job = tuple[contextvars.Context, Callable[[], Any]]


class TimeoutThread:
    """A thread for the calls of one worker, replaced after each call that timed out.

    A thread that hangs delays neither the run nor the end of the interpreter; it ends when its call does.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._inbox: SimpleQueue[Job | None] | None = None
        self._outbox: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def call(self, function: Callable[[], Any], timeout: float) -> Any:
        """Return the function's result within `timeout` seconds, called with the context variables of the caller.

        Raises:
            TimeoutError: The call took longer.
        """
        if self._inbox is None:
            self._inbox, self._outbox = SimpleQueue(), SimpleQueue()
            self._thread = threading.Thread(
                target=_serve, args=(self._inbox, self._outbox), name=f"{self._name}-call", daemon=True
            )
            self._thread.start()
        self._inbox.put((contextvars.copy_context(), function))
        try:
            value, error = self._outbox.get(timeout=timeout)
        except Empty:
            self._inbox.put(None)
            self._inbox = self._thread = None
            raise TimeoutError(f"no response within {timeout:g} s") from None
        if error is not None:
            raise error
        return value

    def end(self) -> None:
        """End the thread, which is idle."""
        if self._inbox is not None and self._thread is not None:
            self._inbox.put(None)
            self._thread.join(timeout=1.0)
            self._inbox = self._thread = None


def _serve(inbox: "SimpleQueue[Job | None]", outbox: "SimpleQueue[tuple[Any, BaseException | None]]") -> None:
    while (job := inbox.get()) is not None:
        context, function = job
        try:
            outbox.put((context.run(function), None))
        except BaseException as error:  # noqa: BLE001 - raised again by `call`, in the thread that waits
            outbox.put((None, error))
