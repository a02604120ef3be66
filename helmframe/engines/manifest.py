"""The manifest of a run: the data to read, rerun, resume and monitor it, without secrets."""

import os
import platform
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from functools import cache
from itertools import groupby
from typing import Any, NamedTuple, TypeAlias

from helmframe._core.specs import thawed
from helmframe._pipeline import PlanSpec, Task, suite_tasks
from helmframe._plan_yaml import dump_plan
from helmframe.adapters.adapt import adapter_id
from helmframe.config import redacted, redacted_values
from helmframe.early_stopping.rules import Until, until_entry
from helmframe.errors import ArgumentError, StoreError, UnknownNameError, listed, near
from helmframe.judging.judge import judges_of
from helmframe.metrics.protocol import manifest_entry, resolve_metrics
from helmframe.models.completion_cache import StoredRun
from helmframe.models.model import Model
from helmframe.scenarios.checksums import Data
from helmframe.store import Address, RunFolder, file_name
from helmframe.store.run_cache import stored_counts

FORMAT = 1


@cache
def _versions() -> Mapping[str, str]:
    from importlib.metadata import version

    versions = {name: version(name) for name in ("helmframe", "polars", "duckdb", "numpy")}
    return versions | {"python": platform.python_version()}


class Unpinned(NamedTuple):
    """A model without a durable identity, and a scenario under which its completions are stored."""

    name: str
    fingerprint: str
    scenario: str


Entry: TypeAlias = dict[str, Any]


