"""A leaderboard: competitors ranked over columns, what of it is sure, and what it must not be compared with."""

from collections.abc import Collection
from dataclasses import dataclass, field

import polars as pl

from helmframe._core.views import render
from helmframe.errors import NotComparableError

BOARD = {
    "model": pl.String(),
    "value": pl.Float64(),
    "rank": pl.Int64(),
    "rank_low": pl.Int64(),
    "rank_high": pl.Int64(),
    "ties": pl.String(),
    "ci_low": pl.Float64(),
    "ci_high": pl.Float64(),
    "interval": pl.String(),
    "scenarios_low": pl.Float64(),
    "scenarios_high": pl.Float64(),
    "scenarios_interval": pl.String(),
    "n_columns": pl.Int64(),
}
CELLS = {
    "model": pl.String(),
    "column": pl.String(),
    "value": pl.Float64(),
    "ci_low": pl.Float64(),
    "ci_high": pl.Float64(),
    "interval": pl.String(),
    "n": pl.Int64(),
    "n_dropped": pl.Int64(),
    "win_rate": pl.Float64(),
    "rank": pl.Int64(),
    "rank_low": pl.Int64(),
    "rank_high": pl.Int64(),
}
INSTANCES, SCENARIOS = "instances", "scenarios"


@dataclass(frozen=True)
class Leaderboard:
    """Competitors from best to worst.

    `table` has one row per competitor: value (win rate or mean), rank, rank_low and rank_high (all models' hold
    together in `ci`), ties (letters: of those that share one none is surely better), ci_low, ci_high and interval (over
    `instances`), scenarios_low, scenarios_high and scenarios_interval (over columns), n_columns. `cells` has one row
    per competitor and column: its value there with interval, n, n_dropped (instances without a score of every
    competitor, which count for none), win_rate, rank, rank_low, rank_high.

    A win rate depends on who else is there, and any mean on its columns: `pool` and `columns` say which they were, and
    boards of others are not compared. `over` says what was drawn anew to tell the ranks: "instances", or "scenarios"
    where only means were given.
    """

    table: pl.DataFrame = field(repr=False)
    cells: pl.DataFrame = field(repr=False)
    pool: tuple[str, ...]
    columns: tuple[str, ...]
    mean: str
    over: str
    ci: float

    def compare(self, other: "Leaderboard") -> pl.DataFrame:
        """This board beside another of the same pool and columns: values, differences and ranks of both.

        Raises:
            NotComparableError: pool, columns or mean are others.
        """
        for what in ("mean", "columns", "pool"):
            values, other_values = getattr(self, what), getattr(other, what)
            if sorted(values) != sorted(other_values):
                raise NotComparableError(_unlike(what, values, other_values))
        names = ("value", "rank", "rank_low", "rank_high")
        sides = [
            board.table.select("model", *(pl.col(name).alias(f"{name}_{side}") for name in names))
            for side, board in (("a", self), ("b", other))
        ]
        joined = sides[0].join(sides[1], on="model", how="left", maintain_order="left", validate="1:1")
        return joined.with_columns(difference=pl.col("value_a") - pl.col("value_b"))

    def pivot(self) -> pl.DataFrame:
        """One row per competitor, from best to worst, and one column per column of the board."""
        wide = self.cells.pivot("column", index="model", values="value")
        return self.table.select("model", "value").join(wide, on="model", how="left", maintain_order="left")

    def __repr__(self) -> str:
        return str(render(self, "text"))

    def _repr_html_(self) -> str:
        return str(render(self, "html"))


def _unlike(what: str, first: Collection[str], second: Collection[str]) -> str:
    if what == "mean":
        return f"one board shows {first!r}, the other {second!r}."
    noun = {"pool": "models: a win rate depends on who else is there", "columns": "columns"}[what]
    alone = [
        f"{name} alone has {', '.join(map(repr, sorted(set(one) - set(two))))}"
        for name, one, two in (("the first", first, second), ("the second", second, first))
        if set(one) - set(two)
    ]
    return f"the boards are over other {noun}; {'; '.join(alone)}. Make both of the same."
