"""What a configuration allows is read from it: the fast ways only where they are exact."""

from typing import Any

import pytest

from helmframe.models.engine.gates import Choice, choice
from tests.models.engine import shapes

PLAIN = ["mamba", "mamba2", "rwkv", "recurrent_gemma", "jamba", "falcon_h1", "lfm2", "qwen3_next"]


@pytest.mark.parametrize("name", ["llama", "gpt2", "llama, yarn", "mixtral", "phi3", "mistral"])
def test_full_attention_is_packed_at_any_length(name: str) -> None:
    assert choice(shapes.made(name)) == Choice("packed")


@pytest.mark.parametrize("name", PLAIN)
def test_layers_that_keep_a_state_are_read_whole(name: str) -> None:
    found = choice(shapes.made(name))
    assert found.way == "plain"
    assert "keep a state" in str(found)


@pytest.mark.parametrize("name", ["mistral, sliding", "qwen2, sliding", "gemma3_text", "llama4_text, chunks"])
def test_a_window_is_packed_within_and_padded_beyond(name: str) -> None:
    found = choice(shapes.made(name))
    assert [found.of(length) for length in (1, shapes.WINDOW, shapes.WINDOW + 1)] == ["packed", "packed", "cached"]


@pytest.mark.parametrize("name", ["llama, dynamic RoPE", "phi3, longrope"])
def test_angles_that_depend_on_the_length_are_read_whole_beyond_what_was_trained(name: str) -> None:
    found = choice(shapes.made(name))
    assert [found.of(length) for length in (shapes.TRAINED, shapes.TRAINED + 1)] == ["packed", "plain"]


def test_a_window_that_is_switched_off_is_none() -> None:
    model = shapes.made("qwen2")
    model.config.sliding_window, model.config.use_sliding_window = 16, False
    assert choice(model) == Choice("packed")


def test_a_hook_is_seen_and_its_end_too() -> None:
    model = shapes.made("llama")
    handle = model.model.layers[0].register_forward_pre_hook(lambda *_: None)
    assert choice(model).way == "plain"
    handle.remove()
    assert choice(model).way == "packed"


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
