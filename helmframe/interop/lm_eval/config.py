"""Task files of lm-evaluation-harness: an index of their names, their configuration, and their documents.

Task files are read without running Python code; `resolved` imports the functions that they name. Documents are read as
Parquet, CSV or JSON from files, a data root or the Hub.

Source: lm-eval 0.4.13, `tasks/_index.py`, `tasks/_yaml_loader.py`, `config/task.py`.
"""

import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache, partial
from itertools import count
from pathlib import Path
from typing import Any

import polars as pl

from helmframe._core.specs import MainScore, ScenarioSpec
from helmframe._core.yaml import parse_yaml, read_spec_text
from helmframe.config import from_home, lm_eval_tasks
from helmframe.errors import ArgumentError, CapabilityError, SourceMissingError, SpecError, UnknownNameError
from helmframe.scenarios.query import list_files
from helmframe.scenarios.raw import open_folder, reader
from helmframe.scenarios.sources import connect, read_guarded
from helmframe.scenarios.sql import text_list

# A key at the start of a line: enough to index thousands of files without parsing them.
_KEY = re.compile(r"""^["']?(task|group|tag|class|include)["']?:[ \t]*(.*)$""", re.MULTILINE)
_ITEM = re.compile(r"""^[ \t]*-[ \t]*(.+?)[ \t]*$""")
_SKIPPED = {"__pycache__", ".ipynb_checkpoints"}
OUTPUT_TYPES = ("multiple_choice", "loglikelihood", "loglikelihood_rolling", "generate_until")
_MOST_INCLUDES = 32


@dataclass(frozen=True)
class Function:
    """A Python function that a task file names: `!function utils.process_docs`."""

    name: str
    folder: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Entry:
    """A name of the index: the kind ("task", "group", "tag" or "class"), its file, and the tasks of a tag."""

    name: str
    kind: str
    path: Path | None = None
    tasks: tuple[str, ...] = ()


@dataclass(frozen=True)
class FewshotConfig:
    """The few-shot examples of a task; None means as in the task."""

    sampler: str = "default"
    split: str | None = None
    samples: tuple[Mapping[str, Any], ...] | Function | None = None
    fewshot_indices: tuple[int, ...] | None = None
    process_docs: Function | None = None
    doc_to_text: Any = None
    doc_to_choice: Any = None
    doc_to_target: Any = None
    gen_prefix: str | None = None
    fewshot_delimiter: str | None = None
    target_delimiter: str | None = None


@dataclass(frozen=True)
class TaskConfig:
    """The configuration of a task, with lm-eval's names and defaults."""

    task: str
    path: Path | None = None
    task_alias: str | None = None
    tag: Any = None
    custom_dataset: Any = None
    dataset_path: str | None = None
    dataset_name: str | None = None
    dataset_kwargs: Mapping[str, Any] | None = None
    training_split: str | None = None
    validation_split: str | None = None
    test_split: str | None = None
    fewshot_split: str | None = None
    process_docs: Any = None
    doc_to_text: Any = None
    doc_to_target: Any = None
    doc_to_image: Any = None
    doc_to_audio: Any = None
    unsafe_code: bool = False
    doc_to_choice: Any = None
    process_results: Any = None
    use_prompt: str | None = None
    description: Any = ""
    target_delimiter: str = " "
    fewshot_delimiter: str = "\n\n"
    fewshot_config: Mapping[str, Any] = field(default_factory=dict)
    num_fewshot: int | None = None
    metric_list: Sequence[Mapping[str, Any]] | None = None
    output_type: str = "generate_until"
    generation_kwargs: Mapping[str, Any] | None = None
    repeats: int = 1
    filter_list: Sequence[Mapping[str, Any]] | None = None
    should_decontaminate: bool = False
    doc_to_decontamination_query: Any = None
    gen_prefix: str | None = None
    metadata: Any = None
    task_class: Function | None = None  # the key `class`: the task is a Python class

    @property
    def eval_split(self) -> str | None:
        """The split that is evaluated: test, else validation."""
        return self.test_split or self.validation_split

    @property
    def fewshot(self) -> FewshotConfig:
        """The few-shot examples, with the task's values where they have none of their own."""
        own = dict(self.fewshot_config)
        for name in ("doc_to_text", "doc_to_choice", "doc_to_target", "gen_prefix", "process_docs"):
            own.setdefault(name, getattr(self, name))
        for name in ("fewshot_delimiter", "target_delimiter"):
            own.setdefault(name, getattr(self, name))
        own.setdefault("split", self.fewshot_split)
        if isinstance(own.get("samples"), list):
            own["samples"] = tuple(own["samples"])
        if isinstance(own.get("fewshot_indices"), list):
            own["fewshot_indices"] = tuple(own["fewshot_indices"])
        known = {key.name for key in fields(FewshotConfig)}
        for name in own:
            if name not in known:
                raise SpecError.unknown_key(self.task, f"fewshot_config.{name}", known)
        return FewshotConfig(**own)

    def functions(self) -> list[tuple[str, Function]]:
        """Return the Python functions that the task needs, by key."""
        functions: list[tuple[str, Function]] = []

        def walk(key: str, value: Any) -> None:
            if isinstance(value, Function):
                functions.append((key, value))
            elif isinstance(value, Mapping):
                for name, inner in value.items():
                    walk(f"{key}.{name}" if key else str(name), inner)
            elif isinstance(value, list | tuple):
                for inner in value:
                    walk(key, inner)

        for key in fields(self):
            walk(key.name.removeprefix("task_") if key.name == "task_class" else key.name, getattr(self, key.name))
        return functions


