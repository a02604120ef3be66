"""How many calls of one model run at once, and whether any does: adaptive concurrency and a circuit breaker."""

import threading
import time
from typing import NamedTuple

from helmframe._core.safe_text import error_text
from helmframe.models.retries import is_timeout, retry_after, says_too_many

# Calls at once that an adaptive model starts with.
START = 8
# So many transient failures in a row, with no answer between, and the model counts as gone.
GONE_AFTER = 10
# Seconds before each look whether it is back; after the last one that fails, what waits gets an error.
PAUSES = (1.0, 4.0, 9.0, 16.0)
# After a look that hung, callers that come within so many seconds of each other get the error without another one.
QUIET = 5.0
# How long those who wait for another's look sleep at a time.
POLL = 0.05


class GoneError(Exception):
    """The model does not answer any more; nothing was asked. No `ConnectionError`: it does not pass by waiting."""


class Ticket(NamedTuple):
    """The leave for one call: `era` counts the times the limit was cut, `probe` says it looks whether it is back."""

    era: int
    probe: bool


class Pace:
    """The limit of calls at once of one model, and the breaker that stops them all.

    Limit: fixed at `most`, or, if adaptive, between 1 and `most`: each answer raises it, by 1 until the model first
    pushes back and by 1/limit then (that is by one for each round); too many requests (429, 503) or a timeout halves
    it, once for all calls that ran together.

    Breaker: after `GONE_AFTER` transient failures in a row, all wait, and one call at a time looks whether the model is
    back, after growing pauses of 30 s in all (longer ones if its server asks for them); a look that hangs until its
    timeout is the last. Any answer ends that. If none comes, `admit` raises until somebody says `try_again`.
    """

    def __init__(self, name: str, most: int, *, adaptive: bool) -> None:
        self.most = most
        self.adaptive = adaptive
        self._name = name
        self._lock = threading.Lock()
        self._limit = float(min(START, most) if adaptive else most)
        self._pushed_back = False
        self._failures = 0
        self._last: BaseException | None = None
        self._waits = False  # all calls wait for a look
        self._gone = False  # and the last look has failed
        self._looks = 0
        self._looking = False
        self._next_look = 0.0
        self._told = 0.0  # when somebody last heard that the model is gone
        self._ticket = Ticket(0, probe=False)

    @property
    def limit(self) -> int:
        """Calls that may run at once."""
        return int(self._limit)

    def admit(self) -> Ticket | float:
        """The leave to make one call, or the seconds to wait before asking for it again.

        Raises:
            GoneError: the model does not answer.
        """
        if not self._waits:
            return self._ticket
        with self._lock:
            return self._look()

    def answered(self) -> None:
        """A call has got an answer."""
        if self._failures or self._waits:
            with self._lock:
                self._back()
        if self.adaptive and self._limit < self.most:
            with self._lock:
                step = 1 / self._limit if self._pushed_back else 1
                self._limit = min(self.most, self._limit + step)

    def refused(self, ticket: Ticket) -> None:
        """A call has failed for what it asked: the model is there, but the limit does not rise for it."""
        if ticket.probe:
            with self._lock:
                self._back()

    def failed(self, ticket: Ticket, error: BaseException) -> None:
        """A call has met a transient error."""
        with self._lock:
            self._last = error
            self._failures += 1
            if self.adaptive and says_too_many(error) and ticket.era == self._ticket.era:
                self._limit = max(1.0, self._limit / 2)
                self._pushed_back = True
                self._ticket = Ticket(ticket.era + 1, probe=False)
            if ticket.probe:
                self._looking = False
                self._looks += 1
                self._gone = self._looks >= len(PAUSES) or is_timeout(error)
            elif self._waits or self._failures < GONE_AFTER:
                return
            else:
                self._waits, self._looks = True, 0
            if not self._gone:
                self._next_look = time.monotonic() + max(PAUSES[self._looks], retry_after(error))

    def dropped(self, ticket: Ticket) -> None:
        """A call has ended without telling whether the model is there."""
        if ticket.probe:
            with self._lock:
                self._looking = False

    def try_again(self) -> None:
        """Let one call look whether a model that was gone is back: for a new caller, who may know that it is."""
        with self._lock:
            hung = is_timeout(self._last) and time.monotonic() - self._told < QUIET
            if self._gone and not hung:
                self._gone = False
                self._looks = len(PAUSES) - 1
                self._next_look = 0.0

    def _look(self) -> Ticket | float:
        """While all wait: the leave to look, for one at a time."""
        if not self._waits:  # not any more
            return self._ticket
        if self._gone:
            self._told = time.monotonic()
            last = "none" if self._last is None else error_text(self._last)
            said = f"model {self._name!r} does not answer ({self._failures} failures in a row, last: {last})"
            raise GoneError(f"{said}; run again when it is back.")
        wait = self._next_look - time.monotonic()
        if self._looking or wait > 0:
            return max(POLL, min(wait, 1.0))
        self._looking = True
        return Ticket(self._ticket.era, probe=True)

    def _back(self) -> None:
        self._failures = 0
        self._waits = self._gone = self._looking = False
