"""A way of reading that says something else than plain passes is found out and not taken."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from helmframe.models.engine import check
from helmframe.models.engine.check import Cost, Trial, checked, cost
from helmframe.models.engine.gates import Choice
from tests.demo import demo_model
from tests.models import tiny
from tests.models.engine import shapes


def found(model: Any, allowed: Choice = Choice("packed")) -> Choice:  # noqa: B008 - frozen
    with torch.no_grad():
        return checked(model, allowed, Trial.of(model, allowed.most))


def test_a_way_that_is_exact_is_taken() -> None:
    assert found(tiny.llama()) == Choice("packed")


@pytest.mark.parametrize(
    ("name", "why"),
    [("gpt_neo", "0 of its 2 layers"), ("gemma2", "softcap"), ("gpt_oss", "s_aux"), ("falcon, alibi", "fails")],
)
def test_attention_that_packed_rows_do_not_know_is_padded(name: str, why: str) -> None:
    chosen = found(shapes.made(name))
    assert chosen.way == "cached"
    assert why in chosen.why


def test_layers_that_look_beyond_their_text_are_found_by_their_numbers() -> None:
    model = tiny.llama()
    own = model.model.layers[0].mlp.forward
    # each token is told of all others in its row: exact alone, wrong in company
    model.model.layers[0].mlp.forward = lambda given: own(given) + given.mean(dim=1, keepdim=True)
    chosen = found(model)
    assert chosen.way == "plain"
    assert "differ" in chosen.why


def test_a_model_that_says_the_same_to_all_texts_is_not_trusted() -> None:
    model = tiny.llama()
    with torch.no_grad():
        model.lm_head.weight.zero_()
    chosen = found(model)
    assert chosen.way == "plain"
    assert "can't tell right from wrong" in chosen.why


def test_texts_too_short_for_a_check_are_read_whole() -> None:
    assert found(tiny.llama(), Choice("packed", "a window", 10, "cached")).way == "plain"


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_shorter_types_are_packed_too(kind: torch.dtype) -> None:
    assert found(tiny.llama().to(kind)) == Choice("packed")


@pytest.mark.model
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_a_real_model_in_a_shorter_type_is_packed(kind: torch.dtype) -> None:
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(demo_model(), dtype=kind)
    assert found(model.eval()) == Choice("packed")


def test_a_shorter_type_hides_no_layers_that_look_beyond_their_text() -> None:
    model = tiny.llama().bfloat16()
    own = model.model.layers[0].mlp.forward
    model.model.layers[0].mlp.forward = lambda given: own(given) + given.mean(dim=1, keepdim=True)
    assert found(model).way == "plain"


def trial_with(model: Any, change: Callable[[int, Any], Any]) -> str:
    """The fault of packed rows where plain passes said what they say, changed, of each of the texts."""
    with torch.no_grad():
        trial = Trial.of(model, None)
        assert trial is not None
        said = [change(place, each) for place, each in enumerate(trial.said)]
        return replace(trial, said=said).fault(model, "packed")


@pytest.mark.parametrize("place", range(3))
def test_what_is_no_number_is_a_fault_wherever_it_stands(place: int) -> None:
    assert trial_with(tiny.llama(), lambda _, each: each) == ""
    fault = trial_with(tiny.llama(), lambda number, each: each * torch.nan if number == place else each)
    assert "nan" in fault or "can't tell" in fault


def test_another_likeliest_token_is_a_fault_where_plain_passes_are_sure_of_theirs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limit = 0.3
    monkeypatch.setitem(check.NOISE, "torch.float32", limit)

    def other(_: int, said: Any) -> Any:
        """Where two tokens are nearly as likely the second is the first by far, and no logit has moved by the limit."""
        values, places = said.topk(2, dim=-1)
        row = int((values[:, 0] - values[:, 1]).argmin())
        by = 0.9 * limit * said.abs().max()
        said[row, places[row]] += torch.stack([-by, by])
        return said

    assert "likeliest tokens are others" in trial_with(tiny.llama(), other)


def test_no_memory_says_nothing_about_a_way() -> None:
    model = tiny.llama()
    with torch.no_grad():
        trial = Trial.of(model, None)
    assert trial is not None
    model.forward = full
    with pytest.raises(RuntimeError, match="out of memory"):
        trial.fault(model, "cached")


def full(**_: Any) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")


@pytest.mark.parametrize("way", ["packed", "cached"])
@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_a_pass_costs_something(way: Any, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "SIZES", {"cpu": check.SIZES[kind]})
    monkeypatch.setattr(check, "MOST", {"cpu": check.MOST[kind]})
    with torch.no_grad():
        timed = cost(tiny.llama(), way, None)
    assert timed.token > 0
    assert 0 <= timed.worth <= check.MOST["cpu"]


def test_passes_that_the_memory_does_not_hold_are_not_timed() -> None:
    model = tiny.llama()
    own = model.forward
    model.forward = lambda **given: (own if given["input_ids"].numel() < 60 else full)(**given)
    with torch.no_grad():
        assert cost(model, "packed", None).token > 0
        model.forward = full
        assert cost(model, "packed", None) == Cost(0.0, 1.0)
