"""The stage generate: asks once, keeps, isolates failures, cuts at stops."""

import itertools
import json
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

import helmframe as hf
from helmframe.models.completion_cache import request_ids
from helmframe.models.prompts import Prompts
from helmframe.models.scheduler import ModelQueue
from helmframe.store import ParquetCompletions


def small() -> hf.Plan:
    return hf.scenario("sampler").where(subject="music").limit(6)


def counting(answer: Callable[[str], str]) -> tuple[Callable[[str], str], list[str]]:
    asked: list[str] = []

    def model(prompt: str) -> str:
        asked.append(prompt)
        return answer(prompt)

    return model, asked


def test_the_second_score_asks_nothing() -> None:
    model, asked = counting(lambda _: "A")
    plan = small().perturb("typos").generate(model)
    first = plan.score().table()
    count = len(asked)
    assert plan.score().table().equals(first)
    assert len(asked) == count


def test_fresh_asks_everything_again() -> None:
    model, asked = counting(lambda _: "A")
    plan = small().generate(model)
    plan.score()
    plan.score(fresh=True)
    assert len(asked) == 12


def test_concurrent_callers_of_a_model_do_not_change_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = itertools.cycle([64, 32, 32, 64])  # another run sets it between any two looks at it
    monkeypatch.setattr(ModelQueue, "block", property(lambda _: next(sizes), lambda *_: None), raising=False)
    model, asked = counting(lambda _: "A")
    results = hf.scenario("sampler").generate(model).score()
    assert results.completions.collect().height == 256
    assert len(asked) == len(set(asked))


def test_an_unchanged_variant_shares_the_request() -> None:
    model, asked = counting(lambda _: "A")
    frame = pl.DataFrame({"q": ["already lower"], "a": ["A"]})
    hf.scenario(frame, input="q", references="a").perturb("lowercase").generate(model).score()
    assert len(asked) == 1


def test_again_asks_the_unchanged_prompt_once_more() -> None:
    model, asked = counting(lambda _: "A")
    frame = pl.DataFrame({"q": ["already lower"], "a": ["A"]})
    hf.scenario(frame, input="q", references="a").perturb("rerun", seeds=2).generate(model).score()
    assert len(asked) == 3
    assert len(set(asked)) == 1


def test_a_failed_row_has_an_error_without_a_score_and_is_retried() -> None:
    broken = True

    def model(prompt: str) -> str:
        if broken and prompt.rstrip().endswith("seven\nAnswer:"):
            raise ValueError("no seven")
        return "A"

    frame = pl.DataFrame({"q": ["six", "seven"], "a": ["A", "A"]})
    plan = hf.scenario(frame, input="q", references="a").adapt(shots=0).generate(model)
    results = plan.score()
    errors = results.errors()
    assert errors["error"].to_list() == ["ValueError: no seven"]
    scores = results.scores.collect().filter(instance_id=errors["instance_id"][0])
    assert scores["score"].null_count() == scores.height
    assert results.table()["n_error"].to_list() == [1] * results.table().height
    broken = False
    assert plan.score().errors().is_empty()


def test_a_failure_is_logged_with_scenario_model_and_instance(caplog: pytest.LogCaptureFixture) -> None:
    def broken(prompt: str) -> str:
        raise RuntimeError("out of order")

    with caplog.at_level(logging.WARNING, logger="helmframe"):
        small().limit(1).generate(broken).score()
    record = next(record for record in caplog.records if "out of order" in record.getMessage())
    assert record.scenario == "sampler"  # type: ignore[attr-defined]
    assert record.model == "broken"  # type: ignore[attr-defined]
    assert record.instance_id.startswith("music/id")  # type: ignore[attr-defined]


def test_a_completion_is_cut_at_the_first_stop() -> None:
    def model(prompt: str) -> str:
        return "yes ### no\nmore"

    frame = pl.DataFrame({"q": ["?"], "a": ["yes"]})
    plan = hf.scenario(frame, input="q", references="a").generate(model, stop=["\n", "###"])
    row = plan.score().completions.collect()
    assert row["completion"].to_list() == ["yes "]
    assert row["finish_reason"].to_list() == ["stop"]


