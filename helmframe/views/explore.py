"""Explored results: pages of rows and single instances, read when they are asked for."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import polars as pl

from helmframe._schema import COMPLETIONS, OF_REQUEST, SCORES
from helmframe.errors import ArgumentError, HelmframeError
from helmframe.results import Results
from helmframe.results._data import Chunk, reader_of
from helmframe.views.explore_filters import AXES, Filters
from helmframe.views.explore_instance import about_instance, answers_of_row

ROWS = 50  # of a page
EXCERPT = 160  # characters of a text in the table
_INDEXES = 3  # metrics whose index is held
_KEYS = tuple(name for name in SCORES.key if name != "metric")
_NAMES = (*AXES, "request_mode", "metric")
_NUMBERS = ("perturbation_seed", "trial", "output_index", "reference_index", "window_index")


class Explorer:
    """Answers what a browser asks about some results, in values that JSON has.

    One row is one score of one metric. Held in memory is only a narrow index of those rows (about 80 bytes each) and
    which of them the last filters left; texts are read from the chunks that hold the rows of a page.
    """

    def __init__(self, results: Results, start: Filters | None = None) -> None:
        self.results = results
        self.start = start or Filters()
        self._chunks = reader_of(results).chunks
        self._indexes: OrderedDict[str, pl.DataFrame] = OrderedDict()
        self._found: tuple[Filters, pl.Series] | None = None
        self._lock = threading.Lock()
        self._metrics = [name for name, about in results.manifest["metrics"].items() if about["level"] != "set"]
        self.start.check(self._values, self._metrics)

    def answer(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """What is asked: {"ask": "open" | "page" | "bars" | "instance", …}; {"error": text} where it can't be."""
        try:
            with self._lock:
                return self._answer(asked)
        except HelmframeError as error:
            return {"error": str(error)}

    def _answer(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        what = asked.get("ask")
        filters = Filters.of(asked.get("filters") or {})
        if what == "open":
            return self._open()
        filters.check(self._values, self._metrics)
        if what == "page":
            return self.page(filters, _whole(asked.get("page", 0), "page"))
        if what == "bars":
            return self.bars(filters, str(asked.get("by")))
        if what == "instance":
            return self.instance(filters.metric, _whole(asked.get("row"), "row"))
        raise ArgumentError.unknown_value(f"ask: {what!r} is no question", what, ["open", "page", "bars", "instance"])

    def page(self, filters: Filters, number: int) -> dict[str, Any]:
        """Rows number · 50 and on, of those that the filters leave.

        Returns:
            total (rows left), page, pages, rows (row, the columns of the key, score, parsed, input, completion, error).
        """
        found = self._rows(filters)
        pages = max(1, -(-found.len() // ROWS))
        number = min(number, pages - 1)
        rows = self._index(filters.metric)[found.slice(number * ROWS, ROWS)]
        texts = self._texts(rows)
        shown = [self._row(row, texts) for row in rows.iter_rows(named=True)]
        return {"total": found.len(), "page": number, "pages": pages, "rows": shown}

    def bars(self, filters: Filters, by: str) -> dict[str, Any]:
        """What the filters leave, by one of the axes: value, n, mean (of the scores there are), without (a score)."""
        if by not in AXES:
            raise ArgumentError.unknown_value(f"bars: by={by!r} is no axis", by, AXES)
        rows = self._index(filters.metric).select(by, "score")[self._rows(filters)]
        mean = pl.col("score").mean()
        groups = rows.group_by(by).agg(n=pl.len(), mean=mean, without=pl.col("score").null_count())
        bars = groups.with_columns(pl.col(by).cast(pl.String)).sort(by).rename({by: "value"})
        low, high = rows.select(low=pl.col("score").min(), high=pl.col("score").max()).row(0)
        return {"by": by, "bars": bars.to_dicts(), "low": min(low or 0.0, 0.0), "high": max(high or 0.0, 1.0)}

    def instance(self, metric: str, row: int) -> dict[str, Any]:
        """All there is about the instance of a row, and the rows of the same instance."""
        index = self._index(metric)
        if not row < index.height:
            raise ArgumentError(f"row {row}: there are {index.height:,}, counted from 0.")
        said = index.row(row, named=True)
        chunk = self._chunks[said["chunk"]]
        same = (pl.col("scenario") == said["scenario"]) & (pl.col("instance_id") == said["instance_id"])
        completions = chunk.completions.filter(same).collect()
        scores = chunk.scores.filter(same).collect()
        verdicts = self.results.verdicts.filter(same).collect()
        ids = completions["prefix_id"].unique().implode()
        prefixes = self.results.prefixes.filter(pl.col("prefix_id").is_in(ids)).unique("prefix_id").collect()
        return about_instance(said, index.filter(same).to_dicts(), completions, scores, prefixes, verdicts)

    # -- private -----------------------------------------------------------------------------------------------------

    def _open(self) -> dict[str, Any]:
        return {
            "axes": {axis: values for axis, values in self._values.items() if len(values) > 1},
            "metrics": self._metrics,
            "mains": list(dict.fromkeys(filter(None, self._mains().values()))),
            "start": self.start.said(),
        }

    @cached_property
    def _values(self) -> dict[str, list[str]]:
        index = self._index("")
        return {axis: index[axis].unique().drop_nulls().cast(pl.String).sort().to_list() for axis in AXES}

    def _mains(self) -> dict[str, str | None]:
        """Scenario → its main metric; else the first that scores each completion; None where none does."""
        scenarios = self.results.manifest["scenarios"].items()
        first = next(iter(self._metrics), None)
        mains = {name: about["main"]["metric"] for name, about in scenarios}
        return {name: main if main in self._metrics else first for name, main in mains.items()}

    def _index(self, metric: str) -> pl.DataFrame:
        """The rows of a metric ('': of each scenario's main one), narrow, with the chunk each is in."""
        if metric not in self._indexes:
            frames = [self._narrow(chunk, metric, number) for number, chunk in enumerate(self._chunks)]
            index = pl.concat(pl.collect_all(frames)).with_row_index("row")
            self._indexes[metric] = index
            while len(self._indexes) > _INDEXES:
                self._indexes.popitem(last=False)
        self._indexes.move_to_end(metric)
        return self._indexes[metric]

    def _narrow(self, chunk: Chunk, metric: str, number: int) -> pl.LazyFrame:
        scored = _known(chunk.scores, (*_KEYS, "metric", "score", "parsed"))
        if metric:
            return _narrowed(scored.filter(pl.col("metric") == metric), number)
        mains = self._mains()
        each = [
            (pl.col("scenario") == name) & (pl.col("metric") == main)
            for name, main in mains.items()
            if main is not None
        ]
        frames = [scored.filter(pl.any_horizontal(each))] if each else []
        bare = [name for name, main in mains.items() if main is None]
        if bare:  # nothing scores them one by one: their completions are the rows
            rows = _known(chunk.completions, _KEYS).filter(pl.col("scenario").is_in(bare))
            nothing = {"metric": pl.String, "score": pl.Float64, "parsed": pl.Boolean}
            frames.append(rows.with_columns(pl.lit(None, dtype=dtype).alias(name) for name, dtype in nothing.items()))
        return _narrowed(pl.concat(frames), number)

    def _rows(self, filters: Filters) -> pl.Series:
        """The numbers of the rows that the filters leave, in order."""
        if self._found is None or self._found[0] != filters:
            index = self._index(filters.metric).lazy().filter(filters.condition())
            if filters.order != "run":
                down = filters.order == "highest"
                index = index.sort("score", descending=down, nulls_last=True, maintain_order=True)
            self._found = filters, index.select("row").collect().to_series()
        return self._found[1]

    def _texts(self, rows: pl.DataFrame) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
        """The starts of inputs and completions of these rows' instances, by what `answers_of_row` looks for."""
        keys = [*COMPLETIONS.key]
        starts = [pl.col(name).str.slice(0, EXCERPT) for name in ("perturbed_input", "completion", "error")]
        frames = []
        for (number,), some in rows.partition_by("chunk", as_dict=True).items():
            named = [pl.col(name).is_in(some[name].cast(pl.String).unique().implode()) for name in _ASKED]
            read = _known(self._chunks[int(number)].completions, (*keys, "perturbed_input", "completion", "error"))
            frames.append(read.filter(named).select(*keys, *starts))
        found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
        for frame in pl.collect_all(frames):
            for row in frame.iter_rows(named=True):
                found.setdefault(tuple(row[name] for name in _OF_ROW), []).append(row)
        return found

    def _row(self, row: dict[str, Any], texts: Mapping[tuple[Any, ...], list[dict[str, Any]]]) -> dict[str, Any]:
        answers = answers_of_row(row, texts.get(tuple(row[name] for name in _OF_ROW), []))
        first = answers[0] if answers else dict.fromkeys(("perturbed_input", "completion", "error"))
        return {
            **{name: row[name] for name in ("row", *_KEYS, "metric", "score", "parsed")},
            "input": first["perturbed_input"],
            "completion": first["completion"],
            "error": first["error"],
        }


_ASKED = ("scenario", "instance_id", "model", "perturbation")
_OF_ROW = tuple(name for name in _KEYS if name not in ("output_index", *OF_REQUEST))


def _known(rows: pl.LazyFrame, names: Sequence[str]) -> pl.LazyFrame:
    """These columns; what older versions did not write is null."""
    there = rows.collect_schema().names()
    types = {**COMPLETIONS.schema, **SCORES.schema}
    return rows.select(pl.col(name) if name in there else pl.lit(None, dtype=types[name]).alias(name) for name in names)


def _narrowed(rows: pl.LazyFrame, number: int) -> pl.LazyFrame:
    return rows.with_columns(
        pl.col(*_NAMES).cast(pl.Categorical),
        pl.col(*_NUMBERS).cast(pl.Int32),
        pl.col("score").fill_nan(None),
        chunk=pl.lit(number, dtype=pl.Int32),
    )


def _whole(said: Any, name: str) -> int:
    if isinstance(said, bool) or not isinstance(said, int) or said < 0:
        raise ArgumentError(f"{name}: {said!r} should be a whole number from 0 on.")
    return said
