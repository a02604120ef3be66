"""Comparisons as people read them: text, HTML and Markdown of the frame that holds every number."""

from collections.abc import Sequence
from html import escape
from typing import Any

import polars as pl

from helmframe._core.registry import view
from helmframe.views.characters import seen, shown_as
from helmframe.views.display import html_table, number, spread, text_table

LONGEST = 48  # characters of a name
_KEYS = ("scenario", "model", "setting", "perturbation", "metric")


@view("Comparison.text")
def comparison_text(table: pl.DataFrame) -> str:
    """The table and its notes, aligned with spaces."""
    heads, rows = comparison_cells(table)
    return "\n".join([text_table(heads, rows), *comparison_notes(table)])


@view("Comparison.html")
def comparison_html(table: pl.DataFrame) -> str:
    """The same as HTML; every text escaped."""
    heads, rows = comparison_cells(table)
    notes = "".join(f"<div style='opacity:.7;font-size:90%'>{escape(note)}</div>" for note in comparison_notes(table))
    return html_table(heads, rows) + notes


def comparison_markdown(table: pl.DataFrame) -> str:
    """The same as a Markdown table; no cell ends it, or starts another markup."""
    heads, rows = comparison_cells(table)
    return "\n".join([markdown_table(heads, rows), "", *(f"- {_plain(note)}" for note in comparison_notes(table))])


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    r"""A Markdown table.

    >>> print(markdown_table(["model", "n"], [["a|b", "7"]]))
    | model | n |
    |---|---|
    | a\|b | 7 |
    """
    head, *body = ["| " + " | ".join(map(_plain, row)) + " |" for row in (heads, *rows)]
    return "\n".join([head, "|" + "---|" * len(heads), *body])


def _plain(text: str) -> str:
    """Text as Markdown shows it to the letter, in one line."""
    line = " ".join(seen(text).split())
    for sign in "\\`*_[]<>|#~":
        line = line.replace(sign, f"\\{sign}")
    return line


def comparison_cells(table: pl.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of the table."""
    keys = [name for name in _KEYS if name in table.columns and (table[name].n_unique() > 1)]
    several = table.height > 1
    heads = [*keys, "a", "b", "a's value", "b's value", "difference", "interval"]
    heads += ["joint interval", "p (Holm)"] if several else ["p"]
    heads += ["win–tie–loss", "n", "detectable"]
    named = [*keys, "a", "b"]
    # a setting's name may be a whole instruction
    shown = shown_as((str(text) for name in named for text in table[name]), LONGEST)
    rows = []
    for row in table.iter_rows(named=True):
        cells = [*(shown[str(row[name])] for name in named), number(row["value_a"]), number(row["value_b"])]
        cells += [_signed(row["difference"]), spread(row["ci_low"], row["ci_high"]) or str(row["interval"])]
        cells += [spread(row["joint_low"], row["joint_high"])] if several else []
        cells += [_p(row["p_holm"] if several else row["p"])]
        cells += [f"{row['win']:,}–{row['tie']:,}–{row['loss']:,}", f"{row['n']:,}", number(row["mde"])]
        rows.append(cells)
    return heads, rows


def comparison_notes(table: pl.DataFrame) -> list[str]:
    """What a reader of it should know besides."""
    notes = []
    if "differs" in table.columns and table.height:
        notes.append(f"differs: {table['differs'][0]}")
    for name, what in (("interval", "interval"), ("test", "test")):
        methods = table[name].drop_nulls().unique().sort().to_list()
        if methods:
            notes.append(f"{what}: {'; '.join(methods)}")
    dropped = max(table["n_dropped"].to_list(), default=0)
    if dropped:
        notes.append(f"left out, for want of an answer on both sides: up to {dropped:,} instances a row")
    failed = max(table["n_error"].to_list(), default=0) if "n_error" in table.columns else 0
    if failed:
        notes.append(f"of these, with a failed request: up to {failed:,} instances a row")
    return notes


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.3f}".replace("-", "−")


def _p(value: Any) -> str:
    if value is None:
        return ""
    return "<.001" if value < 0.001 else f"{value:.3f}"
