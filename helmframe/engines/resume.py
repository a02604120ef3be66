"""`resume=`: which earlier run's completions of unpinned models a run reuses."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from helmframe._pipeline import PlanSpec, plan_tasks
from helmframe.engines.manifest import Unpinned, plan_texts, unpinned_models
from helmframe.errors import ArgumentError, StoreError, UnknownNameError, near
from helmframe.models.completion_cache import StoredRun
from helmframe.store import Address, RunFolder, file_name
from helmframe.store.run_cache import stored_counts

LAST = "last"
# Ids that an error lists.
SHOWN = 5


def resumed_runs(
    resume: str | None, plans: Sequence[PlanSpec], root: Address, *, fresh: bool = False
) -> tuple[StoredRun, ...]:
    """Return the run that `resume` names, then the runs that it resumed itself.

    Args:
        resume: A run's id; "last" is the newest run with the same plans and model names that has stored completions,
            or, where none has any, the newest of these runs; None: no run.
        plans: The plans to run.
        root: The store.
        fresh: Whether all completions are to be generated again.

    Raises:
        ArgumentError: `resume` isn't a text, is combined with `fresh`, or the run has other models.
        UnknownNameError: The store has no such run; lists at most five ids.
    """
    if resume is None:
        return ()
    if not isinstance(resume, str) or not resume:
        raise ArgumentError(f"resume={resume!r}: write 'last', or the id of a run as text; hf.runs() lists them.")
    if fresh:
        raise ArgumentError(f"fresh=True and resume={resume!r} contradict each other; leave one out.")
    folders = {folder.id: folder for folder in reversed(RunFolder.all(root))}
    unpinned = unpinned_models([task for plan in plans for task in plan_tasks(plan)])
    if resume == LAST:
        chosen, manifest = _last(folders, plans, unpinned, root)
    elif resume in folders:
        chosen, manifest = resume, folders[resume].manifest()
        _check_models(chosen, manifest, unpinned)
    else:
        close = near(resume, folders)[:1]
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise UnknownNameError(f"resume={resume!r}: no such run in the store {root}.{hint}{_listed(folders)}")
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
    texts = plan_texts(plans)
    names = {model.name for plan in plans for model in plan.models}
    first: tuple[str, dict[str, Any]] | None = None
    # an id starts with the second the run started at
    for _, same_second in groupby(folders.values(), key=lambda folder: folder.id.rpartition("-")[0]):
        manifests = [(folder, manifest) for folder in same_second if (manifest := _readable(folder)) is not None]
        for folder, manifest in sorted(manifests, key=lambda pair: pair[1].get("started", 0.0), reverse=True):
            if manifest.get("plans") != texts or set(manifest.get("models", {})) != names:
                continue
            if not manifest.get("asks", True):
                continue
            if not unpinned or any(stored_counts(folder.path).values()):
                return folder.id, manifest
            first = first or (folder.id, manifest)
    if first is None:
        named = ", ".join(map(repr, sorted(names)))
        problem = f"resume='last': no run of this plan with {named} in the store {root}."
        raise UnknownNameError(problem + _listed(folders))
    return first


def _readable(folder: RunFolder) -> dict[str, Any] | None:
    try:
        return folder.manifest()
    except StoreError:  # damaged, or removed meanwhile: another run may do
        return None


def _check_models(run_id: str, manifest: Mapping[str, Any], unpinned: Sequence[Unpinned]) -> None:
    stored, names = manifest.get("unpinned", {}), dict.fromkeys(model.name for model in unpinned)
    if names and not set(names) & set(stored):
        models = f"the run stores those of {', '.join(map(repr, stored))}" if stored else "the run stores none itself"
        raise ArgumentError(
            f"resume={run_id!r}: no completions of {', '.join(map(repr, names))} in this run; {models}."
        )


def _check_distinct(run: StoredRun, unpinned: Sequence[Unpinned]) -> None:
    """Raise if a name stands for two models that ran the same scenario, then or now."""
    stored = stored_counts(run.path)
    now: dict[tuple[str, str], set[str]] = {}
    for model in unpinned:
        now.setdefault((model.name, model.scenario), set()).add(model.fingerprint)
    for (name, scenario), fingerprints in now.items():
        folder = file_name(scenario)
        stored_here = [
            fingerprint for fingerprint in run.fingerprints.get(name, ()) if (fingerprint[:32], folder) in stored
        ]
        if len(stored_here) > 1 or (stored_here and len(fingerprints) > 1):
            raise ArgumentError(
                f"resume={run.id!r}: two models are called {name!r} in scenario {scenario!r}. "
                "Name each: hf.model(function, name='…')."
            )


def _stored(folder: RunFolder, manifest: Mapping[str, Any]) -> StoredRun:
    return StoredRun(folder.id, folder.path, manifest.get("unpinned", {}))


def _listed(folders: Mapping[str, RunFolder]) -> str:
    """The ids of the newest runs, for an error."""
    if not folders:
        return " The store has no runs."
    return f"\nNewest runs: {', '.join(list(folders)[:SHOWN])}. hf.runs() lists all {len(folders)}."
