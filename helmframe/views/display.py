"""The repr of results: the score table of the main metric, as text and as HTML that carries every number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import polars as pl

from helmframe._core.registry import view
from helmframe.engines.notes import empty_notes
from helmframe.results import Results
from helmframe.results._data import reader_of
from helmframe.results._early_stopping import notes_of
from helmframe.views.characters import seen

# Errors and unread answers are shown from this share on.
SHOWN_FROM = 0.01


@view("Results.text")
def results_text(results: Results) -> str:
    """The main metric's table, the metrics, and where the results lie."""
    heads, rows = score_cells(results)
    return "\n".join([text_table(heads, rows), *score_notes(results)])


@view("Results.html")
def results_html(results: Results) -> str:
    """The same as HTML, with nothing to run; every text escaped."""
    heads, rows = score_cells(results)
    return html_table(heads, rows) + _html_notes(score_notes(results))


def text_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns aligned with spaces; numbers to the right. No cell breaks its line or moves a terminal's cursor.

    >>> print(text_table(["model", "n"], [["echo", "7"], ["oracle", "10"]]))
    model    n
    echo     7
    oracle  10
    """
    heads, *rows = [[seen(cell).replace("\n", " ") for cell in row] for row in (heads, *rows)]
    columns = list(zip(heads, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    right = [
        bool(column[1:]) and all(cell[:1].isdigit() or cell[:1] in "-+−" for cell in column[1:] if cell)
        for column in columns
    ]
    lines = []
    for row in (heads, *rows):
        cells = [cell.rjust(w) if r else cell.ljust(w) for cell, w, r in zip(row, widths, right, strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def html_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A plain HTML table; every cell escaped."""
    head = "".join(f"<th scope='col' style='text-align:left'>{escape(seen(cell))}</th>" for cell in heads)
    body = "".join(
        "<tr>" + "".join(f"<td style='text-align:left'>{escape(seen(cell))}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def number(value: float | None) -> str:
    """A number as tables show it; an empty text for none."""
    return "" if value is None else f"{value:.3f}"


def spread(low: float | None, high: float | None, digits: int = 3) -> str:
    """An interval as tables show it."""
    return "" if low is None or high is None else f"[{low:.{digits}f}, {high:.{digits}f}]"


def shown_path(path: Path | str) -> str:
    """The path as short as it can be pasted: from here, from home, or whole."""
    if isinstance(path, str):
        return path
    whole = path.resolve()
    for base, start in ((Path.cwd(), ""), (Path.home(), "~/")):
        if whole.is_relative_to(base):
            return start + str(whole.relative_to(base))
    return str(whole)


def robustness_text(table: pl.DataFrame) -> str:
    """The table of `results.robustness()` as text."""
    return text_table(*robustness_cells(table))


def robustness_cells(table: pl.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Its heads and rows."""
    keys = table.columns[: table.columns.index("original")]
    heads = [
        *keys,
        "original",
        "perturbed",
        "worst",
        "change",
        "95% interval",
        "right→wrong",
        "wrong→right",
        "changed",
        "n",
    ]
    rows = []
    for row in table.iter_rows(named=True):
        worst = f"{number(row['worst'])} (k={row['k']})" if row["worst"] is not None else ""
        rows.append(
            [*(str(row[key]) for key in keys), number(row["original"]), number(row["perturbed"]), worst,
            number(row["change"]),
             spread(row["change_low"], row["change_high"]),
             _count(row["right_to_wrong"]), _count(row["wrong_to_right"]),
             f"{row['changed']:.0%}" if row["changed"] is not None else "", _count(row["n"])]
        )  # fmt: skip
    return heads, rows


def score_cells(results: Results) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of the main metrics' table."""
    table = results.table(metrics=results.main_metrics)
    keys = [key for key in table.columns[: table.columns.index("value")] if key != "metric"]
    several = len(results.main_metrics) > 1
    show_errors = _share(table, "n_error") > SHOWN_FROM
    show_unparsed = _share(table, "n_unparsed") > SHOWN_FROM
    show_chance = table["chance"].is_not_null().any()
    heads = [
        *keys,
        *(["metric"] if several else []),
        "value" if several else results.main_metrics[0],
        "95% interval",
        "n",
    ]
    heads += ["chance"] * show_chance + ["errors"] * show_errors + ["unparsed"] * show_unparsed
    rows = []
    for row in table.iter_rows(named=True):
        cells = [str(row[key]) for key in keys] + ([row["metric"]] if several else [])
        cells += [number(row["value"]), _interval(row), _of(row)]
        cells += [number(row["chance"])] * show_chance
        cells += [_count(row["n_error"])] * show_errors + [_count(row["n_unparsed"])] * show_unparsed
        rows.append(cells)
    return heads, rows


def table_cells(table: pl.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of any table of `results.table()`: its keys, value, interval, n, and what was counted besides."""
    if "value" not in table.columns:  # pivoted
        return table.columns, [[_cell(value) for value in row] for row in table.iter_rows()]
    keys = table.columns[: table.columns.index("value")]
    chance = ["chance"] if "chance" in table.columns and table["chance"].is_not_null().any() else []
    counts = [name for name in ("n_error", "n_unparsed", "n_truncated") if table[name].sum()]
    rows = [
        [
            *(str(row[key]) for key in keys),
            *(number(row["value"]), spread(row["ci_low"], row["ci_high"]) or str(row["interval"]), _of(row)),
            *(_cell(row[name]) for name in (*chance, *counts)),
        ]
        for row in table.iter_rows(named=True)
    ]
    return [*keys, "value", "interval", "n", *chance, *(name.removeprefix("n_") for name in counts)], rows


def score_notes(results: Results) -> list[str]:
    """What a reader of that table should know besides."""
    counts = results.manifest.get("counts") or {}
    done = reader_of(results).n_generated()
    notes = [*reasons(results.manifest), *notes_of(results.manifest), *empty_notes(results.manifest)]
    if counts and done != counts["planned"]:
        notes.append(f"{done:,} of {counts['planned']:,} completions planned are there")
    if reader_of(results).unscored:
        notes.append(f"{reader_of(results).unscored:,} of them have no scores yet: results.rescore() computes them")
    notes.append(f"metrics: {', '.join(results.metric_names)}")
    if results.path is not None:
        notes.append(f"results: {shown_path(results.path)}")
    return notes


def reasons(manifest: Mapping[str, Any]) -> list[str]:
    """Why a run left out what it did."""
    left_out = manifest.get("left_out") or []
    return [f"left out: {each['scenario']} × {each['model']}: {each['reason']}" for each in left_out]


def _html_notes(notes: Sequence[str]) -> str:
    return "".join(f"<div style='opacity:.7;font-size:90%'>{escape(seen(note))}</div>" for note in notes)


def _interval(row: Mapping[str, Any]) -> str:
    """The interval; of few instances how it was made, and where there is none why."""
    ends, how = spread(row["ci_low"], row["ci_high"]), str(row["interval"])
    return f"{ends} {how}".strip() if not ends or "n small" in how else ends


def _of(row: Mapping[str, Any]) -> str:
    """How many instances, and of how many where they were not all asked for."""
    return f"{row['asked']:,} of {row['of']:,}" if "of" in row else _count(row["n"])


def _share(table: pl.DataFrame, column: str) -> float:
    return float(sum(table[column]) / max(1, sum(table["n"])))


def _cell(value: Any) -> str:
    return number(value) if isinstance(value, float | None) else f"{value:,}" if isinstance(value, int) else str(value)


def _count(value: Any) -> str:
    return "" if value is None else f"{value:,}"
