"""Tasks of the Hub as scenarios: `hf.scenario("hf:OWNER/NAME")` reads the data set's `eval.yaml`.

Inspect isn't needed. The rows are the Parquet of the data set, or files of a local folder.

Source: inspect_ai 0.3.285, `_eval/task/hf.py`.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from helmframe._core.checks import is_integer
from helmframe._core.specs import ScenarioSpec
from helmframe.config import data_root, from_home
from helmframe.errors import ArgumentError, CapabilityError, SourceMissingError, SpecError, UnknownNameError
from helmframe.interop.inspect.definition import Definition, Sample, Step, shuffled_choices, task_scenario
from helmframe.interop.lm_eval.config import TaskConfig
from helmframe.interop.lm_eval.data import read_split
from helmframe.metrics.inspect_scorers import option_letter
from helmframe.scenarios.catalogue import task_source
from helmframe.scenarios.remote import HubPath, request_hub
from helmframe.scenarios.sources import read_guarded

_FILE = "eval.yaml"
_TASK_KEYS = (
    "id", "config", "split", "field_spec", "shuffle_choices", "epochs", "epoch_reducer", "solvers", "scorers",
)  # fmt: skip
_FIELD_KEYS = ("input", "target", "choices", "metadata", "input_image", "id", "description")
_REPOSITORY = re.compile(r"[\w\-][\w.\-]*/[\w\-][\w.\-]*")
_REDUCER = re.compile(r"(pass_at|at_least)_\d+|max|mode|median|mean")
_LITERAL = "literal:"
_MOST_BYTES = 1 << 20  # of eval.yaml
_MOST_VALUES = 100_000  # in it, with repeated anchors


@task_source("hf")
def load_tasks(name: str, *, data: str | None, trust_remote_code: bool) -> Sequence[ScenarioSpec]:
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
    text, root = _read(address, data)
    tasks = _tasks(address, _parse(address, text))
    if task_id and task_id not in tasks:
        raise UnknownNameError.among(
            "task", task_id, [key for key in tasks if key], hint=f"{address}/{_FILE} has them."
        )
    chosen = {task_id: tasks[task_id]} if task_id else tasks
    return [_scenario(address, root, task, data, single=len(tasks) == 1) for task in chosen.values()]


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
    return _decoded(bytes(content), address), address


def _read_file(path: Path, address: str) -> str:
    if not path.is_file():
        raise SourceMissingError(f"hf:{address}: the folder has no {_FILE}.")
    return _decoded(path.read_bytes(), address)


def _decoded(content: bytes, address: str) -> str:
    if len(content) > _MOST_BYTES:
        raise SpecError.at(f"{address}/{_FILE}", "", "is larger than 1 MB.")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise SpecError.at(f"{address}/{_FILE}", "", "isn't UTF-8.") from None


def _parse(address: str, text: str) -> Mapping[str, Any]:
    where = f"{address}/{_FILE}"
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        problem = str(getattr(error, "problem", "") or type(error).__name__)
        raise SpecError.at(where, "", f"isn't valid YAML: {problem}.") from None
    if not isinstance(content, dict):
        raise SpecError.at(where, "", "must be a mapping.")
    if _size(content, _MOST_VALUES) > _MOST_VALUES:
        raise SpecError.at(where, "", f"has more than {_MOST_VALUES:,} values.")
    return content


def _size(value: Any, limit: int) -> int:
    """Return the number of values in a value, at most a little above the limit."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    total, stack = 1, list(inner)
    while stack and total <= limit:
        total += 1
        item = stack.pop()
        stack += item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
    return total


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


def _scenario(address: str, root: str, task: dict[str, Any], data: str | None, *, single: bool) -> ScenarioSpec:
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
        solvers=_steps(where, task, "solvers"),
        scorers=_steps(where, task, "scorers"),
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
        samples = [_sample(where, fields, record) for record in table.iter_rows(named=True)]
        return shuffled_choices(samples) if task.get("shuffle_choices") else samples, table

    digest = repr((address, root, data, sorted(task.items(), key=str)))
    return task_scenario(definition, digest, make, f"hf:{address}#{task_id}" if task_id else f"hf:{address}")


def _steps(where: str, task: Mapping[str, Any], key: str) -> tuple[Step, ...]:
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


def _sample(where: str, fields: Mapping[str, Any], record: Mapping[str, Any]) -> Sample:
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
