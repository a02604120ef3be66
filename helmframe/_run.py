"""Runs in the background and in the store: `plan.submit()`, `hf.active_runs()`, `hf.runs()`, `hf.run(id)`."""

import math
import threading
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import polars as pl

from helmframe._core.registry import render
from helmframe._core.safe_text import get_logger
from helmframe._pipeline import PlanSpec, Skipped, suite_tasks
from helmframe.early_stopping.rules import Until, until_entry
from helmframe.engines import Engine, local, resolve_engine
from helmframe.engines.logs import read_logs
from helmframe.engines.manifest import called_models, plan_texts, resumed_runs
from helmframe.engines.progress import DONE, Progress
from helmframe.errors import HelmframeError, StoreError, UnknownNameError
from helmframe.models.budget import Budget
from helmframe.models.completion_cache import store_root
from helmframe.models.interrupts import wait_for
from helmframe.store import Address, RunFolder

if TYPE_CHECKING:
    from helmframe.results import Results

# A run of another process counts as ended if its manifest is older than this.
STALE_SECONDS = 30.0

logger = get_logger("helmframe.engines")

# A run's own thread refers to it until it ends; then it is freed with the last reference of the user.
_runs: "WeakValueDictionary[str, Run]" = WeakValueDictionary()


def load_results(path: Address) -> "Results":
    """Return the results of a run's folder; statistics are imported now, not with the package."""
    from helmframe.results import Results

    return Results.load(path)


@dataclass
class Live:
    """The state of a run in this process: plans, limits, progress and outcome."""

    plans: Sequence[PlanSpec]
    budget: Budget
    until: Until | None = None
    resume: str | None = None
    progress: Progress = field(default_factory=lambda: Progress(enabled=False))
    ended: threading.Event = field(default_factory=threading.Event)
    error: BaseException | None = None
    results: "Results | None" = None


