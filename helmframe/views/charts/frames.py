"""Frames and results as inputs of charts: aggregation, display labels, units and directions of metrics."""

import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeAlias

import polars as pl

from helmframe._core.json_schema import import_jsonschema
from helmframe._core.safe_text import display_labels, show_invisible
from helmframe._schema import COMPLETIONS, ORIGINAL
from helmframe.errors import ArgumentError, CapabilityError, HelmframeError, UnknownNameError
from helmframe.metrics.protocol import manifest_entry, resolve_metrics
from helmframe.results import Results
from helmframe.stats.frames import list_names
from helmframe.stats.table import AXES, table

Frame = pl.DataFrame | pl.LazyFrame
# A chart draws at most this number of rows; a note reports the number of rows omitted.
MOST_ROWS = 300
# The orders of rows by value.
SORTS = ("value", "-value", "name")
# Metric → its unit and direction, as in a manifest.
Metrics: TypeAlias = Mapping[str, Mapping[str, Any]]
# Costs of completions, from columns of the table of completions: lower is better.
TAKEN = {column.name: column.unit for column in COMPLETIONS.columns if column.unit in ("s", "tokens")}


@dataclass(frozen=True)
class Rows:
    """The rows of a chart.

    `data` has the display texts label and model, and the values; `labels` is the order of labels, `models` determines
    colours, `shown` lists the models in `data`; `notes` reports omitted rows.
    """

    data: pl.DataFrame
    labels: list[str]
    models: list[str]
    shown: list[str]
    notes: list[str]

    @property
    def legend(self) -> bool:
        """Return whether a legend of models is needed, because the labels do not name them."""
        return self.shown != [""] and not (self.data["label"] == self.data["model"]).all()

    @property
    def offset(self) -> bool:
        """Return whether a label has rows of several models."""
        return len(self.labels) < self.data.select("label", "model").n_unique()


def stats_of(
    frame: Frame,
    metrics: Metrics | None,
    *,
    metric: str | Sequence[str] | None = None,
    by: Sequence[str] | None = None,
    pool: bool = False,
) -> pl.DataFrame:
    """Aggregate a frame of scores to `STATS`, or return a frame of `STATS`; only these metrics.

    `pool` averages over the axes that are not in `by`.

    Raises:
        ArgumentError: If the frame is neither.
        UnknownNameError: If a metric or a column is unknown.
    """
    columns = columns_of(frame)
    if "value" in columns:
        if by is not None:
            require_columns(frame, f"a table with the columns {', '.join(by)}", by)
        rows = frame.lazy().collect()
        rows = rows if "metric" in columns else rows.with_columns(metric=pl.lit("score"))
        return rows if metric is None else _select_metrics(rows, metric)
    if by is not None:
        for name in by:
            if name not in columns:
                raise UnknownNameError.among("column of these scores", name, columns)
    return table(
        frame, axes_of(frame) if by is None else by, metrics=metric, pool=pool, fractions=fractions_of(frame, metrics)
    )


def fractions_of(frame: Frame, metrics: Metrics | None) -> list[str] | None:
    """Return the metrics of a frame of scores that are fractions, or None (inferred from values) if one is unknown."""
    units = {name: unit_of(name, metrics) for name in metric_names(frame)}
    return [name for name, unit in units.items() if unit == "fraction"] if all(units.values()) else None


def directions_of(frame: Frame, metrics: Metrics | None) -> dict[str, bool]:
    """Return the direction of each metric of a frame of scores; higher is better by default."""
    return {name: better_when_higher(name, metrics) is not False for name in metric_names(frame)}


def metric_names(frame: Frame) -> list[str]:
    """Return the metrics of a frame of scores or stats."""
    if "metric" not in columns_of(frame):
        return ["score"]
    return frame.lazy().select(pl.col("metric").unique().sort()).collect()["metric"].to_list()


def axes_of(frame: Frame) -> list[str]:
    """Return the axes that a frame has as columns."""
    return [name for name in AXES if name in columns_of(frame)]


def is_scores(frame: Frame) -> bool:
    """Return whether a frame has scores per instance, which have to be aggregated."""
    return {"instance_id", "score"} <= set(columns_of(frame))


def require_columns(frame: Frame, source: str, columns: Sequence[str]) -> pl.DataFrame:
    """Collect a frame that has these columns.

    Raises:
        ArgumentError: If a column is missing.
    """
    present = columns_of(frame)
    missing = [name for name in columns if name not in present]
    if missing:
        raise ArgumentError(
            f"The frame must be {source} or scores (hf.schema('scores')). Missing columns: "
            f"{', '.join(map(repr, missing))}. The columns are: {list_names(present)}."
        )
    return frame.lazy().collect()


