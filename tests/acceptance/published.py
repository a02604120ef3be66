"""Small copies of the files that publishers serve, in their layouts, and the same rows in the layout of a root.

Rows are real if the shared data has them. Other rows have the source's schema and made-up values.
"""

import itertools
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import polars as pl

from helmframe._core.specs import Download, ScenarioSpec, placeholders
from helmframe.scenarios.catalogue import find_scenario, scenario_names, status
from helmframe.scenarios.downloads import choices_of
from helmframe.scenarios.draws import find_draw
from helmframe.scenarios.raw import fill_layout
from helmframe.scenarios.validation import write_examples
from tests.acceptance import helm_scenario_cases as cases
from tests.acceptance import published_benchmarks, published_helm
from tests.acceptance.published_benchmarks import write_benchmark
from tests.acceptance.published_boards import SAME_FILES, board_files, board_source, is_of_boards
from tests.acceptance.published_languages import is_of_languages, language_files
from tests.acceptance.publisher_files import HelmRun, Published, jsonl, parquet

__all__ = ["HelmRun", "Published", "hub_files", "mirrored_scenarios", "published", "scenarios_of"]


def published(name: str, data: Path) -> Published:
    """Return the files of a scenario at its publishers.

    Args:
        name: The name of the scenario.
        data: The folder of the shared data.
    """
    if name in SAME_FILES:
        return published(SAME_FILES[name], data)
    for functions in (published_helm, published_benchmarks):
        if hasattr(functions, name):
            made: Published = getattr(functions, name)(data)
            return made
    if is_of_languages(name):
        return language_files(name)
    spec = find_scenario(name)
    with tempfile.TemporaryDirectory() as folder:
        matches = [case for case in cases.CASES if case.name == name and _is_drawn(spec)]
        if matches:
            return _of_cases(spec, matches, data, Path(folder))
        if is_of_boards(name):
            return _of_boards(spec, Path(folder))
        if spec.download:
            return _plain_files(spec, Path(folder))
        if not write_benchmark(name, data, Path(folder)):
            _write_rows(spec, data, Path(folder))
        files, rows = hub_files(spec, Path(folder), _layout(spec))
    return Published(files, rows)


def _of_boards(spec: ScenarioSpec, folder: Path) -> Published:
    """Return the files of cases that are compared with HELM elsewhere. SQL selects the rows from them."""
    files, runs = board_files(spec.scenario, folder)
    if runs:
        return Published(files, runs=runs)
    written = board_source(spec.scenario, folder)
    source = folder / "source"
    if not spec.download:
        files, rows = hub_files(spec, source, _layout(spec))
        return Published(files, rows)
    frames = {path.relative_to(source).as_posix(): pl.read_parquet(path) for path in written}
    return Published(files, _numbered(spec, source, frames))


