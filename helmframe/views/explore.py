"""The explorer of results: filters, pages of rows and single instances, read on demand."""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any

import polars as pl

from helmframe._core.checks import is_integer
from helmframe._schema import COMPLETIONS, OF_REQUEST, SCORES
from helmframe.errors import ArgumentError, HelmframeError, UnknownNameError
from helmframe.results import Results
from helmframe.results._data import Chunk, reader_of
from helmframe.views.explore_instance import completions_of_row, instance_details

ROWS = 50  # per page
EXCERPT = 160  # characters of a text in the table
_INDEXES = 3  # metrics whose index is in memory
AXES = ("scenario", "model", "perturbation", "setting")
_KEYS = tuple(name for name in SCORES.key if name != "metric")
_NAMES = (*AXES, "request_mode", "metric")
_NUMBERS = ("perturbation_seed", "trial", "output_index", "reference_index", "window_index")
_ONLY = ("all", "unscored", "unparsed")
_ORDERS = ("run", "lowest", "highest")
_LARGEST = sys.float_info.max


@dataclass(frozen=True)
class Filters:
    """Filters on rows; None accepts every value, and `metric` "" is the main metric of each scenario.

    `low` and `high` bound the score, both inclusive; `only` is all, unscored (includes failed) or unparsed; `find` is a
    substring of the instance id; `order` is run, lowest or highest.
    """

    metric: str = ""
    scenario: str | None = None
    model: str | None = None
    perturbation: str | None = None
    setting: str | None = None
    low: float | None = None
    high: float | None = None
    only: str = "all"
    find: str = ""
    order: str = "run"

    @classmethod
    def of(cls, values: Any) -> Filters:
        """Return filters from the values that a browser sends.

        Raises:
            ArgumentError: A filter is unknown, or a value has the wrong type.
        """
        if not isinstance(values, Mapping):
            raise ArgumentError(f"filters: the value must be an object, not {type(values).__name__}.")
        names = [field.name for field in fields(cls)]
        for name, value in values.items():
            if name not in names:
                raise ArgumentError.unknown_argument("filters", str(name), names)
            number = name in ("low", "high")
            empty = value is None and (number or name in AXES)
            if not empty and (isinstance(value, bool) or not isinstance(value, int | float if number else str)):
                raise ArgumentError(
                    f"filters: {name}={value!r}: {name} must be {'a number' if number else 'a string'}."
                )
            if isinstance(value, int | float) and not -_LARGEST <= value <= _LARGEST:
                raise ArgumentError(f"filters: {name} must be a finite number.")
        return cls(**values)

    def check(self, values: Mapping[str, Sequence[str]], metrics: Sequence[str]) -> None:
        """Check that each name exists.

        Raises:
            UnknownNameError: The metric, or the value of an axis, does not exist.
            ArgumentError: `only` or `order` has an unknown value.
        """
        if self.metric and self.metric not in metrics:
            raise UnknownNameError.among("metric of these rows", self.metric, metrics)
        for axis in AXES:
            value = getattr(self, axis)
            if value is not None and value not in values[axis]:
                raise UnknownNameError.among(f"{axis} of these results", value, values[axis])
        for name, allowed in (("only", _ONLY), ("order", _ORDERS)):
            if getattr(self, name) not in allowed:
                raise ArgumentError.unknown_value(f"{name}={getattr(self, name)!r}", getattr(self, name), allowed)

    def condition(self) -> pl.Expr:
        """Return the filters as an expression over the columns of the index."""
        conditions = [pl.lit(value=True)]
        conditions += [pl.col(axis) == getattr(self, axis) for axis in AXES if getattr(self, axis) is not None]
        if self.low is not None:
            conditions.append(pl.col("score") >= self.low)
        if self.high is not None:
            conditions.append(pl.col("score") <= self.high)
        if self.only == "unscored":
            conditions.append(pl.col("score").is_null())
        elif self.only == "unparsed":
            conditions.append(~pl.col("parsed"))
        if self.find:
            conditions.append(pl.col("instance_id").str.contains(self.find, literal=True))
        return pl.all_horizontal(conditions)

    def to_dict(self) -> dict[str, Any]:
        """Return the filters in the form that `of` accepts."""
        return asdict(self)


