"""`helmframe check`: validate scenario specs, their names, their SELECT, and their data where it is reachable."""

import argparse
import tempfile
from pathlib import Path

import polars as pl

from helmframe._core.specs import SPLITS, ScenarioSpec
from helmframe._pipeline import PlanSpec
from helmframe._plan import Plan
from helmframe.adapters.adapt import settings
from helmframe.cli.command import command
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


@command("check", help="whether the scenario specs in a folder are valid, and fit their data", order=100)
def add_check(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `check`."""
    parser.add_argument("path", metavar="FOLDER|FILE", help="where the YAML files are; with folders below")
    parser.add_argument("--data", metavar="ROOT", help="where their rows are: a folder, s3://bucket/prefix")
    parser.add_argument("--verbose", action="store_true", help="tracebacks of errors")
    parser.set_defaults(run=_check)


def check_specs(path: str | Path, *, data: str | None = None) -> pl.DataFrame:
    """Check the specs in a folder, or one spec file, and their data.

    A spec is read, its method and metrics are looked up, and its SELECT is run on rows made from its `columns`, up to
    the prompts; then on the data, where that is reachable. Files of suites and of judges are read.

    Args:
        path: The file, or the folder; its subfolders are included.
        data: The root of the rows; default the configured root.

    Returns:
        file, problem (of the spec or its data; null if none), data (the number of instances), unread (the reason why
        the data can't be read).

    Raises:
        SpecError: There is no such folder, or no YAML file in it.
    """
    root = from_home(str(path))
    files = sorted(root.rglob("*.yaml")) if root.is_dir() else [root] if root.is_file() else []
    if not files:
        raise SpecError.at(path, "", "there is no spec: give a YAML file, or a folder that holds some.")
    names = [str(file.relative_to(root)) if root.is_dir() else str(file) for file in files]
    rows = [{"file": name, **_checked(file, data)} for name, file in zip(names, files, strict=True)]
    return pl.DataFrame(rows, schema=_SCHEMA)


def check_spec(spec: ScenarioSpec) -> None:
    """Check the names in a spec, and that its SELECT makes instances and prompts from rows of its columns.

    Raises:
        HelmframeError: The spec is invalid.
    """
    settings(spec)
    names = [metric.name for metric in resolve_metrics(with_judges(spec.metrics))]
    if spec.main.metric not in (*names, *spec.metrics):
        where = Path(spec.origin).name or spec.scenario
        raise SpecError.at(where, "main.metric", f"{spec.main.metric!r} is none of metrics: {', '.join(names)}.")
    with tempfile.TemporaryDirectory(prefix="helmframe-") as folder:
        write_examples(spec, Path(folder))
        # the spec's metrics may need what is missing here, such as a sandbox; the oracle accepts every request
        plan = Plan(PlanSpec((spec,), data=folder)).metrics("exact_match").generate(mock.oracle()).limit(1)
        try:
            plan.requests().collect()
        except RepeatedKeyError:  # the spec may take row_index from a column of whole numbers
            write_examples(spec, Path(folder), distinct=True)
            plan.requests().collect()


def _checked(file: Path, data: str | None) -> dict[str, str]:
    """Return the problem or the data of one file, as the columns of `check_specs`."""
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
    summary = f"{counted['n'].sum():,} instances" + (f" in {subsets} subsets" if subsets > 1 else "")
    return {"data": summary}


def _kind(file: Path) -> str:
    """Return the kind of a file by its first keys: judge, suite, else scenario."""
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.partition(":")[0] for line in lines if line.startswith(("judge:", "suite:"))), "scenario")


def _check(arguments: argparse.Namespace) -> None:
    table = check_specs(arguments.path, data=arguments.data)
    for file, problem, data, unread in table.iter_rows():
        word = "WRONG" if problem else "unread" if unread else "ok"
        print(f"{word:6}  {file}  {problem or unread or data}")
    wrong = table["problem"].is_not_null().sum()
    if wrong:
        raise HelmframeError(f"{wrong} of {table.height} files are wrong.")
