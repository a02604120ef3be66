"""Progress of a run: a bar in terminals and notebooks, occasional lines elsewhere. HELMFRAME_PROGRESS=0 disables it."""

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from html import escape
from importlib.util import find_spec
from types import TracebackType
from typing import Any, Protocol, Self, cast

import polars as pl

from helmframe._core.safe_text import show_invisible
from helmframe._schema import PROGRESS
from helmframe.engines.capture import uncaptured

SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_PAGES = 0.25
MAX_ROWS = 20
COUNTS = ("planned", "cached", "shared", "refused", "generated", "failed", "rerun", "prompt_tokens", "output_tokens")
# The end of the name of a judge's row.
_JUDGE = " (judge)"
DONE = ("cached", "shared", "refused", "generated")


class Progress:
    """A counter of the events that stages report, with a display; thread-safe.

    In a terminal, and in Jupyter with ipywidgets, the display is a bar of tqdm. In Jupyter without ipywidgets it is a
    small table that is updated. Elsewhere it prints a line at most every ten seconds, and one at the end.
    """

    def __init__(self, *, enabled: bool) -> None:
        self.counts = dict.fromkeys(COUNTS, 0)
        self.verdicts = dict.fromkeys(COUNTS, 0)  # the part of `counts` that belongs to judges
        self.rows: dict[tuple[str, str], _Row] = {}
        self._enabled = enabled and os.environ.get("HELMFRAME_PROGRESS", "1") != "0"
        self._lock = threading.Lock()
        self._display: _Display | None = None

    def __enter__(self) -> Self:
        if self._enabled:
            self._display = _make_display(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._display is not None:
            with self._lock:
                self._display.end(failed=kind is not None)
                self._display = None

    def note(self, text: str) -> None:
        """Print a line next to the progress; nothing if progress is disabled."""
        if self._enabled and self._display is not None:
            self._display.write(f"helmframe: {text}")
        elif self._enabled:
            _print(f"helmframe: {text}")

    def reporter(self, scenario: str, model: str) -> Callable[[str, int], None]:
        """Return the `report` function of a scenario and model, which have their own row."""
        return partial(self._report, (scenario, model))

    def judging(self, scenario: str, judge: str) -> Callable[[str, int], None]:
        """Return the `report` function of a judge's verdicts on a scenario."""
        row = self.reporter(scenario, f"{judge}{_JUDGE}")

        def report(event: str, count: int) -> None:
            row(event, count)
            with self._lock:
                self.verdicts[event] += count

        return report

    @property
    def completions(self) -> dict[str, int]:
        """Return `counts` without the requests of judges."""
        with self._lock:
            return {event: count - self.verdicts[event] for event, count in self.counts.items()}

    def report(self, event: str, count: int) -> None:
        """Add to the count of an event."""
        self._report(None, event, count)

    def snapshot(self, batches: Mapping[str, list[dict[str, Any]]] | None = None) -> pl.DataFrame:
        """Return the progress by scenario and model.

        Args:
            batches: Model name → the state of each batch.

        Returns:
            `PROGRESS`, in the order of the first event. Rows that are not read yet are not planned.
        """
        with self._lock:
            rows = [
                (
                    *key,
                    *row.counts.values(),
                    row.rate,
                    row.seconds_left,
                    (batches or {}).get(key[1].removesuffix(_JUDGE)),
                )
                for key, row in self.rows.items()
            ]
        return pl.DataFrame(rows, schema=PROGRESS.schema, orient="row")

    def _report(self, key: tuple[str, str] | None, event: str, count: int) -> None:
        with self._lock:
            self.counts[event] += count
            if key is not None:
                self.rows.setdefault(key, _Row()).add(event, count)
            if self._display is not None:
                self._display.show(event, count)


class _Row:
    """The counts of one scenario and model."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(COUNTS, 0)
        self._began = self._last = time.monotonic()

    def add(self, event: str, count: int) -> None:
        self.counts[event] += count
        if event == "generated":
            self._last = time.monotonic()

    @property
    def rate(self) -> float | None:
        return _rate(self.counts["generated"], self._last - self._began)

    @property
    def seconds_left(self) -> float | None:
        return _seconds_left(self.counts, self.rate)


class _Display(Protocol):
    """A display of progress."""

    def show(self, event: str, count: int) -> None:
        """Show the new count of an event."""

    def write(self, line: str) -> None:
        """Print a line next to the progress."""

    def end(self, *, failed: bool) -> None:
        """Finish at the end of the run."""


def _print(line: str) -> None:
    print(show_invisible(line), file=sys.stderr, flush=True)


def _make_display(progress: Progress) -> _Display:
    """Return the display for this environment."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if hasattr(shell, "kernel"):
        return _Bar(progress, notebook=True) if find_spec("ipywidgets") else _Page(progress)
    return _Bar(progress) if sys.stderr.isatty() else _Lines(progress)


class _Bar:
    """A tqdm bar."""

    def __init__(self, progress: Progress, *, notebook: bool = False) -> None:
        self._counts = progress.counts
        options: dict[str, Any] = {"total": 0, "unit": "completion", "desc": "generating", "leave": False}
        if notebook:
            from tqdm.notebook import tqdm_notebook

            self._bar: Any = tqdm_notebook(**options)
        else:
            from tqdm import tqdm

            # the bar's output must not be captured as output of the model
            self._bar = tqdm(**options, file=uncaptured(sys.stderr))

    def show(self, event: str, count: int) -> None:
        if event == "planned":
            self._bar.total = self._counts["planned"]
            self._bar.refresh()
        elif event in DONE:
            self._bar.update(count)
        elif event == "failed" and count:
            self._bar.set_postfix(failed=self._counts["failed"])

    def write(self, line: str) -> None:
        self._bar.write(show_invisible(line), file=uncaptured(sys.stderr))

    def end(self, *, failed: bool) -> None:  # noqa: ARG002
        self._bar.close()


class _Lines:
    """Occasional lines."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._began = self._last_line = time.monotonic()
        self._last_count = 0

    def show(self, event: str, count: int) -> None:  # noqa: ARG002
        if event == "generated" and time.monotonic() - self._last_line > SECONDS_BETWEEN_LINES:
            self._print(last=False)

    def write(self, line: str) -> None:
        _print(line)

    def end(self, *, failed: bool) -> None:
        if not failed and self._last_count != self._progress.counts["generated"]:
            self._print(last=True)

    def _print(self, *, last: bool) -> None:
        self._last_line = time.monotonic()
        self._last_count = self._progress.counts["generated"]
        self._progress.note(_summary(self._progress.counts, None if last else self._last_line - self._began))


class _Page:
    """A small table in a notebook that is updated."""

    def __init__(self, progress: Progress) -> None:
        from IPython import display

        self._progress = progress
        self._html = cast(Any, display.HTML)
        self._began = self._updated = time.monotonic()
        show: Any = display.display
        self._handle = show(self._html(self._page()), display_id=True)

    def show(self, event: str, count: int) -> None:  # noqa: ARG002
        if time.monotonic() - self._updated > SECONDS_BETWEEN_PAGES:
            self._update()

    def write(self, line: str) -> None:
        _print(line)

    def end(self, *, failed: bool) -> None:  # noqa: ARG002
        self._update(last=True)

    def _update(self, *, last: bool = False) -> None:
        self._updated = time.monotonic()
        self._handle.update(self._html(self._page(last=last)))

    def _page(self, *, last: bool = False) -> str:
        counts = self._progress.counts
        total = _summary(counts, None if last else time.monotonic() - self._began)
        bar = f'<progress max="{max(counts["planned"], 1)}" value="{_done(counts)}"></progress> {escape(total)}'
        rows = self._progress.rows
        if len(rows) < 2:
            return f"<div>{bar}</div>"
        unfinished = sorted(rows.items(), key=lambda pair: _done(pair[1].counts) >= pair[1].counts["planned"])
        lines = "".join(
            f"<tr><td>{escape(scenario)}</td><td>{escape(model)}</td>"
            f"<td>{_done(row.counts):,} of {row.counts['planned']:,}</td><td>{row.counts['failed']:,}</td></tr>"
            for (scenario, model), row in unfinished[:MAX_ROWS]
        )
        more = f"<div>and {len(rows) - MAX_ROWS} more</div>" if len(rows) > MAX_ROWS else ""
        head = "<tr><th>scenario</th><th>model</th><th>completions</th><th>failed</th></tr>"
        return f"<div>{bar}</div><table>{head}{lines}</table>{more}"


def _summary(counts: dict[str, int], seconds: float | None) -> str:
    """Return `1,200 of 5,000 completions, 3 failed, 120/s, 32 s left`; without `seconds` no rate."""
    parts = [f"{_done(counts):,} of {counts['planned']:,} completions"]
    if counts["failed"]:
        parts.append(f"{counts['failed']:,} failed")
    if counts["rerun"]:
        parts.append(f"{counts['rerun']:,} generated again")
    rate = _rate(counts["generated"], seconds or 0.0)
    left = _seconds_left(counts, rate)
    if rate and left:
        parts += [f"{rate:,.3g}/s", f"{duration(left)} left"]
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """Return a duration as text.

    >>> duration(42), duration(5_000)
    ('42 s', '1 h 23 min')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _done(counts: dict[str, int]) -> int:
    return sum(counts[name] for name in DONE)


def _rate(generated: int, seconds: float) -> float | None:
    return generated / seconds if generated and seconds > 0 else None


def _seconds_left(counts: dict[str, int], rate: float | None) -> float | None:
    return max(counts["planned"] - _done(counts), 0) / rate if rate else None