class Explorer:
    """A server-side explorer of results, which responds to a browser with JSON values.

    One row is one score of one metric. Memory contains a narrow index of those rows (about 80 bytes each) and the rows
    that match the last filters; texts are read from the chunks that contain the rows of a page.
    """

    def __init__(self, results: Results, start: Filters | None = None) -> None:
        self.results = results
        self.start = start or Filters()
        self._chunks = reader_of(results).chunks
        self._indexes: OrderedDict[str, pl.DataFrame] = OrderedDict()
        self._filtered: tuple[Filters, pl.Series] | None = None
        self._lock = threading.Lock()
        self._metrics = [name for name, metadata in results.manifest["metrics"].items() if metadata["level"] != "set"]
        self.start.check(self._values, self._metrics)

    def respond(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return the response to a request {"kind": "open" | "page" | "bars" | "instance", …}, or {"error": text}."""
        try:
            with self._lock:
                return self._response(request)
        except HelmframeError as error:
            return {"error": str(error)}

    def _response(self, request: Mapping[str, Any]) -> dict[str, Any]:
        kind = request.get("kind")
        filters = Filters.of(request.get("filters") or {})
        if kind == "open":
            return self._open()
        filters.check(self._values, self._metrics)
        if kind == "page":
            return self.page(filters, _check_index(request.get("page", 0), "page"))
        if kind == "bars":
            return self.bars(filters, str(request.get("by")))
        if kind == "instance":
            return self.instance(filters.metric, _check_index(request.get("row"), "row"))
        kinds = ["open", "page", "bars", "instance"]
        raise ArgumentError.unknown_value(f"kind={kind!r}", kind, kinds)

    def page(self, filters: Filters, number: int) -> dict[str, Any]:
        """Return a page of 50 of the rows that match the filters.

        Returns:
            total (matching rows), page, pages, rows (row, key columns, score, parsed, input, completion, error).
        """
        matching = self._rows(filters)
        pages = max(1, -(-matching.len() // ROWS))
        number = min(number, pages - 1)
        rows = self._index(filters.metric)[matching.slice(number * ROWS, ROWS)]
        texts = self._texts(rows)
        shown = [self._row(row, texts) for row in rows.iter_rows(named=True)]
        return {"total": matching.len(), "page": number, "pages": pages, "rows": shown}

    def bars(self, filters: Filters, by: str) -> dict[str, Any]:
        """Aggregate the matching rows by an axis: value, n, mean (of the scores), without (number without a score)."""
        if by not in AXES:
            raise ArgumentError.unknown_value(f"bars(by={by!r})", by, AXES)
        rows = self._index(filters.metric).select(by, "score")[self._rows(filters)]
        mean = pl.col("score").mean()
        groups = rows.group_by(by).agg(n=pl.len(), mean=mean, without=pl.col("score").null_count())
        bars = groups.with_columns(pl.col(by).cast(pl.String)).sort(by).rename({by: "value"})
        low, high = rows.select(low=pl.col("score").min(), high=pl.col("score").max()).row(0)
        return {"by": by, "bars": bars.to_dicts(), "low": min(low or 0.0, 0.0), "high": max(high or 0.0, 1.0)}

    def instance(self, metric: str, row: int) -> dict[str, Any]:
        """Return the details of the instance of a row, and the other rows of that instance."""
        index = self._index(metric)
        if not row < index.height:
            raise ArgumentError(f"row={row}: row must be < {index.height:,}, the number of rows.")
        selected = index.row(row, named=True)
        chunk = self._chunks[selected["chunk"]]
        same = (pl.col("scenario") == selected["scenario"]) & (pl.col("instance_id") == selected["instance_id"])
        completions = chunk.completions.filter(same).collect()
        scores = chunk.scores.filter(same).collect()
        verdicts = self.results.verdicts.filter(same).collect()
        ids = completions["prefix_id"].unique().implode()
        prefixes = self.results.prefixes.filter(pl.col("prefix_id").is_in(ids)).unique("prefix_id").collect()
        return instance_details(
            selected, index.filter(same).to_dicts(), completions, scores, prefixes, verdicts, self.results.images
        )

    # -- private -----------------------------------------------------------------------------------------------------

    def _open(self) -> dict[str, Any]:
        return {
            "axes": {axis: values for axis, values in self._values.items() if len(values) > 1},
            "metrics": self._metrics,
            "mains": list(dict.fromkeys(filter(None, self._mains().values()))),
            "start": self.start.to_dict(),
        }

    @cached_property
    def _values(self) -> dict[str, list[str]]:
        index = self._index("")
        return {axis: index[axis].unique().drop_nulls().cast(pl.String).sort().to_list() for axis in AXES}

    def _mains(self) -> dict[str, str | None]:
        """Map scenarios to their main metric, else to the first metric with a score per row, else to None."""
        scenarios = self.results.manifest["scenarios"].items()
        first = next(iter(self._metrics), None)
        mains = {name: metadata["main"]["metric"] for name, metadata in scenarios}
        return {name: main if main in self._metrics else first for name, main in mains.items()}

    def _index(self, metric: str) -> pl.DataFrame:
        """Return the index of a metric ('': the main metric of each scenario): keys, score and number of the chunk."""
        if metric not in self._indexes:
            frames = [self._index_rows(chunk, metric, number) for number, chunk in enumerate(self._chunks)]
            index = pl.concat(pl.collect_all(frames)).with_row_index("row")
            self._indexes[metric] = index
            while len(self._indexes) > _INDEXES:
                self._indexes.popitem(last=False)
        self._indexes.move_to_end(metric)
        return self._indexes[metric]

    def _index_rows(self, chunk: Chunk, metric: str, number: int) -> pl.LazyFrame:
        scored = _select_columns(chunk.scores, (*_KEYS, "metric", "score", "parsed"))
        if metric:
            return _to_index(scored.filter(pl.col("metric") == metric), number)
        mains = self._mains()
        conditions = [
            (pl.col("scenario") == name) & (pl.col("metric") == main)
            for name, main in mains.items()
            if main is not None
        ]
        frames = [scored.filter(pl.any_horizontal(conditions))] if conditions else []
        unscored = [name for name, main in mains.items() if main is None]
        if unscored:  # without a metric per row, the completions are the rows
            rows = _select_columns(chunk.completions, _KEYS).filter(pl.col("scenario").is_in(unscored))
            nothing = {"metric": pl.String, "score": pl.Float64, "parsed": pl.Boolean}
            frames.append(rows.with_columns(pl.lit(None, dtype=dtype).alias(name) for name, dtype in nothing.items()))
        return _to_index(pl.concat(frames), number)

    def _rows(self, filters: Filters) -> pl.Series:
        """Return the numbers of the rows that match the filters, in order."""
        if self._filtered is None or self._filtered[0] != filters:
            index = self._index(filters.metric).lazy().filter(filters.condition())
            if filters.order != "run":
                down = filters.order == "highest"
                index = index.sort("score", descending=down, nulls_last=True, maintain_order=True)
            self._filtered = filters, index.select("row").collect().to_series()
        return self._filtered[1]

    def _texts(self, rows: pl.DataFrame) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
        """Return the first characters of inputs and completions for these rows, by request."""
        keys = [*COMPLETIONS.key]
        starts = [pl.col(name).str.slice(0, EXCERPT) for name in ("perturbed_input", "completion", "error")]
        frames = []
        for (number,), chunk_rows in rows.partition_by("chunk", as_dict=True).items():
            named = [pl.col(name).is_in(chunk_rows[name].cast(pl.String).unique().implode()) for name in _REQUEST_KEY]
            completions = _select_columns(
                self._chunks[int(number)].completions, (*keys, "perturbed_input", "completion", "error")
            )
            frames.append(completions.filter(named).select(*keys, *starts))
        texts: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
        for frame in pl.collect_all(frames):
            for row in frame.iter_rows(named=True):
                texts.setdefault(tuple(row[name] for name in _ROW_KEY), []).append(row)
        return texts

    def _row(self, row: dict[str, Any], texts: Mapping[tuple[Any, ...], list[dict[str, Any]]]) -> dict[str, Any]:
        completions = completions_of_row(row, texts.get(tuple(row[name] for name in _ROW_KEY), []))
        first = completions[0] if completions else dict.fromkeys(("perturbed_input", "completion", "error"))
        return {
            **{name: row[name] for name in ("row", *_KEYS, "metric", "score", "parsed")},
            "input": first["perturbed_input"],
            "completion": first["completion"],
            "error": first["error"],
        }


_REQUEST_KEY = ("scenario", "instance_id", "model", "perturbation")
_ROW_KEY = tuple(name for name in _KEYS if name not in ("output_index", *OF_REQUEST))


def _select_columns(rows: pl.LazyFrame, names: Sequence[str]) -> pl.LazyFrame:
    """Select columns; those that older versions did not write are null."""
    present = rows.collect_schema().names()
    types = {**COMPLETIONS.schema, **SCORES.schema}
    return rows.select(
        pl.col(name) if name in present else pl.lit(None, dtype=types[name]).alias(name) for name in names
    )


def _to_index(rows: pl.LazyFrame, number: int) -> pl.LazyFrame:
    return rows.with_columns(
        pl.col(*_NAMES).cast(pl.Categorical),
        pl.col(*_NUMBERS).cast(pl.Int32),
        pl.col("score").fill_nan(None),
        chunk=pl.lit(number, dtype=pl.Int32),
    )


def _check_index(value: Any, name: str) -> int:
    if not is_integer(value) or value < 0:
        raise ArgumentError(f"{name}={value!r}: {name} must be an integer ≥ 0.")
    return value
