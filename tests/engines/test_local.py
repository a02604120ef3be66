"""The engine of one machine: threads side by side, the first error raised, Ctrl-C keeps what was answered."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helmframe.engines.local import together
from helmframe.models.budget import Budget


def test_all_jobs_end_before_the_first_error_is_raised() -> None:
    done: list[int] = []

    def fails() -> None:
        raise ValueError("first")

    def works() -> None:
        time.sleep(0.05)
        done.append(1)

    with pytest.raises(ValueError, match="first"):
        together([fails, works], Budget())
    assert done == [1]


SCRIPT = """
import sys, time
import helmframe as hf

def slow(prompt: str) -> str:
    time.sleep(0.05)
    return "A"

plan = hf.scenario("sampler").generate(hf.model(slow, name="slow", version="1"))
try:
    plan.score()
except KeyboardInterrupt:
    print("interrupted", plan.results().manifest["counts"]["cached"])
"""


def test_ctrl_c_keeps_what_was_answered_and_raises(tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "HELMFRAME_STORE": str(tmp_path / "store"), "HELMFRAME_PROGRESS": "0"}
    with subprocess.Popen([sys.executable, str(script)], env=environment, stdout=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not list((tmp_path / "store").glob("completions/*/*/0*.parquet")):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    word, kept = out.split()
    assert word == "interrupted"
    assert int(kept) >= 20
    assert process.returncode == 0
