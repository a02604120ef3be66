"""The engine of one machine: tasks and models side by side in threads, all asking through one queue per model."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, closing, contextmanager, nullcontext
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeAlias

import polars as pl

from helmframe._core.safe_text import error_text
from helmframe._pipeline import (
    FIRST_ROWS,
    SHARD_ROWS,
    PlanSpec,
    Task,
    build_requests,
    fit_requests,
    generate_completions,
    instance_keys,
    judge_completions,
    plan_tasks,
    score_completions,
    task_checksum,
    task_shards,
)
from helmframe._schema import LOGS
from helmframe.early_stopping.monitor import StoppingMonitor, until_entry
from helmframe.early_stopping.rules import Until
from helmframe.engines.cache_notes import cache_note, noting
from helmframe.engines.empty import EmptyCompletions, count_empty, empty_notes
from helmframe.engines.logs import recording
from helmframe.engines.manifest import manifest, without_secrets
from helmframe.engines.prefetch import Behind, ahead, done
from helmframe.engines.progress import Progress
from helmframe.engines.resume import resumed_runs
from helmframe.engines.utilization import Working, working_notes
from helmframe.errors import CapabilityError, GroupedError, SourceError, SourceMissingError, StoreError
from helmframe.judging.judge import judges_of
from helmframe.models.budget import Budget
from helmframe.models.completion_cache import CompletionCache, StoredRun, store_root
from helmframe.models.generate import Report
from helmframe.models.interrupts import wait_for, wait_through
from helmframe.models.model import Model
from helmframe.models.scheduler import busy_of
from helmframe.scenarios.checksums import Data
from helmframe.store import Address, RunFolder, exists
from helmframe.store.files import remove
from helmframe.store.run_cache import add_requests, clear_requests

# Tasks at once; each holds up to five shards in memory: one read, one made ready, one asked, two to be put away.
TASKS = 4
HEARTBEAT_SECONDS = 3.0
# The first number of planned completions is in the manifest this soon: a killed run shows how many are missing.
FIRST_COUNT_SECONDS = 0.1

logger = logging.getLogger("helmframe.engines")


def run(
    plans: Sequence[PlanSpec],
    *,
    ask: bool = True,
    fresh: bool = False,
    resume: str | None = None,
    budget: Budget | None = None,
    until: Until | None = None,
    folder: RunFolder | None = None,
    progress: Progress | None = None,
) -> RunFolder:
    """Take every shard of every plan through the stages and keep what comes out.

    Args:
        plans: plans; a suite gives several.
        ask: False looks into the store only.
        fresh: True asks again what the store has.
        resume: The run whose completions of unpinned models are reused: its id, or "last".
        budget: how much may be asked.
        until: what is to be known before all is asked; default all is asked.
        folder: where the run is kept; default a new one in the store.
        progress: what shows it; default the usual.

    Raises:
        ArgumentError, UnknownNameError: `resume` names no run that can be resumed.
        PlanError, SourceError, StoreError: the first that a task met, after what was answered has been kept.
        CapabilityError: the model can't do what the plan needs. In a suite that is listed, and the others go on.
        SourceMissingError: a scenario's rows are not there. In a suite likewise, unless that is so of all.
    """
    root = store_root()
    execution = Execution(
        plans=plans,
        root=root,
        ask=ask,
        fresh=fresh,
        budget=budget or Budget(),
        until=until,
        folder=folder or RunFolder.new(root),
        progress=progress or Progress(enabled=ask),
        resumed=resumed_runs(resume, plans, root, fresh=fresh),
    )
    return execution.go()


# Requests as one model gets them and their prefixes, made ahead.
Prompts: TypeAlias = Future[tuple[pl.DataFrame, pl.DataFrame]]


@dataclass(frozen=True)
class Shared:
    """One task being done: what its shards share.

    Args:
        plan: whose task it is.
        task: the task.
        fingerprints: of its models, as of the start.
        about: the run's manifest.
        able: the models that can do it; one that can't is taken out.
        behind: where what is answered is put away.
        watch: who tells when enough is known.
    """

    plan: PlanSpec
    task: Task
    fingerprints: Mapping[Model, str]
    about: dict[str, Any]
    able: dict[Model, None]
    behind: Behind
    watch: StoppingMonitor | None


@dataclass(frozen=True)
class Execution:
    """One execution of some plans: what its threads share."""

    plans: Sequence[PlanSpec]
    root: Address
    ask: bool
    fresh: bool
    budget: Budget
    until: Until | None
    folder: RunFolder
    progress: Progress
    shard: int | None = None  # the number of the one shard that this is of a run of several processes
    empty: EmptyCompletions = field(default_factory=EmptyCompletions)
    resumed: Sequence[StoredRun] = ()  # whose completions of unpinned models are reused
    _noted: dict[str, object] = field(default_factory=dict)  # models whose cached completions were reported

    @property
    def cache(self) -> CompletionCache:
        """The completions that are reused, and where new ones are stored."""
        return CompletionCache(self.root, self.folder.path if self.ask else None, self.resumed)

    def go(self) -> RunFolder:
        """Run it to its end, or to the first error."""
        new = not exists(self.root)
        tasks = tell_apart([(plan, task) for plan in self.plans for task in plan_tasks(plan)])
        models = list(dict.fromkeys(model for _, task in tasks for model in task.models))
        judges = [model for _, task in tasks for each in judges_of(task.metrics) for model in each.models]
        self.budget.check([model.name for model in dict.fromkeys([*models, *judges])])
        fingerprints = {model: model.fingerprint() for model in models}
        self.prepare(tasks, fingerprints)
        about = manifest(self.plans, [task for _, task in tasks], fingerprints) | {"asks": self.ask}
        if self.resumed:
            about["resumed"] = self.resumed[0].id
        if self.until is not None:
            about["until"] = until_entry(self.until, [task for _, task in tasks])
        working, judging = Working(fingerprints), Working({judge: judge.fingerprint() for judge in judges})
        with self.progress, self._kept(about), self._recorded(), self._summed(tasks, about):
            if new:
                self.progress.say(f"the store is {self.root}; HELMFRAME_STORE names another")
            missing = self.work(tasks, fingerprints, about)
            if self.ask and not self.budget.stopped.is_set():
                clear_requests(self.folder.path)
            for name, noted in working.noted().items():
                about["models"][name] |= noted
            if judged := judging.noted():
                about["judges"] = judged
            if empty := self.empty.noted():
                about["empty_completions"] = empty
            for note in empty_notes(about) if self.ask else ():
                logger.warning("%s", note)
            if missing and len(missing) == len(tasks):
                raise missing[0]
        for note in working_notes(about):
            self.progress.say(note)
        return self.folder

    def prepare(self, tasks: Sequence[tuple[PlanSpec, Task]], fingerprints: Mapping[Model, str]) -> None:
        """What must be said before anything is asked or written; here there is nothing."""

    def work(
        self, tasks: Sequence[tuple[PlanSpec, Task]], fingerprints: Mapping[Model, str], about: dict[str, Any]
    ) -> list[SourceMissingError]:
        """Do all tasks; in a suite, gives an error for each whose rows are not there."""
        room = threading.Semaphore(TASKS)
        missing: list[SourceMissingError] = []
        run_concurrently(
            [partial(self._there, missing, plan, task, fingerprints, about, room) for plan, task in tasks], self.budget
        )
        return missing

    def one(self, plan: PlanSpec, task: Task, fingerprints: Mapping[Model, str]) -> None:
        """Do one task, or what a plan that is cut gives of it."""
        self._task(plan, task, fingerprints, {"left_out": []}, nullcontext())

    def _there(
        self,
        missing: list[SourceMissingError],
        plan: PlanSpec,
        task: Task,
        fingerprints: Mapping[Model, str],
        about: dict[str, Any],
        room: Any,
    ) -> None:
        """The task, if its rows are there; in a suite one whose rows are not is listed, and the others go on."""
        try:
            self._task(plan, task, fingerprints, about, room)
        except SourceMissingError as error:
            self.absent(error, task, about)
            missing.append(error)

    def absent(self, error: SourceMissingError, task: Task, about: dict[str, Any]) -> None:
        """List a task whose rows are not there, in a suite; else that is raised."""
        if len(self.plans) == 1:
            raise error
        said = {"scenario": task.spec.scenario, "reason": str(error)}
        about["left_out"] += [{**said, "model": model.name} for model in task.models]

    def _task(
        self, plan: PlanSpec, task: Task, fingerprints: Mapping[Model, str], about: dict[str, Any], room: Any
    ) -> None:
        watch = None if self.until is None else StoppingMonitor(self.until, task, instance_keys(plan, task.spec))
        with room, Behind() as behind:
            shared = Shared(plan, task, fingerprints, about, dict.fromkeys(task.models), behind, watch)
            with closing(ahead(self._prompts(shared))) as prompts, ExitStack() as waited:
                for place, of_model in enumerate(prompts):
                    if not place:
                        for fingerprint in {fingerprints[model] for model in shared.able}:
                            waited.enter_context(busy_of(fingerprint).waited)
                    # each shard comes once per setting
                    shard = place // len(task.settings) if self.shard is None else self.shard
                    run_concurrently(
                        [partial(self._ask, shared, model, of_model[model], shard) for model in shared.able],
                        self.budget,
                    )
                    if watch is not None and (place + 1) % len(task.settings) == 0:
                        behind.wait()
                        if watch.end_look(about["until"]):
                            return
                    if self.ask and self.budget.stopped.is_set():
                        return

    def _prompts(self, shared: Shared) -> Iterator[dict[Model, Prompts]]:
        """What each model is to be asked, shard by shard or look by look; an error comes where the model is asked."""
        plan, task = shared.plan, shared.task
        with (
            closing(ahead(task_shards(plan, task, shared.watch))) as shards,
            closing(
                ahead(build_requests(plan, task, shards, ask=self.ask, budget=self.budget, cache=self.cache))
            ) as asked,
        ):
            for requests, heads in asked:
                yield {
                    model: done(partial(fit_requests, requests, heads, task, model, shared.fingerprints[model]))
                    for model in tuple(shared.able)
                }

    def _ask(self, shared: Shared, model: Model, prompts: Prompts, shard: int) -> None:
        """Have one model answer one shard, and put away what came of it behind."""
        task, watch = shared.task, shared.watch
        scenario, fingerprint = task.spec.scenario, shared.fingerprints[model]
        cache, how = self.cache, {"ask": self.ask, "fresh": self.fresh, "budget": self.budget}
        try:
            report = self.progress.reporter(scenario, model.name)
            fitted, prefixes = prompts.result()
            if watch is not None:
                fitted = watch.open_requests(fitted, model.name)
                if not fitted.height:
                    return
            if self.ask:
                report = self._noting(report, model, fitted, task)
            if not self.fresh:
                cache.reuse(fitted, prefixes, model, fingerprint, scenario)
            kept = cache.answers(model, fingerprint, scenario)
            unscored: list[Address] = []
            with Behind() as beside:
                if self.ask and not model.durable:
                    beside.do(lambda: unscored.append(self._add_requests(scenario, fitted, shard)))
                completions = generate_completions(fitted, prefixes, model, kept, fingerprint, report=report, **how)
            judging = partial(self.progress.judging, scenario)
            verdicts = judge_completions(completions, task, report=judging, cache=cache, **how)
        except CapabilityError as error:
            if len(self.plans) == 1:
                raise
            shared.able.pop(model, None)
            shared.about["left_out"].append({"scenario": scenario, "model": model.name, "reason": str(error)})
            if watch is not None:
                watch.cut(model.name, *(setting.name for setting in task.settings))
            return
        if watch is not None and completions.height < fitted.height:
            # what was answered is in the store; a part of a look is no random draw
            watch.cut(model.name, fitted["setting"][0])
            return

        def keep() -> None:
            self.folder.add("prefixes", scenario, prefixes, shard)
            self.folder.add("completions", scenario, completions, shard)
            self.folder.add("verdicts", scenario, verdicts, shard)
            self.empty.add(count_empty(completions, prefixes, shard))
            remove(unscored)

        def score() -> None:
            scores = score_completions(completions, task, verdicts)
            self.folder.add("scores", scenario, scores, shard)
            if watch is not None:
                watch.add_scores(scores)

        shared.behind.do(lambda: run_concurrently([keep, score], self.budget))

    def _add_requests(self, scenario: str, fitted: pl.DataFrame, shard: int) -> Address:
        """Store the requests of a shard until its completions are in the run's tables."""
        if fitted["content"].null_count() == fitted.height:  # all text, which prefix and suffix have
            fitted = fitted.with_columns(blocks=pl.lit(None, dtype=fitted.schema["blocks"]))
        return add_requests(self.folder.path, scenario, fitted, shard)

    def _noting(self, report: Report, model: Model, fitted: pl.DataFrame, task: Task) -> Report:
        """Return the report, which prints the line about the model's cached completions if it is the model's first."""
        mine = object()
        if self._noted.setdefault(model.name, mine) is not mine:
            return report
        whole = (
            self.until is None
            and sum(len(plan.scenarios) for plan in self.plans) == len(task.settings) == 1
            and fitted.select("subset", "row_index").n_unique() < min(FIRST_ROWS, SHARD_ROWS)
        )

        def note(cached: int, planned: int) -> None:
            run, resumed = self.folder.id, [each.id for each in self.resumed]
            line = cache_note(model, cached, planned, run=run, resumed=resumed, fresh=self.fresh, whole=whole)
            self.progress.say(line)

        return noting(report, note)

    @contextmanager
    def _summed(self, tasks: Sequence[tuple[PlanSpec, Task]], about: dict[str, Any]) -> Iterator[None]:
        """What data the run stands on, summed beside it; a mere look into the store needs none."""
        if not self.ask:
            yield
            return

        ended = threading.Event()

        def summed() -> None:
            found: dict[str, list[Data]] = {}
            for plan, task in tasks:
                try:
                    data = task_checksum(plan, task, ended)
                except (SourceError, StoreError, OSError) as error:  # the task itself raises what must be raised
                    logger.warning("no checksum of what %s is read from: %s", task.spec.scenario, error)
                    continue
                data["address"] = without_secrets(data["address"])
                of_scenario = found.setdefault(task.spec.scenario, [])
                of_scenario += [data] * (data not in of_scenario)
            about["data"] = found

        with Behind() as beside:
            beside.do(summed)
            try:
                yield
            except BaseException:
                ended.set()
                raise

    @contextmanager
    def _recorded(self) -> Iterator[None]:
        """What is logged and printed meanwhile, kept beside the results; a mere look into the store keeps none."""
        if not self.ask:
            yield
            return
        with recording(self.folder.id, lambda frame: self.folder.add(LOGS.name, "run", frame)):
            yield

    @contextmanager
    def _kept(self, about: dict[str, Any]) -> Iterator[None]:
        """The manifest, kept true while the run goes on: others watch it."""
        ended = threading.Event()

        def write(status: str) -> None:
            counts, cost = self.progress.completions, self.budget.cost
            judged = {"verdicts": dict(self.progress.verdicts)} if self.progress.verdicts["planned"] else {}
            self.folder.write_manifest(
                about | {"status": status, "counts": counts, **judged, "cost": cost, "seen": time.time()},
                complete=status != "running",
            )

        def beat() -> None:
            written, counted = time.monotonic(), False
            while not ended.wait(HEARTBEAT_SECONDS if counted else min(FIRST_COUNT_SECONDS, HEARTBEAT_SECONDS)):
                counted = counted or self.progress.counts["planned"] > 0
                if not counted and time.monotonic() - written < HEARTBEAT_SECONDS:
                    continue
                written = time.monotonic()
                try:
                    write("running")
                except StoreError as error:  # the next beat tries again; the end raises
                    logger.warning("the manifest can't be written: %s", error)

        write("running")
        heart = threading.Thread(target=beat, daemon=True, name="helmframe-manifest")
        heart.start()
        status = "failed"
        try:
            yield
            status = "stopped" if self.budget.stopped.is_set() else "done"
        except KeyboardInterrupt:
            status = "stopped"
            raise
        finally:
            ended.set()
            heart.join()
            about["ended"] = time.time()
            write(status)


