"""What is shown of a run while it goes on, and once it has ended."""

import subprocess
import sys
import threading
import time
from typing import Any

import helmframe as hf
from helmframe.views import live

MUSIC = hf.scenario("sampler").where(subject="music")


class Gate:
    """A model that takes its time until it is opened."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.asked = 0

    def __call__(self, prompt: str) -> hf.models.Completion:
        self.asked += 1
        self.opened.wait(0.3)
        return hf.models.Completion("A", prompt_tokens=10, output_tokens=2)


def waiting(models: dict[str, Any] | None = None) -> tuple[hf.Run, Gate]:
    gate = Gate()
    run = MUSIC.limit(20).generate({"gate": hf.model(gate, workers=1), **(models or {})}).submit()
    deadline = time.monotonic() + 30
    while run.progress().filter(model="gate")["generated"].sum() < 3:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return run, gate


def test_a_run_shows_progress_tokens_and_the_scores_so_far() -> None:
    run, gate = waiting()
    try:
        html, counted = live.run_html(run, live.scores_so_far(run)), run.progress().row(0, named=True)
    finally:
        gate.opened.set()
    assert "running" in html
    assert " of 20 completions" in html
    assert "prompt tokens" in html
    assert counted["prompt_tokens"] == 5 * counted["output_tokens"] == 10 * counted["generated"] < 200
    assert run.wait(30).manifest["counts"]["prompt_tokens"] == 200


def test_scores_so_far_are_over_finished_completions_and_their_intervals_narrow() -> None:
    run, gate = waiting({"oracle": hf.models.oracle()})
    deadline = time.monotonic() + 30
    before = None
    while before is None:  # answers are kept at the latest 2 s after they came
        assert time.monotonic() < deadline
        table = live.scores_so_far(run)
        before = None if table is None else next(iter(table.filter(model="gate").rows(named=True)), None)
    folders = hf.runs().height
    gate.opened.set()
    run.wait(30)
    table = live.scores_so_far(run)
    assert table is not None
    after = table.filter(model="gate").row(0, named=True)
    assert 0 < before["n"] < after["n"] == 20
    assert after["ci_high"] - after["ci_low"] < before["ci_high"] - before["ci_low"]
    assert hf.runs().height == folders  # looking leaves nothing in the store


def test_a_run_that_has_ended_shows_its_scores_and_no_pace() -> None:
    run = MUSIC.limit(3).generate({"<b>": hf.models.oracle()}).submit()
    run.wait(30)
    html = run._repr_html_()
    assert "<b>" not in html.replace("<b></b>", "")
    assert "done, 3 of 3 completions" in html
    assert ">1.000<" in html
    assert "time left" in html  # the column's head; no cell of it says anything
    assert "s left" not in html


def test_a_failed_run_is_shown_without_scores() -> None:
    run = hf.scenario("sampler").where("subject = 'alchemy'").generate(hf.models.oracle()).submit()
    while run.status == "running":
        time.sleep(0.02)
    assert "failed" in run._repr_html_()


def test_in_a_terminal_a_run_is_one_line() -> None:
    code = """import helmframe as hf
run = hf.scenario("sampler").limit(1).generate(hf.models.oracle()).submit()
done = run.wait()
run
exit
"""
    shell = [sys.executable, "-m", "IPython", "--simple-prompt", "--no-banner", "--colors=NoColor"]
    done = subprocess.run(shell, input=code, capture_output=True, text=True, check=True, timeout=60)
    assert "completions" in done.stdout
    assert "<table" not in done.stdout


def test_failures_are_counted_by_scenario_and_model() -> None:
    def broken(prompt: str) -> str:
        raise ValueError("no")

    run = MUSIC.limit(3).generate({"broken": broken, "oracle": hf.models.oracle()}).submit()
    run.wait(30)
    assert run.progress().filter(model="broken")["failed"].item() == 3
    assert "3 failed" in run._repr_html_()
