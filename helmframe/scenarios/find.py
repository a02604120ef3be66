"""The scenario spec behind a name or a path."""

from functools import cache, lru_cache
from pathlib import Path

from helmframe._core.specs import ScenarioSpec
from helmframe.config import from_home
from helmframe.errors import SourceMissingError, SpecError, UnknownNameError
from helmframe.scenarios.frames import frame_scenario
from helmframe.scenarios.spec_file import load_scenario

__all__ = ["all_scenarios", "find_scenario", "frame_scenario", "scenario_names", "specs_root"]

_HINT = (
    "Add one as a file (hf.scenario('path/to/name.yaml')) or from a frame (hf.scenario(frame, input=…, references=…))."
)
_ROWS = (".csv", ".json", ".jsonl", ".ndjson", ".parquet", ".tsv")


def find_scenario(name_or_path: str | Path) -> ScenarioSpec:
    """The spec of this name, or in this YAML file.

    Names are looked up in helmframe's own specs, then in the folders that other packages announce under the entry-point
    group `helmframe.scenarios` (each entry point a path, or a function that gives one).

    Raises:
        UnknownNameError: no scenario has this name; lists near and known ones.
        SpecError: the file is no valid spec.
    """
    said = str(name_or_path)
    if said.endswith(_ROWS):
        raise SpecError.at(said, "", "rows are no spec; read them first: hf.scenario(pl.read_csv(path), input=…).")
    if said.endswith((".yaml", ".yml")) or "/" in said:
        path = from_home(said)
        if not path.is_file():
            raise SpecError.at(said, "", "there is no such file.")
        return load_scenario(path)
    files = _files()
    if said not in files:
        raise UnknownNameError.among("scenario", said, files, hint=_HINT)
    return load_scenario(files[said])


def scenario_names() -> list[str]:
    """The names `find_scenario` knows, sorted."""
    return sorted(_files())


@cache
def specs_root() -> Path:
    """The folder of helmframe's own specs and packaged data: inside the package, or beside it in a checkout.

    Raises:
        SourceMissingError: the installation is incomplete.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "specs", package.parent / "specs"):
        if (folder / "scenarios").is_dir():
            return folder
    raise SourceMissingError(f"helmframe's own specs are neither in {package} nor beside it; install helmframe again.")


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

    found = (point.load() for point in entry_points(group="helmframe.scenarios"))
    return tuple(Path(each() if callable(each) else each) for each in found)