class Run:
    """One execution of plans: live in the process that executes it, else read from the store.

    `plan.submit()` starts a run; `hf.run(id)` returns a stored run. A run can be awaited: `await plan.submit()`.

    Attributes:
        id: The id of the run, as in `hf.runs()`.
        folder: The folder of the run in the store.

    >>> import helmframe as hf
    >>> run = hf.scenario("sampler").where(subject="music").limit(2).generate(hf.models.oracle()).submit()
    >>> run.wait().value("exact_match")
    1.0
    >>> run.status
    'done'
    >>> run.errors().height
    0
    """

    def __init__(self, folder: RunFolder, live: Live | None = None) -> None:
        self.folder = folder
        self.id = folder.id
        self._live = live

    @property
    def status(self) -> str:
        """Return running, done, stopped (by a limit, `cancel()` or Ctrl-C), failed, or gone (its process ended)."""
        if self._live is not None:
            if not self._live.ended.is_set():
                return "running"
            return "failed" if self._live.error is not None else str(self.manifest()["status"])
        return _status(self.manifest())

    def manifest(self) -> dict[str, Any]:
        """Return the run's manifest: plans, models, versions, host, times, counts.

        >>> import helmframe as hf
        >>> run = hf.scenario("sampler").where(subject="music").limit(2).generate(hf.models.oracle()).submit()
        >>> _ = run.wait()
        >>> run.manifest()["counts"]["planned"]
        2
        """
        try:
            return self.folder.manifest()
        except StoreError:
            if self._live is None:
                raise
            return {"status": "running", "counts": {}, "plans": plan_texts(self._live.plans)}

    def results(self, folder: RunFolder | None = None) -> "Results":
        """Return the results so far, or the final results of a run that has ended. No request is sent.

        Args:
            folder: The folder to write the results so far to; default a new one in the store.

        >>> import helmframe as hf
        >>> run = hf.scenario("sampler").where(subject="music").limit(2).generate(hf.models.oracle()).submit()
        >>> _ = run.wait()
        >>> run.results().value("exact_match")
        1.0
        """
        live = self._live
        if live is None:
            return load_results(self.folder.path)
        if live.results is not None:
            return live.results
        folder = local.run(live.plans, send=False, resume=live.resume, until=live.until, folder=folder)
        return load_results(folder.path)

    def logs(self) -> pl.DataFrame:
        """Return the log records and printed lines so far (`LOGS`), by time; the last 2 s may be missing.

        >>> import helmframe as hf
        >>> run = hf.scenario("sampler").where(subject="music").limit(2).generate(hf.models.oracle()).submit()
        >>> _ = run.wait()
        >>> "message" in run.logs().columns
        True
        """
        return read_logs(self.folder)

    def progress(self) -> pl.DataFrame:
        """Return the progress per scenario and model: planned, cached, generated, failed, rate, seconds left.

        `batches` lists the batches of a model with a batch API: id, status, numbers of requests and age in seconds.
        The table is empty for runs of other processes.

        >>> import helmframe as hf
        >>> run = hf.scenario("sampler").where(subject="music").limit(2).generate(hf.models.oracle()).submit()
        >>> _ = run.wait()
        >>> run.progress().select("scenario", "planned", "failed").row(0)
        ('sampler', 2, 0)
        """
        if self._live is None:
            return Progress(enabled=False).snapshot()
        return self._live.progress.snapshot(
            {name: batches.progress() for (name, _), batches in dict(self._live.budget.batches).items()}
        )

    def errors(self) -> pl.DataFrame:
        """Return the failed requests so far, one row each. See `Results.errors`.

        >>> import helmframe as hf
        >>> def model(prompt: str) -> str:
        ...     raise RuntimeError("out of memory")
        >>> run = hf.scenario("sampler").where(subject="music").limit(1).generate(model).submit()
        >>> _ = run.wait()
        >>> run.errors()["error"].to_list()
        ['RuntimeError: out of memory']
        """
        return self.results().errors()

    def cancel(self) -> None:
        """Stop sending requests. Completions are cached: rerun the plan to resume.

        Raises:
            HelmframeError: Another process executes the run.

        >>> import helmframe as hf
        >>> run = hf.scenario("sampler").where(subject="music").generate(hf.models.oracle()).submit(max_requests=1)
        >>> run.cancel()
        >>> run.wait().manifest["status"]
        'stopped'
        """
        if self._live is None:
            raise HelmframeError(f"Run {self.id} belongs to another process. Stop it in that process.")
        self._live.budget.stopped.set()

    def wait(self, timeout: float | None = None) -> "Results":
        """Wait for the run to end and return its results.

        Args:
            timeout: The most seconds to wait; default no limit.

        Raises:
            TimeoutError: The run has not ended in time. It continues.
            HelmframeError: The run failed with this error.

        >>> import helmframe as hf
        >>> run = hf.scenario("sampler").where(subject="music").limit(2).generate(hf.models.oracle()).submit()
        >>> run.wait(timeout=60).value("exact_match")
        1.0
        """
        if self._live is not None:
            wait_for([self._live.ended], math.inf if timeout is None else timeout)
            if not self._live.ended.is_set():
                raise TimeoutError(f"Run {self.id} did not end within {timeout} s. It continues in the background.")
            if self._live.error is not None:
                raise self._live.error
            return self.results()
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.status == "running":
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"Run {self.id} did not end within {timeout} s. It continues in the background.")
            time.sleep(0.5)
        return self.results()

    def __await__(self) -> "Generator[Any, None, Results]":
        import asyncio

        return asyncio.to_thread(self.wait).__await__()

    def _ipython_display_(self) -> None:
        render(self, "display")

    def _display_(self) -> Any:
        return render(self, "marimo")  # marimo calls it

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
    skipped: Sequence[Skipped] = (),
) -> Run:
    """Start plans in the background and return their run.

    Raises:
        ArgumentError: The engine is unknown, `resume` is a run without reusable completions, or cost is limited and a
            model has no price.
        UnknownNameError: `resume` isn't a run of the store.
        PlanError, CapabilityError: The plans are invalid, or a model does not support them.
    """
    execute = resolve_engine(engine)
    tasks = [task for _, task in suite_tasks(plans)[0]]
    if until is not None:
        until_entry(until, tasks)
    budget.check(called_models(tasks).all)
    earlier = resumed_runs(resume, plans, store_root(), fresh=fresh)
    live = Live(plans, budget, until, earlier[0].id if earlier else None)
    run = Run(RunFolder.new(store_root()), live)

    def work() -> None:
        try:
            options: dict[str, Any] = {"fresh": fresh, "resume": live.resume, "budget": budget, "until": until}
            options["skipped"] = skipped
            live.results = load_results(execute(plans, **options, folder=run.folder, progress=live.progress).path)
        except BaseException as error:  # noqa: BLE001 - raised by wait(), in the thread that waits
            live.error = error
        finally:
            live.ended.set()

    _runs[run.id] = run
    threading.Thread(target=work, daemon=True, name=f"helmframe-run-{run.id}").start()
    return run


