"""The report of results: one self-contained HTML file."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import polars as pl

from helmframe._core.registry import view
from helmframe.engines.notes import dollars, utilization_notes
from helmframe.errors import HelmframeError
from helmframe.results import Results
from helmframe.results.charts import Plot
from helmframe.views.comparison import comparison_cells, comparison_notes, leaderboard_cells, leaderboard_notes
from helmframe.views.display import robustness_cells, score_cells, score_notes, table_cells
from helmframe.views.html import Grid, Picture, page, picture, policy
from helmframe.views.report_rows import disagreements, worsened, worst

if TYPE_CHECKING:
    from helmframe.views.charts.theme import Drawn

_FAILED_SHOWN = 20
_Pictures: TypeAlias = list[Picture | str]


@view("Results.report")
def report_html(results: Results, title: str | None = None) -> str:
    """Return the report: scores, charts, robustness and fairness, comparisons, instances to read, plan and manifest.

    Texts from data and models are escaped and cut, and invisible characters are replaced. The page contains no scripts
    and loads nothing.

    Raises:
        ArgumentError, CapabilityError: A required package is not installed.
    """
    manifest, without_path = results.manifest, replace(results, path=None)  # a report is read elsewhere
    several = {axis: results.completions.select(pl.col(axis).n_unique()).collect().item() > 1 for axis in _AXES}
    return page(
        "report.html",
        policy=policy(),
        title=title or f"helmframe report: {', '.join(manifest['scenarios'])}",
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


def _charts(results: Results, several: dict[str, bool]) -> dict[str, _Pictures]:
    plot = Plot(results)
    draws: dict[str, list[Callable[[str], Drawn]]] = {"scores": [], "variants": [], "comparisons": []}
    draws["scores"].append(lambda mode: plot.scores(mode=mode))
    if several["scenario"] and several["model"]:
        draws["scores"].append(lambda mode: plot.heatmap("scenario", "model", mode=mode))
    draws["scores"] += [lambda mode: plot.calibration(mode=mode), lambda mode: plot.confusion(mode=mode)]
    if several["perturbation"]:
        draws["variants"] = [lambda mode: plot.robustness(mode=mode), lambda mode: plot.perturbations(mode=mode)]
    if several["model"]:
        draws["comparisons"] = [lambda mode: plot.forest("model", mode=mode), lambda mode: plot.leaderboard(mode=mode),
                                lambda mode: plot.pareto(mode=mode)]  # fmt: skip
    pictures_by_section = {name: [picture(draw) for draw in draws] for name, draws in draws.items()}
    return {name: [image for image in pictures if image is not None] for name, pictures in pictures_by_section.items()}
