"""Answers on their way to the store: put there in a thread beside, so that the model is asked on meanwhile."""

from collections import deque
from collections.abc import Callable

import polars as pl

from helmframe.errors import StoreError
from helmframe.models.interrupts import Begun, wait_for
from helmframe.models.scheduler import Outcome

# Of a block of requests, what came of some of them, as a frame; what succeeded is in the store then.
Keep = Callable[[pl.DataFrame, list[Outcome]], pl.DataFrame]


class Keeping:
    """Keeps lots of outcomes in the order in which they come; while one is written, the next can gather.

    Attributes:
        frames: what `keep` gave of each lot that is kept.
    """

    def __init__(self, keep: Keep) -> None:
        self.frames: list[pl.DataFrame] = []
        self._keep = keep
        self._lots: deque[tuple[pl.DataFrame, list[Outcome]]] = deque()  # those not kept yet
        self._begun: Begun[None] | None = None

    def add(self, block: pl.DataFrame, outcomes: list[Outcome]) -> None:
        """Have these kept soon; waits until those before them are.

        Raises:
            StoreError: those before could not be kept. `close` tries again, with these.
        """
        if not outcomes:
            return
        self._lots.append((block, outcomes))
        if self._begun is not None:
            self._begun.given()
        self._begun = Begun(self._put)

    def close(self) -> None:
        """Return when all are kept; what failed is tried once more.

        Raises:
            StoreError: some are not kept; how many.
        """
        if self._begun is not None:
            wait_for([self._begun.ended])
        try:
            self._put()
        except StoreError as error:
            lost = sum(len(outcomes) for _, outcomes in self._lots)
            raise StoreError(f"{error} {lost:,} answers are not kept.") from error

    def _put(self) -> None:
        while self._lots:
            self.frames.append(self._keep(*self._lots[0]))
            self._lots.popleft()
