"""What is read in any company is what each text says alone; what is shared is read once."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import DynamicCache

from helmframe.models.engine import attention, linear
from helmframe.models.engine.passes import as_cache
from helmframe.models.engine.reading import Reader, Wanted, prefill
from tests.models import tiny
from tests.models.engine import shapes

DRAW = np.random.default_rng(0)
HEAD = DRAW.integers(1, 60, 40).tolist()
OWN = [DRAW.integers(1, 60, length).tolist() for length in (5, 9, 3, 1, 7)]
TEXTS = [
    *([*HEAD, *own] for own in OWN),
    [*HEAD, *OWN[0]],
    [*HEAD, *OWN[0], 7],
    [*HEAD[:20], *OWN[1]],
    OWN[2],
]
LAST = [Wanted(text, len(text) - 1) for text in TEXTS[:5]]


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def alone(model: Any, text: list[int]) -> Any:
    return model(input_ids=torch.tensor([text]), use_cache=False).logits[0]


def assert_equal(reader: Reader, first: int | None) -> None:
    """All texts, read together, say what each says alone, from the first place on or at the last only."""
    done = []
    for part in reader.read([Wanted(text, len(text) - 1 if first is None else first) for text in TEXTS]):
        for place, rows in zip(part.indices, part.rows, strict=True):
            expected = alone(reader.model, TEXTS[place])
            expected = expected[-1:] if first is None else expected[first:]
            assert (part.logits[rows] - expected).abs().max() <= 1e-5 * expected.abs().max()
            done.append(place)
    assert sorted(done) == list(range(len(TEXTS)))


@pytest.mark.parametrize(
    "name", ["llama", "gpt2", "opt", "deepseek_v3", "mistral, sliding", "bloom", "rwkv", "phi3, longrope"]
)
@pytest.mark.parametrize("tokens", [512, 30])
def test_texts_read_together_say_what_each_says_alone(name: str, tokens: int) -> None:
    reader = Reader(shapes.made(name))
    reader.choice()
    reader.tokens = tokens
    assert_equal(reader, None)
    assert_equal(reader, 0)


def test_attention_without_sums_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "_cascade", attention._joined)
    reader = Reader(shapes.made("llama"))
    assert reader.choice().way == "packed"
    reader.tokens = 30
    assert_equal(reader, None)


@pytest.mark.parametrize("name", ["llama", "gpt2", "qwen3", "deepseek_v3"])
@pytest.mark.parametrize("tokens", [512, 30])
@pytest.mark.parametrize("rows", [4, 16, 192])
def test_attention_in_tiles_of_any_size_gives_the_same(
    name: str, tokens: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "ROWS", rows)
    monkeypatch.setattr(attention, "_has_faster_tiles", lambda *_: True)
    for other in ("_cascade", "_joined"):
        monkeypatch.setattr(attention, other, None)
    reader = Reader(shapes.made(name))
    assert reader.choice().way == "packed"
    reader.tokens = tokens
    assert_equal(reader, None)
    assert_equal(reader, 0)


def test_attention_in_tiles_is_for_texts_that_are_not_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "_has_faster_tiles", lambda *_: True)
    monkeypatch.setattr(attention, "LONGEST", 45)
    reader = Reader(shapes.made("llama"))
    reader.choice()
    monkeypatch.setattr(attention, "_tiled", None)
    with pytest.raises(TypeError):
        list(reader.read([Wanted([1] * 45, 44)]))
    assert [part.error for part in reader.read([Wanted([1] * 46, 45)])] == [None]


def test_cached_prefixes_equal_the_models_cache() -> None:
    model = shapes.made("llama")
    read = prefill(Reader(model), TEXTS, keep=True)
    for text, logits, kept in zip(TEXTS, read.logits, read.key_values, strict=True):
        expected = model(input_ids=torch.tensor([text]), use_cache=True)
        assert logits == pytest.approx(expected.logits[0, -1], abs=1e-4)
        assert kept.length == len(text)
        for layer, (heads, of_key, of_value) in enumerate(kept.shapes):
            keys, values = torch.zeros(heads, 60, of_key), torch.zeros(heads, 60, of_value)
            kept.copy(layer, keys, values)
            cache = expected.cache.layers[layer] if "cache" in expected else expected.past_key_values.layers[layer]
            assert (keys[:, : len(text)] - cache.keys[0]).abs().max() < 1e-4
            assert (values[:, : len(text)] - cache.values[0]).abs().max() < 1e-4


def passes(reader: Reader) -> list[int]:
    """From now on, the tokens of each pass."""
    own, found = reader.model.forward, []

    def forward(**given: Any) -> Any:
        found.append(given["input_ids"].numel())
        return own(**given)

    reader.model.forward = forward
    return found


def with_a_head() -> Reader:
    """A reader of small passes that has read texts, and keeps their start."""
    reader = Reader(tiny.llama())
    reader.choice()
    reader.tokens, reader._cost = 16, None
    list(reader.read(LAST))
    return reader


def test_shared_prefixes_are_cached_until_they_are_dropped() -> None:
    reader = with_a_head()
    read = passes(reader)
    list(reader.read(LAST))
    assert sum(read) == sum(map(len, OWN))
    reader.forget()
    list(reader.read(LAST))
    assert sum(read) == len(HEAD) + 2 * sum(map(len, OWN))


@contextmanager
def full(reader: Reader, times: int = 1) -> Iterator[None]:
    """A memory that is full, so many times."""
    own, left = reader.model.forward, [times]

    def forward(**given: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
        return own(**given)

    reader.model.forward = forward
    try:
        yield
    finally:
        reader.model.forward = own


def test_out_of_memory_drops_cached_prefixes_before_batches_shrink() -> None:
    reader = with_a_head()
    room = reader._heads.room
    with full(reader):
        places = [place for part in reader.read(LAST) for place in part.indices]
    assert sorted(places) == list(range(len(LAST)))
    assert reader.tokens == 16
    assert reader._heads.room < room
    with full(reader, times=2):
        list(reader.read(LAST))
    assert reader.tokens == 8


def prepared(fingerprint: str, *, lasting: bool = True, name: str = "llama") -> list[int]:
    """Of a copy of a model that a new process loads: the tokens of each pass before its first text."""
    reader = Reader(shapes.made(name), lasting=lasting, fingerprint=fingerprint)
    read = passes(reader)
    reader.choice()
    return read


def test_checks_and_timings_are_those_of_an_earlier_process(monkeypatch: pytest.MonkeyPatch) -> None:
    assert prepared("a")
    assert prepared("a") == []
    assert prepared("b")
    monkeypatch.setattr(torch, "__version__", "2.999")
    assert prepared("a")


def test_checks_are_repeated_for_weights_that_may_change() -> None:
    assert prepared("", lasting=True)
    assert prepared("", lasting=True)
    assert prepared("a", lasting=False)
    assert prepared("a", lasting=True)


def test_a_check_that_failed_is_repeated() -> None:
    assert prepared("a", name="gpt_neo")
    assert prepared("a", name="gpt_neo")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"choice": {"way": 1}, "cost": 3, "linears": []}'])
def test_an_unreadable_file_of_checks_is_replaced(content: str, tmp_path: Path) -> None:
    prepared("a")
    (file,) = (tmp_path / "cache" / "engine").iterdir()
    whole = file.read_text(encoding="utf-8")
    file.write_text(content, encoding="utf-8")
    assert prepared("a")
    assert json.loads(file.read_text(encoding="utf-8")).keys() == json.loads(whole).keys()
    assert prepared("a") == []


def test_replaced_layers_are_those_of_an_earlier_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "GAIN", 0.0)
    first, second = (Reader(shapes.made("llama"), lasting=True, fingerprint="a") for _ in range(2))
    assert first.choice() == second.choice()
    assert first.linears == second.linears
    assert not any(type(layer) is torch.nn.Linear for layer in second.model.modules())
    assert_equal(second, 0)


def test_out_of_memory_before_the_first_text_says_nothing_about_the_way() -> None:
    reader = Reader(tiny.llama())
    with full(reader), pytest.raises(MemoryError, match="a few short texts don't fit"):
        reader.choice()
    assert reader.choice().way == "packed"


def test_padded_prefixes_are_cached_too() -> None:
    model = shapes.made("gemma2")
    reader = Reader(model)
    assert reader.choice().way == "cached"
    kept = prefill(reader, TEXTS, keep=True).key_values
    for text, each in zip(TEXTS, kept, strict=True):
        cache: Any = DynamicCache()
        model(input_ids=torch.tensor([text]), use_cache=True, **as_cache(model, cache))
        for layer, (heads, of_key, of_value) in enumerate(each.shapes):
            keys, values = torch.zeros(heads, 60, of_key), torch.zeros(heads, 60, of_value)
            each.copy(layer, keys, values)
            assert (keys[:, : len(text)] - cache.layers[layer].keys[0]).abs().max() < 1e-4
            assert (values[:, : len(text)] - cache.layers[layer].values[0]).abs().max() < 1e-4


def test_choices_after_one_text_need_no_pass_of_their_own() -> None:
    reader = Reader(tiny.llama())
    reader.choice()
    read = passes(reader)
    list(reader.read([Wanted(TEXTS[0], len(TEXTS[0]) - 1)] * 4))
    assert read == [len(TEXTS[0])]


def test_the_model_is_left_with_its_own_attention() -> None:
    model = tiny.llama()
    own = model.config._attn_implementation
    prefill(Reader(model), TEXTS, keep=False)
    assert model.config._attn_implementation == own
