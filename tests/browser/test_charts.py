"""Charts in a real browser: saved pages and cells of a notebook; no text of theirs runs, nothing leaves the machine."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from tests.acceptance.figures import shown
from tests.browser.hostile import NAMES as ATTACKS
from tests.browser.lab import started_lab

pytestmark = pytest.mark.slow

PATIENCE = 120_000  # ms, on a busy machine
AS_SHOWN = {"a\u202eb\x1b[31m": "a⟨U+202E⟩b⟨U+001B⟩[31m"}
CHARTS: dict[str, Callable[..., Any]] = {
    "scores": lambda plot, **mode: plot.scores(**mode),
    "heatmap": lambda plot, **mode: plot.heatmap("perturbation", "model", **mode),
    "robustness": lambda plot, **mode: plot.robustness(**mode),
    "perturbations": lambda plot, **mode: plot.perturbations(**mode),
    "forest": lambda plot, **mode: plot.forest(**mode),
    "calibration": lambda plot, **mode: plot.calibration(**mode),
    "pareto": lambda plot, **mode: plot.pareto(**mode),
    "confusion": lambda plot, **mode: plot.confusion(**mode),
    "leaderboard": lambda plot, **mode: plot.leaderboard(**mode),
}


@pytest.fixture(scope="module")
def results() -> hf.Results:
    """Models with hostile names, whose answers and classes are hostile too."""
    frame = pl.DataFrame({"q": [f"question {place}" for place in range(32)], "gold": ATTACKS * 4})
    plan = hf.scenario(frame, input="q", references="gold").perturb("uppercase")
    models = {name: hf.models.noisy(0.2 + 0.1 * place) for place, name in enumerate(ATTACKS)}
    return plan.generate(models).score()


def tooltips(page: Any) -> list[str]:
    """What the first marks of a chart say to the mouse."""
    tooltips = []
    for mark in page.query_selector_all("svg.marks .mark-symbol.role-mark path, svg.marks .mark-rect.role-mark path")[
        :12
    ]:
        mark.scroll_into_view_if_needed()
        box = mark.bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.wait_for_timeout(20)
        tooltips.append(page.evaluate("document.querySelector('#vg-tooltip-element')?.textContent ?? ''"))
    return tooltips


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_hostile_texts_are_shown_and_never_run(results: hf.Results, mode: str, tmp_path: Path, watched: Any) -> None:
    seen: dict[str, int] = {}
    hovered: list[str] = []
    for name, draw in CHARTS.items():
        page = tmp_path / f"{name}.html"
        draw(results.plot, mode=mode).save(page, embed_options={"renderer": "svg"})
        watched.page.goto(page.as_uri(), wait_until="commit", timeout=PATIENCE)
        watched.page.wait_for_selector("svg.marks", timeout=PATIENCE)
        hovered += tooltips(watched.page)
        texts = "\n".join(each.text_content() or "" for each in watched.page.query_selector_all("svg.marks text"))
        seen[name] = sum(AS_SHOWN.get(attack, attack) in texts for attack in ATTACKS)
    shown("hostile", f"charts {mode}: texts shown of {len(ATTACKS)}", seen, "all, where there is something to draw")
    shown("hostile", f"charts {mode}: executed, console errors", (watched.executed, watched.errors), "none")
    # completions without confidences
    assert {name: count for name, count in seen.items() if count < len(ATTACKS)} == {"calibration": 0}
    assert sum(any(AS_SHOWN.get(attack, attack) in each for each in hovered) for attack in ATTACKS) == len(ATTACKS)
    assert watched.executed == []
    assert watched.errors == []
    assert [each for each in watched.requests if not each.startswith(("file:", "data:", "blob:"))] == []


def test_a_notebook_draws_charts_without_a_network(tmp_path: Path, watched: Any) -> None:
    run = (
        "import helmframe as hf\n"
        "plan = hf.scenario('sampler').limit(4)\n"
        "models = {'</script><script>alert(1)</script>': hf.models.noisy(.4), 'b': hf.models.oracle()}\n"
        "results = plan.generate(models).score()"
    )
    cells = [run, "results.plot.scores()", "results.plot.heatmap('model', 'subject', mode='dark')"]
    with started_lab(tmp_path / "lab") as lab:
        lab.open(watched.page, cells)
        for place in range(len(cells)):
            lab.run(watched.page, place)
        both = "document.querySelectorAll('.jp-OutputArea .vega-embed :is(canvas, svg.marks)').length >= 2"
        watched.page.wait_for_function(both, timeout=PATIENCE)
        watched.page.screenshot(path=tmp_path / "lab.png")
    assert watched.executed == []
    assert watched.left == []
