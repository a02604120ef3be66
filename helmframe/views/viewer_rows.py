"""The rows of one run for the viewer: filters, full-text search, pages, bars, and single instances, read on demand."""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any, TypeVar

import polars as pl

from helmframe._core.checks import is_integer
from helmframe._core.expressions import key_of
from helmframe._schema import COMPLETIONS, OF_REQUEST, ORIGINAL, SCORES
from helmframe.errors import ArgumentError, UnknownNameError
from helmframe.results import Results
from helmframe.results._data import Chunk, reader_of
from helmframe.results._judging import LABEL, LABEL_KEY, labels, save_label
from helmframe.views.viewer_instance import completions_of_row, instance_details, right_answer

ROWS = 50  # per page
EXCERPT = 160  # characters of a text in the table
SLOWEST = 0.95  # a completion is slow above this quantile of latency
_INDEXES = 3  # metrics whose index is in memory
_SELECTIONS = 8  # results of filters in memory
_BINS = 20
AXES = ("scenario", "model", "perturbation", "setting", "subset")
KEYS = tuple(name for name in SCORES.key if name != "metric")
_NAMES = (*AXES, "request_mode", "metric")
_NUMBERS = ("perturbation_seed", "trial", "output_index", "reference_index", "window_index")
ONLY = {
    "all": "all rows",
    "wrong": "wrong",
    "flipped": "flipped by a perturbation",
    "worse": "made worse by a perturbation",
    "disagree": "models disagree",
    "unparsed": "unparsed",
    "unscored": "without a score",
    "failed": "failed requests",
    "slow": "slow (above the 95th percentile)",
    "labelled": "labelled",
    "unlabelled": "not labelled",
}
ORDERS = {
    "run": "run order",
    "lowest": "lowest score first",
    "highest": "highest score first",
    "slowest": "slowest first",
    "random": "random order, for labels",
}
T = TypeVar("T")
_LARGEST = sys.float_info.max


@dataclass(frozen=True)
class Filters:
    """Filters on rows; None accepts every value, and `metric` "" is the main metric of each scenario.

    `low` and `high` bound the score, both inclusive; `only` and `order` are names of `ONLY` and `ORDERS`; `find` is a
    text in the instance id, the input or the completion, regardless of case.
    """

    metric: str = ""
    scenario: str | None = None
    model: str | None = None
    perturbation: str | None = None
    setting: str | None = None
    subset: str | None = None
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
        for name, allowed in (("only", ONLY), ("order", ORDERS)):
            if getattr(self, name) not in allowed:
                raise ArgumentError.unknown_value(f"{name}={getattr(self, name)!r}", getattr(self, name), allowed)

    def condition(self) -> pl.Expr:
        """Return the filters on axes and scores as an expression over the columns of the index."""
        conditions = [pl.lit(value=True)]
        conditions += [pl.col(axis) == getattr(self, axis) for axis in AXES if getattr(self, axis) is not None]
        if self.low is not None:
            conditions.append(pl.col("score") >= self.low)
        if self.high is not None:
            conditions.append(pl.col("score") <= self.high)
        return pl.all_horizontal(conditions)

    def to_dict(self) -> dict[str, Any]:
        """Return the filters in the form that `of` accepts."""
        return asdict(self)


