"""Scenarios by name: their specs, and all of them as a table."""

import re
from functools import cache, lru_cache
from pathlib import Path

import polars as pl

from helmframe._core.specs import ScenarioSpec, adapter_spec
from helmframe._core.yaml import specs_root
from helmframe.config import from_home
from helmframe.errors import SpecError, UnknownNameError
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


def list_scenarios() -> pl.DataFrame:
    """Return every scenario that `hf.scenario(name)` finds, one row each, by name.

    Returns:
        name, description, subsets (the columns that make them), splits, method and shots (how it is asked by default),
        metrics, main (metric@split), license, hub (the data set there, if it can be read from there), status, paper.
        status: "hub", read from there where no root is configured; "generated", from a seed; "packaged"; else why it
        is read from a root of yours: "gated", "licensed", "dead" (nobody serves it any more), "elsewhere".
    """
    return pl.DataFrame([_row(find_scenario(name)) for name in scenario_names()], schema=_SCHEMA)


def status(spec: ScenarioSpec) -> str:
    """Return where the rows of a spec come from, in one word, as in `list_scenarios`."""
    if spec.generated:
        return "generated"
    if "{package}" in str(dict(spec.source).get("rows")):
        return "packaged"
    return spec.status or ("hub" if dict(spec.hub).get("rows") else "elsewhere")


def _row(spec: ScenarioSpec) -> dict[str, object]:
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


_HINT = (
    "Add one as a file (hf.scenario('path/to/name.yaml')) or from a frame (hf.scenario(frame, input=…, references=…))."
)
_ROWS = (".csv", ".json", ".jsonl", ".ndjson", ".parquet", ".tsv")


def find_scenario(name_or_path: str | Path) -> ScenarioSpec:
    """Return the spec with this name, or in this YAML file.

    Names are looked up in helmframe's own specs, then in the folders that other packages announce under the entry-point
    group `helmframe.scenarios` (each entry point a path, or a function that gives one).

    Raises:
        UnknownNameError: No scenario has this name; lists near and known ones.
        SpecError: The file is no valid spec.
    """
    text = str(name_or_path)
    if text.endswith(_ROWS):
        raise SpecError.at(text, "", "rows are no spec; read them first: hf.scenario(pl.read_csv(path), input=…).")
    if text.endswith((".yaml", ".yml")) or "/" in text:
        path = from_home(text)
        if not path.is_file():
            raise SpecError.at(text, "", "there is no such file.")
        return load_scenario(path)
    files = _files()
    if text not in files:
        raise UnknownNameError.among("scenario", text, files, hint=_HINT)
    return load_scenario(files[text])


def scenario_names() -> list[str]:
    """Return the names of all scenarios, sorted."""
    return sorted(_files())


def all_scenarios() -> tuple[ScenarioSpec, ...]:
    """Return the specs of all names, sorted by name; files are read again when one of them has changed.

    Raises:
        SpecError: A file is no valid spec.
    """
    files = [file for _, file in sorted(_files().items())]
    stats = [file.stat() for file in files]
    return _loaded(tuple((file, stat.st_mtime_ns, stat.st_size) for file, stat in zip(files, stats, strict=True)))


@lru_cache(maxsize=1)
def _loaded(stamps: tuple[tuple[Path, int, int], ...]) -> tuple[ScenarioSpec, ...]:
    return tuple(load_scenario(file) for file, _, _ in stamps)


def _files() -> dict[str, Path]:
    folders = [specs_root() / "scenarios", *_announced_folders()]
    # earlier folders win: another package can add names, not change what ours mean
    return {file.stem: file for folder in reversed(folders) for file in sorted(folder.glob("*.yaml"))}


@cache
def _announced_folders() -> tuple[Path, ...]:
    from importlib.metadata import entry_points

    folders = (point.load() for point in entry_points(group="helmframe.scenarios"))
    return tuple(Path(folder() if callable(folder) else folder) for folder in folders)
