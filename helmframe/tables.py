"""What results hold, in chunks of whole instances, and what their tables of scores are made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import polars as pl

from helmframe.errors import UnknownNameError
from helmframe.stats.fold import each_chunk

INSTANCE = ("scenario", "instance_id")
# What may tell the rows of a table apart, in this order.
AXES = ("scenario", "split", "model", "setting", "perturbation")
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

    def scores(self, keys: Sequence[str]) -> list[pl.LazyFrame]:
        """Chunk by chunk the scores, with the columns of the scenario's own that `keys` name."""
        return [self.with_own(chunk.scores, chunk.completions, keys) for chunk in self.chunks]

    def varied(self) -> list[str]:
        """What tells the rows of a table apart unless it is said: of `AXES` what the run varied."""
        values = [pl.col(name).unique().implode() for name in _SOMETIMES]
        found = each_chunk(self.chunks, lambda chunk: chunk.completions.select(values).collect())
        several = {name for name in _SOMETIMES if len({each for one in found for each in one[name].item()}) > 1}
        return [name for name in AXES if name in several or name not in _SOMETIMES]

    def answered(self) -> int:
        """How many completions there are."""
        count = pl.col("completion").count()
        return sum(each_chunk(self.chunks, lambda chunk: int(chunk.completions.select(count).collect().item())))

    def chance(self, keys: Sequence[str], metrics: Sequence[str]) -> pl.DataFrame:
        """What guessing evenly among the choices scores, for metrics that compare them: `keys`, metric, chance."""
        matching = [name for name in metrics if name.endswith("exact_match")]
        groups = list(dict.fromkeys([*keys, "part"]))
        tables = each_chunk(self.chunks if matching else self.chunks[:1], partial(self._shares, groups=groups))
        share = pl.when(pl.col("count") > 0).then(pl.col("share") / pl.col("count"))
        parts = pl.concat(tables).group_by(groups).agg(pl.col("share", "count").sum()).with_columns(share=share)
        chance = parts.group_by(keys).agg(chance=pl.col("share").mean())
        return chance.join(pl.DataFrame({"metric": matching}, schema={"metric": pl.String}), how="cross")

    def with_own(self, rows: pl.LazyFrame, completions: pl.LazyFrame, keys: Sequence[str]) -> pl.LazyFrame:
        """The rows with the columns of the scenario's own that `keys` name, by instance.

        Raises:
            UnknownNameError: there is no such column.
        """
        there = rows.collect_schema().names()
        missing = [key for key in keys if key not in there]
        if not missing:
            return rows
        for key in missing:
            if key not in self.schema:
                raise UnknownNameError.among("column to group by", key, dict.fromkeys([*AXES, *self.schema.names()]))
        known = completions.collect_schema().names()
        absent = [pl.lit(None, dtype=self.schema[key]).alias(key) for key in missing if key not in known]
        own = completions.with_columns(absent).select(*INSTANCE, *missing).unique(INSTANCE)
        return rows.join(own, on=INSTANCE, how="left", maintain_order="left", validate="m:1")

    def _shares(self, chunk: Chunk, groups: Sequence[str]) -> pl.DataFrame:
        """Per group the sum over completions of the share of choices that are right, and how many those are."""
        right = pl.col("perturbed_references").list.eval(pl.element().struct.field("correct")).list.sum()
        choices = pl.col("choices").list.len()
        rows = self.with_own(chunk.completions, chunk.completions, groups).filter(choices > 0)
        share = right / choices
        return rows.group_by(groups).agg(share=share.sum(), count=share.count().cast(pl.Int64)).collect()
