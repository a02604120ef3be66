"""Runs in the background, and runs seen from elsewhere: `plan.submit()`, `hf.active_runs()`, `hf.runs()`."""

import logging
import math
import threading
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import polars as pl

from helmframe._core.registry import render
from helmframe._pipeline import PlanSpec, plan_tasks
from helmframe.early_stopping.monitor import until_entry
from helmframe.early_stopping.rules import Until
from helmframe.engines import local
from helmframe.engines.logs import read_logs
from helmframe.engines.manifest import plan_texts, resumed_runs
from helmframe.engines.progress import DONE, Progress
from helmframe.engines.resolve import Engine, resolve_engine
from helmframe.errors import HelmframeError, StoreError, UnknownNameError
from helmframe.models.budget import Budget
from helmframe.models.completion_cache import store_root
from helmframe.models.interrupts import wait_for
from helmframe.results import Results
from helmframe.store import RunFolder

# A run of another process that did not write its manifest for so long is no longer there.
GONE_SECONDS = 30.0

logger = logging.getLogger("helmframe.engines")

_runs: "dict[str, Run]" = {}


@dataclass
class Live:
    """A run of this process: what it does, and how it ended."""

    plans: Sequence[PlanSpec]
    budget: Budget
    until: Until | None = None
    resume: str | None = None
    progress: Progress = field(default_factory=lambda: Progress(enabled=False))
    ended: threading.Event = field(default_factory=threading.Event)
    error: BaseException | None = None
    results: Results | None = None


class Run:
    """One execution: live if this process does it, else as the store shows it.

    `status` is running, done, stopped (a limit, `cancel()`, Ctrl-C), failed, or gone (its process ended silently).
    """

    def __init__(self, folder: RunFolder, live: Live | None = None) -> None:
        self.folder = folder
        self.id = folder.id
        self._live = live

    @property
    def status(self) -> str:
        """running, done, stopped, failed or gone."""
        if self._live is not None:
            if not self._live.ended.is_set():
                return "running"
            return "failed" if self._live.error is not None else str(self.manifest()["status"])
        return _status(self.manifest())

    def manifest(self) -> dict[str, Any]:
        """What the run says of itself: plans, models, versions, host, times, counts."""
        try:
            return self.folder.manifest()
        except StoreError:
            if self._live is None:
                raise
            return {"status": "running", "counts": {}, "plans": plan_texts(self._live.plans)}

    def results(self, folder: RunFolder | None = None) -> Results:
        """The results so far; the final ones once it is done. Asks nothing.

        Args:
            folder: where those so far are kept; default a new one in the store.
        """
        live = self._live
        if live is None:
            return Results.load(self.folder.path)
        if live.results is not None:
            return live.results
        folder = local.run(live.plans, ask=False, resume=live.resume, until=live.until, folder=folder)
        return Results.load(folder.path)

    def logs(self) -> pl.DataFrame:
        """What was logged and printed so far, one row per record (`LOGS`), by time; the last 2 s may be missing."""
        return read_logs(self.folder)

    def progress(self) -> pl.DataFrame:
        """Return planned, cached, generated, failed, rate and seconds left per scenario and model.

        It is empty for runs of other processes.
        """
        progress = Progress(enabled=False) if self._live is None else self._live.progress
        return progress.snapshot()

    def errors(self) -> pl.DataFrame:
        """The requests that failed so far."""
        return self.results().errors()

    def cancel(self) -> None:
        """Ask no more; what was answered is kept, and the same plan goes on from there.

        Raises:
            HelmframeError: another process does it.
        """
        if self._live is None:
            raise HelmframeError(f"run {self.id} is not of this process; stop it where it runs.")
        self._live.budget.stopped.set()

    def wait(self, timeout: float | None = None) -> Results:
        """The results, once it has ended.

        Args:
            timeout: seconds.

        Raises:
            TimeoutError: it has not ended in time; it goes on.
            HelmframeError: what it met.
        """
        if self._live is not None:
            wait_for([self._live.ended], math.inf if timeout is None else timeout)
            if not self._live.ended.is_set():
                raise TimeoutError(f"run {self.id} has not ended within {timeout} s; it goes on.")
            if self._live.error is not None:
                raise self._live.error
            return self.results()
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.status == "running":
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"run {self.id} has not ended within {timeout} s; it goes on.")
            time.sleep(0.5)
        return self.results()

    def __await__(self) -> Generator[Any, None, Results]:
        import asyncio

        return asyncio.to_thread(self.wait).__await__()

    def _ipython_display_(self) -> None:
        render(self, "display")

    def _repr_html_(self) -> str:
        return str(render(self, "html"))

    def __repr__(self) -> str:
        counts = self.manifest().get("counts", {})
        done = sum(counts.get(name, 0) for name in DONE)
        failed = f", {counts['failed']:,} failed" if counts.get("failed") else ""
        return f"Run {self.id}: {self.status}, {done:,} of {counts.get('planned', 0):,} completions{failed}"


