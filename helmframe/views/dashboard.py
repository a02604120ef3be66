"""The dashboard over exported results: pages with the scores, charts and answers of whichever run is chosen.

A page is made of what the tables of `Results` and the explorer say, so its numbers are theirs; it holds no script, and
its forms ask for the next page. What its address says is a value to look up, and never becomes a query or a path.
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
from helmframe.views.display import number, robustness_cells, score_notes, table_cells
from helmframe.views.explore import Explorer
from helmframe.views.explore_filters import Filters
from helmframe.views.html import Grid, page, policy
from helmframe.views.pictures import Picture, picture

# What a page's form may send to itself.
POLICY = policy("form-action 'self'", "frame-ancestors 'none'")
_FORM = ("run", "metric", "scenario", "model", "perturbation", "setting", "only", "find", "order", "page")
_ORDERS = {"run": "as they were asked", "lowest": "lowest score first", "highest": "highest score first"}
_ONLY = {"all": "all", "unscored": "without a score", "unparsed": "not readable"}


class Dashboard:
    """Some runs' results as pages of HTML.

    Args:
        uri: a folder that `to_parquet` or a run wrote, or one that holds such folders; may be s3://….

    Raises:
        StoreError: there are no results.
    """

    def __init__(self, uri: str | Path) -> None:
        self.runs = _runs(address_of(uri))
        self._lock = threading.Lock()
        self._opened = lru_cache(maxsize=4)(self._open)
        self._tops = lru_cache(maxsize=32)(self._top)

    def page(self, said: Mapping[str, str]) -> str:
        """The page that an address asks for.

        Args:
            said: run, metric, scenario, model, perturbation, setting, only, find, order, page; each may be empty.

        Raises:
            HelmframeError: there is no such thing, or the results can't be read.
        """
        for name in said:
            if name not in _FORM:
                raise ArgumentError.unknown_argument("this page", name, _FORM)
        with self._lock, self._read(said):
            name, filters = self._asked(said)
            _, explorer = self._opened(name)
            opened = explorer.answer({"ask": "open"})
            found = _answered(explorer, {"ask": "page", "filters": filters.said(), "page": _whole(said, "page", 1) - 1})
            top = self._tops(
                name, filters.metric, filters.scenario, filters.model, filters.perturbation, filters.setting
            )
        kept = {key: value for key, value in said.items() if value and key != "page"}
        return page(
            "dashboard.html",
            title=f"helmframe: {name}",
            choices=self._choices(name, filters, opened),
            find=filters.find,
            found=found,
            address=lambda number: "?" + urlencode({**kept, "page": number}),
            instance=lambda row: "instance?" + urlencode({"run": name, "metric": filters.metric, "row": row["row"]}),
            number=number,
            **top,
        )

    def instance(self, said: Mapping[str, str]) -> str:
        """The page of one instance: run, metric and row, as links of the other page say them.

        Raises:
            HelmframeError: there is no such row, or it can't be read.
        """
        with self._lock, self._read(said):
            name, filters = self._asked({key: said.get(key, "") for key in ("run", "metric")})
            _, explorer = self._opened(name)
            asked = {"ask": "instance", "filters": {"metric": filters.metric}, "row": _whole(said, "row", 0)}
            found = _answered(explorer, asked)
        return page("instance.html", title=f"helmframe: {name}", found=found, number=number)

    def _asked(self, said: Mapping[str, str]) -> tuple[str, Filters]:
        name = said.get("run") or next(iter(self.runs))
        if name not in self.runs:
            raise UnknownNameError.among("run here", name, self.runs)
        filters = {key: value for key, value in said.items() if value and key not in ("run", "page")}
        return name, Filters.of({"order": "lowest", **filters})

    @contextmanager
    def _read(self, said: Mapping[str, str]) -> Iterator[None]:
        """A file that is no whole Parquet is told as one."""
        try:
            yield
        except pl.exceptions.PolarsError as error:
            run = said.get("run") or next(iter(self.runs))
            raise StoreError(f"the results at {self.runs[run]} can't be read, a file is damaged: {error}") from error

    def _open(self, name: str) -> tuple[Results, Explorer]:
        results = Results.load(self.runs[name])
        return results, Explorer(results)

    def _choices(self, run: str, filters: Filters, opened: Mapping[str, Any]) -> list[tuple[str, str, dict[str, str]]]:
        """What the form offers: name, what is chosen, and value → word."""
        every = {"": "all"}
        choices = [("run", run, {each: each for each in self.runs})] if len(self.runs) > 1 else []
        choices.append(("metric", filters.metric, {"": "main", **{each: each for each in opened["metrics"]}}))
        for axis, values in opened["axes"].items():
            choices.append((axis, getattr(filters, axis) or "", {**every, **{each: each for each in values}}))
        return [*choices, ("only", filters.only, _ONLY), ("order", filters.order, _ORDERS)]

    def _top(self, name: str, metric: str, *chosen: str | None) -> dict[str, Any]:
        """Scores and charts, of the groups that are chosen."""
        results, _ = self._opened(name)
        metrics = [metric] if metric else results.main_metrics
        of = [pl.col(axis) == value for axis, value in zip(_CHOSEN, chosen, strict=True) if value is not None]
        only = pl.all_horizontal(of) if of else pl.lit(value=True)
        table = _filtered(results.table(metrics=metrics), only, _CHOSEN)
        changes = _changes(results, metrics, chosen)
        models = results.completions.select(pl.col("model").unique().sort()).collect()["model"].to_list()
        drawn: list[Callable[[str], Any]] = []
        look = {"models": models, "metrics": results.manifest["metrics"]}
        if table.height:
            drawn.append(lambda mode: charts.scores(table, **look, mode=mode))
        if changes.height:
            drawn.append(lambda mode: charts.perturbations(changes, **look, mode=mode))
        originals = table.filter(pl.col("perturbation") == ORIGINAL)
        if originals["scenario"].n_unique() > 1 and originals["model"].n_unique() > 1:
            drawn.append(partial(_heatmap, originals, look["metrics"]))
        pictures: list[Picture | str | None] = [picture(draw) for draw in drawn]
        return {
            "notes": score_notes(results),
            "scores": Grid.of(table_cells(table)),
            "changes": Grid.of(robustness_cells(changes)) if changes.height else Grid([], []),
            "pictures": [each for each in pictures if each is not None],
        }


_CHOSEN = ("scenario", "model", "perturbation", "setting")


def _runs(address: Address) -> dict[str, Address]:
    """Name → the folder of a run: this one, or those below."""
    if exists(below(address, "manifest.json")):
        return {str(address).rstrip("/").rpartition("/")[2] or str(address): address}
    names = sorted(file.name.rpartition("/")[0] for file in listing(address) if file.name.endswith("/manifest.json"))
    if not names:
        raise StoreError(
            f"{address} holds no results. Write some: results.to_parquet({str(address)!r}), or "
            "helmframe run … -o FOLDER."
        )
    return {name: below(address, *name.split("/")) for name in reversed(names)}


def _heatmap(table: pl.DataFrame, metrics: Any, mode: str) -> Any:
    return charts.heatmap(table, "model", "scenario", metrics=metrics, mode=mode)


def _changes(results: Results, metrics: list[str], chosen: tuple[str | None, ...]) -> pl.DataFrame:
    """The paired change under each perturbation chosen, of any family."""
    wanted = dict(zip(_CHOSEN, chosen, strict=True))
    there = [each for each in reader_of(results).perturbation_kinds() if wanted["perturbation"] in (None, each)]
    if not there or all(results.manifest["metrics"][each]["level"] == "set" for each in metrics):
        return pl.DataFrame()
    changes = results.robustness(metrics=metrics, perturbations=there)
    of = [pl.col(axis) == value for axis, value in wanted.items() if value is not None and axis in changes.columns]
    return changes.filter(pl.all_horizontal(of)) if of else changes


def _filtered(table: pl.DataFrame, only: pl.Expr, axes: tuple[str, ...]) -> pl.DataFrame:
    absent = [pl.lit("").alias(axis) for axis in axes if axis not in table.columns]
    return table.with_columns(absent).filter(only).drop(each for each in axes if each not in table.columns)


def _answered(explorer: Explorer, asked: Mapping[str, Any]) -> dict[str, Any]:
    answer = explorer.answer(asked)
    if "error" in answer:
        raise ArgumentError(answer["error"])
    return answer


def _whole(said: Mapping[str, str], name: str, default: int) -> int:
    text = said.get(name) or str(default)
    if not (text.isascii() and text.isdecimal() and len(text) < 12) or int(text) < default:
        raise ArgumentError(f"{name}: {text!r} should be a whole number from {default} on.")
    return int(text)