def rows_of(data: pl.DataFrame, keys: Sequence[str], models: Sequence[str] | None, *, always: str = "") -> Rows:
    """Return rows labelled with the varying columns of `keys` and with `always`, or with the model if none varies."""
    notes = [f"the first {MOST_ROWS:,} of {data.height:,} rows"] if data.height > MOST_ROWS else []
    data = data.head(MOST_ROWS)
    data = data if "model" in data.columns else data.with_columns(model=pl.lit(""))
    pool = _pool(models, data["model"])
    names = display_labels(pool)
    varied = [key for key in keys if key in data.columns and (key == always or data[key].n_unique() > 1)]
    parts = [pl.col(key).cast(pl.String).fill_null("–").replace({"": None}) for key in varied]
    label = pl.concat_str(parts, separator=" · ", ignore_nulls=True) if parts else pl.col("model")
    data = data.with_columns(label=label)
    labels = display_labels(data["label"])
    shown = data.with_columns(pl.col("label").replace(labels), pl.col("model").replace(names))
    order = list(names.values())
    return Rows(
        data=shown,
        labels=list(shown["label"].unique(maintain_order=True)),
        models=order,
        shown=[name for name in order if name in set(shown["model"])],
        notes=notes,
    )


def sorted_rows(rows: Rows, sort: str | Sequence[str] | None, column: str) -> Rows:
    """Return the rows with their labels in another order.

    Args:
        rows: The rows.
        sort: "value" for the largest mean of the column first, "-value" for the smallest, "name", or labels in order,
            before all others; None: the order of the plan.
        column: The column of values.

    Raises:
        ArgumentError: If `sort` is another text, or a label is unknown.
    """
    return rows if sort is None else replace(rows, labels=sorted_labels(rows.data, "label", rows.labels, sort, column))


def sorted_labels(
    data: pl.DataFrame, label: str, labels: Sequence[str], sort: str | Sequence[str], column: str
) -> list[str]:
    """Return labels in the order of `sort`; see `sorted_rows`."""
    if not isinstance(sort, str):
        for name in sort:
            if name not in labels:
                raise ArgumentError.unknown_value(f"sort={list(sort)!r}", name, labels)
        return list(dict.fromkeys([*sort, *labels]))
    if sort == "name":
        return sorted(labels)
    if sort not in SORTS:
        raise ArgumentError.unknown_value(f"sort={sort!r}", sort, SORTS)
    means = data.group_by(label, maintain_order=True).agg(pl.col(column).cast(pl.Float64).mean())
    ordered = means.sort(column, descending=sort == "value", nulls_last=True, maintain_order=True)[label].to_list()
    return [*(name for name in ordered if name in set(labels))]


def pooled_notes(frame: Frame, by: Sequence[str] | None) -> list[str]:
    """Return a note on the axes over which a chart by these columns takes the mean."""
    if "pooled" in columns_of(frame):
        texts = frame.lazy().select(pl.col("pooled").drop_nulls().unique(maintain_order=True)).collect()["pooled"]
        return [f"mean over {text}" for text in texts.to_list() if text]
    if by is None or not is_scores(frame):
        return []
    averaged = [name for name in axes_of(frame) if name not in by]
    counts = frame.lazy().select(pl.col(name).n_unique() for name in averaged).collect().row(0) if averaged else ()
    pooled = [f"{count:,} {name}s" for name, count in zip(averaged, counts, strict=True) if count > 1]
    return [f"mean over {', '.join(pooled)}"] if pooled else []


def as_names(by: str | Sequence[str] | None) -> list[str] | None:
    """Return the names of columns as a list; None: not specified."""
    return by if by is None else [by] if isinstance(by, str) else list(by)


def original_rows(frame: Frame) -> Frame:
    """Return the rows of original inputs, or all rows of a frame without perturbations."""
    if "perturbation" not in columns_of(frame):
        return frame
    return frame.filter(pl.col("perturbation").fill_null(ORIGINAL) == ORIGINAL)


def _select_metrics(rows: pl.DataFrame, metric: str | Sequence[str]) -> pl.DataFrame:
    available = rows["metric"].unique().sort().to_list()
    names = [metric] if isinstance(metric, str) else list(metric)
    for name in names:
        if name not in available:
            raise UnknownNameError.among("metric of this table", name, available)
    return rows.filter(pl.col("metric").is_in(names))


def _pool(models: Sequence[str] | None, column: pl.Series) -> list[str]:
    """Return all models in the order of their colours: `models` sorted, then the others of the column."""
    present = sorted({str(model) for model in column.drop_nulls()})
    return list(dict.fromkeys([*(sorted(set(models)) if models is not None else []), *present]))


def benchmark_note(table: pl.DataFrame) -> str:
    """Return a note if intervals are about the benchmark's own instances, not the population they stand for."""
    alone = "interval" in table.columns and table["interval"].cast(pl.String).str.contains("benchmark").any()
    return ", of this benchmark's own instances only" if alone else ""