@dataclass
class Manifest:
    """The manifest of an active run. Its threads change it by these methods, under one lock.

    Args:
        plans: The YAML of each plan.
        scenarios: The entry of each scenario: version, main metric, subsets, description.
        perturbations: The entry of each perturbation: its kind, repeats and seeds.
        models: The entry of each model: fingerprint, durability and note, and at the end its utilization.
        unpinned: Model name → fingerprints of the models whose completions are stored with this run only.
        adapters: Adapter id → the adapter's fields.
        settings: Name of a setting → the value of each field that is a grid, in the order of the plans.
        metrics: The entry of each metric: level, unit, direction and bounds.
        until: The entry of the stopping rule; None without one.
        reasoning: The counts of completions without text after reasoning, by scenario and model.
        resumed: The id of the resumed run; None without one.
        store_only: Whether the run reads cached completions only, and sends no request.
        prices: The price of each model, judge and model of a perturbation whose price is known, with its source.
        unpriced: The models of providers whose price is unknown.
    """

    plans: list[str] = field(default_factory=list)
    scenarios: dict[str, Entry] = field(default_factory=dict)
    perturbations: dict[str, Entry] = field(default_factory=dict)
    models: dict[str, Entry] = field(default_factory=dict)
    unpinned: dict[str, list[str]] = field(default_factory=dict)
    adapters: dict[str, Entry] = field(default_factory=dict)
    settings: dict[str, Entry] = field(default_factory=dict)
    metrics: dict[str, Entry] = field(default_factory=dict)
    until: Entry | None = None
    resumed: str | None = None
    store_only: bool = False
    prices: dict[str, Entry] = field(default_factory=dict)
    unpriced: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    host: str = field(default_factory=socket.gethostname)
    process: int = field(default_factory=os.getpid)
    started: float = field(default_factory=time.time)
    ended: float | None = None
    skipped: list[Entry] = field(default_factory=list)
    data: dict[str, list[Data]] = field(default_factory=dict)
    judges: dict[str, Entry] = field(default_factory=dict)
    perturbation_models: dict[str, Entry] = field(default_factory=dict)
    empty_completions: list[Entry] = field(default_factory=list)
    reasoning: list[Entry] = field(default_factory=list)
    unparsed_completions: list[Entry] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @classmethod
    def of(
        cls,
        plans: Sequence[PlanSpec],
        tasks: Sequence[Task],
        fingerprints: Mapping[Model, str],
        *,
        until: Until | None = None,
        resumed: str | None = None,
        store_only: bool = False,
        prices: Mapping[str, Entry] | None = None,
        unpriced: Sequence[str] = (),
    ) -> "Manifest":
        """Return the manifest of a new run.

        Args:
            plans: The plans.
            tasks: Their tasks.
            fingerprints: The fingerprints of the models.
            until: The stopping rule.
            resumed: The id of the resumed run.
            store_only: Whether the run reads cached completions only.
            prices: The known prices, by the name of the model.
            unpriced: The models of providers whose price is unknown.

        Raises:
            PlanError, UnknownNameError, ArgumentError: A task doesn't support the stopping rule.
        """
        counts = Counter(task.spec.scenario for task in tasks)
        return cls(
            plans=plan_texts(plans),
            # two plans of a suite may divide a scenario into different shards
            scenarios={
                task.spec.scenario: _scenario(task) | {"whole_shards": counts[task.spec.scenario] == 1}
                for task in tasks
            },
            perturbations={
                variant.name: {"kind": variant.kind, "repeats": variant.repeats, "seeds": variant.seeds}
                for task in tasks
                for variant in task.variants
            },
            models={
                model.name: {"fingerprint": fingerprint, "durable": model.durable, "note": model.note}
                for model, fingerprint in fingerprints.items()
            },
            # `resume=` reads this run's own completions by these fingerprints in another process
            unpinned=fingerprints_by_name(unpinned_models(tasks)),
            adapters={
                adapter_id(part.adapter): asdict(part.adapter)
                for task in tasks
                for setting in task.settings
                for part in setting.with_subsets
            },
            settings={
                setting.name: {key: thawed(value) for key, value in setting.axes}
                for task in tasks
                for setting in task.settings
                if setting.axes
            },
            metrics={metric.name: manifest_entry(metric) for task in tasks for metric in resolve_metrics(task.metrics)},
            until=None if until is None else until_entry(until, tasks),
            resumed=resumed,
            store_only=store_only,
            prices=dict(prices or {}),
            unpriced=list(unpriced),
            versions=dict(_versions()),
        )

    def skip(self, scenario: str, models: Iterable[str], reason: str) -> None:
        """Record that these models skip a scenario."""
        with self._lock:
            self.skipped += [{"scenario": scenario, "model": model, "reason": reason} for model in models]

    def set_looks(self, task: str, state: Entry) -> None:
        """Set the state of the stopping rule in a task."""
        with self._lock:
            if self.until is not None:
                self.until["looks"][task] = state

    def set_data(self, checksums: dict[str, list[Data]]) -> None:
        """Set the checksums of the data of each scenario."""
        with self._lock:
            self.data = checksums

    def finish(
        self,
        models: Mapping[str, Entry],
        judges: Mapping[str, Entry],
        perturbation_models: Mapping[str, Entry],
        empty_completions: Sequence[Entry],
        reasoning: Sequence[Entry] = (),
        unparsed_completions: Sequence[Entry] = (),
    ) -> None:
        """Add the utilization of all models, and the empty and unparsed completions, at the end of the run."""
        with self._lock:
            for name, entry in models.items():
                self.models[name] |= entry
            self.judges, self.perturbation_models = dict(judges), dict(perturbation_models)
            self.empty_completions, self.reasoning = list(empty_completions), list(reasoning)
            self.unparsed_completions = list(unparsed_completions)

    def end(self) -> None:
        """Record the current time as the end of the run."""
        with self._lock:
            self.ended = time.time()

    def content(self, status: str, **progress: Any) -> dict[str, Any]:
        """Return the content of manifest.json, without fields that are not set.

        Args:
            status: "running", "done", "stopped" or "failed".
            **progress: The current counts of requests, and the current cost.
        """
        with self._lock:
            values = {name: deepcopy(value) for name, value in vars(self).items() if name != "_lock"}
        optional = {"until", "resumed", "ended", "data", "judges", "empty_completions", "reasoning"}
        optional |= {"unparsed_completions", "prices", "unpriced", "perturbation_models"}
        values = {name: value for name, value in values.items() if value or name not in optional}
        content = {"format": FORMAT, "status": status, **values, "counts": {}, **progress, "seen": time.time()}
        return dict(redacted_values(content))


def plan_texts(plans: Sequence[PlanSpec]) -> list[str]:
    """Return the YAML of each plan for the manifest, with the names of objects and without credentials."""
    return [redacted(without_secrets(dump_plan(plan, objects=True))) for plan in plans]


