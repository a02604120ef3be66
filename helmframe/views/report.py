"""The report of results: one self-contained HTML file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import polars as pl

from helmframe._core.registry import view
from helmframe._schema import ORIGINAL
from helmframe.engines.notes import dollars, utilization_notes
from helmframe.errors import CapabilityError, HelmframeError
from helmframe.results import Results
from helmframe.results._boards import competitor_label, competitor_name
from helmframe.results._data import reader_of
from helmframe.results._findings import MainScores
from helmframe.results.charts import Plot
from helmframe.views.comparison import comparison_cells, comparison_notes, leaderboard_cells, leaderboard_notes
from helmframe.views.display import (
    completion_notes,
    escape_markdown,
    markdown_table,
    number,
    robustness_cells,
    score_cells,
    score_notes,
    spread,
    table_cells,
)
from helmframe.views.html import Grid, Picture, page, pictures, policy
from helmframe.views.report_rows import disagreements, worsened, worst

if TYPE_CHECKING:
    from helmframe.views.charts.theme import Drawn

_FAILED_SHOWN = 20
_Pictures: TypeAlias = list[Picture | str]


@view("Results.report")
def report_html(results: Results, title: str | None = None) -> str:
    """Return the report: findings and a summary first, then details, which are folded.

    Texts from data and models are escaped and cut, and invisible characters are replaced. The page contains no scripts
    and loads nothing.

    Raises:
        ArgumentError, CapabilityError: A required package is not installed.
    """
    from helmframe.views.charts.frames import start_altair  # late: with the statistics of charts

    start_altair()
    manifest, without_path = results.manifest, replace(results, path=None)  # a report is read elsewhere
    several = {axis: results.completions.select(pl.col(axis).n_unique()).collect().item() > 1 for axis in _AXES}
    return page(
        "report.html",
        policy=policy(),
        title=title or f"helmframe report: {', '.join(manifest['scenarios'])}",
        origin=_origin_note(results),
        findings=_short_findings(results),
        summary=summary_grid(results),
        problems=completion_notes(results),  # the findings have the failed requests
        notes=[*_run_notes(manifest), *utilization_notes(manifest), *score_notes(without_path)],
        scores=Grid.of(score_cells(results)),
        all_scores=_all_scores(results),
        variants=_variants(results) if several["perturbation"] else [],
        comparisons=[(axis, _comparison(results, axis)) for axis in ("model", "setting") if several[axis]],
        board=_board(results) if several["model"] or several["setting"] else None,
        disagreements=disagreements(results),
        worsened=worsened(results) if several["perturbation"] else None,
        cost=_cost(results),
        worst=worst(results),
        failed=_failed(results),
        charts=_charts(results, several),
        plans=manifest.get("plans", []),
        manifest=json.dumps(manifest, indent=1, ensure_ascii=False, default=str),
    )


@view("Results.report_markdown")
def report_markdown(results: Results, title: str | None = None) -> str:
    """Return the start of the report as Markdown: findings, summary, changes under perturbations, and comparisons."""
    heading = title or f"helmframe report: {', '.join(results.manifest['scenarios'])}"
    parts = [f"# {escape_markdown(heading)}", escape_markdown(_origin_note(results)), "## Findings"]
    parts.append("\n".join(f"- {escape_markdown(finding.text)}" for finding in results.findings()))
    grids = [("Scores", summary_grid(results)), ("All scores", Grid.of(score_cells(results)))]
    perturbed = results.completions.select(pl.col("perturbation").n_unique()).collect().item() > 1
    grids += [(name.capitalize(), grid) for name, grid in _variants(results)] if perturbed else []
    for axis in ("model", "setting"):
        if results.completions.select(pl.col(axis).n_unique()).collect().item() > 1:
            comparison = _comparison(results, axis)
            grids += [(f"Differences between {axis}s", comparison)] if isinstance(comparison, Grid) else []
    for name, grid in grids:
        if grid.rows:
            more = [f"{grid.more:,} more rows are not shown."] if grid.more else []
            parts += [f"## {name}", markdown_table(grid.heads, grid.rows), *more, *map(escape_markdown, grid.notes)]
    return "\n\n".join(parts) + "\n"


@view("Results.report_pdf")
def report_pdf(results: Results, title: str | None = None) -> bytes:
    """Return the report as PDF, printed by an installed Chromium or Chrome.

    Raises:
        CapabilityError: No browser is installed, or it fails.
    """
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if browser is None:
        raise CapabilityError(
            f"A PDF needs Chromium or Chrome: {', '.join(_BROWSERS)} not found. Install one, or write an HTML file and "
            "print it."
        )
    with tempfile.TemporaryDirectory(prefix="helmframe-report-") as folder:
        source, target = Path(folder) / "report.html", Path(folder) / "report.pdf"
        source.write_text(report_html(results, title), encoding="utf-8")
        # the page has no scripts, and its policy loads nothing
        options = ["--headless", "--disable-gpu", "--no-pdf-header-footer", f"--user-data-dir={folder}/profile"]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            options.append("--no-sandbox")  # Chromium refuses to run as root otherwise, as in containers
        command = [browser, *options, f"--print-to-pdf={target}", source.as_uri()]
        try:
            subprocess.run(command, capture_output=True, check=True, timeout=_PRINT_SECONDS)
            return target.read_bytes()
        except (OSError, subprocess.SubprocessError) as error:
            raise CapabilityError(
                f"{browser} can't print the report: {error}. Write an HTML file and print it."
            ) from None


# The names of browsers that print pages, the first choice first.
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_PRINT_SECONDS = 120


def _origin_note(results: Results) -> str:
    """Return what was run in one line: models, scenarios, instances, variants, time and version."""
    manifest = results.manifest
    counts = results.completions.select(
        pl.struct("scenario", "instance_id").n_unique().alias("instances"), pl.len().alias("completions")
    )
    instances, completions = counts.collect().row(0)
    numbers = [
        _counted(len(manifest["models"]), "model"),
        _counted(len(manifest["scenarios"]), "scenario"),
        _counted(len(manifest.get("settings", {})) or 1, "prompt setting"),
        _counted(len(manifest.get("perturbations", {})), "perturbation"),
        _counted(instances, "instance"),
        _counted(completions, "completion"),
    ]
    return ", ".join([*numbers, *_run_notes({**manifest, "scenarios": {}})])


def _short_findings(results: Results) -> tuple[list[str], list[str]]:
    """Return the first findings of each kind, and the others."""
    first: list[str] = []
    others: list[str] = []
    counts: Counter[str] = Counter()
    for finding in results.findings():
        counts[finding.kind] += 1
        (first if counts[finding.kind] <= _FIRST_FINDINGS else others).append(finding.text)
    return first, others


def _counted(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def summary_grid(results: Results) -> Grid:
    """Return the main scores on original inputs: models × scenarios, with the best of each scenario marked.

    "★" marks the best score, "=" the scores that are not significantly worse (Holm's p ≥ .05 over all differences).
    """
    scores = MainScores.of(results, 0.95)
    mains, table = scores.mains, scores.table
    if table.is_empty():
        return Grid([], [])
    sides = [name for name in ("model", "setting") if name in table.columns]
    label = pl.struct(sides).map_elements(
        lambda side: competitor_name(side["model"], side.get("setting") or ""), pl.String
    )
    table = table.with_columns(side=label)
    marks = _marks(results, table, mains)
    scenarios, competitors = (table[name].unique(maintain_order=True).to_list() for name in ("scenario", "side"))
    cells = {
        (row["side"], row["scenario"]): f"{number(row['value'])} {spread(row['ci_low'], row['ci_high'])}"
        f" {marks.get((row['side'], row['scenario']), '')}".strip()
        for row in table.iter_rows(named=True)
    }
    heads, rows = (scenarios, competitors) if len(competitors) >= len(scenarios) else (competitors, scenarios)
    across = len(competitors) >= len(scenarios)

    def cell(row: str, head: str) -> str:
        return cells.get((row, head) if across else (head, row), "")

    shown = heads[:_MOST_COLUMNS]
    body = [[row, *(cell(row, head) for head in shown)] for row in rows]
    metrics = dict.fromkeys(mains[name] for name in scenarios)
    notes = [f"metric: {', '.join(metrics)}; original inputs; 95% intervals"]
    if marks:
        notes.append("★ best; = not significantly worse than the best (Holm's p ≥ .05)")
    if len(heads) > len(shown):
        notes.append(f"{len(heads) - len(shown):,} more columns are in the table of all scores")
    return Grid.of((["model" if across else "scenario", *shown], body), notes)


def _marks(results: Results, table: pl.DataFrame, mains: Mapping[str, str]) -> dict[tuple[str, str], str]:
    """Return (competitor, scenario) → its mark; empty if there is one competitor."""
    directions = reader_of(results).directions()
    best: dict[str, str] = {}
    for (scenario,), rows in table.partition_by("scenario", as_dict=True, maintain_order=True).items():
        higher = directions.get(mains[str(scenario)])
        if higher is not None and rows.height > 1:
            best[str(scenario)] = rows.sort("value", descending=higher, maintain_order=True)["side"][0]
    marks = {(side, scenario): "★" for scenario, side in best.items()}
    # each pair of model and setting is a competitor
    originals = results.scores.filter(pl.col("perturbation") == ORIGINAL)
    sides = originals.with_columns(model=competitor_label(), setting=pl.lit(""))
    competitors = replace(results, scores=sides, path=None)
    for base in dict.fromkeys(best.values()):
        try:
            compared = competitors.compare("model", base, metrics=[*dict.fromkeys(mains.values())])
        except HelmframeError:  # too many failed requests, or a metric of a whole set: the best alone is marked
            return marks
        for row in compared.iter_rows(named=True):
            scenario, p = row["scenario"], row["p"] if row["p_holm"] is None else row["p_holm"]
            is_main = best.get(scenario) == base and row["metric"] == mains[scenario]
            if is_main and p is not None and p >= _ALPHA:
                marks[row["a"], scenario] = "="
    return marks


_ALPHA = 0.05
# The findings of each kind that are not folded.
_FIRST_FINDINGS = 2
# Columns of the summary.
_MOST_COLUMNS = 8
_AXES = ("scenario", "model", "setting", "perturbation")


def _run_notes(manifest: Any) -> list[str]:
    scenarios = manifest["scenarios"].items()
    notes = [f"{name}: {metadata['description']}" for name, metadata in scenarios if metadata.get("description")]
    versions = manifest.get("versions", {})
    ended = manifest.get("ended") or manifest.get("started")
    time = datetime.fromtimestamp(ended, UTC).strftime("%Y-%m-%d %H:%M UTC") if ended else ""
    origin = [f"run of {time}"] if time else []
    origin += [f"helmframe {versions['helmframe']}"] if "helmframe" in versions else []
    return [*notes, ", ".join(origin)] if origin else notes


def _all_scores(results: Results) -> Grid:
    """Return the scores of every metric, or an empty grid if only main metrics exist."""
    if set(results.metric_names) <= set(results.main_metrics):
        return Grid([], [])
    return Grid.of(table_cells(results.table()))


def _variants(results: Results) -> list[tuple[str, Grid]]:
    tables = {name: verb(metrics=results.main_metrics) for name, verb in
              (("robustness", results.robustness), ("fairness", results.fairness))}  # fmt: skip
    return [(name, Grid.of(robustness_cells(table))) for name, table in tables.items() if table.height]


def _comparison(results: Results, axis: str) -> Grid | str:
    try:
        table = results.compare(axis)
    except HelmframeError as error:
        return str(error)
    return Grid.of(comparison_cells(table), comparison_notes(table))


def _board(results: Results) -> Grid | str:
    try:
        board = results.leaderboard()
    except HelmframeError as error:
        return str(error)
    return Grid.of(leaderboard_cells(board), leaderboard_notes(board))


def _cost(results: Results) -> Grid:
    """Return tokens and cost by model; an empty grid if no price is known."""
    table = results.cost(["role", "model", "scenario"])
    if not table["cost"].count():
        return Grid([], [])
    counts = ["prompt_tokens", "cached_prompt_tokens", "reasoning_tokens", "output_tokens"]
    counts = ["n", "n_stored", *(name for name in counts if table[name].count())]
    heads = ["role", "model", "scenario", *(_COST_HEADS.get(name, name.replace("_", " ")) for name in counts)]
    rows = [
        [row["role"], row["model"], row["scenario"]]
        + ["" if row[name] is None else f"{row[name]:,}" for name in counts]
        + ["unknown" if row[name] is None else dollars(row[name]) for name in ("cost", "full_cost")]
        + [row["price"] or ""]
        for row in table.iter_rows(named=True)
    ]
    return Grid.of(([*heads, "cost of this run", "cost of all requests", "prices"], rows))


_COST_HEADS = {"n": "requests", "n_stored": "from the store"}


def _failed(results: Results) -> Grid:
    failed = results.errors()
    shown = failed.head(_FAILED_SHOWN).select("scenario", "instance_id", "perturbation", "model", "error")
    rows = [[str(cell) for cell in row] for row in shown.iter_rows()]
    return Grid(shown.columns, rows, more=failed.height - len(rows))


def _original_scores(results: Results) -> Drawn:
    """Draw the scores on original inputs; the section of variants has the others."""
    from helmframe.views.charts._scores import scores  # late: with Altair
    from helmframe.views.charts.frames import Source, original_rows

    source = Source(results)
    return scores(original_rows(source.main(None)), models=source.models, metrics=source.metrics)


def _charts(results: Results, several: dict[str, bool]) -> dict[str, _Pictures]:
    plot = Plot(results)
    scores = [(lambda: _original_scores(results)) if several["perturbation"] else plot.scores]
    if several["scenario"] and several["model"]:
        scores.append(lambda: plot.heatmap("scenario", "model"))
    draws: dict[str, list[Callable[[], Drawn]]] = {
        "scores": [*scores, plot.calibration, plot.confusion],
        "variants": [plot.robustness, plot.perturbations] if several["perturbation"] else [],
        "comparisons": [lambda: plot.forest("model"), plot.leaderboard, plot.pareto] if several["model"] else [],
    }
    return {name: pictures(draws) for name, draws in draws.items()}
