"""Leaderboards as text and HTML."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from helmframe._core.registry import view
from helmframe.views.display import html_table, number, spread, text_table

if TYPE_CHECKING:
    from helmframe.stats.board import Leaderboard

_SHOWN = 100
# HTML shows the value of every column up to this number of columns.
_COLUMNS_SHOWN = 12
_HEADS = {"win_rate": "win rate", "mean": "mean", "micro": "mean (micro)"}


@view("Leaderboard.text")
def leaderboard_text(board: Leaderboard) -> str:
    """Return the leaderboard and its notes as text."""
    heads, rows = leaderboard_cells(board)
    return "\n".join([text_table(heads, rows), *leaderboard_notes(board)])


@view("Leaderboard.html")
def leaderboard_html(board: Leaderboard) -> str:
    """Return the leaderboard, its columns and its notes as HTML, escaped."""
    heads, rows = _with_values(board)
    notes = "".join(f"<div style='opacity:.7;font-size:90%'>{escape(note)}</div>" for note in leaderboard_notes(board))
    return html_table(heads, rows) + notes


def leaderboard_cells(board: Leaderboard) -> tuple[list[str], list[list[str]]]:
    """Return the column heads and the rows of a leaderboard."""
    missing = board.table["n_columns"].min() != len(board.columns)
    instances = board.over == "instances"
    heads = ["rank", "rank interval", "ties", "model", _HEADS[board.mean]]
    heads += ["over instances"] * instances + ["over scenarios"] * (len(board.columns) > 1) + ["columns"] * missing
    rows = []
    for row in board.table.head(_SHOWN).iter_rows(named=True):
        cells = [_rank_text(row["rank"]), _ranks(row), row["ties"] or "", row["model"], number(row["value"])]
        cells += [spread(row["ci_low"], row["ci_high"])] * instances
        cells += [spread(row["scenarios_low"], row["scenarios_high"])] * (len(board.columns) > 1)
        cells += [f"{row['n_columns']:,}"] * missing
        rows.append(cells)
    return heads, rows


def _with_values(board: Leaderboard) -> tuple[list[str], list[list[str]]]:
    """Return the cells of a leaderboard, followed by the model's value in each column."""
    heads, rows = leaderboard_cells(board)
    if len(board.columns) > _COLUMNS_SHOWN or board.columns == ("",):
        return heads, rows
    values = {(model, column): value for model, column, value in board.cells.select("model", "column", "value").rows()}
    models = board.table["model"].head(_SHOWN)
    more = [[number(values.get((model, column))) for column in board.columns] for model in models]
    return [*heads, *board.columns], [[*row, *extra] for row, extra in zip(rows, more, strict=True)]


def leaderboard_notes(board: Leaderboard) -> list[str]:
    """Return notes on a leaderboard: hidden models, the level of ranks, dropped instances, the columns."""
    more = board.table.height - _SHOWN
    notes = [f"{more:,} more models are not shown"] if more > 0 else []
    notes.append(f"rank intervals: {board.ci:.0%}, simultaneous for all models, over samples of {board.over}")
    dropped = max(board.cells["n_dropped"].drop_nulls().to_list(), default=0)
    if dropped:
        notes.append(f"dropped because a model has no score: up to {dropped:,} instances per column")
    many = "1 column" if len(board.columns) == 1 else f"{len(board.columns)} columns"
    notes.append(f"{many}: {', '.join(board.columns)}")
    return notes


def _ranks(row: dict[str, Any]) -> str:
    low, high = row["rank_low"], row["rank_high"]
    return "" if low is None else str(low) if low == high else f"{low}–{high}"


def _rank_text(value: int | None) -> str:
    return "" if value is None else str(value)
