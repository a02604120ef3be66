"""Scenarios by name: their specs, and all of them as a table."""

import json
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from helmframe._core import specs as spec_classes
from helmframe._core.cache_files import cache_folder, changed_recently, digest, save
from helmframe._core.registry import Registry, announced
from helmframe._core.specs import ScenarioSpec, adapter_spec, check_length
from helmframe._core.yaml import decode_json, read_spec_text, specs_root
from helmframe.config import from_home
from helmframe.errors import ArgumentError, SpecError, UnknownNameError
from helmframe.scenarios import spec_file
from helmframe.scenarios.frames import is_rows_file
from helmframe.scenarios.spec_file import load_scenario

_SCHEMA = {
    "name": pl.String(),
    "description": pl.String(),
    "subsets": pl.List(pl.String()),
    "splits": pl.List(pl.String()),
    "method": pl.String(),
    "shots": pl.Int64(),
    "metrics": pl.List(pl.String()),
    "main": pl.String(),
    "license": pl.String(),
    "hub": pl.String(),
    "status": pl.String(),
    "paper": pl.String(),
}


def list_scenarios(source: str | None = None) -> pl.DataFrame:
    """Return every scenario that `hf.scenario(name)` finds, one row each, by name.

    Args:
        source: The prefix of another tool, such as "lm_eval": its tasks are listed instead.

    Returns:
        name, description, subsets (the columns that define them), splits, method and shots (the default prompt),
        metrics, main (metric@split), license, hub (the name of its data set on the Hub, or null), status,
        paper. The status is the origin of the rows: "hub" (read from the Hub unless a root is configured), "generated"
        (from a seed) or "packaged" (in helmframe). With any other status the rows must be in your root: "download"
        (`helmframe mirror NAME` fetches them from their publisher), "gated" (a login is required), "licensed", "dead"
        (no longer published) or "elsewhere".

    >>> scenarios = list_scenarios()
    >>> scenarios.filter(name="sampler").select("name", "subsets", "main", "status").row(0)
    ('sampler', ['subject'], 'exact_match@test', 'packaged')
    """
    if source is not None:
        listing = TASK_SOURCES[source].listing
        if listing is None:
            raise ArgumentError(f"list_scenarios({source!r}): this source doesn't list its tasks.")
        return listing()
    return pl.DataFrame(scenario_rows(), schema=_SCHEMA)


def scenario_rows() -> list[dict[str, Any]]:
    """Return the rows of `list_scenarios`, from the user's cache folder if no spec file has changed since.

    Raises:
        SpecError: A file isn't a valid spec.
    """
    specs = _specs()
    code = [Path(str(module.__file__)).read_text(encoding="utf-8") for module in (spec_file, spec_classes)]
    key = digest("scenarios", Path(__file__).read_text(encoding="utf-8"), *code, repr(specs.stamps))
    file = cache_folder("scenarios") / "rows.json"
    rows = _load_rows(file, key)
    if rows is None:
        rows = [_row(spec) for spec in all_scenarios()]
        newest = max((changed for _, _, changed, _ in specs.stamps), default=0)
        if not changed_recently(newest / 1e9):
            save(file, json.dumps({"key": key, "rows": rows}))
    return rows


