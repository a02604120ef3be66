"""The engine of one machine: tasks and models side by side in threads, all asking through one queue per model."""

import platform
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from helmframe import settings
from helmframe.engines.progress import Progress
from helmframe.errors import PlanError
from helmframe.metrics import chosen
from helmframe.models.protocol import Model
from helmframe.results import Results
from helmframe.store import Answers, ParquetAnswers, ProcessAnswers, RunFolder

# Tasks at once; each holds one shard in memory.
TASKS = 8

Tables = Iterator[tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]]


class Runnable(Protocol):
    """A plan, as far as an engine sees it."""

    def tasks(self) -> Sequence[Any]:
        """One task per scenario."""

    def shards(self, task: Any) -> Iterator[Callable[..., Tables]]:
        """Each shard of a task, as a function that takes it through the stages."""


def run(plans: Sequence[Runnable], *, ask: bool = True, fresh: bool = False) -> Results:
    """Take every shard of every plan through the stages and keep what comes out.

    Args:
        plans: plans; a suite gives several.
        ask: False looks into the store only.
        fresh: True asks again what the store has.

    Raises:
        PlanError, SourceError, StoreError: the first that a task met, after what was answered has been kept.
    """
    root = store_root()
    first = not root.exists()
    tasks = tell_apart([(plan, task) for plan in plans for task in plan.tasks()])
    folder = RunFolder.new(root)
    manifest = _manifest(tasks)
    folder.write_manifest(manifest)
    fingerprints = {model: model.fingerprint() for _, task in tasks for model in task.models}
    manifest["models"] = {
        model.name: {"fingerprint": fingerprint, "durable": model.durable, "note": model.note}
        for model, fingerprint in fingerprints.items()
    }
    room = threading.Semaphore(TASKS)
    with Progress(enabled=ask) as progress:
        if first:
            progress.say(f"the store is {root}; HELMFRAME_STORE names another")

        def run_model(task: Any, through: Callable[..., Tables], model: Model) -> None:
            kept = answers_of(root, model, fingerprints[model], task.spec.scenario)
            tables = through(model, kept, fingerprints[model], ask=ask, fresh=fresh, report=progress.report)
            for completions, scores, prefixes in tables:
                folder.add("prefixes", task.spec.scenario, prefixes)
                folder.add("completions", task.spec.scenario, completions)
                folder.add("scores", task.spec.scenario, scores)

        def run_task(plan: Runnable, task: Any) -> None:
            with room if len(tasks) > 1 else nullcontext():
                for through in plan.shards(task):
                    together([partial(run_model, task, through, model) for model in task.models], progress)

        together([partial(run_task, plan, task) for plan, task in tasks], progress)
    manifest["counts"] = progress.counts
    manifest["ended"] = time.time()
    folder.write_manifest(manifest)
    return Results.load(folder.path)


def tell_apart(tasks: list[tuple[Runnable, Any]]) -> list[tuple[Runnable, Any]]:
    """Where plans of a suite ask the same scenario of the same model, their settings' names get the plan's number."""
    asked = Counter((task.spec.scenario, model.name) for _, task in tasks for model in task.models)
    plans = list(dict.fromkeys(id(plan) for plan, _ in tasks))
    named = []
    for plan, each in tasks:
        task = each
        if any(asked[task.spec.scenario, model.name] > 1 for model in task.models):
            label = f"plan={plans.index(id(plan)) + 1}"
            task = replace(
                task,
                settings=tuple(
                    replace(each, name=",".join(filter(None, (label, each.name)))) for each in task.settings
                ),
            )
        named.append((plan, task))
    return named


def answers_of(root: Path, model: Model, fingerprint: str, scenario: str) -> Answers:
    """Where a model's answers are kept: on disk if it can be hashed whole, else in this process."""
    return ParquetAnswers(root, fingerprint, scenario) if model.durable else ProcessAnswers(fingerprint, scenario)


def store_root() -> Path:
    """The store's folder."""
    root = settings.store_root()
    if "://" in str(root):
        raise PlanError(
            f"the store {str(root)!r} is no folder; stores in a bucket are not there yet. Set HELMFRAME_STORE."
        )
    return Path(root)


def together(jobs: Sequence[Callable[[], None]], progress: Progress) -> None:
    """Run the jobs side by side and wait for all; the first error is raised once all have ended.

    One job runs in this thread. A Ctrl-C tells the others to stop at their next batch; what was answered is kept.
    """
    if len(jobs) == 1:
        jobs[0]()
        return
    errors: list[BaseException] = []

    def guarded(job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:  # noqa: BLE001 - raised again below, in the thread that waits
            errors.append(error)

    threads = [
        threading.Thread(target=guarded, args=(job,), daemon=True, name=f"helmframe-{i}") for i, job in enumerate(jobs)
    ]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            while thread.is_alive():
                thread.join(0.1)
    except KeyboardInterrupt:
        progress.stop()
        for thread in threads:
            thread.join(5)
        raise
    if errors:
        raise errors[0]


def _manifest(tasks: Sequence[tuple[Runnable, Any]]) -> dict[str, Any]:
    """What is needed to read the run, and to run it again; no secret is in it."""
    said = {id(plan): without_secrets(str(plan)) for plan, _ in tasks}
    specs = {task.spec.scenario: task.spec for _, task in tasks}
    metrics = {each.name: each for _, task in tasks for each in chosen(task.metrics)}
    return {
        "format": 1,
        "plans": list(said.values()),
        "scenarios": {
            name: {
                "version": spec.version,
                "main": spec.main.__dict__,
                "part": list(spec.part),
                "description": spec.description,
            }
            for name, spec in specs.items()
        },
        "metrics": {
            name: {"level": each.level, "unit": each.unit, "higher_is_better": each.higher_is_better}
            for name, each in metrics.items()
        },
        "versions": {name: version(name) for name in ("helmframe", "polars", "duckdb", "numpy")}
        | {"python": platform.python_version()},
        "started": time.time(),
    }


def without_secrets(text: str) -> str:
    """The text without user names and passwords in addresses."""
    return re.sub(r"://[^/@\s]*@", "://", text)
