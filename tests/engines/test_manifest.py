"""`resume=` reuses the completions that an earlier run stored of models without a version."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pytest

import helmframe as hf
from helmframe.cli.app import main
from helmframe.engines.manifest import Manifest
from helmframe.results._data import reader_of
from helmframe.store.files import listing
from helmframe.store.maintenance import verify
from helmframe.store.run_cache import cache_of, stored_counts

ROOT = Path(__file__).parents[2]
PLAN = hf.scenario("sampler").where(subject="music").perturb("typos")


def function(calls: list[str], name: str = "model", answer: Callable[[str], str] = lambda prompt: "A") -> hf.Model:
    """A plain function that lists its prompts; each one has a fingerprint of its own, as in another process."""

    def model(prompt: str, temperature: float = 0.0, max_tokens: int = 1) -> str:
        calls.append(prompt)
        return answer(prompt)

    return hf.model(model, name=name)


def stopped(n: int, plan: hf.Plan = PLAN, **how: object) -> hf.Results:
    """A run that stops after n completions."""
    return plan.generate(function([], **how)).score(max_requests=n)  # type: ignore[arg-type]


def run_id(results: hf.Results) -> str:
    assert results.path is not None
    return Path(results.path).name


def stored(results: hf.Results) -> int:
    """How many completions a run stored."""
    return sum(stored_counts(results.path or "").values())


def all_of(plan: hf.Plan) -> int:
    """How many requests a run of the plan sends."""
    calls: list[str] = []
    plan.generate(function(calls, name="another")).score()
    return len(calls)


def test_another_function_of_the_name_starts_from_the_beginning() -> None:
    calls: list[str] = []
    stopped(20)
    PLAN.generate(function(calls)).score()
    assert len(calls) == all_of(PLAN)


@pytest.mark.parametrize("by_id", [True, False])
def test_only_missing_completions_are_requested(by_id: bool) -> None:
    calls: list[str] = []
    first = stopped(20)
    resumed = PLAN.generate(function(calls)).score(resume=run_id(first) if by_id else "last")
    assert len(calls) == all_of(PLAN) - 20
    assert resumed.manifest["resumed"] == run_id(first)
    assert resumed.table().equals(PLAN.generate(function([])).score().table())


def test_a_resumed_run_can_be_resumed() -> None:
    first, calls = stopped(10), list[str]()
    second = PLAN.generate(function([])).score(resume=run_id(first), max_requests=10)
    PLAN.generate(function(calls)).score(resume=run_id(second))
    assert len(calls) == all_of(PLAN) - 20


def test_a_resumed_run_that_read_nothing_yet_passes_on_the_run_before_it() -> None:
    first, calls = stopped(10), list[str]()
    second = PLAN.generate(function([])).score(resume=run_id(first), max_requests=0)
    for file in listing(cache_of(second.path or "")):
        Path(file.address).unlink()
    PLAN.generate(function(calls)).score(resume=run_id(second))
    assert len(calls) == all_of(PLAN) - 10


def test_completions_reused_within_a_process_belong_to_the_new_run() -> None:
    model, calls = function([]), list[str]()
    PLAN.generate(model).score(max_requests=10)
    second = PLAN.generate(model).score(max_requests=0)
    PLAN.generate(function(calls)).score(resume=run_id(second))
    assert len(calls) == all_of(PLAN) - 10


def test_within_a_process_completions_are_reused_without_resume() -> None:
    calls: list[str] = []
    model = function(calls)
    PLAN.generate(model).score()
    PLAN.generate(model).score()
    assert len(calls) == all_of(PLAN)


def test_failed_requests_are_sent_again() -> None:
    calls: list[str] = []

    def fails(prompt: str) -> str:
        raise ValueError("no")

    stopped(20, answer=fails)
    PLAN.generate(function(calls)).score(resume="last")
    assert len(calls) == all_of(PLAN)


def test_each_output_is_matched() -> None:
    plan, calls = PLAN.limit(2), list[str]()
    first = plan.generate(function([]), n=3, temperature=1.0).score()
    resumed = plan.generate(function(calls), n=3, temperature=1.0).score(resume=run_id(first))
    assert calls == []
    assert resumed.completions.collect().height == first.completions.collect().height


def test_other_decoding_parameters_are_other_requests() -> None:
    plan, calls = PLAN.limit(2), list[str]()
    first = plan.generate(function([]), max_tokens=5).score()
    plan.generate(function(calls), max_tokens=6).score(resume=run_id(first))
    assert len(calls) == all_of(plan)


def test_another_plan_shares_the_requests_that_are_equal() -> None:
    first, calls = PLAN.limit(2).generate(function([])).score(), list[str]()
    PLAN.limit(3).generate(function(calls)).score(resume=run_id(first))
    assert len(calls) == all_of(PLAN.limit(3)) - all_of(PLAN.limit(2))


def test_last_is_a_run_of_the_same_plan_and_names_that_stored_completions() -> None:
    wanted = stopped(5)
    stopped(0)
    stopped(7, PLAN.limit(3))
    stopped(9, name="another")
    resumed = PLAN.generate(function([])).score(resume="last")
    assert resumed.manifest["resumed"] == run_id(wanted)


def test_last_is_the_run_with_the_most_stored_completions() -> None:
    longer = stopped(9)
    stopped(5)
    assert PLAN.generate(function([])).score(resume="last").manifest["resumed"] == run_id(longer)


def test_last_is_the_newest_of_equal_runs_that_started_in_one_second() -> None:
    ids = [run_id(stopped(3)) for _ in range(5)]
    assert PLAN.generate(function([])).score(resume="last").manifest["resumed"] == ids[-1]


def test_last_is_the_newest_complete_run_even_if_an_older_run_stored_more() -> None:
    plan = PLAN.limit(3)
    older = plan.generate(function([])).score()
    folder = next(Path(cache_of(older.path or ""), "completions").iterdir())
    shutil.copytree(folder, folder.with_name("0" * len(folder.name)))
    complete = plan.generate(function([])).score()
    stopped(2, plan)
    assert stored(older) == 2 * stored(complete)
    assert plan.generate(function([])).score(resume="last").manifest["resumed"] == run_id(complete)


def test_a_run_with_failed_requests_is_not_complete() -> None:
    def fails_once(prompt: str) -> str:
        if "octave" in prompt:
            raise ValueError("no octaves")
        return "A"

    full = PLAN.generate(function([])).score()
    PLAN.generate(function([], answer=fails_once)).score()
    assert PLAN.generate(function([])).score(resume="last").manifest["resumed"] == run_id(full)


def test_a_run_that_stored_nothing_contributes_nothing() -> None:
    calls: list[str] = []
    first = stopped(0)
    resumed = PLAN.generate(function(calls)).score(resume="last")
    assert (len(calls), resumed.manifest["resumed"]) == (all_of(PLAN), run_id(first))


def test_unknown_runs_are_named_with_at_most_five_that_there_are() -> None:
    known = [run_id(stopped(0)) for _ in range(7)]
    with pytest.raises(hf.HelmframeError, match="run not found") as failure:
        PLAN.generate(function([])).score(resume="20260101-000000-00000000")
    assert isinstance(failure.value, LookupError)
    assert sum(each in str(failure.value) for each in known) == 5
    with pytest.raises(LookupError, match="no run of this plan with 'else'"):
        PLAN.generate(function([], name="else")).score(resume="last")


def test_an_empty_store_has_no_run() -> None:
    with pytest.raises(LookupError, match="The store has no runs"):
        PLAN.generate(function([])).score(resume="last")


def test_a_run_of_another_model_is_refused() -> None:
    first = stopped(5, name="theirs")
    with pytest.raises(ValueError, match="the run stores no completions of 'model', only of 'theirs'"):
        PLAN.generate(function([])).score(resume=run_id(first))


@pytest.mark.parametrize(
    ("resume", "fresh", "message"),
    [(7, False, "resume must be 'last' or the id of a run"), ("last", True, "contradict")],
)
def test_what_cannot_be_is_refused(resume: str, fresh: bool, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PLAN.generate(function([])).score(resume=resume, fresh=fresh)


def test_a_wrong_run_is_refused_when_it_is_submitted() -> None:
    with pytest.raises(LookupError, match="run not found"):
        PLAN.generate(function([])).submit(resume="nothing")


def test_two_functions_of_one_name_are_refused() -> None:
    both = hf.suite(PLAN.generate(function([])), PLAN.generate(function([], answer=lambda prompt: "B")))
    first = both.score()
    with pytest.raises(ValueError, match="two models have the name 'model' in scenario 'sampler'"):
        both.score(resume=run_id(first))


def test_a_suite_a_submitted_run_and_results_take_resume() -> None:
    calls: list[str] = []
    first = run_id(stopped(20))
    some = PLAN.generate(function([])).results(resume=first)
    assert reader_of(some).n_generated() >= 20
    assert some.table()["n"].sum() > 0
    PLAN.generate(function(calls)).submit(resume=first).wait(60)
    assert len(calls) == all_of(PLAN) - 20
    hf.suite(PLAN.generate(function(calls))).score(resume="last")
    assert len(calls) == all_of(PLAN) - 20


def test_models_that_see_the_instance_match_by_it() -> None:
    plan = PLAN.generate(hf.models.noisy(0.5))
    first = plan.score()
    script = f"""