def tasks_folder() -> Path:
    """Return the folder with lm-eval's tasks: the configured one, else that of the installed package.

    Raises:
        CapabilityError: lm-eval isn't installed, and no folder is configured.
    """
    configured = lm_eval_tasks()
    if configured is not None:
        return configured
    spec = importlib.util.find_spec("lm_eval")
    if spec is None or not spec.submodule_search_locations:
        raise CapabilityError(
            "Names lm_eval:TASK need lm-eval's task files: pip install lm-eval. Or write the path of a task file, or "
            "hf.configure(lm_eval_tasks=FOLDER)."
        )
    return Path(next(iter(spec.submodule_search_locations))) / "tasks"


def index(folder: Path) -> Mapping[str, Entry]:
    """Return the names of all tasks, groups and tags below a folder. Files are scanned, and not parsed."""
    files = []
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in _SKIPPED]
        files += [f"{root}/{name}" for name in names if name.endswith(".yaml")]
    return _index(tuple(sorted(files)))


@lru_cache(maxsize=2)
def _index(files: tuple[str, ...]) -> Mapping[str, Entry]:
    entries: dict[str, Entry] = {}
    tags: dict[str, list[str]] = {}
    included: dict[Path, dict[str, Any]] = {}
    for file in map(Path, files):
        keys = _scan(file, included)
        kind = "class" if "class" in keys else "group" if "group" in keys else "task"
        name = keys.get("group" if kind == "group" else "task")
        if not name or name in entries:
            continue
        entries[name] = Entry(name, kind, file)
        for tag in keys.get("tag", ()) if kind != "group" else ():
            tags.setdefault(tag, []).append(name)
    for tag, names in tags.items():
        entries.setdefault(tag, Entry(tag, "tag", None, tuple(sorted(names))))
    return entries


