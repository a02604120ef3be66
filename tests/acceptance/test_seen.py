"""What a person sees of a grid of models, prompts, perturbations and scenarios; and of an interrupted run.

Screenshots are written to build/seen. The viewer's figures for a million completions, and ten questions that it
answers, are in test_viewer.py.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe.views.transports import ViewerServer
from helmframe.views.viewer import Viewer
from tests.acceptance.figures import shown
from tests.browser.conftest import Watched, watched  # noqa: F401 - a fixture
from tests.browser.lab import TOKEN, started_lab
from tests.demo import ROOT

PIXELS = 12_000  # of a report at a width of 1,280
WIDTHS = {1280: 900, 390: 844}
FOLDER = ROOT / "build" / "seen"
# Elements whose text is cut off, without the previews of inputs in the table of instances.
CUT = """() => {
  const roots = [document, ...[...document.querySelectorAll("*")].map((each) => each.shadowRoot).filter(Boolean)];
  const all = roots.flatMap((root) => [...root.querySelectorAll("h1, h2, h3, th, td, button, label, li, summary")]);
  return all.filter((each) => !each.closest(".instances tbody")).filter((each) => {
    const style = getComputedStyle(each);
    return style.overflowX === "hidden" && each.offsetWidth && each.scrollWidth > each.clientWidth + 1;
  }).map((each) => each.textContent.trim().slice(0, 60));
}"""


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> hf.Results:
    """Return 3 models × 2 prompts × 3 perturbations × 2 scenarios."""
    towns = pl.DataFrame(
        {
            "q": [f"Which river passes the town {number}?" for number in range(40)],
            "a": [["north", "south", "east"][number % 3] for number in range(40)],
        }
    )
    plans = [
        hf.scenario("sampler").where(subject=["music", "biology", "arithmetic"]),
        hf.scenario(towns, input="q", references="a", name="rivers"),
    ]
    models = {
        "large": hf.models.noisy(0.9, seed=1),
        "medium": hf.models.noisy(0.7, seed=2),
        "small": hf.models.noisy(0.5, seed=3),
    }
    suite = hf.suite(*plans).perturb(["typos", "lowercase", "extra_space"])
    suite = suite.adapt(instructions={"plain": "Answer the question.", "short": "Answer with one word or letter."})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HELMFRAME_STORE", str(tmp_path_factory.mktemp("store")))
        return suite.generate(models).score()


@contextmanager
def viewer(results: hf.Results) -> Iterator[str]:
    """Serve the viewer, and return its address."""
    with ViewerServer(Viewer.of(results)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.address
        finally:
            server.shutdown()
            thread.join()


def photograph(page: Any, name: str, mode: str, width: int) -> tuple[int, int, list[str]]:
    """Write a screenshot, and return the page's width and height, and its texts that are cut off."""
    page.wait_for_timeout(300)
    FOLDER.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=FOLDER / f"{name}-{mode}-{width}.png", full_page=True)
    wide, high = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
    return wide, high, page.evaluate(CUT)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("mode", ["light", "dark"])
def test_1_pages_of_a_grid(
    grid: hf.Results,
    mode: str,
    width: int,
    tmp_path: Path,
    watched: Watched,  # noqa: F811
) -> None:
    page = watched.page
    page.set_viewport_size({"width": width, "height": WIDTHS[width]})
    page.emulate_media(color_scheme="dark" if mode == "dark" else "light")
    sizes: dict[str, tuple[int, int, list[str]]] = {}

    report = grid.report(tmp_path / "report.html")
    assert isinstance(report, Path)
    page.goto(report.as_uri())
    sizes["report"] = photograph(page, "report", mode, width)

    table = tmp_path / "table.html"
    reprs = "".join(f"<h2>{name}</h2>{frame._repr_html_()}" for name, frame in tables(grid).items())
    head = "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
    style = "<style>:root{color-scheme:light dark}body{font:14px sans-serif;margin:8px}.cell{overflow-x:auto}</style>"
    table.write_text(f"{head}<link rel=icon href='data:,'>{style}<div class=cell>{reprs}</div>", encoding="utf-8")
    page.goto(table.as_uri())
    sizes["tables"] = photograph(page, "tables", mode, width)

    with viewer(grid) as address:
        page.goto(address)
        page.locator(".findings li").first.wait_for()
        page.locator("td.cell").first.wait_for()
        sizes["summary"] = photograph(page, "summary", mode, width)
        page.get_by_role("link", name="Instances", exact=True).click()
        page.locator(".instances tbody tr").first.wait_for()
        sizes["instances"] = photograph(page, "instances", mode, width)
        page.locator(".instances tbody button").first.click()
        page.locator(".one pre").first.wait_for()
        sizes["instance"] = photograph(page, "instance", mode, width)

    shown("1", f"pixels of pages, {mode}, {width} wide", {name: size[:2] for name, size in sizes.items()}, "no wider")
    assert {name: size[0] for name, size in sizes.items() if size[0] > width} == {}
    assert {name: size[2] for name, size in sizes.items() if size[2]} == {}
    if width == 1280:
        shown("1", f"height of the report, {mode}", f"{sizes['report'][1]:,}", f"{PIXELS:,}")
        assert sizes["report"][1] <= PIXELS
    assert (watched.left, watched.errors, watched.executed) == ([], [], [])


