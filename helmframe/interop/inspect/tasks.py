"""Inspect's tasks and the Hub's `eval.yaml` as scenarios: `hf.scenario("inspect:inspect_evals/arc_easy")`.

Inspect loads the task and its data set. Solvers and scorers then become an adapter and metrics.

Source: inspect_ai 0.3.285, `_eval/loader.py`, `_eval/task/task.py`.
"""

import hashlib
import importlib.util
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import polars as pl

from helmframe._core.checks import is_integer
from helmframe._core.specs import Call, ScenarioSpec, thawed
from helmframe._core.yaml import parse_yaml, read_spec_text, reading, spec_text
from helmframe.config import data_root, from_home
from helmframe.errors import (
    ArgumentError,
    CapabilityError,
    SourceError,
    SourceMissingError,
    SpecError,
    UnknownNameError,
)
from helmframe.interop.inspect.definition import Definition, Sample, Step, shuffled_choices, task_scenario
from helmframe.interop.lm_eval.config import TaskConfig, read_split
from helmframe.metrics.inspect_scorers import option_letter
from helmframe.scenarios.catalogue import task_source
from helmframe.scenarios.remote import HubPath, request_hub
from helmframe.scenarios.sources import read_guarded

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


_FILE = "eval.yaml"
_TASK_KEYS = (
    "id", "config", "split", "field_spec", "shuffle_choices", "epochs", "epoch_reducer", "solvers", "scorers",
)  # fmt: skip
_FIELD_KEYS = ("input", "target", "choices", "metadata", "input_image", "id", "description")
_REPOSITORY = re.compile(r"[\w\-][\w.\-]*/[\w\-][\w.\-]*")
_REDUCER = re.compile(r"(pass_at|at_least)_\d+|max|mode|median|mean")
_LITERAL = "literal:"
_MOST_BYTES = 1 << 20  # of eval.yaml


@task_source("hf")
def load_hub_tasks(name: str, *, data: str | None, trust_remote_code: bool) -> Sequence[ScenarioSpec]:
    """Return the scenarios of the tasks in a data set's `eval.yaml`; `NAME#id` is one of several tasks.

    Args:
        name: `OWNER/NAME` on the Hub, or a local folder, and `#id` of a task.
        data: The root of the rows; None for the configured one.
        trust_remote_code: Unused: `eval.yaml` has no code.

    Raises:
        SourceMissingError: There is no `eval.yaml`.
        SpecError: The file is invalid.
        UnknownNameError: The file has no task with this id.
        CapabilityError: A task has an unsupported solver, scorer or field.
    """
    del trust_remote_code
    address, _, task_id = name.partition("#")
    with reading(f"{address}/{_FILE}", "valid", SpecError):
        text, root = _read(address, data)
        tasks = _tasks(address, _parse(address, text))
        if task_id and task_id not in tasks:
            raise UnknownNameError.among(
                "task", task_id, [key for key in tasks if key], hint=f"{address}/{_FILE} has them."
            )
        chosen = {task_id: tasks[task_id]} if task_id else tasks
        return [_hub_scenario(address, root, task, data, single=len(tasks) == 1) for task in chosen.values()]


def _read(address: str, data: str | None) -> tuple[str, str]:
    """Return the text of `eval.yaml`, and the folder or repository of the rows."""
    folder = from_home(address)
    if folder.is_dir():
        return _read_file(folder / _FILE, address), str(folder.resolve())
    if not _REPOSITORY.fullmatch(address) or ".." in address:
        raise SourceMissingError(f"hf:{address}: no folder, and no name on the Hub. Write hf:OWNER/NAME or a folder.")
    root = data or data_root()
    local = Path(root) / address / _FILE if root and "://" not in str(root) else None
    if local is not None and local.is_file():
        return _read_file(local, address), address
    where = f"hf://datasets/{address}/{_FILE}"
    content = read_guarded(address, where, lambda: request_hub("GET", HubPath.parse(where).url).content)
    return spec_text(bytes(content), f"{address}/{_FILE}", _MOST_BYTES), address


def _read_file(path: Path, address: str) -> str:
    if not path.is_file():
        raise SourceMissingError(f"hf:{address}: the folder has no {_FILE}.")
    return read_spec_text(path, f"{address}/{_FILE}", _MOST_BYTES)


def _parse(address: str, text: str) -> Mapping[str, Any]:
    where = f"{address}/{_FILE}"
    content = parse_yaml(text, where, unique_keys=False)
    if not isinstance(content, dict):
        raise SpecError.at(where, "", "must be a mapping.")
    return content