def _scan(file: Path, included: dict[Path, dict[str, Any]]) -> dict[str, Any]:
    """Return the keys of a file that the index needs, with those of the files that it includes."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    own: dict[str, Any] = {}
    base: dict[str, Any] = {}
    for match in _KEY.finditer(text):
        key, value = match[1], match[2]
        if key == "include":
            for name in _names(value, text[match.end() :]):
                path = file.parent / name
                if path not in included:
                    included[path] = {}  # also ends a ring of includes
                    included[path] = _scan(path, included)
                base |= included[path]
        else:
            own[key] = _names(value, text[match.end() :]) if key == "tag" else _plain(value)
    return base | own


def _plain(text: str) -> str:
    """Return a YAML scalar without quotes and comment."""
    value = re.sub(r"\s+#.*$", "", text).strip()
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" else value


def _names(value: str, after: str) -> list[str]:
    """Return the names of `key: NAME`, `key: [NAME, NAME]` or a list in the lines after it."""
    plain = _plain(value)
    if plain.startswith("["):
        return [_plain(name) for name in plain.strip("[]").split(",") if name.strip()]
    if plain:
        return [plain]
    names = []
    for line in after.lstrip("\n").splitlines():
        match = _ITEM.match(line)
        if match is None:
            break
        names.append(_plain(match[1]))
    return names


def read_task_file(path: Path, *, trusted: bool = False) -> dict[str, Any]:
    """Return the content of a task file with its includes; local keys win. `!function` is read as a name.

    Args:
        path: The file.
        trusted: Whether it may include any file; else files below its folder, and lm-eval's own.

    Raises:
        SpecError: The file can't be read, isn't a mapping, includes itself or too many files, or a file elsewhere.
    """
    return _with_includes(path, (), count(1), trusted=trusted)


def _with_includes(path: Path, seen: tuple[Path, ...], numbers: Iterator[int], *, trusted: bool) -> dict[str, Any]:
    top = (seen[0] if seen else path).parent
    if seen and not trusted and not any(map(path.is_relative_to, (top.resolve(), *_own_folders()))):
        raise SpecError.at(
            seen[-1].name,
            "include",
            f"{path} isn't below the task file's folder. To read it, write hf.scenario(…, trust_remote_code=True).",
        )
    if path in seen:
        raise SpecError.at(path.name, "include", f"{path.name} includes itself.")
    if next(numbers) > _MOST_INCLUDES:
        raise SpecError.at(path.name, "include", f"more than {_MOST_INCLUDES} files are included.")
    function = partial(Function, folder=str(path.parent))
    text = read_spec_text(path, path.name)
    content = parse_yaml(text, path.name, unique_keys=False, tags={"!function": function})
    if not isinstance(content, dict):
        raise SpecError.at(path.name, "", "must be a mapping.")
    included = content.pop("include", None)
    merged: dict[str, Any] = {}
    for name in included if isinstance(included, list) else [included] if included else []:
        file = from_home(path.parent / str(name)).resolve()
        inner = _with_includes(file, (*seen, path), numbers, trusted=trusted)
        inner.pop("task_list", None)
        merged |= inner
    return merged | content


def task_config(content: Mapping[str, Any], path: Path | None) -> TaskConfig:
    """Return the configuration of a task file's content.

    Raises:
        SpecError: A key is unknown, or a value has the wrong type.
    """
    file = path.name if path else "task"
    known = {key.name for key in fields(TaskConfig)} - {"path", "task_class"}
    ignored = {"group", "group_alias", "task_list", "class"}
    for key in content:
        if key not in known | ignored:
            raise SpecError.unknown_key(file, str(key), known)
    values = {key: value for key, value in content.items() if key in known and value is not None}
    name = values.get("task")
    if not isinstance(name, str):
        raise SpecError.at(file, "task", "must be the name of the task.")
    output = values.get("output_type", "generate_until")
    if output not in OUTPUT_TYPES:
        raise SpecError.at(file, "output_type", f"{output!r} must be one of {', '.join(OUTPUT_TYPES)}.")
    if not isinstance(values.get("fewshot_config", {}), dict):
        raise SpecError.at(file, "fewshot_config", "must be a mapping.")
    for key, value in values.items():
        for keys, kinds, form in _KINDS:
            if key in keys and not isinstance(value, kinds):
                raise SpecError.at(file, key, f"must be {form}, not {value!r}.")
    for key in ("metric_list", "filter_list"):
        if not all(isinstance(entry, dict) for entry in values.get(key, ())):
            raise SpecError.at(file, key, "must be a list of mappings.")
    python_class = content.get("class")
    if python_class is not None and not isinstance(python_class, Function):
        raise SpecError.at(file, "class", f"must be a Python class, !function MODULE.NAME, not {python_class!r}.")
    return TaskConfig(**values, path=path, task_class=python_class)


# The types of keys: names of keys, types, and their description.
_KINDS: tuple[tuple[tuple[str, ...], type | tuple[type, ...], str], ...] = (
    (("num_fewshot", "repeats"), int, "an integer"),
    (
        ("dataset_path", "dataset_name", "training_split", "validation_split", "test_split", "fewshot_split",
         "target_delimiter", "fewshot_delimiter", "use_prompt", "gen_prefix", "task_alias"),
        str, "text",
    ),
    (("description",), (str, Function), "text"),
    (("dataset_kwargs", "generation_kwargs"), dict, "a mapping"),
    (("metric_list", "filter_list"), list, "a list of mappings"),
)  # fmt: skip
_GROUP_KEYS = {"group", "group_alias", "task", "aggregate_metric_list", "metadata", "tag"}
_MOST_DEPTH = 16  # of groups in groups
_MOST_MEMBERS = 20_000  # of a group, with the members of its groups


@dataclass(frozen=True)
class Group:
    """The tasks of a group, and whether its scores weight them by their number of documents."""

    name: str
    tasks: tuple[TaskConfig, ...]
    weight_by_size: bool = True


def read_tasks(
    entry: Entry,
    entries: Mapping[str, Entry],
    overrides: Mapping[str, Any] | None = None,
    depth: int = 0,
    numbers: Iterator[int] | None = None,
    *,
    trusted: bool = False,
) -> Group:
    """Return the tasks of an entry; those of a group may have overrides. `trusted` as in `read_task_file`.

    Raises:
        UnknownNameError: A group names an unknown task.
        SpecError: A file is invalid, or groups contain each other.
    """
    numbers = count(1) if numbers is None else numbers
    if depth > _MOST_DEPTH or next(numbers) > _MOST_MEMBERS:
        raise SpecError.at(entry.name, "task", "groups contain each other, or have too many members.")
    if entry.kind == "tag":
        members = [
            read_tasks(entries[name], entries, overrides, depth + 1, numbers, trusted=trusted).tasks
            for name in entry.tasks
            if name in entries
        ]
        return Group(entry.name, tuple(task for tasks in members for task in tasks))
    assert entry.path is not None  # only tags have none
    content = read_task_file(entry.path, trusted=trusted)
    if entry.kind in ("task", "class"):
        return Group(entry.name, (task_config(content | dict(overrides or {}), entry.path),))
    tasks = _members(content, entry.name, entries, dict(overrides or {}), depth, entry.path, numbers, trusted=trusted)
    aggregates = content.get("aggregate_metric_list") or [{}]
    listed = aggregates if isinstance(aggregates, list) else [aggregates]
    weighted = all(aggregate.get("weight_by_size", True) for aggregate in listed if isinstance(aggregate, dict))
    return Group(entry.name, tuple({task.task: task for task in tasks}.values()), weighted)


def _members(
    content: Mapping[str, Any],
    name: str,
    entries: Mapping[str, Entry],
    overrides: dict[str, Any],
    depth: int,
    path: Path,
    numbers: Iterator[int],
    *,
    trusted: bool,
) -> list[TaskConfig]:
    """Return the tasks of a group: names of tasks, groups and tags, and groups and tasks within the file."""
    shared = {key: value for key, value in content.items() if key not in _GROUP_KEYS} | overrides
    members = content.get("task")
    tasks: list[TaskConfig] = []
    for member in members if isinstance(members, list) else [members]:
        own = dict(member) if isinstance(member, dict) else {"task": member}
        if "group" in own:
            named = str(own["group"])
            if named in entries:
                inner = {key: value for key, value in own.items() if key not in _GROUP_KEYS}
                tasks += read_tasks(entries[named], entries, shared | inner, depth + 1, numbers, trusted=trusted).tasks
            else:
                if depth > _MOST_DEPTH:
                    raise SpecError.at(name, "task", "groups are nested too deeply.")
                tasks += _members(own, f"{name}::{named}", entries, shared, depth + 1, path, numbers, trusted=trusted)
            continue
        named = str(own.pop("task", ""))
        if named in entries:
            tasks += read_tasks(entries[named], entries, shared | own, depth + 1, numbers, trusted=trusted).tasks
        elif own or shared:
            tasks.append(task_config(shared | own | {"task": f"{name}::{named}"}, path))
        else:
            raise UnknownNameError.among(f"lm-eval task in {name}", named, entries)
    return tasks


def find_task(name: str, entries: Mapping[str, Entry]) -> Entry:
    """Return the entry of a name.

    Raises:
        UnknownNameError: No task, group or tag has this name.
    """
    if name not in entries:
        raise UnknownNameError.among("lm-eval task", name, entries, hint="hf.list_scenarios('lm_eval') lists all.")
    return entries[name]


# The keys whose Python functions make documents and texts; those of other keys make scores.
_DOCUMENT_KEYS = {
    "custom_dataset", "process_docs", "doc_to_text", "doc_to_target", "doc_to_choice", "description", "gen_prefix",
    "fewshot_config.process_docs", "fewshot_config.samples", "fewshot_config.doc_to_text",
    "fewshot_config.doc_to_target", "fewshot_config.doc_to_choice",
}  # fmt: skip
_IGNORED_KEYS = {"doc_to_decontamination_query"}


def scoring_functions(config: TaskConfig) -> list[tuple[str, Function]]:
    """Return the Python functions that make scores or filters, by key."""
    return [(key, function) for key, function in config.functions() if key not in _DOCUMENT_KEYS | _IGNORED_KEYS]


def check_functions(config: TaskConfig, *, trust_remote_code: bool = False) -> None:
    """Raise if a task needs Python code that isn't installed or trusted.

    Functions of the installed lm-eval are trusted.

    Raises:
        CapabilityError: lm-eval isn't installed.
        ArgumentError: The code is next to a task file and isn't trusted.
    """
    functions = [(key, function) for key, function in config.functions() if key not in _IGNORED_KEYS]
    installed = installed_tasks() if functions else None
    for key, function in functions:
        named = f"Task {config.task!r} needs the Python function {function} ({key})"
        if trust_remote_code and (installed is not None or key in _DOCUMENT_KEYS):
            continue
        if installed is None:
            raise CapabilityError(f"{named}: pip install lm-eval. It is imported when the plan runs.")
        if not Path(function.folder).resolve().is_relative_to(installed):
            raise ArgumentError(
                f"{named}, which is next to the task file. To run it, write hf.scenario(…, trust_remote_code=True)."
            )


def _own_folders() -> list[Path]:
    """Return the folders of lm-eval's own tasks: the installed one, and the configured one."""
    configured = lm_eval_tasks()
    return [folder.resolve() for folder in (installed_tasks(), configured) if folder is not None]


