"""What is remembered, and when it is asked again: never a wrong answer."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from tests.models import tiny

PLAN = hf.scenario("sampler").where(subject="music").limit(2)


def answered(results: hf.Results) -> int:
    return int(results.manifest["counts"]["generated"])


def test_a_function_is_remembered_in_the_process_and_not_on_disk(tmp_path: Path) -> None:
    def model(prompt: str) -> str:
        return "A"

    assert answered(PLAN.generate(model).score()) == 2
    assert answered(PLAN.generate(model).score()) == 0
    assert not list((tmp_path / "store").glob("completions/*"))


def test_an_edited_helper_function_generates_again() -> None:
    cell: dict[str, Any] = {}
    exec("def helper(prompt):\n    return 'A'\ndef model(prompt: str) -> str:\n    return helper(prompt)", cell)
    plan = PLAN.generate(cell["model"])
    plan.score()
    assert answered(plan.score()) == 0
    exec("def helper(prompt):\n    return 'B'", cell)
    results = plan.score()
    assert answered(results) == 2
    assert results.completions.collect()["completion"].unique().to_list() == ["B"]


def test_a_model_generates_again_after_an_optimiser_step() -> None:
    import torch

    layer = torch.nn.Linear(1, 1)

    def model(prompt: str) -> str:
        return "AB"[int(layer(torch.ones(1)).item() > 0)]

    plan = PLAN.generate(model)
    plan.score()
    assert answered(plan.score()) == 0
    layer(torch.ones(1)).sum().backward()
    torch.optim.SGD(layer.parameters(), lr=0.1).step()
    assert answered(plan.score()) == 2


def test_two_functions_of_one_name_share_nothing() -> None:
    def first(prompt: str) -> str:
        return "C"

    def second(prompt: str) -> str:
        return "D"

    assert answered(PLAN.generate({"model": first}).score()) == 2
    results = PLAN.generate({"model": second}).score()
    assert answered(results) == 2
    assert results.completions.collect()["completion"].unique().to_list() == ["D"]


def test_a_vouched_function_is_remembered_beyond_the_process_until_its_version_changes() -> None:
    def model(prompt: str) -> str:
        return "A"

    assert answered(PLAN.generate(hf.model(model, name="remembered", version="1")).score()) == 2
    assert answered(PLAN.generate(hf.model(model, name="remembered", version="1")).score()) == 0
    assert answered(PLAN.generate(hf.model(model, name="remembered", version="2")).score()) == 2


def test_a_folder_is_remembered_by_its_content(tmp_path: Path) -> None:
    folder = tiny.saved(tmp_path / "tiny", tiny.gpt2())
    plan = hf.scenario(pl.DataFrame({"q": ["one", "two"], "a": ["1", "2"]}), input="q", references="a")
    assert answered(plan.generate(str(folder)).score()) == 2
    assert answered(plan.generate(str(folder)).score()) == 0
    tiny.saved(folder, tiny.gpt2(seed=1))
    assert answered(plan.generate(str(folder)).score()) == 2


@pytest.mark.parametrize("how", ["decoding", "prompt"])
def test_another_request_is_sent(how: str) -> None:
    def model(prompt: str, temperature: float = 0.0) -> str:
        return "A"

    PLAN.generate(model).score()
    other = PLAN.generate(model, temperature=0.5) if how == "decoding" else PLAN.adapt(shots=1).generate(model)
    assert answered(other.score()) == 2
