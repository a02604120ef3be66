"""How much of the time in which somebody waits for a model's answers it is answering."""

import threading
import time
from dataclasses import dataclass, field
from typing import NamedTuple


class Seconds(NamedTuple):
    """The seconds in which a model generated, and those in which a caller waited for it."""

    generating: float
    waited: float

    def since(self, earlier: "Seconds") -> "Seconds":
        """Return the seconds after an earlier count."""
        return Seconds(self.generating - earlier.generating, self.waited - earlier.waited)

    @property
    def share(self) -> float | None:
        """Return the share of the time waited in which the model generated; None if nobody waited."""
        return min(self.generating / self.waited, 1.0) if self.waited else None


@dataclass(eq=False)
class Meter:
    """A count of the seconds in which at least one of its blocks ran."""

    _running: int = 0
    _began: float = 0.0
    _before: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def seconds(self) -> float:
        """Return the seconds until now."""
        with self._lock:
            return self._before + (time.perf_counter() - self._began if self._running else 0.0)

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
                self._before += time.perf_counter() - self._began


@dataclass(eq=False)
class Busy:
    """A count of a model's seconds: those in which several callers wait, or several calls run, count once."""

    generating: Meter = field(default_factory=Meter)
    waited: Meter = field(default_factory=Meter)

    @property
    def seconds(self) -> Seconds:
        """Return the seconds until now."""
        return Seconds(self.generating.seconds, self.waited.seconds)