import helmframe as hf
plan = hf.scenario("sampler").where(subject="music").perturb("typos").generate(hf.models.noisy(0.5))
results = plan.score(resume="{run_id(first)}")
print(results.manifest["counts"]["cached"], results.manifest["counts"]["generated"])
"""
    out = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert out.split() == [str(first.manifest["counts"]["planned"]), "0"]


def test_judges_and_translators_without_a_version_resume_too() -> None:
    def run(calls: list[str], resume: str | None) -> hf.Results:
        judge = hf.judge(function(calls, "judge", lambda prompt: "<score>1</score>"), "safety")
        turned = hf.perturbations.translate(
            translator=function(calls, "translator", lambda prompt: f"{len(prompt)}"), language="French"
        )
        plan = hf.scenario("sampler").where(subject="music").limit(3).perturb(turned).metrics(judge)
        return plan.generate(function(calls)).score(resume=resume)

    calls: list[str] = []
    first = run(calls, None)
    assert calls
    again: list[str] = []
    assert run(again, "last").table().equals(first.table())
    assert again == []


def test_the_first_line_states_what_is_cached_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    first = stopped(5)
    line = (
        f"helmframe: 0 of {first.manifest['counts']['planned']} completions cached: 'model' is a function without a "
        "version, so its completions are stored with this run only. "
        f"Reuse them with score(resume={run_id(first)!r})."
    )
    assert capsys.readouterr().err.splitlines().count(line) == 1
    second = PLAN.generate(function([])).score(resume="last")
    counts = second.manifest["counts"]
    start = (
        f"helmframe: {counts['cached']} of {counts['planned']} completions cached from run {run_id(first)}: 'model' is"
    )
    assert any(each.startswith(start) for each in capsys.readouterr().err.splitlines())


def test_the_first_line_of_a_model_with_a_version_is_short(capsys: pytest.CaptureFixture[str]) -> None:
    plan = PLAN.generate(hf.model(lambda prompt: "A", name="pinned", version="1"))
    planned = plan.score().manifest["counts"]["planned"]
    assert f"helmframe: 0 of {planned} completions of 'pinned' cached." in capsys.readouterr().err.splitlines()
    plan.score()
    assert f"helmframe: {planned} of {planned} completions of 'pinned' cached." in capsys.readouterr().err.splitlines()
    plan.score(fresh=True)
    assert "completions of 'pinned' cached: fresh=True generates all of them again." in capsys.readouterr().err


def test_a_line_about_a_part_of_the_run_states_so(capsys: pytest.CaptureFixture[str]) -> None:
    hf.scenario("sampler").limit(1).adapt(shots=[0, 1]).generate(function([])).score()
    (line,) = [each for each in capsys.readouterr().err.splitlines() if "cached" in each]
    assert line.startswith("helmframe: 0 of the first ")


KILLED = """
import os, signal, sys, time
import helmframe as hf
hf.configure(flush_seconds=0.1)
sys.modules["helmframe._pipeline"].FIRST_ROWS = sys.modules["helmframe._pipeline"].SHARD_ROWS = int(sys.argv[1])
left = iter(range(300))