def tables(results: hf.Results) -> dict[str, Any]:
    """Return what a notebook shows of results."""
    return {
        "results": results,
        "table": results.table(metrics="exact_match"),
        "compare": results.compare("model"),
        "robustness": results.robustness(metrics="exact_match"),
        "flips": results.flips(),
        "leaderboard": results.leaderboard(),
    }


def test_1_findings_equal_the_tables(grid: hf.Results) -> None:
    """Look up every finding in the table that it names."""
    calls: dict[str, pl.DataFrame] = {}
    wrong, n_checked = [], 0
    for finding in grid.findings():
        if finding.estimate is None or not finding.row or finding.kind == "failures":
            continue
        if finding.table not in calls:
            calls[finding.table] = pl.DataFrame(eval(f"grid.{finding.table.partition('.')[2]}", {"grid": grid}))
        table = calls[finding.table]
        row = table.filter(pl.col(name) == value for name, value in finding.row.items() if name in table.columns)
        column = next(name for name in ("value", "difference", "change") if name in table.columns)
        ends = ("change_low", "change_high") if column == "change" else ("ci_low", "ci_high")
        n_checked += 1
        numbers = (finding.estimate, finding.low, finding.high)
        if row.height != 1 or row.select(column, *ends).row(0) != pytest.approx(numbers, abs=1e-9, nan_ok=True):
            wrong.append((finding.text, row.select(column, *ends).rows(), numbers))
        elif f"{abs(100 * finding.estimate):.1f}" not in finding.text:
            wrong.append((finding.text, [], numbers))
    shown("1", "findings in words that equal their tables", f"{n_checked - len(wrong)} of {n_checked}", "all")
    assert n_checked >= 6
    assert wrong == []


def test_1_labels_of_charts_are_legible(grid: hf.Results, tmp_path: Path, watched: Watched) -> None:  # noqa: F811
    """Compare the boxes of all labels of a chart: none overlaps another, and none is cut off."""
    charts = {
        "scores": grid.plot.scores(),
        "scores-by": grid.plot.scores(by=["scenario", "model"], sort="value"),
        "scores-facet": grid.plot.scores(facet="scenario"),
        "robustness": grid.plot.robustness(),
        "perturbations": grid.plot.perturbations(facet="scenario"),
        "forest": grid.plot.forest(),
        "heatmap": grid.plot.heatmap("perturbation", "model"),
        "pareto": grid.plot.pareto("latency", "exact_match"),
        "confusion": grid.plot.confusion(),
        "leaderboard": grid.plot.leaderboard(),
    }
    overlaps = {}
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, chart in charts.items():
        file = tmp_path / f"{name}.html"
        chart.save(file, embed_options={"renderer": "svg", "actions": False})
        watched.page.goto(file.as_uri())
        watched.page.wait_for_selector("svg.marks")
        watched.page.screenshot(path=FOLDER / f"chart-{name}.png", full_page=True)
        found = watched.page.evaluate(OVERLAPS)
        if found:
            overlaps[name] = found
    shown("1", f"charts with labels that overlap or are cut off, of {len(charts)}", overlaps or "none", "none")
    assert overlaps == {}


OVERLAPS = """() => {
  const texts = [...document.querySelectorAll("svg.marks text")].filter((each) => each.textContent.trim());
  const boxes = texts.map((each) => [each.textContent, each.getBoundingClientRect()]);
  const found = texts.filter((each) => each.textContent.endsWith("…")).map((each) => each.textContent);
  boxes.forEach(([one, a], index) => boxes.slice(index + 1).forEach(([other, b]) => {
    const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (wide > 2 && high > 4) found.push(`${one} / ${other}`);
  }));
  return found;
}"""


# -- interrupted runs --------------------------------------------------------------------------------------------------

