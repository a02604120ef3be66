"""Reprs of results and the tables that views share, as text, HTML, Markdown, CSV, JSON and LaTeX."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path, PurePosixPath
from typing import Any

import polars as pl

from helmframe._core.registry import view
from helmframe._core.safe_text import number_columns, show_invisible, text_table
from helmframe._core.yaml import reading
from helmframe.config import from_home
from helmframe.engines.notes import empty_notes, refusal_notes, rerun_notes, unparsed_notes
from helmframe.errors import ArgumentError, CapabilityError, StoreError, listed
from helmframe.results import Results
from helmframe.results._data import reader_of
from helmframe.results._early_stopping import notes_of
from helmframe.results._findings import error_groups, stop_note
from helmframe.results._tables import missing_scores, shown_metrics

# Errors and unparsed outputs are shown above this share.
SHOWN_FROM = 0.01
# Messages of failed requests that a note shows.
_MESSAGES = 3
# The longest table that is displayed whole.
MOST_ROWS = 60
SUFFIXES = (".csv", ".json", ".md", ".tex")
# The marks of intervals that may cover less often, or are about the benchmark's own instances: these are displayed.
MARKS = ("n small", "few clusters", "few effective instances", "this benchmark only", "duplicates")


@view("Results.text")
def results_text(results: Results) -> str:
    """Return the table of the main and judged metrics as text: first what is wrong with the run, then its notes."""
    with reading("The results", "valid", StoreError):  # the folder may be another person's
        heads, rows = score_cells(results)
        problems, notes = problem_notes(results), score_notes(results)
    return show_invisible("\n".join([*problems, text_table(heads, rows), *notes]))


@view("Results.html")
def results_html(results: Results) -> str:
    """Return the table of the main and judged metrics as HTML without scripts, escaped; problems come first."""
    heads, rows = score_cells(results)
    problems = "".join(f"<div><b>{escape(show_invisible(note))}</b></div>" for note in problem_notes(results))
    return problems + html_table(heads, rows) + _html_notes(score_notes(results))


def html_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a plain HTML table, escaped, with numbers to the right; colours and fonts are those of the page."""
    sides = ["right" if number else "left" for number in number_columns(heads, rows)]

    def cells(row: Sequence[str], tag: str) -> str:
        pairs = zip(row, sides, strict=True)
        return "".join(
            f"<{tag} style='text-align:{side};padding:.2em .6em'>{escape(show_invisible(cell))}</{tag[:2]}>"
            for cell, side in pairs
        )

    head = cells(heads, "th scope='col'")
    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    r"""Return a Markdown table, escaped.

    >>> print(markdown_table(["model", "n"], [["a|b", "7"]]))
    | model | n |
    |---|---|
    | a\|b | 7 |
    """
    head, *body = ["| " + " | ".join(map(escape_markdown, row)) + " |" for row in (heads, *rows)]
    return "\n".join([head, "|" + "---|" * len(heads), *body])


def escape_markdown(text: str) -> str:
    """Return a text as one line that Markdown shows literally."""
    line = " ".join(show_invisible(text).split())
    for sign in "\\`*_[]<>|#~":
        line = line.replace(sign, f"\\{sign}")
    return line


def number(value: float | None) -> str:
    """Format a number for a table; None becomes an empty string."""
    return "" if value is None else f"{value:.3f}"


def spread(low: float | None, high: float | None, digits: int = 3) -> str:
    """Format an interval for a table; an open end makes it an empty string."""
    return "" if low is None or high is None else f"[{low:.{digits}f}, {high:.{digits}f}]"


def shown_path(path: Path | str) -> str:
    """Return the shortest form of a path that can be pasted: relative, from home, or absolute."""
    if isinstance(path, str):
        return path
    whole = path.resolve()
    for base, start in ((Path.cwd(), ""), (from_home("~"), "~/")):
        if whole.is_relative_to(base):
            return start + str(whole.relative_to(base))
    return str(whole)


@view("ScoreTable.text")
def score_table_text(table: pl.DataFrame) -> str:
    """Return scores and their notes as text; a frame without their columns as Polars shows it."""
    if not _has_scores(table):
        return pl.DataFrame.__str__(table)
    return "\n".join([text_table(*_short_cells(table)), *_short_notes(table)])


