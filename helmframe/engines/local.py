"""The local engine: tasks and models run concurrently in threads, with one request queue per model."""

import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, closing, contextmanager, nullcontext, suppress
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import polars as pl

from helmframe._core.safe_text import error_text, get_logger
from helmframe._pipeline import (
    FIRST_ROWS,
    SHARD_ROWS,
    PlanSpec,
    Skipped,
    Task,
    build_requests,
    count_instances,
    fit_next_turn,
    fit_requests,
    generate_completions,
    image_reader,
    instance_keys,
    judge_completions,
    score_completions,
    suite_tasks,
    task_checksum,
    task_shards,
)
from helmframe._plan_yaml import plan_labels
from helmframe._schema import IMAGES, LOGS, TURN
from helmframe.early_stopping.rules import Until
from helmframe.engines.logs import recording
from helmframe.engines.manifest import Manifest, called_models, resumed_runs, without_secrets
from helmframe.engines.notes import (
    EmptyCompletions,
    Utilization,
    cache_note,
    cost_notes,
    count_empty,
    empty_notes,
    refusal_notes,
    rerun_notes,
    unparsed_notes,
    utilization_notes,
    with_cache_note,
)
from helmframe.engines.prefetch import BackgroundWriter, completed, prefetch
from helmframe.engines.progress import DONE, Progress
from helmframe.errors import (
    MISSING_PARTS,
    CapabilityError,
    GroupedError,
    HelmframeError,
    SourceError,
    StoreError,
)
from helmframe.models.budget import Budget
from helmframe.models.completion_cache import CompletionCache, StoredRun, store_root
from helmframe.models.generate import Report, add_to_batches, roomier_requests
from helmframe.models.interrupts import wait_for, wait_through
from helmframe.models.model import Model
from helmframe.models.prompts import joined_turns, requests_by_turn
from helmframe.models.scheduler import busy_of
from helmframe.scenarios.checksums import Data
from helmframe.store import Address, RunFolder, exists
from helmframe.store.files import remove
from helmframe.store.run_cache import add_requests, clear_requests

if TYPE_CHECKING:
    from helmframe.early_stopping.monitor import StoppingMonitor
    from helmframe.scenarios.images import ImageReader

# The maximum of concurrent tasks. Each has up to five shards in memory: read, prepared, generated, and two to write.
TASKS = 4
HEARTBEAT_SECONDS = 3.0
# The manifest shows the first number of planned completions this soon, so that a killed run shows how many are missing.
FIRST_COUNT_SECONDS = 0.1

logger = get_logger("helmframe.engines")


def run(
    plans: Sequence[PlanSpec],
    *,
    send: bool = True,
    fresh: bool = False,
    resume: str | None = None,
    budget: Budget | None = None,
    until: Until | None = None,
    skipped: Sequence[Skipped] = (),
    folder: RunFolder | None = None,
    progress: Progress | None = None,
) -> RunFolder:
    """Run every shard of every plan through the stages, and store the results.

    Args:
        plans: The plans; a suite has several.
        send: Whether to send requests; False reads the store only.
        fresh: Whether to generate cached completions again.
        resume: The id of the run whose completions of unpinned models are reused, or "last".
        budget: The limits of requests and cost.
        until: The stopping rule. By default all requests are run.
        skipped: The scenarios that a suite skipped when it was built, for the manifest.
        folder: The run's folder. By default a new folder in the store.
        progress: The display of progress. By default the usual one.

    Raises:
        ArgumentError, UnknownNameError: `resume` is not a run that can be resumed.
        PlanError, SourceError, StoreError: The first error of a task, after its completions were stored.
        HelmframeError: An error of `MISSING_PARTS`: the plan lacks rows, a word table, a classifier, a sandbox or a
            capability of the model. A suite skips such plans, unless it would skip all.
    """
    root = store_root()
    execution = Execution(
        plans=plans,
        root=root,
        send=send,
        fresh=fresh,
        budget=budget or Budget(),
        until=until,
        folder=folder or RunFolder.new(root),
        progress=progress or Progress(enabled=send),
        resumed=resumed_runs(resume, plans, root, fresh=fresh),
        skipped=skipped,
    )
    return execution.go()


