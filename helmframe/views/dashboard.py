"""The dashboard of exported results: pages with the scores, charts and completions of the selected run.

Pages are built from the tables of `Results` and from the explorer, so the numbers agree. A page contains no script; its
forms request the next page. Values from the address are looked up, and never become part of a query or a path.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import polars as pl

from helmframe._schema import ORIGINAL
from helmframe.errors import ArgumentError, StoreError, UnknownNameError
from helmframe.results import Results
from helmframe.results._data import reader_of
from helmframe.store import Address, address_of, below, exists, listing
from helmframe.views import charts
from helmframe.views.display import number, problem_notes, robustness_cells, score_notes, table_cells
from helmframe.views.explore import Explorer, Filters
from helmframe.views.html import Grid, Picture, page, picture, policy

# A page's form may only be sent to the dashboard itself.
POLICY = policy("form-action 'self'", "frame-ancestors 'none'")
_FORM = ("run", "metric", "scenario", "model", "perturbation", "setting", "only", "find", "order", "page")
_ORDERS = {"run": "run order", "lowest": "lowest score first", "highest": "highest score first"}
_ONLY = {"all": "all", "unscored": "no score", "unparsed": "unparsed"}


class Dashboard:
    """HTML pages of the results of runs.

    Args:
        uri: A folder written by `to_parquet` or by a run, or a folder that contains such folders; may be s3://….

    Raises:
        StoreError: The folder contains no results.
    """

    def __init__(self, uri: str | Path) -> None:
        self.runs = _runs(address_of(uri))
        self._lock = threading.Lock()
        self._opened = lru_cache(maxsize=4)(self._open)
        self._overviews = lru_cache(maxsize=32)(self._overview)

    def page(self, query: Mapping[str, str]) -> str:
        """Return the page that the parameters of an address select.

        Args:
            query: run, metric, scenario, model, perturbation, setting, only, find, order, page; each may be empty.

        Raises:
            HelmframeError: A parameter is invalid, or the results are unreadable.
        """
        for name in query:
            if name not in _FORM:
                raise ArgumentError.unknown_argument("this page", name, _FORM)
        with self._lock, self._translate_errors(query):
            name, filters = self._selection(query)
            _, explorer = self._opened(name)
            opened = explorer.respond({"kind": "open"})
            result = _checked_response(
                explorer, {"kind": "page", "filters": filters.to_dict(), "page": _parse_integer(query, "page", 1) - 1}
            )
            overview = self._overviews(
                name, filters.metric, filters.scenario, filters.model, filters.perturbation, filters.setting
            )
        parameters = {key: value for key, value in query.items() if value and key != "page"}
        return page(
            "dashboard.html",
            title=f"helmframe: {name}",
            choices=self._choices(name, filters, opened),
            find=filters.find,
            result=result,
            address=lambda number: "?" + urlencode({**parameters, "page": number}),
            instance=lambda row: "instance?" + urlencode({"run": name, "metric": filters.metric, "row": row["row"]}),
            number=number,
            **overview,
        )

    def instance(self, query: Mapping[str, str]) -> str:
        """Return the page of one instance, selected by run, metric and row.

        Raises:
            HelmframeError: The row does not exist or is unreadable.
        """
        with self._lock, self._translate_errors(query):
            name, filters = self._selection({key: query.get(key, "") for key in ("run", "metric")})
            _, explorer = self._opened(name)
            row = _parse_integer(query, "row", 0)
            request = {"kind": "instance", "filters": {"metric": filters.metric}, "row": row}
            result = _checked_response(explorer, request)
        return page("instance.html", title=f"helmframe: {name}", result=result, number=number)

    def _selection(self, query: Mapping[str, str]) -> tuple[str, Filters]:
        name = query.get("run") or next(iter(self.runs))
        if name not in self.runs:
            raise UnknownNameError.among("run of this dashboard", name, self.runs)
        filters = {key: value for key, value in query.items() if value and key not in ("run", "page")}
        return name, Filters.of({"order": "lowest", **filters})

    @contextmanager
    def _translate_errors(self, query: Mapping[str, str]) -> Iterator[None]:
        """Raise `StoreError` instead of the errors of Polars."""
        try:
            yield
        except pl.exceptions.PolarsError as error:
            run = query.get("run") or next(iter(self.runs))
            reason = str(error).partition("\n")[0]
            raise StoreError(f"The results at {self.runs[run]} are unreadable; a file is damaged: {reason}") from error

    def _open(self, name: str) -> tuple[Results, Explorer]:
        results = Results.load(self.runs[name])
        return results, Explorer(results)

    def _choices(self, run: str, filters: Filters, opened: Mapping[str, Any]) -> list[tuple[str, str, dict[str, str]]]:
        """Return the selects of the form: name, selected value, and value → label."""
        unfiltered = {"": "all"}
        choices = [("run", run, {value: value for value in self.runs})] if len(self.runs) > 1 else []
        choices.append(("metric", filters.metric, {"": "main", **{value: value for value in opened["metrics"]}}))
        for axis, values in opened["axes"].items():
            choices.append((axis, getattr(filters, axis) or "", {**unfiltered, **{value: value for value in values}}))
        return [*choices, ("only", filters.only, _ONLY), ("order", filters.order, _ORDERS)]

    def _overview(self, name: str, metric: str, *selected: str | None) -> dict[str, Any]:
        """Return the scores and charts of the selected groups."""
        results, _ = self._opened(name)
        metrics = [metric] if metric else results.main_metrics
        conditions = [
            pl.col(axis) == value for axis, value in zip(_SELECTABLE, selected, strict=True) if value is not None
        ]
        only = pl.all_horizontal(conditions) if conditions else pl.lit(value=True)
        table = _filtered(results.table(metrics=metrics), only, _SELECTABLE)
        changes = _changes(results, metrics, selected)
        models = results.completions.select(pl.col("model").unique().sort()).collect()["model"].to_list()
        draws: list[Callable[[str], Any]] = []
        options = {"models": models, "metrics": results.manifest["metrics"]}
        if table.height:
            draws.append(lambda mode: charts.scores(table, **options, mode=mode))
        if changes.height:
            draws.append(lambda mode: charts.perturbations(changes, **options, mode=mode))
        originals = table.filter(pl.col("perturbation") == ORIGINAL)
        if originals["scenario"].n_unique() > 1 and originals["model"].n_unique() > 1:
            draws.append(partial(_heatmap, originals, options["metrics"]))
        pictures: list[Picture | str | None] = [picture(draw) for draw in draws]
        return {
            "notes": [*problem_notes(results), *score_notes(results)],
            "scores": Grid.of(table_cells(table)),
            "changes": Grid.of(robustness_cells(changes)) if changes.height else Grid([], []),
            "pictures": [image for image in pictures if image is not None],
        }


_SELECTABLE = ("scenario", "model", "perturbation", "setting")


def _runs(address: Address) -> dict[str, Address]:
    """Map run names to folders: the address itself, or the folders below it."""
    if exists(below(address, "manifest.json")):
        return {str(address).rstrip("/").rpartition("/")[2] or str(address): address}
    names = sorted(file.name.rpartition("/")[0] for file in listing(address) if file.name.endswith("/manifest.json"))
    if not names:
        raise StoreError(
            f"{address} contains no results. Write some with results.to_parquet({str(address)!r}) or "
            "`helmframe run … -o FOLDER`."
        )
    return {name: below(address, *name.split("/")) for name in reversed(names)}


def _heatmap(table: pl.DataFrame, metrics: Any, mode: str) -> Any:
    return charts.heatmap(table, "model", "scenario", metrics=metrics, mode=mode)


def _changes(results: Results, metrics: list[str], selected: tuple[str | None, ...]) -> pl.DataFrame:
    """Return the paired change under each selected perturbation, of any family."""
    selection = dict(zip(_SELECTABLE, selected, strict=True))
    perturbations = [
        name for name in reader_of(results).perturbation_entries() if selection["perturbation"] in (None, name)
    ]
    if not perturbations or all(results.manifest["metrics"][metric]["level"] == "set" for metric in metrics):
        return pl.DataFrame()
    changes = results.robustness(metrics=metrics, perturbations=perturbations)
    conditions = [
        pl.col(axis) == value for axis, value in selection.items() if value is not None and axis in changes.columns
    ]
    return changes.filter(pl.all_horizontal(conditions)) if conditions else changes


def _filtered(table: pl.DataFrame, only: pl.Expr, axes: tuple[str, ...]) -> pl.DataFrame:
    absent = [pl.lit("").alias(axis) for axis in axes if axis not in table.columns]
    return table.with_columns(absent).filter(only).drop(axis for axis in axes if axis not in table.columns)


def _checked_response(explorer: Explorer, request: Mapping[str, Any]) -> dict[str, Any]:
    response = explorer.respond(request)
    if "error" in response:
        raise ArgumentError(response["error"])
    return response


def _parse_integer(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name) or str(default)
    if not (text.isascii() and text.isdecimal() and len(text) < 12) or int(text) < default:
        raise ArgumentError(f"{name}={text!r}: {name} must be an integer ≥ {default}.")
    return int(text)
