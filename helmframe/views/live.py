"""The live view of a run: its progress and its scores so far; notebooks update it until the run ends."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import polars as pl

from helmframe._core.registry import view
from helmframe.engines.notes import cost_notes, empty_notes, unparsed_notes, utilization_notes
from helmframe.engines.progress import DONE, duration
from helmframe.errors import HelmframeError
from helmframe.results import Results
from helmframe.results._data import reader_of
from helmframe.store import RunFolder
from helmframe.views.display import html_table, number, shown_path, skip_notes, spread

if TYPE_CHECKING:
    from helmframe._run import Run

SECONDS_BETWEEN_PAGES = 0.5
# Scores are computed at most at this interval, and for at most this share of the time.
SECONDS_BETWEEN_REFRESHES = 2.0
SHARE_OF_REFRESHES = 0.1
# Up to this number of completions are read from the store; of a larger run only finished shards are read.
MOST_READ = 20_000
_CELL = "text-align:left;padding:.2em .6em"
_BAR = "position:relative;width:120px;height:10px;background:rgba(128,128,128,.2)"

_threads: dict[str, threading.Thread] = {}


@view("Run.display")
def show(run: Run) -> None:
    """Show the run in IPython; a notebook updates every cell that shows it until the run ends."""
    from IPython import display

    publish: Any = display.display
    page, running = Page(run), run.status == "running"
    publish(page.bundle(refresh=not running), raw=True, display_id=page.display_id)
    thread = _threads.get(run.id)
    if running and _in_notebook() and not (thread is not None and thread.is_alive()):
        _threads[run.id] = threading.Thread(target=page.update_until_done, daemon=True, name=f"helmframe-live-{run.id}")
        _threads[run.id].start()


@view("Run.html")
def page_html(run: Run) -> str:
    """Return the current live page of a run."""
    return Page(run).bundle()["text/html"]


@view("Run.marimo")
def marimo_page(run: Run) -> Any:
    """Return the live page of a run for a cell of marimo, which a thread updates until the run ends."""
    marimo: Any = sys.modules["marimo"]
    page = Page(run)

    def work() -> None:
        while run.status == "running" and not marimo.current_thread().should_exit:
            time.sleep(SECONDS_BETWEEN_PAGES)
            marimo.output.replace(marimo.Html(page.bundle(refresh=page.is_due)["text/html"]))
        marimo.output.replace(marimo.Html(page.bundle()["text/html"]))

    if run.status == "running":
        marimo.Thread(target=work, daemon=True).start()
    return marimo.Html(page.bundle(refresh=run.status != "running")["text/html"])


def run_html(run: Run, scores: pl.DataFrame | None) -> str:
    """Return the progress of a run and its scores as HTML, escaped; by scenario and model for a run of this process."""
    manifest = run.manifest()
    progress = run.progress()
    totals: dict[str, int] = dict(manifest.get("counts", {}))
    if progress.height:
        totals = {name: int(progress[name].sum()) for name in ("planned", *DONE, *_COUNTED)}
    done = sum(totals.get(name, 0) for name in DONE)
    bar = f"<progress aria-label='completions' max='{max(totals.get('planned', 0), 1)}' value='{done}'></progress>"
    parts = [f"Run {run.id}: {run.status}", f"{done:,} of {totals.get('planned', 0):,} completions"]
    parts += [f"{totals[name]:,} {label}" for name, label in _COUNTED.items() if totals.get(name)]
    if run.status == "running":
        parts += _pace(progress)
    notes = [
        *skip_notes(manifest),
        *empty_notes(manifest),
        *unparsed_notes(manifest),
        *utilization_notes(manifest),
        *cost_notes(manifest),
        f"results: {shown_path(run.folder.path)}",
    ]
    shown_counts = [name for name in _COUNTED if name == "failed" or totals.get(name)]
    heads = ["scenario", "model", "completions", *(_COUNTED[name] for name in shown_counts), "per second", "time left"]
    rows = [_row(row, shown_counts) for row in progress.iter_rows(named=True)]
    table = html_table(heads, rows) if rows else ""
    return f"<div>{bar} {escape(', '.join(parts))}</div>{table}{_scores_html(scores, run.status)}" + "".join(
        f"<div style='opacity:.7;font-size:90%'>{escape(note)}</div>" for note in notes
    )


def scores_so_far(run: Run) -> pl.DataFrame | None:
    """Return `results.table()` of the main metrics over the completions so far, or None if there are none."""
    planned = run.progress()["planned"].sum()
    if not planned or planned > MOST_READ:  # of another process, or large
        return _table(Results.load(run.folder.path))
    with TemporaryDirectory(prefix="helmframe-") as folder:
        return _table(run.results(RunFolder(Path(folder, run.id))))


class Page:
    """The live page of a run, shared by all cells that show it."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.display_id = f"helmframe-run-{run.id}"
        self._scores: pl.DataFrame | None = None
        self._next_refresh = 0.0  # when the scores may be looked up next

    def bundle(self, *, refresh: bool = True) -> dict[str, str]:
        """Return the run as text and as HTML; the scores are computed now if `look`, else reused."""
        if refresh:
            self._refresh_scores()
        return {"text/plain": repr(self.run), "text/html": run_html(self.run, self._scores)}

    @property
    def is_due(self) -> bool:
        """Return whether the scores may be computed again."""
        return time.monotonic() >= self._next_refresh

    def update_until_done(self) -> None:
        """Update the page until the run has ended."""
        from IPython import display

        publish: Any = display.update_display
        before: dict[str, str] = {}
        while self.run.status == "running":
            now = self.bundle(refresh=self.is_due)
            if now != before:
                publish(now, raw=True, display_id=self.display_id)
            before = now
            time.sleep(SECONDS_BETWEEN_PAGES)
        publish(self.bundle(), raw=True, display_id=self.display_id)

    def _refresh_scores(self) -> None:
        began = time.monotonic()
        with suppress(HelmframeError):  # no results yet, or the run failed, which `run.results()` raises
            self._scores = scores_so_far(self.run)
        now = time.monotonic()
        self._next_refresh = now + max(SECONDS_BETWEEN_REFRESHES, (now - began) / SHARE_OF_REFRESHES)