def installed_tasks() -> Path | None:
    """Return the folder of the installed lm-eval's tasks."""
    spec = importlib.util.find_spec("lm_eval")
    if spec is None or not spec.submodule_search_locations:
        return None
    return (Path(next(iter(spec.submodule_search_locations))) / "tasks").resolve()


def resolved(config: TaskConfig) -> TaskConfig:
    """Return the configuration with Python functions in place of their names. Their modules are imported.

    Raises:
        CapabilityError: A module or function doesn't exist, or its module needs a package that isn't installed.
    """

    def walk(value: Any) -> Any:
        if isinstance(value, Function):
            return _imported(value)
        if isinstance(value, Mapping):
            return {key: walk(inner) for key, inner in value.items()}
        return [walk(inner) for inner in value] if isinstance(value, list) else value

    return replace(config, **{key.name: walk(getattr(config, key.name)) for key in fields(config)})


def _imported(function: Function) -> Any:
    """Return a function: of a module next to the task file, else of an installed package."""
    module_name, _, name = function.name.rpartition(".")
    file = Path(function.folder) / f"{module_name.replace('.', '/')}.py"
    try:
        if not file.is_file():
            return getattr(importlib.import_module(module_name), name)
        installed = installed_tasks()
        inside = installed is not None and file.resolve().is_relative_to(installed)
        parts = file.resolve().relative_to(installed).with_suffix("").parts if inside and installed else ()
        full_name = ".".join(("lm_eval", "tasks", *parts)) if parts else f"helmframe_task_{abs(hash(str(file)))}"
        if full_name not in sys.modules:
            spec = importlib.util.spec_from_file_location(full_name, file)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            sys.modules[full_name] = module
        return getattr(sys.modules[full_name], name)
    except (ImportError, AttributeError) as error:
        raise CapabilityError(f"The Python function {function} can't load: {error}. Run pip install lm-eval.") from None


