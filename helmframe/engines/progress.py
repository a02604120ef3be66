"""Progress of a run: a bar in terminals and notebooks, occasional lines elsewhere. HELMFRAME_PROGRESS=0 disables it."""

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from html import escape
from importlib.util import find_spec
from types import TracebackType
from typing import Any, Protocol, Self, TextIO, cast

import polars as pl

from helmframe._core.safe_text import show_invisible
from helmframe._schema import PROGRESS
from helmframe.engines.capture import set_line_writer, uncaptured
from helmframe.engines.notes import dollars

SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_PAGES = 0.25
# The most models with a bar of their own; more models share one bar.
MAX_BARS = 12
_LONGEST_NAME = 28
COUNTS = ("planned", "cached", "shared", "refused", "generated", "failed", "rerun", "prompt_tokens", "output_tokens")
# The end of the name of a judge's row.
_JUDGE = " (judge)"
DONE = ("cached", "shared", "refused", "generated")


class Progress:
    """A counter of the events that stages report, with a display; thread-safe.

    In a terminal, and in Jupyter with ipywidgets, the display is a bar of tqdm per model. In Jupyter without ipywidgets
    it is a small table that is updated. Elsewhere it prints a line at most every ten seconds, and one at the end.

    Attributes:
        models: The names of the models of the run, in order.
        costs: Model name → its cost so far in US dollars, if its price is known.
    """

    def __init__(self, *, enabled: bool) -> None:
        self.counts = dict.fromkeys(COUNTS, 0)
        self.verdicts = dict.fromkeys(COUNTS, 0)  # the part of `counts` that belongs to judges
        self.rows: dict[tuple[str, str], _Row] = {}
        self.models: list[str] = []
        self.costs: Mapping[str, float] = {}
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
    def is_shown(self) -> bool:
        """Return whether there is a display."""
        return self._display is not None

    def expect(self, scenario: str, counts: Mapping[str, int]) -> None:
        """Add to the expected completions of models: these are the totals until more completions are planned."""
        with self._lock:
            for model, count in counts.items():
                self.rows.setdefault((scenario, model), _Row()).expected += count
            for model, count in counts.items():
                if self._display is not None and count > 0:
                    self._display.show(model, "planned", 0)

    def total(self, model: str | None = None) -> int:
        """Return the number of planned or expected completions of a model; None: of all models."""
        rows = [row for (_, name), row in self.rows.items() if model in (None, name)]
        unnamed = 0 if model is not None else self.counts["planned"] - sum(row.counts["planned"] for row in rows)
        return unnamed + sum(max(row.counts["planned"], row.expected) for row in rows)

    def counts_of(self, model: str | None) -> dict[str, int]:
        """Return the counts of events of a model; None: of all models."""
        if model is None:
            return self.counts
        rows = [row for (_, name), row in self.rows.items() if name == model]
        return {name: sum(row.counts[name] for row in rows) for name in COUNTS}

    def cost_of(self, model: str | None) -> float | None:
        """Return the cost of a model so far; None: of all models. None is returned if no price is known."""
        if model is None:
            return sum(self.costs.values()) if self.costs else None
        return self.costs.get(model.removesuffix(_JUDGE))

    @property
    def bars(self) -> list[str | None]:
        """Return the models that have a bar of their own, judges last; None alone: all models share a bar."""
        names = list(dict.fromkeys([*self.models, *(name for _, name in self.rows)]))
        return list(names) if len(self.models) > 1 and len(names) <= MAX_BARS else [None]

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
                    *{**row.counts, "planned": max(row.counts["planned"], row.expected)}.values(),
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
                self._display.show(None if key is None else key[1], event, count)


