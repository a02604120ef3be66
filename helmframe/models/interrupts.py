"""Work that Ctrl-C does not interrupt, waiting for threads despite Ctrl-C, and calls with a time limit.

`Thread.join` is not used: a Ctrl-C in it makes the thread look as if it had ended (Python 3.11, bpo-45274).
"""

import math
import threading
import time
from collections.abc import Callable, Sequence
from contextvars import copy_context
from typing import Generic, TypeVar

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
