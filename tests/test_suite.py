"""Several sentences through one queue."""

import threading

import pytest

import helmframe as hf
from helmframe.errors import ArgumentError


def test_plans_of_a_suite_share_the_models_batches() -> None:
    sizes: list[int] = []
    both_asked = threading.Event()

    def model(prompts: list[str]) -> list[str]:
        if not sizes:
            both_asked.wait(0.5)  # the first batch takes long enough for both plans to stand in the queue
        sizes.append(len(prompts))
        return ["A"] * len(prompts)

    answering = hf.model(model, batch=64)
    one = hf.scenario("sampler").where(subject="music").limit(20).generate(answering)
    two = hf.scenario("sampler").where(subject="biology").limit(20).generate(answering)
    results = hf.suite(one, two).score()
    assert sum(sizes) == 40
    assert len(sizes) < 40
    assert results.table(["part"], metrics="exact_match")["n"].to_list() == [20, 20]


def test_plans_that_ask_the_same_model_differently_are_told_apart() -> None:
    plan = hf.scenario("sampler").where(subject="music").limit(3).generate(hf.models.oracle())
    table = hf.suite(plan.adapt(shots=0), plan.adapt(shots=5)).score().table(metrics="exact_match")
    assert table["setting"].to_list() == ["plan=1", "plan=2"]


def test_the_same_plan_twice_is_one() -> None:
    plan = hf.scenario("sampler").where(subject="music").limit(3).generate(hf.models.oracle())
    assert hf.suite(plan, plan).score().table(metrics="exact_match")["n"].to_list() == [3]


def test_an_error_in_one_plan_keeps_the_answers_of_the_others() -> None:
    asked: list[str] = []

    def model(prompt: str) -> str:
        asked.append(prompt)
        return "A"

    good = hf.scenario("sampler").where(subject="music").limit(3).generate(model)
    nothing = hf.scenario("sampler").where("subject = 'alchemy'").generate(model)
    with pytest.raises(hf.HelmframeError):
        hf.suite(good, nothing).score()
    good.score()
    assert len(asked) == 3


def test_a_suite_takes_plans_only() -> None:
    with pytest.raises(ArgumentError, match="give plans"):
        hf.suite("mmlu")  # type: ignore[arg-type]
