"""Comparisons, leaderboards and gates as text, HTML and Markdown."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import polars as pl

from helmframe._core.registry import view
from helmframe._core.safe_text import display_labels, show_invisible, text_table
from helmframe.views.display import (
    MARKS,
    MOST_ROWS,
    escape_markdown,
    html_table,
    markdown_table,
    number,
    spread,
)

if TYPE_CHECKING:
    from helmframe.stats.board import Leaderboard
    from helmframe.stats.bradley_terry import BradleyTerry
    from helmframe.stats.gate import Gate
    from helmframe.stats.variance import VarianceComponents

LONGEST = 48  # characters of a label
# Rows of a leaderboard, and the number of columns up to which HTML shows the value of each.
_SHOWN = 100
_COLUMNS_SHOWN = 12
_HEADS = {"win_rate": "win rate", "mean": "mean", "micro": "mean (micro)"}
_KEYS = ("scenario", "model", "setting", "perturbation", "overlap", "metric")


@view("Comparison.text")
def comparison_text(table: pl.DataFrame) -> str:
    """Return a comparison and its notes as text."""
    heads, rows = comparison_cells(table)
    return show_invisible("\n".join([text_table(heads, rows), *comparison_notes(table)]))


@view("Comparison.html")
def comparison_html(table: pl.DataFrame) -> str:
    """Return a comparison and its notes as HTML, escaped."""
    heads, rows = comparison_cells(table)
    notes = "".join(f"<div style='opacity:.7;font-size:90%'>{escape(note)}</div>" for note in comparison_notes(table))
    return html_table(heads, rows) + notes


@view("Comparison.markdown")
def comparison_markdown(table: pl.DataFrame) -> str:
    """Return a comparison as a Markdown table with a list of notes, escaped."""
    heads, rows = comparison_cells(table)
    notes = [f"- {escape_markdown(note)}" for note in comparison_notes(table)]
    return "\n".join([markdown_table(heads, rows), "", *notes])


def comparison_cells(table: pl.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Return the column heads and the rows of a comparison."""
    keys = [name for name in _KEYS if name in table.columns and (table[name].n_unique() > 1)]
    several = table.height > 1
    heads = [*keys, "a", "b", "value a", "value b", "difference", "interval"]
    heads += ["joint interval", "p (Holm)"] if several else ["p"]
    tested = "verdict" in table.columns
    heads += ["verdict", "equivalence interval", "p (equivalence)"] * tested
    heads += ["win–tie–loss", "n", "MDE"]
    named = [*keys, "a", "b"]
    # a setting's name may be a long instruction
    shown = display_labels((str(text) for name in named for text in table[name]), LONGEST)
    rows = []
    for row in table.iter_rows(named=True):
        cells = [*(shown[str(row[name])] for name in named), number(row["value_a"]), number(row["value_b"])]
        cells += [_signed(row["difference"]), spread(row["ci_low"], row["ci_high"]) or str(row["interval"])]
        cells += [spread(row["joint_low"], row["joint_high"])] if several else []
        cells += [_p(row["p_holm"] if several else row["p"])]
        if tested:
            ends = spread(row["equivalence_low"], row["equivalence_high"])
            cells += [row["verdict"] or "", ends, _p(row["p_equivalence"])]
        cells += [f"{row['win']:,}–{row['tie']:,}–{row['loss']:,}", f"{row['n']:,}", number(row["mde"])]
        rows.append(cells)
    return heads, rows


def comparison_notes(table: pl.DataFrame) -> list[str]:
    """Return notes on how a comparison was computed, and on the skipped instances."""
    notes = []
    if "differs" in table.columns and table.height:
        notes.append(f"differs in: {table['differs'][0]}")
    for column in ("interval", "test"):
        methods = table[column].drop_nulls().unique().sort().to_list()
        if methods:
            notes.append(f"{column}: {'; '.join(methods)}")
    notes += _directions(table)
    dropped = max(table["n_dropped"].to_list(), default=0)
    if dropped:
        notes.append(f"skipped because a side has no score: up to {dropped:,} instances per row")
    failed = max(table["n_error"].to_list(), default=0) if "n_error" in table.columns else 0
    if failed:
        notes.append(f"of these, with a failed request: up to {failed:,} instances per row")
    return notes


