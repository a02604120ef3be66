"""The manifest of a run: what is needed to read it, to run it again, to watch it from elsewhere; without secrets."""

import os
import platform
import re
import socket
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from helmframe._core.specs import ScenarioSpec
from helmframe._pipeline import PlanSpec, Task
from helmframe._plan_yaml import written
from helmframe.adapters.adapt import adapter_id
from helmframe.judging.judge import judges_of
from helmframe.metrics.protocol import about, chosen
from helmframe.models.model import Model

FORMAT = 1


class Unpinned(NamedTuple):
    """A model without a durable identity, and a scenario that its completions are stored under."""

    name: str
    fingerprint: str
    scenario: str


def manifest(plans: Sequence[PlanSpec], tasks: Sequence[Task], fingerprints: Mapping[Model, str]) -> dict[str, Any]:
    """What a run says of itself when it starts.

    Args:
        plans: the sentences.
        tasks: their tasks.
        fingerprints: of the models that are asked.
    """
    from importlib.metadata import version

    metrics = {each.name: each for task in tasks for each in chosen(task.metrics)}
    often = Counter(task.spec.scenario for task in tasks)
    return {
        "format": FORMAT,
        "status": "running",
        "plans": plan_texts(plans),
        "scenarios": {
            # two plans of a suite may cut a scenario into other shards
            task.spec.scenario: _scenario(task.spec) | {"whole_shards": often[task.spec.scenario] == 1}
            for task in tasks
        },
        "perturbations": {
            each.name: {"kind": each.kind, "repeats": each.repeats, "seeds": each.seeds}
            for task in tasks
            for each in task.variants
        },
        "models": {
            model.name: {"fingerprint": fingerprint, "durable": model.durable, "note": model.note}
            for model, fingerprint in fingerprints.items()
        },
        # what `resume=` needs to read this run's own completions from another process
        "unpinned": fingerprints_by_name(unpinned_models(tasks)),
        "adapters": {
            adapter_id(each.adapter): asdict(each.adapter)
            for task in tasks
            for setting in task.settings
            for each in setting.with_subsets
        },
        "metrics": {name: about(each) for name, each in metrics.items()},
        "versions": {name: version(name) for name in ("helmframe", "polars", "duckdb", "numpy")}
        | {"python": platform.python_version()},
        "host": socket.gethostname(),
        "process": os.getpid(),
        "started": time.time(),
        "seen": time.time(),
        "counts": {},
        "left_out": [],
    }


def plan_texts(plans: Sequence[PlanSpec]) -> list[str]:
    """Return each plan as the manifest has it: YAML, with objects by their names, without credentials."""
    return [without_secrets(written(plan, objects=True)) for plan in plans]


def unpinned_models(tasks: Sequence[Task]) -> list[Unpinned]:
    """Return the unpinned models that the tasks run: models, judges, and models that make variants."""
    pairs = [(model, task.spec.scenario) for task in tasks for model in task.models]
    pairs += [(model, judge.scenario) for task in tasks for judge in judges_of(task.metrics) for model in judge.models]
    pairs += [
        (link.model, link.name)
        for task in tasks
        for variant in task.variants
        for link in variant.chain
        if isinstance(link.model, Model)
    ]
    distinct = dict.fromkeys((model, scenario) for model, scenario in pairs if not model.durable)
    return [Unpinned(model.name, model.fingerprint(), scenario) for model, scenario in distinct]


def fingerprints_by_name(models: Sequence[Unpinned]) -> dict[str, list[str]]:
    """Return model name → fingerprints."""
    names = dict.fromkeys(each.name for each in models)
    return {name: list(dict.fromkeys(each.fingerprint for each in models if each.name == name)) for name in names}


def without_secrets(text: str) -> str:
    """The text without user names and passwords in addresses.

    >>> without_secrets("s3://key:secret@bucket/path")
    's3://bucket/path'
    """
    return re.sub(r"://[^/@\s]*@", "://", text)


def _scenario(spec: ScenarioSpec) -> dict[str, Any]:
    return {
        "version": spec.version,
        "main": dict(spec.main.__dict__),
        "subsets": list(spec.subsets),
        "description": spec.description,
    }
