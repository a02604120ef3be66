"""Calls that may hang: each in a thread beside, which is left behind when no answer comes in time."""

import contextvars
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

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
            raise TimeoutError(f"no answer within {timeout:g} s") from None
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
