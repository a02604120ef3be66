"""The engine of one machine: threads side by side, the first error raised, Ctrl-C keeps what was answered."""

import itertools
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

import helmframe as hf
from helmframe.engines.local import interruption, run_concurrently
from helmframe.errors import GroupedError, HelmframeError, SourceMissingError, StoreError
from helmframe.models.budget import FIRST_REQUESTS, Budget
from tests.models.openai_server import Asked, Reply, completion, refusal, serving


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


def test_an_interruption_in_marimo_is_also_an_error_that_marimo_shows_without_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class MarimoStopError(BaseException):
        output = ""

    marimo = SimpleNamespace(MarimoStopError=MarimoStopError, plain_text=str, running_in_notebook=lambda: True)
    monkeypatch.setitem(sys.modules, "marimo", marimo)
    error = interruption("Interrupted.\nTo resume, run the plan again.")
    assert isinstance(error, KeyboardInterrupt)
    assert isinstance(error, MarimoStopError)
    assert error.output == str(error) == "Interrupted.\nTo resume, run the plan again."


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


# -- models whose first requests all fail ------------------------------------------------------------------------------

N_ROWS = 256  # instances of the scenario
IN_FLIGHT = 64  # requests that may run when the model stops


def choose_a(prompt: str) -> str:
    return "A"


def counts_by_model(results: hf.Results) -> dict[str, tuple[int, int]]:
    """Return model → completions and errors."""
    frame = results.completions.collect()
    models = frame["model"].unique().to_list()
    return {
        model: (frame.filter(model=model)["completion"].count(), frame.filter(model=model)["error"].count())
        for model in models
    }


def test_a_model_that_a_server_does_not_have_stops_and_another_model_continues() -> None:
    with serving() as server:
        server.reply = lambda request: refusal(404, f"model {request.body['model']} was removed in 2025")
        server.models = []  # a server that lists no models, so that the name isn't checked
        plan = hf.scenario("sampler").generate({"gone": hf.models.http(server.url, "gone"), "good": choose_a})
        results = plan.score()
        assert FIRST_REQUESTS <= len(server.asked) < FIRST_REQUESTS + IN_FLIGHT
    assert counts_by_model(results) == {"gone": (0, N_ROWS), "good": (N_ROWS, 0)}
    errors = results.errors()
    assert errors["error"].str.contains("HTTP 404: model gone was removed in 2025").all()
    first, second = str(results).splitlines()[:2]
    assert first.startswith("gone stopped: its first requests all failed with one permanent error, and ")
    assert first.endswith('Correct the model, then resume: plan.score(resume="last").')
    assert second.startswith(f"{N_ROWS} of {2 * N_ROWS} requests failed: {N_ROWS} × RefusedError")
    assert results.findings()[0].text == first
    assert results.manifest["counts"]["generated"] == results.manifest["counts"]["planned"] == 2 * N_ROWS


def test_the_line_of_a_stopped_model_resumes_the_run() -> None:
    n_prompts = 0

    def counting(prompt: str) -> str:
        nonlocal n_prompts
        n_prompts += 1
        return "A"

    with serving() as server:
        server.reply = lambda request: refusal(404, "loading")
        server.models = []
        plan = hf.scenario("sampler").generate({"remote": hf.models.http(server.url, "remote"), "good": counting})
        plan.score()
        server.reply = lambda request: completion("A")
        results = plan.score(resume="last")
    assert counts_by_model(results) == {"remote": (N_ROWS, 0), "good": (N_ROWS, 0)}
    assert n_prompts == N_ROWS
    assert str(results).startswith("scenario ")


def test_a_model_that_its_server_does_not_list_stops_at_its_first_request() -> None:
    with serving() as server:
        server.reply = lambda request: refusal(404, "not found")
        server.models = ["another"]
        gone = hf.models.http(server.url, "gone")
        results = hf.scenario("sampler").generate({"gone": gone, "good": choose_a}).score()
        assert len(server.asked) < FIRST_REQUESTS
        with pytest.raises(SourceMissingError, match="Unknown model 'gone'"):
            hf.scenario("sampler").generate(gone).score()
    assert counts_by_model(results) == {"gone": (0, N_ROWS), "good": (N_ROWS, 0)}
    assert "Unknown model 'gone'" in str(results).splitlines()[1]