SLOW = """
import time
import helmframe as hf

n_prompts = 0

def slow(prompt: str) -> str:
    global n_prompts
    n_prompts += 1
    time.sleep(0.25)
    return "A"

models = {"slow": hf.model(slow, workers=2), "fast": hf.models.oracle()}
plan = hf.scenario("sampler").where(subject=["music", "biology"]).generate(models)
"""
TWO_LINES = re.compile(
    r"Interrupted: (?P<stored>[\d,]+) of (?P<planned>[\d,]+) completions are stored \(run (?P<run>[\w-]+)\)\.\n"
    r"To resume, run the plan with score\(resume='(?P<resume>[\w-]+)'\)\."
)


def test_2_ctrl_c_in_a_script(tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(f"{SLOW}\nplan.score()\n")
    environment = {**os.environ, "HELMFRAME_STORE": str(tmp_path / "store"), "HELMFRAME_PROGRESS": "0"}
    with subprocess.Popen([sys.executable, script], env=environment, stderr=subprocess.PIPE, text=True) as process:
        wait_for_completions(tmp_path / "store", process)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    match = TWO_LINES.fullmatch(errors.strip())
    assert match, errors
    assert match["run"] == match["resume"]
    stored, planned = (int(match[name].replace(",", "")) for name in ("stored", "planned"))
    script.write_text(
        f"{SLOW}\nresults = plan.score(resume={match['run']!r})\nprint(n_prompts, len(results.errors()))\n"
    )
    done = subprocess.run([sys.executable, script], env=environment, stdout=subprocess.PIPE, text=True, check=True)
    sent, failed = map(int, done.stdout.split())
    shown("2", "script: lines, stored and planned completions", (errors.count("\n"), stored, planned), "2 lines")
    shown("2", "script: resumed run sends, fails", (sent, failed), "less than a full run, 0")
    assert 0 < stored < planned
    assert 0 < sent <= planned - stored
    assert failed == 0


def wait_for_completions(store: Path, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 120
    while not list(store.glob("runs/*/cache/completions/**/0*.parquet")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)


def test_2_and_5_ctrl_c_in_jupyterlab(watched: Watched, tmp_path: Path) -> None:  # noqa: F811
    page = watched.page
    with started_lab(tmp_path, progress=True) as lab:
        lab.open(
            page, [SLOW, "results = plan.score()", "results = plan.score(resume='last')\nprint(n_prompts)\nresults"]
        )
        lab.run(page, 0)
        cell = page.locator(".jp-Notebook .jp-CodeCell").nth(1)
        cell.locator(".cm-content").click()
        page.keyboard.press("Control+Enter")
        page.get_by_text(re.compile(r"[1-9]\d*/64")).first.wait_for(timeout=120_000)
        photograph(page, "jupyterlab-progress", "light", 1280)
        bars = cell.locator(
            ".jp-OutputArea .widget-hbox, .jp-OutputArea .jupyter-widgets-hbox, .jp-OutputArea .widget-box"
        )
        n_bars, area = bars.count(), cell.locator(".jp-OutputArea").bounding_box()["width"]
        widths = [bars.nth(index).bounding_box()["width"] for index in range(n_bars)]
        page.wait_for_timeout(3_000)  # so that completions are stored
        interrupt(lab.port)
        output = cell.locator(".jp-OutputArea")
        output.get_by_text("To resume").wait_for(timeout=60_000)
        text = str(output.inner_text())
        photograph(page, "jupyterlab-interrupted", "light", 1280)
        match = TWO_LINES.search(text)
        assert match, text
        assert "Traceback" not in text
        lab.run(page, 2)
        last = page.locator(".jp-Notebook .jp-CodeCell").nth(2).locator(".jp-OutputArea")
        last.locator("table").first.wait_for(timeout=60_000)
        photograph(page, "jupyterlab-resumed", "light", 1280)
        stored = int(match["stored"].replace(",", ""))
        shown("5", "JupyterLab: bars, their widths of the output's", (n_bars, widths, area), "2 bars, full width")
        shown("2", "JupyterLab: stored before, of", (stored, match["planned"]), "two lines, no traceback")
        assert n_bars >= 2
        assert min(widths) > 0.9 * area
    assert watched.left == []


def interrupt(port: int) -> None:
    """Interrupt the kernel, as the button of the notebook does."""
    base = f"http://127.0.0.1:{port}/api/kernels"
    headers = {"Authorization": f"token {TOKEN}"}
    with urllib.request.urlopen(urllib.request.Request(base, headers=headers), timeout=10) as reply:
        (kernel,) = json.load(reply)
    request = urllib.request.Request(f"{base}/{kernel['id']}/interrupt", headers=headers, method="POST")
    urllib.request.urlopen(request, timeout=10).close()
