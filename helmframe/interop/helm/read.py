"""HELM's run directories as our tables: `hf.read_helm`."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from helmframe.errors import HelmframeError, SourceBrokenError, SourceError, SourceMissingError
from helmframe.interop.helm.helm_stats import frame_of
from helmframe.interop.helm.run_dirs import (
    INSTANCE_STATS,
    RUN_SPEC,
    SCENARIO,
    STATE,
    STATS,
    RunPlace,
    opened,
    place_of,
    runs_at,
)
from helmframe.interop.helm.runs import Run, run_of, told_apart
from helmframe.interop.helm.scenario_lookup import known_scenarios
from helmframe.interop.helm.scores import Stats
from helmframe.interop.helm.state_reader import States, items
from helmframe.interop.imported import Import, metric_about
from helmframe.results import Results, register_loader
from helmframe.store import RunFolder

logger = logging.getLogger("helmframe.interop.helm")


@register_loader
def read_helm(path: str | Path, *, fresh: bool = False) -> Results:
    """HELM's results as ours: what was asked, what was answered, and HELM's own scores.

    `hf.read_helm("benchmark_output/runs/v1").leaderboard()`

    Scores are HELM's statistics of each instance, under HELM's names; `rescore` computes ours. HELM's statistics of all
    instances are in `helm_stats`. A scenario that we have too has our name, subsets and columns; so `hf.compare` pairs
    its instances with those of our runs, by their content.

    Args:
        path: a run directory, a suite, a release, or a folder with some of them: a path, `s3://…`, `gs://…`, or a URL
            (`https://storage.googleapis.com/crfm-helm-public/lite/benchmark_output/releases/v1.0.0`).
        fresh: read again what was read before; it is kept in the store.

    Raises:
        SourceMissingError: no run is there.
        SourceError: it can't be read. A run that is broken is left out, and `manifest["left_out"]` says why; it is an
            error if all are.
    """
    address = place_of(path)
    reading = Import("HELM", address)
    if not fresh and (kept := reading.kept()) is not None:
        return kept
    runs = _about(runs_at(address), reading)
    names: dict[str, None] = {}
    read: list[Run] = []
    for number, (place, run) in enumerate(_progress(runs)):
        try:
            names |= _add(reading.folder, number, place, run)
            read.append(run)
        except SourceError as error:
            reading.forget(number)
            _leave_out(reading, place, error)
    if not read:
        raise SourceBrokenError(f"no run at {address} can be read; the first: {reading.left_out[0]['reason']}")
    ours = [name for run in read for name in run.metrics if name in names]
    return reading.finish(
        [*ours, *names],
        plans=[str(run.spec["name"]) for run in read],
        scenarios={run.scenario: _scenario(run) for run in read},
        models={run.model: {"fingerprint": "", "durable": False, "note": "as HELM asked it"} for run in read},
        runs=[
            {
                "scenario": run.scenario,
                "subset": run.subset,
                "model": run.model,
                "setting": run.setting,
                "run_spec": run.spec,
            }
            for run in read
        ],
    )


def _about(places: Sequence[RunPlace], reading: Import) -> list[tuple[RunPlace, Run]]:
    known = known_scenarios()
    there, runs = [], []
    for place in places:
        try:
            runs.append(run_of(_json(place, RUN_SPEC), _json(place, SCENARIO, {}), known))
            there.append(place)
        except HelmframeError as error:
            _leave_out(reading, place, error)
    return list(zip(there, told_apart(runs), strict=True))


def _add(folder: RunFolder, number: int, place: RunPlace, run: Run) -> dict[str, None]:
    """Put one run into the folder; gives the names of its metrics."""
    with opened(place.address, INSTANCE_STATS) as file:
        stats = Stats(run, items(file, "item"))
    states = States(run, stats.variants, stats.prompt_tokens)
    with opened(place.address, STATE) as file:
        for frame in states.frames(items(file, "request_states.item")):
            folder.add("completions", run.scenario, frame, number)
            folder.add("scores", run.scenario, stats.scores(frame), number)
            prefixes = pl.DataFrame({"prefix_id": frame["prefix_id"].unique(), "prefix": [""]})
    if not states.count:
        raise SourceBrokenError(f"{STATE} holds no request states.")
    folder.add("prefixes", run.scenario, prefixes, number)
    folder.add("helm_stats", run.scenario, _helm_stats(place, run, stats), number)
    # what HELM computes of all answers at once, our tables compute anew from the answers
    of_sets = [name for name in run.metrics if metric_about(name)["level"] == "set"]
    return dict.fromkeys([*of_sets, *stats.rows["metric"].unique(maintain_order=True)])


def _helm_stats(place: RunPlace, run: Run, stats: Stats) -> pl.DataFrame:
    """Return `HELM_STATS` of a run; a run without stats.json has none of all instances."""
    try:
        with opened(place.address, STATS) as file:
            return frame_of(run, items(file, "item"), stats.of_several)
    except SourceMissingError:
        return frame_of(run, (), stats.of_several)


def _leave_out(reading: Import, place: RunPlace, error: Exception) -> None:
    reading.left_out.append({"scenario": place.name, "model": "", "reason": str(error)})
    logger.warning("run %s is left out: %s", place.name, error)


def _json(place: RunPlace, name: str, default: Any = None) -> Any:
    try:
        with opened(place.address, name) as file:
            return json.load(file)
    except SourceMissingError:
        if default is None:
            raise
        return default
    except ValueError as error:
        raise SourceBrokenError(f"{name} is no JSON: {error}") from None


def _progress(runs: Sequence[tuple[RunPlace, Run]]) -> Any:
    from tqdm import tqdm

    # None: only where someone looks at a terminal
    return tqdm(runs, desc="HELM runs", unit="run", disable=None if len(runs) > 1 else True)


def _scenario(run: Run) -> dict[str, Any]:
    return {
        "version": "helm",
        "main": dict(run.main.__dict__),
        "subsets": list(run.values),
        "description": run.description,
    }