# The prefetched requests of one model, and their prefixes.
Prompts: TypeAlias = Future[tuple[pl.DataFrame, pl.DataFrame]]


class Batch(NamedTuple):
    """The requests of a shard in one setting: prefetched prompts by model, and the requests of later turns."""

    prompts: Mapping[Model, Prompts]
    later: Sequence[pl.DataFrame]
    heads: pl.DataFrame


@dataclass(frozen=True)
class Shared:
    """The state that the shards of one running task share.

    Args:
        plan: The plan of the task.
        task: The task.
        fingerprints: The fingerprints of the models at the start.
        manifest: The run's manifest.
        active: The models that run the task. A model that lacks a capability is removed.
        writer: The thread that writes results.
        watch: The monitor of the stopping rule.
        images: The reader of the scenario's images.
    """

    plan: PlanSpec
    task: Task
    fingerprints: Mapping[Model, str]
    manifest: Manifest
    active: dict[Model, None]
    writer: BackgroundWriter
    watch: "StoppingMonitor | None"
    images: "ImageReader | None" = None


@dataclass(frozen=True)
class Execution:
    """One execution of plans: the state that its threads share."""

    plans: Sequence[PlanSpec]
    root: Address
    send: bool
    fresh: bool
    budget: Budget
    until: Until | None
    folder: RunFolder
    progress: Progress
    shard: int | None = None  # the number of the shard in a run of several processes
    empty: EmptyCompletions = field(default_factory=EmptyCompletions)
    resumed: Sequence[StoredRun] = ()  # their completions of unpinned models are reused
    skipped: Sequence[Skipped] = ()  # when the suite was built
    _reported: dict[str, object] = field(default_factory=dict)  # models whose cached completions were reported

    @property
    def cache(self) -> CompletionCache:
        """Return the cache of completions, which also stores new ones."""
        return CompletionCache(self.root, self.folder.path if self.send else None, self.resumed)

    def go(self) -> RunFolder:
        """Run the plans to the end, or to the first error.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed. Notebooks and scripts show its two lines instead of a traceback.
        """
        try:
            return self._go()
        except KeyboardInterrupt:
            text = self._interruption_text()
        raise interruption(text) if self.send else KeyboardInterrupt

    def _interruption_text(self) -> str:
        """Return what is stored, and how to resume."""
        counts = self.progress.counts
        stored = sum(counts[name] for name in DONE) - counts["failed"]
        unpinned = any(not model.durable for plan in self.plans for model in plan.models)
        how = f"with score(resume={self.folder.id!r})" if unpinned else "again"
        return (
            f"Interrupted: {stored:,} of {counts['planned']:,} completions are stored (run {self.folder.id}).\n"
            f"To resume, run the plan {how}."
        )

    def _go(self) -> RunFolder:
        new = not exists(self.root)
        usable, unusable = suite_tasks(self.plans)
        tasks = distinguish_settings(usable)
        called = called_models([task for _, task in tasks])
        self.budget.check(called.all)
        fingerprints = {model: model.fingerprint() for model in called.models}
        self.budget.first_requests.models = {(model.name, fingerprint) for model, fingerprint in fingerprints.items()}
        self.prepare(tasks, fingerprints)
        manifest = Manifest.of(
            self.plans,
            [task for _, task in tasks],
            fingerprints,
            until=self.until,
            resumed=self.resumed[0].id if self.resumed else None,
            store_only=not self.send,
            prices=self.budget.manifest_entries(),
            unpriced=self.budget.unpriced,
        )
        names = dict.fromkeys(model.name for _, task in tasks for model in task.models)
        self.progress.models, self.progress.costs = list(names), self.budget.costs
        for plan in (*self.skipped, *unusable):
            manifest.skip(plan.scenario, names, plan.reason)
        utilization = Utilization(fingerprints)
        judge_utilization = Utilization({judge: judge.fingerprint() for judge in called.judges})
        perturbation_models = Utilization({model: model.fingerprint() for model in called.perturbation_models})
        with (
            self.progress,
            self._batches_noted(),
            self._manifest_written(manifest),
            self._log_written(),
            self._checksums_written(tasks, manifest),
        ):
            if new:
                self.progress.note(f"The store is {self.root}. Set HELMFRAME_STORE to use another.")
            missing = self.work(tasks, fingerprints, manifest)
            unpinned = any(not model.durable for model in called.models)  # only their requests are stored
            if self.send and unpinned and not self.budget.stopped.is_set():
                clear_requests(self.folder.path)
            manifest.finish(
                utilization.manifest_entries(),
                judge_utilization.manifest_entries(),
                perturbation_models.manifest_entries(),
                self.empty.manifest_entries(),
                self.empty.reasoning_entries(),
                self.empty.unparsed_entries(),
            )
            content = manifest.content("done")
            notes = [*empty_notes(content), *unparsed_notes(content), *refusal_notes(content)]
            for note in notes if self.send else ():
                logger.warning("%s", note)
            if missing and len(missing) == len(tasks):
                raise missing[0]
        content = manifest.content("done", cost=self.budget.known_cost)
        costs = cost_notes(content) if self.send else ()
        for note in [*rerun_notes(content), *utilization_notes(content), *costs]:
            self.progress.note(note)
        return self.folder

    def prepare(self, tasks: Sequence[tuple[PlanSpec, Task]], fingerprints: Mapping[Model, str]) -> None:
        """Check the plans before anything is run or written; a hook for other engines."""

    def work(
        self, tasks: Sequence[tuple[PlanSpec, Task]], fingerprints: Mapping[Model, str], manifest: Manifest
    ) -> list[HelmframeError]:
        """Run all tasks; in a suite, return the errors of tasks that lack a part, such as their rows.

        Models with a batch API run apart from other models, which don't wait for batches.
        """
        missing: dict[int, HelmframeError] = {}
        live: list[Callable[[], None]] = []
        batched: list[Callable[[], None]] = []
        for jobs, has_batches in ((live, False), (batched, True)):
            room = threading.Semaphore(TASKS)
            for number, (plan, task) in enumerate(tasks):
                models = tuple(model for model in task.models if self._submits(model) is has_batches)
                if models:
                    some = replace(task, models=models)
                    job = partial(self._run_or_skip, missing, number, plan, some, fingerprints, manifest, room)
                    jobs.append(job)
        if batched:
            live.append(partial(self._run_batches, tasks, fingerprints, batched))
        run_concurrently(live, self.budget)
        return list(missing.values())

    def _submits(self, model: Model) -> bool:
        """Return whether all requests of the model are submitted before the tasks run; a stopping rule needs looks."""
        return model.batches is not None and self.send and self.until is None

    def _run_batches(
        self,
        tasks: Sequence[tuple[PlanSpec, Task]],
        fingerprints: Mapping[Model, str],
        jobs: Sequence[Callable[[], None]],
    ) -> None:
        """Submit the requests of all tasks of models with a batch API, and then run the tasks, which wait for them."""
        for plan, task in tasks:
            models = tuple(filter(self._submits, task.models))
            with BackgroundWriter() as writer:
                shared = Shared(
                    plan, replace(task, models=models), fingerprints, Manifest(), dict.fromkeys(models), writer, None
                )
                if models:
                    self._submit_task(shared)
        for batches in self.budget.batches.values():
            batches.submit()
            for line in batches.notes():
                self.progress.note(line)
        run_concurrently(jobs, self.budget)

    def _submit_task(self, shared: Shared) -> None:
        """Add the requests of a task to batches, shard by shard."""
        with closing(self._prompts(shared)) as prompts:
            for batch in _until_missing(prompts):  # later turns of conversations depend on these
                for model, fitted in batch.prompts.items():
                    if self.budget.stopped.is_set():
                        return
                    try:
                        requests, prefixes = fitted.result()
                    except CapabilityError:  # raised again when the task runs
                        shared.active.pop(model, None)
                        continue
                    fingerprint = shared.fingerprints[model]
                    stored = self.cache.completions(model, fingerprint, shared.task.spec.scenario)
                    add_to_batches(requests, prefixes, model, stored, fingerprint, fresh=self.fresh, budget=self.budget)

    @contextmanager
    def _batches_noted(self) -> Iterator[None]:
        """Print a line for each batch that is still in progress when the run ends or is stopped."""
        try:
            yield
        finally:
            for batches in self.budget.batches.values():
                batches.close()
                for line in batches.notes():
                    self.progress.note(line)

    def run_task(self, plan: PlanSpec, task: Task, fingerprints: Mapping[Model, str]) -> None:
        """Run one task, or the span of instances in its plan."""
        self._run_task(plan, task, fingerprints, Manifest(), nullcontext())

    def _run_or_skip(
        self,
        missing: dict[int, HelmframeError],
        number: int,
        plan: PlanSpec,
        task: Task,
        fingerprints: Mapping[Model, str],
        manifest: Manifest,
        room: Any,
    ) -> None:
        """Run the task; in a suite, skip it if it lacks a part, such as its rows."""
        try:
            self._run_task(plan, task, fingerprints, manifest, room)
        except MISSING_PARTS as error:
            self.skip_missing(error, task, manifest)
            missing[number] = error

    def skip_missing(self, error: HelmframeError, task: Task, manifest: Manifest) -> None:
        """Record in the manifest of a suite that a task is skipped; raise the error in a single plan."""
        if len(self.plans) == 1 and not self.skipped:
            raise error
        manifest.skip(task.spec.scenario, [model.name for model in task.models], str(error))

    def _run_task(
        self, plan: PlanSpec, task: Task, fingerprints: Mapping[Model, str], manifest: Manifest, room: Any
    ) -> None:
        watch = None if self.until is None else _monitor(self.until, plan, task)
        reader = image_reader(plan, task.spec)
        with room, nullcontext() if reader is None else closing(reader), BackgroundWriter() as writer:
            shared = Shared(plan, task, fingerprints, manifest, dict.fromkeys(task.models), writer, watch, reader)
            with closing(prefetch(self._prompts(shared))) as batches, ExitStack() as waited:
                for index, batch in enumerate(batches):
                    if not index:
                        for fingerprint in {fingerprints[model] for model in shared.active}:
                            waited.enter_context(busy_of(fingerprint).waited)
                        if self.progress.is_shown and watch is None:
                            waited.callback(self._expect(shared, batch))
                    # each shard is repeated for each setting
                    shard = index // len(task.settings) if self.shard is None else self.shard
                    run_concurrently(
                        [partial(self._run_shard, shared, model, batch, shard) for model in shared.active],
                        self.budget,
                    )
                    if watch is not None and (index + 1) % len(task.settings) == 0:
                        writer.wait()
                        closed = watch.end_look()
                        manifest.set_looks(watch.name, watch.state)
                        if closed:
                            return
                    if self.send and self.budget.stopped.is_set():
                        return

    def _expect(self, shared: Shared, batch: Batch) -> Callable[[], None]:
        """Set the expected completions of a task from its first batch, and return a function that unsets them."""
        task, scenario = shared.task, shared.task.spec.scenario
        planned: dict[str, int] = {}
        expected: dict[str, int] = {}
        ended = threading.Event()
        n_instances = 0
        for model, prompts in batch.prompts.items():
            with suppress(CapabilityError):  # raised again when the model is about to run
                fitted, _ = prompts.result()
                n_instances = max(n_instances, fitted.select("subset", "row_index").n_unique())
                of_turns = sum(requests.height for requests in batch.later) * task.outputs
                planned[model.name] = (fitted.height + of_turns) * len(task.settings)

        def expect(share: float) -> None:
            counts = {name: round(count * share) for name, count in planned.items()}
            self.progress.expect(scenario, {name: count - expected.get(name, 0) for name, count in counts.items()})
            expected.update(counts)

        def count() -> None:
            with suppress(SourceError):  # raised again when the rows are read
                share = sum(count_instances(shared.plan, task.spec).values()) / n_instances
                if not ended.is_set():
                    expect(share)

        def end() -> None:
            ended.set()
            expect(0.0)

        expect(1.0)
        if n_instances >= min(FIRST_ROWS, SHARD_ROWS):  # there may be more shards
            threading.Thread(target=copy_context().run, args=(count,), daemon=True, name="helmframe-count").start()
        return end

    def _prompts(self, shared: Shared) -> Generator[Batch]:
        """Yield each model's requests, by shard or look; an error is raised when the model is about to run."""
        plan, task = shared.plan, shared.task
        with (
            closing(prefetch(task_shards(plan, task, shared.watch, shared.images))) as shards,
            closing(
                prefetch(build_requests(plan, task, shards, send=self.send, budget=self.budget, cache=self.cache))
            ) as batches,
        ):
            for requests, heads in batches:
                first, *later = requests_by_turn(requests)
                prompts = {
                    model: completed(partial(fit_requests, first, heads, task, model, shared.fingerprints[model]))
                    for model in tuple(shared.active)
                }
                yield Batch(prompts, later, heads)

    def _run_shard(self, shared: Shared, model: Model, batch: Batch, shard: int) -> None:
        """Run one model on one shard, and submit its results to the writer."""
        task, watch = shared.task, shared.watch
        scenario, fingerprint = task.spec.scenario, shared.fingerprints[model]
        cache, options = self.cache, {"send": self.send, "fresh": self.fresh, "budget": self.budget}
        try:
            report = self.progress.reporter(scenario, model.name)
            fitted, prefixes = batch.prompts[model].result()
            if watch is not None:
                fitted = watch.open_requests(fitted, model.name)
                if not fitted.height:
                    return
            for requests in batch.later:
                report("planned", requests.height * task.outputs)
            if self.send:
                report = self._with_cache_note(report, model, fitted, task)
            unscored: list[Address] = []
            completions = self._completions(shared, model, fitted, prefixes, shard, report, unscored)
            turns, sent = [(completions, prefixes)], [fitted.select("request_id")]
            for requests in batch.later:
                fitted, prefixes = fit_next_turn(
                    requests, batch.heads, task, model, fingerprint, earlier=fitted, completions=completions
                )
                completions = self._completions(
                    shared, model, fitted, prefixes, shard, _planned_before(report), unscored
                )
                turns.append((completions, prefixes))
                sent.append(fitted.select("request_id"))
            if batch.later:
                completions, prefixes = joined_turns(turns)
            judging = partial(self.progress.judging, scenario)
            verdicts = judge_completions(completions, task, report=judging, cache=cache, **options)
        except CapabilityError as error:
            if len(self.plans) == 1:
                raise
            shared.active.pop(model, None)
            shared.manifest.skip(scenario, [model.name], str(error))
            if watch is not None:
                watch.cut(model.name, *(setting.name for setting in task.settings))
            return
        if watch is not None and completions.height < sum(frame.height for frame in sent):
            # the completions are stored, but an incomplete look isn't a random sample
            watch.cut(model.name, fitted["setting"][0])
            return

        def store() -> None:
            self.folder.add("prefixes", scenario, prefixes, shard)
            self.folder.add("completions", scenario, completions, shard)
            self.folder.add("verdicts", scenario, verdicts, shard)
            if shared.images is not None and (thumbnails := shared.images.take_thumbnails()).height:
                self.folder.add(IMAGES.name, scenario, thumbnails, shard)
            self.empty.add(count_empty(completions, prefixes, shard, pl.concat(sent)))
            remove(unscored)

        def score() -> None:
            scores = score_completions(completions, task, verdicts)
            self.folder.add("scores", scenario, scores, shard)
            if watch is not None:
                watch.add_scores(scores)

        shared.writer.submit(lambda: run_concurrently([store, score], self.budget))

    def _completions(
        self,
        shared: Shared,
        model: Model,
        fitted: pl.DataFrame,
        prefixes: pl.DataFrame,
        shard: int,
        report: Report,
        unscored: list[Address],
    ) -> pl.DataFrame:
        """Return the completions of requests; the address of requests that the run stores is added to `unscored`."""
        scenario, fingerprint = shared.task.spec.scenario, shared.fingerprints[model]
        if not self.fresh:
            self.cache.reuse(fitted, prefixes, model, fingerprint, scenario)
            if not model.durable:
                roomier = roomier_requests(fitted, prefixes, model, fingerprint)
                self.cache.reuse(roomier, prefixes, model, fingerprint, scenario)
        cached = self.cache.completions(model, fingerprint, scenario)
        with BackgroundWriter() as writer:
            if self.send and not model.durable and fitted.height:
                writer.submit(lambda: unscored.append(self._add_requests(scenario, fitted, shard)))
            return generate_completions(
                fitted,
                prefixes,
                model,
                cached,
                fingerprint,
                report=report,
                send=self.send,
                fresh=self.fresh,
                budget=self.budget,
                images=shared.images,
            )

    def _add_requests(self, scenario: str, fitted: pl.DataFrame, shard: int) -> Address:
        """Store the requests of a shard until its completions are in the run's tables."""
        if fitted["content"].null_count() == fitted.height:  # all content is text, which prefix and suffix contain
            fitted = fitted.with_columns(blocks=pl.lit(None, dtype=fitted.schema["blocks"]))
        return add_requests(self.folder.path, scenario, fitted, shard)

    def _with_cache_note(self, report: Report, model: Model, fitted: pl.DataFrame, task: Task) -> Report:
        """Return a report that also prints the note about the model's cached completions, once per model."""
        token = object()
        if self._reported.setdefault(model.name, token) is not token:
            return report
        rows = min(FIRST_ROWS, SHARD_ROWS)
        whole = (
            self.until is None
            and TURN not in fitted.columns
            and sum(len(plan.scenarios) for plan in self.plans) == len(task.settings) == 1
            and fitted["row_index"].n_unique() < rows  # fast, and in most cases enough
            and fitted.select("subset", "row_index").n_unique() < rows
        )

        def note(cached: int, planned: int) -> None:
            run, resumed = self.folder.id, [stored.id for stored in self.resumed]
            line = cache_note(model, cached, planned, run=run, resumed=resumed, fresh=self.fresh, whole=whole)
            self.progress.note(line)

        return with_cache_note(report, note)

    @contextmanager
    def _checksums_written(self, tasks: Sequence[tuple[PlanSpec, Task]], manifest: Manifest) -> Iterator[None]:
        """Write checksums of the run's data to the manifest in the background, unless the store is only read."""
        if not self.send:
            yield
            return

        ended = threading.Event()

        def compute() -> None:
            checksums: dict[str, list[Data]] = {}
            for plan, task in tasks:
                try:
                    data = task_checksum(plan, task, ended)
                except (SourceError, StoreError, OSError) as error:  # the task itself raises the error
                    logger.warning("No checksum of the data of %s: %s", task.spec.scenario, error)
                    continue
                data["address"] = without_secrets(data["address"])
                of_scenario = checksums.setdefault(task.spec.scenario, [])
                of_scenario += [data] * (data not in of_scenario)
            manifest.set_data(checksums)

        with BackgroundWriter() as writer:
            writer.submit(compute)
            try:
                yield
            except BaseException:
                ended.set()
                raise

    @contextmanager
    def _log_written(self) -> Iterator[None]:
        """Record logged and printed output, and store it with the results, unless the store is only read."""
        if not self.send:
            yield
            return
        with recording(self.folder.id, lambda frame: self.folder.add(LOGS.name, "run", frame)):
            yield

    def _is_incomplete(self) -> bool:
        """Return whether a limit ended the run before all its requests were sent."""
        counts = self.progress.counts
        return self.send and counts["planned"] > sum(counts[name] for name in DONE)

    @contextmanager
    def _manifest_written(self, manifest: Manifest) -> Iterator[None]:
        """Write the manifest at the start, regularly during the run, and at the end, for other processes."""
        ended = threading.Event()

        def write(status: str) -> None:
            counts, cost = self.progress.completions, self.budget.known_cost
            judged = {"verdicts": dict(self.progress.verdicts)} if self.progress.verdicts["planned"] else {}
            self.folder.write_manifest(
                manifest.content(status, counts=counts, **judged, cost=cost),
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
                except StoreError as error:  # retried by the next beat; raised at the end
                    logger.warning("Could not write the manifest; it is retried: %s", error)

        write("running")
        heart = threading.Thread(target=beat, daemon=True, name="helmframe-manifest")
        heart.start()
        status = "failed"
        try:
            yield
            status = "stopped" if self.budget.stopped.is_set() or self._is_incomplete() else "done"
        except KeyboardInterrupt:
            status = "stopped"
            raise
        finally:
            ended.set()
            heart.join()
            manifest.end()
            write(status)


def interruption(text: str) -> KeyboardInterrupt:
    """Return an error that notebooks and scripts show as its text, without a traceback."""
    marimo: Any = sys.modules.get("marimo")
    if marimo is not None and marimo.running_in_notebook():
        # marimo shows a traceback for every error that is not one of `marimo.stop`
        shown: Any = type("KeyboardInterrupt", (KeyboardInterrupt, marimo.MarimoStopError), {})(text)
        shown.output = marimo.plain_text(text)
        return shown  # type: ignore[no-any-return]
    error = KeyboardInterrupt(text)
    error._render_traceback_ = text.splitlines  # type: ignore[attr-defined]
    show = sys.excepthook

    def hook(kind: type[BaseException], raised: BaseException, trace: TracebackType | None) -> None:
        if raised is error:
            print(error, file=sys.stderr)
        else:
            show(kind, raised, trace)

    sys.excepthook = hook
    return error


def _until_missing(batches: Iterable[Batch]) -> Iterator[Batch]:
    """Yield the batches; stop at an error of `MISSING_PARTS`, which is raised again when the task runs."""
    with suppress(*MISSING_PARTS):
        yield from batches


def _planned_before(report: Report) -> Report:
    """Return a report without the event "planned": the requests of later turns are planned with the first."""
    return lambda event, count: None if event == "planned" else report(event, count)


def _monitor(until: Until, plan: PlanSpec, task: Task) -> "StoppingMonitor":
    from helmframe.early_stopping.monitor import StoppingMonitor  # late: with NumPy

    return StoppingMonitor(until, task, instance_keys(plan, task.spec))


def distinguish_settings(tasks: list[tuple[PlanSpec, Task]]) -> list[tuple[PlanSpec, Task]]:
    """Add to the names of settings what differs between plans that run the same scenario with the same model."""
    groups: dict[tuple[str, str], list[PlanSpec]] = {}
    for plan, task in tasks:
        for model in task.models:
            groups.setdefault((task.spec.scenario, model.name), []).append(plan)
    # plans of several groups need a label that distinguishes them in all
    labels: dict[int, dict[str, None]] = {}
    for group in groups.values():
        if len(group) > 1:
            for plan, label in zip(group, plan_labels(group), strict=True):
                labels.setdefault(id(plan), {})[label] = None
    named = []
    for plan, original in tasks:
        task = original
        if any(len(groups[task.spec.scenario, model.name]) > 1 for model in task.models):
            label = ",".join(labels[id(plan)])
            task = replace(
                task,
                settings=tuple(
                    replace(setting, name=",".join(filter(None, (label, setting.name)))) for setting in task.settings
                ),
            )
        named.append((plan, task))
    return named


def run_concurrently(jobs: Sequence[Callable[[], None]], budget: Budget) -> None:
    """Run the jobs in threads, and wait for all of them.

    A single job runs in this thread. After Ctrl-C, the jobs stop at their next batch, and their completions are stored.

    Raises:
        GroupedError: Several jobs failed with different errors. A single error, or equal errors, is raised unchanged.
            All jobs have ended by then.
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
        # in a copy of this context, because it identifies the run
        arguments = (guarded, job, end)
        threading.Thread(target=copy_context().run, args=arguments, daemon=True, name=f"helmframe-{number}").start()
    try:
        wait_for(ended)
    except KeyboardInterrupt:
        budget.stopped.set()
        wait_through(ended)  # completions are not all stored yet
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
    return GroupedError(f"The run failed with {len(different)} different errors:{lines}\n", different)
