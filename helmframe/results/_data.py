"""The tables of results, and a reader of them: in chunks of whole instances, by the names that users write."""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import polars as pl

from helmframe._core.checks import is_integer
from helmframe._core.specs import AdapterSpec, adapter_spec, frozen
from helmframe._core.yaml import reading
from helmframe._schema import (
    COMPLETIONS,
    CONVERSATION,
    HELM_STATS,
    IMAGES,
    OF_REQUEST,
    ORIGINAL,
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
from helmframe.errors import ArgumentError, StoreError, UnknownNameError
from helmframe.metrics.helm_outputs import helm_scores
from helmframe.metrics.protocol import METRICS
from helmframe.results._pairing import ScoringOptions
from helmframe.stats.frames import STOPPED, map_chunks
from helmframe.stats.table import AXES, add_pooled, pooled_axes
from helmframe.store import Address, RunFolder, address_of
from helmframe.store.files import download, is_on_hub
from helmframe.store.run_cache import Unfinished, unfinished

INSTANCE = ("scenario", "instance_id")
TABLES = {
    "completions": COMPLETIONS,
    "scores": SCORES,
    "prefixes": PREFIXES,
    "verdicts": VERDICTS,
    "helm_stats": HELM_STATS,
    "images": IMAGES,
}
# Axes that get a column only if they have several values.
_OPTIONAL_AXES = ("split", "setting")


@dataclass(frozen=True)
class Chunk:
    """A set of instances with all their completions and scores."""

    completions: pl.LazyFrame
    scores: pl.LazyFrame


@dataclass(frozen=True)
class ResultsReader:
    """A reader of the tables of results, in chunks and by the names that users write, with a cache.

    Args:
        chunks: Completions and scores, in chunks of whole instances.
        manifest: The run's manifest.
        completions: All completions.
        n_unscored: The number of completions that the run stored and did not score.
    """

    chunks: Sequence[Chunk]
    manifest: Mapping[str, Any]
    completions: pl.LazyFrame
    n_unscored: int = 0
    _cache: dict[tuple[str, ...], pl.DataFrame] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def schema(self) -> pl.Schema:
        """The columns of all completions; a chunk may lack the columns of other scenarios."""
        return self.completions.collect_schema()

    @property
    def main_metrics(self) -> list[str]:
        """The main metric of each scenario, if it was scored; else the first scored metric."""
        scored = list(self.manifest["metrics"])
        main = [scenario["main"]["metric"] for scenario in self.manifest["scenarios"].values()]
        return list(dict.fromkeys(name for name in main if name in scored)) or scored[:1]

    def scores(self, keys: Sequence[str]) -> list[pl.LazyFrame]:
        """Return the scores of each chunk, with the source columns in `keys`."""
        return [self.with_source_columns(chunk.scores, keys, chunk.completions) for chunk in self.chunks]

    def helm_scores(self, keys: Sequence[str], metrics: Sequence[str]) -> list[pl.LazyFrame]:
        """Return the scores as `scores` does, with only the outputs that HELM counts for these metrics."""
        return [
            self.with_source_columns(helm_scores(chunk.scores, chunk.completions, metrics), keys, chunk.completions)
            for chunk in self.chunks
        ]

    def n_generated(self) -> int:
        """Return the number of completions, without those that failed."""
        count = pl.col("completion").count()
        return sum(map_chunks(self.chunks, lambda chunk: int(chunk.completions.select(count).collect().item())))

    def baselines(self, keys: Sequence[str], metrics: Sequence[str], mean: str) -> pl.DataFrame:
        """Return the baselines of guessing, for metrics of choices.

        Returns:
            `keys`, metric, chance (of uniform guessing) and majority (of the label that is right most often in each
            subset; null if options have no labels), averaged over subsets as scores are.
        """
        choice_metrics = [
            name for name in metrics if name.endswith("exact_match") or name.startswith("option_accuracy")
        ]
        subsets = list(dict.fromkeys([*keys, "scenario", "subset"]))
        choices = (
            self._cached("choices", subsets, self._choices)
            if choice_metrics
            else self._choices(self.chunks[0], subsets).clear()
        )
        size = pl.col("count").sum()
        chance_score = (pl.col("right").list.mean() * pl.col("count")).sum() / size
        labels = choices.with_columns(label=_right_labels("choices")).explode("label").drop_nulls("label")
        most = labels.group_by([*subsets, "label"]).agg(size).group_by(subsets).agg(most=pl.col("count").max())
        per_subset = (
            choices.group_by(subsets)
            .agg(size=size, chance=chance_score)
            .join(most, on=subsets, how="left", nulls_equal=True)
            .with_columns(majority=pl.col("most") / pl.col("size"), weight=1.0 if mean == "macro" else pl.col("size"))
            .join(pl.DataFrame({"metric": choice_metrics}, schema={"metric": pl.String}), how="cross")
        )
        weight = pl.col("weight")
        chance, majority = ((pl.col(name) * weight).sum() / weight.sum() for name in ("chance", "majority"))
        labelled = pl.when(pl.col("majority").is_not_null().all())
        return per_subset.group_by([*keys, "metric"]).agg(chance=chance, majority=labelled.then(majority))

    @cached_property
    def duplicates(self) -> pl.DataFrame:
        """The instances whose input and references an instance of another cluster has too.

        The columns are scenario, instance_id, cluster and content, a hash. Instances without a text or an image, and
        turns of different conversations, are not compared.
        """

        def contents_of(chunk: Chunk) -> pl.DataFrame:
            columns = [name for name in ("content", CONVERSATION) if name in chunk.completions.collect_schema()]
            has_content = pl.col("content").is_not_null() if "content" in columns else pl.lit(value=False)
            hashed = chunk.completions.filter((pl.col("input") != "") | has_content).select(
                *INSTANCE,
                pl.coalesce("cluster", "instance_id"),
                content=pl.struct("input", "references", *columns).hash(),
            )
            return hashed.unique(INSTANCE).collect()  # after the texts are gone, because their rows are slow to compare

        rows = pl.concat(map_chunks(self.chunks, contents_of))
        # few instances repeat, and comparing their ids and clusters, which are texts, costs most of the time
        rows = rows.filter(pl.col("content").is_duplicated()).unique(INSTANCE)
        same = ["scenario", "content"]
        repeated = rows.group_by(same).agg(pl.col("cluster").n_unique()).filter(pl.col("cluster") > 1)
        return rows.join(repeated, on=same, how="semi").sort(INSTANCE)

    def count_duplicates(self, keys: Sequence[str]) -> pl.DataFrame | None:
        """Return `keys` and n_duplicates: the clusters that repeat an instance of another; None if there are none."""
        if self.duplicates.is_empty():
            return None
        duplicates = self.duplicates.lazy()
        columns = [*dict.fromkeys([*keys, "scenario"]), "content", "cluster"]

        def rows_of(chunk: Chunk) -> pl.DataFrame:
            completions = chunk.completions.drop("cluster", "content", strict=False)
            rows = completions.join(duplicates, on=INSTANCE, how="inner", maintain_order="left")
            return self.with_source_columns(rows, keys, chunk.completions).select(columns).unique().collect()

        repeats = (pl.col("cluster").n_unique() - 1).cast(pl.Int64)
        per_content = pl.concat(map_chunks(self.chunks, rows_of)).group_by(columns[:-1]).agg(n_duplicates=repeats)
        counted = pl.col("n_duplicates").sum()
        return per_content.group_by(keys).agg(counted) if keys else per_content.select(counted)

    def note_shown_examples(self, table: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
        """Return the table with a note on intervals that depend on one sample of in-context examples."""
        draw_columns = {"all": pl.lit(0), "shots shown": pl.col("shots_used"), "draw": pl.col("trial")}

        def draws_of(chunk: Chunk) -> pl.DataFrame:
            rows = self.with_source_columns(chunk.completions, keys, chunk.completions)
            return rows.select(*keys, **draw_columns).unique().collect()

        on = [*keys, "all"]
        most, draws = pl.col("shots shown").max(), pl.col("draw").n_unique()
        draw_counts = pl.concat(map_chunks(self.chunks, draws_of)).group_by(on).agg(most, draws)
        shots = pl.col("shots shown")
        plural = pl.when(shots > 1).then(pl.format("{}, given these {} examples", "interval", shots))
        one_draw = pl.col("ci_low").is_not_null() & (pl.col("draw") == 1) & (shots > 0)
        note = pl.when(one_draw).then(plural.otherwise(pl.format("{}, given this example", "interval")))
        return (
            table.with_columns(all=0)
            .join(draw_counts, on=on, how="left", nulls_equal=True, maintain_order="left")
            .with_columns(interval=note.otherwise("interval"))
            .select(table.columns)
        )

    def column(self, name: str, table: Table = SCORES) -> str:
        """Return the column that a user's `name` refers to, of the table, the completions or the source.

        Raises:
            UnknownNameError: If neither a table nor the scenario has the column.
        """
        column = resolve_column(name, {*table.schema, *self.schema})
        if column is None and name in self.setting_fields:
            return name
        if column is None:
            if name == "overlap":
                raise UnknownNameError(
                    "These results have no overlap with a corpus. Pass the frame: overlap=plan.overlap('s3://corpus/*.parquet')."
                )
            sources = source_names(self.schema)
            standard = (column for column in self.schema if not column.startswith(SOURCE_PREFIX))
            names = dict.fromkeys([*AXES, *sources, *self.setting_fields, *standard])
            raise UnknownNameError.among("column to group by", name, names)
        return column

    @cached_property
    def settings(self) -> pl.DataFrame:
        """One row per setting of the grid: `setting` and the fields, typed; lists and mappings as text."""
        settings: Mapping[str, Mapping[str, Any]] = self.manifest.get("settings", {})
        columns = [pl.Series("setting", list(settings), dtype=pl.String)]
        for name in dict.fromkeys(name for fields in settings.values() for name in fields):
            values = [fields.get(name) for fields in settings.values()]
            if any(isinstance(value, list | dict) for value in values):
                values = [None if value is None else str(value) for value in values]
            columns.append(pl.Series(name, values, strict=False))
        return pl.DataFrame(columns)

    @property
    def setting_fields(self) -> list[str]:
        """The fields of the grid, such as `shots`."""
        return self.settings.columns[1:]

    def with_source_columns(
        self, rows: pl.LazyFrame, keys: Sequence[str], completions: pl.LazyFrame | None = None
    ) -> pl.LazyFrame:
        """Return the rows with the source columns in `keys`, joined by instance; keys as `column` returns them."""
        completions = self.completions if completions is None else completions
        present = rows.collect_schema().names()
        missing = [key for key in keys if key not in present]
        of_setting = [key for key in missing if key in self.setting_fields and key not in self.schema]
        if of_setting:
            fields = self.settings.lazy().select("setting", *of_setting)
            rows = rows.join(fields, on="setting", how="left", maintain_order="left", validate="m:1")
        missing = [key for key in missing if key not in of_setting]
        if not missing:
            return rows
        available = completions.collect_schema().names()
        absent = [pl.lit(None, dtype=self.schema[key]).alias(key) for key in missing if key not in available]
        sources = completions.with_columns(absent).select(*INSTANCE, *missing).unique(INSTANCE)
        return rows.join(sources, on=INSTANCE, how="left", maintain_order="left", validate="m:1")

    def _cached(
        self, name: str, keys: Sequence[str], compute: Callable[[Chunk, Sequence[str]], pl.DataFrame]
    ) -> pl.DataFrame:
        """Return the concatenated results of `compute` on each chunk; cached by name and keys."""
        if (name, *keys) not in self._cache:
            self._cache[name, *keys] = pl.concat(map_chunks(self.chunks, lambda chunk: compute(chunk, keys)))
        return self._cache[name, *keys]

    def _choices(self, chunk: Chunk, subsets: Sequence[str]) -> pl.DataFrame:
        """Count the kinds of choices per subset: right (a list with one bool per option), choices, count.

        Options in separate requests have no labels and null choices; only the first option's request is counted.
        """
        right = pl.col("perturbed_references").list.eval(pl.element().struct.field("correct"))
        separate = (pl.col("reference_index") == 0) & (pl.col("request_mode") == "original")
        rows = self.with_source_columns(chunk.completions, subsets, chunk.completions)
        chosen = rows.filter((pl.col("choices").list.len() > 0) | separate)
        return chosen.group_by([*subsets, right.alias("right"), "choices"]).agg(count=pl.len().cast(pl.Int64)).collect()

    def columns(self, by: str | Sequence[str] | None, table: Table = SCORES) -> list[str]:
        """Return the columns that `by` names, of the table, the completions or the source."""
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
        axis_names = self.default_axes if by is None else [name for name in self.multi_valued_axes if name in axes]
        keys = [key for key in dict.fromkeys([*columns, *axis_names]) if key not in pooled]
        return keys, [name for name in self.multi_valued_axes if name in pooled]

    def with_pooled(self, table: pl.DataFrame, keys: Sequence[str], pooled: Sequence[str]) -> pl.DataFrame:
        """Return the table with a column `pooled` if axes are pooled."""
        if not pooled:
            return table
        groups = map_chunks(
            self.chunks,
            lambda chunk: (
                self.with_source_columns(chunk.completions, keys, chunk.completions)
                .select(*keys, *pooled)
                .unique()
                .collect()
            ),
        )
        return add_pooled(table, pl.concat(groups), keys, pooled)

    def with_requested_names(self, table: pl.DataFrame, by: str | Sequence[str] | None) -> pl.DataFrame:
        """Return the table with the columns of `by` under the names that the caller wrote.

        Raises:
            ArgumentError: If the table has another column of this name.
        """
        written = {source_column(name): name for name in self.names(by)}
        names = {column: name for column, name in written.items() if column in table.columns}
        for column, name in names.items():
            if name in table.columns:
                raise ArgumentError(f"by={name!r}: the table already has a column {name!r}. Write by={column!r}.")
        return table.rename(names)

    def metric_list(self, metrics: str | Sequence[str] | None) -> list[str]:
        """Return the names of metrics, default all scored metrics.

        Raises:
            UnknownNameError: If a metric was not scored.
        """
        scored = list(self.manifest["metrics"])
        names = _as_list("metrics", metrics or scored)
        for name in names:
            if name not in scored:
                hint = (
                    f"To add it without running the model: results.rescore({name!r})."
                    if name in METRICS
                    else "results.metric_names lists all."
                    if len(scored) > 5
                    else ""
                )
                raise UnknownNameError.among("metric of these results", name, scored, hint=hint)
        return names

    def mean(self) -> str:
        """Return the mean over subsets of the stopping rule, else of the scenarios."""
        stopped_by = self.manifest.get("until", {}).get("mean")
        means = {stopped_by or scenario["main"]["mean"] for scenario in self.manifest["scenarios"].values()}
        return str(means.pop()) if len(means) == 1 else "macro"

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

    def values_in_order(self, axis: str) -> list[str]:
        """Return the values of an axis in the order of the plan; the manifests of other tools may lack some."""
        entries = self.manifest.get({"setting": "settings"}.get(axis, f"{axis}s"), {})
        return ["all", ORIGINAL, "robustness", "fairness", *entries] if axis == "perturbation" else list(entries)

    def in_order(self, table: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
        """Return the rows sorted by their keys: axes in the order of the plan, other columns by value."""
        sorts: list[pl.Expr] = []
        for key in keys:
            order = self.values_in_order(key) if key in ("scenario", "model", "setting", "perturbation") else []
            if order:
                positions = dict(zip(order, range(len(order)), strict=True))
                position = pl.col(key).replace_strict(positions, default=len(order), return_dtype=pl.Int64)
                sorts.append(position)
            sorts.append(pl.col(key))
        return table.sort(sorts, maintain_order=True) if sorts else table

    def perturbation_entries(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the entry of each perturbation in the manifest."""
        return dict(self.manifest.get("perturbations", {}))

    # -- private -----------------------------------------------------------------------------------------------------

    @cached_property
    def last_table(self) -> dict[str, pl.DataFrame]:
        """The last table, by its arguments."""
        return {}

    @cached_property
    def default_axes(self) -> list[str]:
        """The axes that make a table's columns by default; split and setting only if they have several values."""
        values = [pl.col(name).unique().implode() for name in _OPTIONAL_AXES]
        frames = map_chunks(self.chunks, lambda chunk: chunk.completions.select(values).collect())
        several = {
            name for name in _OPTIONAL_AXES if len({value for frame in frames for value in frame[name].item()}) > 1
        }
        return [name for name in AXES if name in several or name not in _OPTIONAL_AXES]

    @cached_property
    def multi_valued_axes(self) -> list[str]:
        """The axes with several values."""
        values = [pl.col(name).unique().implode() for name in AXES]
        chunks = map_chunks(self.chunks, lambda chunk: chunk.completions.select(values).collect())
        return [name for name in AXES if len({value for chunk in chunks for value in chunk[name].item()}) > 1]


@dataclass(frozen=True, repr=False)
class ResultsData:
    """The tables of results and their manifest; `Results` adds the methods that analyse them."""

    completions: pl.LazyFrame
    scores: pl.LazyFrame
    prefixes: pl.LazyFrame
    manifest: Mapping[str, Any]
    path: Address | None = None
    verdicts: pl.LazyFrame = field(default_factory=lambda: pl.LazyFrame(schema=VERDICTS.schema))
    helm_stats: pl.LazyFrame = field(default_factory=lambda: pl.LazyFrame(schema=HELM_STATS.schema))
    images: pl.LazyFrame = field(default_factory=lambda: pl.LazyFrame(schema=IMAGES.schema))

    def __post_init__(self) -> None:
        """Mark the scores of a run that stopped early, so that `hf.stats` doesn't take their number for fixed."""
        if "until" in self.manifest and STOPPED not in self.scores.collect_schema():
            object.__setattr__(self, "scores", self.scores.with_columns(pl.lit(value=True).alias(STOPPED)))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Load results from a run's folder: on disk, in a bucket (`s3://…`), or on the Hub (`hf://datasets/…`).

        A run that was killed has the completions that it stored. Completions of unfinished shards have no scores.

        >>> import helmframe as hf
        >>> results = hf.scenario("sampler").where(subject="music").limit(4).generate(hf.models.oracle()).score()
        >>> hf.load(results.path).value("exact_match")
        1.0

        Raises:
            StoreError: If the folder contains no results.
            ArgumentError: If `path` isn't a folder.
        """
        if not isinstance(path, str | Path):
            raise ArgumentError(f"load({path!r}): path must be the folder of a run or of results.to_parquet(folder).")
        address = address_of(path)
        if is_on_hub(address):
            address = download(str(address))
        if isinstance(address, Path) and address.is_file():
            raise ArgumentError(f"load({str(path)!r}): this is a file. Results are a folder with a manifest.json.")
        folder = RunFolder(address)
        with reading(folder.path, "a folder with results", StoreError):
            manifest = folder.manifest()
            _check_manifest(manifest, folder)
            empty = {name: pl.LazyFrame(schema=table.schema) for name, table in TABLES.items()}
            scans = {name: folder.scan(name) for name in TABLES}
            for name, scan in scans.items():
                _check_columns(scan, name, folder)
            tables = {name: empty[name] if table is None else table for name, table in scans.items()}
            unscored = unfinished(folder, manifest)
            if unscored is not None:
                tables["completions"] = _with_unfinished(tables["completions"], unscored.completions)
                tables["prefixes"] = _with_unfinished(tables["prefixes"], unscored.prefixes)
            results = cls(**tables, manifest=manifest, path=folder.path)
            # so that a folder in a bucket isn't listed again
            vars(results)["_folder"] = folder
            return results

    @property
    def metric_names(self) -> list[str]:
        """Return the names of the scored metrics.

        >>> import helmframe as hf
        >>> results = hf.scenario("sampler").where(subject="music").limit(4).generate(hf.models.oracle()).score()
        >>> results.metric_names[0]
        'exact_match'
        """
        return list(self.manifest["metrics"])

    @property
    def main_metrics(self) -> list[str]:
        """Return the main metric of each scenario, if it was scored; else the first scored metric.

        >>> import helmframe as hf
        >>> results = hf.scenario("sampler").where(subject="music").limit(4).generate(hf.models.oracle()).score()
        >>> results.main_metrics
        ['exact_match']
        """
        return self._reader.main_metrics

    def __getstate__(self) -> dict[str, Any]:
        """Return the fields, without the open folder, which has a lock."""
        return {name: value for name, value in vars(self).items() if name != "_folder"}

    @cached_property
    def _folder(self) -> RunFolder | None:
        return None if self.path is None else RunFolder(self.path)

    @cached_property
    def _reader(self) -> ResultsReader:
        shards: list[dict[str, pl.LazyFrame]] = []
        unscored: Unfinished | None = None
        if self._folder is not None:
            unscored = unfinished(self._folder, self.manifest)
            scenarios = self.manifest["scenarios"].items()
            whole = [name for name, scenario in scenarios if scenario.get("whole_shards", False)]
            shards = self._folder.shards(("completions", "scores"), whole)
        empty = {name: pl.LazyFrame(schema=TABLES[name].schema) for name in ("completions", "scores")}
        chunks = [Chunk(**{**empty, **shard}) for shard in shards] or [Chunk(self.completions, self.scores)]
        if shards and unscored is not None:
            chunks.append(Chunk(unscored.completions.lazy(), empty["scores"]))
        n_unscored = 0 if unscored is None else unscored.completions.height
        return ResultsReader(chunks, self.manifest, self.completions, n_unscored)


# The fields of a manifest that results need: field → the keys of each of its entries, with their types.
_MANIFEST_FIELDS: Mapping[str, Mapping[str, tuple[type, ...]]] = {
    "metrics": {"level": (str,), "unit": (str,), "higher_is_better": (bool, type(None))},
    "scenarios": {"main": (dict,)},
}
_MAPPINGS = ("counts", "models", "perturbations", "adapters", "until", "versions", "prices", "unpinned")
_MAPPINGS_OF_MAPPINGS = ("models", "perturbations", "adapters")
_LISTS_OF_MAPPINGS = (
    "skipped", "runs", "empty_completions", "reasoning", "unparsed_completions",
)  # fmt: skip
# The columns of tables that every use of results needs, with their types.
_KEY_TEXTS = (*INSTANCE, "subset", "cluster", "split", "model", "setting", "perturbation")
_KEY_NUMBERS: Mapping[str, type[pl.DataType]] = dict.fromkeys(("perturbation_seed", "trial", "output_index"), pl.Int64)
_KEY_COLUMNS: Mapping[str, Mapping[str, type[pl.DataType]]] = {
    "completions": {**dict.fromkeys((*_KEY_TEXTS, "completion"), pl.String), **_KEY_NUMBERS},
    "scores": {**dict.fromkeys((*_KEY_TEXTS, "metric"), pl.String), **_KEY_NUMBERS, "score": pl.Float64},
    "prefixes": dict.fromkeys(("prefix_id", "prefix"), pl.String),
}

# Further columns that tables of results read: they must be present.
_READ_COLUMNS: Mapping[str, Collection[str]] = {
    "completions": (
        *("input", "references", "perturbed_references", "choices"),
        *("reference_index", "request_mode", "shots_used"),
    ),
}


def _check_manifest(manifest: Mapping[str, Any], folder: RunFolder) -> None:
    """Check the fields of a manifest that results need; the folder may be another person's.

    Raises:
        StoreError: A field is missing or has another type.
    """
    for field_name, keys in _MANIFEST_FIELDS.items():
        entries = manifest.get(field_name)
        valid = isinstance(entries, Mapping) and all(
            isinstance(entry, Mapping) and all(isinstance(entry.get(key), types) for key, types in keys.items())
            for entry in entries.values()
        )
        if not valid:
            raise StoreError(f"{folder.path}: manifest.json has no valid field {field_name!r}. Run the plan again.")
    for name, scenario in manifest["scenarios"].items():
        if not all(isinstance(scenario["main"].get(key), str) for key in ("metric", "split", "mean")):
            raise StoreError(f"{folder.path}: manifest.json has no valid main metric of scenario {name!r}.")
    for field_name in _MAPPINGS:
        if not isinstance(manifest.get(field_name, {}), Mapping):
            raise StoreError(f"{folder.path}: the field {field_name!r} of manifest.json must be an object.")
    if not all(is_integer(count) for count in manifest.get("counts", {}).values()):
        raise StoreError(f"{folder.path}: the values of 'counts' in manifest.json must be integers.")
    for field_name in (*_MAPPINGS_OF_MAPPINGS, *_LISTS_OF_MAPPINGS):
        entries = manifest.get(field_name) or ()
        listed = entries.values() if field_name in _MAPPINGS_OF_MAPPINGS and entries else entries
        if not isinstance(entries, Mapping | list | tuple) or not all(isinstance(entry, Mapping) for entry in listed):
            raise StoreError(f"{folder.path}: the entries of {field_name!r} in manifest.json must be objects.")


def _check_columns(rows: pl.LazyFrame | None, table: str, folder: RunFolder) -> None:
    """Check the columns of a table that results need.

    Raises:
        StoreError: A column is missing or has another type.
    """
    if rows is None:
        return
    columns = _KEY_COLUMNS.get(table, {})
    schema = rows.collect_schema()
    expected: dict[str, Any] = {**TABLES[table].schema, **columns}
    for name, dtype in expected.items():
        present = schema.get(name)
        if present is None:
            # older versions lack some columns
            problem = "is missing" if name in columns or name in _READ_COLUMNS.get(table, ()) else ""
        else:
            problem = "" if _is_like(present, dtype) else f"has the type {present}, not {dtype}"
        if problem:
            raise StoreError(f"{folder.path}: column {name!r} of table {table!r} {problem}. Run the plan again.")


def _is_like(present: pl.DataType, dtype: pl.DataType | type[pl.DataType]) -> bool:
    """Return whether values of one type are read as values of another: numbers as numbers, lists as lists."""
    if isinstance(present, pl.List) and isinstance(dtype, pl.List):
        return _is_like(present.inner, dtype.inner)  # type: ignore[arg-type]
    same = present.base_type() == dtype.base_type() or present == pl.Null
    return same or (present.is_numeric() and dtype.is_numeric())


def adapters_with_parser(manifest: Mapping[str, Any], parser: str) -> dict[str, AdapterSpec]:
    """Return the adapters in a manifest with another parser of answers, by their ids."""
    adapters: Mapping[str, Mapping[str, Any]] = manifest.get("adapters", {})
    return {old: adapter_spec(frozen({**fields, "answer_parser": parser})) for old, fields in adapters.items()}


def reader_of(results: ResultsData) -> ResultsReader:
    """Return the cached reader of the results."""
    return results._reader  # noqa: SLF001


# A column of results that are compared by their overlap with a corpus, and its values.
OVERLAPPING = source_column("overlap")
CLEAN, CONTAMINATED = "clean", "contaminated"


def with_overlap(results: ResultsData, overlap: pl.DataFrame | None) -> ResultsData:
    """Return results with a source column `overlap`: "contaminated" if the corpus has an n-gram of an instance.

    Args:
        results: The results.
        overlap: `OVERLAP` of their instances, for one n. Rows of the field intersection are ignored, as HELM does. None
            returns the results unchanged.

    Raises:
        ArgumentError: The frame isn't `OVERLAP`, has several n, or lacks instances of the results; or the scenario has
            a column `overlap`.
    """
    if overlap is None:
        return results
    needed = [*INSTANCE, "field", "n", "n_overlapping"]
    if not isinstance(overlap, pl.DataFrame) or not {*needed} <= {*overlap.columns}:
        raise ArgumentError(f"overlap={type(overlap).__name__}: overlap must be the frame of plan.overlap(corpus).")
    if OVERLAPPING in results.completions.collect_schema():
        raise ArgumentError("overlap=…: the scenario has a column 'overlap' of its own. Rename it in the scenario.")
    sizes = overlap["n"].unique().sort().to_list()
    if len(sizes) > 1:
        raise ArgumentError(f"overlap=…: the frame has several n: {sizes}. Select one: overlap.filter(n={sizes[-1]}).")
    is_any = (pl.col("n_overlapping") > 0).any()
    status = pl.when(is_any).then(pl.lit(CONTAMINATED)).otherwise(pl.lit(CLEAN))
    rows = overlap.filter(pl.col("field") != "intersection")
    statuses = rows.group_by(INSTANCE).agg(status.alias(OVERLAPPING))

    def joined(completions: pl.LazyFrame) -> pl.LazyFrame:
        return completions.join(statuses.lazy(), on=INSTANCE, how="left", maintain_order="left", validate="m:1")

    reader = reader_of(results)
    missing = map_chunks(
        reader.chunks,
        lambda chunk: (
            chunk.completions.select(INSTANCE).unique().join(statuses.lazy(), on=INSTANCE, how="anti").collect()
        ),
    )
    absent = pl.concat(missing).unique().sort(INSTANCE)
    if absent.height:
        raise ArgumentError(
            f"overlap=…: the frame lacks {absent.height:,} instances of these results, such as "
            f"{absent['instance_id'][0]!r} of scenario {absent['scenario'][0]!r}. Compute it over the same plan."
        )
    changed = replace(results, completions=joined(results.completions))
    chunks = [Chunk(joined(chunk.completions), chunk.scores) for chunk in reader.chunks]
    # results with a path would read their chunks from it again
    vars(changed)["_reader"] = ResultsReader(chunks, reader.manifest, changed.completions, reader.n_unscored)
    return changed


def folder_description(shown: Sequence[str]) -> dict[str, str]:
    """Return the files that describe an exported folder: name → text; the Hub shows the tables `shown`."""
    tables = {
        name: {
            "grain": table.grain,
            "columns": {
                column.name: {"dtype": str(column.dtype), "meaning": column.meaning, "unit": column.unit}
                for column in table.columns
            },
        }
        for name, table in TABLES.items()
    }
    for name in ("completions", "scores"):
        tables[name]["columns"]["completion_id"] = {  # type: ignore[index]
            "dtype": "Int64", "meaning": "number of the completion, which joins scores and completions", "unit": "",
        }  # fmt: skip
    lines = [
        "---",
        "configs:",
        *(f"- config_name: {name}\n  data_files: {name}/**/*.parquet" for name in shown),
        "---",
        "",
        "# Results of helmframe",
        "",
        "Each table is a folder of Parquet files. `schema.json` describes the columns; columns that start with `data_`",
        "are the scenario's own. `manifest.json` describes the run. `hf.load(folder)` reads the folder in helmframe.",
        "",
        *(f"- `{name}`: {table.grain}" for name, table in TABLES.items()),
        "",
    ]
    return {"README.md": "\n".join(lines), "schema.json": json.dumps(tables, indent=1, ensure_ascii=False) + "\n"}


def _as_list(argument: str, value: str | Sequence[str]) -> list[str]:
    if isinstance(value, str):
        return [value]
    if not isinstance(value, Iterable):
        raise ArgumentError(f"{argument}={value!r}: {argument} must be a name or a list of names.")
    return list(value)


def _with_unfinished(rows: pl.LazyFrame, unfinished_rows: pl.DataFrame) -> pl.LazyFrame:
    return pl.concat([rows, unfinished_rows.lazy()], how="diagonal_relaxed")


def _right_labels(labels: str) -> pl.Expr:
    """Return the labels of the right options."""
    return pl.col(labels).list.gather(pl.col("right").list.eval(pl.element().arg_true()))


def filter_equal(frame: pl.DataFrame, column: str, value: object) -> pl.DataFrame:
    """Return the rows whose column has this value.

    Raises:
        ArgumentError: If the column has another type.
    """
    try:
        return frame.filter(pl.col(column) == value)
    except pl.exceptions.PolarsError:
        kind = frame.schema[column]
    raise ArgumentError(
        f"{column}={value!r}: column {column!r} has type {kind}, and {value!r} is a {type(value).__name__}."
    )


def with_scores(rows: pl.DataFrame, scores: pl.DataFrame) -> pl.DataFrame:
    """Return rows of completions with a column per metric: the score of the request, else of the instance.

    Args:
        rows: Rows with the keys of `COMPLETIONS`.
        scores: `SCORES`.
    """
    conformed = conform(scores, SCORES)
    output_key = [name for name in SCORES.key if name not in (*OF_REQUEST, "metric")]
    instance_key = [name for name in output_key if name != "output_index"]
    per_request = pl.any_horizontal(pl.col(name).is_not_null() for name in OF_REQUEST)
    joined = pl.col("output_index").is_null()
    for on, subset in (
        (instance_key, conformed.filter(joined)),
        (output_key, conformed.filter(~joined & ~per_request)),
        ([*output_key, *OF_REQUEST], conformed.filter(~joined & per_request)),
    ):
        # older versions stored scores without their request: the first one is used
        wide = subset.pivot("metric", index=on, values="score", aggregate_function="first")
        rows = rows.join(wide, on=on, how="left", nulls_equal=True, maintain_order="left", validate="m:1", suffix="\0")
        duplicates = [name for name in wide.columns if f"{name}\0" in rows.columns]
        rows = rows.with_columns(pl.coalesce(name, f"{name}\0").alias(name) for name in duplicates)
        rows = rows.drop(f"{name}\0" for name in duplicates)
    return rows