_BUILDERS = ("json", "csv", "parquet", "text")
_NAME = re.compile(r"[\w.\-]+(?:/[\w.\-]+)*")


def read_split(config: TaskConfig, split: str, data: str | None) -> pl.DataFrame:
    """Return the documents of a split, in the order of the source.

    Files that the task names (`data_files`) are read where they are. Other data sets are read below the data root,
    `{data}/OWNER/NAME/CONFIG/SPLIT-*.parquet`, else from the Hub's Parquet.

    Raises:
        SpecError: The task names no data set, or its name isn't one.
        SourceError: The documents can't be read.
    """
    if config.dataset_path is None:
        raise SpecError.at(config.task, "dataset_path", "is missing.")
    files = _files(config, split)
    if files is not None:
        return _from_files(config, files)
    name, subset = config.dataset_path, config.dataset_name or "default"
    for key, value in (("dataset_path", name), ("dataset_name", subset), ("split", split)):
        if not _NAME.fullmatch(value) or ".." in value:
            raise SpecError.at(config.task, key, f"{value!r} isn't a name on the Hub.")
    folder = f"{name}/{subset}" if config.dataset_name else name
    spec = ScenarioSpec(
        scenario=config.task,
        version="",
        instances="",
        main=MainScore(""),
        metrics=(),
        source=(("rows", f"{{data}}/{folder}/{split}-*.parquet"),),
        hub=(("rows", f"hf://datasets/{name}@~parquet/{subset}/{split}/*.parquet"),),
    )
    source = connect(spec, data)
    try:
        paths = [file.path for file in list_files(spec, source)]
        if not paths:
            raise source.missing()
        sql = f"SELECT * FROM read_parquet({text_list(paths)})"
        return source.guarded(lambda: pl.DataFrame(source.connection.sql(sql).to_arrow_table()))
    finally:
        source.close()


