"""Progress: bars, tables or lines, whichever can be seen, and nothing where it is off."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any, cast

import pytest

import helmframe as hf
from helmframe._schema import PROGRESS
from helmframe.engines.progress import Progress

PLAN = hf.scenario("sampler").where(subject="music").limit(3).generate(hf.models.oracle())


def test_without_a_terminal_a_line_is_written_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    PLAN.score(fresh=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1] == "helmframe: 3 of 3 completions"


def test_the_store_is_named_when_it_is_first_used(capsys: pytest.CaptureFixture[str]) -> None:
    PLAN.score()
    assert "The store is" in capsys.readouterr().err
    PLAN.score()
    assert "The store is" not in capsys.readouterr().err


def test_progress_can_be_turned_off(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELMFRAME_PROGRESS", "0")
    PLAN.score()
    assert capsys.readouterr().err == ""


def test_failures_are_counted_in_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(enabled=True) as progress:
        progress.report("planned", 2)
        progress.report("failed", 1)
        progress.report("generated", 2)
    assert capsys.readouterr().err == "helmframe: 2 of 2 completions, 1 failed\n"


def test_each_scenario_and_model_has_a_row() -> None:
    progress = Progress(enabled=False)
    report = progress.reporter("mmlu", "mine")
    for what, count in (("planned", 10), ("cached", 2), ("failed", 1), ("generated", 4)):
        report(what, count)
    progress.reporter("gsm8k", "mine")("planned", 5)
    found = progress.snapshot()
    assert dict(found.schema) == PROGRESS.schema
    assert found.drop("rate", "seconds_left", "batches").rows() == [
        ("mmlu", "mine", 10, 2, 0, 0, 4, 1, 0, 0, 0),
        ("gsm8k", "mine", 5, 0, 0, 0, 0, 0, 0, 0, 0),
    ]
    assert progress.counts["planned"] == 15
    assert found["batches"].to_list() == [None, None]


def test_a_row_lists_the_batches_of_its_model() -> None:
    progress = Progress(enabled=False)
    progress.reporter("mmlu", "mine")("planned", 10)
    progress.judging("mmlu", "judge")("planned", 10)
    batch = {"id": "batch_1", "status": "in_progress", "submitted": 9, "completed": 3, "failed": 1, "age": 60.0}
    assert progress.snapshot({"mine": [batch]})["batches"].to_list() == [[batch], None]
    assert progress.snapshot({"judge": [batch]})["batches"].to_list() == [None, [batch]]


def test_the_rate_and_the_time_left_are_those_of_the_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    progress = Progress(enabled=False)
    report = progress.reporter("mmlu", "mine")
    report("planned", 100)
    report("cached", 40)
    assert progress.snapshot().select("rate", "seconds_left").row(0) == (None, None)
    now[0] = 110.0
    report("generated", 20)
    now[0] = 500.0
    assert progress.snapshot().select("rate", "seconds_left").row(0) == (2.0, 20.0)


def test_a_line_under_way_says_how_fast_it_is_and_what_is_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with Progress(enabled=True) as progress:
        progress.report("planned", 1200)
        progress.report("generated", 1)
        assert capsys.readouterr().err == ""
        now[0] = 120.0
        progress.report("generated", 199)
        assert capsys.readouterr().err == "helmframe: 200 of 1,200 completions, 10/s, 2 min left\n"
        progress.report("generated", 1)
        assert capsys.readouterr().err == ""
    assert capsys.readouterr().err == "helmframe: 201 of 1,200 completions\n"


def test_the_total_is_the_expected_number_until_more_is_planned() -> None:
    progress = Progress(enabled=False)
    progress.expect("mmlu", {"mine": 100})
    progress.expect("gsm8k", {"other": 30})
    report = progress.reporter("mmlu", "mine")
    report("planned", 40)
    assert (progress.total("mine"), progress.total("other"), progress.total()) == (100, 30, 130)
    assert progress.snapshot()["planned"].to_list() == [100, 30]
    report("planned", 70)
    assert progress.total("mine") == 110
    progress.expect("gsm8k", {"other": -30})
    assert progress.total() == 110
    assert progress.counts["planned"] == 110


def test_models_have_bars_of_their_own_unless_there_are_many() -> None:
    progress = Progress(enabled=False)
    assert progress.bars == [None]
    progress.models = ["a", "b"]
    progress.judging("mmlu", "c")("planned", 1)
    assert progress.bars == ["a", "b", "c (judge)"]
    progress.models = [str(number) for number in range(13)]
    assert progress.bars == [None]


TERMINAL = """
import time
import helmframe as hf

def slow(prompt):
    time.sleep(0.05)
    print("a line")
    return "A"

def failing(prompt):
    time.sleep(0.05)
    if "a" in prompt[-30:]:
        raise ValueError("no")
    return "A"

