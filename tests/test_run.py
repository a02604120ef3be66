"""Runs in the background: live, cancelled, limited, awaited, watched."""

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import pytest

import helmframe as hf
from helmframe.errors import ArgumentError, HelmframeError, PlanError, UnknownNameError

MUSIC = hf.scenario("sampler").where(subject="music")


class Gate:
    """A model that answers one prompt, then waits until it is opened."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.asked = 0

    def __call__(self, prompt: str) -> str:
        self.asked += 1
        if self.asked > 1:
            self.opened.wait(30)
        return "A"


def gated(limit: int = 6) -> tuple[hf.Plan, Gate]:
    gate = Gate()
    return MUSIC.limit(limit).generate({"gate": gate}), gate


def test_submit_returns_at_once_and_wait_gives_the_results() -> None:
    plan, gate = gated()
    run = plan.submit()
    assert run.status == "running"
    gate.opened.set()
    assert run.wait(30).table(metrics="exact_match")["n"].to_list() == [6]
    assert run.status == "done"
    assert "done, 6 of 6 completions" in repr(run)


def test_a_run_can_be_awaited() -> None:
    async def main() -> hf.Results:
        return await MUSIC.limit(3).generate(hf.models.oracle()).submit()

    assert asyncio.run(main()).value() == 1.0


def test_waiting_has_a_limit_and_the_run_goes_on() -> None:
    plan, gate = gated()
    run = plan.submit()
    with pytest.raises(TimeoutError, match="continues in the background"):
        run.wait(0.05)
    gate.opened.set()
    run.wait(30)


def test_ctrl_c_while_waiting_leaves_the_run_going() -> None:
    plan, gate = gated()
    run = plan.submit()
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        run.wait(30)
    assert run.status == "running"
    gate.opened.set()
    assert run.wait(30).table(metrics="exact_match")["n"].to_list() == [6]


def test_a_run_shows_as_html_how_far_it_is_and_escapes_every_text() -> None:
    plan = MUSIC.limit(3).generate({"<script>alert(1)</script>": hf.models.oracle()})
    run = plan.submit()
    run.wait(30)
    shown = run._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
    assert "3 of 3" in shown
    assert f"Run {run.id}: done, 3 of 3 completions" in shown
    assert f"Run {run.id}: done, 3 of 3 completions" in hf.run(run.id)._repr_html_()


def test_a_cancelled_run_stores_completions_and_resumes() -> None:
    plan, gate = gated(20)
    run = plan.submit()
    while gate.asked < 2:
        time.sleep(0.01)
    run.cancel()
    time.sleep(0.5)  # the run looks up from its waiting now and then
    gate.opened.set()
    run.wait(30)
    assert run.status == "stopped"
    asked = gate.asked
    assert asked < 20
    plan.score()
    assert gate.asked == 20


def test_an_error_reaches_whoever_waits() -> None:
    run = hf.scenario("sampler").where("subject = 'alchemy'").generate(hf.models.oracle()).submit()
    with pytest.raises(HelmframeError, match=r"no instance of scenario .* meets all conditions"):
        run.wait(30)
    assert run.status == "failed"


def test_a_plan_without_a_model_raises_at_submit() -> None:
    with pytest.raises(PlanError, match="no model"):
        MUSIC.submit()


def test_max_requests_stops_cleanly_and_the_next_run_goes_on() -> None:
    asked: list[str] = []

    def model(prompt: str) -> str:
        asked.append(prompt)
        return "A"

    plan = MUSIC.limit(10).generate(model)
    results = plan.score(max_requests=4)
    assert len(asked) == 4
    assert results.table(metrics="exact_match")["n"].to_list() == [4]
    assert "4 of 10 planned completions are available" in repr(results)
    assert results.manifest["status"] == "stopped"
    assert plan.score().manifest["status"] == "done"
    assert len(asked) == 10


def test_max_cost_stops_once_it_is_spent() -> None:
    asked: list[str] = []

    def model(prompts: list[str]) -> list[dict[str, object]]:
        asked.extend(prompts)
        time.sleep(0.05)  # answers arrive, and are paid for, every 20 ms or so
        return [{"text": "A", "prompt_tokens": 1_000_000, "output_tokens": 0} for _ in prompts]

    plan = MUSIC.limit(10).generate({"dear": hf.model(model, batch=1)})
    results = plan.score(max_cost=3.0, prices={"dear": (1.0, 2.0)})
    assert 3 <= len(asked) < 10
    assert results.manifest["cost"] == pytest.approx(float(len(asked)))
    assert results.manifest["status"] == "stopped"


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"max_cost": 1.0}, "the price of model 'oracle' is unknown"),
        ({"max_cost": 1.0, "prices": {"other": (1, 1)}}, "prices has no entry for model"),
        ({"max_requests": -1}, "must be a number ≥ 0"),
    ],
)
def test_limits_are_checked_before_any_request(how, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ArgumentError, match=message):
        MUSIC.limit(1).generate(hf.models.oracle()).score(**how)


def test_results_so_far_are_there_while_it_runs() -> None:
    plan, gate = gated()
    run = plan.submit()
    while gate.asked < 2:
        time.sleep(0.01)
    assert run.results().manifest["store_only"] is True
    gate.opened.set()
    run.wait(30)
    assert hf.runs()["run"].to_list() == [run.id]  # without those that only read the store


def test_runs_and_history_list_what_there_is() -> None:
    plan, gate = gated()
    run = plan.submit()
    while not hf.runs().height:
        time.sleep(0.01)
    assert run.id in hf.active_runs()["run"]
    gate.opened.set()
    run.wait(30)
    assert hf.active_runs().is_empty()
    row = hf.runs().row(0, named=True)
    assert (row["run"], row["status"], row["generated"]) == (run.id, "done", 6)
    assert row["models"] == ["gate"]
    assert hf.run(run.id) is run
    with pytest.raises(UnknownNameError, match=rf"run\('nothing'\): run not found .*\nNewest runs: {run.id}"):
        hf.run("nothing")


def test_a_finished_run_is_released_and_found_in_the_store() -> None:
    run = MUSIC.limit(1).generate(hf.models.oracle()).submit()
    run.wait(30)
    run_id, released = run.id, weakref.ref(run)
    assert hf.run(run_id) is run
    del run
    deadline = time.monotonic() + 5
    while released() is not None and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.01)  # its thread ends
    assert released() is None
    stored = hf.run(run_id)
    assert (stored.status, stored.wait().value("exact_match")) == ("done", 1.0)


def test_a_run_that_nobody_holds_runs_to_its_end() -> None:
    plan, gate = gated()
    run_id = plan.submit().id
    gc.collect()
    assert hf.run(run_id).status == "running"
    gate.opened.set()
    assert hf.run(run_id).wait(30).manifest["counts"]["generated"] == 6


OTHER = """
import helmframe as hf, pathlib, sys, time
gate = pathlib.Path(sys.argv[1])
def slow(prompt: str) -> str:
    while not gate.exists():
        time.sleep(0.01)
    return "A"
