"""Inspect's tasks as scenarios: `hf.scenario("inspect:inspect_evals/arc_easy")`.

Inspect loads the task and its data set. Solvers and scorers then become an adapter and metrics.

Source: inspect_ai 0.3.285, `_eval/loader.py`, `_eval/task/task.py`.
"""

import hashlib
import importlib.util
import json
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import polars as pl

from helmframe._core.specs import Call, ScenarioSpec, thawed
from helmframe.config import from_home
from helmframe.errors import ArgumentError, CapabilityError, SourceError, SourceMissingError, UnknownNameError
from helmframe.interop.inspect.definition import Definition, Sample, Step, task_scenario
from helmframe.scenarios.catalogue import task_source

_PIP = "pip install inspect-ai inspect-evals"
# The parameters of Inspect's GenerateConfig that plans have, by our names.
_DECODING = {
    "max_tokens": "max_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "stop_seqs": "stop",
    "seed": "seed",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
}
_UNSUPPORTED_CONFIG = ("system_message", "num_choices", "response_schema", "logit_bias", "best_of", "modalities")
_TASK = re.compile(
    r"^@task\b(?:\((?P<arguments>[^)]*)\))?[^\n]*\n(?:@[^\n]*\n)*(?:async )?def (?P<name>\w+)", re.MULTILINE
)
_NAME = re.compile(r"name\s*=\s*[\"']([\w\-./]+)[\"']")


def list_tasks() -> pl.DataFrame:
    """Return the tasks of the installed packages that register tasks with Inspect: name and file.

    The files are scanned, and no code is run.

    Raises:
        CapabilityError: No installed package has tasks.
    """
    rows = sorted(set(_listed()))
    if not rows:
        raise CapabilityError(f"No installed package has tasks for Inspect. Run {_PIP}.")
    return pl.DataFrame(rows, schema={"name": pl.String, "file": pl.String}, orient="row")


def _listed() -> Iterator[tuple[str, str]]:
    for package in dict.fromkeys(point.module.partition(".")[0] for point in entry_points(group="inspect_ai")):
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            for file in sorted(Path(folder).rglob("*.py")):
                text = file.read_text(encoding="utf-8", errors="replace")
                for match in _TASK.finditer(text) if "@task" in text else ():
                    named = _NAME.search(match["arguments"] or "")
                    yield f"inspect:{package}/{named[1] if named else match['name']}", str(file)


@task_source("inspect", listing=list_tasks)
def load_tasks(name: str, *, data: str | None, trust_remote_code: bool) -> Sequence[ScenarioSpec]:
    """Return the scenarios of a task: `PACKAGE/TASK`, `PACKAGE/TASK(argument=value)` or `FILE.py@TASK`.

    Args:
        name: The name of a registered task, or a file with `@` and the name of a task. Without it, all its tasks.
        data: Unused: the task reads its own data set.
        trust_remote_code: Whether to run the Python code of a file.

    Raises:
        CapabilityError: Inspect isn't installed, or the task has an unsupported part, which the message names.
        ArgumentError: A file needs `trust_remote_code=True`.
        UnknownNameError: No task has this name.
        SourceError: The data set can't be read.
    """
    del data
    if importlib.util.find_spec("inspect_ai") is None:
        raise CapabilityError(f"Names inspect:TASK need Inspect: {_PIP}. Tasks of the Hub (hf:OWNER/NAME) don't.")
    file = from_home(re.split(r"[@(]", name, maxsplit=1)[0])
    changed = file.stat().st_mtime_ns if file.is_file() else 0
    return [_scenario(task, name) for task in _loaded(name, trust_remote_code, changed)]


@lru_cache(maxsize=16)
def _loaded(name: str, trusted: bool, changed: int) -> tuple[Any, ...]:
    """Return Inspect's tasks of a name; those of a file are loaded again once it has changed."""
    del changed
    from inspect_ai._eval.loader import load_tasks as load  # type: ignore[import-not-found, unused-ignore]
    from inspect_ai._util.error import PrerequisiteError  # type: ignore[import-not-found, unused-ignore]
    from inspect_ai._util.registry import registry_lookup, registry_params  # type: ignore[import-not-found, unused-ignore]

    match = re.fullmatch(r"(?P<path>[^(]*?)(?P<call>[\w\-]+\(.*\))?", name, re.DOTALL)
    spec, arguments = name, {}
    if match is not None and match["call"]:
        call = Call.parse(match["call"].replace("-", "_"))
        spec = match["path"] + match["call"].partition("(")[0]
        arguments = {key: thawed(value) for key, value in call.arguments}
    file, _, task = spec.partition("@")
    if file.endswith(".py"):
        path = from_home(file)
        if not path.is_file():
            raise SourceMissingError(f"inspect:{name}: file not found.")
        if not trusted:
            raise ArgumentError(
                f"inspect:{name}: the file is Python code. If you trust it, write hf.scenario('inspect:{name}', "
                "trust_remote_code=True)."
            )
        spec = f"{path}@{task}" if task else str(path)
    elif registry_lookup("task", spec) is None:
        names = sorted({listed.removeprefix("inspect:") for listed, _ in _listed()})
        raise UnknownNameError.among("Inspect task", spec, names, hint="hf.list_scenarios('inspect') lists all.")
    try:
        tasks = tuple(load([spec], arguments))
    except PrerequisiteError as error:
        raise CapabilityError(f"inspect:{name}: {error}") from None
    except TypeError as error:
        raise ArgumentError(f"inspect:{name}: {error}.") from None
    except (OSError, ValueError) as error:
        raise SourceError(f"inspect:{name}: Inspect can't load the task: {type(error).__name__}: {error}") from None
    for loaded in tasks:
        used = registry_params(loaded)
        for key in arguments:
            if key not in used:
                raise ArgumentError(f"inspect:{name}: the task has no argument {key!r}.")
    return tasks