def active_runs() -> pl.DataFrame:
    """Return the runs in progress, one row each, newest first: of this process and of others with the same store.

    Returns:
        The columns of `runs`.

    >>> set(active_runs()["status"]) <= {"running"}
    True
    """
    return runs().filter(pl.col("status") == "running")


def run(run_id: str) -> Run:
    """Return a run by its id, live if this process executes it.

    Raises:
        UnknownNameError: The store has no such run.

    >>> import helmframe as hf
    >>> started = hf.scenario("sampler").where(subject="music").limit(2).generate(hf.models.oracle()).submit()
    >>> hf.run(started.id).wait().value("exact_match")
    1.0
    """
    if run_id in _runs:
        return _runs[run_id]
    folders = [folder for folder in RunFolder.all(store_root()) if folder.id == run_id]
    if not folders:
        newest = ", ".join(runs()["run"].head(5))
        listed = f"\nNewest runs: {newest}. hf.runs() lists all." if newest else " hf.runs() lists the runs of a store."
        raise UnknownNameError(f"run({run_id!r}): run not found in the store {store_root()}.{listed}")
    return Run(folders[0])


def runs() -> pl.DataFrame:
    """Return every run in the store, one row each, newest first.

    Returns:
        run (the id), status, started (UTC), seconds, host, scenarios, models, planned, generated and failed (numbers of
        requests), cost (US dollars; null if a price is unknown), path.

    >>> import helmframe as hf
    >>> plan = hf.scenario("sampler").where(subject="music").limit(2).generate(hf.models.oracle())
    >>> results = plan.score()
    >>> runs().filter(path=str(results.path)).select("status", "planned", "failed").row(0)
    ('done', 2, 0)
    """
    stored = map(Run, RunFolder.all(store_root()))
    rows = [_row(_runs.get(run.id, run)) for run in stored]
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


def _row(run: Run) -> dict[str, Any] | None:
    try:
        manifest = run.manifest()
    except StoreError as error:
        logger.warning("Run %s is skipped: %s", run.id, error)
        return None
    if manifest.get("store_only"):
        return None
    counts = manifest.get("counts", {})
    started = float(manifest["started"])
    return {
        "run": run.id,
        "status": run.status,
        "started": datetime.fromtimestamp(started, UTC),
        "seconds": float(manifest.get("ended") or manifest["seen"]) - started,
        "host": manifest["host"],
        "scenarios": list(manifest["scenarios"]),
        "models": list(manifest["models"]),
        "planned": counts.get("planned", 0),
        "generated": counts.get("generated", 0),
        "failed": counts.get("failed", 0),
        # earlier versions wrote 0 for models without a price
        "cost": manifest.get("cost") or (0.0 if "prices" in manifest and manifest.get("cost") == 0 else None),
        "path": str(run.folder.path),
    }


def _status(manifest: dict[str, Any]) -> str:
    if manifest["status"] == "running" and time.time() - float(manifest["seen"]) > STALE_SECONDS:
        return "gone"
    return str(manifest["status"])
