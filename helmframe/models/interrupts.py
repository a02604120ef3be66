"""Work that Ctrl-C does not interrupt, waiting for threads despite Ctrl-C, and calls with a time limit.

`Thread.join` is not used, because after a Ctrl-C in it the thread seems to have ended (Python 3.11, bpo-45274).
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

# The number of seconds that a Ctrl-C waits for the work to end.
PATIENCE = 10.0


class BackgroundTask(Generic[T]):
    """An action in its own thread, for which the interpreter waits at exit."""

    def __init__(self, action: Callable[[], T]) -> None:
        self.ended = threading.Event()
        self._action = action
        self._results: list[T] = []
        self._errors: list[BaseException] = []
        # never a daemon, even if this thread is a daemon
        context = copy_context()
        threading.Thread(target=context.run, args=(self._run,), daemon=False, name="helmframe-background").start()

    def result(self) -> T:
        """Wait for the action, and return its result.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed; the action continues.
            BaseException: The action raised it.
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
    """Run an action in a thread, and return its result; a Ctrl-C is raised when the action has ended.

    If the action does not end within 10 s after Ctrl-C, the Ctrl-C is raised. The action then continues, and the
    interpreter waits for it at exit.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed.
        BaseException: The action raised it.
    """
    task = BackgroundTask(action)
    try:
        return task.result()
    except KeyboardInterrupt:
        wait_through([task.ended])
        raise


def wait_for(ended: Sequence[threading.Event], seconds: float = math.inf) -> None:
    """Wait until all events are set, at most this number of seconds."""
    deadline = time.monotonic() + seconds
    for event in ended:
        while not event.is_set() and time.monotonic() < deadline:
            event.wait(0.1)  # a short wait, because this thread sees signals of other threads only when it wakes


def wait_through(ended: Sequence[threading.Event], seconds: float = PATIENCE) -> None:
    """Wait as `wait_for` does, and ignore further Ctrl-C."""
    deadline = time.monotonic() + seconds
    try:
        wait_for(ended, seconds)
    except KeyboardInterrupt:
        wait_through(ended, deadline - time.monotonic())


Job = tuple[contextvars.Context, Callable[[], Any]]


class TimeoutThread:
    """A thread for the calls of one worker, which is replaced after each call that timed out.

    A thread that hangs does not delay the run or the exit of the interpreter; it ends when its call ends.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._inbox: SimpleQueue[Job | None] | None = None
        self._outbox: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def call(self, function: Callable[[], Any], timeout: float) -> Any:
        """Return the function's result within `timeout` seconds; it is called with the caller's context variables.

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
        """End the idle thread."""
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
