"""Gates as people read them: the verdict, its rows and what would decide; as text, HTML and Markdown."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from helmframe._core.registry import view
from helmframe.views.comparison import markdown_table
from helmframe.views.display import html_table, number, spread, text_table

if TYPE_CHECKING:
    from helmframe.stats.gate import Gate

_KEYS = ("scenario", "model", "setting", "perturbation", "metric")


@view("Gate.text")
def gate_text(gate: Gate) -> str:
    """The verdict and the rows, aligned with spaces."""
    return "\n".join([_headline(gate), text_table(*_cells(gate))])


@view("Gate.html")
def gate_html(gate: Gate) -> str:
    """The same as HTML; every text escaped."""
    return f"<div><b>{escape(_headline(gate))}</b></div>{html_table(*_cells(gate))}"


def gate_markdown(gate: Gate) -> str:
    """The same as Markdown, for a comment on a change."""
    return f"**{_headline(gate)}**\n\n{markdown_table(*_cells(gate))}"


def _headline(gate: Gate) -> str:
    rows = gate.table.filter(verdict=gate.verdict).height
    where = f"{rows} of {gate.table.height} rows" if gate.table.height > 1 else ""
    return f"{gate.verdict}: {gate.criterion}" + (f" ({where})" if where else "")


def _cells(gate: Gate) -> tuple[list[str], list[list[str]]]:
    table = gate.table
    compared = "difference" in table.columns
    keys = [name for name in _KEYS if name in table.columns and (name == "metric" or table[name].n_unique() > 1)]
    keys += ["a", "b"] if compared else []
    undecided = "undecided" in set(table["verdict"]) or table["n_needed"].is_not_null().any()
    heads = [*keys, "verdict", "difference" if compared else "value", "interval", "n", *["n to decide"] * undecided]
    rows = []
    for row in table.iter_rows(named=True):
        value = row["difference" if compared else "value"]
        ends = (row["joint_low"], row["joint_high"]) if compared else (row["ci_low"], row["ci_high"])
        cells = [*(str(row[key]) for key in keys), row["verdict"], number(value)]
        cells += [spread(*ends) or str(row["interval"]), f"{row['n']:,}"]
        cells += [f"{row['n_needed']:,}" if row["n_needed"] else ""] * undecided
        rows.append(cells)
    return heads, rows