class _Row:
    """The counts of one scenario and model, and the expected number of completions."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(COUNTS, 0)
        self.expected = 0
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
        return _seconds_left(self.counts, self.rate, max(self.counts["planned"], self.expected))


class _Display(Protocol):
    """A display of progress."""

    def show(self, model: str | None, event: str, count: int) -> None:
        """Show the new count of an event of a model."""

    def write(self, line: str) -> None:
        """Print a line next to the progress."""

    def end(self, *, failed: bool) -> None:
        """Finish at the end of the run."""


def _print(line: str) -> None:
    print(show_invisible(line), file=sys.stderr, flush=True)


def _make_display(progress: Progress) -> _Display:
    """Return the display for this environment."""
    marimo: Any = sys.modules.get("marimo")
    if marimo is not None and marimo.running_in_notebook():
        return _MarimoPage(progress, marimo)
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if hasattr(shell, "kernel"):
        return _Bar(progress, notebook=True) if find_spec("ipywidgets") else _Page(progress)
    return _Bar(progress) if sys.stderr.isatty() else _Lines(progress)


class _Bar:
    """Bars of tqdm: one per model, or one for all."""

    def __init__(self, progress: Progress, *, notebook: bool = False) -> None:
        self._progress = progress
        self._notebook = notebook
        self._bars: dict[str | None, Any] = {}
        self._lines: dict[tuple[TextIO, int], str] = {}  # unfinished, by stream and thread
        if not notebook:
            set_line_writer(self._write_above)

    def show(self, model: str | None, event: str, count: int) -> None:
        key = model if model in self._progress.bars else None
        bar = self._bar(key)
        if event == "planned":
            bar.total = self._progress.total(key)
            bar.refresh()
        elif event in DONE or (event == "failed" and count):
            bar.set_postfix_str(", ".join(_extras(self._progress, key)), refresh=event == "failed")
            bar.update(count if event in DONE else 0)

    def write(self, line: str) -> None:
        from tqdm import tqdm

        tqdm.write(show_invisible(line), file=uncaptured(sys.stderr))

    def end(self, *, failed: bool) -> None:  # noqa: ARG002
        for bar in reversed(self._bars.values()):  # the first bar last, which leaves the cursor at its line's start
            bar.close()
        if not self._notebook:
            set_line_writer(None)
            for (stream, _), text in self._lines.items():
                stream.write(text)

    def _write_above(self, stream: TextIO, text: str) -> None:
        """Write the finished lines of a thread above the bars."""
        from tqdm import tqdm

        key = (stream, threading.get_ident())
        lines, newline, self._lines[key] = (self._lines.get(key, "") + text).rpartition("\n")
        if newline:
            # the bars are cleared if the lines appear between them
            with tqdm.external_write_mode(file=uncaptured(sys.stderr)) if stream.isatty() else nullcontext():
                stream.write(lines + newline)

    def _bar(self, model: str | None) -> Any:
        """Return the bar of a model; the bars of all models are created with the first."""
        if model in self._bars:
            return self._bars[model]
        for name in self._progress.bars if model is not None else [None]:
            if name not in self._bars:
                self._bars[name] = self._new_bar(name)
        return self._bars[model]

    def _new_bar(self, model: str | None) -> Any:
        width = max((len(_short_name(name)) for name in self._progress.bars if name is not None), default=0)
        options: dict[str, Any] = {
            "total": self._progress.total(model),
            "desc": "generating" if model is None else f"{_short_name(model):<{width}}",
            "bar_format": _BAR_FORMAT,
            "unit": "",
            "leave": False,
        }
        if self._notebook:
            from tqdm.notebook import tqdm_notebook

            return tqdm_notebook(**options, dynamic_ncols=True)
        from tqdm import tqdm

        # the bar's output must not be captured as output of the model
        return tqdm(**options, position=len(self._bars), dynamic_ncols=True, file=uncaptured(sys.stderr))


_BAR_FORMAT = "{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{rate_noinv_fmt}, {remaining} left{postfix}]"


class _Lines:
    """Occasional lines."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._began = self._last_line = time.monotonic()
        self._last_count = 0

    def show(self, model: str | None, event: str, count: int) -> None:  # noqa: ARG002
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
        self._progress.note(_summary(self._progress, None, None if last else self._last_line - self._began))


class _Page:
    """A bar per model in a notebook that is updated."""

    def __init__(self, progress: Progress) -> None:
        from IPython import display

        self._progress = progress
        self._html = cast(Any, display.HTML)
        self._began = self._updated = time.monotonic()
        show: Any = display.display
        self._handle = show(self._html(self._page()), display_id=True)

    def show(self, model: str | None, event: str, count: int) -> None:  # noqa: ARG002
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
        seconds = None if last else time.monotonic() - self._began
        rows = [
            f"<div style='{_ROW}'>"
            + ("" if name is None else f"<span style='{_NAME}'>{escape(show_invisible(name))}</span>")
            + f"<progress style='flex:1 1 10em' max='{max(self._progress.total(name), 1)}' "
            + f"value='{_done(self._progress.counts_of(name))}'></progress>"
            + f"<span>{escape(_summary(self._progress, name, seconds))}</span></div>"
            for name in self._progress.bars
        ]
        return f"<div style='font-variant-numeric:tabular-nums'>{''.join(rows)}</div>"


class _MarimoPage(_Page):
    """The bars in a cell of marimo. Only its own threads can change the output of a cell."""

    def __init__(self, progress: Progress, marimo: Any) -> None:
        self._progress = progress
        self._began = self._updated = time.monotonic()
        self._marimo = marimo
        self._ended = threading.Event()
        self._thread = marimo.Thread(target=self._work, daemon=True)
        self._thread.start()

    def show(self, model: str | None, event: str, count: int) -> None:
        """Do nothing: the thread reads the counts regularly."""

    def end(self, *, failed: bool) -> None:  # noqa: ARG002
        self._ended.set()
        self._thread.join(2.0)  # before the cell shows its own output

    def _work(self) -> None:
        while not self._ended.wait(SECONDS_BETWEEN_PAGES):
            self._marimo.output.replace(self._marimo.Html(self._page()))


_ROW = "display:flex;flex-wrap:wrap;gap:.1em .8em;align-items:center;width:100%"
_NAME = "flex:0 0 9em;overflow-wrap:anywhere"


def _short_name(name: str) -> str:
    text = show_invisible(name)
    return text if len(text) <= _LONGEST_NAME else f"{text[: _LONGEST_NAME - 1]}…"


def _extras(progress: Progress, model: str | None) -> list[str]:
    """Return the numbers of failed and regenerated completions, and the cost so far, if there are any."""
    counts, cost = progress.counts_of(model), progress.cost_of(model)
    return [
        *([f"{counts['failed']:,} failed"] if counts["failed"] else []),
        *([f"{counts['rerun']:,} generated again"] if counts["rerun"] else []),
        *([dollars(cost)] if cost else []),
    ]


def _summary(progress: Progress, model: str | None, seconds: float | None) -> str:
    """Return `1,200 of 5,000 completions, 3 failed, 120/s, 32 s left`; without `seconds` no rate."""
    counts, total = progress.counts_of(model), progress.total(model)
    parts = [f"{_done(counts):,} of {total:,} completions", *_extras(progress, model)]
    rate = _rate(counts["generated"], seconds or 0.0)
    left = _seconds_left(counts, rate, total)
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


def _seconds_left(counts: dict[str, int], rate: float | None, total: int) -> float | None:
    return max(total - _done(counts), 0) / rate if rate else None
