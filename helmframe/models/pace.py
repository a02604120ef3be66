"""Concurrent calls of one model: adaptive concurrency, a circuit breaker, and utilization."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from helmframe._core.safe_text import error_text
from helmframe.models.retries import is_overload, is_timeout, retry_after

# The initial number of concurrent calls of an adaptive model.
START = 8
# The number of consecutive transient failures after which a model is down.
DOWN_AFTER = 10
# The seconds before each probe. After the last failed probe, waiting requests get an error.
PAUSES = (1.0, 4.0, 9.0, 16.0)
# After a probe timed out, callers within this number of seconds of each other get the error without a new probe.
QUIET = 5.0
# The number of seconds that callers sleep at a time while another caller probes.
POLL = 0.05


class ModelDownError(Exception):
    """An error for a model that is down, without a call. A retry does not help, so it isn't a `ConnectionError`."""


class Ticket(NamedTuple):
    """The permission for one call. `era` counts the reductions of the limit; `probe` marks a probe of the model."""

    era: int
    probe: bool


class Pace:
    """The limit of concurrent calls of one model, and the circuit breaker that stops them all.

    The limit is `max_calls`, or between 1 and `max_calls` if it is adaptive. "Too many requests" (429, 503) or a
    timeout halves it, once for all calls that ran concurrently. Each success raises it: by 1 until the first of these
    errors, and by 1/limit after that, which is 1 per round of calls.

    The breaker opens after `DOWN_AFTER` consecutive transient failures. All calls then wait, and one call at a time
    probes the model, after growing pauses of 30 s in total, or longer pauses that the server requests. A probe that
    times out is the last one. A success closes the breaker. If no probe succeeds, `admit` raises until `try_again`.
    """

    def __init__(self, name: str, max_calls: int, *, adaptive: bool) -> None:
        self.max_calls = max_calls
        self.adaptive = adaptive
        self._name = name
        self._lock = threading.Lock()
        self._limit = float(min(START, max_calls) if adaptive else max_calls)
        self._pushed_back = False
        self._failures = 0
        self._last: BaseException | None = None
        self._is_open = False  # whether all calls wait for a probe
        self._down = False  # whether the last probe has failed
        self._n_probes = 0
        self._probing = False
        self._next_probe = 0.0
        self._last_reported = 0.0  # the time at which a caller last got the error that the model is down
        self._ticket = Ticket(0, probe=False)

    @property
    def limit(self) -> int:
        """Return the maximum number of concurrent calls."""
        return int(self._limit)

    def admit(self) -> Ticket | float:
        """Return a ticket for one call, or the seconds to wait before trying again.

        Raises:
            ModelDownError: The model is down.
        """
        if not self._is_open:
            return self._ticket
        with self._lock:
            return self._probe()

    def succeeded(self) -> None:
        """Record that a call succeeded."""
        if self._failures or self._is_open:
            with self._lock:
                self._close()
        if self.adaptive and self._limit < self.max_calls:
            with self._lock:
                step = 1 / self._limit if self._pushed_back else 1
                self._limit = min(self.max_calls, self._limit + step)

    def refused(self, ticket: Ticket) -> None:
        """Record that a call failed because of its request: the model is up, but the limit stays."""
        if ticket.probe:
            with self._lock:
                self._close()

    def failed(self, ticket: Ticket, error: BaseException) -> None:
        """Record that a call failed with a transient error."""
        with self._lock:
            self._last = error
            self._failures += 1
            if self.adaptive and is_overload(error) and ticket.era == self._ticket.era:
                self._limit = max(1.0, self._limit / 2)
                self._pushed_back = True
                self._ticket = Ticket(ticket.era + 1, probe=False)
            if ticket.probe:
                self._probing = False
                self._n_probes += 1
                self._down = self._n_probes >= len(PAUSES) or is_timeout(error)
            elif self._is_open or self._failures < DOWN_AFTER:
                return
            else:
                self._is_open, self._n_probes = True, 0
            if not self._down:
                self._next_probe = time.monotonic() + max(PAUSES[self._n_probes], retry_after(error))

    def dropped(self, ticket: Ticket) -> None:
        """Record that a call ended without a result."""
        if ticket.probe:
            with self._lock:
                self._probing = False

    def try_again(self) -> None:
        """Let one call probe a model that was down, because it may be up again when a new caller comes."""
        with self._lock:
            hung = is_timeout(self._last) and time.monotonic() - self._last_reported < QUIET
            if self._down and not hung:
                self._down = False
                self._n_probes = len(PAUSES) - 1
                self._next_probe = 0.0

    def _probe(self) -> Ticket | float:
        """Return a ticket for a probe to one caller at a time; others get the seconds to wait."""
        if not self._is_open:  # closed meanwhile
            return self._ticket
        if self._down:
            self._last_reported = time.monotonic()
            last = "none" if self._last is None else error_text(self._last)
            message = f"model {self._name!r} doesn't respond ({self._failures} failures in a row, last: {last})"
            raise ModelDownError(f"{message}; rerun when it is back.")
        wait = self._next_probe - time.monotonic()
        if self._probing or wait > 0:
            return max(POLL, min(wait, 1.0))
        self._probing = True
        return Ticket(self._ticket.era, probe=True)

    def _close(self) -> None:
        self._failures = 0
        self._is_open = self._down = self._probing = False


class Seconds(NamedTuple):
    """The seconds in which a model generated, and in which a caller waited for it."""

    generating: float
    waited: float

    def since(self, earlier: "Seconds") -> "Seconds":
        """Return the seconds after an earlier count."""
        return Seconds(self.generating - earlier.generating, self.waited - earlier.waited)

    @property
    def share(self) -> float | None:
        """Return the share of the waiting time in which the model generated; None if nobody waited."""
        return min(self.generating / self.waited, 1.0) if self.waited else None


@dataclass(eq=False)
class Meter:
    """A counter of the seconds in which at least one of its blocks runs."""

    _running: int = 0
    _began: float = 0.0
    _total: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def seconds(self) -> float:
        """Return the seconds until now."""
        with self._lock:
            return self._total + (time.perf_counter() - self._began if self._running else 0.0)

    def __enter__(self) -> None:
        """Start a block whose time counts."""
        with self._lock:
            if not self._running:
                self._began = time.perf_counter()
            self._running += 1

    def __exit__(self, *_: object) -> None:
        """End the block."""
        with self._lock:
            self._running -= 1
            if not self._running:
                self._total += time.perf_counter() - self._began


@dataclass(eq=False)
class Busy:
    """A counter of a model's seconds; seconds of concurrent calls or waiting callers count once.

    `refused` is that of the model object that generates. Equal model objects share its queue.
    """

    generating: Meter = field(default_factory=Meter)
    waited: Meter = field(default_factory=Meter)
    refused: Callable[[], Mapping[str, str]] | None = None

    @property
    def seconds(self) -> Seconds:
        """Return the seconds until now."""
        return Seconds(self.generating.seconds, self.waited.seconds)
