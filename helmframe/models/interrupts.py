"""Work that Ctrl-C does not break off, and waiting for threads through one.

Not by `Thread.join`: a Ctrl-C in it makes the thread look as if it had ended (Python 3.11, bpo-45274).
"""

import math
import threading
import time
from collections.abc import Callable, Sequence
from contextvars import copy_context
from typing import Generic, TypeVar

T = TypeVar("T")

# How long a Ctrl-C waits for the work to end.
PATIENCE = 10.0


class Begun(Generic[T]):
    """Work in a thread of its own, which the interpreter does not end before."""

    def __init__(self, action: Callable[[], T]) -> None:
        self.ended = threading.Event()
        self._action = action
        self._given: list[T] = []
        self._errors: list[BaseException] = []
        # no daemon, even where this thread is one
        context = copy_context()
        threading.Thread(target=context.run, args=(self._work,), daemon=False, name="helmframe-unbroken").start()

    def given(self) -> T:
        """What the work gives, once it has ended.

        Raises:
            KeyboardInterrupt: one came meanwhile; the work goes on.
            BaseException: what the work raised.
        """
        wait_for([self.ended])
        if self._errors:
            raise self._errors[0]
        return self._given[0]

    def _work(self) -> None:
        try:
            self._given.append(self._action())
        except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
            self._errors.append(error)
        finally:
            self.ended.set()


def unbroken(action: Callable[[], T]) -> T:
    """What the action gives; it is done in a thread beside, and a Ctrl-C meanwhile is raised when it has ended.

    After 10 s the Ctrl-C is raised at once. The work goes on then, and the interpreter does not end before it.

    Raises:
        KeyboardInterrupt: one came meanwhile.
        BaseException: what the action raised.
    """
    work = Begun(action)
    try:
        return work.given()
    except KeyboardInterrupt:
        wait_through([work.ended])
        raise


def wait_for(ended: Sequence[threading.Event], seconds: float = math.inf) -> None:
    """Return once all are set, or after so many seconds."""
    until = time.monotonic() + seconds
    for each in ended:
        while not each.is_set() and time.monotonic() < until:
            each.wait(0.1)  # never for long: a signal that another thread got is seen only by one that wakes


def wait_through(ended: Sequence[threading.Event], seconds: float = PATIENCE) -> None:
    """As `wait_for`, after a Ctrl-C: more of them are taken for impatience, and change nothing."""
    until = time.monotonic() + seconds
    try:
        wait_for(ended, seconds)
    except KeyboardInterrupt:
        wait_through(ended, until - time.monotonic())
