"""A run on a cluster: what is sent, in which spans, and what comes of it. It never sees a row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from helmframe._pipeline import PlanSpec, Task, split_spans
from helmframe.config import data_root
from helmframe.early_stopping.rules import Until
from helmframe.engines.cache_notes import cache_note
from helmframe.engines.local import Execution
from helmframe.engines.progress import Progress
from helmframe.engines.ray.cluster import connected
from helmframe.engines.ray.driver import Driver
from helmframe.engines.ray.options import Ray
from helmframe.engines.ray.replica_state import AT_ONCE, Job, Lane
from helmframe.engines.ray.shipping import Parcel, check_credentials, packed
from helmframe.engines.resume import resumed_runs
from helmframe.errors import PlanError, SourceMissingError, UnknownNameError
from helmframe.models.budget import Budget
from helmframe.models.completion_cache import store_root
from helmframe.models.model import Model
from helmframe.scenarios.spans import Span
from helmframe.store import RunFolder

# Spans for each place where one can be done, so that a slow one at the end holds up little; tasks share in them.
PIECES = 8


def run(
    options: Ray,
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
    """As `local.run`, on a cluster.

    Raises:
        PlanError: what can't be shared out, or can't be sent to other machines; before anything starts.
        HelmframeError: as `local.run`.
    """
    if until is not None:
        raise PlanError("until= looks at all answers before it asks on; leave it out, or leave out engine='ray'.")
    root = store_root()
    check_credentials([root, data_root(), *(getattr(plan, "data", None) for plan in plans)])
    execution = RayExecution(
        plans=plans,
        root=root,
        ask=ask,
        fresh=fresh,
        budget=budget or Budget(),
        until=None,
        folder=folder or RunFolder.new(root),
        progress=progress or Progress(enabled=ask),
        resumed=resumed_runs(resume, plans, root, fresh=fresh),
        options=options,
    )
    return execution.go()


@dataclass(frozen=True)
class RayExecution(Execution):
    """As `Execution`, with the tasks done on a cluster."""

    options: Ray = field(default_factory=Ray)
    _packed: dict[Model, bytes] = field(default_factory=dict)

    def prepare(self, tasks: Sequence[tuple[PlanSpec, Task]], fingerprints: Mapping[Model, str]) -> None:
        """Pickle what every replica is to know.

        Raises:
            PlanError: that can't be.
        """
        names = [model.name for model in fingerprints]
        for name in self.options.models:
            if name not in names:
                raise UnknownNameError.among("model of the plan", name, names)
        for model, fingerprint in fingerprints.items():
            work = [
                (replace(plan, models=(model,)), replace(task, models=(model,)))
                for plan, task in tasks
                if model in task.models
            ]
            self._packed[model] = packed(
                Parcel(
                    work, model, fingerprint, self.root, self.folder.path, self.fresh,
                    self.budget.prices, self.budget.priority, self.resumed,
                )
            )  # fmt: skip

    def work(
        self,
        tasks: Sequence[tuple[PlanSpec, Task]],
        fingerprints: Mapping[Model, str],
        about: dict[str, Any],
    ) -> list[SourceMissingError]:
        """Do all tasks on the cluster."""
        for model in fingerprints:
            if not model.durable:
                resumed = [run.id for run in self.resumed]
                self.progress.say(cache_note(model, run=self.folder.id, resumed=resumed, fresh=self.fresh))
        missing: list[SourceMissingError] = []
        pieces = -(-PIECES * AT_ONCE // len(tasks))
        cut = [self._spans(plan, task, pieces, missing, about) for plan, task in tasks]
        with connected(self.options.address) as ray:
            lanes = []
            for model, data in self._packed.items():
                mine = [(each, spans) for each, spans in zip(tasks, cut, strict=True) if model in each[1].models]
                jobs = [
                    [Job(work, span, shard) for shard, span in enumerate(spans)] for work, (_, spans) in enumerate(mine)
                ]
                work = [each for each, _ in mine]
                lanes.append(Lane(ray, model, self.options.of(model), ray.put(data), work, jobs))
            Driver(ray, lanes, self, about).go()
        return missing

    def _spans(
        self, plan: PlanSpec, task: Task, pieces: int, missing: list[SourceMissingError], about: dict[str, Any]
    ) -> Sequence[Span]:
        most = max(self.options.of(model).least_and_most[1] for model in task.models)
        try:
            spans = split_spans(plan, task.spec, pieces * most)
        except SourceMissingError as error:
            self.absent(error, task, about)
            missing.append(error)
            return []
        return spans
