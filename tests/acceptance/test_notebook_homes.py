"""marimo and JupyterLab in Chromium: a plan, its progress, a live run, the viewer, a chart, the report, an interrupt.

Screenshots are written to build/seen. Both notebooks run the same cells. The progress and the interrupt in JupyterLab
are in test_seen.py.
"""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.acceptance.eval_peers import made_venv
from tests.acceptance.figures import shown
from tests.browser.conftest import Watched, watched  # noqa: F401 - a fixture
from tests.browser.lab import started_lab
from tests.demo import ROOT

SEEN = ROOT / "build" / "seen"
WAIT = 90_000  # milliseconds
# What a cell shows → its code.
CELLS = {
    "setup": """import helmframe as hf, time
def slow(prompt: str):
    time.sleep(.1)
    return "A"
plan = hf.scenario("sampler").where(subject=["music", "biology"]).perturb("typos")""",
    "sentence": "results = plan.generate({'slow': slow, '<b>oracle</b>': hf.models.oracle()}).score()\nresults",
    "table": "results.table(metrics='exact_match')",
    "chart": "results.plot.scores()",
    "viewer": "results.explore()",
    "report": "results.report('report.html').name",
    "run": "run = hf.scenario('sampler').generate({'slow again': slow}).submit()\nrun",
}

VIEWER = list(CELLS).index("viewer")


def test_4_marimo(watched: Watched, tmp_path: Path) -> None:  # noqa: F811
    page = watched.page
    with marimo(tmp_path, list(CELLS.values())) as address:
        page.goto(address, timeout=WAIT)
        # the bars are there while the cell runs
        page.get_by_text(re.compile(r"\d+ of 128 completions")).first.wait_for(timeout=WAIT)
        photograph(page, "marimo-progress")
        page.get_by_text(re.compile(r"exact_match")).first.wait_for(timeout=WAIT)
        page.locator("img[src^='data:image'], canvas, svg.marks").first.wait_for(timeout=WAIT)
        check_viewer(page)
        page.get_by_text("report.html").first.wait_for(timeout=WAIT)
        page.get_by_text(re.compile("score so far")).first.wait_for(timeout=WAIT)
        page.get_by_text(re.compile(r"done, [\d,]+ of [\d,]+ completions")).first.wait_for(timeout=WAIT)
        photograph(page, "marimo")
    check_report(tmp_path, page)
    shown(
        "4", "marimo: cells that show what they should; scripts that ran", (len(CELLS), len(watched.executed)), "all, 0"
    )
    assert watched.executed == []


SLOW = """import time
import helmframe as hf

prompts = []

def slow(prompt: str) -> str:
    prompts.append(prompt)
    time.sleep(0.25)
    return "A"

models = {"slow": hf.model(slow, workers=2), "fast": hf.models.oracle()}
plan = hf.scenario("sampler").where(subject=["music", "biology"]).generate(models)"""
RUN = """n_before = len(prompts)
results = plan.score({options})
f"{{len(prompts) - n_before}} prompts sent, {{len(results.errors())}} failed\""""
TWO_LINES = re.compile(
    r"Interrupted: (?P<stored>\d+) of (?P<planned>\d+) completions are stored \(run (?P<run>[\w-]+)\)\.\n"
    r"To resume, run the plan with score\((?P<resume>resume='[\w-]+')\)\."
)