class RunRows:
    """The rows of one run, which responds with JSON values.

    One row is one score of one metric. Memory contains a narrow index of those rows (about 80 bytes each) and the rows
    that match the last filters; texts are read from the chunks that contain the rows of a page. Only one thread may
    call it at a time.
    """

    def __init__(self, results: Results, start: Filters | None = None) -> None:
        self.results = results
        self.start = start or Filters()
        self.lock = threading.Lock()
        self._chunks = reader_of(results).chunks
        self._indexes: OrderedDict[str, pl.DataFrame] = OrderedDict()
        self._selected: OrderedDict[Any, pl.Series] = OrderedDict()
        self._metrics = [name for name, metadata in results.manifest["metrics"].items() if metadata["level"] != "set"]
        if start is not None:
            self.check(start)

    def check(self, filters: Filters) -> None:
        """Check that the values of filters exist.

        Raises:
            UnknownNameError, ArgumentError: As `Filters.check`.
        """
        filters.check(self._values, self._metrics)

    def open(self) -> dict[str, Any]:
        """Return the axes with several values, the metrics, the filters and orders, and the initial filters."""
        mains = list(dict.fromkeys(filter(None, self._mains().values())))
        return {
            "axes": {axis: values for axis, values in self._values.items() if len(values) > 1},
            "metrics": self._metrics,
            "mains": mains,
            "only": self._only(),
            "orders": ORDERS,
            "start": self.start.to_dict(),
            "scale": self.scale(),
        }

    def page(self, filters: Filters, number: int) -> dict[str, Any]:
        """Return a page of 50 of the rows that match the filters.

        Returns:
            total (matching rows), page, pages, rows (row, key columns, score, parsed, input, completion, right, error,
            label).
        """
        matching = self._rows(filters)
        pages = max(1, -(-matching.len() // ROWS))
        number = min(number, pages - 1)
        rows = self.rows_at(matching.slice(number * ROWS, ROWS), filters.metric)
        return {"total": matching.len(), "page": number, "pages": pages, "rows": rows}

    def rows_at(self, numbers: pl.Series, metric: str = "") -> list[dict[str, Any]]:
        """Return the rows with these numbers as JSON values."""
        rows = self._index(metric)[numbers]
        texts = self._texts(rows)
        labels = self._labels_of(rows)
        return [
            {**self._row(row, texts), "label": label}
            for row, label in zip(rows.iter_rows(named=True), labels, strict=True)
        ]

    def main_scores(self) -> pl.DataFrame:
        """Return the number, the key and the main score of each row."""
        return self._index("").select("row", *KEYS, "score")

    def bars(self, filters: Filters, by: str) -> dict[str, Any]:
        """Aggregate the matching rows by an axis: value, n, mean (of the scores), without (number without a score)."""
        if by not in AXES:
            raise ArgumentError.unknown_value(f"bars(by={by!r})", by, AXES)
        rows = self._index(filters.metric).select(by, "score")[self._rows(filters)]
        mean = pl.col("score").mean()
        groups = rows.group_by(by).agg(n=pl.len(), mean=mean, without=pl.col("score").null_count())
        bars = groups.with_columns(pl.col(by).cast(pl.String)).sort(by).rename({by: "value"})
        low, high = rows.select(low=pl.col("score").min(), high=pl.col("score").max()).row(0)
        return {
            "by": by,
            "bars": bars.head(MOST_BARS).to_dicts(),
            "more": max(0, bars.height - MOST_BARS),
            "low": min(low or 0.0, 0.0),
            "high": max(high or 0.0, 1.0),
            "histogram": _histogram(rows["score"].drop_nulls()),
        }

    def instance(self, metric: str, key: Mapping[str, Any]) -> dict[str, Any]:
        """Return the details of the instance of a row, and the other rows of that instance.

        Args:
            metric: The metric of the row; "" for the main one.
            key: The values of the columns that identify the row; the others may be missing.

        Raises:
            ArgumentError: No row has this key.
        """
        index = self._index(metric)
        matching = index.lazy().filter(_matches_key(key)).head(1).collect()
        if matching.is_empty():
            raise ArgumentError(f"instance(key={dict(key)!r}): no row has this key. The run may have changed.")
        selected = matching.row(0, named=True)
        chunk = self._chunks[selected["chunk"]]
        same = (pl.col("scenario") == selected["scenario"]) & (pl.col("instance_id") == selected["instance_id"])
        completions = chunk.completions.filter(same).collect()
        scores = chunk.scores.filter(same).collect()
        verdicts = self.results.verdicts.filter(same).collect()
        ids = completions["prefix_id"].unique().implode()
        prefixes = self.results.prefixes.filter(pl.col("prefix_id").is_in(ids)).unique("prefix_id").collect()
        siblings = index.filter(same)
        details = instance_details(
            selected, siblings.to_dicts(), completions, scores, prefixes, verdicts, self.results.images
        )
        labels = self._labels_of(siblings)
        for sibling, label in zip(details["siblings"], labels, strict=True):
            sibling["label"] = label
        row_label = labels[siblings["row"].to_list().index(selected["row"])]
        return {**details, "label": row_label, "python": self._instance_code(selected)}

    def code(self, filters: Filters) -> str:
        """Return the Python that selects the rows of the filters."""
        equals = {axis: getattr(filters, axis) for axis in AXES if getattr(filters, axis) is not None}
        arguments = ", ".join(f"{name}={value!r}" for name, value in equals.items())
        metric = filters.metric or next(iter(self.results.main_metrics), "")
        calls = {
            "wrong": f"results.wrong({metric!r})",
            "flipped": f"results.flips(metric={metric!r})",
            "worse": f"results.flips(metric={metric!r}).filter(flip='worse')",
            "failed": "results.errors()",
            "labelled": "results.labels()",
        }
        if filters.only in calls:
            lines = [f"rows = {calls[filters.only]}"] + [f"rows = rows.filter({arguments})"] * bool(arguments)
        else:
            lines = [f"rows = results.rows({arguments})"]
        if filters.only == "unparsed":
            lines.append("rows = rows.filter(parsed=False)")
        if filters.only not in ("flipped", "worse", "failed", "labelled"):
            bounds = ((filters.low, ">="), (filters.high, "<="))
            lines += [
                f"rows = rows.filter(pl.col({metric!r}) {sign} {end!r})" for end, sign in bounds if end is not None
            ]
            if filters.find:
                columns = "'instance_id', 'perturbed_input', 'completion'"
                lines.append(f"text = pl.concat_str({columns}, separator='\\n', ignore_nulls=True).str.to_lowercase()")
                lines.append(f"rows = rows.filter(text.str.contains({filters.find.lower()!r}, literal=True))")
        imports = ["import helmframe as hf", *["import polars as pl"] * any("pl." in line for line in lines)]
        return "\n".join([*imports, "", f"results = hf.load({self._path()!r})", *lines])

    def scale(self) -> list[float]:
        """Return the values of labels: the ends and the steps of a judge's scale, by default 0 and 1."""
        entries = [entry["judge"] for entry in self.results.manifest["metrics"].values() if "judge" in entry]
        entry = entries[0] if len(entries) == 1 else {}
        low, high = entry.get("low"), entry.get("high")
        if low is None or high is None or high <= low:
            return [0.0, 1.0]
        steps = round(high - low) if float(high - low).is_integer() and high - low <= _MOST_STEPS else 1
        return [low + (high - low) * step / steps for step in range(steps + 1)]

    def label(self, key: Mapping[str, Any], value: float | None) -> dict[str, Any]:
        """Save the label of a completion, or remove it if the value is None.

        Raises:
            ArgumentError: No row has this key, or the value isn't a number.
            StoreError: The store isn't writable.
        """
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise ArgumentError(f"label={value!r}: label must be a number, or null to remove it.")
        matching = self._index("").lazy().filter(_matches_key(key)).head(1).collect()
        if matching.is_empty():
            raise ArgumentError(f"label(key={dict(key)!r}): no row has this key.")
        row = matching.cast(dict.fromkeys(_NAMES, pl.String)).row(0, named=True)
        self._labels = save_label(self.results, {name: row[name] for name in LABEL_KEY}, value)
        self._selected.clear()
        return {"label": value, "n_labels": self._labels.height}

    @property
    def n_labels(self) -> int:
        """The number of labels."""
        return self._labels.height

    # -- private -----------------------------------------------------------------------------------------------------

    @cached_property
    def _labels(self) -> pl.DataFrame:
        return labels(self.results)

    @cached_property
    def _values(self) -> dict[str, list[str]]:
        index = self._index("")
        return {axis: index[axis].unique().drop_nulls().cast(pl.String).sort().to_list() for axis in AXES}

    def _only(self) -> dict[str, str]:
        """Return the filters that these results support."""
        hidden = set()
        if len(self._values["model"]) < 2:
            hidden.add("disagree")
        if self._values["perturbation"] in ([], [ORIGINAL]):
            hidden |= {"flipped", "worse"}
        return {name: title for name, title in ONLY.items() if name not in hidden}

    def _path(self) -> str:
        return "FOLDER" if self.results.path is None else str(self.results.path)

    def _instance_code(self, row: Mapping[str, Any]) -> str:
        names = ("scenario", "instance_id", "perturbation", "perturbation_seed", "setting", "trial", "model")
        arguments = [f"{name}={row[name]!r}" for name in (*names, "output_index") if row[name] is not None]
        rows = f"rows = results.rows({', '.join(arguments)})"
        return "\n".join(["import helmframe as hf", "", f"results = hf.load({self._path()!r})", rows])

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
        scored = _select_columns(chunk.scores, (*KEYS, "subset", "metric", "score", "parsed"))
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
            rows = _select_columns(chunk.completions, (*KEYS, "subset")).filter(pl.col("scenario").is_in(unscored))
            nothing = {"metric": pl.String, "score": pl.Float64, "parsed": pl.Boolean}
            frames.append(rows.with_columns(pl.lit(None, dtype=dtype).alias(name) for name, dtype in nothing.items()))
        return _to_index(pl.concat(frames), number)

    def _rows(self, filters: Filters) -> pl.Series:
        """Return the numbers of the rows that match the filters, in order."""
        return self._remembered(filters, lambda: self._select_rows(filters))

    def _select_rows(self, filters: Filters) -> pl.Series:
        metric = filters.metric
        rows = self._index(metric).lazy().filter(filters.condition())
        if filters.find:
            rows = rows.filter(pl.col("row").is_in(self._containing(metric, filters.find).implode()))
        rows = self._filter_only(rows, metric, filters.only)
        if filters.order in ("lowest", "highest"):
            down = filters.order == "highest"
            rows = rows.sort("score", descending=down, nulls_last=True, maintain_order=True)
        elif filters.order == "slowest":
            rows = rows.join(self._latencies(metric).lazy(), on="row", how="left", maintain_order="left")
            rows = rows.sort("latency", descending=True, nulls_last=True, maintain_order=True)
        elif filters.order == "random":
            # the order of `to_label`
            key = [
                pl.col(name).cast(pl.String) if name in _NAMES else pl.col(name).cast(COMPLETIONS.schema[name])
                for name in COMPLETIONS.key
            ]
            rows = rows.sort(key_of("label\x1f0", *key), maintain_order=True)
        return rows.select("row").collect().to_series()

    def _filter_only(self, rows: pl.LazyFrame, metric: str, only: str) -> pl.LazyFrame:
        if only == "unscored":
            return rows.filter(pl.col("score").is_null())
        if only == "unparsed":
            return rows.filter(~pl.col("parsed"))
        if only == "wrong":
            return rows.filter(self._is_wrong())
        if only in ("flipped", "worse"):
            return rows.filter(pl.col("row").is_in(self._flipped(metric, worse=only == "worse").implode()))
        if only == "disagree":
            return rows.filter(pl.col("row").is_in(self._disagreeing(metric).implode()))
        if only == "failed":
            failed = self._matching(
                metric, "failed", lambda chunk: chunk.completions.filter(pl.col("error").is_not_null())
            )
            return rows.filter(pl.col("row").is_in(failed.implode()))
        if only == "slow":
            latencies = self._latencies(metric)
            limit = latencies["latency"].quantile(SLOWEST)
            slow = latencies.filter(pl.col("latency") > limit)["row"] if limit is not None else latencies["row"].clear()
            return rows.filter(pl.col("row").is_in(slow.implode()))
        if only in ("labelled", "unlabelled"):
            labelled = _has_label(rows, self._labels)
            return rows.filter(labelled if only == "labelled" else ~labelled)
        return rows

    def _is_wrong(self) -> pl.Expr:
        """Return whether a score is wrong: 0, or for metrics that are better when lower above 0."""
        lower = [name for name, higher in reader_of(self.results).directions().items() if not higher]
        return (
            pl.when(pl.col("metric").cast(pl.String).is_in(lower))
            .then(pl.col("score") > 0)
            .otherwise(pl.col("score") <= 0)
        )

    def _flipped(self, metric: str, *, worse: bool) -> pl.Series:
        """Return the rows of variants whose score differs from the original's; `worse`: in the bad direction."""

        def select() -> pl.Series:
            index = self._index(metric)
            on = [name for name in KEYS if name not in ("perturbation", "perturbation_seed")]
            on = [name for name in on if index[name].null_count() < index.height]
            is_original = pl.col("perturbation") == ORIGINAL
            originals = index.lazy().filter(is_original).select(*on, "metric", before="score").unique([*on, "metric"])
            variants = index.lazy().filter(~is_original).select("row", *on, "metric", "score")
            pairs = variants.join(originals, on=[*on, "metric"], how="inner", nulls_equal=True)
            lower = [name for name, higher in reader_of(self.results).directions().items() if not higher]
            sign = pl.when(pl.col("metric").cast(pl.String).is_in(lower)).then(-1.0).otherwise(1.0)
            change = (pl.col("score") - pl.col("before")) * sign
            return pairs.filter(change < 0 if worse else change != 0).select("row").collect().to_series()

        return self._remembered((metric, "flipped", worse), select)

    def _disagreeing(self, metric: str) -> pl.Series:
        """Return the rows of requests that two models score differently."""

        def select() -> pl.Series:
            index = self._index(metric)
            on = [name for name in (*KEYS, "metric") if name != "model" and index[name].null_count() < index.height]
            scores = index.lazy().select("row", *on, "score").drop_nulls("score")
            spread = scores.group_by(on).agg(row="row", spread=pl.col("score").max() - pl.col("score").min())
            return spread.filter(pl.col("spread") > 0).select("row").explode("row").collect().to_series()

        return self._remembered((metric, "disagree"), select)

    def _containing(self, metric: str, text: str) -> pl.Series:
        """Return the rows whose instance id, input or completion contains a text, regardless of case."""
        # a search for each column: no joined text is built
        conditions = [
            pl.col(name).str.contains_any([text], ascii_case_insensitive=True).fill_null(value=False)
            for name in ("instance_id", "perturbed_input", "completion")
        ]
        return self._matching(
            metric, ("find", text), lambda chunk: chunk.completions.filter(pl.any_horizontal(conditions))
        )

    def _latencies(self, metric: str) -> pl.DataFrame:
        """Return row and latency of the rows whose request was generated in this run."""
        index = self._index(metric)
        on = self._request_key(metric)
        frames = [
            _to_types(chunk.completions.filter(~pl.col("cached").fill_null(value=False)).select(*on, "latency"), index)
            for chunk in self._chunks
        ]
        latencies = pl.concat(pl.collect_all(frames)).drop_nulls("latency").group_by(on).agg(pl.col("latency").max())
        return index.select("row", *on).join(latencies, on=on, how="inner", nulls_equal=True).select("row", "latency")

    def _matching(self, metric: str, name: Any, completions_of: Callable[[Chunk], pl.LazyFrame]) -> pl.Series:
        """Return the rows whose request is among some completions of each chunk."""

        def select() -> pl.Series:
            index = self._index(metric)
            on = self._request_key(metric)
            frames = [completions_of(chunk).select(on) for chunk in self._chunks]
            requests = _to_types(pl.concat(pl.collect_all(frames)).unique().lazy(), index)
            rows = index.lazy().select("row", *on).join(requests, on=on, how="semi", nulls_equal=True)
            return rows.select("row").collect().to_series()

        return self._remembered((metric, name), select)

    def _request_key(self, metric: str) -> list[str]:
        """Return the columns that identify a request of a row; scores may join outputs, options or windows."""
        index = self._index(metric)
        optional = ("output_index", *OF_REQUEST)
        return [name for name in KEYS if name not in optional or (index.height and index[name].null_count() == 0)]

    def _remembered(self, name: Any, select: Callable[[], pl.Series]) -> pl.Series:
        if name not in self._selected:
            self._selected[name] = select()
            while len(self._selected) > _SELECTIONS:
                self._selected.popitem(last=False)
        self._selected.move_to_end(name)
        return self._selected[name]

    def _labels_of(self, rows: pl.DataFrame) -> list[float | None]:
        """Return the label of each row, or None."""
        if self._labels.is_empty():
            return [None] * rows.height
        keyed = _to_label_key(rows.lazy())
        labelled = self._labels.lazy().select(*LABEL_KEY, LABEL)
        return (
            keyed.join(labelled, on=LABEL_KEY, how="left", nulls_equal=True, maintain_order="left")
            .collect()[LABEL]
            .to_list()
        )

    def _texts(self, rows: pl.DataFrame) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
        """Return the first characters of inputs and completions for these rows, by request."""
        keys = [*COMPLETIONS.key]
        starts = [pl.col(name).str.slice(0, EXCERPT) for name in ("perturbed_input", "completion", "error")]
        more = ("perturbed_references", "choices", "latency", "cached")
        frames = []
        for (number,), chunk_rows in rows.partition_by("chunk", as_dict=True).items():
            named = [pl.col(name).is_in(chunk_rows[name].cast(pl.String).unique().implode()) for name in _REQUEST_KEY]
            completions = _select_columns(
                self._chunks[int(number)].completions, (*keys, "perturbed_input", "completion", "error", *more)
            )
            frames.append(completions.filter(named).select(*keys, *starts, *more))
        texts: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
        for frame in pl.collect_all(frames):
            for row in frame.iter_rows(named=True):
                texts.setdefault(tuple(row[name] for name in _ROW_KEY), []).append(row)
        return texts

    def _row(self, row: dict[str, Any], texts: Mapping[tuple[Any, ...], list[dict[str, Any]]]) -> dict[str, Any]:
        completions = completions_of_row(row, texts.get(tuple(row[name] for name in _ROW_KEY), []))
        first = completions[0] if completions else dict.fromkeys(_TEXTS)
        return {
            **{name: row[name] for name in ("row", *KEYS, "subset", "metric", "score", "parsed")},
            "input": first["perturbed_input"],
            "completion": first["completion"],
            "error": first["error"],
            "right": right_answer(first["perturbed_references"] or [], first["choices"])[:EXCERPT],
            "latency": None if first["cached"] else first["latency"],
        }


MOST_BARS = 100
_MOST_STEPS = 9
_TEXTS = ("perturbed_input", "completion", "error", "perturbed_references", "choices", "latency", "cached")
_REQUEST_KEY = ("scenario", "instance_id", "model", "perturbation")
_ROW_KEY = tuple(name for name in KEYS if name not in ("output_index", *OF_REQUEST))


def _matches_key(key: Mapping[str, Any]) -> pl.Expr:
    """Return whether a row of the index has these values; missing columns match every value.

    Raises:
        ArgumentError: A column is unknown or a value has the wrong type.
    """
    if not isinstance(key, Mapping) or "instance_id" not in key:
        raise ArgumentError(f"key={key!r}: key must be an object with instance_id and other key columns.")
    conditions = []
    for name, value in key.items():
        if name not in KEYS:
            raise ArgumentError.unknown_argument("key", str(name), KEYS)
        if value is None:
            conditions.append(pl.col(name).is_null())
        elif is_integer(value) if name in _NUMBERS else isinstance(value, str):
            conditions.append(pl.col(name) == value)
        else:
            raise ArgumentError(
                f"key: {name}={value!r}: {name} must be {'an integer' if name in _NUMBERS else 'a string'}."
            )
    return pl.all_horizontal(conditions)


def _to_label_key(rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows.with_columns(pl.col(name).cast(COMPLETIONS.schema[name]) for name in LABEL_KEY)


def _has_label(rows: pl.LazyFrame, labels: pl.DataFrame) -> pl.Expr:
    """Return whether a row of the index has a label."""
    keyed = _to_label_key(rows.select("row", *LABEL_KEY))
    labelled = keyed.join(labels.lazy().select(LABEL_KEY), on=LABEL_KEY, how="semi", nulls_equal=True)
    return pl.col("row").is_in(labelled.select("row").collect().to_series().implode())


def _histogram(scores: pl.Series) -> list[dict[str, float]]:
    """Return the number of scores in bins of equal width: low, high, n."""
    scores = scores.filter(scores.is_finite())
    if scores.is_empty():
        return []
    low, high = float(scores.min()), float(scores.max())  # type: ignore[arg-type]
    values = scores.unique()
    if values.len() <= _BINS:
        counts = scores.value_counts().sort("score")
        return [{"low": value, "high": value, "n": n} for value, n in counts.iter_rows()]
    width = (high - low) / _BINS
    bins = ((scores - low) / width).floor().clip(0, _BINS - 1).cast(pl.Int64)
    by_bin = dict(bins.value_counts().iter_rows())
    edges = [low + width * number for number in range(_BINS)] + [high]
    return [{"low": edges[number], "high": edges[number + 1], "n": by_bin.get(number, 0)} for number in range(_BINS)]


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


def _to_types(rows: pl.LazyFrame, index: pl.DataFrame) -> pl.LazyFrame:
    """Return the rows with the types that the index has for these columns."""
    names = rows.collect_schema().names()
    return rows.with_columns(pl.col(name).cast(index.schema[name]) for name in names if name in index.columns)


def check_index(value: Any, name: str) -> int:
    """Return an integer ≥ 0 from a request.

    Raises:
        ArgumentError: The value is something else.
    """
    if not is_integer(value) or value < 0:
        raise ArgumentError(f"{name}={value!r}: {name} must be an integer ≥ 0.")
    return int(value)
