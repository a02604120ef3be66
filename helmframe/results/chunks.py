"""What results hold, in chunks of whole instances, and what their tables of scores are made of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import polars as pl

from helmframe._schema import OF_REQUEST, SCORES, SOURCE_PREFIX, Table, conform, resolve_column, source_names
from helmframe.errors import ArgumentError, UnknownNameError
from helmframe.metrics.helm_outputs import helm_scores
from helmframe.stats.frames import map_chunks
from helmframe.stats.table import AXES

INSTANCE = ("scenario", "instance_id")
# Those that have a column only where there are several.
_SOMETIMES = ("split", "setting")


@dataclass(frozen=True)
class Chunk:
    """Some instances, whole: all completions of theirs, and all scores."""

    completions: pl.LazyFrame
    scores: pl.LazyFrame


@dataclass(frozen=True)
class Held:
    """All chunks of some results; `schema` is that of their completions, whatever a chunk's scenario has of it."""

    chunks: Sequence[Chunk]
    schema: pl.Schema
    unscored: int = 0  # completions of shards that the run did not finish
    # what was read of all completions, by what for: a table and the repr after it ask the same
    _read: dict[tuple[str, ...], pl.DataFrame] = field(default_factory=dict, repr=False, compare=False)

    def scores(self, keys: Sequence[str]) -> list[pl.LazyFrame]:
        """Chunk by chunk the scores, with the columns of the scenario's own that `keys` name."""
        return [self.with_own(chunk.scores, chunk.completions, keys) for chunk in self.chunks]

    def helm_scores(self, keys: Sequence[str], metrics: Sequence[str]) -> list[pl.LazyFrame]:
        """Return the scores as `scores` does, but of n outputs only those that HELM counts by these metrics."""
        return [
            self.with_own(helm_scores(chunk.scores, chunk.completions, metrics), chunk.completions, keys)
            for chunk in self.chunks
        ]

    def varied(self) -> list[str]:
        """What tells the rows of a table apart unless it is said: of `AXES` what the run varied."""
        values = [pl.col(name).unique().implode() for name in _SOMETIMES]
        found = map_chunks(self.chunks, lambda chunk: chunk.completions.select(values).collect())
        several = {name for name in _SOMETIMES if len({each for one in found for each in one[name].item()}) > 1}
        return [name for name in AXES if name in several or name not in _SOMETIMES]

    def answered(self) -> int:
        """How many completions there are."""
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
        if (what, *keys) not in self._read:
            self._read[what, *keys] = pl.concat(map_chunks(self.chunks, lambda chunk: read(chunk, keys)))
        return self._read[what, *keys]

    def _choices(self, chunk: Chunk, subsets: Sequence[str]) -> pl.DataFrame:
        """Per subset the kinds of choices there are: right (of each option, in turn), choices, count.

        Options that are asked about one by one have no labels, and null choices; the first of them stands for all.
        """
        right = pl.col("perturbed_references").list.eval(pl.element().struct.field("correct"))
        apart = (pl.col("reference_index") == 0) & (pl.col("request_mode") == "original")
        rows = self.with_own(chunk.completions, chunk.completions, subsets)
        chosen = rows.filter((pl.col("choices").list.len() > 0) | apart)
        return chosen.group_by([*subsets, right.alias("right"), "choices"]).agg(count=pl.len().cast(pl.Int64)).collect()


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
