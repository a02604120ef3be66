"""A model that misbehaves: its answers are kept, the rest is marked, the next run gives the undisturbed table."""

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import helmframe as hf

pytestmark = pytest.mark.slow

PLAN = hf.scenario("sampler").where(subject=["music", "biology"]).perturb("typos")
SECRET = "sk-canary-0123456789abcdef"


def right(prompt: str) -> str:
    return "ABCD"[len(prompt) % 4]


def unlucky(prompt: str) -> bool:
    """One prompt in four, always the same ones."""
    return hashlib.sha256(prompt.encode()).digest()[0] % 4 == 0


def raises(prompts: list[str]) -> list[Any]:
    if any(map(unlucky, prompts)):
        raise ValueError("a bad row")
    return list(map(right, prompts))


def too_few(prompts: list[str]) -> list[Any]:
    return [right(prompt) for prompt in prompts if not unlucky(prompt)]


def wrong_types(prompts: list[str]) -> list[Any]:
    return [{"no": "text"} if unlucky(prompt) else right(prompt) for prompt in prompts]


def nothing(prompts: list[str]) -> list[Any]:
    return [None if unlucky(prompt) else right(prompt) for prompt in prompts]


def no_list(prompts: list[str]) -> Any:
    return None if any(map(unlucky, prompts)) else list(map(right, prompts))


def hangs(prompts: list[str]) -> list[Any]:
    if any(map(unlucky, prompts)):
        time.sleep(3)
    return list(map(right, prompts))


def tells(prompts: list[str]) -> list[Any]:
    print(f"the key is {os.environ['OPENAI_API_KEY']}")
    if any(map(unlucky, prompts)):
        raise ValueError(f"401 for {os.environ['OPENAI_API_KEY']}")
    return list(map(right, prompts))


class Faulty:
    """A model with a fault, until it is mended; one object, so that it may keep its name and version."""

    def __init__(self, fault: Callable[[list[str]], Any]) -> None:
        self.fault: Callable[[list[str]], Any] | None = fault
        self.answered: set[str] = set()
        self.asked_again: set[str] = set()

    def generate(self, prompts: list[str]) -> Any:
        if self.fault is not None:
            answers = self.fault(prompts)
            self.answered |= {prompt for prompt in prompts if not unlucky(prompt)}
            return answers
        self.asked_again |= set(prompts)
        return list(map(right, prompts))


@pytest.mark.parametrize(
    "fault", [raises, too_few, wrong_types, nothing, no_list, tells], ids=lambda fault: fault.__name__
)
def test_the_rest_is_marked_and_the_next_run_gives_the_undisturbed_table(
    fault: Callable[[list[str]], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    faulty = Faulty(fault)
    plan = PLAN.generate(hf.model(faulty, name=f"faulty {fault.__name__}", version="1", batch=4))
    results = plan.score()
    failed = results.errors()
    prompts = results.requests.select("prompt", "request_id").collect()
    assert failed.height > 0
    assert results.completions.filter(pl.col("completion").is_null()).collect().height == failed.height
    assert prompts.height - failed.height > 0
    faulty.fault = None
    mended = plan.score()
    assert mended.errors().is_empty()
    # what was answered rightly is not asked again
    assert all(map(unlucky, faulty.asked_again))
    sound = hf.model(Faulty(lambda prompts: list(map(right, prompts))), name=f"sound {fault.__name__}", version="1")
    undisturbed = PLAN.generate(sound).score()
    assert_frame_equal(mended.table().drop("model"), undisturbed.table().drop("model"))


def test_a_model_that_hangs_costs_its_rows_only() -> None:
    faulty = Faulty(hangs)
    plan = PLAN.limit(6).generate(hf.model(faulty, name="hangs", version="1", batch=1, timeout=0.2))
    results = plan.score()
    assert set(results.errors()["error"].str.slice(0, 12)) == {"TimeoutError"}
    faulty.fault = None
    assert plan.score().errors().is_empty()


@pytest.mark.smoke
def test_a_completion_of_ten_megabytes_is_stored() -> None:
    def long(prompt: str) -> str:
        return "x" * 10_000_000

    plan = PLAN.limit(1).adapt(shots=0, method="generation").generate(hf.model(long, name="long", version="1"))
    plan.score()
    results = plan.score()
    assert results.manifest["counts"]["generated"] == 0
    assert results.completions.select(pl.col("completion").str.len_bytes().min()).collect().item() == 10_000_000


def test_secrets_that_a_model_prints_and_raises_are_written_nowhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "aws-canary-0123456789abcdef")
    hf.configure(s3_key="AKIACANARY0123456789", s3_secret="said-canary-0123456789abcdef")
    plan = PLAN.limit(4).generate(hf.model(Faulty(tells), name="tells", version="1", batch=1))
    results = plan.score()
    run = hf.run(hf.runs()["run"][0])
    shown = [repr(results), results._repr_html_(), repr(plan), repr(run), plan.explain(), str(run.logs().rows())]
    shown += [str(results.errors().rows()), str(results.manifest), str(hf.runs().rows())]
    written = b"".join(path.read_bytes() for path in (tmp_path / "store").rglob("*") if path.is_file())
    tables = [pl.read_parquet(path).rows() for path in (tmp_path / "store").rglob("*.parquet")]
    for canary in (SECRET, "aws-canary-0123456789abcdef", "AKIACANARY0123456789", "said-canary-0123456789abcdef"):
        assert canary.encode() not in written
        assert not any(canary in str(rows) for rows in tables)
        assert not any(canary in text for text in shown)
    assert "***" in str(results.errors()["error"].to_list())