def model(prompt: str) -> str:
    time.sleep(0.005)
    if next(left, None) is None:
        os.kill(os.getpid(), signal.SIGKILL)
    return "A"

hf.scenario("sampler").perturb("typos").generate(model).score()
"""


def killed_run(shard_rows: int) -> str:
    """Return the id of a run that was killed at its 300th completion."""
    command = [sys.executable, "-c", KILLED, str(shard_rows)]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    assert process.returncode == -9, process.stderr
    (run_id,) = hf.runs()["run"]
    return str(run_id)


@pytest.fixture
def killed() -> str:
    """The id of a run that was killed in its only shard."""
    return killed_run(1000)


def test_a_killed_run_loads_with_the_completions_it_stored(killed: str) -> None:
    path = Path(os.environ["HELMFRAME_STORE"], "runs", killed)
    results = hf.load(path)
    stored = sum(stored_counts(path).values())
    assert 100 < stored <= 300
    rows = results.completions.collect()
    assert rows["request_id"].n_unique() == stored
    prompts = rows.join(results.prefixes.collect(), on="prefix_id", how="left", validate="m:1")
    assert prompts.select(pl.col("prefix", "suffix", "input", "completion").null_count()).row(0) == (0, 0, 0, 0)
    assert f"{rows.height} of 512 planned completions are available" in repr(results)
    assert f"{rows.height} completions have no scores yet; results.rescore() computes them" in repr(results)
    assert results.rescore().scores.collect()["metric"].len() == 4 * rows.height
    assert [each.why for each in verify(path.parents[1]) if each.why] == []


def test_a_killed_run_loads_finished_and_unfinished_shards() -> None:
    path = Path(os.environ["HELMFRAME_STORE"], "runs", killed_run(40))
    results = hf.load(path)
    rows, scored = results.completions.collect(), results.scores.collect()
    n_scored = scored.filter(pl.col("metric") == "exact_match").height
    assert n_scored >= 80
    assert n_scored % 80 == 0
    assert rows.height == reader_of(results).n_generated() == n_scored + reader_of(results).n_unscored
    assert reader_of(results).n_unscored > 0
    assert rows["request_id"].n_unique() == sum(stored_counts(path).values())
    assert results.table(metrics="exact_match")["n"].sum() == n_scored
    assert results.rescore("exact_match").table()["n"].sum() == rows.height


def test_a_killed_run_resumes_with_the_same_table(killed: str) -> None:
    calls: list[str] = []
    plan = hf.scenario("sampler").perturb("typos")
    resumed = plan.generate(function(calls)).score(resume="last")
    stored = sum(stored_counts(Path(os.environ["HELMFRAME_STORE"], "runs", killed)).values())
    assert len(calls) == all_of(plan) - stored
    assert resumed.table().equals(plan.generate(function([])).score().table())


def test_a_damaged_part_is_generated_again(killed: str, caplog: pytest.LogCaptureFixture) -> None:
    calls: list[str] = []
    cache = Path(os.environ["HELMFRAME_STORE"], "runs", killed, "cache", "completions")
    part = max(cache.glob("*/*/0*.parquet"), key=lambda each: each.stat().st_size)
    rows = int(part.name.split("-")[5])
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    assert [Path(each.file.address).name for each in verify(cache.parents[3]) if each.why] == [part.name]
    stored = sum(stored_counts(cache.parents[1]).values())
    plan = hf.scenario("sampler").perturb("typos")
    plan.generate(function(calls)).score(resume=killed)
    assert len(calls) == all_of(plan) - (stored - rows)
    assert "is damaged" in caplog.text


def test_a_finished_run_keeps_no_requests() -> None:
    results = stopped(10_000)
    assert not [file for file in listing(cache_of(results.path or "")) if file.name.startswith("requests/")]
    assert "no scores yet" not in repr(results)


def test_the_command_resumes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entry = ["run", "sampler:subject=music,model=noisy(accuracy=0.6)"]
    assert main([*entry, "--resume", "last"]) == 2
    assert "The store has no runs" in capsys.readouterr().err
    assert main(entry) == 0
    assert main([*entry, "--resume", "last"]) == 0
    assert "cached from run" in capsys.readouterr().err


def test_the_number_of_planned_completions_is_written_at_once() -> None:
    plan = PLAN.generate(hf.model(slow, name="slow"))
    run = plan.submit()
    deadline = time.monotonic() + 2.5
    while not run.manifest()["counts"].get("planned"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    run.cancel()
    run.wait(60)


def slow(prompt: str) -> str:
    time.sleep(0.1)
    return "A"


def test_threads_change_the_manifest_while_it_is_written() -> None:
    manifest = Manifest(until={"looks": {}})

    def skip() -> None:
        for number in range(500):
            manifest.skip(f"s{number}", ["m"], "no rows")

    def look() -> None:
        for number in range(500):
            manifest.set_looks(f"t{number}", {"cells": []})

    with ThreadPoolExecutor() as pool:
        writers = [pool.submit(skip), pool.submit(look)]
        copies = [json.dumps(manifest.content("running")) for _ in range(50)]
    assert [writer.exception() for writer in writers] == [None, None]
    assert len(copies) == 50
    content = manifest.content("done", cost=0.0)
    assert (len(content["skipped"]), len(content["until"]["looks"]), content["cost"]) == (500, 500, 0.0)
    assert not {"ended", "resumed", "judges"} & set(content)
