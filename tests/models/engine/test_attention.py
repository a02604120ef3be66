"""Slots hold the keys and values of rows of any length, which grow, leave and move without a trace."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from helmframe.models.engine import attention as module
from helmframe.models.engine.attention import STEP, Packed, Slots
from helmframe.models.engine.memory import Heads
from helmframe.models.engine.passes import read_packed
from helmframe.models.engine.planner import Step, build_block
from helmframe.models.engine.reading import Reader, Wanted
from tests.models import tiny

TEXTS = [[5, 6, 7], [5, 6, 9, 11, 13, 2, 4], [1], [8, 8, 8, 8]]


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def reader(request: pytest.FixtureRequest) -> Reader:
    return Reader(getattr(tiny, request.param)())


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def kept(reader: Reader, texts: list[list[int]]) -> list[Any]:
    found: dict[int, Any] = {}
    for part in reader.read([Wanted(text, len(text) - 1) for text in texts], keep=True):
        found.update(zip(part.indices, part.key_values, strict=True))
    return [found[place] for place in range(len(texts))]


def after(reader: Reader, start: list[int], ends: list[list[int]]) -> list[Any]:
    """The keys and values of texts, with those of the start once."""
    texts = [np.array([*start, *end]) for end in ends]
    step = Step(len(start), [[place] for place in range(len(texts))])
    wanted = [len(text) - 1 for text in texts]
    found = read_packed(reader.model, step, texts, wanted, Heads(0), keep=True)[2]
    return [found[place] for place in range(len(texts))]


def filled(reader: Reader, texts: list[list[int]], max_rows: int = 4) -> Slots:
    slots = Slots(reader.model, max_rows)
    for each in kept(reader, texts):
        slots.enter(each)
    return slots


def plainly(reader: Reader, texts: list[list[int]]) -> torch.Tensor:
    return torch.stack([reader.model(torch.tensor([text])).logits[0, -1] for text in texts])


def test_a_step_says_what_whole_texts_say(reader: Reader) -> None:
    slots = filled(reader, TEXTS)
    found = slots.step(torch.tensor([1, 2, 3, 4]))
    longer = [[*text, token] for text, token in zip(TEXTS, [1, 2, 3, 4], strict=True)]
    torch.testing.assert_close(found, plainly(reader, longer), rtol=1e-4, atol=1e-4)
    assert slots.lengths == [4, 8, 2, 5]


def test_rows_outgrow_their_room(reader: Reader) -> None:
    slots, texts = filled(reader, TEXTS), [list(text) for text in TEXTS]
    for token in range(1, STEP + 20):
        found = slots.step(torch.full((4,), token))
        texts = [[*text, token] for text in texts]
    torch.testing.assert_close(found, plainly(reader, texts), rtol=1e-4, atol=1e-4)
    assert slots.room >= max(map(len, texts))


def test_the_last_row_takes_the_place_of_one_that_leaves(reader: Reader) -> None:
    slots = filled(reader, TEXTS)
    slots.leave(1)
    slots.leave(2)
    found = slots.step(torch.tensor([1, 4]))
    torch.testing.assert_close(found, plainly(reader, [[5, 6, 7, 1], [8, 8, 8, 8, 4]]), rtol=1e-4, atol=1e-4)


def test_a_row_enters_where_a_longer_one_was(reader: Reader) -> None:
    slots = filled(reader, TEXTS[:2], max_rows=2)
    slots.step(torch.tensor([1, 2]))
    slots.leave(1)
    slots.enter(kept(reader, [[3, 3]])[0])
    found = slots.step(torch.tensor([4, 5]))
    torch.testing.assert_close(found, plainly(reader, [[5, 6, 7, 1, 4], [3, 3, 5]]), rtol=1e-4, atol=1e-4)


STARTS = [[1 + place % 7 for place in range(40)], [2 + place % 5 for place in range(36)], [9] * 33]
ENDS = [[5, 6, 7], [5, 8], [4]]
SHARING = [[*start, *end] for start in STARTS for end in ENDS]


@pytest.mark.parametrize(("most", "n_stored"), [(4, [3, 2, 1] * 3), (2, [3, 2, 1] * 2 + [36, 35, 34]), (0, None)])
def test_rows_share_long_starts(
    reader: Reader, monkeypatch: pytest.MonkeyPatch, most: int, n_stored: list[int] | None
) -> None:
    monkeypatch.setattr(module, "MOST_STARTS", most)
    key_values = [each for start in STARTS for each in after(reader, start, ENDS)]
    slots = Slots(reader.model, 10)
    for each in [*key_values, *kept(reader, [[3, 3]])]:
        slots.enter(each)
    texts = [*SHARING, [3, 3]]
    assert slots._n_stored == [*(n_stored or map(len, SHARING)), 2]
    for token in range(1, STEP + 4):
        found = slots.step(torch.full((len(slots),), token))
        texts = [[*text, token] for text in texts]
        torch.testing.assert_close(found, plainly(reader, texts), rtol=1e-4, atol=1e-4)
        if token in (2, 5, 6):  # rows leave, and the last one takes their place
            slots.leave(token - 2)
            texts[token - 2] = texts[-1]
            texts.pop()
    assert slots.lengths == [len(text) for text in texts]


def test_starts_of_one_length_in_other_memory_are_not_shared(reader: Reader) -> None:
    slots = Slots(reader.model, 4)
    for start in ([1] * 40, [2] * 40):
        for each in after(reader, start, [[5], [6, 7]]):
            slots.enter(each)
    found = slots.step(torch.tensor([3, 4, 5, 6]))
    texts = [[*[1] * 40, 5, 3], [*[1] * 40, 6, 7, 4], [*[2] * 40, 5, 5], [*[2] * 40, 6, 7, 6]]
    torch.testing.assert_close(found, plainly(reader, texts), rtol=1e-4, atol=1e-4)
    assert len(slots._groups) == 2


def test_room_is_made_at_once_where_it_is_little_more_than_needed(reader: Reader) -> None:
    near, far = Slots(reader.model, 2), Slots(reader.model, 2)
    (text,) = kept(reader, [[1] * 40])
    near.enter(text, room=70)
    far.enter(text, room=1000)
    assert (near.room, far.room) == (96, 96)  # not 1,000: it may end long before


def test_there_is_no_slot_beyond_the_last(reader: Reader) -> None:
    slots = filled(reader, TEXTS)
    with pytest.raises(MemoryError, match="all 4 slots are in use"):
        slots.enter(kept(reader, [[1]])[0])


def test_rows_that_need_more_than_is_free_are_refused(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = kept(reader, TEXTS)
    monkeypatch.setattr(module, "free", lambda _: 10_000.0)
    with pytest.raises(MemoryError, match="out of memory: 100 rows of 32 tokens need"):
        Slots(reader.model, 100).enter(texts[0])


def test_the_model_is_left_as_it_was(reader: Reader) -> None:
    before = reader.model.config._attn_implementation
    filled(reader, TEXTS).step(torch.tensor([1, 2, 3, 4]))
    assert reader.model.config._attn_implementation == before


@pytest.mark.serial
@pytest.mark.parametrize("length", [0, 64])
def test_tiles_take_no_longer_than_other_attention_by_far(length: int) -> None:
    """Where oneDNN gets memory in a layout that it does not know, it takes hundreds of times as long."""
    query, key, value, *head = (torch.randn(256, heads, 64).transpose(0, 1) for heads in (9, 3, 3, 3, 3))
    start = (head[0][:, :length], head[1][:, :length])
    packed = Packed([start] if length else (), length, [build_block([np.arange(256)], 0)], keep=False)
    seconds = {}
    for way in (module._tiled, module._cascade):
        module._seconds(way, packed, query[None], key[None], value[None])
        seconds[way] = min(module._seconds(way, packed, query[None], key[None], value[None]) for _ in range(3))
    assert seconds[module._tiled] < 10 * seconds[module._cascade]