def _files(config: TaskConfig, split: str) -> list[str] | None:
    """Return the files of a split that the task names; None if its documents are a data set."""
    named = (config.dataset_kwargs or {}).get("data_files")
    path = str(config.dataset_path)
    if isinstance(named, Mapping):
        if split not in named:
            raise SourceMissingError(
                f"Task {config.task!r}: data_files has no split {split!r}. It has {', '.join(map(str, named))}."
            )
        named = named[split]
    if named is not None and path in _BUILDERS:
        listed = [named] if isinstance(named, str) else named
        if not isinstance(listed, Sequence):
            raise SpecError.at(config.task, "dataset_kwargs.data_files", f"must be paths, not {named!r}.")
        return [_local(config, str(file)) for file in listed]
    folder = Path(_local(config, path))
    if folder.is_dir():
        found = sorted(file for file in folder.rglob("*") if re.match(rf"{re.escape(split)}(\W|$)", file.name))
        if not found:
            raise SourceMissingError(f"Task {config.task!r}: no file of split {split!r} found in {folder}.")
        return list(map(str, found))
    return None


def _local(config: TaskConfig, file: str) -> str:
    if "://" in file:
        return file
    path = from_home(file)
    near = config.path.parent / file if config.path is not None else path
    return str(path if path.exists() or not near.exists() else near)


def _from_files(config: TaskConfig, files: Sequence[str]) -> pl.DataFrame:
    import duckdb

    frames: list[pl.DataFrame] = []
    for address in files:
        with open_folder(address) as folder:
            for file in sorted(path for path in folder.rglob("*") if path.is_file()):
                query = f"SELECT * FROM {reader(str(file))}"
                table: Any = read_guarded(config.task, address, partial(_table, duckdb.connect(), query))
                frames.append(pl.DataFrame(table))
    return pl.concat(frames, how="diagonal_relaxed")


def _table(connection: Any, query: str) -> Any:
    return connection.sql(query).to_arrow_table()