def _numbered(spec: ScenarioSpec, source: Path, frames: Mapping[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """Return rows with their numbers in the subset, if files of one subset and split have the order of `download`."""
    if {*placeholders(_layout(spec))} <= {*spec.subsets, "split"}:
        return dict(frames)
    values = {path.relative_to(source).as_posix(): found for path, found in _matching(source, _layout(spec))}
    counts: Counter[tuple[str | None, ...]] = Counter()
    numbered = {}
    for path, frame in frames.items():
        subset = tuple(values[path].get(name) for name in spec.subsets)
        numbered[path] = frame.with_columns(row_index=pl.int_range(pl.len()) + counts[subset])
        counts[subset] += frame.height
    return numbered


_WRITERS: Mapping[str, Callable[[pl.DataFrame], bytes]] = {
    "parquet": lambda frame: parquet(frame),
    "jsonl": lambda frame: jsonl(frame.to_dicts()),
    "csv": lambda frame: frame.write_csv().encode(),
}


def _suffix(entry: Download) -> str:
    return entry.format or entry.url.rpartition(".")[2]


def _plain_files(spec: ScenarioSpec, folder: Path) -> Published:
    """Return example rows in files that have the spec's columns."""
    write_examples(spec, folder, distinct=True)
    example = pl.read_parquet(next(path for path in sorted(folder.rglob("*.parquet"))))
    files, rows = {}, {}
    for entry in spec.download:
        choices = choices_of(entry)
        for number, options in enumerate(itertools.product(*choices.values())):
            spelled = dict(zip(choices, (spelling for spelling, _ in options), strict=True))
            values = dict(zip(choices, (value for _, value in options), strict=True))
            frame = example[number % 4 :]  # not the same rows in each file
            address = re.sub(r"@[^/]+", "", _filled(entry.url, spelled | {"revision": entry.revision}))
            address = address.replace("/*.parquet", "/0000.parquet").replace("*", "00000-of-00001")
            files[address] = _WRITERS[_suffix(entry)](frame)
            rows[fill_layout(_layout(spec), values, f"{number:05}-of-00001")] = frame
    return Published(files, rows)


def _filled(address: str, values: Mapping[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda match: values[match[1]], address)


def _is_drawn(spec: ScenarioSpec) -> bool:
    """Return whether a mirror of the Hub's rows samples as HELM does."""
    address = str(dict(spec.hub).get("whole") or dict(spec.hub).get("rows"))
    return bool(spec.draw) and not (find_draw(spec.draw).unsplit and "{split}" in address)


def _of_cases(spec: ScenarioSpec, matches: Sequence[cases.Case], data: Path, folder: Path) -> Published:
    """Return the files of cases that are compared with HELM elsewhere too."""
    files: dict[str, bytes] = {}
    runs = []
    for number, case in enumerate(matches):
        at = folder / str(number)
        made = case.make(data, at)
        files |= hub_files(spec, at / "source", case.layout or _layout(spec))[0]
        runs.append(
            HelmRun(
                case.module,
                case.scenario,
                case.arguments,
                case.where,
                {part: _content(Path(path)) for part, path in made["files"].items()},
                {split: Path(path).read_bytes() for split, path in made.get("tables", {}).items()},
                made.get("names", {}),
            )
        )
    return Published(files, runs=runs)


def _content(path: Path) -> bytes | dict[str, bytes]:
    if path.is_file():
        return path.read_bytes()
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}


_MOST_VALUES = 4  # of a placeholder
_MOST_ROWS = 40  # of a file


def _layout(spec: ScenarioSpec) -> str:
    return str(dict(spec.source)["rows"]).removeprefix("{data}/")


def _write_rows(spec: ScenarioSpec, data: Path, folder: Path) -> None:
    """Write the first rows of the shared data's files of a scenario, or examples if there are none."""
    layout = _layout(spec)
    kept: dict[str, list[str]] = {}
    found = False
    known_values = {name: re.findall(r"'([^']*)'", str(dtype)) for name, dtype in spec.columns}
    for path, values in _matching(data / "scenarios", layout):
        for name, value in values.items():
            known = kept.setdefault(name, [])
            if value not in known and len(known) < _MOST_VALUES and value in (known_values.get(name) or [value]):
                known.append(value)
        splits = {"split": values["split"]} if "split" in values and values["split"] in spec.split_names else {}
        named = {name: value for name, value in values.items() if name != "split"}
        if all(value in kept[name] for name, value in named.items()) and bool(splits) == ("split" in values):
            target = folder / path.relative_to(data / "scenarios")
            target.parent.mkdir(parents=True, exist_ok=True)
            pl.read_parquet(path).head(_MOST_ROWS).write_parquet(target)
            found = True
    if not found:
        write_examples(spec, folder, distinct=True)


def _matching(root: Path, layout: str) -> list[tuple[Path, dict[str, str]]]:
    """Return the files below a root that match a layout, with the columns in their paths."""
    pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+?)", re.escape(layout)).replace(r"\*", "[^/]*")
    glob = re.sub(r"\{\w+\}", "*", layout)
    paths = [(path, re.fullmatch(pattern, path.relative_to(root).as_posix())) for path in sorted(root.glob(glob))]
    return [(path, match.groupdict()) for path, match in paths if match is not None]


def hub_files(spec: ScenarioSpec, root: Path, layout: str) -> tuple[dict[str, bytes], dict[str, pl.DataFrame]]:
    """Return the files of a root at the Hub's addresses of a spec, and their rows by path below the root."""
    hub = dict(spec.hub)
    address = re.sub(r"@[^/]+", "", str(hub.get("whole") or hub["rows"]))
    files: dict[str, bytes] = {}
    rows = {}
    for path, values in _matching(root, layout):
        target = _filled(address, values)
        for number in itertools.count():
            shard = f"{number:04}" if target.endswith("/*.parquet") else f"{number:05}-of-00001"
            if (name := target.replace("*", shard)) not in files:
                break
        files[name] = path.read_bytes()
        rows[path.relative_to(root).as_posix()] = pl.read_parquet(path)
    return files, rows


def scenarios_of(*origins: str) -> list[str]:
    """Return the names of the scenarios whose rows have one of these origins: "hub", "download", "gated", …."""
    return [name for name in scenario_names() if status(find_scenario(name)) in origins]


def mirrored_scenarios() -> list[str]:
    """Return the names of the scenarios that `helmframe mirror` fills by name, with a token if they are gated."""
    return scenarios_of("hub", "download", "gated")
