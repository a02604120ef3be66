"""What a configuration allows is read from it: the fast ways only where they are exact."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from helmframe.models.engine import choice
from helmframe.models.engine.choice import Choice, Cost, Trial, allowed_choice, checked_choice, cost
from tests.demo import demo_model
from tests.models import tiny
from tests.models.engine import shapes

PLAIN = ["mamba", "mamba2", "rwkv", "recurrent_gemma", "jamba", "falcon_h1", "lfm2", "qwen3_next"]


@pytest.mark.parametrize("name", ["llama", "gpt2", "llama, yarn", "mixtral", "phi3", "mistral"])
def test_full_attention_is_packed_at_any_length(name: str) -> None:
    assert allowed_choice(shapes.made(name)) == Choice("packed")


@pytest.mark.parametrize("name", PLAIN)
def test_layers_that_keep_a_state_are_read_whole(name: str) -> None:
    found = allowed_choice(shapes.made(name))
    assert found.way == "plain"
    assert "a recurrent state" in str(found)


@pytest.mark.parametrize("name", ["mistral, sliding", "qwen2, sliding", "gemma3_text", "llama4_text, chunks"])
def test_a_window_is_packed_within_and_padded_beyond(name: str) -> None:
    found = allowed_choice(shapes.made(name))
    assert [found.of(length) for length in (1, shapes.WINDOW, shapes.WINDOW + 1)] == ["packed", "packed", "cached"]


@pytest.mark.parametrize("name", ["llama, dynamic RoPE", "phi3, longrope"])
def test_angles_that_depend_on_the_length_are_read_whole_beyond_what_was_trained(name: str) -> None:
    found = allowed_choice(shapes.made(name))
    assert [found.of(length) for length in (shapes.TRAINED, shapes.TRAINED + 1)] == ["packed", "plain"]


def test_a_window_that_is_switched_off_is_none() -> None:
    model = shapes.made("qwen2")
    model.config.sliding_window, model.config.use_sliding_window = 16, False
    assert allowed_choice(model) == Choice("packed")


def test_a_hook_is_seen_and_its_end_too() -> None:
    model = shapes.made("llama")
    handle = model.model.layers[0].register_forward_pre_hook(lambda *_: None)
    assert allowed_choice(model).way == "plain"
    handle.remove()
    assert allowed_choice(model).way == "packed"


@pytest.mark.parametrize(
    ("allowed", "way", "expected"),
    [
        (Choice("packed"), "cached", Choice("cached", "why")),
        (Choice("packed", "window", 16, "cached"), "cached", Choice("cached", "why", None, "cached")),
        (Choice("packed", "RoPE", 32, "plain"), "cached", Choice("cached", "why", 32, "plain")),
        (Choice("packed", "RoPE", 32, "plain"), "plain", Choice("plain", "why")),
    ],
)
def test_a_way_is_lowered_for_texts_that_it_was_for(allowed: Choice, way: Any, expected: Choice) -> None:
    assert allowed.lowered(way, "why") == expected


def found(model: Any, allowed: Choice = Choice("packed")) -> Choice:  # noqa: B008 - frozen
    with torch.no_grad():
        return checked_choice(model, allowed, Trial.of(model, allowed.max_length))


def test_a_way_that_is_exact_is_taken() -> None:
    assert found(tiny.llama()) == Choice("packed")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("gpt_neo", "0 of its 2 layers"),
        ("gemma2", "softcap"),
        ("gpt_oss", "s_aux"),
        ("falcon, alibi", "the check failed: "),
    ],
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
    assert "was inconclusive" in chosen.why


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
        said = [change(place, each) for place, each in enumerate(trial.reference)]
        return replace(trial, reference=said).fault(model, "packed")


@pytest.mark.parametrize("place", range(3))
def test_what_is_no_number_is_a_fault_wherever_it_stands(place: int) -> None:
    assert trial_with(tiny.llama(), lambda _, each: each) == ""
    fault = trial_with(tiny.llama(), lambda number, each: each * torch.nan if number == place else each)
    assert "nan" in fault or "inconclusive" in fault


def test_another_likeliest_token_is_a_fault_where_plain_passes_are_sure_of_theirs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limit = 0.3
    monkeypatch.setitem(choice.NOISE, "torch.float32", limit)

    def other(_: int, said: Any) -> Any:
        """Where two tokens are nearly as likely the second is the first by far, and no logit has moved by the limit."""
        values, places = said.topk(2, dim=-1)
        row = int((values[:, 0] - values[:, 1]).argmin())
        by = 0.9 * limit * said.abs().max()
        said[row, places[row]] += torch.stack([-by, by])
        return said

    assert "likeliest tokens of the check differ" in trial_with(tiny.llama(), other)


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
    monkeypatch.setattr(choice, "SIZES", {"cpu": choice.SIZES[kind]})
    monkeypatch.setattr(choice, "MOST", {"cpu": choice.MOST[kind]})
    with torch.no_grad():
        timed = cost(tiny.llama(), way, None)
    assert timed.token > 0
    assert 0 <= timed.worth <= choice.MOST["cpu"]


def test_passes_that_the_memory_does_not_hold_are_not_timed() -> None:
    model = tiny.llama()
    own = model.forward
    model.forward = lambda **given: (own if given["input_ids"].numel() < 60 else full)(**given)
    with torch.no_grad():
        assert cost(model, "packed", None).token > 0
        model.forward = full
        assert cost(model, "packed", None) == Cost(0.0, 1.0)