def columns_of(frame: Any) -> list[str]:
    """Return the column names of a frame.

    Raises:
        ArgumentError: If the value isn't a Polars frame.
    """
    if not isinstance(frame, pl.DataFrame | pl.LazyFrame):
        raise ArgumentError(f"A chart needs a Polars frame, not {type(frame).__name__}. Write pl.DataFrame(…).")
    return frame.lazy().collect_schema().names()


def unit_of(metric: str, metrics: Metrics | None) -> str:
    """Return the unit of a metric, or an empty string if it is unknown."""
    return str(_metadata(metric, metrics).get("unit") or "")


def better_when_higher(metric: str, metrics: Metrics | None) -> bool | None:
    """Return whether higher is better, or None if the metric has no direction or is unknown."""
    direction: bool | None = _metadata(metric, metrics).get("higher_is_better")
    return direction


def axis_title(metric: str, metrics: Metrics | None) -> str:
    """Return the metric with its unit and direction.

    >>> axis_title("exact_match", None)
    'exact_match (fraction, higher is better)'
    """
    direction = {True: "higher is better", False: "lower is better", None: ""}[better_when_higher(metric, metrics)]
    details = ", ".join(filter(None, (unit_of(metric, metrics), direction)))
    return f"{show_invisible(metric)} ({details})" if details else show_invisible(metric)


def format_of(metric: str, metrics: Metrics | None) -> str:
    """Return the d3-format of a metric's values."""
    return ".3f" if unit_of(metric, metrics) in ("fraction", "") else ".4~g"


def _metadata(metric: str, metrics: Metrics | None) -> Mapping[str, Any]:
    if metrics is not None and metric in metrics:
        return metrics[metric]
    if metric in TAKEN:
        return {"unit": TAKEN[metric], "higher_is_better": False}
    try:
        return manifest_entry(resolve_metrics([metric])[0])
    except HelmframeError:
        return {}


def start_altair() -> None:
    """Import Altair, if it is installed, in another thread: it takes about a second, in which data can be read."""
    threading.Thread(target=_import_altair, name="helmframe-altair", daemon=True).start()


def _import_altair() -> None:
    with suppress(Exception):  # raised again when a chart is drawn
        import_jsonschema()
        import_module("altair")


class Source:
    """The tables and names of results that charts use.

    Raises:
        CapabilityError: If Altair is not installed.
    """

    def __init__(self, results: Results) -> None:
        if find_spec("altair") is None:
            raise CapabilityError("Charts require the package altair: pip install 'helmframe[plots]'.")
        self.results = results
        start_altair()

    @property
    def metrics(self) -> Any:
        return self.results.manifest["metrics"]

    @cached_property
    def models(self) -> list[str]:
        return self.values("model")

    def values(self, column: str) -> list[str]:
        return self.results.completions.select(pl.col(column).unique().sort()).collect()[column].to_list()

    def main(self, metric: str | None, by: Sequence[str] | None = None, facet: str | None = None) -> pl.DataFrame:
        """Return the table of one metric, or of the main metric of each scenario, by all axes or only by `by`."""
        columns, pool = self.grouping(by, facet)
        if metric is not None or len(self.results.main_metrics) == 1:
            return self.results.table(columns, metrics=metric or self.results.main_metrics[0], pool=pool)
        mains = {name: metadata["main"]["metric"] for name, metadata in self.results.manifest["scenarios"].items()}
        columns = None if columns is None else list(dict.fromkeys([*columns, "scenario"]))
        rows = self.results.table(columns, metrics=self.results.main_metrics, pool=pool)
        return rows.filter(pl.col("scenario").replace(mains) == pl.col("metric"))

    @staticmethod
    def grouping(by: Sequence[str] | None, facet: str | None) -> tuple[list[str] | None, bool]:
        """Return the arguments `by` and `pool` of `results.table`."""
        columns = list(dict.fromkeys([*(by or ()), *([facet] if facet is not None else [])]))
        return columns or None, by is not None

    def per_model(self, name: str, axes: Sequence[str] = ("setting",)) -> pl.DataFrame:
        """Return a metric, or a cost of completions, per model and other axes over original inputs."""
        by = list(dict.fromkeys(["model", *axes]))
        if name in self.results.metric_names:
            pool = [axis for axis in ("scenario", "split") if axis not in by]
            statistics = self.results.table([*by, "perturbation"], metrics=name, pool=pool)
            return statistics.filter(pl.col("perturbation") == ORIGINAL)
        columns = ["scenario", "instance_id", "subset", "cluster", "setting", "trial", "model", "output_index"]
        rows = self.results.completions.filter(pl.col("perturbation") == ORIGINAL)
        rows = rows.select(*columns, metric=pl.lit(name), score=pl.col(name).cast(pl.Float64))
        return table(rows, by, pool=True, fractions=[])