def _directions(table: pl.DataFrame) -> list[str]:
    """Return a note on the direction of the metrics, which shows the better side."""
    if "higher_is_better" not in table.columns:
        return []
    notes = []
    for up, noun, sign in ((True, "higher", "above"), (False, "lower", "below")):
        metrics = table.filter(pl.col("higher_is_better") == up)["metric"].unique().sort().to_list()
        if metrics:
            notes.append(f"{noun} is better for {', '.join(map(str, metrics))}: a difference {sign} 0 favours a")
    return notes


_SPREAD_KEYS = ("scenario", "split", "setting", "perturbation", "metric", "model")


@view("Sensitivity.text")
def sensitivity_text(table: pl.DataFrame) -> str:
    """Return a sensitivity and its notes as text; a frame without its columns as Polars shows it."""
    if not _has_spread(table):
        return pl.DataFrame.__str__(table)
    return show_invisible("\n".join([text_table(*sensitivity_cells(table)), *_sensitivity_notes(table)]))


@view("Sensitivity.html")
def sensitivity_html(table: pl.DataFrame) -> str:
    """Return a sensitivity and its notes as HTML, escaped; a frame without its columns as Polars shows it."""
    if not _has_spread(table):
        return pl.DataFrame._repr_html_(table)
    return html_table(*sensitivity_cells(table)) + _small_notes(_sensitivity_notes(table))


def _has_spread(table: pl.DataFrame) -> bool:
    return table.height > 0 and {"model", "range", "sd", "flips", "lowest_at", "highest_at"} <= set(table.columns)