def tell_apart(tasks: list[tuple[PlanSpec, Task]]) -> list[tuple[PlanSpec, Task]]:
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


def run_concurrently(jobs: Sequence[Callable[[], None]], budget: Budget) -> None:
    """Run the jobs in threads, and wait for all of them.

    One job runs in this thread. A Ctrl-C stops the others at their next batch; their completions are stored.

    Raises:
        GroupedError: Several jobs failed with different errors; the error of one job, or of equal ones, is raised as
            it is. All jobs have ended by then.
    """
    if len(jobs) == 1:
        jobs[0]()
        return
    errors: list[BaseException] = []
    ended = [threading.Event() for _ in jobs]

    def guarded(job: Callable[[], None], end: threading.Event) -> None:
        try:
            job()
        except BaseException as error:  # noqa: BLE001 - raised again below, in the thread that waits
            errors.append(error)
        finally:
            end.set()

    for number, (job, end) in enumerate(zip(jobs, ended, strict=True)):
        # in a copy of this context, which names the run
        arguments = (guarded, job, end)
        threading.Thread(target=copy_context().run, args=arguments, daemon=True, name=f"helmframe-{number}").start()
    try:
        wait_for(ended)
    except KeyboardInterrupt:
        budget.stopped.set()
        wait_through(ended)  # they have completions to store
        raise
    if errors:
        raise _one_or_group(errors)


def _one_or_group(errors: Sequence[BaseException]) -> BaseException:
    exceptions = [error for error in errors if isinstance(error, Exception)]
    if len(exceptions) < len(errors):
        return next(error for error in errors if not isinstance(error, Exception))
    single: list[Exception] = []
    for error in exceptions:
        single += error.exceptions if isinstance(error, GroupedError) else [error]
    different = list({error_text(error): error for error in reversed(single)}.values())[::-1]
    if len(different) == 1:
        return different[0]
    lines = "".join(f"\n{number}. {error_text(error)}" for number, error in enumerate(different, 1))
    return GroupedError(f"{len(different)} parts of the run failed:{lines}\n", different)
