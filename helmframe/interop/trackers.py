"""Results in the trackers MLflow, Weights & Biases and Trackio. Nothing is sent unless `log_to` is called."""

import json
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from helmframe._core.registry import render, view
from helmframe.errors import ArgumentError, CapabilityError, UnknownNameError
from helmframe.results import Results

# MLflow refuses other characters in names.
_OTHER_CHARACTERS = re.compile(r"[^\w\-. :/]")


@dataclass(frozen=True)
class _Record:
    """The content of a tracker's run: numbers by name, parameters, and files in a folder."""

    name: str
    numbers: Mapping[str, float]
    parameters: Mapping[str, str]
    files: Path


@view("Results.tracker")
def log_to(
    results: Results, tracker: str, *, project: str, run_name: str | None, report: bool, options: Mapping[str, Any]
) -> None:
    """Log results to a tracker; see `Results.log_to`."""
    if tracker not in _TRACKERS:
        raise UnknownNameError.among("tracker", tracker, _TRACKERS)
    with tempfile.TemporaryDirectory(prefix="helmframe-tracker-") as folder:
        files = Path(folder)
        manifest = json.dumps(results.manifest, indent=1, ensure_ascii=False, default=str)
        (files / "manifest.json").write_text(manifest, encoding="utf-8")
        results.table().frame.write_parquet(files / "scores.parquet")  # type: ignore[attr-defined]
        if report:
            (files / "report.html").write_text(render(results, "report"), encoding="utf-8")
        parameters = {key: ", ".join(results.manifest.get(key, {})) for key in ("scenarios", "models", "perturbations")}
        record = _Record(run_name or _default_name(results), _numbers(results), parameters, files)
        _TRACKERS[tracker](record, project, options)


def _default_name(results: Results) -> str:
    return str(results.path).rstrip("/").rpartition("/")[2] if results.path is not None else "helmframe"


def _numbers(results: Results) -> dict[str, float]:
    """Return the scores with the ends of their intervals, and the changes under perturbations, by name."""
    table = results.table()
    keys = [name for name in table.columns[: table.columns.index("value")] if name not in ("metric", "pooled")]
    numbers = _named(table, keys, {"value": "", "ci_low": "/low", "ci_high": "/high", "n": "/n"})
    if results.manifest.get("perturbations"):
        changes = results.robustness(metrics=results.main_metrics)
        keys = [
            name for name in changes.columns[: changes.columns.index("original")] if name not in ("metric", "pooled")
        ]
        ends = {"change": "/change", "change_low": "/change_low", "change_high": "/change_high"}
        numbers |= _named(changes, keys, ends)
    return numbers


def _named(table: pl.DataFrame, keys: list[str], columns: Mapping[str, str]) -> dict[str, float]:
    several = [name for name in keys if name in ("scenario", "model") or table[name].n_unique() > 1]
    numbers = {}
    for row in table.iter_rows(named=True):
        start = "/".join([row["metric"], *(str(row[name]) for name in several)])
        for column, end in columns.items():
            if row[column] is not None:
                numbers[_OTHER_CHARACTERS.sub("_", start + end)] = float(row[column])
    return numbers


def _module(name: str, package: str) -> Any:
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError:
        raise CapabilityError(f"log_to({name!r}) requires the package {package}: pip install {package}") from None


def _mlflow(record: _Record, project: str, options: Mapping[str, Any]) -> None:
    for name in sorted(set(options) - {"tracking_uri"}):
        raise ArgumentError.unknown_argument("log_to('mlflow')", name, ["tracking_uri"])
    mlflow = _module("mlflow", "mlflow-skinny")
    if "tracking_uri" in options:
        mlflow.set_tracking_uri(options["tracking_uri"])
    mlflow.set_experiment(project)
    with mlflow.start_run(run_name=record.name):
        mlflow.log_params(record.parameters)
        mlflow.log_metrics(dict(record.numbers))
        mlflow.log_artifacts(str(record.files))


def _wandb(record: _Record, project: str, options: Mapping[str, Any]) -> None:
    wandb = _module("wandb", "wandb")
    with wandb.init(project=project, name=record.name, config=dict(record.parameters), **options) as run:
        run.log(dict(record.numbers))
        artifact = wandb.Artifact(
            _OTHER_CHARACTERS.sub("_", record.name).replace("/", "_").replace(":", "_"), "results"
        )
        artifact.add_dir(str(record.files))
        run.log_artifact(artifact)


def _trackio(record: _Record, project: str, options: Mapping[str, Any]) -> None:
    trackio = _module("trackio", "trackio")
    trackio.init(project=project, name=record.name, config=dict(record.parameters), **options)
    trackio.log(dict(record.numbers))
    trackio.finish()


_TRACKERS: Mapping[str, Callable[[_Record, str, Mapping[str, Any]], None]] = {
    "mlflow": _mlflow,
    "trackio": _trackio,
    "wandb": _wandb,
}
