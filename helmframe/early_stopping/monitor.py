"""The stopping monitor of a task: the instances of each look, and the cells that are still open."""

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import polars as pl

from helmframe.early_stopping.rules import Bounds, MonitoredTask, Until, metric_of, task_name
from helmframe.metrics.protocol import Metric, is_binary
from helmframe.stats.sequential import UNIT, Population, cluster_means, instance_means, interval_of

# The least instances of a look; the share of the instances that ran before; the most instances of a look.
FIRST_LOOK = 50
GROWTH = 0.1
MOST_LOOK = 4_000
# The rows of several looks that are read at a time: READ_ROWS first, then the rows that fit into MOST_BYTES.
READ_ROWS = 1_000
MOST_ROWS = 20_000
MOST_BYTES = 64 << 20

_AXES = ("split", "model", "setting", "perturbation")
_ROW = ("subset", "row_index")


class StoppingMonitor:
    """A monitor of one task; several models may report to it concurrently.

    Args:
        until: The rule that closes a cell.
        task: The task that runs.
        keys: The keys of all its instances: subset, row_index, instance_id, split, cluster.
    """

    def __init__(self, until: Until, task: MonitoredTask, keys: pl.DataFrame) -> None:
        scenario = task.spec.scenario
        self._until, self._scenario = until, scenario
        self._metric = metric_of(until, task.spec, task.metrics)
        self.name = task_name(task)
        self.state: dict[str, Any] = {}  # the manifest's entry, after each look
        mean = until.mean or task.spec.main.mean
        self._populations = {
            str(split): Population.of(rows, scenario, str(split), seed=until.seed, mean=mean)
            for (split,), rows in keys.partition_by("split", as_dict=True).items()
        }
        self._order = _assign_looks(keys, self._populations)
        self._lock = threading.Lock()
        self._look = 0
        self._pending: list[pl.DataFrame] = []  # instance means of this look
        self._seen: dict[tuple[Any, ...], list[pl.DataFrame]] = {}  # cluster means by cell
        self._cells: dict[tuple[Any, ...], dict[str, Any]] = {}  # by split, model, setting, perturbation
        self._closed: set[tuple[Any, ...]] = set()
        self._cut: set[tuple[str, str]] = set()  # model and setting that did not run all of a look

    def looks(self, load: Callable[..., Iterator[pl.DataFrame]]) -> Iterator[pl.DataFrame]:
        """Yield the `INSTANCES` of each look; `load(only=keys)` reads those with these keys."""
        start, max_rows = 0, READ_ROWS
        ends = self._order.group_by("look").len("rows").sort("look")["rows"].cum_sum().to_list()
        while start < len(ends):
            before = ends[start - 1] if start else 0
            end = max([index for index in range(start, len(ends)) if ends[index] - before <= max_rows], default=start)
            wanted = self._order.filter(pl.col("look").is_between(start, end))
            rows = pl.concat(load(only=wanted), how="diagonal_relaxed")
            row_bytes = max(rows.estimated_size() / max(rows.height, 1), 1.0)
            max_rows = min(MOST_ROWS, int(MOST_BYTES / row_bytes))
            looks = rows.join(wanted.select(*_ROW, "look"), on=_ROW, how="left", maintain_order="left", validate="1:1")
            for look in range(start, end + 1):
                yield looks.filter(pl.col("look") == look).drop("look")
            start = end + 1

    def open_requests(self, requests: pl.DataFrame, model: str) -> pl.DataFrame:
        """Return the requests of a look, of one setting, that belong to open cells."""
        if (model, requests["setting"][0]) in self._cut:
            return requests.clear()
        closed = [dict(zip(_AXES, cell, strict=True)) for cell in self._closed if cell[1] == model]
        if not closed:
            return requests
        cells = pl.DataFrame(closed, schema=dict.fromkeys(_AXES, pl.String)).drop("model")
        return requests.join(cells, on=cells.columns, how="anti", maintain_order="left")

    def cut(self, model: str, *settings: str) -> None:
        """Record that a model did not run all of this look: the look does not count, and is the model's last."""
        with self._lock:
            self._cut |= {(model, setting) for setting in settings}

    def add_scores(self, scores: pl.DataFrame) -> None:
        """Add the scores of one model and setting in this look."""
        of_metric = scores.lazy().filter(pl.col("metric") == self._metric.name)
        means = instance_means(of_metric, _AXES, self._bounds).collect()
        with self._lock:
            self._pending.append(means)

    def end_look(self) -> bool:
        """Close the cells that meet the rule, and return whether all cells are closed."""
        size = self._order.filter(pl.col("look") == self._look).group_by("split").len("due")
        means = pl.concat(self._pending) if self._pending else None
        self._look, self._pending = self._look + 1, []
        if means is None:
            return True
        counted = means.group_by(_AXES).len("n").join(size, on="split", how="left")
        for *cell, n, due in counted.iter_rows():
            state = self._cells.setdefault(tuple(cell), {"n_run": 0, "complete": True, "met": False})
            state["n_run"] += n
            state["complete"] &= n == due
        self._closed |= {
            cell
            for cell in self._cells
            if any(cell[2] == setting and self._until.needs(cell[1], other) for other, setting in self._cut)
        }
        for split, population in self._populations.items():
            self._judge(means.filter(pl.col("split") == split), population)
        self.state = {
            "scenario": self._scenario,
            "populations": [population.to_dict() for population in self._populations.values()],
            "cells": [{**dict(zip(_AXES, cell, strict=True)), **state} for cell, state in self._cells.items()],
        }
        return set(self._cells) <= self._closed

    def _judge(self, means: pl.DataFrame, population: Population) -> None:
        """Compute the interval of each group of cells that stop together."""
        by = list(self._until.cell)
        values = self._until.select_values(means)
        clusters = cluster_means(values.lazy(), by, population).collect()
        for group, rows in clusters.partition_by(by, as_dict=True).items():
            cells = [cell for cell in self._cells if _same(cell, population.split, dict(zip(by, group, strict=True)))]
            if set(cells) <= self._closed or not all(self._cells[cell]["complete"] for cell in cells):
                continue
            seen = self._seen.setdefault((population.split, *group), [])
            seen.append(rows)
            interval = interval_of(
                pl.concat(seen),
                population,
                self._until.bounds(self._bounds),
                binary=is_binary(self._metric),
                ci=self._until.ci,
                finite=self._until.population == "benchmark",
            )
            met = self._until.met(interval)
            for cell in cells:
                self._cells[cell] |= {"met": met, "estimate": interval}
            if met:
                self._closed |= set(cells)

    @property
    def _bounds(self) -> Bounds:
        metric: Metric = self._metric
        assert metric.low is not None
        assert metric.high is not None
        return float(metric.low), float(metric.high)


