"""Progress of a run: a bar in a terminal or notebook, a line now and then elsewhere, off with HELMFRAME_PROGRESS=0."""

import os
import sys
import threading
import time
from importlib.util import find_spec
from types import TracebackType
from typing import Any, Self

SECONDS_BETWEEN_LINES = 10.0


class StoppedError(Exception):
    """Raised in a thread that asks after the run was stopped."""


class Progress:
    """Counts what the stages report, and shows it; safe to use from several threads."""

    def __init__(self, *, enabled: bool) -> None:
        self.counts = dict.fromkeys(("planned", "kept", "shared", "refused", "answered", "failed"), 0)
        self._enabled = enabled and os.environ.get("HELMFRAME_PROGRESS", "1") != "0"
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._bar: Any = None
        self._told = time.monotonic()
        self._told_at = 0

    def __enter__(self) -> Self:
        if self._enabled:
            self._bar = _bar()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        elif self._enabled and kind is None and self._told_at != self.counts["answered"]:
            self._tell()

    def say(self, text: str) -> None:
        """A line beside the progress; nothing where progress is off."""
        if self._enabled:
            print(f"helmframe: {text}", file=sys.stderr, flush=True)

    def stop(self) -> None:
        """Make every thread that reports next raise `StoppedError`."""
        self._stopped.set()

    def report(self, what: str, count: int) -> None:
        """Add to one of `counts`."""
        if self._stopped.is_set():
            raise StoppedError
        with self._lock:
            self.counts[what] += count
            if not self._enabled:
                return
            if self._bar is None:
                if what == "answered" and time.monotonic() - self._told > SECONDS_BETWEEN_LINES:
                    self._tell()
                return
            if what == "planned":
                self._bar.total = self.counts["planned"]
                self._bar.refresh()
            elif what != "failed":
                self._bar.update(count)
            elif count:
                self._bar.set_postfix(failed=self.counts["failed"])

    def _tell(self) -> None:
        self._told = time.monotonic()
        self._told_at = self.counts["answered"]
        done = sum(self.counts[name] for name in ("kept", "shared", "refused", "answered"))
        failed = f", {self.counts['failed']} failed" if self.counts["failed"] else ""
        self.say(f"{done:,} of {self.counts['planned']:,} completions{failed}")


def _bar() -> Any:
    """A tqdm bar where one can be seen, else None."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    in_notebook = hasattr(shell, "kernel")
    how: dict[str, Any] = {"total": 0, "unit": "completion", "desc": "asking", "leave": False}
    if in_notebook and find_spec("ipywidgets"):
        from tqdm.notebook import tqdm_notebook

        return tqdm_notebook(**how)
    if in_notebook or sys.stderr.isatty():
        from tqdm import tqdm

        return tqdm(**how)
    return None