@pytest.mark.parametrize("kind", ["sync", "async", "list"])
def test_a_function_that_always_raises_stops(kind: str) -> None:
    n_calls = 0

    def fails(prompt: str) -> str:
        nonlocal n_calls
        n_calls += 1
        raise KeyError("answer")

    async def fails_async(prompt: str) -> str:
        return fails(prompt)

    def fails_list(prompts: list[str]) -> list[str]:
        return list(map(fails, prompts))

    function = {"sync": fails, "async": fails_async, "list": fails_list}[kind]
    results = hf.scenario("sampler").generate({"bad": function, "good": choose_a}).score()
    assert n_calls < N_ROWS / 2
    assert counts_by_model(results) == {"bad": (0, N_ROWS), "good": (N_ROWS, 0)}
    assert str(results).startswith("bad stopped: ")


def test_a_completion_or_a_second_error_lets_the_model_run_to_the_end() -> None:
    rows = iter(range(10**6))

    def seldom(prompt: str) -> str:
        if next(rows) == FIRST_REQUESTS // 2:
            return "A"
        raise KeyError("answer")

    def differently(prompt: str) -> str:
        raise (KeyError if next(rows) % 2 else ValueError)("answer")

    one = hf.scenario("sampler").generate(hf.model(seldom, workers=1)).score()
    assert one.completions.collect()["attempts"].min() == 1
    two = hf.scenario("sampler").generate(hf.model(differently, workers=1)).score()
    assert two.completions.collect()["attempts"].min() == 1
    assert not any(" stopped: " in str(results) for results in (one, two))


def test_transient_errors_do_not_stop_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("helmframe.models.retries.FIRST_PAUSE", 0.001)
    failures: dict[str, int] = {}

    def reply(request: Asked) -> Reply:
        prompt = str(request.body["prompt"])
        failures[prompt] = failures.get(prompt, 0) + 1
        return refusal(500, "busy") if failures[prompt] == 1 else completion("A")

    with serving() as server:
        server.reply = reply
        results = hf.scenario("sampler").generate(hf.models.http(server.url, "m")).score()
    assert counts_by_model(results) == {"m": (N_ROWS, 0)}
    assert len(server.asked) == 2 * N_ROWS


def test_a_stopped_model_leaves_requests_of_a_limit_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(prompt: str) -> str:
        raise KeyError("answer")

    grant, refund, calls, refunded = Budget.grant, Budget.refund, itertools.count(), threading.Event()

    def grant_later(budget: Budget, wanted: int) -> int:
        if next(calls):  # the second model asks once the first has stopped, or has all its completions
            refunded.wait(5)
        return grant(budget, wanted)

    def note_refund(budget: Budget, count: int) -> None:
        refund(budget, count)
        refunded.set()

    monkeypatch.setattr(Budget, "grant", grant_later)
    monkeypatch.setattr(Budget, "refund", note_refund)
    limit = N_ROWS + 2 * FIRST_REQUESTS + IN_FLIGHT
    perturbed = hf.scenario("sampler").perturb("typos").generate({"bad": fails, "good": choose_a})
    results = perturbed.score(max_requests=2 * N_ROWS + limit)
    assert counts_by_model(results)["good"][0] == 2 * N_ROWS


def test_a_suite_runs_other_models_if_one_does_not_load() -> None:
    with serving() as server:
        server.reply = lambda request: refusal(404, "not found")
        server.models = ["another"]
        plan = hf.scenario("sampler")
        suite = hf.suite(plan.where(subject="music"), plan.where(subject="biology")).generate(
            {"gone": hf.models.http(server.url, "gone"), "good": choose_a}
        )
        results = suite.score()
    counts = counts_by_model(results)
    assert counts == {"gone": (0, 64), "good": (64, 0)}