@pytest.mark.parametrize(
    ("text", "reasoning", "completion"),
    [
        ("<think>hm</think> B", "hm", "B"),
        ("hm, so</think>\n\nB", "hm, so", "B"),
        ("<think>never ends", "never ends", ""),
        ("B", None, "B"),
    ],
)
def test_thoughts_go_to_their_own_column(text: str, reasoning: str | None, completion: str) -> None:
    def model(prompt: str) -> str:
        return text

    frame = pl.DataFrame({"q": [text], "a": ["B"]})
    row = hf.scenario(frame, input="q", references="a").generate(model).score().completions.collect()
    assert row["reasoning"].to_list() == [reasoning]
    assert row["completion"].to_list() == [completion]


@pytest.mark.parametrize(("text", "logprob"), [("<think>hm</think> B", None), ("B", -1.5)])
def test_the_log_probability_of_thoughts_is_not_the_answers(text: str, logprob: float | None) -> None:
    def model(prompt: str) -> hf.models.Completion:
        return hf.models.Completion(text, logprob=-1.5, token_logprobs=(-1.0, -0.5))

    frame = pl.DataFrame({"q": [text], "a": ["B"]})
    row = hf.scenario(frame, input="q", references="a").generate(model).score().completions.collect()
    assert (row["logprob"].item(), row["token_logprobs"].is_null().item()) == (logprob, logprob is None)


def test_outputs_are_requested_and_stored_separately() -> None:
    model, asked = counting(lambda _: "A")
    results = small().limit(2).generate(model, n=3).score()
    assert len(asked) == 6
    assert results.completions.select("output_index").collect()["output_index"].sort().to_list() == [0, 0, 1, 1, 2, 2]


def requests(plan: hf.Plan) -> pl.DataFrame:
    return plan.requests().collect()


def test_the_request_id_depends_on_model_decoding_output_and_prompt() -> None:
    fitted = requests(small().limit(1)).with_columns(prefix_id=pl.lit("p"))
    prefixes = pl.DataFrame({"prefix_id": ["p"], "prefix": ["start "]})
    base = request_ids(fitted, prefixes, "model", 1)["request_id"][0]
    others = [
        request_ids(fitted, prefixes, "other", 1)["request_id"][0],
        request_ids(fitted, prefixes, "model", 2)["request_id"][1],
        request_ids(fitted, prefixes.with_columns(prefix=pl.lit("begin ")), "model", 1)["request_id"][0],
        request_ids(fitted.with_columns(suffix=pl.lit("x")), prefixes, "model", 1)["request_id"][0],
        request_ids(fitted.with_columns(decoding=pl.lit('{"max_tokens": 2}')), prefixes, "model", 1)["request_id"][0],
        request_ids(fitted.with_columns(repeat=pl.lit(1)), prefixes, "model", 1)["request_id"][0],
    ]
    assert len({base, *others}) == 7
    assert len(base) == 16


def test_the_request_id_is_the_sha256_of_header_and_prompt() -> None:
    from hashlib import sha256

    fitted = requests(small().limit(1)).with_columns(prefix_id=pl.lit("p"), suffix=pl.lit("end"), decoding=pl.lit("{}"))
    prefixes = pl.DataFrame({"prefix_id": ["p"], "prefix": ["start "]})
    header = json.dumps({"decoding": {}, "model": "m", "output_index": 0, "v": 1}).encode()
    expected = sha256(header + b"\0" + b"start end").digest()[:16]
    assert request_ids(fitted, prefixes, "m", 1)["request_id"].to_list() == [expected]


def test_prompts_are_glued_when_looked_at() -> None:
    frame = pl.DataFrame({"prefix_id": ["p", "q"], "suffix": ["1", "2"]})
    prompts = Prompts(frame, pl.DataFrame({"prefix_id": ["p", "q"], "prefix": ["P", "Q"]}))
    assert list(prompts) == ["P1", "Q2"]
    assert prompts[0:2] == ["P1", "Q2"]