@view("ScoreTable.html")
def score_table_html(table: pl.DataFrame) -> str:
    """Return scores and their notes as HTML, escaped; a frame without their columns as Polars shows it."""
    if not _has_scores(table):
        return pl.DataFrame._repr_html_(table)
    return html_table(*_short_cells(table)) + _html_notes(_short_notes(table))


def _has_scores(table: pl.DataFrame) -> bool:
    return table.height > 0 and {"metric", "value", "ci_low", "ci_high", "interval", "n"} <= set(table.columns)


def _short_cells(table: pl.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Return the column heads and rows of scores, without keys that have one value; methods are in the notes."""
    heads, rows = table_cells(table.head(MOST_ROWS))
    keys = [name for name in heads[: heads.index("value")] if name == "metric" or table[name].n_unique() > 1]
    shown = [index for index, name in enumerate(heads) if name in keys or index >= heads.index("value")]
    return [heads[index] for index in shown], [[row[index] for index in shown] for row in rows]


def _short_notes(table: pl.DataFrame) -> list[str]:
    keys = [name for name in table.columns[: table.columns.index("value")] if name not in ("metric", "pooled")]
    shared = [f"{name}: {show_invisible(str(table[name][0]))}" for name in keys if table[name].n_unique() == 1]
    methods = table.filter(pl.col("ci_low").is_not_null())["interval"].unique(maintain_order=True).to_list()
    pooled = table["pooled"].unique(maintain_order=True).to_list() if "pooled" in table.columns else []
    more = table.height - MOST_ROWS
    return [
        *([f"{more:,} more rows"] if more > 0 else []),
        *([", ".join(shared)] if shared else []),
        *[f"mean over {text}" for text in pooled],
        *([f"interval: {'; '.join(methods)}"] if methods else []),
        f"all {table.width} columns: .frame",
    ]


@view("Failures.text")
def failures_text(table: pl.DataFrame) -> str:
    """Return failed requests by model and message as text."""
    if "error" not in table.columns:
        return pl.DataFrame.__str__(table)
    return "\n".join([text_table(*_failure_cells(table)), _failure_note(table)])


@view("Failures.html")
def failures_html(table: pl.DataFrame) -> str:
    """Return failed requests by model and message as HTML, escaped."""
    if "error" not in table.columns:
        return pl.DataFrame._repr_html_(table)
    return html_table(*_failure_cells(table)) + _html_notes([_failure_note(table)])


def _failure_cells(table: pl.DataFrame) -> tuple[list[str], list[list[str]]]:
    keys = [name for name in ("model", "error") if name in table.columns]
    groups = table.group_by(keys, maintain_order=True).agg(n=pl.len(), first=pl.col("instance_id").first())
    groups = groups.sort("n", descending=True, maintain_order=True).head(MOST_ROWS)
    rows = [
        [_count(row["n"]), *(_truncated(str(row[name])) for name in keys), str(row["first"])]
        for row in groups.iter_rows(named=True)
    ]
    return ["requests", *keys, "first instance"], rows


def _failure_note(table: pl.DataFrame) -> str:
    if not table.height:
        return "no request failed"
    return f"{table.height:,} requests failed; rerun the plan to retry them. One row per request: .frame"


def _truncated(text: str, length: int = 160) -> str:
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1]}…"


@view("Changes.text")
def changes_text(table: pl.DataFrame) -> str:
    """Return changes under perturbations as text; a frame without their columns as Polars shows it."""
    if not _has_changes(table):
        return pl.DataFrame.__str__(table)
    return show_invisible("\n".join([text_table(*changes_cells(table)), *_changes_notes(table)]))


@view("Changes.html")
def changes_html(table: pl.DataFrame) -> str:
    """Return changes under perturbations as HTML, escaped; a frame without their columns as Polars shows it."""
    if not _has_changes(table):
        return pl.DataFrame._repr_html_(table)
    return html_table(*changes_cells(table)) + _html_notes(_changes_notes(table))


def _has_changes(table: pl.DataFrame) -> bool:
    return table.height > 0 and {"original", "change", "n_changed"} <= set(table.columns)


def changes_cells(table: pl.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Return the column heads and rows of a short table of changes: without keys that have one value."""
    keys, _ = _varying_keys(table)
    excess = "excess" in table.columns
    heads = [*keys, "change", "interval", *["beyond placebo", "its interval"] * excess]
    heads += ["n changed", "original", "perturbed", "worst", "n"]
    rows = []
    for row in table.head(MOST_ROWS).iter_rows(named=True):
        cells = [*(str(row[key]) for key in keys), number(row["change"])]
        cells += [spread(row["change_low"], row["change_high"]) or str(row["interval"])]
        cells += [number(row["excess"]), spread(row["excess_low"], row["excess_high"])] if excess else []
        cells += [_count(row["n_changed"]), *(number(row[name]) for name in ("original", "perturbed", "worst"))]
        rows.append([*cells, _count(row["n"])])
    return heads, rows


def _changes_notes(table: pl.DataFrame) -> list[str]:
    _, constant = _varying_keys(table)
    shared = [f"{key}: {show_invisible(str(table[key][0]))}" for key in constant]
    more = table.height - MOST_ROWS
    return [
        *([f"{more:,} more rows"] if more > 0 else []),
        *([", ".join(shared)] if shared else []),
        f"change: perturbed − original, on changed inputs; all {table.width} columns: .frame",
    ]


def _varying_keys(table: pl.DataFrame) -> tuple[list[str], list[str]]:
    """Return the keys that have several values, and those that have one. The perturbation counts as the former."""
    keys = table.columns[: table.columns.index("original")]
    varying = [key for key in keys if key == "perturbation" or table[key].n_unique() > 1]
    return varying, [key for key in keys if key not in varying]


def robustness_text(table: pl.DataFrame) -> str:
    """Return the table of `results.robustness()` as text."""
    return text_table(*robustness_cells(table))


def robustness_cells(table: pl.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Return the column heads and rows of the table of `results.robustness()`."""
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
    """Return the column heads and rows of the table of the main and judged metrics."""
    metrics = _table_metrics(results)
    table = of_mains(results, results.table(metrics=metrics))
    keys = [key for key in table.columns[: table.columns.index("value")] if key != "metric"]
    several = len(metrics) > 1
    show_errors = _share(table, "n_error") > SHOWN_FROM
    show_unparsed = _share(table, "n_unparsed") > SHOWN_FROM
    show_starved = table["n_starved"].sum() > 0
    show_chance = table["chance"].is_not_null().any()
    heads = [
        *keys,
        *(["metric"] if several else []),
        "value" if several else metrics[0],
        "95% interval",
        "n",
    ]
    # n_error counts every completion without a score; results.errors() lists failed requests only
    errors = "no score" if show_errors and missing_scores(results, _per_row(results, metrics)) else "errors"
    heads += ["chance"] * show_chance + [errors] * show_errors + ["unparsed"] * show_unparsed
    heads += ["starved"] * show_starved
    rows = []
    for row in table.iter_rows(named=True):
        cells = [str(row[key]) for key in keys] + ([row["metric"]] if several else [])
        cells += [number(row["value"]), _interval(row), _n_text(row)]
        cells += [number(row["chance"])] * show_chance
        cells += [_count(row["n_error"])] * show_errors + [_count(row["n_unparsed"])] * show_unparsed
        cells += [_count(row["n_starved"])] * show_starved
        rows.append(cells)
    return heads, rows


def of_mains(results: Results, table: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of each scenario's main metric, and of judges; not of other scenarios' main metrics."""
    entries = results.manifest["scenarios"].items()
    mains = {name: entry["main"]["metric"] for name, entry in entries}
    if "scenario" not in table.columns or not set(mains.values()) <= {*table["metric"]}:
        return table
    is_main = pl.col("metric") == pl.col("scenario").replace_strict(mains, default=None)
    return table.filter(is_main.fill_null(value=True) | ~pl.col("metric").is_in(list(mains.values())))


def table_cells(table: pl.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Return the column heads and rows of any table of `results.table()`: keys, value, interval, n, other counts."""
    if "value" not in table.columns:  # pivoted
        return table.columns, [[_cell(value) for value in row] for row in table.iter_rows()]
    keys = table.columns[: table.columns.index("value")]
    chance = ["chance"] if "chance" in table.columns and table["chance"].is_not_null().any() else []
    counts = [
        name
        for name in ("n_error", "n_unparsed", "n_truncated", "n_starved")
        if name in table.columns and table[name].sum()
    ]
    bounds = {}
    if "bound_low" in table.columns:
        bounds = {"bounds with failures": "bound", "their interval": "bound_ci"}
    rows = [
        [
            *(str(row[key]) for key in keys),
            *(number(row["value"]), spread(row["ci_low"], row["ci_high"]) or str(row["interval"])),
            *(spread(row[f"{name}_low"], row[f"{name}_high"]) for name in bounds.values()),
            _n_text(row),
            *(_cell(row[name]) for name in (*chance, *counts)),
        ]
        for row in table.iter_rows(named=True)
    ]
    return [*keys, "value", "interval", *bounds, "n", *chance, *(name.removeprefix("n_") for name in counts)], rows


def problem_notes(results: Results) -> list[str]:
    """Return the notes above the table of scores: failed requests by message, empty and unparsed completions."""
    return [*_failed_notes(results), *completion_notes(results)]


def completion_notes(results: Results) -> list[str]:
    """Return the notes on empty and unparsed completions."""
    return [*empty_notes(results.manifest), *unparsed_notes(results.manifest)]


def _failed_notes(results: Results) -> list[str]:
    """Return lines about stopped models and failed requests, with the most frequent messages; empty if none failed."""
    groups = error_groups(results)
    if groups.is_empty():
        return []
    several = len(results.manifest["models"]) > 1
    messages = [
        f"{row['n']:,} × {_truncated(row['message']).rstrip('.')}" + f" ({', '.join(row['models'])})" * several
        for row in groups.head(_MESSAGES).iter_rows(named=True)
    ]
    more = [f"{groups.height - _MESSAGES:,} more messages"] if groups.height > _MESSAGES else []
    failed = f"{groups['n'].sum():,} of {groups['total'][0]:,} requests failed"
    stopped = stop_note(groups, results.manifest)
    advice = "results.errors() lists them." if stopped else "Rerun the plan to retry them; results.errors() lists them."
    return [*filter(None, [stopped]), f"{failed}: {'; '.join([*messages, *more])}. {advice}"]


def score_notes(results: Results) -> list[str]:
    """Return the notes below the table of scores: skipped pairs, missing completions and scores, metrics, path."""
    counts = results.manifest.get("counts") or {}
    done = reader_of(results).n_generated()
    manifest = results.manifest
    notes = [*skip_notes(manifest), *notes_of(manifest), *rerun_notes(manifest), *refusal_notes(manifest)]
    planned = counts.get("planned", done)
    if done != planned:
        notes.append(f"{done:,} of {planned:,} planned completions are available")
    if reader_of(results).n_unscored:
        notes.append(
            f"{reader_of(results).n_unscored:,} completions have no scores yet; results.rescore() computes them"
        )
    notes += duplicate_notes(results)
    notes += [missing.text for missing in missing_scores(results, shown_metrics(results)).values()]
    notes.append(f"metrics: {', '.join(results.metric_names)}")
    if results.path is not None:
        notes.append(f"results: {shown_path(results.path)}")
    return notes


def duplicate_notes(results: Results) -> list[str]:
    """Return a note for each scenario with repeated instances."""
    counts = reader_of(results).count_duplicates(["scenario"])
    if counts is None:
        return []
    repeats = counts.filter(pl.col("n_duplicates") > 0).sort("scenario")
    return [
        f"{scenario}: {n:,} instances repeat the input and references of another, which makes intervals too short; "
        "remove them, or give equal instances the same cluster"
        for scenario, n in repeats.select("scenario", "n_duplicates").iter_rows()
    ]


def skip_notes(manifest: Mapping[str, Any]) -> list[str]:
    """Return why a run skipped pairs of scenario and model, with one note for each reason."""
    pairs: dict[str, list[str]] = {}
    for pair in manifest.get("skipped") or []:
        pairs.setdefault(pair["reason"], []).append(f"{pair['scenario']} × {pair['model']}")
    return [f"skipped: {listed(dict.fromkeys(names))}: {reason}" for reason, names in pairs.items()]


def _table_metrics(results: Results) -> list[str]:
    """Return the metrics of the printed table: the main metrics and those of judges."""
    judged = [name for name, entry in results.manifest["metrics"].items() if "judge" in entry]
    return list(dict.fromkeys([*results.main_metrics, *judged]))


def _per_row(results: Results, metrics: Sequence[str]) -> list[str]:
    """Return the metrics that have a score per row."""
    return [name for name in metrics if results.manifest["metrics"][name]["level"] != "set"]


def _html_notes(notes: Sequence[str]) -> str:
    return "".join(f"<div style='opacity:.7;font-size:90%'>{escape(show_invisible(note))}</div>" for note in notes)


def _interval(row: Mapping[str, Any]) -> str:
    """Return the interval, with its method if it may cover less often; without an interval, the reason."""
    ends, how = spread(row["ci_low"], row["ci_high"]), str(row["interval"])
    return f"{ends} {how}".strip() if not ends or any(mark in how for mark in MARKS) else ends


def _n_text(row: Mapping[str, Any]) -> str:
    """Return the number of instances, with the total if only a sample was run."""
    return f"{row['n_run']:,} of {row['n_total']:,}" if "n_total" in row else _count(row["n"])


def _share(table: pl.DataFrame, column: str) -> float:
    return float(sum(table[column]) / max(1, sum(table["n"])))


def _cell(value: Any) -> str:
    return number(value) if isinstance(value, float | None) else f"{value:,}" if isinstance(value, int) else str(value)


def _count(value: Any) -> str:
    return "" if value is None else f"{value:,}"


@view("Results.table")
def results_table_as(results: object, table: pl.DataFrame, path: str) -> str:  # noqa: ARG001
    """Return a table of results as the text of a file."""
    return table_as(table, path)


def table_as(table: pl.DataFrame, path: str) -> str:
    """Return the table in the format of the file name: CSV and JSON with every digit, Markdown and LaTeX rounded.

    In CSV, texts that a spreadsheet would run as a formula start with an apostrophe; see `neutral_csv`.

    Raises:
        ArgumentError: The suffix is unsupported.
        CapabilityError: The format is LaTeX and tabulate is not installed.
    """
    suffix = PurePosixPath(path).suffix.lower()
    if suffix == ".csv":
        return neutral_csv(table).write_csv()
    if suffix == ".json":
        return table.write_json() + "\n"
    if suffix == ".md":
        return markdown_table(*table_cells(table)) + "\n"
    if suffix == ".tex":
        return _latex(table) + "\n"
    raise ArgumentError(
        f"write_table({path!r}): the file name must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}."
    )


# The start of a text that a spreadsheet runs as a formula, after any apostrophes; plain numbers are not formulas.
_FORMULA = r"^'*[=+\-@\t\r\n＝＋－＠]"
_PLAIN_NUMBER = r"^[+\-]?[0-9]+(\.[0-9]+)?([eE][+\-]?[0-9]+)?$"


def neutral_csv(table: pl.DataFrame) -> pl.DataFrame:
    """Return the table with an apostrophe before each text that a spreadsheet would run as a formula.

    These texts start with =, +, -, @, a tab or a line break. Texts that start with apostrophes before such a character
    get one more, so that the original is the text without the first apostrophe. Numbers don't change.

    >>> neutral_csv(pl.DataFrame({"model": ["=1+1", "'=a", "base", "-0.5"]}))["model"].to_list()
    ["'=1+1", "''=a", 'base', '-0.5']
    """
    columns = []
    for name, dtype in table.schema.items():
        if isinstance(dtype, pl.String | pl.Categorical | pl.Enum):
            text = pl.col(name).cast(pl.String)
            is_formula = text.str.contains(_FORMULA) & ~text.str.contains(_PLAIN_NUMBER)
            columns.append(pl.when(is_formula).then(pl.lit("'") + text).otherwise(text).alias(name))
    heads = {name: f"'{name}" for name in table.columns if re.match(_FORMULA, name)}
    return table.with_columns(columns).rename(heads)


def _latex(table: pl.DataFrame) -> str:
    try:
        from tabulate import tabulate
    except ImportError:
        raise CapabilityError("LaTeX requires the package tabulate: pip install 'helmframe[report]'") from None
    cells, rows = table_cells(table)
    heads, *lines = [[show_invisible(cell).replace("\n", " ") for cell in row] for row in (cells, *rows)]
    return str(tabulate(lines, heads, tablefmt="latex_booktabs", disable_numparse=True))
