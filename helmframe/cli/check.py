"""`helmframe check`: validate the names, SELECT and data of scenario specs."""

import argparse
import tempfile
from pathlib import Path

import polars as pl

from helmframe._core.specs import SPLITS, ScenarioSpec
from helmframe._pipeline import PlanSpec
from helmframe._plan import Plan
from helmframe.adapters.adapt import settings
from helmframe.cli.command import add_verbose, command, print_text
from helmframe.config import data_root, from_home
from helmframe.errors import (
    CapabilityError,
    HelmframeError,
    RepeatedKeyError,
    SourceBrokenError,
    SourceError,
    SpecError,
)
from helmframe.interop.suites import suite
from helmframe.judging.judge import with_judges
from helmframe.judging.templates import template_of
from helmframe.metrics.protocol import resolve_metrics
from helmframe.models import mock
from helmframe.scenarios.load import count
from helmframe.scenarios.spec_file import load_scenario
from helmframe.scenarios.validation import write_examples

_SCHEMA = {"file": pl.String(), "problem": pl.String(), "data": pl.String(), "unread": pl.String()}


_EPILOG = """\
example:
  helmframe check specs/contracts.yaml --data s3://bucket/evals

output, one line per file:
  ok      the spec is valid; the number of instances follows
  ERROR   the spec is invalid, or its data doesn't match the spec
  UNREAD  the spec is valid, but its rows can't be read: access denied, no server, or no data root

exit codes:
  0  no file is invalid; without --data and HELMFRAME_DATA, rows may be unread
  1  a file is invalid, or --data or HELMFRAME_DATA is set and rows can't be read"""


@command("check", help="Validate scenario specs, and their data if it is reachable", order=100)
def add_check(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `check`."""
    parser.epilog = _EPILOG
    parser.add_argument("path", metavar="FOLDER|FILE", help="YAML file, or folder with YAML files and subfolders")
    parser.add_argument(
        "--data", metavar="ROOT", help="folder or s3://bucket/prefix with the rows (default: $HELMFRAME_DATA)"
    )
    add_verbose(parser)
    parser.set_defaults(run=_check)


def check_specs(path: str | Path, *, data: str | None = None) -> pl.DataFrame:
    """Check the specs in a folder, or one spec file, and their data.

    A check of a spec looks up the method and the metrics, runs the SELECT on rows generated from `columns`, and builds
    the prompts. Then it counts the instances of the data, if the data is reachable. Files of suites and judges are
    parsed.

    Args:
        path: The file, or the folder with its subfolders.
        data: The root of the rows; default the configured root.

    Returns:
        One row per file: file, problem (of the spec or its data; null if none), data (the number of instances), unread
        (the reason why the data can't be read).

    Raises:
        SpecError: The folder doesn't exist, or has no YAML file.
    """
    root = from_home(str(path))
    files = sorted(root.rglob("*.yaml")) if root.is_dir() else [root] if root.is_file() else []
    if not files:
        raise SpecError.at(path, "", "no spec found. Write the path of a YAML file, or of a folder with YAML files.")
    names = [str(file.relative_to(root)) if root.is_dir() else str(file) for file in files]
    rows = [{"file": name, **_checked(file, data)} for name, file in zip(names, files, strict=True)]
    return pl.DataFrame(rows, schema=_SCHEMA)


def check_spec(spec: ScenarioSpec) -> None:
    """Check the names in a spec, and build instances and prompts from generated rows.

    Raises:
        HelmframeError: The spec is invalid.
    """
    settings(spec)
    names = [metric.name for metric in resolve_metrics(with_judges(spec.metrics))]
    if spec.main.metric not in (*names, *spec.metrics):
        where = Path(spec.origin).name or spec.scenario
        raise SpecError.at(where, "main.metric", f"{spec.main.metric!r} must be one of metrics: {', '.join(names)}.")
    with tempfile.TemporaryDirectory(prefix="helmframe-") as folder:
        write_examples(spec, Path(folder))
        # no metric of the spec, since it may need a sandbox or another model; the oracle accepts every request
        plan = Plan(PlanSpec((spec,), data=folder)).metrics("exact_match").generate(mock.oracle()).limit(1)
        try:
            plan.requests().collect()
        except RepeatedKeyError:  # the spec may read row_index from a column of integers
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
            raise SpecError.at(
                file.name, "scenario", f"{spec.scenario!r} must be the name of the file without .yaml: {file.stem!r}."
            )
        check_spec(spec)
        try:
            counted = count(spec, splits=SPLITS, data=data)
        except CapabilityError as error:  # the reader of the bucket isn't installed
            return {"unread": " ".join(str(error).split())}
    except SourceBrokenError as error:
        return {"problem": str(error)}
    except SourceError as error:
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
        word = "ERROR" if problem else "UNREAD" if unread else "ok"
        print_text(f"{word:6}  {file}  {problem or unread or data}")
    n_invalid, n_unread = (int(table[name].is_not_null().sum()) for name in ("problem", "unread"))
    if n_invalid:
        raise HelmframeError(f"{n_invalid} of {table.height} files are invalid.")
    root = arguments.data or data_root()
    if n_unread and root:
        raise HelmframeError(f"The rows of {n_unread} of {table.height} files can't be read below {root}.")