def test_completions_of_pinned_models_are_stored_with_the_request_as_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELMFRAME_STORE", str(tmp_path))

    def model(prompt: str) -> str:
        return "A"

    vouched = hf.model(model, name="mine", version="1")
    small().limit(1).generate(vouched).score()
    store = ParquetCompletions(tmp_path, vouched.fingerprint(), "sampler")
    part = pl.read_parquet(next(path for path in Path(store.folder).iterdir() if path.name.startswith("0")))
    prefixes = pl.read_parquet(next(Path(store.folder).glob("prefixes-*.parquet")))
    prompt = prefixes["prefix"][0] + part["suffix"][0]
    assert prompt == requests(small().limit(1))["prompt"][0]
    assert part["completion"].to_list() == ["A"]
    assert part["instance_id"].to_list() == requests(small().limit(1))["instance_id"].to_list()


def test_a_decoding_argument_the_user_wrote_must_be_honoured() -> None:
    def model(prompt: str) -> str:
        return "A"

    with pytest.raises(hf.HelmframeError, match="doesn't support top_p"):
        small().generate(model, top_p=0.9)


def test_each_output_of_a_sampling_model_has_a_seed_of_its_own_and_keeps_it() -> None:
    seeds: list[int] = []

    def model(prompt: str, temperature: float, seed: int = -1) -> str:
        seeds.append(seed)
        return "A"

    plan = small().limit(1).perturb("rerun").generate(model, n=3, temperature=0.7, seed=5)
    plan.score()
    first = sorted(seeds)
    assert len(set(first)) == 6
    assert 5 in first
    seeds.clear()
    plan.score(fresh=True)
    assert sorted(seeds) == first


def test_a_greedy_model_gets_no_seed() -> None:
    seeds: list[int] = []

    def model(prompt: str, seed: int = -1) -> str:
        seeds.append(seed)
        return "A"

    small().limit(1).generate(model).score()
    assert seeds == [-1]


def test_concurrent_runs_of_a_versioned_model_send_each_request_once() -> None:
    prompts: list[str] = []

    def model(batch: list[str]) -> list[str]:
        prompts.extend(batch)
        time.sleep(0.002)
        return ["A"] * len(batch)

    plan = hf.scenario("sampler").perturb("typos").generate(hf.model(model, name="shared", version="1", batch=8))
    runs = [plan.submit() for _ in range(3)]
    tables = [run.wait(60).table() for run in runs]
    assert len(prompts) == len(set(prompts))
    assert tables[0].equals(tables[1])
    assert tables[0].equals(tables[2])


def test_a_function_without_a_version_claims_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    created: list[object] = []

    def create(_: bytes, address: object) -> bool:
        created.append(address)
        return True

    monkeypatch.setattr("helmframe.store.claims.create", create)
    small().generate(lambda prompt: "A").score()
    assert created == []
    small().generate(hf.model(lambda prompt: "A", name="mine", version="1")).score()
    assert len(created) == 1


def test_failed_requests_are_claimed_again_by_the_next_run(tmp_path: Path) -> None:
    broken = True

    def model(prompt: str) -> str:
        if broken:
            raise ValueError("down")
        return "A"

    plan = small().generate(hf.model(model, name="mine", version="1"))
    assert plan.score().errors().height == 6
    broken = False
    assert plan.score().errors().height == 0
    assert not list(tmp_path.rglob("*.part"))


def test_completions_of_a_slow_model_are_stored_within_the_flush_interval(tmp_path: Path) -> None:
    hf.configure(flush_seconds=0.2)
    ended = threading.Event()
    calls = iter(range(2))

    def model(prompts: list[str]) -> list[str]:
        if next(calls) == 1:
            ended.wait(60)
        return ["A"] * len(prompts)

    run = small().generate(hf.model(model, name="slow", version="1", batch=3)).submit()
    deadline = time.monotonic() + 30
    while not list((tmp_path / "store").glob("completions/*/*/0*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.01)
    stored = [pl.read_parquet(path).height for path in (tmp_path / "store").glob("completions/*/*/0*.parquet")]
    ended.set()
    run.wait(60)
    assert stored == [3]