_COUNTED = {
    "failed": "failed",
    "rerun": "generated again",
    "prompt_tokens": "prompt tokens",
    "output_tokens": "output tokens",
}


def _in_notebook() -> bool:
    from IPython import get_ipython

    shell: Any = get_ipython
    return hasattr(shell(), "kernel")


def _table(results: Results) -> pl.DataFrame | None:
    if not results.metric_names or not reader_of(results).n_generated():
        return None
    return results.table(metrics=results.main_metrics)


def _pace(progress: pl.DataFrame) -> list[str]:
    """Return the rate and the time left: rows run in parallel, so rates add up and the slowest row ends last."""
    running = progress.filter(pl.col("seconds_left") > 0)
    rate, left = float(running["rate"].sum()), running["seconds_left"].max()
    parts = [f"{_rate(rate)}/s"] if rate else []
    return [*parts, f"{duration(float(left))} left"] if isinstance(left, float) and left else parts


def _row(row: dict[str, Any], counted: Sequence[str]) -> list[str]:
    done = sum(row[name] for name in DONE)
    seconds_left = row["seconds_left"]
    counts = [f"{row[name]:,}" for name in counted]
    pace = ["" if row["rate"] is None else _rate(row["rate"]), duration(seconds_left) if seconds_left else ""]
    return [row["scenario"], row["model"], f"{done:,} of {row['planned']:,}", *counts, *pace]


def _rate(per_second: float) -> str:
    return f"{per_second:,.0f}" if per_second >= 100 else f"{per_second:.3g}"


def _scores_html(table: pl.DataFrame | None, status: str) -> str:
    """Return the scores with intervals as HTML; fractions are drawn too."""
    if table is None:
        return ""
    keys = [key for key in table.columns[: table.columns.index("value")] if key != "metric"]
    heads = [*keys, "metric", "score so far" if status == "running" else "score", "95% interval", "n"]
    head = "".join(f"<th scope='col' style='{_CELL}'>{escape(cell)}</th>" for cell in heads)
    body = ""
    for row in table.iter_rows(named=True):
        interval = spread(row["ci_low"], row["ci_high"]) or str(row["interval"])
        cells = [*(str(row[key]) for key in keys), row["metric"], number(row["value"]), interval, f"{row['n']:,}"]
        body += "<tr>" + "".join(f"<td style='{_CELL}'>{escape(cell)}</td>" for cell in cells)
        body += f"<td>{_bar_html(row)}</td></tr>"
    return f"<table><thead><tr>{head}<td></td></tr></thead><tbody>{body}</tbody></table>"


def _bar_html(row: dict[str, Any]) -> str:
    low, high, value = row["ci_low"], row["ci_high"], row["value"]
    if None in (low, high, value) or not 0 <= low <= value <= high <= 1:
        return ""
    band = f"position:absolute;left:{low:.1%};width:{high - low:.1%};height:100%;background:#56b4e9"
    point = f"position:absolute;left:{value:.1%};width:2px;height:100%;background:#0072b2"
    return f"<div aria-hidden='true' style='{_BAR}'><div style='{band}'></div><div style='{point}'></div></div>"