def test_2_interrupt_in_marimo(watched: Watched, tmp_path: Path) -> None:  # noqa: F811
    page = watched.page
    with marimo(tmp_path, [SLOW, RUN.format(options="")], "edit") as address:
        page.goto(address, timeout=WAIT)
        editor = page.get_by_test_id("cell-editor").nth(1)
        editor.wait_for(timeout=WAIT)
        page.wait_for_timeout(1_000)
        page.get_by_test_id("run-button").last.click()  # the last button runs all cells
        page.get_by_text(re.compile(r"[1-9]\d* of 64 completions")).first.wait_for(timeout=WAIT)
        page.wait_for_timeout(3_000)  # so that completions are stored
        page.get_by_test_id("interrupt-button").last.click()
        page.get_by_text("To resume").first.wait_for(timeout=WAIT)
        page.wait_for_timeout(1_000)
        photograph(page, "marimo-interrupted")
        text = str(page.get_by_test_id("cell-column").inner_text())
        match = TWO_LINES.search(text)
        assert match, text
        errors = text.lower().count("traceback")
        # resume as the second line says: change the cell and run it
        editor.click()
        page.keyboard.press("Control+A")
        page.keyboard.insert_text(RUN.format(options=match["resume"]))
        page.keyboard.press("Control+Enter")
        last = page.get_by_text(re.compile(r"\d+ prompts sent, \d+ failed")).last
        last.wait_for(timeout=WAIT)
        photograph(page, "marimo-resumed")
        sent, failed = map(int, re.findall(r"\d+", last.inner_text()))
    stored, planned = int(match["stored"]), int(match["planned"])
    shown("2", "marimo: stored, planned completions; tracebacks", (stored, planned, errors), "stored < planned, 0")
    shown("2", "marimo: resumed run sends, fails", (sent, failed), f"at most {planned - stored}, 0")
    assert errors == 0
    assert 0 < stored < planned
    assert 0 < sent <= planned - stored
    assert failed == 0


def test_4_jupyterlab(watched: Watched, tmp_path: Path) -> None:  # noqa: F811
    page = watched.page
    with started_lab(tmp_path, progress=True) as lab:
        lab.open(page, list(CELLS.values()))
        for index in range(len(CELLS)):
            lab.run(page, index)
            if index == VIEWER:
                check_viewer(page)
        outputs = page.locator(".jp-Notebook .jp-CodeCell")
        outputs.nth(1).get_by_text("exact_match").first.wait_for(timeout=WAIT)
        outputs.nth(3).locator("canvas, svg").first.wait_for(timeout=WAIT)
        outputs.nth(6).get_by_text(re.compile(r"done, [\d,]+ of [\d,]+ completions")).first.wait_for(timeout=WAIT)
        photograph(page, "jupyterlab")
        errors = page.locator("[data-mime-type='application/vnd.jupyter.error']").count()
    check_report(tmp_path / "notebooks", page)
    shown("4", "JupyterLab: cells with an error; scripts of models that ran", (errors, len(watched.executed)), "0, 0")
    assert errors == 0
    assert (watched.left, watched.executed) == ([], [])


def check_viewer(page: Any) -> None:
    """Click through the viewer: summary, instances, one instance."""
    page.locator("td.cell").first.wait_for(timeout=WAIT)
    page.get_by_text("Instances", exact=True).first.click()  # a link in a page, a button in a widget
    page.locator(".instances tbody tr").first.wait_for(timeout=WAIT)
    page.locator(".instances tbody button").first.click()
    page.locator(".one pre").first.wait_for(timeout=WAIT)


def check_report(folder: Path, page: Any) -> None:
    """Open the report that the notebook wrote."""
    page = page.context.new_page()  # JupyterLab asks before it is left
    page.goto((folder / "report.html").as_uri())
    page.get_by_text("<b>oracle</b>").first.wait_for()


def photograph(page: Any, name: str) -> None:
    SEEN.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SEEN / f"homes-{name}.png", full_page=True)


@contextmanager
def marimo(folder: Path, cells: Sequence[str], command: str = "run") -> Iterator[str]:
    """Serve a marimo notebook with the cells, and yield its address; every visit of `marimo run` runs all cells."""
    python = made_venv(Path(sys.prefix) / ".marimo", ["marimo>=0.10"])
    source = folder / "notebook.ipynb"
    code_cells = [{"cell_type": "code", "source": code, "metadata": {}, "outputs": []} for code in cells]
    source.write_text(json.dumps({"cells": code_cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 4}))
    notebook = source.with_suffix(".py")
    subprocess.run([python, "-m", "marimo", "convert", source, "-o", notebook], check=True, capture_output=True)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    arguments = ["-m", "marimo", "-q", "-y", command, str(notebook), "--headless", "--no-token", f"--port={port}"]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "HELMFRAME_STORE": str(folder / "store"),
        "HELMFRAME_PROGRESS": "1",
        "HOME": str(folder),
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([python, *arguments], cwd=folder, env=environment, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + WAIT / 1000
        while True:
            try:
                urllib.request.urlopen(address, timeout=5).close()
                break
            except OSError:
                assert process.poll() is None, (folder / "log").read_text(encoding="utf-8")
                assert time.monotonic() < deadline, "marimo did not start"
                time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.wait(30)
