"""What evals on one folder share is read once, whichever of them asks first."""

from pathlib import Path
from typing import Any

import pytest

import helmframe as hf
from helmframe.models.engine import memory, passes
from helmframe.models.engine.choice import Cost
from tests.models.tiny import gpt2_folder


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The tokens of each forward pass, of passes so small that a start read on its own pays."""
    counts: list[int] = []
    forward = passes._forward

    def counted(model: Any, blocks: Any, *given: Any, **more: Any) -> Any:
        counts.append(sum(len(block.tokens) for block in blocks))
        return forward(model, blocks, *given, **more)

    monkeypatch.setattr(passes, "_forward", counted)
    monkeypatch.setattr(memory, "TOKENS", {"cpu": 128})
    monkeypatch.setattr(Cost, "worth", property(lambda _: 0.0))
    return counts


def test_a_second_eval_finds_the_examples_read(tmp_path: Path, read: list[int]) -> None:
    plan = hf.scenario("sampler").where(subject="music").adapt(shots=2).generate(str(gpt2_folder(tmp_path / "bytes")))
    first = plan.limit(4)
    first.score()
    read_first, length = sum(read), total(first)
    assert read_first < length
    read.clear()
    again = plan.perturb("uppercase").limit(4)
    fresh = total(again) - length  # the answers to the prompts as they are were kept
    again.score()
    prompts = again.requests().collect()
    (examples,) = (prompts["prompt"].str.len_bytes() - prompts["suffix"].str.len_bytes()).unique()
    assert examples > 40
    assert 0 < sum(read) <= fresh - 4 * examples + 4


def total(plan: hf.Plan) -> int:
    """The tokens of its prompts: a byte each."""
    return int(plan.requests().collect()["prompt"].str.len_bytes().sum())