def _scenario(task: Any, name: str) -> ScenarioSpec:
    label = str(task.name).rpartition("/")[2]
    if task.sandbox is not None:
        raise CapabilityError(f"Task {label!r}: a sandbox is unsupported.")
    definition = Definition(
        name=label,
        solvers=tuple(step for solver in (task.setup, task.solver) for step in _steps(solver)),
        scorers=tuple(_step(scorer) for scorer in task.scorer or ()),
        epochs=task.epochs or 1,
        reducers=_reducers(task),
        decoding=_decoding(task.config, label),
        description=f"The task {label} of Inspect.",
    )
    samples = [_sample(label, sample) for sample in task.dataset]
    digest = hashlib.sha256(repr(samples).encode()).hexdigest()
    return task_scenario(definition, digest, lambda: (samples, _columns(samples)), f"inspect:{name}")


def _reducers(task: Any) -> tuple[str, ...]:
    from inspect_ai.scorer._reducer.registry import (  # type: ignore[import-not-found, unused-ignore]
        reducer_log_name,
    )

    return tuple(reducer_log_name(reducer) for reducer in task.epochs_reducer or ())


def _steps(solver: Any) -> Iterator[Step]:
    """Yield the solvers of a chain."""
    if solver is None:
        return
    inner = solver if isinstance(solver, list | tuple) else getattr(solver, "_solvers", None)
    if inner is None:
        yield _step(solver)
    else:
        for one in inner:
            yield from _steps(one)


def _step(thing: Any) -> Step:
    """Return a solver or scorer by its registered name, with the arguments that it was made with."""
    from inspect_ai._util.registry import (  # type: ignore[import-not-found, unused-ignore]
        is_registry_object,
        registry_info,
        registry_params,
    )
    from inspect_ai.util import resource  # type: ignore[import-not-found, unused-ignore]

    if not is_registry_object(thing):
        return Step(getattr(thing, "__name__", type(thing).__name__))
    arguments = dict(registry_params(thing))
    name = str(registry_info(thing).name).removeprefix("inspect_ai/")
    if isinstance(arguments.get("template"), str):  # a text, or the file that has it
        arguments["template"] = resource(arguments["template"])
    if name == "generate":
        arguments = {_DECODING[key]: value for key, value in arguments.items() if key in _DECODING}
    if name == "multiple_choice" and arguments.get("shuffle") is False:
        del arguments["shuffle"]
    return Step(name, arguments)


def _decoding(config: Any, label: str) -> dict[str, Any]:
    for key in _UNSUPPORTED_CONFIG:
        if getattr(config, key, None) is not None:
            raise CapabilityError(f"Task {label!r}: config.{key} is unsupported.")
    return {ours: value for name, ours in _DECODING.items() if (value := getattr(config, name, None)) is not None}


def _sample(label: str, sample: Any) -> Sample:
    where = f"Task {label!r}, sample {sample.id!r}"
    for key in ("sandbox", "files", "setup"):
        if getattr(sample, key, None):
            raise CapabilityError(f"{where}: {key} is unsupported.")
    question = sample.input
    if not isinstance(question, str):
        question = [_message(where, message) for message in question]
    targets = [sample.target] if isinstance(sample.target, str) else list(sample.target)
    return Sample(
        input=question,
        targets=targets,
        choices=list(sample.choices) if sample.choices else None,
        id=None if sample.id is None else str(sample.id),
        metadata=dict(sample.metadata or {}),
    )


def _message(where: str, message: Any) -> dict[str, str]:
    if message.role not in ("system", "user", "assistant"):
        raise CapabilityError(f"{where}: messages of the role {message.role!r} are unsupported.")
    parts = [] if isinstance(message.content, str) else [part.type for part in message.content]
    for kind in parts:
        if kind != "text":
            raise CapabilityError(f"{where}: content of type {kind!r} is unsupported.")
    return {"role": message.role, "content": message.text}


def _columns(samples: Sequence[Sample]) -> pl.DataFrame:
    """Return the metadata as columns; values of several types, and mappings, are JSON."""
    names = dict.fromkeys(name for sample in samples for name in sample.metadata)
    if not names:
        return pl.DataFrame({"inspect_position": range(len(samples))})
    return pl.DataFrame([_column(name, [sample.metadata.get(name) for sample in samples]) for name in names])


def _column(name: str, values: Sequence[Any]) -> pl.Series:
    types = {type(value) for value in values if value is not None}
    if types <= {str} or types <= {bool} or types <= {int} or types <= {int, float}:
        try:
            return pl.Series(name, values, strict=not types <= {int, float})
        except (pl.exceptions.PolarsError, TypeError, OverflowError):
            pass
    texts = [value if value is None else json.dumps(value, default=str, ensure_ascii=False) for value in values]
    return pl.Series(name, texts, dtype=pl.String)
