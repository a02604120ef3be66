"""Frames as charts draw them: aggregated, few rows, with texts that can be shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from helmframe._schema import ORIGINAL
from helmframe.errors import ArgumentError, UnknownNameError
from helmframe.stats.table import AXES, table
from helmframe.views.characters import display_labels
from helmframe.views.charts.words import Metrics, better_when_higher, unit_of

Frame = pl.DataFrame | pl.LazyFrame
# The most rows a chart draws; beyond, it draws the first and says so.
MOST_ROWS = 300


@dataclass(frozen=True)
class Rows:
    """What a chart of rows draws.

    `data` has columns label and model as they are shown, and what is drawn; `labels` is their order, `models` the pool
    that colours go by, `shown` those of it that are there; `notes` says what is left out.
    """

    data: pl.DataFrame
    labels: list[str]
    models: list[str]
    shown: list[str]
    notes: list[str]

    @property
    def legend(self) -> bool:
        """Whether it has to be told which colour is which model: the labels don't."""
        return self.shown != [""] and not (self.data["label"] == self.data["model"]).all()

    @property
    def offset(self) -> bool:
        """Whether a label has a row for each of several models."""
        return len(self.labels) < self.data.select("label", "model").n_unique()


def stats_of(
    frame: Frame, metrics: Metrics | None, *, metric: str | Sequence[str] | None = None, by: Sequence[str] | None = None
) -> pl.DataFrame:
    """`STATS` of a frame of scores, or of stats as they are; of these metrics.

    Raises:
        ArgumentError: neither.
        UnknownNameError: no such metric or column.
    """
    columns = columns_of(frame)
    if "value" in columns:
        rows = frame.lazy().collect()
        rows = rows if "metric" in columns else rows.with_columns(metric=pl.lit("score"))
        return rows if metric is None else _of_metrics(rows, metric)
    if by is not None:
        for name in by:
            if name not in columns:
                raise UnknownNameError.among("column of these scores", name, columns)
    return table(frame, axes_of(frame) if by is None else by, metrics=metric, fractions=fractions_of(frame, metrics))


def fractions_of(frame: Frame, metrics: Metrics | None) -> list[str] | None:
    """Which metrics of a frame of scores are fractions; None (as their values tell) where one is not known."""
    units = {name: unit_of(name, metrics) for name in metric_names(frame)}
    return [name for name, unit in units.items() if unit == "fraction"] if all(units.values()) else None


def directions_of(frame: Frame, metrics: Metrics | None) -> dict[str, bool]:
    """The direction of each metric of a frame of scores; higher is better where nothing else is known."""
    return {name: better_when_higher(name, metrics) is not False for name in metric_names(frame)}


def metric_names(frame: Frame) -> list[str]:
    """The metrics of a frame of scores, or of stats."""
    if "metric" not in columns_of(frame):
        return ["score"]
    return frame.lazy().select(pl.col("metric").unique().sort()).collect()["metric"].to_list()


def axes_of(frame: Frame) -> list[str]:
    """Of the columns that may tell rows apart those that the frame has."""
    return [name for name in AXES if name in columns_of(frame)]


def is_scores(frame: Frame) -> bool:
    """Whether a frame is one of scores, to be aggregated first."""
    return {"instance_id", "score"} <= set(columns_of(frame))


def needing(frame: Frame, what: str, columns: Sequence[str]) -> pl.DataFrame:
    """The frame, collected.

    Raises:
        ArgumentError: it lacks one of these columns.
    """
    present = columns_of(frame)
    lacking = [name for name in columns if name not in present]
    if lacking:
        raise ArgumentError(
            f"this chart draws {what}, or scores (hf.schema('scores')): columns {', '.join(map(repr, lacking))} are "
            f"missing; there are: {', '.join(present) or 'none'}."
        )
    return frame.lazy().collect()


def rows_of(data: pl.DataFrame, keys: Sequence[str], models: Sequence[str] | None, *, always: str = "") -> Rows:
    """Rows labelled with those of `keys` that vary (with `always` too), or, where none does, with their models."""
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


def of_original(frame: Frame) -> Frame:
    """The rows of original inputs, where the frame tells."""
    if "perturbation" not in columns_of(frame):
        return frame
    return frame.filter(pl.col("perturbation").fill_null(ORIGINAL) == ORIGINAL)


def _of_metrics(rows: pl.DataFrame, metric: str | Sequence[str]) -> pl.DataFrame:
    available = rows["metric"].unique().sort().to_list()
    names = [metric] if isinstance(metric, str) else list(metric)
    for name in names:
        if name not in available:
            raise UnknownNameError.among("metric of this table", name, available)
    return rows.filter(pl.col("metric").is_in(names))


def _pool(models: Sequence[str] | None, column: pl.Series) -> list[str]:
    """All models in the order that colours go by: as said, else sorted; then those nobody said."""
    present = sorted({str(model) for model in column.drop_nulls()})
    return list(dict.fromkeys([*(sorted(set(models)) if models is not None else []), *present]))


def columns_of(frame: Any) -> list[str]:
    """The names of a frame's columns.

    Raises:
        ArgumentError: it is none.
    """
    if not isinstance(frame, pl.DataFrame | pl.LazyFrame):
        raise ArgumentError(f"a chart draws a Polars frame, not {type(frame).__name__}; write pl.DataFrame(…).")
    return frame.lazy().collect_schema().names()
