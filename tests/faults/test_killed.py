"""A run that is killed in the middle goes on from there."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SCRIPT = """
import sys, time, pathlib
import helmframe as hf
log = pathlib.Path(sys.argv[1])

def slow(prompts: list[str]) -> list[str]:
    with log.open("a") as handle:
        handle.write("".join(f"{hash_of(prompt)}\\n" for prompt in prompts))
    time.sleep(float(sys.argv[2]))
    return ["A"] * len(prompts)

def hash_of(prompt):
    import hashlib
    return hashlib.sha256(prompt.encode()).hexdigest()

model = hf.model(slow, name="slow", version="1", batch=4)
results = hf.scenario("sampler").perturb("typos").generate(model).score()
print(results.table(metrics="exact_match").write_csv())
"""


def start(script: Path, log: Path, seconds: float, store: Path) -> "subprocess.Popen[str]":
    environment = {**os.environ, "HELMFRAME_STORE": str(store), "HELMFRAME_PROGRESS": "0"}
    return subprocess.Popen(
        [sys.executable, str(script), str(log), str(seconds)], env=environment, stdout=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("asked_first", [0, 4, 200, 440])
def test_a_killed_run_asks_only_the_rest_and_gives_the_same_table(tmp_path: Path, asked_first: int) -> None:
    script = tmp_path / "run.py"
    script.write_text(SCRIPT)
    log, store = tmp_path / "asked", tmp_path / "store"
    killed = start(script, log, 0.05, store)
    deadline = time.monotonic() + 60
    while not store.exists() or (log.read_text().count("\n") if log.exists() else 0) < asked_first:
        assert time.monotonic() < deadline
        assert killed.poll() is None
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    before = log.read_text().split() if log.exists() else []

    resumed, _ = start(script, log, 0, store).communicate(timeout=60)
    asked = log.read_text().split()
    undisturbed, _ = start(script, tmp_path / "other", 0, tmp_path / "other_store").communicate(timeout=60)
    assert resumed == undisturbed
    assert len(set(asked)) == len(set((tmp_path / "other").read_text().split()))
    # Lost are at most the answers of the last two seconds, which were not on disk yet.
    twice = len(asked) - len(set(asked))
    assert len(before) < len(set(asked))
    assert twice <= 4 * (2.5 / 0.05 + 2)
    assert twice <= len(before)
