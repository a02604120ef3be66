"""The engine of one machine: threads side by side, the first error raised, Ctrl-C keeps what was answered."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from helmframe.engines.local import run_concurrently
from helmframe.errors import GroupedError, HelmframeError, StoreError
from helmframe.models.budget import Budget


def test_all_jobs_end_before_the_first_error_is_raised() -> None:
    done: list[int] = []

    def fails() -> None:
        raise ValueError("first")

    def works() -> None:
        time.sleep(0.05)
        done.append(1)

    with pytest.raises(ValueError, match="first"):
        run_concurrently([fails, works], Budget())
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


def test_ctrl_c_stores_completions_and_raises(tmp_path: Path) -> None:
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


def test_an_interrupted_script_ends_with_two_lines_and_resumes_as_they_say(tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(PLAIN_SCRIPT)
    environment = {**os.environ, "HELMFRAME_STORE": str(tmp_path / "store"), "HELMFRAME_PROGRESS": "0"}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, str(script)], env=environment, stdout=pipe, stderr=pipe, text=True
    ) as process:
        deadline = time.monotonic() + 60
        while not list((tmp_path / "store").glob("runs/*/cache/completions/**/0*.parquet")):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert len(errors.splitlines()) == 2, errors
    stored, resume = errors.splitlines()
    match = re.fullmatch(r"Interrupted: (\d+) of 32 completions are stored \(run ([\w-]+)\)\.", stored)
    assert match is not None
    assert 0 < int(match[1]) < 32
    assert resume == f"To resume, run the plan with score(resume={match[2]!r})."
    assert process.returncode == -signal.SIGINT
    script.write_text(PLAIN_SCRIPT.replace("score()", f"score(resume={match[2]!r})"))
    done = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, check=True)
    assert int(done.stdout) == 32 - int(match[1])


PLAIN_SCRIPT = """
import time
import helmframe as hf

prompts = []

def slow(prompt: str) -> str:
    prompts.append(prompt)
    time.sleep(0.6)
    return "A"

hf.scenario("sampler").where(subject="music").generate(slow).score()
print(len(prompts))
"""


# -- errors of jobs that run at the same time -------------------------------------------------------------------------


def fail(error: BaseException) -> Callable[[], None]:
    def job() -> None:
        raise error

    return job


def test_different_errors_of_concurrent_jobs_are_raised_as_a_group() -> None:
    first, second = StoreError("the disk is full"), ValueError("no number")
    with pytest.raises(GroupedError, match=r"The run failed with 2 different errors:\n\d\. .*\n\d\. ") as caught:
        run_concurrently([fail(first), lambda: None, fail(second)], Budget())
    assert set(caught.value.exceptions) == {first, second}
    assert isinstance(caught.value, HelmframeError)
    assert [type(error) for error in caught.value.split(ValueError)[0].exceptions] == [ValueError]  # type: ignore[union-attr]


def test_groups_of_nested_jobs_are_one_group() -> None:
    inner = partial(run_concurrently, [fail(ValueError("a")), fail(ValueError("b"))], Budget())
    with pytest.raises(GroupedError) as caught:
        run_concurrently([inner, fail(ValueError("c"))], Budget())
    assert sorted(map(str, caught.value.exceptions)) == ["a", "b", "c"]


def test_equal_errors_of_concurrent_jobs_are_raised_as_one() -> None:
    with pytest.raises(StoreError, match=r"^the disk is full$"):
        run_concurrently([fail(StoreError("the disk is full")) for _ in range(3)], Budget())
    with pytest.raises(SystemExit):
        run_concurrently([fail(ValueError("a")), fail(SystemExit(1))], Budget())
