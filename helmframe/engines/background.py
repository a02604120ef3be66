"""Runs in the background, and runs seen from elsewhere: `plan.submit()`, `hf.runs()`, `hf.history()`."""

import logging
import math
import threading
import time
from collections.abc import Generator, Sequence
from datetime import UTC, datetime
from typing import Any

import polars as pl

from helmframe.engines import local
from helmframe.engines.chosen import Engine, running
from helmframe.engines.logs import read_logs
from helmframe.engines.progress import DONE, Progress
from helmframe.engines.resume import resumed_runs
from helmframe.errors import HelmframeError, StoreError, UnknownNameError
from helmframe.kept import store_root
from helmframe.models.budget import Budget
from helmframe.models.unbroken import wait_for
from helmframe.results import Results
from helmframe.stages import Stages
from helmframe.store import RunFolder
from helmframe.until import Until
from helmframe.watch import watched

# A run of another process that did not write its manifest for so long is no longer there.
GONE_SECONDS = 30.0

logger = logging.getLogger("helmframe.engines")

_runs: "dict[str, Run]" = {}


class Run:
    """One execution: live if this process does it, else as the store shows it.

    `status` is running, done, stopped (a limit, `cancel()`, Ctrl-C), failed, or gone (its process ended silently).
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.id = folder.id
        self._budget: Budget | None = None
        self._progress = Progress(enabled=False)
        self._ended: threading.Event | None = None  # of a run of this process
        self._plans: Sequence[Stages] = ()
        self._until: Until | None = None
        self._resume: str | None = None
        self._error: BaseException | None = None
        self._results: Results | None = None

    @classmethod
    def start(
        cls,
        plans: Sequence[Stages],
        *,
        budget: Budget,
        fresh: bool = False,
        resume: str | None = None,
        until: Until | None = None,
        engine: Engine = "local",
    ) -> "Run":
        """Start plans in the background.

        Raises:
            ArgumentError: no such engine, or `resume` is no run that can be resumed.
            UnknownNameError: `resume` names no run of the store.
            PlanError, CapabilityError: what can be known before anything runs.
        """
        go = running(engine)
        tasks = [task for plan in plans for task in plan.tasks()]
        if until is not None:
            watched(until, tasks)
        earlier = resumed_runs(resume, plans, store_root(), fresh=fresh)
        resume = earlier[0].id if earlier else None
        run = cls(RunFolder.new(store_root()))
        run._plans, run._budget, run._until, run._resume = plans, budget, until, resume

        def work() -> None:
            try:
                how: dict[str, Any] = {"fresh": fresh, "resume": resume, "budget": budget, "until": until}
                run._results = go(plans, **how, folder=run.folder, progress=run._progress)
            except BaseException as error:  # noqa: BLE001 - raised by wait(), in whoever waits
                run._error = error
            finally:
                ended.set()

        run._ended = ended = threading.Event()
        _runs[run.id] = run
        threading.Thread(target=work, daemon=True, name=f"helmframe-run-{run.id}").start()
        return run

    @property
    def status(self) -> str:
        """running, done, stopped, failed or gone."""
        if self._ended is not None:
            if not self._ended.is_set():
                return "running"
            return "failed" if self._error is not None else str(self.manifest()["status"])
        return _status(self.manifest())

    def manifest(self) -> dict[str, Any]:
        """What the run says of itself: plans, models, versions, host, times, counts."""
        try:
            return self.folder.manifest()
        except StoreError:
            if self._ended is None:
                raise
            return {"status": "running", "counts": {}, "plans": list(map(str, self._plans))}

    def results(self, folder: RunFolder | None = None) -> Results:
        """The results so far; the final ones once it is done. Asks nothing.

        Args:
            folder: where those so far are kept; default a new one in the store.
        """
        if self._results is not None:
            return self._results
        if self._plans:
            return local.run(self._plans, ask=False, resume=self._resume, until=self._until, folder=folder)
        return Results.load(self.folder.path)

    def logs(self) -> pl.DataFrame:
        """What was logged and printed so far, one row per record (`LOGS`), by time; the last 2 s may be missing."""
        return read_logs(self.folder)

    def progress(self) -> pl.DataFrame:
        """Return counts, rate and time left per scenario and model, for runs of this process only."""
        return self._progress.snapshot()

    def errors(self) -> pl.DataFrame:
        """The requests that failed so far."""
        return self.results().errors()

    def cancel(self) -> None:
        """Ask no more; what was answered is kept, and the same plan goes on from there.

        Raises:
            HelmframeError: another process does it.
        """
        if self._budget is None:
            raise HelmframeError(f"run {self.id} is not of this process; stop it where it runs.")
        self._budget.stopped.set()

    def wait(self, timeout: float | None = None) -> Results:
        """The results, once it has ended.

        Args:
            timeout: seconds.

        Raises:
            TimeoutError: it has not ended in time; it goes on.
            HelmframeError: what it met.
        """
        if self._ended is not None:
            wait_for([self._ended], math.inf if timeout is None else timeout)
            if not self._ended.is_set():
                raise TimeoutError(f"run {self.id} has not ended within {timeout} s; it goes on.")
            if self._error is not None:
                raise self._error
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
        from helmframe.views.live import show

        show(self)

    def _repr_html_(self) -> str:
        from helmframe.views.live import Page

        return Page(self).bundle()["text/html"]

    def __repr__(self) -> str:
        counts = self.manifest().get("counts", {})
        done = sum(counts.get(name, 0) for name in DONE)
        failed = f", {counts['failed']:,} failed" if counts.get("failed") else ""
        return f"Run {self.id}: {self.status}, {done:,} of {counts.get('planned', 0):,} completions{failed}"


def runs() -> pl.DataFrame:
    """The runs going on: of this process, and of others that share the store. One row per run, newest first."""
    return history().filter(pl.col("status") == "running")


def run(run_id: str) -> Run:
    """A run by its id, live if this process does it.

    Raises:
        UnknownNameError: the store has no such run.
    """
    if run_id in _runs:
        return _runs[run_id]
    found = [each for each in RunFolder.all(store_root()) if each.id == run_id]
    if not found:
        raise UnknownNameError.among("run", run_id, history()["run"].to_list())
    return Run(found[0])


def history() -> pl.DataFrame:
    """Every run that the store knows, one row each, newest first.

    Columns: run (its id), status, started (UTC), seconds, host, scenarios, models, planned, answered, failed, cost,
    path.
    """
    found = map(Run, RunFolder.all(store_root()))
    rows = [_row(_runs.get(each.id, each)) for each in found]
    table = pl.DataFrame([row for row in rows if row is not None], schema=_HISTORY)
    return table.sort("started", "run", descending=True)


_HISTORY: dict[str, Any] = {
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
