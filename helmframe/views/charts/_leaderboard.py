"""The leaderboard chart: ranks of models with their intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import polars as pl

from helmframe.results import Results
from helmframe.results._boards import competitor_name
from helmframe.results.charts import chart
from helmframe.stats.board import Leaderboard
from helmframe.stats.leaderboard import leaderboard as ranked
from helmframe.views.charts.frames import (
    Frame,
    Metrics,
    Source,
    columns_of,
    directions_of,
    fractions_of,
    is_scores,
    original_rows,
    require_columns,
    rows_of,
    unit_of,
)
from helmframe.views.charts.marks import height, points, text_column, whiskers
from helmframe.views.charts.theme import WIDTH, apply_theme, empty_chart
from helmframe.views.display import number

if TYPE_CHECKING:
    from helmframe.views.charts.theme import Drawn

RANKS = ("model", "value", "rank", "rank_low", "rank_high", "ties")
_MEANS = {"win_rate": "win rate", "mean": "mean", "micro": "mean (micro)"}


def leaderboard(
    board: Leaderboard | Frame,
    *,
    models: Sequence[str] | None = None,
    model_of: Mapping[str, str] | None = None,
    metrics: Metrics | None = None,
    mode: str = "light",
) -> "Drawn":
    """Draw the rank of each model from best to worst, with its interval and the letters of its ties.

    >>> frame = pl.DataFrame({"model": ["a"] * 20 + ["b"] * 20, "instance_id": [*range(20)] * 2,
    ...                       "score": [1] * 16 + [0] * 4 + [1] * 8 + [0] * 12})
    >>> leaderboard(frame).to_dict()["title"]["text"]
    'leaderboard, by win rate'

    Args:
        board: The result of `results.leaderboard()` or its `table`; or `SCORES`, whose models are ranked by win rate.
        models: As in `scores`.
        model_of: For a grid of settings: a dict of name in the board → model, which determines the colour.
        metrics: As in `scores`.
        mode: "light" or "dark".

    Raises:
        ArgumentError: If the frame or the mode is unsupported.
        NotComparableError: If models were run on different instances.
    """
    import altair as alt

    from helmframe.views.charts.offline import LayerChart

    mean, over, ci = "value", "", 0.95
    if not isinstance(board, Leaderboard) and is_scores(board):
        frame = original_rows(board)
        n_models = (
            frame.lazy().select(pl.col("model").n_unique()).collect().item() if "model" in columns_of(frame) else 1
        )
        if n_models < 2:
            return empty_chart("only one model, so there is nothing to rank", mode, "leaderboard")
        units = {name: unit_of(name, metrics) for name in directions_of(frame, metrics)}
        directions, fractions = directions_of(frame, metrics), fractions_of(frame, metrics)
        board = ranked(frame, higher_is_better=directions, fractions=fractions, units=units)
    if isinstance(board, Leaderboard):
        mean, over, ci = _MEANS[board.mean], board.over, board.ci
        table = board.table
    else:
        table = require_columns(board, "the table of a leaderboard", RANKS)
    if table.height < 2:
        return empty_chart("only one model, so there is nothing to rank", mode, "leaderboard")
    label = table["model"]
    table = table.with_columns(competitor=label, model=pl.col("model").replace(dict(model_of or {})))
    rows = rows_of(table, ["competitor"], models, always="competitor")
    value_text = pl.Series([number(value) for value in rows.data["value"]], dtype=pl.String)
    rows = replace(rows, data=rows.data.with_columns(value_text=value_text, ties=pl.col("ties").fill_null("")))
    last = max(table.height, 2)
    scale = alt.Scale(domain=[1 - 0.03 * last, last + 0.03 * last], nice=False, zero=False)
    axis = alt.Axis(values=_ticks(last), format="d")
    x = alt.X("rank:Q", title="rank", scale=scale, axis=axis)
    tooltip: list[Any] = [alt.Tooltip("label:N", title="model"), alt.Tooltip("value:Q", format=".3f", title=mean)]
    tooltip += [alt.Tooltip(f"{column}:N") for column in ("rank", "rank_low", "rank_high", "ties", "interval")
                if column in table.columns]  # fmt: skip
    layers = [
        whiskers(rows, alt.X("rank_low:Q", title="rank"), "rank_high", mode, size=3, opacity=0.6),
        points(rows, x, mode, tooltip),
        *text_column(rows, "value_text", mean, mode),
        *text_column(rows, "ties", "ties", mode, after=80),
    ]
    chart = LayerChart(layer=layers).properties(width=WIDTH, height=height(rows))
    notes = [
        f"lines: {ci:.0%} rank intervals, simultaneous for all models" + (f", over samples of {over}" if over else "")
    ]
    notes += board.notes if isinstance(board, Leaderboard) else ()
    notes += ["models with the same letter: no significant difference"]
    drawn: Drawn = apply_theme(chart, mode, f"leaderboard, by {mean}", [*notes, *rows.notes], legend_at=150)
    return drawn


def _ticks(last: int) -> list[int]:
    """Return about ten ranks, including the first and the last."""
    step = max(1, -(-last // 10))
    return [*range(1, last - step // 2, step), last]


@chart("leaderboard")
def leaderboard_of_results(results: Results, *, mean: str = "win_rate", mode: str = "light") -> "Drawn":
    """Draw the rank of each model from best to worst, with its interval.

    Args:
        results: Results of a run.
        mean: As in `results.leaderboard`.
        mode: "light" or "dark".

    >>> import helmframe as hf
    >>> models = {"small": hf.models.noisy(0.5), "large": hf.models.noisy(0.8, seed=1)}
    >>> results = hf.scenario("sampler").where(subject="music").generate(models).score()
    >>> results.plot.leaderboard().to_dict()["title"]["text"]
    'leaderboard, by win rate'
    """
    source = Source(results)
    competitors = source.results.completions.select("model", "setting").unique().sort("model", "setting").collect()
    if competitors.height < 2:
        return empty_chart("only one model, so there is nothing to rank", mode, "leaderboard")
    model_of = {competitor_name(model, setting): model for model, setting in competitors.iter_rows()}
    board = source.results.leaderboard(mean=mean)
    return leaderboard(board, models=source.models, model_of=model_of, mode=mode)
