"""A run on a cluster: its connection, its spans of instances, and its results. It reads no rows."""

import logging
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from helmframe._pipeline import PlanSpec, Skipped, Task, split_spans
from helmframe.config import data_root
from helmframe.early_stopping.rules import Until
from helmframe.engines.local import Execution
from helmframe.engines.manifest import Manifest, resumed_runs
from helmframe.engines.notes import cache_note
from helmframe.engines.progress import Progress
from helmframe.engines.ray.driver import Driver
from helmframe.engines.ray.options import Ray
from helmframe.engines.ray.replica_state import AT_ONCE, Job, Lane
from helmframe.engines.ray.shipping import Parcel, check_credentials, pack
from helmframe.errors import MISSING_PARTS, CapabilityError, HelmframeError, PlanError, UnknownNameError
from helmframe.models.budget import Budget
from helmframe.models.completion_cache import store_root
from helmframe.models.model import Model
from helmframe.scenarios.spans import Span
from helmframe.store import RunFolder

# Spans per slot of a replica, shared by all tasks: small enough that a slow last span delays little.
PIECES = 8


def run(
    options: Ray,
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
    """Run plans on a cluster; the arguments are those of `local.run`.

    Raises:
        PlanError: The plan doesn't support a cluster, or isn't picklable. It is raised before anything starts.
        HelmframeError: The errors of `local.run`.
    """
    if until is not None:
        raise PlanError("until= isn't supported by engine='ray'. Remove one of them.")
    root = store_root()
    check_credentials([root, data_root(), *(getattr(plan, "data", None) for plan in plans)])
    execution = RayExecution(
        plans=plans,
        root=root,
        send=send,
        fresh=fresh,
        budget=budget or Budget(),
        until=None,
        folder=folder or RunFolder.new(root),
        progress=progress or Progress(enabled=send),
        resumed=resumed_runs(resume, plans, root, fresh=fresh),
        skipped=skipped,
        options=options,
    )
    return execution.go()


@dataclass(frozen=True)
class RayExecution(Execution):
    """An `Execution` whose tasks run on a cluster."""

    options: Ray = field(default_factory=Ray)
    _packed: dict[Model, bytes] = field(default_factory=dict)

    def prepare(self, tasks: Sequence[tuple[PlanSpec, Task]], fingerprints: Mapping[Model, str]) -> None:
        """Pickle the data that the replicas receive.

        Raises:
            UnknownNameError: The options contain a model that isn't in the plan.
            PlanError: Pickle doesn't support the data.
            CapabilityError: A model has a batch API, which needs no cluster.
        """
        for model in fingerprints:
            if model.batches is not None:
                raise CapabilityError(
                    f"Model {model.name!r} runs through a batch API, which needs no cluster. Remove engine='ray'."
                )
        names = [model.name for model in fingerprints]
        for name in self.options.models:
            if name not in names:
                raise UnknownNameError.among("model in the plan", name, names)
        for model, fingerprint in fingerprints.items():
            work = [
                (replace(plan, models=(model,)), replace(task, models=(model,)))
                for plan, task in tasks
                if model in task.models
            ]
            self._packed[model] = pack(
                Parcel(
                    work, model, fingerprint, self.root, self.folder.path, self.fresh,
                    self.budget.prices, self.budget.priority, self.resumed,
                )
            )  # fmt: skip

    def work(
        self,
        tasks: Sequence[tuple[PlanSpec, Task]],
        fingerprints: Mapping[Model, str],
        manifest: Manifest,
    ) -> list[HelmframeError]:
        """Run all tasks on the cluster."""
        for model in fingerprints:
            if not model.durable:
                resumed = [run.id for run in self.resumed]
                self.progress.note(cache_note(model, run=self.folder.id, resumed=resumed, fresh=self.fresh))
        missing: list[HelmframeError] = []
        pieces = -(-PIECES * AT_ONCE // len(tasks))
        cut = [self._spans(plan, task, pieces, missing, manifest) for plan, task in tasks]
        with connected(self.options.address) as ray:
            lanes = []
            for model, packed_parcel in self._packed.items():
                task_spans = [(pair, spans) for pair, spans in zip(tasks, cut, strict=True) if model in pair[1].models]
                jobs = [
                    [Job(work, span, shard) for shard, span in enumerate(spans)]
                    for work, (_, spans) in enumerate(task_spans)
                ]
                work = [pair for pair, _ in task_spans]
                lanes.append(Lane(ray, model, self.options.of(model), ray.put(packed_parcel), work, jobs))
            Driver(ray, lanes, self, manifest).go()
        return missing

    def _spans(
        self, plan: PlanSpec, task: Task, pieces: int, missing: list[HelmframeError], manifest: Manifest
    ) -> Sequence[Span]:
        max_replicas = max(self.options.of(model).least_and_most[1] for model in task.models)
        try:
            spans = split_spans(plan, task.spec, pieces * max_replicas)
        except MISSING_PARTS as error:
            self.skip_missing(error, task, manifest)
            missing.append(error)
            return []
        return spans


_TRIES = 3
# The object store (in bytes) is small, because only plans use it.
_ON_THIS_MACHINE: dict[str, Any] = {"address": "local", "include_dashboard": False, "object_store_memory": 256 << 20}


@contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Yield Ray with a connection, which is closed after the block.

    An existing connection is used, whatever the address, and stays open. Ray's usage statistics are disabled, unless
    the user has set RAY_USAGE_STATS_ENABLED.

    Raises:
        PlanError: There is no cluster at this address.
    """
    global _users, _owns_connection
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    with _lock:
        if not ray.is_initialized():
            target = address or os.environ.get("RAY_ADDRESS")
            _connect(ray, target) if target else _start(ray)
            _owns_connection = True
        _users += 1
    try:
        yield ray
    finally:
        with _lock:
            _users -= 1
            if _owns_connection and not _users:
                ray.shutdown()
                _owns_connection = False


# Ray allows one connection per process. All runs share it, and the last run closes it if a run opened it.
_lock = threading.Lock()
_users = 0
_owns_connection = False


def _start(ray: Any) -> None:
    # Ray waits only 15 s for its own processes, which isn't enough on a busy machine
    for retries_left in reversed(range(_TRIES)):
        try:
            _init(ray, **_ON_THIS_MACHINE)
        except RuntimeError as error:
            if not retries_left:
                raise PlanError(
                    f"Can't start Ray on this machine: {error}\nStart it yourself (ray start --head), then write "
                    "engine=hf.engines.Ray(address='auto')."
                ) from None
        else:
            return


def _connect(ray: Any, address: str) -> None:
    try:
        _init(ray, address=address)
    except RuntimeError as error:
        raise PlanError(
            f"No Ray cluster found at {address}: {error}\nRemove the address to start a cluster on this machine."
        ) from None


def _init(ray: Any, **options: Any) -> None:
    """Initialise Ray.

    Raises:
        RuntimeError: Ray raised an error of any type.
    """
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
    except Exception as error:  # noqa: BLE001 - it raises plain exceptions too
        ray.shutdown()
        raise RuntimeError(" ".join(str(error).split())[:300]) from None
