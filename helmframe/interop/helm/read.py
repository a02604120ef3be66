"""HELM's run directories as our tables: `hf.read_helm`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from helmframe._core.safe_text import get_logger
from helmframe._core.yaml import LONGEST_JSON, decode_json, iter_json_items, reading
from helmframe.errors import HelmframeError, SourceBrokenError, SourceMissingError
from helmframe.interop.helm.run_dirs import (
    INSTANCE_STATS,
    RUN_SPEC,
    SCENARIO,
    STATE,
    STATS,
    RunDir,
    open_file,
    parse_address,
    runs_at,
)
from helmframe.interop.helm.runs import Run, distinguish_runs, run_of
from helmframe.interop.helm.scenario_lookup import scenario_index
from helmframe.interop.helm.state_reader import States
from helmframe.interop.helm.statistics import Stats, frame_of
from helmframe.interop.imports import Import, metric_entry
from helmframe.results import Results, register_loader
from helmframe.store import RunFolder

logger = get_logger("helmframe.interop.helm")


@register_loader("helm")
def read_helm(path: str | Path, *, fresh: bool = False) -> Results:
    """Return HELM's results as ours: prompts, completions, and HELM's own scores.

    Scores are HELM's statistics of each instance, under HELM's names; `rescore` computes ours. HELM's statistics of all
    instances are in `helm_stats`. A scenario that helmframe has too gets our name, subsets and columns, so that
    `hf.compare` pairs its instances with those of our runs by content.

        hf.read_helm("benchmark_output/runs/v1").leaderboard()

    The example reads HELM run directories that helmframe itself exported:

    >>> import tempfile
    >>> import helmframe as hf
    >>> results = hf.scenario("sampler").where(subject="music").limit(2).generate(hf.models.oracle()).score()
    >>> suite = results.to_helm(tempfile.mkdtemp() + "/runs/v1")
    >>> read_helm(suite).value("exact_match")
    1.0

    Args:
        path: A run directory, a suite, a release, or a folder with several: a path, `s3://…`, `gs://…`, or a URL
            (`https://storage.googleapis.com/crfm-helm-public/lite/benchmark_output/releases/v1.0.0`).
        fresh: Whether to read the files again; the tables of an earlier call are cached in the store.

    Raises:
        SourceMissingError: The path has no run.
        SourceError: The path can't be read. A broken run is skipped, and `manifest["skipped"]` has the reason; if all
            runs are broken, it is an error.
    """
    address = parse_address(path)
    importer = Import("HELM", address)
    if not fresh and (cached := importer.cached()) is not None:
        return cached
    runs = _read_specs(runs_at(address), importer)
    names: dict[str, None] = {}
    added: list[Run] = []
    for number, (run_dir, run) in enumerate(_progress(runs)):
        try:
            with reading("the run", "in HELM's format"):
                names |= _add_run(importer.folder, number, run_dir, run)
            added.append(run)
        except HelmframeError as error:
            importer.discard(number)
            _skip(importer, run_dir, error)
    if not added:
        raise SourceBrokenError(
            f"none of the runs at {address} can be read. The first: {importer.skipped[0]['reason']}"
        )
    ours = [name for run in added for name in run.metrics if name in names]
    return importer.finish(
        [*ours, *names],
        plans=[str(run.spec["name"]) for run in added],
        scenarios={run.scenario: _scenario(run) for run in added},
        models={run.model: {"fingerprint": "", "durable": False, "note": "requests of HELM"} for run in added},
        runs=[
            {
                "scenario": run.scenario,
                "subset": run.subset,
                "model": run.model,
                "setting": run.setting,
                "run_spec": run.spec,
            }
            for run in added
        ],
    )


def _read_specs(run_dirs: Sequence[RunDir], importer: Import) -> list[tuple[RunDir, Run]]:
    index = scenario_index()
    readable, runs = [], []
    for run_dir in run_dirs:
        try:
            with reading(RUN_SPEC, "a run spec in HELM's format"):
                runs.append(run_of(_json(run_dir, RUN_SPEC), _json(run_dir, SCENARIO, {}), index))
            readable.append(run_dir)
        except HelmframeError as error:
            _skip(importer, run_dir, error)
    return list(zip(readable, distinguish_runs(runs), strict=True))


def _add_run(folder: RunFolder, number: int, run_dir: RunDir, run: Run) -> dict[str, None]:
    """Add one run to the folder, and return the names of its metrics."""
    with open_file(run_dir.address, INSTANCE_STATS) as file:
        stats = Stats(run, iter_json_items(file))
    states = States(run, stats.variants, stats.prompt_tokens)
    with open_file(run_dir.address, STATE) as file:
        for frame in states.frames(iter_json_items(file, "request_states")):
            folder.add("completions", run.scenario, frame, number)
            folder.add("scores", run.scenario, stats.scores(frame), number)
            prefixes = pl.DataFrame({"prefix_id": frame["prefix_id"].unique(), "prefix": [""]})
    if not states.count:
        raise SourceBrokenError(f"{STATE} has no request states.")
    folder.add("prefixes", run.scenario, prefixes, number)
    folder.add("helm_stats", run.scenario, _helm_stats(run_dir, run, stats), number)
    # our tables compute the metrics of whole sets again, from the completions
    set_metrics = [name for name in run.metrics if metric_entry(name)["level"] == "set"]
    return dict.fromkeys([*set_metrics, *stats.rows["metric"].unique(maintain_order=True)])


def _helm_stats(run_dir: RunDir, run: Run, stats: Stats) -> pl.DataFrame:
    """Return `HELM_STATS` of a run; without stats.json it has no statistics of all instances."""
    try:
        with open_file(run_dir.address, STATS) as file:
            return frame_of(run, iter_json_items(file), stats.multi_request_stats)
    except SourceMissingError:
        return frame_of(run, (), stats.multi_request_stats)


def _skip(importer: Import, run_dir: RunDir, error: Exception) -> None:
    importer.skipped.append({"scenario": run_dir.name, "model": "", "reason": str(error)})
    logger.warning("Run %s is skipped: %s", run_dir.name, error)


def _json(run_dir: RunDir, name: str, default: Any = None) -> Any:
    try:
        with open_file(run_dir.address, name) as file:
            return decode_json(file.read(LONGEST_JSON + 1))
    except SourceMissingError:
        if default is None:
            raise
        return default
    except ValueError as error:
        raise SourceBrokenError(f"{name} isn't valid JSON: {error}") from None


def _progress(runs: Sequence[tuple[RunDir, Run]]) -> Any:
    from tqdm import tqdm

    # None: only in a terminal
    return tqdm(runs, desc="HELM runs", unit="run", disable=None if len(runs) > 1 else True)


def _scenario(run: Run) -> dict[str, Any]:
    return {
        "version": "helm",
        "main": dict(run.main.__dict__),
        "subsets": list(run.values),
        "description": run.description,
    }
