"""What some results hold: completions and scores as lazy tables, and the tables of aggregated scores made of them."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import polars as pl

from helmframe._schema import COMPLETIONS, HELM_STATS, ORIGINAL, PREFIXES, SCORES, VERDICTS, Table, source_column
from helmframe.errors import ArgumentError, HelmframeWarning, UnknownNameError
from helmframe.metrics.protocol import METRICS, chosen
from helmframe.metrics.score import for_sets, why_none
from helmframe.results.chunks import Chunk, Held, only
from helmframe.results.pairing import Read
from helmframe.results.stopped import with_sequences
from helmframe.stats.aggregate_set import aggregate_set
from helmframe.stats.failures import ERRORS_ALLOWED
from helmframe.stats.frames import map_chunks
from helmframe.stats.table import AXES, add_pooled, aggregate, pivot_table, pooled_axes, sort_table
from helmframe.store import Address, RunFolder, address_of
from helmframe.store.run_cache import Unfinished, unfinished

DEFINITIONS = ("helmframe", "helm")
KEPT = {
    "completions": COMPLETIONS,
    "scores": SCORES,
    "prefixes": PREFIXES,
    "verdicts": VERDICTS,
    "helm_stats": HELM_STATS,
}


@dataclass(frozen=True, repr=False)
class Tables:
    """The tables of some results, and where they lie; what else can be asked of them stands in its subclasses."""

    completions: pl.LazyFrame
    scores: pl.LazyFrame
    prefixes: pl.LazyFrame
    manifest: Mapping[str, Any]
    path: Address | None = None
    verdicts: pl.LazyFrame = field(default_factory=lambda: pl.LazyFrame(schema=VERDICTS.schema))
    helm_stats: pl.LazyFrame = field(default_factory=lambda: pl.LazyFrame(schema=HELM_STATS.schema))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Results from a run's folder, which may lie in a bucket: `s3://bucket/…`.

        A run that was killed has the completions that it had stored of models without a version; those of shards that
        it did not finish have no scores.

        Raises:
            StoreError: the folder holds none.
            ArgumentError: it is no folder.
        """
        if not isinstance(path, str | Path):
            raise ArgumentError(f"load({path!r}): give the folder of a run, or of results.to_parquet(folder).")
        if Path(path).is_file():
            raise ArgumentError(f"load({str(path)!r}) is a file; results are a folder with a manifest.json.")
        folder = RunFolder(address_of(path))
        manifest = folder.manifest()
        empty = {name: pl.LazyFrame(schema=table.schema) for name, table in KEPT.items()}
        scans = {name: folder.scan(name) for name in KEPT}
        tables = {name: empty[name] if table is None else table for name, table in scans.items()}
        more = unfinished(folder, manifest)
        if more is not None:
            tables["completions"] = _with_more(tables["completions"], more.completions)
            tables["prefixes"] = _with_more(tables["prefixes"], more.prefixes)
        return cls(**tables, manifest=manifest, path=folder.path)

    @property
    def stats(self) -> pl.LazyFrame:
        """`STATS` of every metric by what the run varied: `.table()`, lazily."""
        return self.table().lazy()

    @property
    def metric_names(self) -> list[str]:
        """The metrics scored."""
        return list(self.manifest["metrics"])

    @property
    def main_metrics(self) -> list[str]:
        """The main metric of each scenario, where it was scored; else the first scored."""
        mains = [each["main"]["metric"] for each in self.manifest["scenarios"].values()]
        return list(dict.fromkeys(name for name in mains if name in self.metric_names)) or self.metric_names[:1]

    @property
    def chunks(self) -> Sequence[Chunk]:
        """Completions and scores in parts that hold their instances whole: shard by shard in a run's folder."""
        return self._held.chunks

    @property
    def unscored(self) -> int:
        """How many completions the run stored, and ended before it scored them."""
        return self._held.unscored

    @property
    def answered(self) -> int:
        """How many completions there are, without those that failed."""
        return self._held.answered()

    def table(
        self,
        by: str | Sequence[str] | None = None,
        *,
        metrics: str | Sequence[str] | None = None,
        ci: float = 0.95,
        mean: str | None = None,
        pivot: str | None = None,
        pool: str | Sequence[str] | bool = (),
        definition: str = "helmframe",
    ) -> pl.DataFrame:
        """Aggregated scores, one row per group and metric.

        Args:
            by: Columns whose values make a group: trial, subset, a column of the scenario's own (`subject`). The axes
                scenario, split, model, setting and perturbation make groups too, where the run has several values of
                them, unless `pool` names them.
            metrics: which; default all.
            ci: share of intervals that should contain the true value.
            mean: over subsets ("macro") or by size ("micro"); default the scenario's own.
            pivot: One of the keys: its values become columns that hold `value`.
            pool: The axes to average over: "model", ["model", "perturbation"]; True: all that are not in `by`.
            definition: "helm" gives HELM's values where these differ. Of a request's n outputs, HELM scores the one of
                highest log-probability, where "helmframe" averages all n. A metric of a set (a calibration error, F1)
                is HELM's mean over trials, where "helmframe" takes all trials as one set: such values are biased by the
                size of the set.

        Returns:
            `by`, the other axes, metric and `STATS`. Where an axis is pooled, `pooled` says what: "3 models, 2
            perturbations". Where there are choices also what is scored without a model: `chance`, by
            guessing; `majority`, by the answer that is right most often in its subset. Of a run that stopped `until` it
            knew enough: asked, of (instances), and intervals that hold at every look.
        """
        keys, pooled = self._keys(by, pool)
        names = self._metrics(metrics)
        over_subsets = mean or self._mean()
        # the repr after a table, and most charts, ask for rows of the same
        if definition not in DEFINITIONS:
            raise ArgumentError.unknown_value(f"table(definition={definition!r})", definition, DEFINITIONS)
        made = repr((keys, ci, over_subsets, definition))
        table = self._last.get(made)
        if table is None or not {*names} <= {*table["metric"]}:
            table = self._aggregated(keys, names, ci, over_subsets, definition)
            self._last.clear()
            self._last[made] = table
        table = table.filter(pl.col("metric").is_in(names))
        own = {source_column(name): name for name in self._named(by)}
        hidden = {name for name in keys if pivot in (name, own.get(name))}
        table = self._labelled(table, [key for key in keys if key not in hidden], pooled)
        table = self._as_written(table, by)
        return table if pivot is None else pivot_table(table, [own.get(key, key) for key in keys], pivot)

    def value(self, metric: str | None = None, *, definition: str = "helmframe", **where: Any) -> float:
        """One aggregated score.

        Args:
            metric: default the main one.
            definition: "helm" gives HELM's value, as in `table`.
            **where: what tells it apart, where the run varied it: model, perturbation (default "original"), setting,
                scenario …

        Raises:
            ArgumentError: the words leave more than one value, or none; or nothing was scored.

        Warns:
            HelmframeWarning: If more than 1 % of its requests failed; the value leaves these out.
        """
        name = metric or self.main_metrics[0]
        keys = list(dict.fromkeys([*self._varied, *where]))
        table = self.table(keys, metrics=name, definition=definition)
        if "perturbation" in keys and "perturbation" not in where:
            table = table.filter(pl.col("perturbation") == ORIGINAL)
        for column, value in where.items():
            known = table[column].unique().sort().to_list()
            table = only(table, column, value)
            if table.is_empty():
                raise ArgumentError.unknown_value(f"value({column}={value!r}): 0 values fit", value, map(str, known))
        if table.height != 1:
            there = ", ".join(f"{key}=…" for key in keys if table[key].n_unique() > 1) or "other words"
            raise ArgumentError(f"value({name!r}): {table.height} values fit. Say more: {there}.\n{table.select(keys)}")
        value, n, failed = table.select("value", "n_completions", "n_error").row(0)
        if value is None:
            why = f"{failed} completions failed; results.errors() says why" if failed else "see results.rows()"
            raise ArgumentError(f"value({name!r}): nothing was scored: {why}.")
        if failed > ERRORS_ALLOWED * n:
            warnings.warn(
                f"value({name!r}): {failed:,} of {n:,} requests failed, and the value leaves these out. Rerun the plan "
                "to retry them; results.errors() lists them.",
                HelmframeWarning,
                stacklevel=2,
            )
        return float(value)

    # -- for charts, boards and gates ---------------------------------------------------------------------------------

    def read_as(
        self, metrics: str | Sequence[str] | None, mean: str | None, higher_is_better: Mapping[str, bool] | None
    ) -> Read:
        """How the scores of these metrics, default the main ones, are read."""
        names = self._metrics(metrics or self.main_metrics)
        return Read.of([self.manifest], names, higher_is_better, mean or self._mean())

    def fractions(self) -> list[str]:
        return [name for name, each in self.manifest["metrics"].items() if each["unit"] == "fraction"]

    def directions(self) -> dict[str, bool]:
        """Return metric → whether higher is better, without the metrics that have no direction."""
        directions = {name: entry["higher_is_better"] for name, entry in self.manifest["metrics"].items()}
        return {name: higher for name, higher in directions.items() if higher is not None}

    def kinds(self) -> Mapping[str, Mapping[str, Any]]:
        return dict(self.manifest.get("perturbations", {}))

    # -- private -----------------------------------------------------------------------------------------------------

    def _aggregated(
        self, keys: Sequence[str], names: Sequence[str], ci: float, mean: str, definition: str
    ) -> pl.DataFrame:
        """`table` by these columns, of these metrics."""
        frames = []
        helm = definition == "helm"
        per_row = [name for name in names if self.manifest["metrics"][name]["level"] != "set"]
        if per_row:
            chunks = self._held.helm_scores(keys, per_row) if helm else self._held.scores(keys)
            scores = [rows.filter(pl.col("metric").is_in(per_row)) for rows in chunks]
            frames.append(aggregate(scores, keys, fractions=self.fractions(), ci=ci, mean=mean))
        for each in chosen([name for name in names if name not in per_row]):
            rows, value = for_sets(self.completions, each, helm=helm)
            frames.append(
                aggregate_set(
                    self._with(rows, keys),
                    value,
                    keys,
                    metric=each.name,
                    ci=ci,
                    mean=mean,
                    fraction=each.unit == "fraction",
                    smooth=each.smooth,
                    by_trial=helm,
                    reason=why_none(rows, each),
                )
            )
        baselines = self._held.baselines(keys, names, mean)
        table = pl.concat(frames, how="diagonal_relaxed")
        if "until" in self.manifest:
            table = with_sequences(table, self.scores, self.manifest["until"], keys, mean=mean, ci=ci)
        table = self._held.given_examples(table, keys)
        table = table.join(baselines, on=[*keys, "metric"], how="left", nulls_equal=True, maintain_order="left")
        return sort_table(table, keys, self.metric_names)

    def _by(self, by: str | Sequence[str] | None, table: Table = SCORES) -> list[str]:
        """Return the columns that `by` names: those of the table or of completions, else the scenario's own."""
        return [self._held.column(name, table) for name in self._named(by)]

    def _named(self, by: str | Sequence[str] | None) -> list[str]:
        return [] if by is None else _listed("by", by)

    def _keys(
        self, by: str | Sequence[str] | None, pool: str | Sequence[str] | bool, axes: Sequence[str] = AXES
    ) -> tuple[list[str], list[str]]:
        """Return the columns whose values make a group, and those of `axes` that are pooled."""
        columns = self._by(by)
        away = pooled_axes(pool, columns, axes)
        others = self._varied if by is None else [name for name in self._several if name in axes]
        keys = [key for key in dict.fromkeys([*columns, *others]) if key not in away]
        return keys, [name for name in self._several if name in away]

    def _labelled(self, table: pl.DataFrame, keys: Sequence[str], pooled: Sequence[str]) -> pl.DataFrame:
        """Return the table with `pooled`, where axes are."""
        if not pooled:
            return table
        groups = map_chunks(
            self._held.chunks,
            lambda chunk: (
                self._held.with_own(chunk.completions, chunk.completions, keys)
                .select(*keys, *pooled)
                .unique()
                .collect()
            ),
        )
        return add_pooled(table, pl.concat(groups), keys, pooled)

    def _as_written(self, table: pl.DataFrame, by: str | Sequence[str] | None) -> pl.DataFrame:
        """Return the table with the columns of `by` under the names that the caller wrote.

        Raises:
            ArgumentError: The table has another column of such a name.
        """
        own = {source_column(name): name for name in self._named(by)}
        names = {column: name for column, name in own.items() if column in table.columns}
        for column, name in names.items():
            if name in table.columns:
                raise ArgumentError(f"by={name!r}: this table has another column {name!r}. Write by={column!r}.")
        return table.rename(names)

    def _metrics(self, metrics: str | Sequence[str] | None) -> list[str]:
        names = _listed("metrics", metrics or self.metric_names)
        for name in names:
            if name not in self.metric_names:
                hint = f"It can be scored without asking again: results.rescore({name!r})." if name in METRICS else ""
                raise UnknownNameError.among("metric of these results", name, self.metric_names, hint=hint)
        return names

    def _mean(self) -> str:
        stopped_by = self.manifest.get("until", {}).get("mean")
        means = {stopped_by or each["main"]["mean"] for each in self.manifest["scenarios"].values()}
        return str(means.pop()) if len(means) == 1 else "macro"

    def _with(self, rows: pl.LazyFrame, keys: Sequence[str]) -> pl.LazyFrame:
        """The rows with the columns of the scenario's own that `keys` name."""
        return self._held.with_own(rows, self.completions, keys)

    @cached_property
    def _last(self) -> dict[str, pl.DataFrame]:
        """The table made last, by how it was made."""
        return {}

    @cached_property
    def _varied(self) -> list[str]:
        return self._held.varied()

    @cached_property
    def _several(self) -> list[str]:
        """The axes with several values."""
        values = [pl.col(name).unique().implode() for name in AXES]
        chunks = map_chunks(self._held.chunks, lambda chunk: chunk.completions.select(values).collect())
        return [name for name in AXES if len({value for chunk in chunks for value in chunk[name].item()}) > 1]

    @cached_property
    def _held(self) -> Held:
        """Completions and scores in chunks: shard by shard where they lie in a run's folder, else one."""
        shards: list[dict[str, pl.LazyFrame]] = []
        more: Unfinished | None = None
        if self.path is not None:
            more = unfinished(RunFolder(self.path), self.manifest)
            scenarios = self.manifest["scenarios"].items()
            whole = [name for name, about in scenarios if about.get("whole_shards", False)]
            shards = RunFolder(self.path).shards(("completions", "scores"), whole)
        empty = {name: pl.LazyFrame(schema=KEPT[name].schema) for name in ("completions", "scores")}
        chunks = [Chunk(**{**empty, **shard}) for shard in shards] or [Chunk(self.completions, self.scores)]
        if shards and more is not None:
            chunks.append(Chunk(more.completions.lazy(), empty["scores"]))
        return Held(chunks, self.completions.collect_schema(), 0 if more is None else more.completions.height)


def _with_more(rows: pl.LazyFrame, more: pl.DataFrame) -> pl.LazyFrame:
    return pl.concat([rows, more.lazy()], how="diagonal_relaxed")


def _listed(argument: str, said: str | Sequence[str]) -> list[str]:
    if isinstance(said, str):
        return [said]
    if not isinstance(said, Iterable):
        raise ArgumentError(f"{argument}={said!r}: a name, or a list of names.")
    return list(said)
