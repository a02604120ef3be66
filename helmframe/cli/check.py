"""Whether scenario specs hold what they promise: the file, the words it uses, its SELECT, and the data where it is."""

import tempfile
from pathlib import Path

import polars as pl

from helmframe._core.specs import SPLITS, ScenarioSpec
from helmframe._pipeline import PlanSpec
from helmframe._plan import Plan
from helmframe.adapters.adapt import settings
from helmframe.config import from_home
from helmframe.errors import HelmframeError, RepeatedKeyError, SourceDeniedError, SourceMissingError, SpecError
from helmframe.interop.suites import suite
from helmframe.judging.judge import with_judges
from helmframe.judging.templates import template_of
from helmframe.metrics.protocol import resolve_metrics
from helmframe.models import mock
from helmframe.scenarios.example import write_examples
from helmframe.scenarios.load import count
from helmframe.scenarios.spec_file import load_scenario

_SCHEMA = {"file": pl.String(), "problem": pl.String(), "data": pl.String(), "unread": pl.String()}


def check_specs(path: str | Path, *, data: str | None = None) -> pl.DataFrame:
    """Each spec in a folder (or one file): what is wrong with it, and whether its data is what it says.

    A spec is read, its method and metrics are looked up, and its SELECT is run on rows made from its `columns`, up to
    the prompts; then on the data, where that is reachable. Files of suites and of judges are read.

    Args:
        path: the folder, with those below it, or the file.
        data: where the rows are; default the configured root.

    Returns:
        file, problem (null: none; of data that is there, too), data (how many instances), unread (why the data can't be
        looked at).

    Raises:
        SpecError: there is no such folder, or no YAML file in it.
    """
    root = from_home(str(path))
    files = sorted(root.rglob("*.yaml")) if root.is_dir() else [root] if root.is_file() else []
    if not files:
        raise SpecError.at(path, "", "there is no spec: give a YAML file, or a folder that holds some.")
    names = [str(file.relative_to(root)) if root.is_dir() else str(file) for file in files]
    rows = [{"file": name, **_checked(file, data)} for name, file in zip(names, files, strict=True)]
    return pl.DataFrame(rows, schema=_SCHEMA)


def check_spec(spec: ScenarioSpec) -> None:
    """That a spec's words are known, and that its SELECT makes instances and prompts of rows as its columns say.

    Raises:
        HelmframeError: what is wrong.
    """
    settings(spec)
    names = [each.name for each in resolve_metrics(with_judges(spec.metrics))]
    if spec.main.metric not in (*names, *spec.metrics):
        where = Path(spec.origin).name or spec.scenario
        raise SpecError.at(where, "main.metric", f"{spec.main.metric!r} is none of metrics: {', '.join(names)}.")
    with tempfile.TemporaryDirectory(prefix="helmframe-") as folder:
        write_examples(spec, Path(folder))
        # its own metrics may need what is not here, a sandbox say; the oracle can be asked anything
        plan = Plan(PlanSpec((spec,), data=folder)).metrics("exact_match").generate(mock.oracle()).limit(1)
        try:
            plan.requests().collect()
        except RepeatedKeyError:  # the spec may take row_index from a column of whole numbers
            write_examples(spec, Path(folder), distinct=True)
            plan.requests().collect()


def _checked(file: Path, data: str | None) -> dict[str, str]:
    """What is wrong with one file, and how its data is; as the columns of `check_specs`."""
    try:
        kind = _kind(file)
        if kind == "judge":
            return {"data": f"scale {template_of(file).scale.shown}"}
        if kind == "suite":
            return {"data": f"{len(suite(file).plans)} plans"}
        spec = load_scenario(file)
        if spec.scenario != file.stem:
            raise SpecError.at(file.name, "scenario", f"{spec.scenario!r} should be the name of the file.")
        check_spec(spec)
        counted = count(spec, splits=SPLITS, data=data)
    except (SourceMissingError, SourceDeniedError) as error:
        return {"unread": str(error).partition("\n")[0]}
    except HelmframeError as error:
        return {"problem": str(error)}
    subsets = counted["subset"].n_unique()
    said = f"{counted['n'].sum():,} instances" + (f" in {subsets} subsets" if subsets > 1 else "")
    return {"data": said}


def _kind(file: Path) -> str:
    """What the file is by its first keys: a judge's template, a suite, else a scenario."""
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.partition(":")[0] for line in lines if line.startswith(("judge:", "suite:"))), "scenario")
