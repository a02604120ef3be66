"""The viewer of runs: the responses to its page, in a browser (`helmframe view`) and in notebooks (`hf.view`).

The page sends `{"id", "method", "params"}` and gets `{"id", "result"}` or `{"id", "error"}`, over HTTP or over a
notebook's messages. Names from requests are looked up, and never become part of a query or a path. Only `label` writes.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl

from helmframe._core.registry import render
from helmframe._run import STALE_SECONDS
from helmframe._schema import ORIGINAL
from helmframe.errors import ArgumentError, CapabilityError, HelmframeError, StoreError, UnknownNameError
from helmframe.models.completion_cache import store_root
from helmframe.results import Results, compare_results, findings, load_results
from helmframe.results._data import reader_of
from helmframe.results._findings import error_groups
from helmframe.store import Address, RunFolder, address_of, below, exists, listing
from helmframe.views.comparison import comparison_notes, leaderboard_notes
from helmframe.views.display import of_mains, score_notes
from helmframe.views.viewer_rows import KEYS, ROWS, Filters, RunRows, check_index

_OPENED = 4  # runs in memory
_MANIFESTS_AT_ONCE = 16
_MOST_COMPARED = 8
_MOST_ROWS = 2_000  # of one table
_MOST_ERRORS = 50
_LONGEST_PLAN = 100_000


@dataclass(frozen=True)
class RunSource:
    """A run that the viewer shows: its folder, or its results in memory."""

    address: Address | None = None
    results: Results | None = None


@dataclass
class OpenRun:
    """An open run: its results, its rows, and the tables that were computed."""

    results: Results
    rows: RunRows
    tables: dict[str, Any] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


def view(source: str | Path | Results | None = None) -> Any:
    """Open the viewer of runs in a notebook: a table of runs, findings, charts, and every instance.

    In a terminal, run `helmframe view`.

    >>> import helmframe as hf
    >>> results = hf.scenario("sampler").where(subject="music").limit(4).generate(hf.models.oracle()).score()
    >>> widget = hf.view(results.path)

    Args:
        source: A run's folder, a folder or bucket that contains such folders, or results; default the runs in the
            store.

    Raises:
        StoreError: The folder contains no results.
        CapabilityError: If anywidget is not installed: pip install 'helmframe[widgets]'.
    """
    if find_spec("anywidget") is None:
        raise CapabilityError("view() requires the package anywidget: pip install 'helmframe[widgets]'")
    return render(Viewer.of(source), "widget")


class Viewer:
    """Responses to the viewer's page, over one or more runs.

    Args:
        sources: The runs by name, newest first.
        start: The page that opens first: run, tab and filters; default the table of runs, or the only run.
    """

    def __init__(
        self,
        sources: Mapping[str, RunSource],
        start: Mapping[str, Any] | None = None,
        reload: Callable[[], Mapping[str, RunSource]] | None = None,
    ) -> None:
        self._sources = dict(sources)
        self._reload = reload
        self._lock = threading.Lock()
        self._open_run = lru_cache(maxsize=_OPENED)(self._load_run)
        only_run = next(iter(self._sources)) if len(self._sources) == 1 else None
        self.start = {"run": only_run, "tab": "summary", "filters": None, **(start or {})}
        self._methods: dict[str, Callable[[Mapping[str, Any]], Any]] = {
            "open": self._open,
            "runs": self._runs,
            "main_scores": self._main_scores,
            "info": self._info,
            "findings": self._findings,
            "scores": self._scores,
            "leaderboard": self._leaderboard,
            "changes": self._changes,
            "errors": self._errors,
            "cost": self._cost,
            "labels": self._labels,
            "compare": self._compare,
            "compare_instances": self._compare_instances,
            "filters": lambda params: self._rows(params).open(),
            "page": self._page,
            "bars": lambda params: self._rows(params).bars(self._filters(params), str(params.get("by"))),
            "instance": lambda params: self._rows(params).instance(self._filters(params).metric, _key(params)),
            "code": lambda params: {"python": self._rows(params).code(self._filters(params))},
            "label": lambda params: self._rows(params).label(_key(params), params.get("label")),
        }

    @classmethod
    def of(cls, source: str | Path | Results | None = None) -> Viewer:
        """Return the viewer of results, of a run's folder, of a folder of runs, or of the store.

        Raises:
            StoreError: The folder contains no results.
        """
        if isinstance(source, Results):
            return cls.of_results(source)
        if source is not None and not isinstance(source, str | Path):
            raise ArgumentError(f"view({source!r}): source must be results or a folder.")
        address = below(store_root(), "runs") if source is None else address_of(source)
        in_store = source is None
        return cls(_sources(address, in_store=in_store), reload=lambda: _sources(address, in_store=in_store))

    @classmethod
    def of_results(cls, results: Results, filters: Filters | None = None) -> Viewer:
        """Return the viewer of one run's results, with the filters of the instances that it opens first."""
        start: dict[str, Any] = {"tab": "summary"}
        if filters is not None and filters != Filters():
            RunRows(results, filters)  # checks the filters
            start = {"tab": "instances", "filters": filters.to_dict()}
        return cls({_name(results): RunSource(results=results)}, start)

    def respond(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return the response to a request: `{"id", "result"}`, or `{"id", "error"}` with the reason."""
        identifier = request.get("id")
        try:
            return {"id": identifier, "result": self._result(request)}
        except HelmframeError as error:
            return {"id": identifier, "error": str(error)}

    def _result(self, request: Mapping[str, Any]) -> Any:
        method, params = request.get("method"), request.get("params") or {}
        if not isinstance(method, str) or method not in self._methods:
            raise ArgumentError.unknown_value(f"method={method!r}", method, self._methods)
        if not isinstance(params, Mapping):
            raise ArgumentError(f"params must be an object, not {type(params).__name__}.")
        try:
            if method in _OF_ROWS:
                with self._run(params).rows.lock:
                    return self._methods[method](params)
            return self._methods[method](params)
        except pl.exceptions.PolarsError as error:
            reason = str(error).partition("\n")[0]
            raise StoreError(f"The results of run {params.get('run')!r} are unreadable: {reason}") from error

    # -- the table of runs -------------------------------------------------------------------------------------------

    def _open(self, params: Mapping[str, Any]) -> dict[str, Any]:
        _check_params("open", params)
        return {"start": self.start, "n_runs": len(self._sources), "can_reload": self._reload is not None}

    def _runs(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the runs, newest first, from their manifests."""
        _check_params("runs", params, "reload")
        if params.get("reload") and self._reload is not None:
            self._sources = dict(self._reload())
            self._open_run.cache_clear()
        with ThreadPoolExecutor(_MANIFESTS_AT_ONCE) as executor:
            entries = list(executor.map(_entry, self._sources, self._sources.values()))
        # a folder of interim results belongs to a run that is listed itself
        shown = [entry for entry in entries if not entry["interim"] or len(entries) == 1]
        return {"runs": sorted(shown, key=lambda entry: -(entry["started"] or 0))}

    def _main_scores(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the main scores of a run on original inputs."""
        table = self._table(params, "main_scores", _original_scores)
        return {"scores": table}

    def _compare(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the scores of several runs side by side, and the paired differences from the first run."""
        _check_params("compare", params, "runs")
        names = params.get("runs")
        if not isinstance(names, list) or not 2 <= len(names) <= _MOST_COMPARED:
            raise ArgumentError(f"compare(runs={names!r}): runs must list 2 to {_MOST_COMPARED} runs.")
        opened = {name: self._run({"run": name}) for name in names}
        rows: list[dict[str, Any]] = []
        for name in names:
            rows += [{"run": name, **row} for row in self._table({"run": name}, "main_scores", _original_scores)]
        differences, problems = [], []
        first, *rivals = names
        for name in rivals:
            try:
                table = compare_results(
                    opened[name].results,
                    opened[first].results,
                    axis=["model", "prompt", "parser", "decoding"],
                    labels=(name, first),
                )
            except HelmframeError as error:
                problems.append({"run": name, "text": str(error)})
                continue
            units = {key: entry["unit"] for key, entry in opened[first].results.manifest["metrics"].items()}
            differences += [{"run": name, "unit": units[row["metric"]], **row} for row in _json_rows(table)]
            problems += [{"run": name, "text": note} for note in comparison_notes(pl.DataFrame(table))]
        return {"runs": names, "scores": rows, "differences": differences, "notes": problems}

    def _compare_instances(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the first instances that two runs score differently, and the number of all.

        Rows are paired by their key. Models are paired by name, or if the runs share no model, one with one.
        """
        _check_params("compare_instances", params, "runs")
        names = params.get("runs")
        if not isinstance(names, list) or len(names) != 2:
            raise ArgumentError(f"compare_instances(runs={names!r}): runs must list 2 runs.")
        runs = [self._run({"run": name}) for name in names]
        frames = []
        for run in runs:
            with run.rows.lock:
                frames.append(run.rows.main_scores())
        models = [set(frame["model"].cast(pl.String).unique()) for frame in frames]
        if not models[0] & models[1] and max(map(len, models)) > 1:
            text = "The runs share no model, and one of them has several: their instances are not paired."
            return {"total": 0, "pairs": [], "problem": text}
        on = [name for name in KEYS if name != "model" or models[0] & models[1]]
        first, second = (frame.select("row", *on, "score") for frame in frames)
        pairs = first.join(second, on=on, how="inner", nulls_equal=True, suffix="_b", maintain_order="left")
        differing = pairs.filter(pl.col("score").ne_missing(pl.col("score_b")))
        sides = []
        for run, column in zip(runs, ("row", "row_b"), strict=True):
            with run.rows.lock:
                sides.append(run.rows.rows_at(differing[column].head(ROWS)))
        return {"total": differing.height, "pairs": list(map(list, zip(*sides, strict=True))), "problem": None}

    # -- the summary of a run ----------------------------------------------------------------------------------------

    def _info(self, params: Mapping[str, Any]) -> dict[str, Any]:
        run = self._run(params)
        name = str(params["run"])
        manifest = run.results.manifest
        scenarios = [
            {"name": key, "description": entry.get("description") or "", "metric": entry["main"]["metric"]}
            for key, entry in manifest["scenarios"].items()
        ]
        return {
            **_entry(name, self._sources[name]),
            "scenario_entries": scenarios,
            "plans": [plan[:_LONGEST_PLAN] for plan in manifest.get("plans", [])],
            "versions": manifest.get("versions", {}),
            "metrics": {
                key: {"unit": entry["unit"], "higher_is_better": entry["higher_is_better"]}
                for key, entry in manifest["metrics"].items()
            },
            "mains": run.results.main_metrics,
            "python": f"import helmframe as hf\n\nresults = hf.load({str(run.results.path)!r})",
        }

    def _findings(self, params: Mapping[str, Any]) -> dict[str, Any]:
        return {"findings": self._table(params, "findings", lambda results: list(map(asdict, findings(results))))}

    def _scores(self, params: Mapping[str, Any]) -> dict[str, Any]:
        rows = self._table(params, "scores", _scores_of_mains)
        return {"rows": rows, "notes": self._table(params, "notes", score_notes)}

    def _leaderboard(self, params: Mapping[str, Any]) -> dict[str, Any]:
        def board(results: Results) -> dict[str, Any]:
            made = results.leaderboard()
            return {
                "rows": _json_rows(made.table),
                "cells": _json_rows(made.cells),
                "columns": list(made.columns),
                "mean": made.mean,
                "notes": leaderboard_notes(made),
            }

        response: dict[str, Any] = self._table(params, "leaderboard", _or_problem(board))
        return response

    def _changes(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the paired change under each perturbation, of any family."""

        def changes(results: Results) -> dict[str, Any]:
            entries = reader_of(results).perturbation_entries()
            names = [name for name in entries if name != ORIGINAL]
            metrics = [name for name in results.main_metrics if results.manifest["metrics"][name]["level"] != "set"]
            if not names or not metrics:
                return {"rows": []}
            return {"rows": _json_rows(pl.DataFrame(results.robustness(metrics=metrics, perturbations=names)))}

        response: dict[str, Any] = self._table(params, "changes", _or_problem(changes))
        return response

    def _errors(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the failed requests, grouped by message."""

        def grouped(results: Results) -> list[dict[str, Any]]:
            return error_groups(results).head(_MOST_ERRORS).drop("total").to_dicts()

        return {"groups": self._table(params, "errors", grouped)}

    def _cost(self, params: Mapping[str, Any]) -> dict[str, Any]:
        return {"rows": self._table(params, "cost", lambda results: _json_rows(results.cost(["role", "model"])))}

    def _labels(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the number of labels, and what they show: the corrected scores, and the agreement with judges."""
        run = self._run(params)
        with run.lock:
            labelled = run.results.labels()
            judged = [name for name, entry in run.results.manifest["metrics"].items() if "judge" in entry]
            metric = judged[0] if judged else next(iter(run.results.main_metrics), None)
            response: dict[str, Any] = {"n": labelled.height, "metric": metric, "corrected": [], "agreement": []}
            response["problem"] = None
            if labelled.height and metric is not None:
                try:
                    response["corrected"] = _json_rows(run.results.corrected(labelled, metric))
                    if judged:
                        response["agreement"] = _json_rows(run.results.agreement(labelled, metric))
                except HelmframeError as error:
                    response["problem"] = str(error)
            code = [f"results = hf.load({str(run.results.path)!r})", "labels = results.labels()"]
            code.append(f"results.corrected(labels, {metric!r})")
            return {**response, "python": "\n".join(["import helmframe as hf", "", *code])}

    def _page(self, params: Mapping[str, Any]) -> dict[str, Any]:
        return self._rows(params).page(self._filters(params), check_index(params.get("page", 0), "page"))

    # -- private -----------------------------------------------------------------------------------------------------

    def _rows(self, params: Mapping[str, Any]) -> RunRows:
        return self._run(params).rows

    def _filters(self, params: Mapping[str, Any]) -> Filters:
        filters = Filters.of(params.get("filters") or {})
        self._rows(params).check(filters)
        return filters

    def _run(self, params: Mapping[str, Any]) -> OpenRun:
        name = params.get("run")
        if not isinstance(name, str) or name not in self._sources:
            raise UnknownNameError.among("run of this viewer", str(name), self._sources)
        with self._lock:
            return self._open_run(name)

    def _load_run(self, name: str) -> OpenRun:
        source = self._sources[name]
        if source.results is not None:
            return OpenRun(source.results, RunRows(source.results))
        assert source.address is not None
        results = load_results(source.address)
        if not isinstance(results, Results):
            raise StoreError(f"{source.address} contains no results.")
        return OpenRun(results, RunRows(results))

    def _table(self, params: Mapping[str, Any], name: str, compute: Callable[[Results], Any]) -> Any:
        """Return a table of a run; it is computed once."""
        run = self._run(params)
        with run.lock:
            if name not in run.tables:
                run.tables[name] = compute(run.results)
            return run.tables[name]


_OF_ROWS = {"filters", "page", "bars", "instance", "code", "label"}


def _sources(address: Address, *, in_store: bool = False) -> dict[str, RunSource]:
    """Map run names to folders: the address itself, or the folders below it, newest name first.

    Raises:
        StoreError: There are no results.
    """
    if exists(below(address, "manifest.json")):
        return {str(address).rstrip("/").rpartition("/")[2] or str(address): RunSource(address)}
    if isinstance(address, Path):
        files = list(_folders(address))
    else:
        files = [file.name.rpartition("/")[0] for file in listing(address) if file.name.endswith("/manifest.json")]
    if files:
        return {name: RunSource(below(address, *name.split("/"))) for name in sorted(files, reverse=True)}
    if in_store:
        raise StoreError(
            f"The store has no runs: {address} is empty. Run a plan with score(), or write `helmframe view FOLDER`."
        )
    try:
        results = load_results(address)  # a folder of another tool
    except HelmframeError:
        raise StoreError(
            f"{address} contains no results. Write some with results.to_parquet({str(address)!r}) or "
            "`helmframe run … -o FOLDER`."
        ) from None
    name = str(address).rstrip("/").rpartition("/")[2]
    return {name: RunSource(address, results if isinstance(results, Results) else None)}


def _entry(name: str, source: RunSource) -> dict[str, Any]:
    """Return the facts of a run from its manifest: name, status, times, scenarios, models, counts, cost, problem."""
    entry: dict[str, Any] = {"run": name, "status": "", "started": None, "seconds": None, "problem": None}
    entry |= {"scenarios": [], "models": [], "perturbations": [], "planned": 0, "failed": 0, "cost": None, "path": None}
    entry |= {"interim": False}
    try:
        if source.results is not None:
            manifest, path = source.results.manifest, source.results.path
            status = _status(manifest)
        else:
            assert source.address is not None
            path = source.address
            manifest = RunFolder(path).manifest()
            status = _status(manifest)
    except StoreError as error:
        return {**entry, "status": "unreadable", "problem": str(error)}
    counts = manifest.get("counts") or {}
    started = manifest.get("started")
    ended = manifest.get("ended") or manifest.get("seen")
    cost = manifest.get("cost")
    return {
        **entry,
        "status": status,
        "started": started,
        "seconds": ended - started if started and ended else None,
        "scenarios": list(manifest["scenarios"]),
        "models": list(manifest.get("models") or {}),
        "perturbations": list(manifest.get("perturbations") or {}),
        "planned": counts.get("planned", 0),
        "failed": counts.get("failed", 0),
        "cost": cost or (0.0 if cost == 0 and "prices" in manifest else None),
        "path": None if path is None else str(path),
        "interim": bool(manifest.get("store_only")),
    }


def _status(manifest: Mapping[str, Any]) -> str:
    """Return the status of a run; "gone" if its process ended without a last manifest."""
    status = str(manifest.get("status", "done"))
    has_ended = status == "running" and time.time() - float(manifest.get("seen") or 0) > STALE_SECONDS
    return "gone" if has_ended else status


def _folders(root: Path) -> Iterator[str]:
    """Yield the folders of runs below a folder, relative to it; folders in a run are skipped."""
    for folder, children, files in os.walk(root):
        if "manifest.json" in files:
            children.clear()
            yield Path(folder).relative_to(root).as_posix()


def _name(results: Results) -> str:
    if results.path is not None:
        return str(results.path).rstrip("/").rpartition("/")[2]
    return ", ".join(results.manifest["scenarios"]) or "results"


def _original_scores(results: Results) -> list[dict[str, Any]]:
    """Return the main score of each scenario, model and setting on original inputs."""
    if not results.main_metrics:
        return []
    mains = {name: entry["main"]["metric"] for name, entry in results.manifest["scenarios"].items()}
    table = results.table(metrics=results.main_metrics)
    table = table.filter(pl.col("perturbation") == ORIGINAL)
    rows = [
        row
        for row in _json_rows(table)
        if row["metric"] == mains.get(row["scenario"]) or mains.get(row["scenario"]) not in results.metric_names
    ]
    units = {name: entry["unit"] for name, entry in results.manifest["metrics"].items()}
    names = ("scenario", "model", "setting", "split", "metric", "value", "ci_low", "ci_high", "interval", "n")
    return [{name: row.get(name) for name in names} | {"unit": units[row["metric"]]} for row in rows]


def _scores_of_mains(results: Results) -> list[dict[str, Any]]:
    """Return the scores by the shown metrics, without those of other scenarios' main metrics."""
    return _json_rows(of_mains(results, results.table(metrics=_shown_metrics(results))))


def _shown_metrics(results: Results) -> list[str]:
    """Return the main metrics and those of judges."""
    judged = [name for name, entry in results.manifest["metrics"].items() if "judge" in entry]
    return list(dict.fromkeys([*results.main_metrics, *judged]))


def _or_problem(compute: Callable[[Results], dict[str, Any]]) -> Callable[[Results], dict[str, Any]]:
    """Return a function that returns the reason instead of raising: a table may not apply to a run."""

    def attempt(results: Results) -> dict[str, Any]:
        try:
            return compute(results)
        except HelmframeError as error:
            return {"rows": [], "problem": str(error)}

    return attempt


def _json_rows(table: pl.DataFrame) -> list[dict[str, Any]]:
    """Return the first rows of a table as JSON values."""
    rows = pl.DataFrame(table).head(_MOST_ROWS).to_dicts()
    return [{name: _json_value(value) for name, value in row.items()} for row in rows]


def _json_value(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str | int | None):
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Iterable) and not isinstance(value, bytes):
        return [_json_value(item) for item in value]
    return str(value)


def _key(params: Mapping[str, Any]) -> Mapping[str, Any]:
    key = params.get("key")
    if not isinstance(key, Mapping):
        raise ArgumentError(f"key={key!r}: key must be an object.")
    return key


def _check_params(method: str, params: Mapping[str, Any], *names: str) -> None:
    for name in params:
        if name not in names:
            raise ArgumentError.unknown_argument(method, str(name), names)