hf.scenario("sampler").where(subject="music").limit(20).generate(hf.model(slow, name="slow", version="1")).score()
"""


def test_a_run_of_another_process_is_watched_through_the_store(tmp_path: Path) -> None:
    environment = {**os.environ, "HELMFRAME_PROGRESS": "0"}
    gate = tmp_path / "gate"
    with subprocess.Popen([sys.executable, "-c", OTHER, str(gate)], env=environment) as process:
        deadline = time.monotonic() + 30
        while hf.active_runs().is_empty():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        run = hf.run(hf.active_runs()["run"][0])
        assert run.status == "running"
        try:
            with pytest.raises(HelmframeError, match="belongs to another process"):
                run.cancel()
        finally:
            gate.touch()  # else the process waits for ever
        results = run.wait(60)
        assert process.wait(60) == 0
    assert results.table(metrics="exact_match")["n"].to_list() == [20]


def test_a_run_whose_process_was_killed_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = MUSIC.limit(1).generate(hf.models.oracle()).score()
    assert results.path is not None
    run = hf.Run(hf.run(Path(results.path).name).folder)
    about = run.manifest() | {"status": "running", "seen": time.time() - 60}
    run.folder.write_manifest(about)
    assert run.status == "gone"


def test_a_run_whose_manifest_is_damaged_is_left_out_of_history_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    one, two = (MUSIC.limit(1).generate(hf.models.oracle()).score() for _ in range(2))
    manifest = Path(str(one.path)) / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"done"', b'"dune"'))
    assert hf.runs()["path"].to_list() == [str(two.path)]
    assert f"{manifest} has changed since it was written" in caplog.text


def test_a_suite_lists_what_a_model_can_not_do_and_goes_on() -> None:
    import polars as pl

    from helmframe._schema import INSTANCES

    image = {"type": "image", "text": None, "media": {"name": "x.png", "data": b"x"}}
    frame = pl.DataFrame(
        {"q": ["?"], "a": ["cat"], "content": [[image]]}, schema_overrides={"content": INSTANCES.schema["content"]}
    )

    def says_a(prompt: str) -> str:
        return "A"

    pictures = hf.scenario(frame, input="q", references="a", name="pictures").generate(says_a)
    results = hf.suite(pictures, MUSIC.limit(2).generate(says_a)).score()
    assert results.table(metrics="exact_match")["scenario"].to_list() == ["sampler"]
    assert "skipped: pictures × says_a" in repr(results)
