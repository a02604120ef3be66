"""The tables of results, and how they are read: in chunks of whole instances, and by the names that users write."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import polars as pl

from helmframe._schema import (
    COMPLETIONS,
    HELM_STATS,
    OF_REQUEST,
    PREFIXES,
    SCORES,
    SOURCE_PREFIX,
    VERDICTS,
    Table,
    conform,
    resolve_column,
    source_column,
    source_names,
)
from helmframe.errors import ArgumentError, UnknownNameError
from helmframe.metrics.helm_outputs import helm_scores
from helmframe.metrics.protocol import METRICS
from helmframe.results._pairing import ScoringOptions
from helmframe.stats.frames import map_chunks
from helmframe.stats.table import AXES, add_pooled, pooled_axes
from helmframe.store import Address, RunFolder, address_of
from helmframe.store.run_cache import Unfinished, unfinished

INSTANCE = ("scenario", "instance_id")
TABLES = {
    "completions": COMPLETIONS,
    "scores": SCORES,
    "prefixes": PREFIXES,
    "verdicts": VERDICTS,
    "helm_stats": HELM_STATS,
}
# Axes that have a column only where they have several values.
_SOMETIMES = ("split", "setting")


@dataclass(frozen=True)
class Chunk:
    """Some instances, whole: all completions of theirs, and all scores."""

    completions: pl.LazyFrame
    scores: pl.LazyFrame


@dataclass(frozen=True)
class ResultsReader:
    """Reads the tables of results: in chunks, by the names that users write, and once for what repeats.

    Args:
        chunks: Completions and scores in parts that hold their instances whole.
        manifest: The run's manifest.
        completions: All completions.
        unscored: The number of completions that the run stored, and ended before it scored them.
    """

    chunks: Sequence[Chunk]
    manifest: Mapping[str, Any]
    completions: pl.LazyFrame
    unscored: int = 0
    _cache: dict[tuple[str, ...], pl.DataFrame] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def schema(self) -> pl.Schema:
        """The columns of all completions; a chunk of another scenario may lack some."""
        return self.completions.collect_schema()

    @property
    def main_metrics(self) -> list[str]:
        """The main metric of each scenario, where it was scored; else the first scored."""
        scored = list(self.manifest["metrics"])
        main = [scenario["main"]["metric"] for scenario in self.manifest["scenarios"].values()]
        return list(dict.fromkeys(name for name in main if name in scored)) or scored[:1]

    def scores(self, keys: Sequence[str]) -> list[pl.LazyFrame]:
        """Chunk by chunk the scores, with the columns of the scenario's own that `keys` name."""
        return [self.with_own(chunk.scores, chunk.completions, keys) for chunk in self.chunks]

    def helm_scores(self, keys: Sequence[str], metrics: Sequence[str]) -> list[pl.LazyFrame]:
        """Return the scores as `scores` does, but of n outputs only those that HELM counts by these metrics."""
        return [
            self.with_own(helm_scores(chunk.scores, chunk.completions, metrics), chunk.completions, keys)
            for chunk in self.chunks
        ]

    def n_generated(self) -> int:
        """Return the number of completions, without those that failed."""
        count = pl.col("completion").count()
        return sum(map_chunks(self.chunks, lambda chunk: int(chunk.completions.select(count).collect().item())))

    def baselines(self, keys: Sequence[str], metrics: Sequence[str], mean: str) -> pl.DataFrame:
        """What is scored without a model, by metrics that say which of several choices is right.

        Returns:
            `keys`, metric, chance (of guessing evenly) and majority (of giving, in each subset, the answer right most
            often; null where options have no labels), over subsets as scores are.
        """
        choosing = [name for name in metrics if name.endswith("exact_match") or name.startswith("option_accuracy")]
        subsets = list(dict.fromkeys([*keys, "scenario", "subset"]))
        kinds = (
            self._once("choices", subsets, self._choices)
            if choosing
            else self._choices(self.chunks[0], subsets).clear()
        )
        size = pl.col("count").sum()
        guessed = (pl.col("right").list.mean() * pl.col("count")).sum() / size
        labels = kinds.with_columns(label=_right_of("choices")).explode("label").drop_nulls("label")
        most = labels.group_by([*subsets, "label"]).agg(size).group_by(subsets).agg(most=pl.col("count").max())
        per_subset = (
            kinds.group_by(subsets)
            .agg(size=size, chance=guessed)
            .join(most, on=subsets, how="left", nulls_equal=True)
            .with_columns(majority=pl.col("most") / pl.col("size"), weight=1.0 if mean == "macro" else pl.col("size"))
            .join(pl.DataFrame({"metric": choosing}, schema={"metric": pl.String}), how="cross")
        )
        weight = pl.col("weight")
        chance, majority = ((pl.col(name) * weight).sum() / weight.sum() for name in ("chance", "majority"))
        labelled = pl.when(pl.col("majority").is_not_null().all())
        return per_subset.group_by([*keys, "metric"]).agg(chance=chance, majority=labelled.then(majority))

    def given_examples(self, table: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
        """The table, where each interval that stands on one draw of in-context examples says so."""
        told = {"all": pl.lit(0), "shots shown": pl.col("shots_used"), "draw": pl.col("trial")}

        def drawn(chunk: Chunk) -> pl.DataFrame:
            rows = self.with_own(chunk.completions, chunk.completions, keys)
            return rows.select(*keys, **told).unique().collect()

        on = [*keys, "all"]
        most, draws = pl.col("shots shown").max(), pl.col("draw").n_unique()
        asked = pl.concat(map_chunks(self.chunks, drawn)).group_by(on).agg(most, draws)
        shots = pl.col("shots shown")
        words = pl.when(shots > 1).then(pl.format("{}, given these {} examples", "interval", shots))
        one_draw = pl.col("ci_low").is_not_null() & (pl.col("draw") == 1) & (shots > 0)
        said = pl.when(one_draw).then(words.otherwise(pl.format("{}, given this example", "interval")))
        return (
            table.with_columns(all=0)
            .join(asked, on=on, how="left", nulls_equal=True, maintain_order="left")
            .with_columns(interval=said.otherwise("interval"))
            .select(table.columns)
        )

    def column(self, name: str, table: Table = SCORES) -> str:
        """Return the column that a user's `name` refers to: one of the table's or of the completions', or an own one.

        Raises:
            UnknownNameError: No table has it, nor has the scenario.
        """
        column = resolve_column(name, {*table.schema, *self.schema})
        if column is None:
            own = source_names(self.schema)
            ours = (column for column in self.schema if not column.startswith(SOURCE_PREFIX))
            raise UnknownNameError.among("column to group by", name, dict.fromkeys([*AXES, *own, *ours]))
        return column

    def with_own(self, rows: pl.LazyFrame, completions: pl.LazyFrame, keys: Sequence[str]) -> pl.LazyFrame:
        """The rows with the columns of the scenario's own among `keys`, by instance; keys as `column` gives them."""
        there = rows.collect_schema().names()
        missing = [key for key in keys if key not in there]
        if not missing:
            return rows
        known = completions.collect_schema().names()
        absent = [pl.lit(None, dtype=self.schema[key]).alias(key) for key in missing if key not in known]
        own = completions.with_columns(absent).select(*INSTANCE, *missing).unique(INSTANCE)
        return rows.join(own, on=INSTANCE, how="left", maintain_order="left", validate="m:1")

    def _once(
        self, what: str, keys: Sequence[str], read: Callable[[Chunk, Sequence[str]], pl.DataFrame]
    ) -> pl.DataFrame:
        """What `read` makes of each chunk, all together; read the first time only."""
        if (what, *keys) not in self._cache:
            self._cache[what, *keys] = pl.concat(map_chunks(self.chunks, lambda chunk: read(chunk, keys)))
        return self._cache[what, *keys]

    def _choices(self, chunk: Chunk, subsets: Sequence[str]) -> pl.DataFrame:
        """Per subset the kinds of choices there are: right (of each option, in turn), choices, count.

        Options that are asked about one by one have no labels, and null choices; the first of them stands for all.
        """
        right = pl.col("perturbed_references").list.eval(pl.element().struct.field("correct"))
        apart = (pl.col("reference_index") == 0) & (pl.col("request_mode") == "original")
        rows = self.with_own(chunk.completions, chunk.completions, subsets)
        chosen = rows.filter((pl.col("choices").list.len() > 0) | apart)
        return chosen.group_by([*subsets, right.alias("right"), "choices"]).agg(count=pl.len().cast(pl.Int64)).collect()

    def columns(self, by: str | Sequence[str] | None, table: Table = SCORES) -> list[str]:
        """Return the columns that `by` names: those of the table or of completions, else the scenario's own."""
        return [self.column(name, table) for name in self.names(by)]

    def names(self, by: str | Sequence[str] | None) -> list[str]:
        """Return the names that `by` lists."""
        return [] if by is None else _as_list("by", by)

    def group_keys(
        self, by: str | Sequence[str] | None, pool: str | Sequence[str] | bool, axes: Sequence[str] = AXES
    ) -> tuple[list[str], list[str]]:
        """Return the columns whose values make a group, and those of `axes` that are pooled."""
        columns = self.columns(by)
        pooled = pooled_axes(pool, columns, axes)
        others = self.varied_axes if by is None else [name for name in self.several_axes if name in axes]
        keys = [key for key in dict.fromkeys([*columns, *others]) if key not in pooled]
        return keys, [name for name in self.several_axes if name in pooled]

    def labelled(self, table: pl.DataFrame, keys: Sequence[str], pooled: Sequence[str]) -> pl.DataFrame:
        """Return the table with `pooled`, where axes are."""
        if not pooled:
            return table
        groups = map_chunks(
            self.chunks,
            lambda chunk: (
                self.with_own(chunk.completions, chunk.completions, keys).select(*keys, *pooled).unique().collect()
            ),
        )
        return add_pooled(table, pl.concat(groups), keys, pooled)

    def as_written(self, table: pl.DataFrame, by: str | Sequence[str] | None) -> pl.DataFrame:
        """Return the table with the columns of `by` under the names that the caller wrote.

        Raises:
            ArgumentError: The table has another column of such a name.
        """
        own = {source_column(name): name for name in self.names(by)}
        names = {column: name for column, name in own.items() if column in table.columns}
        for column, name in names.items():
            if name in table.columns:
                raise ArgumentError(f"by={name!r}: this table has another column {name!r}. Write by={column!r}.")
        return table.rename(names)

    def metric_list(self, metrics: str | Sequence[str] | None) -> list[str]:
        """Return the names of metrics, default all that were scored.

        Raises:
            UnknownNameError: A metric was not scored.
        """
        scored = list(self.manifest["metrics"])
        names = _as_list("metrics", metrics or scored)
        for name in names:
            if name not in scored:
                hint = f"It can be scored without asking again: results.rescore({name!r})." if name in METRICS else ""
                raise UnknownNameError.among("metric of these results", name, scored, hint=hint)
        return names

    def mean(self) -> str:
        """Return the mean over subsets: of the stopping rule, else of the scenarios."""
        stopped_by = self.manifest.get("until", {}).get("mean")
        means = {stopped_by or scenario["main"]["mean"] for scenario in self.manifest["scenarios"].values()}
        return str(means.pop()) if len(means) == 1 else "macro"

    def with_source_of(self, rows: pl.LazyFrame, keys: Sequence[str]) -> pl.LazyFrame:
        """The rows with the columns of the scenario's own that `keys` name."""
        return self.with_own(rows, self.completions, keys)

    def scoring_options(
        self, metrics: str | Sequence[str] | None, mean: str | None, higher_is_better: Mapping[str, bool] | None
    ) -> ScoringOptions:
        """Return the options by which the scores of these metrics, default the main ones, are aggregated."""
        names = self.metric_list(metrics or self.main_metrics)
        return ScoringOptions.of([self.manifest], names, higher_is_better, mean or self.mean())

    def fractions(self) -> list[str]:
        """Return the metrics whose scores lie between 0 and 1."""
        return [name for name, entry in self.manifest["metrics"].items() if entry["unit"] == "fraction"]

    def directions(self) -> dict[str, bool]:
        """Return metric → whether higher is better, without the metrics that have no direction."""
        directions = {name: entry["higher_is_better"] for name, entry in self.manifest["metrics"].items()}
        return {name: higher for name, higher in directions.items() if higher is not None}

    def perturbation_kinds(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the entry of each perturbation in the manifest."""
        return dict(self.manifest.get("perturbations", {}))

    # -- private -----------------------------------------------------------------------------------------------------

    @cached_property
    def last_table(self) -> dict[str, pl.DataFrame]:
        """The table made last, by how it was made."""
        return {}

    @cached_property
    def varied_axes(self) -> list[str]:
        """The axes that a table has columns of by default; split and setting only where they have several values."""
        values = [pl.col(name).unique().implode() for name in _SOMETIMES]
        frames = map_chunks(self.chunks, lambda chunk: chunk.completions.select(values).collect())
        several = {name for name in _SOMETIMES if len({value for frame in frames for value in frame[name].item()}) > 1}
        return [name for name in AXES if name in several or name not in _SOMETIMES]

    @cached_property
    def several_axes(self) -> list[str]:
        """The axes with several values."""
        values = [pl.col(name).unique().implode() for name in AXES]
        chunks = map_chunks(self.chunks, lambda chunk: chunk.completions.select(values).collect())
        return [name for name in AXES if len({value for chunk in chunks for value in chunk[name].item()}) > 1]


@dataclass(frozen=True, repr=False)
class ResultsData:
    """The tables of results and their manifest; `Results` adds what is computed from them."""

    completions: pl.LazyFrame
    scores: pl.LazyFrame
    prefixes: pl.LazyFrame
    manifest: Mapping[str, Any]
    path: Address | None = None
    verdicts: pl.LazyFrame = field(default_factory=lambda: pl.LazyFrame(schema=VERDICTS.schema))
    helm_stats: pl.LazyFrame = field(default_factory=lambda: pl.LazyFrame(schema=HELM_STATS.schema))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Load results from a run's folder, on disk or in a bucket: `s3://bucket/…`.

        A run that was killed has the completions that it had stored of models without a version; those of shards that
        it did not finish have no scores.

        Raises:
            StoreError: The folder holds no results.
            ArgumentError: `path` isn't a folder.
        """
        if not isinstance(path, str | Path):
            raise ArgumentError(f"load({path!r}): give the folder of a run, or of results.to_parquet(folder).")
        if Path(path).is_file():
            raise ArgumentError(f"load({str(path)!r}) is a file; results are a folder with a manifest.json.")
        folder = RunFolder(address_of(path))
        manifest = folder.manifest()
        empty = {name: pl.LazyFrame(schema=table.schema) for name, table in TABLES.items()}
        scans = {name: folder.scan(name) for name in TABLES}
        tables = {name: empty[name] if table is None else table for name, table in scans.items()}
        rest = unfinished(folder, manifest)
        if rest is not None:
            tables["completions"] = _with_unfinished(tables["completions"], rest.completions)
            tables["prefixes"] = _with_unfinished(tables["prefixes"], rest.prefixes)
        return cls(**tables, manifest=manifest, path=folder.path)

    @property
    def metric_names(self) -> list[str]:
        """The metrics scored."""
        return list(self.manifest["metrics"])

    @property
    def main_metrics(self) -> list[str]:
        """The main metric of each scenario, where it was scored; else the first scored."""
        return self._reader.main_metrics

    @cached_property
    def _reader(self) -> ResultsReader:
        shards: list[dict[str, pl.LazyFrame]] = []
        rest: Unfinished | None = None
        if self.path is not None:
            rest = unfinished(RunFolder(self.path), self.manifest)
            scenarios = self.manifest["scenarios"].items()
            whole = [name for name, scenario in scenarios if scenario.get("whole_shards", False)]
            shards = RunFolder(self.path).shards(("completions", "scores"), whole)
        empty = {name: pl.LazyFrame(schema=TABLES[name].schema) for name in ("completions", "scores")}
        chunks = [Chunk(**{**empty, **shard}) for shard in shards] or [Chunk(self.completions, self.scores)]
        if shards and rest is not None:
            chunks.append(Chunk(rest.completions.lazy(), empty["scores"]))
        n_unscored = 0 if rest is None else rest.completions.height
        return ResultsReader(chunks, self.manifest, self.completions, n_unscored)


def reader_of(results: ResultsData) -> ResultsReader:
    """Return the reader of results, which is made once for each."""
    return results._reader  # noqa: SLF001


def _as_list(argument: str, value: str | Sequence[str]) -> list[str]:
    if isinstance(value, str):
        return [value]
    if not isinstance(value, Iterable):
        raise ArgumentError(f"{argument}={value!r}: a name, or a list of names.")
    return list(value)


def _with_unfinished(rows: pl.LazyFrame, unfinished_rows: pl.DataFrame) -> pl.LazyFrame:
    return pl.concat([rows, unfinished_rows.lazy()], how="diagonal_relaxed")


def _right_of(labels: str) -> pl.Expr:
    """Of a list the items whose place is right."""
    return pl.col(labels).list.gather(pl.col("right").list.eval(pl.element().arg_true()))


def only(frame: pl.DataFrame, column: str, value: object) -> pl.DataFrame:
    """The rows whose column has this value.

    Raises:
        ArgumentError: the column is of another type.
    """
    try:
        return frame.filter(pl.col(column) == value)
    except pl.exceptions.PolarsError:
        kind = frame.schema[column]
    raise ArgumentError(f"{column}={value!r}: column {column!r} is {kind}, which {value!r} is not.")


def with_scores(rows: pl.DataFrame, scores: pl.DataFrame) -> pl.DataFrame:
    """Rows of completions with each metric as a column: its score of the row's request, else of the row's instance.

    Args:
        rows: with the keys of `COMPLETIONS`.
        scores: `SCORES`.
    """
    known = conform(scores, SCORES)
    whole = [name for name in SCORES.key if name not in (*OF_REQUEST, "metric")]
    of_instance = [name for name in whole if name != "output_index"]
    of_one = pl.any_horizontal(pl.col(name).is_not_null() for name in OF_REQUEST)
    joined = pl.col("output_index").is_null()
    for on, part in (
        (of_instance, known.filter(joined)),
        (whole, known.filter(~joined & ~of_one)),
        ([*whole, *OF_REQUEST], known.filter(~joined & of_one)),
    ):
        # the first: scores kept by older versions don't say which request they are of
        wide = part.pivot("metric", index=on, values="score", aggregate_function="first")
        rows = rows.join(wide, on=on, how="left", nulls_equal=True, maintain_order="left", validate="m:1", suffix="\0")
        twice = [name for name in wide.columns if f"{name}\0" in rows.columns]
        rows = rows.with_columns(pl.coalesce(name, f"{name}\0").alias(name) for name in twice)
        rows = rows.drop(f"{name}\0" for name in twice)
    return rows
