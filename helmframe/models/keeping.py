"""Store completions in a background thread, so that the model keeps running meanwhile."""

from collections import deque
from collections.abc import Callable

import polars as pl

from helmframe.errors import StoreError
from helmframe.models.interrupts import BackgroundTask, wait_for
from helmframe.models.scheduler import Outcome

# Stores the outcomes of some requests of a block, and returns them as a frame.
Store = Callable[[pl.DataFrame, list[Outcome]], pl.DataFrame]


class CompletionWriter:
    """A writer that stores lots of outcomes in order; while one is written, the next can gather.

    Attributes:
        frames: The frames of the lots that are stored.
    """

    def __init__(self, store: Store) -> None:
        self.frames: list[pl.DataFrame] = []
        self._store = store
        self._lots: deque[tuple[pl.DataFrame, list[Outcome]]] = deque()  # those not stored yet
        self._task: BackgroundTask[None] | None = None

    def add(self, block: pl.DataFrame, outcomes: list[Outcome]) -> None:
        """Store these outcomes soon; wait until earlier ones are stored.

        Raises:
            StoreError: Earlier outcomes could not be stored. `close` retries, with these.
        """
        if not outcomes:
            return
        self._lots.append((block, outcomes))
        if self._task is not None:
            self._task.result()
        self._task = BackgroundTask(self._write)

    def close(self) -> None:
        """Return when all are stored; a failed write is retried once.

        Raises:
            StoreError: Some are not stored; the message has their number.
        """
        if self._task is not None:
            wait_for([self._task.ended])
        try:
            self._write()
        except StoreError as error:
            lost = sum(len(outcomes) for _, outcomes in self._lots)
            raise StoreError(f"{error} {lost:,} answers are not kept.") from error

    def _write(self) -> None:
        while self._lots:
            self.frames.append(self._store(*self._lots[0]))
            self._lots.popleft()
