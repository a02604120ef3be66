"""A run of a plain function that is killed at a random time loses at most one flush interval of completions."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import pytest

from helmframe.config import FLUSH_SECONDS
from tests.acceptance.figures import shown
from tests.s3_server import BUCKET, S3Server

pytestmark = pytest.mark.soak

KILLS = 10
ROOT = Path(__file__).parents[2]
SECONDS = 0.01  # per completion
CHILD = """
import hashlib, json, sys, time
from pathlib import Path
import helmframe as hf

log, seconds, resume = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3] or None

def model(prompt: str) -> str:
    time.sleep(seconds)
    digest = hashlib.sha256(prompt.encode()).hexdigest()
    with log.open("a") as handle:
        handle.write(f"{time.monotonic()} {digest}\\n")
    return "ABCD"[int(digest, 16) % 4]

results = hf.scenario("sampler").perturb("typos").generate(model).score(resume=resume)
print(json.dumps([results.table().write_csv(), results.manifest["counts"]]))
"""


class Call(NamedTuple):
    """One call of the function: when it returned, and for which prompt."""

    time: float
    prompt: str


def calls(log: Path) -> list[Call]:
    if not log.exists():
        return []
    lines = [line.split() for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return [Call(float(at), prompt) for at, prompt in lines]


def start(log: Path, store: str, seconds: float, resume: str = "") -> "subprocess.Popen[str]":
    environment = {**os.environ, "HELMFRAME_STORE": store, "HELMFRAME_PROGRESS": "0"}
    command = [sys.executable, "-c", CHILD, str(log), str(seconds), resume]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)


def killed(log: Path, store: str, delay: float, resume: str = "") -> tuple[list[Call], float]:
    """Kill a run some seconds after its first completion; return its calls, and when it was killed."""
    process = start(log, store, SECONDS, resume)
    deadline = time.monotonic() + 60
    while not calls(log):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.005)
    time.sleep(delay)
    at = time.monotonic()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    return calls(log), at


def finished(log: Path, store: str, resume: str = "") -> str:
    """Return the table of a run that nobody disturbs."""
    out, _ = start(log, store, 0.0, resume).communicate(timeout=120)
    return str(json.loads(out)[0])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, set[str]]:
    """The table and the prompts of an undisturbed run."""
    folder = tmp_path_factory.mktemp("undisturbed")
    table = finished(folder / "log", str(folder / "store"))
    return table, {call.prompt for call in calls(folder / "log")}


def check(before: list[Call], at: float, after: list[Call], prompts: set[str], what: str) -> None:
    """Check that nothing is requested again but what was generated in the last flush interval before the kill."""
    done = {call.prompt for call in before}
    again = [call.prompt for call in after if call.prompt in done]
    last = {call.prompt for call in before if call.time > at - FLUSH_SECONDS}
    shown("5", f"{what}: {len(done)} of {len(prompts)} generated; requested again", len(again), len(last))
    assert done | {call.prompt for call in after} == prompts
    assert len({call.prompt for call in after}) == len(after)
    assert set(again) <= last


@pytest.mark.parametrize("seed", range(KILLS))
def test_5_a_killed_run_resumes_in_a_new_process(seed: int, undisturbed: tuple[str, set[str]], tmp_path: Path) -> None:
    table, prompts = undisturbed
    store, delay = str(tmp_path / "store"), random.Random(seed).uniform(0.0, 0.9 * SECONDS * len(prompts))
    before, at = killed(tmp_path / "killed", store, delay)
    assert finished(tmp_path / "resumed", store, "last") == table
    check(before, at, calls(tmp_path / "resumed"), prompts, f"killed after {delay:.2f} s")


def test_5_a_run_that_is_killed_each_time_it_resumes_goes_on(undisturbed: tuple[str, set[str]], tmp_path: Path) -> None:
    table, prompts = undisturbed
    store, draw = str(tmp_path / "store"), random.Random(5)
    done: list[Call] = []
    at = 0.0
    for number in range(3):
        before, at = killed(tmp_path / f"killed {number}", store, draw.uniform(0.5, 1.5), "last" if number else "")
        # only the calls of the last run may be lost: those before were stored again with it
        lost = {call.prompt for call in done} & {call.prompt for call in before}
        assert len(lost) <= FLUSH_SECONDS / SECONDS
        done += before
    assert finished(tmp_path / "resumed", store, "last") == table
    after = calls(tmp_path / "resumed")
    again = {call.prompt for call in done} & {call.prompt for call in after}
    assert again <= {call.prompt for call in done if call.time > at - FLUSH_SECONDS}
    assert {call.prompt for call in [*done, *after]} == prompts


@pytest.mark.shared
def test_5_a_killed_run_in_a_bucket_resumes(s3: S3Server, undisturbed: tuple[str, set[str]], tmp_path: Path) -> None:
    table, prompts = undisturbed
    store, delay = f"s3://{BUCKET}/stores/{uuid4().hex}", random.Random(0).uniform(1.0, 3.0)
    before, at = killed(tmp_path / "killed", store, delay)
    assert finished(tmp_path / "resumed", store, "last") == table
    check(before, at, calls(tmp_path / "resumed"), prompts, f"in a bucket, killed after {delay:.2f} s")
