"""The engine of a cluster, on a real Ray of this machine: the same tables, nothing lost, nothing doubled."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe.cli.app import main
from helmframe.engines.ray.execution import connected
from helmframe.store import RunFolder
from helmframe.store.run_cache import CACHE
from tests.faults.disturbed import doubled, same_tables, scores_of

pytestmark = pytest.mark.slow

ONE = hf.engines.Ray(replicas=1, num_cpus=0.5)
TWO = hf.engines.Ray(replicas=2, num_cpus=0.5)


@pytest.fixture(scope="module", autouse=True)
def ray() -> Iterator[Any]:
    """A small Ray for all tests here: engines use what is connected already."""
    with connected(None) as ray:
        yield ray


def slow_letters(prompt: str) -> str:
    time.sleep(0.005)
    return "ABCD"[len(prompt) % 4]


def letters() -> hf.Model:
    return hf.model(slow_letters, name="letters", version="1")


def plan() -> hf.Plan:
    return hf.scenario("sampler").perturb(["lowercase", "typos"])


def same(one: hf.Results, other: hf.Results) -> bool:
    return same_tables(one, other) and scores_of(one).equals(scores_of(other)) and not doubled(one)


def whole(results: hf.Results) -> bool:
    """Return whether the manifest lists the parts that all processes wrote, and no others."""
    assert isinstance(results.path, Path)
    listed = RunFolder(results.path).parts_list()
    parts = {path.relative_to(results.path).as_posix() for path in results.path.rglob("*.parquet")}
    tables = {part for part in parts if not part.startswith(f"{CACHE}/")}
    return listed.complete and {*listed.rows} == tables


@pytest.mark.smoke
def test_the_tables_are_those_of_the_local_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    frame = pl.DataFrame({"q": [f"what is {n}?" for n in range(30)], "a": [str(n) for n in range(30)]})
    more = hf.scenario(frame, input="q", references="a", name="numbers")
    suite = hf.suite(plan(), more).generate([letters(), hf.models.noisy(0.5)])
    there = suite.score(engine=ONE)
    monkeypatch.setenv("HELMFRAME_STORE", str(tmp_path / "another-store"))
    here = suite.score()
    assert same(there, here)
    counts = there.manifest["counts"]
    assert counts["planned"] == here.manifest["counts"]["planned"] == 2 * (3 * 256 + 30)
    assert counts["generated"] + counts["shared"] + counts["cached"] == counts["planned"]
    assert there.manifest["status"] == "done"
    assert whole(there)


def test_completions_of_a_plain_function_are_stored_with_the_run_and_reused(tmp_path: Path) -> None:
    log = tmp_path / "calls"

    def function() -> hf.Model:
        def letters(prompt: str) -> str:
            with log.open("a") as handle:
                handle.write("called\n")
            return "ABCD"[len(prompt) % 4]

        return hf.model(letters, name="letters")

    first = plan().generate(function()).score(max_requests=100, engine=ONE)
    log.unlink()
    resumed = plan().generate(function()).score(resume="last", engine=ONE)
    calls = len(log.read_text().splitlines())
    assert resumed.manifest["resumed"] == Path(str(first.path)).name
    assert resumed.manifest["counts"]["cached"] >= 100
    assert calls == resumed.manifest["counts"]["generated"]
    here = plan().generate(function()).score(resume="last")
    assert len(log.read_text().splitlines()) == calls
    assert same(resumed, here)


def test_objects_of_a_script_are_sent_and_their_logs_return() -> None:
    @hf.perturbation("shouted_over_there")
    def shouted(text: pl.Expr) -> pl.Expr:
        """In capitals."""
        return text.str.to_uppercase()

    @hf.metric("length_over_there", level="output", unit="characters", higher_is_better=False)
    def length() -> pl.Expr:
        return pl.col("completion").str.len_chars().cast(pl.Float64)

    answer = "four"

    def speaks(prompt: str) -> str:
        print("I was asked")
        if "planet" in prompt.rpartition("Question")[2]:
            raise ValueError("no planets")
        return answer

    asked = hf.scenario("sampler").perturb("shouted_over_there").metrics("length_over_there")
    run = asked.generate({"speaks": speaks}).submit(engine=ONE)
    results = run.wait(120)
    assert run.status == "done"
    assert results.table()["value"].to_list() == [4.0, 4.0]
    said = run.logs().filter(pl.col("message") == "I was asked")
    assert said.height == results.manifest["counts"]["generated"] == run.progress()["generated"].sum()
    assert set(said["model"]) == {"speaks"}
    assert said["instance_id"].null_count() == 0
    failed = results.errors()
    assert set(failed["error"]) == {"ValueError: no planets"}
    assert failed.height == results.manifest["counts"]["failed"] > 0


def test_a_killed_replica_loses_and_doubles_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def slower(prompt: str) -> str:
        time.sleep(0.01)  # so that it is far from its end when it is seen to have begun
        return slow_letters(prompt)

    asked = plan().generate(hf.model(slower, name="slower", version="1"))
    run = asked.submit(engine=TWO)
    up = pl.Series(dtype=pl.String)
    while not len(up) or run.manifest()["counts"].get("generated", 0) < 20:
        assert run.status == "running"
        time.sleep(0.05)
        up = run.logs()["message"].str.extract(r"replica of slower is ready on .*, process (\d+)").drop_nulls()
    os.kill(int(up[0]), signal.SIGKILL)
    results = run.wait(120)
    assert any("was lost" in each for each in run.logs()["message"])
    assert whole(results)
    counts = results.manifest["counts"]
    assert counts["planned"] == 3 * 256
    assert counts["generated"] + counts["shared"] + counts["cached"] == counts["planned"]
    monkeypatch.setenv("HELMFRAME_STORE", str(tmp_path / "another-store"))
    assert same(results, asked.score())


def test_a_row_that_ends_its_process_is_left_alone() -> None:
    asked = hf.scenario("sampler").where(subject="music").limit(4)
    poison = asked.instances().collect()["input"][2]

    def ends(prompt: str) -> str:
        if poison in prompt.rpartition("Question")[2]:
            os._exit(1)
        return "A"

    results = asked.generate(hf.model(ends, name="ends", version="1")).score(engine=ONE)
    (error,) = results.errors()["error"]
    assert "the replica that sent this request ended" in error
    assert results.completions.collect().height == 4
    assert not doubled(results)


def test_the_command_runs_there(capsys: pytest.CaptureFixture[str]) -> None:
    said = ["run", "sampler:subject=music,model=oracle()", "-m", "4", "--engine", "ray", "--actors", "1"]
    assert main(said) == 0
    assert "1.000" in capsys.readouterr().out


def test_a_limit_of_requests_holds_and_the_rest_comes_later() -> None:
    results = plan().generate(letters()).score(engine=ONE, max_requests=100)
    assert results.manifest["counts"]["generated"] == 100
    run = plan().generate(letters()).submit(engine=ONE)
    while run.manifest()["counts"].get("generated", 0) < 50:
        assert run.status == "running"
        time.sleep(0.05)
    run.cancel()
    stopped = run.wait(60).manifest
    assert stopped["status"] == "stopped"
    rest = plan().generate(letters()).score(engine=ONE).manifest["counts"]
    assert rest["cached"] >= 100 + stopped["counts"]["generated"]
    assert rest["cached"] + rest["generated"] + rest["shared"] == rest["planned"]


def test_conversations_run_turn_by_turn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    frame = pl.DataFrame({"said": [[f"{n}?", "why?", "sure?"] for n in range(30)], "answers": [["A", "B", None]] * 30})
    talks = hf.scenario(frame, turns="said", references="answers", name="talks").generate(letters())
    there = talks.score(engine=TWO)
    monkeypatch.setenv("HELMFRAME_STORE", str(tmp_path / "another-store"))
    here = talks.score()
    assert same(there, here)
    assert there.manifest["counts"]["planned"] == here.manifest["counts"]["planned"] == 90
    assert there.rows(turn=3)["prompt"].str.count_matches("Assistant: [A-D]").to_list() == [2] * 30
    assert whole(there)