def _same(cell: tuple[Any, ...], split: str, group: Mapping[str, Any]) -> bool:
    cell_values = dict(zip(_AXES, cell, strict=True))
    return cell_values["split"] == split and all(cell_values[name] == value for name, value in group.items())


def _assign_looks(keys: pl.DataFrame, populations: Mapping[str, Population]) -> pl.DataFrame:
    """Return the instances in the order of requests, whole clusters together, with their `look` (from 0)."""
    positioned = [
        keys.filter(pl.col("split") == split).with_columns(position=population.order_key)
        for split, population in populations.items()
    ]
    order = pl.concat(positioned).sort("position", "split", *UNIT, "row_index")
    clusters = order.group_by("position", "split", *UNIT, maintain_order=True).len("n")
    looks, n_requested, n_look, look = [], 0, 0, 0
    for n in clusters["n"]:
        looks.append(look)
        n_look += n
        if n_look >= min(max(FIRST_LOOK, GROWTH * n_requested), MOST_LOOK):
            look, n_requested, n_look = look + 1, n_requested + n_look, 0
    numbered = clusters.with_columns(look=pl.Series(looks, dtype=pl.Int64))
    return order.join(numbered, on=["position", "split", *UNIT], how="left", maintain_order="left").select(
        *_ROW, "split", "look"
    )
