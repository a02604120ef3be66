"""Many at once, nothing lost: one queue, several runs, several processes, one store."""

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import helmframe as hf
from tests.acceptance.figures import shown
from tests.s3_server import BUCKET, S3Server

pytestmark = pytest.mark.shared

BATCH, SECONDS = 32, 0.05


class Fixed:
    """A model that takes the same time for each batch, however full."""

    def __init__(self) -> None:
        self.batches = 0
        self.prompts = 0
        self._lock = threading.Lock()

    def generate(self, prompts: list[str]) -> list[str]:
        with self._lock:
            self.batches += 1
            self.prompts += len(prompts)
        time.sleep(SECONDS)
        return ["A"] * len(prompts)


def evals(data: Path, model: Any) -> list[hf.Plan]:
    """Two scenarios × two adapters."""
    answering = hf.model(model, name="fixed", batch=BATCH)
    mmlu = hf.scenario("mmlu", data=data).where(subject="philosophy").limit(300)
    boolq = hf.scenario("boolq", data=data).limit(300)
    return [plan.adapt(shots=shots).generate(answering) for plan in (mmlu, boolq) for shots in (0, 2)]


def seconds(work: Any) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def test_1_four_evals_at_once_take_the_time_of_one_with_all_their_requests(shared: Path) -> None:
    data = shared / "scenarios"

    def one_eval() -> None:
        model = hf.model(Fixed(), name="fixed", batch=BATCH)
        mmlu = hf.scenario("mmlu", data=data).where(subject=["philosophy", "professional_law"]).limit(600)
        assert mmlu.adapt(shots=[0, 2]).generate(model).score(max_requests=1200).manifest["counts"]["generated"] == 1200

    together, submitted = Fixed(), Fixed()
    one = seconds(one_eval)
    at_once = seconds(lambda: hf.suite(*evals(data, together)).score())
    runs: list[hf.Run] = []

    def four_submits() -> None:
        runs.extend(plan.submit() for plan in evals(data, submitted))
        for run in runs:
            run.wait(120)

    by_submit = seconds(four_submits)
    shown("1", "one eval with 1,200 requests, seconds", round(one, 2), "the measure")
    shown("1", "four evals in one suite, seconds (batches)", f"{at_once:.2f} ({together.batches})", f"{1.1 * one:.2f}")
    shown("1", "four evals in four submits, seconds", f"{by_submit:.2f} ({submitted.batches})", f"{1.1 * one:.2f}")
    assert together.prompts == submitted.prompts == 1200
    assert at_once <= 1.1 * one
    assert by_submit <= 1.1 * one


PROCESS = """
import sys, time
import helmframe as hf

def slow(prompts: list[str]) -> list[str]:
    time.sleep(0.1)
    with open(sys.argv[1], "a") as log:
        log.write("".join("asked\\n" for _ in prompts))
    return ["ABCD"[len(prompt) % 4] for prompt in prompts]

subjects = ["philosophy", "anatomy", "abstract_algebra", "high_school_us_history"]
plan = hf.scenario("mmlu").where(subject=subjects).perturb("typos")
results = plan.generate(hf.model(slow, name="slow", version="1", batch=8)).score()
print(results.table().write_csv())
"""


def test_4_four_processes_on_one_store_in_a_bucket(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(store: str, log: Path) -> "subprocess.Popen[str]":
        monkeypatch.setenv("HELMFRAME_STORE", store)
        monkeypatch.setenv("HELMFRAME_PROGRESS", "0")
        return subprocess.Popen([sys.executable, "-c", PROCESS, str(log)], stdout=subprocess.PIPE, text=True)

    alone, _ = start(f"s3://{BUCKET}/alone", tmp_path / "alone").communicate(timeout=120)
    distinct = len((tmp_path / "alone").read_text().split())
    logs = [tmp_path / f"log{number}" for number in range(4)]
    tables = [process.communicate(timeout=240)[0] for process in [start(f"s3://{BUCKET}/shared", log) for log in logs]]
    asked = sum(len(log.read_text().split()) for log in logs if log.exists())
    # In flight: what the three others ask until a process's answers are seen (block, part, look: 4 s).
    share = 3 * 4.0 * (8 / 0.1) / distinct
    shown("4", f"asked in total / {distinct} distinct, four processes", round(asked / distinct, 2), f"{1 + share:.2f}")
    shown("4", "tables equal to one process's", sum(table == alone for table in tables), 4)
    assert tables == [alone] * 4
    assert asked / distinct <= 1 + share


def test_6_a_notebook_with_three_submits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbformat
    from nbclient import NotebookClient

    code = [
        "import helmframe as hf, threading\nplan = hf.scenario('sampler').where(subject='music')",
        (
            "def fine(prompt: str) -> str:\n    print('fine was asked')\n    return 'A'\n"
            "def down(prompt: str) -> str:\n    raise ConnectionResetError('down')\n"
            "begun, gate = threading.Event(), threading.Event()\n"
            "def waits(prompt: str) -> str:\n    print('waits was asked')\n"
            "    begun.set()\n    gate.wait(20)\n    return 'A'"
        ),
        (
            "done, failing, cancelled = (plan.limit(5).generate(f).submit() for f in (fine, down, waits))\n"
            "begun.wait(60); done.wait(60)\ncancelled.cancel(); gate.set()"
        ),
        "done.wait(60); failing.wait(120); cancelled.wait(60)\nprint(done.status, failing.status, cancelled.status)",
        "print(len(done.errors()), len(failing.errors()))",
        (
            "print(done.logs().filter(message='fine was asked').height,\n"
            "      failing.logs()['message'].str.contains('down').sum() > 0,\n"
            "      cancelled.logs().filter(message='waits was asked').height > 0,\n"
            "      done.logs()['message'].str.contains('waits').sum())"
        ),
    ]
    v4: Any = nbformat.v4
    notebook = v4.new_notebook(cells=[v4.new_code_cell(each) for each in code])
    NotebookClient(notebook, timeout=180, kernel_name="python3").execute()
    said = [
        "".join(out.get("text", "") for out in cell["outputs"] if out.get("name") == "stdout")
        for cell in notebook.cells
    ]
    shown("6", "status of the three runs", said[3].strip(), "done done stopped")
    shown("6", "errors of the first two", said[4].strip(), "0 5")
    shown("6", "logs: fine's lines, down's error, waits' line, none of the others'", said[5].strip(), "5 True True 0")
    assert said[3].split() == ["done", "done", "stopped"]
    assert said[4].split() == ["0", "5"]
    assert said[5].split() == ["5", "True", "True", "0"]