plan = hf.scenario("sampler").where(subject="music").adapt(shots=[0, 1])
plan.generate({"slow model": slow, "failing": failing}).score(prices={"slow model": (200, 800)})
"""


def test_a_terminal_shows_a_bar_per_model_with_its_total_from_the_start(tmp_path: Path) -> None:
    text = terminal(TERMINAL, tmp_path)
    bars = re.findall(r"(slow model|failing   ) +(\d+)%\|[^|]*\| (\d+)/(\d+) \[([^\]\r]*)\]", text)
    assert {total for _, _, _, total, _ in bars} == {"64"}  # 32 instances in two settings
    first = next(bar for bar in bars if bar[0] == "slow model")
    assert first[2] == "0"
    assert any("failed" in rest for name, *_, rest in bars if name == "failing   ")
    assert any(re.search(r"/s, \d\d:\d\d left, \$\d", rest) for name, *_, rest in bars if name == "slow model")
    # a printed line starts at the start of a line, and does not continue a bar
    printed = re.findall(r"([^\r\n]?)a line\r?\n", text.replace("\x1b[A", ""))
    assert len(printed) == 64
    assert set(printed) == {""}


def terminal(code: str, folder: Path) -> str:
    """Return what a script writes to a terminal of 100 columns."""
    main, other = pty.openpty()
    script = folder / "script.py"
    script.write_text(code)
    size = struct.pack("HHHH", 40, 100, 0, 0)
    fcntl.ioctl(other, termios.TIOCSWINSZ, size)
    environment = {**os.environ, "HELMFRAME_STORE": str(folder / "store"), "TERM": "xterm"}
    output = b""
    with subprocess.Popen(
        [sys.executable, script], stdin=other, stdout=other, stderr=other, env=environment
    ) as process:
        os.close(other)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            if not select.select([main], [], [], 0.2)[0]:
                if process.poll() is not None:
                    break
                continue
            try:
                output += os.read(main, 65_536)
            except OSError:  # the script has ended
                break
    os.close(main)
    return output.decode()


RUN = """
import helmframe as hf
hf.scenario("sampler").where(subject="music").limit(3).generate(hf.models.oracle()).score();
"""
BLOCKED = """
import sys
sys.modules["ipywidgets"] = None  # as if it were not installed
"""
SHOWN = """
from helmframe.engines.progress import Progress
with Progress(enabled=True) as progress:
    progress.models, progress.costs = ["a<b", "c"], {"c": 0.25}
    for model in ("a<b", "c"):
        progress.expect("mmlu", {model: 2})
        report = progress.reporter("mmlu", model)
        report("planned", 1)
        report("failed", int(model == "c"))
        report("generated", 1)
"""
THREE = """
import threading, time
import helmframe as hf

begun = threading.Event()

def slow(prompt):
    begun.set()
    time.sleep(0.05)
    print("slow")
    return "A"

def failing(prompt):
    print("failing")
    raise ValueError("nothing to say")

def good(prompt):
    print("good")
    return "A"

plan = hf.scenario("sampler").where(subject="music")
runs = [plan.generate(model).submit() for model in (slow, failing, good)]
begun.wait(60)
runs[0].cancel()
"""
LOGGED = """
import polars as pl
for run in runs:
    run.wait(60)
    log, asked = run.logs(), run.manifest()["counts"]["generated"]
    printed = log.filter(pl.col("logger") == "helmframe.model.stdout")
    print("log", run.status, log["run"].unique().to_list() == [run.id], log["model"].drop_nulls().unique().to_list(),
          printed["message"].unique().to_list(), printed.height == asked,
          log.filter(logger="helmframe.models").height == asked, run.errors().height == asked)
"""


def outputs(*cells: str) -> list[list[dict[str, Any]]]:
    """What a Jupyter kernel shows for each cell."""
    from nbclient import NotebookClient
    from nbformat.v4 import new_code_cell, new_notebook

    notebook: Any = cast(Any, new_notebook)(cells=[cast(Any, new_code_cell)(cell) for cell in cells])
    NotebookClient(notebook, kernel_name="python3", timeout=120).execute()
    return [cell["outputs"] for cell in notebook["cells"]]


def text(cell: list[dict[str, Any]]) -> str:
    return "".join(output["text"] for output in cell if output["output_type"] == "stream")


def html(cell: list[dict[str, Any]]) -> list[str]:
    return [output["data"]["text/html"] for output in cell if "text/html" in output.get("data", {})]


@pytest.mark.filterwarnings("default")  # the client's own, which are not ours to mend
def test_a_notebook_shows_a_widget() -> None:
    (shown,) = outputs(RUN)
    assert any("application/vnd.jupyter.widget-view+json" in output.get("data", {}) for output in shown)


@pytest.mark.filterwarnings("default")
def test_a_notebook_without_widgets_shows_html_and_runs_at_once_have_their_own_logs() -> None:
    _, run, shown, three, logged = outputs(BLOCKED, RUN, SHOWN, THREE, LOGGED)
    assert "3 of 3 completions" in html(run)[0]
    assert len(html(shown)) == 1
    assert re.findall(r"<span[^>]*>(.*?)</span>", html(shown)[0]) == [
        *("a&lt;b", "1 of 2 completions"),
        *("c", "1 of 2 completions, 1 failed, $0.25"),
    ]
    assert html(shown)[0].count("<progress") == 2
    assert [line for line in text(logged).splitlines() if line.startswith("log")] == [
        "log stopped True ['slow'] ['slow'] True False False",
        "log done True ['failing'] ['failing'] True True True",
        "log done True ['good'] ['good'] True False False",
    ]
    assert "slow" in text(three) + text(logged)