def _tasks(address: str, content: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the tasks of the file by id; `field_spec`, `solvers` and `scorers` of the file are defaults."""
    where = f"{address}/{_FILE}"
    listed = content.get("tasks")
    if not isinstance(listed, list) or not listed:
        raise SpecError.at(where, "tasks", "must be a list of tasks.")
    tasks: dict[str, dict[str, Any]] = {}
    for number, task in enumerate(listed):
        path = f"tasks[{number}]"
        if not isinstance(task, dict):
            raise SpecError.at(where, path, "must be a mapping.")
        for key in task:
            if key not in _TASK_KEYS:
                raise SpecError.unknown_key(where, f"{path}.{key}", _TASK_KEYS)
        shared = {key: content[key] for key in ("field_spec", "solvers", "scorers") if key in content}
        task_id = task.get("id")
        if task_id is None and len(listed) > 1:
            raise SpecError.at(where, f"{path}.id", "is required if the file has several tasks.")
        key = "" if task_id is None else str(task_id)
        if key in tasks:
            raise SpecError.at(where, f"{path}.id", f"{key!r} is the id of an earlier task.")
        tasks[key] = {**shared, **task}
    return tasks


def _hub_scenario(address: str, root: str, task: dict[str, Any], data: str | None, *, single: bool) -> ScenarioSpec:
    task_id = str(task.get("id") or "")
    name = Path(root).name if single or not task_id else task_id
    where = f"{address}/{_FILE}: {task_id or name}"
    config, split, epochs = task.get("config", "default"), task.get("split", "test"), task.get("epochs", 1)
    reducer = task.get("epoch_reducer")
    for key, value in (("config", config), ("split", split)):
        if not isinstance(value, str):
            raise SpecError.at(where, key, f"must be text, not {value!r}.")
    if not is_integer(epochs) or epochs < 1:
        raise SpecError.at(where, "epochs", f"must be an integer ≥ 1, not {epochs!r}.")
    if reducer is not None and not (isinstance(reducer, str) and _REDUCER.fullmatch(reducer)):
        raise SpecError.at(where, "epoch_reducer", f"{reducer!r} isn't a reducer, such as mean, max or pass_at_2.")
    fields = _fields(where, task.get("field_spec"))
    definition = Definition(
        name=name,
        solvers=_hub_steps(where, task, "solvers"),
        scorers=_hub_steps(where, task, "scorers"),
        epochs=epochs,
        reducers=(reducer,) if reducer else (),
        description=f"The task {task_id or name} of {address}.",
    )

    def make() -> tuple[list[Sample], pl.DataFrame]:
        folder = Path(root)
        inner = folder / config
        path = str(inner if inner.is_dir() else folder) if folder.is_dir() else root
        table = read_split(
            TaskConfig(task=name, dataset_path=path, dataset_name=None if config == "default" else config), split, data
        )
        samples = [_hub_sample(where, fields, record) for record in table.iter_rows(named=True)]
        return shuffled_choices(samples) if task.get("shuffle_choices") else samples, table

    digest = repr((address, root, data, sorted(task.items(), key=str)))
    return task_scenario(definition, digest, make, f"hf:{address}#{task_id}" if task_id else f"hf:{address}")


def _hub_steps(where: str, task: Mapping[str, Any], key: str) -> tuple[Step, ...]:
    listed = task.get(key)
    if not isinstance(listed, list) or not listed:
        raise SpecError.at(where, key, "must be a list with at least one name.")
    steps = []
    for entry in listed:
        arguments = entry.get("args", {}) if isinstance(entry, dict) else None
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or not isinstance(arguments, dict):
            raise SpecError.at(where, key, f"each entry must have a name and may have args, not {entry!r}.")
        steps.append(Step(entry["name"], {str(name): value for name, value in arguments.items()}))
    return tuple(steps)


def _fields(where: str, spec: Any) -> dict[str, Any]:
    """Return the names of the fields; their defaults are Inspect's."""
    if not isinstance(spec, dict):
        raise SpecError.at(where, "field_spec", "must be a mapping with input and target.")
    for key, value in spec.items():
        if key not in _FIELD_KEYS:
            raise SpecError.unknown_key(where, f"field_spec.{key}", _FIELD_KEYS)
        many = key in ("choices", "metadata") and isinstance(value, list) and all(isinstance(n, str) for n in value)
        if not many and not (isinstance(value, str) and key != "metadata") and value is not None:
            raise SpecError.at(where, f"field_spec.{key}", f"must be the name of a column, not {value!r}.")
    if spec.get("input_image"):
        raise CapabilityError(f"{where}: field_spec.input_image is unsupported.")
    return {"input": "input", "target": "target", "choices": None, "metadata": None, **spec}


def _hub_sample(where: str, fields: Mapping[str, Any], record: Mapping[str, Any]) -> Sample:
    def value(key: str, column: str) -> Any:
        if column not in record:
            raise ArgumentError.unknown_value(f"{where}: field_spec.{key}: unknown column {column!r}", column, record)
        return record[column]

    listed = fields["choices"]
    choices = [value("choices", name) for name in listed] if isinstance(listed, list) else None
    if isinstance(listed, str):
        choices = value("choices", listed)
    if choices is not None and not (isinstance(choices, list) and all(isinstance(text, str) for text in choices)):
        raise SpecError.at(where, "field_spec.choices", f"must be a column with a list of texts, not {choices!r:.80}.")
    question = value("input", fields["input"])
    if not isinstance(question, str):
        raise SpecError.at(where, "field_spec.input", f"must be a column with texts, not {question!r:.80}.")
    target = fields["target"]
    if target.startswith(_LITERAL):
        text = target.removeprefix(_LITERAL)
    else:
        answer = value("target", target)
        is_index = isinstance(answer, int) and listed is not None and 0 <= answer < 26
        text = option_letter(int(answer)) if is_index else str(answer)
    return Sample(
        input=question,
        targets=[text],
        choices=choices or None,
        metadata={name: value("metadata", name) for name in fields["metadata"] or ()},
    )
