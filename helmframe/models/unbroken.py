"""Work that Ctrl-C does not break off, and waiting for threads through one.

Not by `Thread.join`: a Ctrl-C in it makes the thread look as if it had ended (Python 3.11, bpo-45274).
"""

import math
import threading
import time
from collections.abc import Callable, Sequence
from contextvars import copy_context
from typing import TypeVar

T = TypeVar("T")

# How long a Ctrl-C waits for the work to end.
PATIENCE = 10.0


def unbroken(action: Callable[[], T]) -> T:
    """What the action gives; it is done in a thread beside, and a Ctrl-C meanwhile is raised when it has ended.

    After 10 s the Ctrl-C is raised at once. The work goes on then, and the interpreter does not end before it.

    Raises:
        KeyboardInterrupt: one came meanwhile.
        BaseException: what the action raised.
    """
    given: list[T] = []
    errors: list[BaseException] = []
    ended = threading.Event()

    def work() -> None:
        try:
            given.append(action())
        except BaseException as error:  # noqa: BLE001 - raised again below, in the thread that waits
            errors.append(error)
        finally:
            ended.set()

    context = copy_context()
    # no daemon, even where this thread is one
    threading.Thread(target=context.run, args=(work,), daemon=False, name="helmframe-unbroken").start()
    try:
        wait_for([ended])
    except KeyboardInterrupt:
        wait_through([ended])
        raise
    if errors:
        raise errors[0]
    return given[0]


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
