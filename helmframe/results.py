"""Results: what a run read, asked and scored, as lazy tables, and the tables people look at."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from helmframe.columns import COMPLETIONS, ORIGINAL, PREFIXES, SCORES
from helmframe.comparison import paired
from helmframe.errors import ArgumentError, NotComparableError, StoreError, UnknownNameError
from helmframe.metrics import METRICS, check_units, chosen, flattened, parse, score
from helmframe.stats import aggregate, aggregate_set, robustness
from helmframe.store import Address, RunFolder, address_of, below, listing, write_parquet

if TYPE_CHECKING:
    from helmframe.views.charts import Plot

INSTANCE = ("scenario", "instance_id")
# What may tell the rows of a table apart, in this order.
AXES = ("scenario", "split", "model", "setting", "perturbation")


@dataclass(frozen=True)
class Results:
    """The outcome of a run, self-contained: it needs neither bucket nor spec nor model.

    `completions`, `scores`, `prefixes` are lazy tables (`hf.columns()` documents them); the methods aggregate, compare
    and show.
    """

    completions: pl.LazyFrame = field(repr=False)
    scores: pl.LazyFrame = field(repr=False)
    prefixes: pl.LazyFrame = field(repr=False)
    manifest: Mapping[str, Any] = field(repr=False)
    path: Address | None = None

    @classmethod
    def load(cls, path: str | Path) -> "Results":
        """Results from a run's folder, which may lie in a bucket: `s3://bucket/…`.

        Raises:
            StoreError: the folder holds none.
        """
        folder = RunFolder(address_of(path))
        manifest = folder.manifest()
        empty = {name: pl.LazyFrame(schema=table.schema) for name, table in _KEPT.items()}
        tables = {name: folder.scan(name) for name in _KEPT}
        return cls(**{name: empty[name] if table is None else table for name, table in tables.items()},
                   manifest=manifest, path=folder.path)  # fmt: skip

    # -- tables ------------------------------------------------------------------------------------------------------

    @property
    def requests(self) -> pl.LazyFrame:
        """One row per request as sent, with `prompt`."""
        answers = [column.name for column in COMPLETIONS.adds if column.name not in ("output_index", "request_id")]
        rows = self.completions.drop(answers)
        prefixes = self.prefixes.unique("prefix_id")
        joined = rows.join(prefixes, on="prefix_id", how="left", maintain_order="left", validate="m:1")
        return joined.with_columns(prompt=pl.col("prefix") + pl.col("suffix")).drop("prefix")

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

    def table(
        self,
        by: str | Sequence[str] | None = None,
        *,
        metrics: str | Sequence[str] | None = None,
        ci: float = 0.95,
        mean: str | None = None,
        pivot: str | None = None,
    ) -> pl.DataFrame:
        """Aggregated scores, one row per group and metric.

        Args:
            by: what makes a group: any of scenario, split, model, setting, perturbation, trial, part, or a column of
                the scenario's own (`subject`); default: whatever the run varied.
            metrics: which; default all.
            ci: share of intervals that should contain the true value.
            mean: over parts ("macro") or by size ("micro"); default the scenario's own.
            pivot: one of `by`: its values become columns that hold `value`.

        Returns:
            `by`, metric and `STATS`; `chance` is what guessing scores, where there are choices.
        """
        keys = self._by(by)
        names = self._metrics(metrics)
        over_parts = mean or self._mean()
        frames = []
        per_row = [name for name in names if self.manifest["metrics"][name]["level"] != "set"]
        if per_row:
            scores = self._with(self.scores, keys).filter(pl.col("metric").is_in(per_row))
            frames.append(aggregate(scores, keys, fractions=self.fractions(), ci=ci, mean=over_parts))
        for each in chosen([name for name in names if name not in per_row]):
            rows = self._with(parse(self.completions), keys)
            frames.append(
                aggregate_set(
                    rows,
                    each.function(),
                    keys,
                    metric=each.name,
                    ci=ci,
                    mean=over_parts,
                    fraction=each.unit == "fraction",
                )
            )
        table = pl.concat(frames, how="diagonal_relaxed").join(
            self._chance(keys, names), on=[*keys, "metric"], how="left", nulls_equal=True, maintain_order="left"
        )
        order = {name: place for place, name in enumerate(self.metric_names)}
        # The original stands first among its perturbations.
        sorts = [pl.col(key) != ORIGINAL if key == "perturbation" else pl.col(key) for key in keys]
        table = table.sort(*sorts, *keys, pl.col("metric").replace_strict(order), maintain_order=True)
        if pivot is None:
            return table
        if pivot not in keys:
            raise UnknownNameError.among("column of this table", pivot, keys)
        return table.pivot(pivot, index=[*(key for key in keys if key != pivot), "metric"], values="value")

    def value(self, metric: str | None = None, **where: Any) -> float:
        """One aggregated score.

        Args:
            metric: default the main one.
            **where: what tells it apart, where the run varied it: model, perturbation (default "original"), setting,
                scenario …

        Raises:
            ArgumentError: the words leave more than one value, or none.
        """
        name = metric or self.main_metrics[0]
        keys = list(dict.fromkeys([*self._by(None), *where]))
        table = self.table(keys, metrics=name)
        if "perturbation" in keys and "perturbation" not in where:
            table = table.filter(pl.col("perturbation") == ORIGINAL)
        for column, value in where.items():
            table = table.filter(pl.col(column) == value)
        if table.height != 1:
            there = ", ".join(f"{key}=…" for key in keys if table[key].n_unique() > 1) or "other words"
            raise ArgumentError(f"value({name!r}): {table.height} values fit. Say more: {there}.\n{table.select(keys)}")
        return float(table["value"].item())

    def rows(self, *, metric: str | None = None, score: float | None = None, **equals: Any) -> pl.DataFrame:
        """Wide rows, one per completion: input, prompt, completion, output, references, and each metric as a column.

        Args:
            metric: with `score`: the metric it is about; default the main one.
            score: only rows with this score.
            **equals: column=value.
        """
        keys = [*COMPLETIONS.key]
        scores = self.scores.filter(pl.col("output_index").is_not_null()).collect()
        on = [key for key in SCORES.key if key != "metric"]
        wide = scores.pivot("metric", index=on, values="score", aggregate_function="first")
        shown = [
            "input",
            "perturbed_input",
            "prompt",
            "completion",
            "reasoning",
            "output",
            "parsed",
            "correct",
            "choices",
            "error",
        ]
        read = parse(self.completions).join(
            self.prefixes.unique("prefix_id"), on="prefix_id", how="left", maintain_order="left"
        )
        frame = (
            read.with_columns(prompt=pl.col("prefix") + pl.col("suffix"))
            .select(*(key for key in keys if key not in ("reference_index", "request_mode")), *shown, "part", "split")
            .join(wide.lazy(), on=on, how="left", nulls_equal=True, maintain_order="left")
            .collect()
        )
        if score is not None:
            frame = frame.filter(pl.col(self._metrics(metric or self.main_metrics[0])[0]) == score)
        for column, value in equals.items():
            if column not in frame.columns:
                raise UnknownNameError.among("column of these rows", column, frame.columns)
            frame = frame.filter(pl.col(column) == value)
        return frame

    def wrong(self, metric: str | None = None) -> pl.DataFrame:
        """The rows that score 0."""
        return self.rows(metric=metric, score=0.0)

    def errors(self) -> pl.DataFrame:
        """The requests that failed: instance, model and error; each is asked again by the next run."""
        keys = (
            "scenario",
            "instance_id",
            "perturbation",
            "perturbation_seed",
            "setting",
            "trial",
            "model",
            "output_index",
        )
        return self.completions.filter(pl.col("error").is_not_null()).select(*keys, "attempts", "error").collect()

    # -- questions ---------------------------------------------------------------------------------------------------

    def robustness(self, by: str | Sequence[str] | None = None, *, ci: float = 0.95) -> pl.DataFrame:
        """Original against perturbed, one row per group, metric and perturbation ("all": over all of them).

        Args:
            by: as in `table`, without perturbation.
            ci: level of the drop's interval.

        Returns:
            original, mean over variants, worst (`worst@k` over k variants, the original among them), right→wrong,
            wrong→right, changed share, and the headline: the paired drop (perturbed − original, on changed inputs) with
            its interval.
        """
        keys = [key for key in self._by(by) if key != "perturbation"]
        directions = {name: bool(each["higher_is_better"]) for name, each in self.manifest["metrics"].items()}
        scores = self._with(self.scores, keys)
        return robustness(scores, keys, higher_is_better=directions, fractions=self.fractions(), ci=ci)

    def compare(
        self,
        axis: str,
        *,
        metrics: str | Sequence[str] | None = None,
        errors: str = "refuse",
        ci: float = 0.95,
    ) -> pl.DataFrame:
        """Paired differences between the values of one axis: model, setting or perturbation.

        Each value against the first (for perturbation: the original).

        Args:
            axis: what is compared.
            metrics: default the main metric.
            errors: where more than 1 % failed: "refuse", "drop" those, or count them as "zero".
            ci: level of the interval.

        Raises:
            UnknownNameError: no such axis.
            NotComparableError: the run has only one value of it, or too many requests failed.
        """
        if axis not in ("model", "setting", "perturbation"):
            raise UnknownNameError.among("axis of comparison", axis, ["model", "setting", "perturbation"])
        values = self.scores.select(axis).unique().collect().to_series().sort().to_list()
        if axis == "perturbation":
            values.sort(key=lambda value: value != ORIGINAL)
        if len(values) < 2:
            raise NotComparableError(f"compare({axis!r}): the run has one {axis} only: {values[0]!r}.")
        sides = {str(value): replace(self, scores=self.scores.filter(pl.col(axis) == value)) for value in values}
        return _paired(sides, str(values[0]), without=(axis,), metrics=metrics, errors=errors, ci=ci)

    def rescore(self, *metrics: str | Sequence[str]) -> "Results":
        """The same completions under other metrics; asks no model."""
        names = flattened(metrics) or tuple(self.metric_names)
        about = {
            each.name: {"level": each.level, "unit": each.unit, "higher_is_better": each.higher_is_better}
            for each in chosen(names)
        }
        scores = score(self.completions, names).collect()
        check_units(scores)
        return replace(self, scores=scores.lazy(), manifest={**self.manifest, "metrics": about}, path=None)

    def sql(self, query: str) -> pl.DataFrame:
        """DuckDB SQL over the tables `completions`, `requests`, `scores` and `stats`.

        `results.sql("SELECT metric, avg(score) FROM scores GROUP BY ALL")`
        """
        import duckdb

        tables = ("completions", "requests", "scores", "stats")
        with duckdb.connect() as connection:
            # Else a table that is not there might be found among the variables of this file.
            connection.execute("SET python_enable_replacements = false")
            for name in tables:
                if re.search(rf"\b{name}\b", query):
                    connection.register(name, getattr(self, name).collect().to_arrow())
            try:
                return connection.sql(query).pl()
            except duckdb.CatalogException as error:
                raise ArgumentError(f"sql(): {error}\nThe tables are {', '.join(tables)}.") from None

    # -- out ---------------------------------------------------------------------------------------------------------

    @property
    def plot(self) -> "Plot":
        """Charts: `results.plot.scores()`."""
        from helmframe.views.charts import Plot

        return Plot(self)

    def to_parquet(self, folder: str | Path) -> Address:
        """The results as one folder of Parquet and a manifest, to move elsewhere; `hf.load` reads it.

        Raises:
            StoreError: there is something else in the folder.
        """
        target = address_of(folder)
        if listing(target):
            raise StoreError(f"{target} is not empty; choose another folder.")
        for name in _KEPT:
            frame = getattr(self, name).collect()
            for (scenario,), rows in frame.with_columns(_s=_scenario_of(name)).partition_by("_s", as_dict=True).items():
                write_parquet(rows.drop("_s"), below(target, name, str(scenario), "000000.parquet"))
        RunFolder(target).write_manifest(self.manifest)
        return target

    def __repr__(self) -> str:
        from helmframe.views.display import results_text

        return results_text(self)

    def _repr_html_(self) -> str:
        from helmframe.views.display import results_html

        return results_html(self)

    # -- private -----------------------------------------------------------------------------------------------------

    def _by(self, by: str | Sequence[str] | None) -> list[str]:
        if by is not None:
            return [by] if isinstance(by, str) else list(by)
        counts = self.scores.select(pl.col(name).n_unique() for name in AXES).collect().row(0, named=True)
        return [name for name in AXES if counts[name] > 1 or name in ("scenario", "model", "perturbation")]

    def _metrics(self, metrics: str | Sequence[str] | None) -> list[str]:
        names = [metrics] if isinstance(metrics, str) else list(metrics or self.metric_names)
        for name in names:
            if name not in self.metric_names:
                hint = f"It can be scored without asking again: results.rescore({name!r})." if name in METRICS else ""
                raise UnknownNameError.among("metric of these results", name, self.metric_names, hint=hint)
        return names

    def _mean(self) -> str:
        means = {each["main"]["mean"] for each in self.manifest["scenarios"].values()}
        return str(means.pop()) if len(means) == 1 else "macro"

    def fractions(self) -> list[str]:
        return [name for name, each in self.manifest["metrics"].items() if each["unit"] == "fraction"]

    def _with(self, rows: pl.LazyFrame, keys: Sequence[str]) -> pl.LazyFrame:
        """The rows with the columns of the scenario's own that `keys` name."""
        there = rows.collect_schema().names()
        missing = [key for key in keys if key not in there]
        if not missing:
            return rows
        own = self.completions.collect_schema().names()
        for key in missing:
            if key not in own:
                raise UnknownNameError.among("column to group by", key, dict.fromkeys([*AXES, *own]))
        columns = self.completions.select(*INSTANCE, *missing).unique(INSTANCE)
        return rows.join(columns, on=INSTANCE, how="left", maintain_order="left", validate="m:1")

    def _chance(self, keys: Sequence[str], names: Sequence[str]) -> pl.DataFrame:
        """What guessing evenly among the choices scores, for metrics that compare the choice."""
        right = pl.col("perturbed_references").list.eval(pl.element().struct.field("correct")).list.sum()
        rows = self._with(self.completions, keys).filter(pl.col("choices").list.len() > 0)
        parts = (
            rows.with_columns(share=right / pl.col("choices").list.len())
            .group_by(list(dict.fromkeys([*keys, "part"])))
            .agg(pl.col("share").mean())
        )
        chance = parts.group_by(keys).agg(chance=pl.col("share").mean()).collect()
        matching = pl.DataFrame(
            {"metric": [name for name in names if name.endswith("exact_match")]}, schema={"metric": pl.String}
        )
        return chance.join(matching, how="cross")