class CalledModels(NamedTuple):
    """The distinct models that tasks call, each with the scenarios under which its completions are stored."""

    models: dict[Model, list[str]]
    judges: dict[Model, list[str]]
    perturbation_models: dict[Model, list[str]]

    @property
    def all(self) -> list[Model]:
        """Return all models, each once."""
        return list(dict.fromkeys([*self.models, *self.judges, *self.perturbation_models]))


def called_models(tasks: Sequence[Task]) -> CalledModels:
    """Return the models that the tasks call: models, judges, and models of perturbations."""
    called = CalledModels({}, {}, {})
    for task in tasks:
        for model in task.models:
            called.models.setdefault(model, []).append(task.spec.scenario)
        for judge in judges_of(task.metrics):
            for model in judge.models:
                called.judges.setdefault(model, []).append(judge.scenario)
        for link in (link for variant in task.variants for link in variant.chain):
            if isinstance(link.model, Model):
                called.perturbation_models.setdefault(link.model, []).append(link.name)
    return called


def unpinned_models(tasks: Sequence[Task]) -> list[Unpinned]:
    """Return the unpinned models of the tasks: models, judges, and models of perturbations."""
    pairs = [
        (model, scenario)
        for called in called_models(tasks)
        for model, scenarios in called.items()
        for scenario in scenarios
    ]
    distinct = dict.fromkeys((model, scenario) for model, scenario in pairs if not model.durable)
    return [Unpinned(model.name, model.fingerprint(), scenario) for model, scenario in distinct]


def fingerprints_by_name(models: Sequence[Unpinned]) -> dict[str, list[str]]:
    """Return model name → fingerprints."""
    names = dict.fromkeys(model.name for model in models)
    return {name: list(dict.fromkeys(model.fingerprint for model in models if model.name == name)) for name in names}


def without_secrets(text: str) -> str:
    """Return the text without user names and passwords in addresses.

    >>> without_secrets("s3://key:secret@bucket/path")
    's3://bucket/path'
    """
    return re.sub(r"://[^/@\s]*@", "://", text)


def _scenario(task: Task) -> dict[str, Any]:
    spec = task.spec
    return {
        "version": spec.version,
        "main": asdict(task.main),
        "subsets": list(spec.subsets),
        "description": spec.description,
    }


LAST = "last"
# The maximum of run ids in an error.
SHOWN = 5
# The maximum of runs with completions that `resume="last"` compares: a bucket lists the files of each of them.
SEARCHED = 20


def resumed_runs(
    resume: str | None, plans: Sequence[PlanSpec], root: Address, *, fresh: bool = False
) -> tuple[StoredRun, ...]:
    """Return the run to resume, then the runs that it resumed itself.

    Args:
        resume: The id of a run, or "last"; None: no run. "last" is the run with the most stored completions among the
            runs with the same plans and model names, from the newest back to the newest complete run. The newest of
            equal runs is chosen.
        plans: The plans to run.
        root: The store.
        fresh: Whether all completions are generated again.

    Raises:
        ArgumentError: `resume` isn't text, is combined with `fresh`, or the run has other models.
        UnknownNameError: The store has no such run; the message lists at most five ids.
    """
    if resume is None:
        return ()
    if not isinstance(resume, str) or not resume:
        raise ArgumentError(f"resume={resume!r}: resume must be 'last' or the id of a run. hf.runs() lists all.")
    if fresh:
        raise ArgumentError(f"fresh=True and resume={resume!r} contradict each other. Remove one of them.")
    folders = {folder.id: folder for folder in reversed(RunFolder.all(root))}
    unpinned = unpinned_models([task for _, task in suite_tasks(plans)[0]])
    if resume == LAST:
        chosen, manifest = _last(folders, plans, unpinned, root)
    elif resume in folders:
        chosen, manifest = resume, folders[resume].manifest()
        _check_models(chosen, manifest, unpinned)
    else:
        close = near(resume, folders)[:1]
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise UnknownNameError(f"resume={resume!r}: run not found in the store {root}.{hint}{_listed(folders)}")
    runs = [_stored(folders[chosen], manifest)]
    while (earlier := manifest.get("resumed")) in folders and earlier not in [run.id for run in runs]:
        manifest = folders[earlier].manifest()
        runs.append(_stored(folders[earlier], manifest))
    for run in runs:
        _check_distinct(run, unpinned)
    return tuple(runs)