def sensitivity_cells(table: pl.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Return the column heads and the rows of a sensitivity: without keys that have one value."""
    keys = [name for name in _SPREAD_KEYS if name in table.columns and (name == "model" or table[name].n_unique() > 1)]
    pairs = table["flips"].is_not_null().any()
    heads = [*keys, "value", "range", "its interval", "sd", "its interval", "lowest", "highest"]
    heads += ["pairs that flip", "interval of the share"] * pairs + ["n"]
    named = [*keys, "lowest_at", "highest_at"]
    shown = display_labels((str(text) for name in named for text in table[name]), LONGEST)
    rows = []
    for row in table.head(MOST_ROWS).iter_rows(named=True):
        cells = [*(shown[str(row[key])] for key in keys), number(row["value"]), number(row["range"])]
        cells += [spread(row["range_low"], row["range_high"]) or str(row["interval"])]
        cells += [number(row["sd"]), spread(row["sd_low"], row["sd_high"])]
        cells += [f"{number(row[end])} {shown[str(row[f'{end}_at'])]}".strip() for end in ("lowest", "highest")]
        share = "" if row["flips"] is None else f"{row['flips']:.0%} of {row['n_pairs']:,}"
        cells += [share, _percents(row["flips_low"], row["flips_high"])] * pairs
        rows.append([*cells, f"{row['n']:,}"])
    return heads, rows


def _percents(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"[{low:.0%}, {high:.0%}]"


def _sensitivity_notes(table: pl.DataFrame) -> list[str]:
    more = table.height - MOST_ROWS
    dropped = int(table["n_dropped"].max() or 0)  # type: ignore[arg-type]
    n_levels = int(table["n_levels"].max() or 0)  # type: ignore[arg-type]
    return [
        *([f"{more:,} more rows"] if more > 0 else []),
        f"over {n_levels} levels; sd: without the noise of the sample of instances",
        f"interval: {'; '.join(table['interval'].unique(maintain_order=True))}",
        *([f"dropped because a score is missing: up to {dropped:,} instances per row"] if dropped else []),
        f"all {table.width} columns: .frame",
    ]


def _small_notes(notes: list[str]) -> str:
    return "".join(f"<div style='opacity:.7;font-size:90%'>{escape(show_invisible(note))}</div>" for note in notes)


@view("VarianceComponents.text")
def components_text(components: VarianceComponents) -> str:
    """Return variance components and designs as text."""
    first, second = (text_table(*cells) for cells in (_component_cells(components), _design_cells(components)))
    return show_invisible("\n".join([first, *_component_notes(components), "", _DESIGN_HEAD, second]))


@view("VarianceComponents.html")
def components_html(components: VarianceComponents) -> str:
    """Return variance components and designs as HTML, escaped."""
    first, second = (html_table(*cells) for cells in (_component_cells(components), _design_cells(components)))
    return first + _small_notes(_component_notes(components)) + f"<div>{_DESIGN_HEAD}</div>" + second


_DESIGN_HEAD = "designs that halve the standard error:"


def _varied_keys(table: pl.DataFrame, last: str) -> list[str]:
    keys = table.columns[: table.columns.index(last)]
    return [name for name in keys if table[name].n_unique() > 1]


def _component_cells(components: VarianceComponents) -> tuple[list[str], list[list[str]]]:
    table = components.table
    keys = _varied_keys(table, "component")
    heads = [*keys, "component", "variance", "interval", "sd", "share", "levels", "share of the error"]
    rows = [
        [*(str(row[key]) for key in keys), row["component"], f"{row['variance']:.4f}".replace("-", "−"),
         spread(row["ci_low"], row["ci_high"], 4), number(row["sd"]), _share(row["share"]), f"{row['n_levels']:,}",
         _share(row["error_share"])]
        for row in table.head(MOST_ROWS).iter_rows(named=True)
    ]  # fmt: skip
    return heads, rows


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def _component_notes(components: VarianceComponents) -> list[str]:
    methods = components.table["interval"].unique(maintain_order=True).to_list()
    return [f"interval: {'; '.join(methods)}", "share: of the variance of one score; share of the error: of the mean's"]


def _design_cells(components: VarianceComponents) -> tuple[list[str], list[list[str]]]:
    table = components.designs
    keys = _varied_keys(table, "design")
    counts = [name for name in table.columns if name.startswith("n_") and table[name].is_not_null().any()]
    heads = [*keys, "design", "stderr", *(name.removeprefix("n_") for name in counts), "cost"]
    rows = [
        [*(str(row[key]) for key in keys), row["design"], number(row["stderr"]) or "not possible",
         *("" if row[name] is None else f"{row[name]:,}" for name in counts),
         "" if row["cost"] is None else f"{row['cost']:.1f} ×"]
        for row in table.head(MOST_ROWS).iter_rows(named=True)
    ]  # fmt: skip
    return heads, rows


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.3f}".replace("-", "−")


def _p(value: Any) -> str:
    if value is None:
        return ""
    return "<.001" if value < 0.001 else f"{value:.3f}"


@view("Gate.text")
def gate_text(gate: Gate) -> str:
    """Return a gate's verdict and rows as text."""
    return show_invisible("\n".join([_headline(gate), text_table(*_gate_cells(gate))]))


@view("Gate.html")
def gate_html(gate: Gate) -> str:
    """Return a gate's verdict and rows as HTML, escaped."""
    return f"<div><b>{escape(_headline(gate))}</b></div>{html_table(*_gate_cells(gate))}"


@view("Gate.markdown")
def gate_markdown(gate: Gate) -> str:
    """Return a gate's verdict and rows as Markdown, for a comment on a pull request."""
    return f"**{_headline(gate)}**\n\n{markdown_table(*_gate_cells(gate))}"


def _headline(gate: Gate) -> str:
    rows = gate.table.filter(verdict=gate.verdict).height
    where = f"{rows} of {gate.table.height} rows" if gate.table.height > 1 else ""
    return f"{gate.verdict}: {gate.criterion}" + (f" ({where})" if where else "")


def _gate_cells(gate: Gate) -> tuple[list[str], list[list[str]]]:
    table = gate.table
    compared = "difference" in table.columns
    by_equivalence = gate.criterion.startswith("equivalent")
    keys = [name for name in _KEYS if name in table.columns and (name == "metric" or table[name].n_unique() > 1)]
    keys += ["a", "b"] if compared else []
    undecided = "undecided" in set(table["verdict"]) or table["n_needed"].is_not_null().any()
    heads = [*keys, "verdict", "difference" if compared else "value", "interval", "n", *["n needed"] * undecided]
    rows = []
    for row in table.iter_rows(named=True):
        value = row["difference" if compared else "value"]
        ends = (row["joint_low"], row["joint_high"]) if compared else (row["ci_low"], row["ci_high"])
        ends = (row["low"], row["high"]) if by_equivalence else ends
        cells = [*(str(row[key]) for key in keys), row["verdict"], number(value)]
        how = str(row.get("interval") or "")
        shown = spread(*ends)
        marks = ", ".join(mark for mark in MARKS if mark in how)
        cells += [f"{shown} {marks}".strip() if shown else how, f"{row['n']:,}"]
        cells += [f"{row['n_needed']:,}" if row["n_needed"] else ""] * undecided
        rows.append(cells)
    return heads, rows


@view("Leaderboard.text")
def leaderboard_text(board: Leaderboard) -> str:
    """Return the leaderboard and its notes as text."""
    heads, rows = leaderboard_cells(board)
    return show_invisible("\n".join([text_table(heads, rows), *leaderboard_notes(board)]))


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
    by_mean = board.mean == "win_rate" and board.table["mean_rank"].is_not_null().any()
    heads = ["rank", "rank interval", "ties", "model", _HEADS[board.mean]]
    heads += ["over instances"] * instances + ["over scenarios"] * (len(board.columns) > 1) + ["columns"] * missing
    heads += ["mean", "rank by mean"] * by_mean
    first = {}
    if board.rank_probabilities is not None and not board.rank_probabilities.is_empty():
        first = dict(board.rank_probabilities.filter(rank=1).select("model", "probability").rows())
        heads.append("share first")
    rows = []
    for row in board.table.head(_SHOWN).iter_rows(named=True):
        cells = [_rank_text(row["rank"]), _ranks(row), row["ties"] or "", row["model"], number(row["value"])]
        cells += [spread(row["ci_low"], row["ci_high"])] * instances
        cells += [spread(row["scenarios_low"], row["scenarios_high"])] * (len(board.columns) > 1)
        cells += [f"{row['n_columns']:,}"] * missing
        cells += [number(row["mean"]), _ranks(row, "mean_rank")] * by_mean
        cells += [f"{first.get(row['model'], 0.0):.0%}"] * bool(first)
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
    if board.rank_probabilities is not None:
        notes.append(f"share first: of bootstrap samples of {board.over}; all ranks: .rank_probabilities")
    notes += board.notes
    dropped = max(board.cells["n_dropped"].drop_nulls().to_list(), default=0)
    if dropped:
        notes.append(f"dropped because a model has no score: up to {dropped:,} instances per column")
    many = "1 column" if len(board.columns) == 1 else f"{len(board.columns)} columns"
    notes.append(f"{many}: {', '.join(board.columns)}")
    return notes


@view("BradleyTerry.text")
def bradley_terry_text(board: BradleyTerry) -> str:
    """Return the ranking of a Bradley–Terry model and its notes as text."""
    heads, rows = _battle_cells(board)
    return show_invisible("\n".join([text_table(heads, rows), *_battle_notes(board)]))


@view("BradleyTerry.html")
def bradley_terry_html(board: BradleyTerry) -> str:
    """Return the ranking of a Bradley–Terry model and its notes as HTML, escaped."""
    notes = "".join(f"<div style='opacity:.7;font-size:90%'>{escape(note)}</div>" for note in _battle_notes(board))
    return html_table(*_battle_cells(board)) + notes


def _battle_cells(board: BradleyTerry) -> tuple[list[str], list[list[str]]]:
    heads = ["rank", "rank interval", "ties", "model", "Elo", "interval", "win rate", "win–tie–loss"]
    rows = [
        [
            _rank_text(row["rank"]), _ranks(row), row["ties"], row["model"], f"{row['elo']:.0f}",
            f"{row['elo_low']:.0f} to {row['elo_high']:.0f}", number(row["win_rate"]),
            f"{row['win']:,}–{row['tie']:,}–{row['loss']:,}",
        ]
        for row in board.table.head(_SHOWN).iter_rows(named=True)
    ]  # fmt: skip
    return heads, rows


def _battle_notes(board: BradleyTerry) -> list[str]:
    """Return notes on the effects, the intervals and the battles."""
    more = board.table.height - _SHOWN
    notes = [f"{more:,} more models are not shown"] if more > 0 else []
    notes.append(f"rank intervals: {board.ci:.0%}, simultaneous for all models, over samples of battles or clusters")
    for row in board.effects.iter_rows(named=True):
        ends = f"{_signed(row['ci_low'])} to {_signed(row['ci_high'])}"
        notes.append(f"{row['effect']}: {_signed(row['value'])} ({ends}): {row['meaning']}")
    ties = {"half": "a tie is half a win of both", "davidson": "ties by Davidson's model", "drop": "ties are dropped"}
    counts = f"{board.n:,} battles, {board.n_clusters:,} clusters"
    return [*notes, f"{counts}; {ties[board.ties]}; {board.table['interval'][0]}", *board.notes]


def _ranks(row: dict[str, Any], name: str = "rank") -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return "" if low is None else str(low) if low == high else f"{low}–{high}"


def _rank_text(value: int | None) -> str:
    return "" if value is None else str(value)