_KEPT = {"completions": COMPLETIONS, "scores": SCORES, "prefixes": PREFIXES}


def _scenario_of(table: str) -> pl.Expr:
    return pl.lit("all") if table == "prefixes" else pl.col("scenario")


def compare_results(
    a: "Results | str | Path",
    b: "Results | str | Path",
    *,
    axis: str | Sequence[str] = (),
    metrics: str | Sequence[str] | None = None,
    labels: tuple[str, str] = ("a", "b"),
    errors: str = "refuse",
    ci: float = 0.95,
) -> pl.DataFrame:
    """A − b over the instances that both answered, with interval and test; what differs is in the column `differs`.

    Args:
        a: results, or the folder of some.
        b: the same.
        axis: what may differ: model, prompt, decoding, perturbation, version. Default: exactly one of them, whichever
            it is.
        metrics: default the main metric.
        labels: names of the sides.
        errors: where more than 1 % of a side failed: "refuse", "drop" those, or count them as "zero".
        ci: level of the interval.

    Raises:
        NotComparableError: more than one thing differs and was not named, nothing is shared, or too many requests
            failed.
    """
    for each in (a, b):
        if not isinstance(each, Results | str | Path):
            raise ArgumentError(
                f"compare() takes results or the folder of some, not {type(each).__name__}: .score() first."
            )
    sides = [each if isinstance(each, Results) else Results.load(each) for each in (a, b)]
    said = [axis] if isinstance(axis, str) else list(axis)
    for each in said:
        if each not in _DIFFERENCES:
            raise UnknownNameError.among("axis of comparison", each, _DIFFERENCES)
    differs = [name for name, column in _DIFFERENCES.items() if _set(sides[0], column) != _set(sides[1], column)]
    if len(differs) > 1 and set(differs) - set(said):
        raise NotComparableError(
            f"these differ in {' and '.join(differs)}; a difference could come from any of them. "
            f"If that is meant: hf.compare(a, b, axis={differs!r})."
        )
    without = [column for name, column in _DIFFERENCES.items() if name in differs] + ["setting"]
    named = dict(zip(labels, sides, strict=True))
    table = _paired(named, labels[1], without=without, metrics=metrics, errors=errors, ci=ci)
    return table.with_columns(differs=pl.lit(", ".join(differs) or "nothing"))


_DIFFERENCES = {
    "model": "model",
    "prompt": "adapter_id",
    "decoding": "decoding",
    "perturbation": "perturbation",
    "version": "scenario_version",
}


def _set(results: Results, column: str) -> set[Any]:
    return set(results.completions.select(column).unique().collect().to_series())


def _paired(
    sides: Mapping[str, Results],
    base: str,
    *,
    without: Sequence[str],
    metrics: str | Sequence[str] | None,
    errors: str,
    ci: float,
) -> pl.DataFrame:
    first = sides[base]
    names = [metrics] if isinstance(metrics, str) else list(metrics or first.main_metrics)
    return paired(
        {label: side.scores.filter(pl.col("metric").is_in(names)) for label, side in sides.items()},
        base,
        without=without,
        higher_is_better={name: bool(each["higher_is_better"]) for name, each in first.manifest["metrics"].items()},
        fractions=first.fractions(),
        errors=errors,
        ci=ci,
    )