def _last(
    folders: Mapping[str, RunFolder], plans: Sequence[PlanSpec], unpinned: Sequence[Unpinned], root: Address
) -> tuple[str, dict[str, Any]]:
    """Return the id and the manifest of the run that `resume="last"` means."""
    texts = plan_texts(plans)
    names = {model.name for plan in plans for model in plan.models}
    chosen: tuple[str, dict[str, Any]] | None = None
    most = n_searched = 0
    # ids start with the second in which the run started
    for _, same_second in groupby(folders.values(), key=lambda folder: folder.id.rpartition("-")[0]):
        manifests = [(folder, manifest) for folder in same_second if (manifest := _readable(folder)) is not None]
        for folder, manifest in sorted(manifests, key=lambda pair: pair[1].get("started", 0.0), reverse=True):
            if manifest.get("plans") != texts or set(manifest.get("models", {})) != names:
                continue
            if manifest.get("store_only"):
                continue
            if not unpinned:
                return folder.id, manifest
            n_stored = sum(stored_counts(folder.path).values())
            if chosen is None or n_stored > most:
                chosen, most = (folder.id, manifest), n_stored
            n_searched += n_stored > 0
            if n_searched == SEARCHED or (n_stored and _is_complete(manifest)):
                return chosen
    if chosen is None:
        named = ", ".join(map(repr, sorted(names)))
        problem = f"resume='last': the store {root} has no run of this plan with {named}."
        raise UnknownNameError(problem + _listed(folders))
    return chosen


def _is_complete(manifest: Mapping[str, Any]) -> bool:
    """Return whether the run has a completion of every request of its plans."""
    ended = manifest.get("status") == "done" and not manifest.get("until")
    return ended and not manifest.get("counts", {}).get("failed")


def _readable(folder: RunFolder) -> dict[str, Any] | None:
    try:
        return folder.manifest()
    except StoreError:  # the run is damaged or was removed; an older run is used
        return None


def _check_models(run_id: str, manifest: Mapping[str, Any], unpinned: Sequence[Unpinned]) -> None:
    stored, names = manifest.get("unpinned", {}), dict.fromkeys(model.name for model in unpinned)
    if names and not set(names) & set(stored):
        models = f"only of {listed(map(repr, stored))}" if stored else "or of any other model"
        raise ArgumentError(
            f"resume={run_id!r}: the run stores no completions of {listed(map(repr, names))}, {models}."
        )


def _check_distinct(run: StoredRun, unpinned: Sequence[Unpinned]) -> None:
    """Raise if two models of the same name ran the same scenario, in the stored run or in this one."""
    stored = stored_counts(run.path)
    current: dict[tuple[str, str], set[str]] = {}
    for model in unpinned:
        current.setdefault((model.name, model.scenario), set()).add(model.fingerprint)
    for (name, scenario), fingerprints in current.items():
        folder = file_name(scenario)
        stored_fingerprints = [
            fingerprint for fingerprint in run.fingerprints.get(name, ()) if (fingerprint[:32], folder) in stored
        ]
        if len(stored_fingerprints) > 1 or (stored_fingerprints and len(fingerprints) > 1):
            raise ArgumentError(
                f"resume={run.id!r}: two models have the name {name!r} in scenario {scenario!r}. "
                "Name them: hf.model(function, name='…')."
            )


def _stored(folder: RunFolder, manifest: Mapping[str, Any]) -> StoredRun:
    return StoredRun(folder.id, folder.path, manifest.get("unpinned", {}))


def _listed(folders: Mapping[str, RunFolder]) -> str:
    """Return the ids of the newest runs, for an error."""
    if not folders:
        return " The store has no runs. Set HELMFRAME_STORE to use another."
    return f"\nNewest runs: {', '.join(list(folders)[:SHOWN])}. hf.runs() lists all."