def _load_rows(file: Path, key: str) -> list[dict[str, Any]] | None:
    try:
        saved = decode_json(file.read_bytes())
        if saved["key"] == key and all(row.keys() == _SCHEMA.keys() for row in saved["rows"]):
            return list(saved["rows"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError):  # missing or damaged
        pass
    return None


def status(spec: ScenarioSpec) -> str:
    """Return the origin of a spec's rows: the column `status` of `list_scenarios`."""
    if spec.generated:
        return "generated"
    if "{package}" in str(dict(spec.source).get("rows")):
        return "packaged"
    hub = dict(spec.hub)
    return spec.status or ("hub" if "rows" in hub else "download" if spec.download or "whole" in hub else "elsewhere")


def _row(spec: ScenarioSpec) -> dict[str, Any]:
    adapter = dict(spec.adapter)
    shots = adapter.get("shots")
    hub = re.match(r"hf://datasets/([^/@]+/[^/@]+)", str(dict(spec.hub).get("rows") or ""))
    splits = list(dict.fromkeys(spec.split_names.values())) or [spec.main.split]
    return {
        "name": spec.scenario,
        "description": spec.description,
        "subsets": list(spec.subsets),
        "splits": splits,
        "method": adapter.get("method", adapter_spec(()).method),
        "shots": shots if isinstance(shots, int) else 0,
        "metrics": list(spec.metrics),
        "main": f"{spec.main.metric}@{spec.main.split}",
        "license": spec.license,
        "hub": hub[1] if hub else None,
        "status": status(spec),
        "paper": spec.paper or None,
    }


@dataclass(frozen=True)
class TaskSource:
    """Another tool's tasks as scenarios: `function` returns the specs of a name, `listing` a table of all tasks."""

    function: "LoadTask"
    listing: Callable[[], pl.DataFrame] | None


class LoadTask(Protocol):
    """A function that returns the specs of a task, or of each task of a group."""

    def __call__(self, name: str, *, data: str | None, trust_remote_code: bool) -> Sequence[ScenarioSpec]: ...


# prefix → source; `hf.scenario("lm_eval:arc_easy")` calls `function("arc_easy")` of the source "lm_eval"
TASK_SOURCES: Registry[TaskSource] = Registry("task source", packages=["helmframe.interop"], decorator="task_source")


def task_source(prefix: str, *, listing: Callable[[], pl.DataFrame] | None = None) -> Callable[[LoadTask], LoadTask]:
    """Register a function that loads another tool's tasks, for names `PREFIX:NAME`."""

    def register(load: LoadTask) -> LoadTask:
        TASK_SOURCES.add(prefix, TaskSource(load, listing))
        return load

    return register


def has_task_source(name: str) -> bool:
    """Return whether a name starts with the prefix of a task source: `lm_eval:arc_easy`."""
    prefix, colon, _ = name.partition(":")
    return bool(colon) and prefix in TASK_SOURCES


def find_scenarios(name: str, data: str | None = None, *, trust_remote_code: bool = False) -> Sequence[ScenarioSpec]:
    """Return the specs of a name: one of `find_scenario`, or those of another tool's task or group of tasks.

    A YAML file with the key `task` or `group`, and without `scenario`, is a task file of lm-eval.

    Raises:
        UnknownNameError: No scenario or task has this name.
        SpecError: The file isn't a valid spec.
    """
    check_length(name)
    if has_task_source(name):
        prefix, _, task = name.partition(":")
        return TASK_SOURCES[prefix].function(task, data=data, trust_remote_code=trust_remote_code)
    if name.endswith((".yaml", ".yml")) and _is_task_file(from_home(name)):
        return TASK_SOURCES["lm_eval"].function(name, data=data, trust_remote_code=trust_remote_code)
    return [find_scenario(name)]


_LONGEST_SPEC = 4 << 20  # characters


def _is_task_file(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open(encoding="utf-8", errors="replace") as file:
        text = file.read(_LONGEST_SPEC)
    keys = set(re.findall(r"^[\"']?(scenario|task|group)[\"']?:", text, re.MULTILINE))
    return bool(keys) and "scenario" not in keys


_HINT = (
    "Add one as a file (hf.scenario('path/to/name.yaml')) or from a frame (hf.scenario(frame, input=…, references=…))."
)


def find_scenario(name_or_path: str | Path) -> ScenarioSpec:
    """Return the spec with this name, or in this YAML file.

    Names are searched in helmframe's own specs, then in the folders that other packages register as entry points of the
    group `helmframe.scenarios`: each is a path, or a function that returns a path.

    Raises:
        UnknownNameError: No scenario has this name. The message lists near and known names.
        SpecError: The file isn't a valid spec.
    """
    text = str(name_or_path)
    if is_rows_file(text):
        advice = f"Write hf.scenario({text!r}, input=…, references=…) in Python."
        raise SpecError.at(text, "", f"a file of rows isn't a spec. {advice}")
    if text.endswith((".yaml", ".yml")) or "/" in text:
        path = from_home(text)
        if not path.is_file():
            raise SpecError.at(text, "", "file not found.")
        return load_scenario(path)
    files = _files()
    if text not in files:
        raise UnknownNameError.among("scenario", text, sorted(files), hint=_HINT)
    return load_scenario(files[text])


def scenario_file(name: str) -> Path | None:
    """Return the spec file that `find_scenario` reads for a name; None if no scenario has the name."""
    return _files().get(name)


def scenario_names() -> list[str]:
    """Return the names of all scenarios, sorted."""
    return sorted(_files())


def all_scenarios() -> tuple[ScenarioSpec, ...]:
    """Return the specs of all names, sorted by name; if a file changes, all are read again.

    Raises:
        SpecError: A file isn't a valid spec.
    """
    specs = _specs()
    return tuple(specs.read(name) for name in specs.files)


def scenarios_with(names: Collection[str]) -> list[ScenarioSpec]:
    """Return the specs whose names or files contain one of these names, and all that are `like` them, sorted by name.

    They are a few of `all_scenarios`, so that a name in a spec, such as HELM's, is found without reading every spec.
    """
    specs = _specs()
    texts = specs.texts
    matching = {name for name, text in texts.items() if any(word in text for word in names)}
    derived = {name: text for name, text in texts.items() if "like" in text}
    while more := {name for name, text in derived.items() if any(base in text for base in matching)} - matching:
        matching |= more
    return [specs.read(name) for name in texts if name in matching]


class _Specs:
    """Spec files by name, sorted, and what has been read of them.

    A stamp is the name of a file, its path, its time of change in ns and its size in bytes.
    """

    def __init__(self, stamps: Sequence[tuple[str, Path, int, int]]) -> None:
        self.stamps = stamps
        self.files = {name: file for name, file, _, _ in stamps}
        self._read: dict[str, ScenarioSpec] = {}

    @cached_property
    def texts(self) -> dict[str, str]:
        """The name and content of each file."""
        return {name: f"{name}\n{read_spec_text(file, file.name)}" for name, file in self.files.items()}

    def read(self, name: str) -> ScenarioSpec:
        if name not in self._read:
            self._read[name] = load_scenario(self.files[name])
        return self._read[name]


def _specs() -> _Specs:
    files = dict(sorted(_files().items()))
    stats = [file.stat() for file in files.values()]
    return _unchanged(
        tuple((*item, stat.st_mtime_ns, stat.st_size) for item, stat in zip(files.items(), stats, strict=True))
    )


@lru_cache(maxsize=1)
def _unchanged(stamps: tuple[tuple[str, Path, int, int], ...]) -> _Specs:
    return _Specs(stamps)


def _files() -> dict[str, Path]:
    folders = [specs_root() / "scenarios", *_announced_folders()]
    # earlier folders win: another package can add names, but can't replace ours
    return {file.stem: file for folder in reversed(folders) for file in folder.glob("*.yaml")}


@cache
def _announced_folders() -> tuple[Path, ...]:
    folders = (point.load() for point in announced("helmframe.scenarios"))
    return tuple(Path(folder() if callable(folder) else folder) for folder in folders)
