"""Batch APIs: a real server on this machine that speaks the protocols of OpenAI and Anthropic."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe import config
from helmframe._core.safe_text import ReplyError
from helmframe._plan import Plan
from helmframe.errors import ArgumentError, CapabilityError, SourceDeniedError, SourceError, StoreError
from helmframe.models import batch_api, batch_runs
from helmframe.models.batch_api import BatchApi, as_chat_reply, as_message_request
from helmframe.models.model import Model
from helmframe.models.protocol import from_any
from helmframe.results import Results
from helmframe.store import write_text
from tests.models.batch_server import BatchServer, Body, RefusedError, letter, serving_batches

KEY = "sk-canary-0123456789abcdef"


@pytest.fixture(autouse=True)
def own_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A store for the test, and short pauses."""
    monkeypatch.setenv("HELMFRAME_STORE", str(tmp_path / "store"))
    monkeypatch.delenv("HELMFRAME_API_KEY", raising=False)
    monkeypatch.setattr("helmframe.models.retries.FIRST_PAUSE", 0.01)
    monkeypatch.setattr("helmframe.models.pace.PAUSES", (0.02, 0.04))
    monkeypatch.setattr(batch_runs, "POLL_SECONDS", (0.02, 0.05))


@pytest.fixture
def server() -> Iterator[BatchServer]:
    with serving_batches() as server:
        server.open.set()
        yield server


def letters(n: int, name: str = "letters") -> Plan:
    rows = [f"Question {number:04}{'.' * (number % 4)}" for number in range(n)]
    return hf.scenario(
        pl.DataFrame({"q": rows, "a": [letter(text) for text in rows]}), input="q", references="a", name=name
    )


def batch(server: BatchServer, **options: Any) -> Model:
    return hf.models.batch("m", url=server.url, chat=True, **options)


def texts(results: Results) -> list[str | None]:
    return results.completions.collect().sort("instance_id")["completion"].to_list()


def errors(results: Results) -> list[str]:
    return results.completions.collect()["error"].drop_nulls().to_list()


def records() -> list[dict[str, Any]]:
    files = Path(config.store_root()).glob("batches/*/*.json")
    return [json.loads(file.read_text()) for file in files]


# Submission -----------------------------------------------------------------------------------------------------------


def test_requests_run_in_a_batch_after_one_live_request(server: BatchServer) -> None:
    results = letters(20).generate(batch(server)).score()
    assert (len(server.live), len(server.submitted), server.count("POST", "/batches")) == (1, 19, 1)
    assert results.manifest["counts"]["generated"] == 20
    assert results.completions.collect()["cached"].sum() == 0
    assert errors(results) == []


def test_an_upload_has_the_bodies_of_live_requests(server: BatchServer) -> None:
    letters(3).generate(batch(server), max_tokens=5).score()
    letters(3).generate(hf.models.http(server.url, "m", chat=True), max_tokens=5).score(fresh=True)
    lines = [json.loads(line) for line in server.files["file-1"][1].splitlines()]
    assert {(line["method"], line["url"]) for line in lines} == {("POST", "/v1/chat/completions")}
    live = {json.dumps(body, sort_keys=True) for body in server.live}
    assert {json.dumps(line["body"], sort_keys=True) for line in lines} <= live


def test_completions_of_a_batch_serve_the_live_model_and_vice_versa(server: BatchServer) -> None:
    live = hf.models.http(server.url, "m", chat=True)
    assert batch(server).fingerprint() == live.fingerprint()
    first = letters(5).generate(batch(server)).score()
    assert texts(letters(5).generate(live).score()) == texts(first)
    letters(5, "more").generate(live).score()
    n_live = len(server.live)
    letters(5, "more").generate(batch(server)).score()
    assert (len(server.live), server.count("POST", "/batches")) == (n_live, 1)


def test_uploads_are_split_by_the_provider_s_limits(server: BatchServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BatchApi, "MAX_REQUESTS", 4)
    results = letters(11).generate(batch(server)).score()
    assert [len(entry["entries"]) for entry in server.batches.values()] == [4, 4, 2]
    assert results.manifest["counts"]["generated"] == 11
    size = len(server.files["file-1"][1])
    monkeypatch.setattr(BatchApi, "MAX_REQUESTS", 50)
    monkeypatch.setattr(BatchApi, "MAX_BYTES", size)
    letters(11, "more").generate(batch(server)).score()
    uploads = [data for name, data in server.files.values() if name.endswith("jsonl")][3:]
    assert len(uploads) > 1
    assert max(map(len, uploads)) <= size


