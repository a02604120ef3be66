"""A run as it goes on: how far it is, and its scores so far; in a notebook changed in place until it ends."""

from __future__ import annotations

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
from helmframe.engines.notes import empty_notes, utilization_notes
from helmframe.engines.progress import DONE, duration
from helmframe.errors import HelmframeError
from helmframe.results import Results
from helmframe.results._data import reader_of
from helmframe.store import RunFolder
from helmframe.views.display import html_table, number, reasons, shown_path, spread

if TYPE_CHECKING:
    from helmframe._run import Run

SECONDS_BETWEEN_PAGES = 0.5
# The scores so far are looked up at most so often, and for at most this share of the time.
SECONDS_BETWEEN_LOOKS = 2.0
SHARE_OF_LOOKS = 0.1
# A run of no more completions is looked up in the store; a larger one is read where its shards have ended.
LOOKED_UP = 20_000
_BAR = "position:relative;width:120px;height:10px;background:rgba(128,128,128,.2)"

_shown: dict[str, threading.Thread] = {}


@view("Run.display")
def show(run: Run) -> None:
    """Show the run in IPython; in a notebook what is shown changes until the run ends, in every cell that shows it."""
    from IPython import display

    publish: Any = display.display
    page, goes_on = Page(run), run.status == "running"
    publish(page.bundle(look=not goes_on), raw=True, display_id=page.place)
    thread = _shown.get(run.id)
    if goes_on and _in_notebook() and not (thread is not None and thread.is_alive()):
        _shown[run.id] = threading.Thread(target=page.keep_true, daemon=True, name=f"helmframe-live-{run.id}")
        _shown[run.id].start()


@view("Run.html")
def page_html(run: Run) -> str:
    """The live page of a run as it is now."""
    return Page(run).bundle()["text/html"]


def run_html(run: Run, scores: pl.DataFrame | None) -> str:
    """How far a run is, by scenario and model where it is of this process, and these scores; every text escaped."""
    about = run.manifest()
    progress = run.progress()
    totals: dict[str, int] = dict(about.get("counts", {}))
    if progress.height:
        totals = {name: int(progress[name].sum()) for name in ("planned", *DONE, "failed", *_TOKENS)}
    done = sum(totals.get(name, 0) for name in DONE)
    bar = f"<progress aria-label='completions' max='{max(totals.get('planned', 0), 1)}' value='{done}'></progress>"
    said = [f"Run {run.id}: {run.status}", f"{done:,} of {totals.get('planned', 0):,} completions"]
    said += [f"{totals[name]:,} {what}" for name, what in _COUNTED.items() if totals.get(name)]
    if run.status == "running":
        said += _pace(progress)
    notes = [*reasons(about), *empty_notes(about), *utilization_notes(about), f"results: {shown_path(run.folder.path)}"]
    counted = [name for name in _COUNTED if name == "failed" or totals.get(name)]
    heads = ["scenario", "model", "completions", *(_COUNTED[name] for name in counted), "per second", "time left"]
    rows = [_row(row, counted) for row in progress.iter_rows(named=True)]
    table = html_table(heads, rows) if rows else ""
    return f"<div>{bar} {escape(', '.join(said))}</div>{table}{_scores_html(scores, run.status)}" + "".join(
        f"<div style='opacity:.7;font-size:90%'>{escape(note)}</div>" for note in notes
    )


def scores_so_far(run: Run) -> pl.DataFrame | None:
    """`results.table()` of the main metrics, over what is answered; None where that is nothing yet."""
    planned = run.progress()["planned"].sum()
    if not planned or planned > LOOKED_UP:  # of another process, or large
        return _table(Results.load(run.folder.path))
    with TemporaryDirectory(prefix="helmframe-") as folder:
        return _table(run.results(RunFolder(Path(folder, run.id))))


