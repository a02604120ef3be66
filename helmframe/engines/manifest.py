"""The manifest of a run: what is needed to read it, to run it again, to watch it from elsewhere; without secrets."""

import os
import platform
import re
import socket
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from helmframe.adapters.adapt import adapter_id
from helmframe.metrics import about, chosen
from helmframe.models.model import Model
from helmframe.specs import ScenarioSpec
from helmframe.stages import Task

FORMAT = 1


def manifest(plans: Sequence[object], tasks: Sequence[Task], fingerprints: Mapping[Model, str]) -> dict[str, Any]:
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
        "plans": [without_secrets(str(plan)) for plan in plans],
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
        "adapters": {
            adapter_id(each.adapter): asdict(each.adapter)
            for task in tasks
            for setting in task.settings
            for each in setting.each
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
        "part": list(spec.part),
        "description": spec.description,
    }