def test_all_scenarios_and_shards_are_in_progress_at_the_same_time(
    server: BatchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("helmframe._pipeline.SHARD_ROWS", 5)
    monkeypatch.setattr("helmframe._pipeline.FIRST_ROWS", 5)
    server.open.clear()
    run = hf.suite(letters(12), letters(12, "more")).generate(batch(server)).submit()
    wait_until(lambda: len(server.submitted) == 23)  # the first request was sent live
    assert len(server.batches) == 1
    server.open.set()
    assert run.wait(60).manifest["counts"]["generated"] == 24


def test_live_models_of_the_plan_do_not_wait_for_batches(server: BatchServer) -> None:
    server.open.clear()
    run = letters(5).generate({"slow": batch(server), "mock": hf.models.oracle()}).submit()
    wait_until(lambda: run.manifest()["counts"].get("generated") == 5)
    server.open.set()
    assert run.wait(60).manifest["counts"]["generated"] == 10


def test_samples_of_one_request_have_their_own_ids(server: BatchServer) -> None:
    plan = letters(4).generate(batch(server), n=3, temperature=0.5)
    assert plan.score().manifest["counts"]["generated"] == 12
    assert len(set(server.submitted)) == len(server.submitted) == 11


# Resume ---------------------------------------------------------------------------------------------------------------


def test_a_batch_in_progress_is_found_again(server: BatchServer) -> None:
    server.open.clear()
    run = letters(10).generate(batch(server)).submit()
    wait_until(lambda: len(server.submitted) == 9)
    run.cancel()
    assert run.wait(60).manifest["status"] == "stopped"
    server.open.set()
    results = letters(10).generate(batch(server)).score()
    assert (errors(results), results.value("exact_match")) == ([], 1.0)
    assert (server.count("POST", "/batches"), server.count("POST", "/files"), len(server.live)) == (1, 1, 1)


def test_a_larger_plan_submits_only_the_requests_that_are_not_in_a_batch(server: BatchServer) -> None:
    server.open.clear()
    run = letters(10).generate(batch(server)).submit()
    wait_until(lambda: len(server.submitted) == 9)
    run.cancel()
    run.wait(60)
    run = letters(15).generate(batch(server)).submit()
    wait_until(lambda: len(server.submitted) >= 13)
    server.open.set()
    assert errors(run.wait(60)) == []
    assert len(set(server.submitted)) == len(server.submitted)


def test_an_expired_batch_resubmits_only_the_missing_requests(server: BatchServer) -> None:
    server.most = 6
    first = letters(10).generate(batch(server)).score()
    assert len(errors(first)) == 3
    assert "the batch expired" in errors(first)[0]
    assert len(texts(first)) - texts(first).count(None) == 7
    server.most = None
    second = letters(10).generate(batch(server)).score()
    assert errors(second) == []
    assert [len(entry["entries"]) for entry in server.batches.values()] == [9, 2]  # and one live request


def test_a_request_without_a_result_is_an_error_and_unknown_results_are_ignored(
    server: BatchServer, caplog: pytest.LogCaptureFixture
) -> None:
    unknown = json.dumps({"custom_id": "elsewhere", "response": {"status_code": 200, "body": {}}}).encode()
    server.lines = lambda lines: [*lines[1:], lines[-1], unknown, b"no json", b'{"custom_id": 1}']
    results = letters(5).generate(batch(server)).score()
    (error,) = errors(results)
    assert error == "batch batch_1 has no result of this request"
    assert "4 results without a request of this batch are ignored" in caplog.text


def test_a_failed_request_is_an_error_row_and_is_sent_again(server: BatchServer) -> None:
    def complete(body: Body) -> str:
        if body["messages"][-1]["content"].count("0003"):
            raise RefusedError(500, "overloaded \x1b[31m")
        return "A"

    server.complete = complete
    (error,) = errors(letters(5).generate(batch(server)).score())
    assert error == "HTTP 500: overloaded [31m"
    server.complete = lambda body: "A"
    assert errors(letters(5).generate(batch(server)).score()) == []


def test_an_invalid_reply_is_an_error_row(server: BatchServer) -> None:
    server.lines = lambda lines: [line.replace(b'"choices"', b'"other"') for line in lines]
    (error,) = errors(letters(2).generate(batch(server)).score())
    assert "expected choices with a text" in error


def test_fresh_generates_all_completions_again(server: BatchServer) -> None:
    letters(5).generate(batch(server)).score()
    server.complete = lambda body: "Z"
    results = letters(5).generate(batch(server)).score(fresh=True)
    assert texts(results) == ["Z"] * 5
    assert len(server.submitted) == 8


def test_the_record_is_written_before_the_upload(server: BatchServer) -> None:
    seen: list[tuple[str, list[dict[str, Any]]]] = []
    server.pause = lambda stage: seen.append((stage, records()))
    letters(5).generate(batch(server)).score()
    before = {stage: (entries[0]["file"], entries[0]["batch"]) for stage, entries in seen if stage != "poll"}
    assert before == {"upload": (None, None), "batch": ("file-1", None), "created": ("file-1", None)}
    assert [(entry["batch"], entry["status"]) for entry in records()] == [("batch_1", "completed")]


def test_the_record_is_removed_some_time_after_the_completions_are_stored(
    server: BatchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    letters(5).generate(batch(server)).score()
    monkeypatch.setattr(batch_runs, "RECORD_SECONDS", 0.0)
    letters(5).generate(batch(server)).score()
    assert list(Path(config.store_root()).glob("batches/*/*")) == []


def test_a_damaged_record_is_an_error(server: BatchServer) -> None:
    letters(5).generate(batch(server)).score()
    (file,) = Path(config.store_root()).glob("batches/*/*.json")
    file.write_text("{")
    with pytest.raises(StoreError, match=r"is damaged\. Cancel its batch at the provider"):
        letters(5).generate(batch(server)).score()


def test_after_a_lost_reply_the_batch_is_found_and_not_created_again(
    server: BatchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_api, "CALL_SECONDS", 0.5)
    lost = ["upload", "created"]

    def pause(stage: str) -> None:
        if stage in lost:
            lost.remove(stage)
            time.sleep(1.0)

    server.pause = pause
    assert errors(letters(5).generate(batch(server)).score()) == []
    assert (server.count("POST", "/files"), server.count("POST", "/batches")) == (1, 1)


def test_a_batch_that_another_process_submits_is_waited_for(
    server: BatchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    letters(5).generate(batch(server)).score()
    (file,) = Path(config.store_root()).glob("batches/*/*.json")
    record = json.loads(file.read_text()) | {"host": "elsewhere", "collected": None, "created": time.time()}
    file.write_text(json.dumps(record | {"batch": None, "file": None}))
    polls: list[float] = []

    def sees(self: BatchApi, record: dict[str, Any]) -> batch_api.State:
        polls.append(time.monotonic())
        return state(self, record)

    state = BatchApi.state
    monkeypatch.setattr(BatchApi, "state", sees)
    run = letters(5).generate(batch(server)).submit(fresh=True)
    wait_until(lambda: run.progress().height == 1 and run.progress()["batches"][0] is not None)
    time.sleep(0.2)
    assert (polls, server.count("POST", "/batches")) == ([], 1)
    write_text(json.dumps(record), file)  # in one step, because the run reads it all the time
    assert errors(run.wait(60)) == []
    assert (len(polls) > 0, server.count("POST", "/batches")) == (True, 1)


def test_a_batch_that_another_process_never_submits_is_an_error_and_sent_by_the_next_run(server: BatchServer) -> None:
    letters(5).generate(batch(server)).score()
    (file,) = Path(config.store_root()).glob("batches/*/*.json")
    record = json.loads(file.read_text()) | {"host": "elsewhere", "collected": None, "created": time.time()}
    file.write_text(json.dumps(record | {"batch": None, "file": None}))
    run = letters(5).generate(batch(server)).submit(fresh=True)
    wait_until(lambda: run.progress().height == 1)
    file.unlink()
    assert errors(run.wait(60)) == ["another process did not submit the batch"] * 4
    assert run.progress()["batches"][0][0]["failed"] == 4


def test_a_zombie_does_not_submit() -> None:
    with subprocess.Popen([sys.executable, "-c", "pass"]) as child:
        wait_until(lambda: not batch_runs._is_alive(child.pid))
    assert batch_runs._is_alive(os.getpid())


# Errors ---------------------------------------------------------------------------------------------------------------


def test_a_parameter_that_the_server_rejects_is_not_in_the_batch(server: BatchServer) -> None:
    def complete(body: Body) -> str:
        if "temperature" in body:
            raise RefusedError(400, "Unsupported value: 'temperature'", "temperature")
        return "A"

    server.complete = complete
    results = letters(5).generate(batch(server), temperature=0.0).score()
    assert (errors(results), len(server.submitted)) == ([], 4)


def test_a_wrong_key_is_an_error_before_anything_is_uploaded(
    server: BatchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def complete(body: Body) -> str:
        raise RefusedError(401, f"wrong key {KEY}")

    monkeypatch.setenv("HELMFRAME_API_KEY", KEY)
    server.complete = complete
    with pytest.raises(SourceDeniedError, match="rejects the key in HELMFRAME_API_KEY") as caught:
        letters(5).generate(batch(server)).score()
    assert KEY not in str(caught.value)
    assert server.count("POST", "/files") == 0


def test_a_server_without_a_live_route_runs_batches(server: BatchServer) -> None:
    in_batch = threading.Event()
    server.pause = lambda stage: in_batch.set()

    def complete(body: Body) -> str:
        if not in_batch.is_set():
            raise RefusedError(404, "chat is not available")
        return "A"

    server.complete = complete
    assert errors(letters(5).generate(batch(server)).score()) == []
    assert len(server.submitted) == 5


def test_a_server_without_a_batch_api_is_an_error(server: BatchServer) -> None:
    respond = server.respond

    def without_files(method: str, path: str, *rest: Any) -> Any:
        if path == "/files":
            raise RefusedError(404, "not here")
        return respond(method, path, *rest)

    server.respond = without_files  # type: ignore[assignment,method-assign]
    with pytest.raises(CapabilityError, match="has no batch API: /files returned HTTP 404"):
        letters(5).generate(batch(server)).score()
    assert records() == []


def test_an_outage_while_polling_does_not_end_the_run(server: BatchServer, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = [503] * 8

    def pause(stage: str) -> None:
        if stage == "poll" and failures:
            raise RefusedError(failures.pop(), "overloaded")

    server.pause = pause
    assert errors(letters(5).generate(batch(server)).score()) == []
    failures += [503] * 100
    monkeypatch.setattr(batch_runs, "PATIENCE", 0.0)
    with pytest.raises(SourceError, match="Rerun the plan to resume"):
        letters(9).generate(batch(server)).score()


def test_scoring_options_is_an_error_as_for_chat_models(server: BatchServer) -> None:
    plan = hf.scenario("sampler").where(subject="music").limit(2)
    with pytest.raises(CapabilityError, match="log-probabilities"):
        plan.adapt(method="multiple_choice_separate_original").generate(batch(server))


def test_a_model_of_another_kind_is_an_error() -> None:
    with pytest.raises(ArgumentError, match="model must be a server's model"):
        hf.models.batch(hf.models.oracle())
    with pytest.raises(ArgumentError, match=r"batch\(api='open'\).*'openai'"):
        hf.models.batch("openai:gpt-4.1", api="open")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"pass url, chat and other options to hf\.models\.http"):
        hf.models.batch(hf.models.http("http://localhost:1/v1", "m"), url="http://localhost:1/v1")
    with pytest.raises(ArgumentError, match="runs through a batch API already"):
        hf.models.batch(hf.models.batch("openai:gpt-4.1"))
    with pytest.raises(CapabilityError, match=r"isn't a model of hf\.models\.batch"):
        hf.models.oracle().cancel()


# Plans, limits, progress ----------------------------------------------------------------------------------------------


def test_a_plan_with_a_batch_model_is_written_to_yaml_and_read(server: BatchServer) -> None:
    for model in (
        batch(server, extra={"top_k": 1}),
        hf.models.batch("openai:gpt-4.1"),
        hf.models.batch(hf.models.http(server.url, "m", chat=True, key_env="MY_KEY")),
        hf.models.batch(f"{server.url}#m", api="anthropic"),
    ):
        again = from_any(str(model.source))
        assert (again.name, again.source, again.fingerprint()) == (model.name, model.source, model.fingerprint())
    plan = hf.scenario("sampler").generate(hf.models.batch("openai:gpt-4.1"))
    assert Plan.from_yaml(plan.to_yaml()) == plan


def test_providers_have_their_own_batch_api() -> None:
    assert type(hf.models.batch("openai:gpt-4.1").batches) is BatchApi
    assert type(hf.models.batch("anthropic:claude-sonnet-4-5").batches) is batch_api.AnthropicBatchApi


def test_max_requests_limits_the_submission(server: BatchServer) -> None:
    results = letters(10).generate(batch(server)).score(max_requests=4)
    assert (len(server.live), len(server.submitted), results.manifest["status"]) == (1, 3, "stopped")
    letters(10).generate(batch(server)).score(max_requests=6)
    assert len(server.live) + len(server.submitted) == 10


def test_max_cost_limits_the_submission_by_an_estimate(server: BatchServer) -> None:
    plan = letters(10).generate(batch(server), max_tokens=10)
    prices = {"m": (0.0, 1e6)}  # 10 per request at most
    results = plan.score(max_cost=45, prices=prices)
    assert len(server.live) + len(server.submitted) == 4
    assert results.manifest["cost"] == pytest.approx(4.0)  # each completion has one token


def test_progress_shows_the_batches(server: BatchServer) -> None:
    server.open.clear()
    run = letters(10).generate(batch(server)).submit()
    wait_until(lambda: run.progress().height == 1)
    (entry,) = run.progress()["batches"][0]
    assert {**entry, "age": None} == {
        "id": "batch_1", "status": entry["status"], "submitted": 9, "completed": 0, "failed": 0, "age": None,
    }  # fmt: skip
    assert entry["age"] > 0
    server.open.set()
    run.wait(60)
    assert run.progress()["batches"][0][0]["completed"] == 9


def test_the_run_states_how_to_resume_and_to_cancel(server: BatchServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.pause = lambda stage: stage == "poll" and server.open.set()  # type: ignore[func-returns-value,assignment]
    server.open.clear()
    letters(10).generate(batch(server)).score()
    line = f"m: batch batch_1 with 9 requests is in progress at {server.url}."
    assert line in capsys.readouterr().err


def test_cancel_cancels_the_batches_in_progress(server: BatchServer) -> None:
    server.open.clear()
    run = letters(10).generate(batch(server)).submit()
    wait_until(lambda: len(server.submitted) == 9)
    run.cancel()
    run.wait(60)
    assert batch(server).cancel() == ["batch_1"]
    assert server.batches["batch_1"]["cancelled"]
    server.most = 4
    server.open.set()
    results = letters(10).generate(batch(server)).score()  # with what was done before
    assert [len(entry["entries"]) for entry in server.batches.values()] == [9, 4]  # and one live request
    assert errors(results) == []
    assert batch(server).cancel() == []


def test_a_judge_may_run_in_batches(server: BatchServer) -> None:
    server.complete = lambda body: "<score>1</score>"
    judge = hf.judge(batch(server), "safety", name="safe")
    verdicts = letters(6).generate(hf.models.mock.echo()).metrics(judge).score().verdicts.collect()
    assert (server.count("POST", "/batches"), verdicts["error"].null_count()) == (1, verdicts.height)


def test_a_plan_that_stops_early_submits_one_batch_per_look(server: BatchServer) -> None:
    results = letters(400).generate(batch(server)).score(until=hf.precise(0.2))
    assert 1 <= len(server.batches) < 5
    assert results.manifest["counts"]["generated"] == len(server.live) + len(server.submitted) < 400


def test_a_cluster_is_refused(server: BatchServer) -> None:
    with pytest.raises(CapabilityError, match=r"needs no cluster\. Remove engine='ray'"):
        letters(3).generate(batch(server)).score(engine="ray")


def test_a_key_is_sent_as_a_header_and_is_in_no_file(server: BatchServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELMFRAME_API_KEY", KEY)
    letters(3).generate(batch(server)).score()
    assert {headers.get("Authorization") for headers in server.headers} == {f"Bearer {KEY}"}
    files = [file for file in Path(config.store_root()).rglob("*") if file.is_file()]
    assert not any(KEY.encode() in file.read_bytes() for file in files)


# Anthropic ------------------------------------------------------------------------------------------------------------


def messages(server: BatchServer) -> Model:
    return batch(server, api="anthropic")


def test_anthropic_receives_messages_and_returns_them_in_any_order(
    server: BatchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELMFRAME_API_KEY", KEY)
    results = letters(10).adapt(chat_template=True, system="Be brief.").generate(messages(server), max_tokens=7).score()
    assert results.value("exact_match") == 1.0
    entry = server.batches["msgbatch_1"]["entries"][0]["params"]
    assert set(entry) == {"model", "max_tokens", "temperature", "system", "messages"}
    assert (entry["system"], entry["max_tokens"]) == ("Be brief.", 7)
    (headers,) = [
        headers
        for headers, request in zip(server.headers, server.requests, strict=True)
        if request == ("POST", "/messages/batches")
    ]
    assert (headers["x-api-key"], headers["anthropic-version"]) == (KEY, "2023-06-01")
    assert "Authorization" not in headers
    assert results.completions.collect()["reasoning"].drop_nulls().unique().to_list() == ["Hm."]


def test_after_a_lost_reply_of_anthropic_the_batch_of_another_model_is_not_taken_for_it(
    server: BatchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_api, "CALL_SECONDS", 0.5)
    lost = ["created"]

    def pause(stage: str) -> None:
        if stage == "created" and len(server.batches) == 2 and lost:
            lost.clear()
            time.sleep(1.0)

    server.pause = pause
    server.open.clear()
    other = hf.models.batch("other", url=server.url, chat=True, api="anthropic")
    run = letters(10).generate({"a": messages(server), "b": other}).submit()
    wait_until(lambda: not lost)
    time.sleep(0.2)
    server.open.set()
    assert errors(run.wait(60)) == []
    assert len(server.batches) == 2


def test_an_expired_batch_of_anthropic_resubmits_only_the_missing_requests(server: BatchServer) -> None:
    server.most = 6
    assert len(errors(letters(10).generate(messages(server)).score())) == 3
    server.most = None
    assert errors(letters(10).generate(messages(server)).score()) == []
    assert [len(entry["entries"]) for entry in server.batches.values()] == [9, 2]  # and one live request


def test_a_request_that_anthropic_rejects_is_an_error_row(server: BatchServer) -> None:
    def complete(body: Body) -> str:
        if "0003" in body["messages"][-1]["content"]:
            raise RefusedError(400, "invalid prompt")
        return "A"

    server.complete = complete
    assert errors(letters(5).generate(messages(server)).score()) == ["invalid prompt"]


def test_a_message_request_has_anthropic_s_parameters() -> None:
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who?"}]
    body = {"model": "m", "messages": turns, "max_completion_tokens": 5, "temperature": 1.5, "top_p": 0.9, "top_k": 4}
    assert as_message_request({**body, "stop": ["\n", "###"], "logprobs": True, "seed": 1, "n": 1}) == {
        "model": "m", "messages": turns[1:], "system": "Be brief.", "max_tokens": 5, "temperature": 1, "top_p": 0.9,
        "top_k": 4, "stop_sequences": ["###"],
    }  # fmt: skip


def test_a_message_without_content_is_an_invalid_reply() -> None:
    assert as_chat_reply(None)["choices"] == []
    assert as_chat_reply({"content": []})["choices"][0]["message"] == {"content": ""}
    usage = {"input_tokens": 3, "cache_read_input_tokens": 4, "output_tokens": 5}
    assert as_chat_reply({"content": [], "usage": usage})["usage"] == {"prompt_tokens": 7, "completion_tokens": 5}


def wait_until(condition: Any, seconds: float = 30.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)


# Servers that send too much -------------------------------------------------------------------------------------------


def test_a_result_that_is_too_large_is_an_error_of_its_row(server: BatchServer) -> None:
    server.lines = lambda lines: [lines[0], lines[1][:-1] + b" " * (1 << 20) + lines[1][-1:], *lines[2:]]
    live = hf.models.http(server.url, "m", chat=True, max_reply_bytes=1 << 18)
    results = letters(8).generate(hf.models.batch(live)).score()
    assert len(errors(results)) == 1
    assert "has no result of this request" in errors(results)[0]


def test_results_without_end_are_not_stored(server: BatchServer) -> None:
    server.lines = lambda lines: [*lines, *([b"x" * (1 << 16)] * 64)]
    live = hf.models.http(server.url, "m", chat=True, max_reply_bytes=1 << 14)
    with pytest.raises(ReplyError, match=r"content: the response is larger than 114,688 bytes"):
        letters(8).generate(hf.models.batch(live)).score()
