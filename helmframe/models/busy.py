"""How much of the time in which somebody waits for a model's answers it is answering."""

import threading
import time
from dataclasses import dataclass, field
from typing import NamedTuple


class Seconds(NamedTuple):
    """In which a model answered, and in which somebody waited for it."""

    answering: float
    waited: float

    def since(self, before: "Seconds") -> "Seconds":
        """Those after that."""
        return Seconds(self.answering - before.answering, self.waited - before.waited)

    @property
    def share(self) -> float | None:
        """Of the time waited, in which it answered; None where nobody waited."""
        return min(self.answering / self.waited, 1.0) if self.waited else None


@dataclass(eq=False)
class Meter:
    """The seconds in which at least one of its blocks ran."""

    _running: int = 0
    _began: float = 0.0
    _before: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def seconds(self) -> float:
        """Until now."""
        with self._lock:
            return self._before + (time.perf_counter() - self._began if self._running else 0.0)

    def __enter__(self) -> None:
        """A block begins whose time counts."""
        with self._lock:
            if not self._running:
                self._began = time.perf_counter()
            self._running += 1

    def __exit__(self, *_: object) -> None:
        """It ends."""
        with self._lock:
            self._running -= 1
            if not self._running:
                self._before += time.perf_counter() - self._began


@dataclass(eq=False)
class Busy:
    """Counts a model's seconds: those in which several wait, or several calls run, count once."""

    answering: Meter = field(default_factory=Meter)
    waited: Meter = field(default_factory=Meter)

    @property
    def seconds(self) -> Seconds:
        """Until now."""
        return Seconds(self.answering.seconds, self.waited.seconds)