def start_run(
    plans: Sequence[PlanSpec],
    *,
    budget: Budget,
    fresh: bool = False,
    resume: str | None = None,
    until: Until | None = None,
    engine: Engine = "local",
) -> Run:
    """Start plans in the background and return their run.

    Raises:
        ArgumentError: The engine is unknown, or `resume` is a run that can't be resumed.
        UnknownNameError: `resume` isn't a run of the store.
        PlanError, CapabilityError: What can be known before anything runs.
    """
    go = resolve_engine(engine)
    tasks = [task for plan in plans for task in plan_tasks(plan)]
    if until is not None:
        until_entry(until, tasks)
    earlier = resumed_runs(resume, plans, store_root(), fresh=fresh)
    live = Live(plans, budget, until, earlier[0].id if earlier else None)
    run = Run(RunFolder.new(store_root()), live)

    def work() -> None:
        try:
            how: dict[str, Any] = {"fresh": fresh, "resume": live.resume, "budget": budget, "until": until}
            live.results = Results.load(go(plans, **how, folder=run.folder, progress=live.progress).path)
        except BaseException as error:  # noqa: BLE001 - raised by wait(), in the thread that waits
            live.error = error
        finally:
            live.ended.set()

    _runs[run.id] = run
    threading.Thread(target=work, daemon=True, name=f"helmframe-run-{run.id}").start()
    return run


def active_runs() -> pl.DataFrame:
    """Return the runs in progress, one row each, newest first: of this process, and of others that share the store."""
    return runs().filter(pl.col("status") == "running")


def run(run_id: str) -> Run:
    """Return a run by its id, live if this process executes it.

    Raises:
        UnknownNameError: The store has no such run.
    """
    if run_id in _runs:
        return _runs[run_id]
    folders = [folder for folder in RunFolder.all(store_root()) if folder.id == run_id]
    if not folders:
        raise UnknownNameError.among("run", run_id, runs()["run"].to_list())
    return Run(folders[0])


def runs() -> pl.DataFrame:
    """Return every run in the store, one row each, newest first.

    Columns: run (its id), status, started (UTC), seconds, host, scenarios, models, planned, answered, failed, cost,
    path.
    """
    stored = map(Run, RunFolder.all(store_root()))
    rows = [_row(_runs.get(item.id, item)) for item in stored]
    table = pl.DataFrame([row for row in rows if row is not None], schema=_SCHEMA)
    return table.sort("started", "run", descending=True)


_SCHEMA: dict[str, Any] = {
    "run": pl.String,
    "status": pl.String,
    "started": pl.Datetime("ms", "UTC"),
    "seconds": pl.Float64,
    "host": pl.String,
    "scenarios": pl.List(pl.String),
    "models": pl.List(pl.String),
    "planned": pl.Int64,
    "generated": pl.Int64,
    "failed": pl.Int64,
    "cost": pl.Float64,
    "path": pl.String,
}


def _row(each: Run) -> dict[str, Any] | None:
    try:
        about = each.manifest()
    except StoreError as error:
        logger.warning("run %s is not listed: %s", each.id, error)
        return None
    if not about.get("asks", True):
        return None
    counts = about.get("counts", {})
    started = float(about["started"])
    return {
        "run": each.id,
        "status": each.status,
        "started": datetime.fromtimestamp(started, UTC),
        "seconds": float(about.get("ended") or about["seen"]) - started,
        "host": about["host"],
        "scenarios": list(about["scenarios"]),
        "models": list(about["models"]),
        "planned": counts.get("planned", 0),
        "generated": counts.get("generated", 0),
        "failed": counts.get("failed", 0),
        "cost": about.get("cost", 0.0),
        "path": str(each.folder.path),
    }


def _status(about: dict[str, Any]) -> str:
    if about["status"] == "running" and time.time() - float(about["seen"]) > GONE_SECONDS:
        return "gone"
    return str(about["status"])