class Page:
    """What is shown of a run, in all places that show it."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.place = f"helmframe-run-{run.id}"
        self._scores: pl.DataFrame | None = None
        self._look_at = 0.0  # when the scores may be looked up next

    def bundle(self, *, look: bool = True) -> dict[str, str]:
        """The run as text and as HTML, with the scores of now, or those looked up last."""
        if look:
            self._look()
        return {"text/plain": repr(self.run), "text/html": run_html(self.run, self._scores)}

    def keep_true(self) -> None:
        """Change what is shown until the run has ended."""
        from IPython import display

        publish: Any = display.update_display
        before: dict[str, str] = {}
        while self.run.status == "running":
            now = self.bundle(look=time.monotonic() >= self._look_at)
            if now != before:
                publish(now, raw=True, display_id=self.place)
            before = now
            time.sleep(SECONDS_BETWEEN_PAGES)
        publish(self.bundle(), raw=True, display_id=self.place)

    def _look(self) -> None:
        began = time.monotonic()
        with suppress(HelmframeError):  # nothing is there yet, or the run failed: whoever waits for it is told
            self._scores = scores_so_far(self.run)
        now = time.monotonic()
        self._look_at = now + max(SECONDS_BETWEEN_LOOKS, (now - began) / SHARE_OF_LOOKS)


_TOKENS = ("prompt_tokens", "output_tokens")
_COUNTED = {"failed": "failed", "prompt_tokens": "prompt tokens", "output_tokens": "output tokens"}


def _in_notebook() -> bool:
    from IPython import get_ipython

    shell: Any = get_ipython
    return hasattr(shell(), "kernel")


def _table(results: Results) -> pl.DataFrame | None:
    if not results.metric_names or not reader_of(results).n_generated():
        return None
    return results.table(metrics=results.main_metrics)


def _pace(progress: pl.DataFrame) -> list[str]:
    """Rows run side by side: the rates of those that go on add up, and the slowest tells the end."""
    going = progress.filter(pl.col("seconds_left") > 0)
    rate, left = float(going["rate"].sum()), going["seconds_left"].max()
    said = [f"{_rate(rate)}/s"] if rate else []
    return [*said, f"{duration(float(left))} left"] if isinstance(left, float) and left else said


def _row(row: dict[str, Any], counted: Sequence[str]) -> list[str]:
    done = sum(row[name] for name in DONE)
    left = row["seconds_left"]
    counts = [f"{row[name]:,}" for name in counted]
    pace = ["" if row["rate"] is None else _rate(row["rate"]), duration(left) if left else ""]
    return [row["scenario"], row["model"], f"{done:,} of {row['planned']:,}", *counts, *pace]


def _rate(per_second: float) -> str:
    return f"{per_second:,.0f}" if per_second >= 100 else f"{per_second:.3g}"


def _scores_html(table: pl.DataFrame | None, status: str) -> str:
    """Scores with intervals, as numbers and, where they are fractions, drawn."""
    if table is None:
        return ""
    keys = [key for key in table.columns[: table.columns.index("value")] if key != "metric"]
    heads = [*keys, "metric", "score so far" if status == "running" else "score", "95% interval", "n"]
    head = "".join(f"<th scope='col' style='text-align:left'>{escape(cell)}</th>" for cell in heads)
    body = ""
    for row in table.iter_rows(named=True):
        interval = spread(row["ci_low"], row["ci_high"]) or str(row["interval"])
        cells = [*(str(row[key]) for key in keys), row["metric"], number(row["value"]), interval, f"{row['n']:,}"]
        body += "<tr>" + "".join(f"<td style='text-align:left'>{escape(cell)}</td>" for cell in cells)
        body += f"<td>{_drawn(row)}</td></tr>"
    return f"<table><thead><tr>{head}<td></td></tr></thead><tbody>{body}</tbody></table>"


def _drawn(row: dict[str, Any]) -> str:
    low, high, value = row["ci_low"], row["ci_high"], row["value"]
    if None in (low, high, value) or not 0 <= low <= value <= high <= 1:
        return ""
    band = f"position:absolute;left:{low:.1%};width:{high - low:.1%};height:100%;background:#56b4e9"
    point = f"position:absolute;left:{value:.1%};width:2px;height:100%;background:#0072b2"
    return f"<div aria-hidden='true' style='{_BAR}'><div style='{band}'></div><div style='{point}'></div></div>"
