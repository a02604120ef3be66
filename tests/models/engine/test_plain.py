"""What slots can't hold is answered by transformers' own loop, and gets the same."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from helmframe.models import Answer
from helmframe.models.engine.decode import Decoder
from helmframe.models.engine.plain import LENGTHS, PlainDecoder
from helmframe.models.engine.reading import Reader
from helmframe.models.engine.rows import Request
from helmframe.models.engine.sampling import key_of
from tests.models import tiny
from tests.models.engine.shapes import made

TEXTS = ["a", "Who? ", "The quick brown fox.", "0123456789 0123456789", "dogs!"]
LIMITS = [3, 9, 9, 9, 9]


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def model(request: pytest.FixtureRequest) -> Any:
    return getattr(tiny, request.param)()


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def asked() -> list[Request]:
    tokenizer = tiny.tokenizer()
    return [
        Request(tokenizer(text)["input_ids"], limit, key_of(1, text)) for text, limit in zip(TEXTS, LIMITS, strict=True)
    ]


def answers(found: Iterator[tuple[int, Answer | MemoryError]]) -> list[Any]:
    by_place = dict(found)
    return [by_place[place] for place in range(len(TEXTS))]


def in_slots(model: Any, **decoding: Any) -> list[Any]:
    return answers(Decoder(Reader(model), tiny.tokenizer()).answers(asked(), decoding))


def plainly(model: Any, *, padded: bool = True, **decoding: Any) -> list[Any]:
    return answers(PlainDecoder(model, tiny.tokenizer()).answers(asked(), decoding, padded=padded))


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("decoding", [{}, {"temperature": 1.0}, {"stop": ["e", "7", "q"]}])
def test_answers_are_those_of_slots(model: Any, padded: bool, decoding: dict[str, Any]) -> None:
    for one, other in zip(plainly(model, padded=padded, **decoding), in_slots(model, **decoding), strict=True):
        assert one._replace(logprob=None, token_logprobs=None) == other._replace(logprob=None, token_logprobs=None)
        assert one.token_logprobs == pytest.approx(other.token_logprobs, abs=1e-4)


def test_without_padding_rows_of_one_length_are_asked_together(model: Any) -> None:
    decoder = PlainDecoder(model, tiny.tokenizer())
    list(decoder.answers(asked(), {}, padded=False))
    shapes: list[tuple[int, ...]] = []
    own = model.generate

    def generate(**given: Any) -> Any:
        shapes.append(tuple(given["input_ids"].shape))
        assert bool(given["attention_mask"].all())
        return own(**given)

    model.generate = generate
    try:
        list(decoder.answers(asked(), {}, padded=False))
    finally:
        del model.generate
    assert shapes == [(1, 21), (1, 20), (2, 5), (1, 1)]


@pytest.mark.parametrize("padded", [False, True])
def test_a_model_that_mixes_rows_up_is_asked_one_at_a_time(padded: bool, caplog: pytest.LogCaptureFixture) -> None:
    model = made("rwkv")  # transformers' own gives rows the state of others
    decoder = PlainDecoder(model, tiny.tokenizer())
    together = answers(decoder.answers(asked(), {}, padded=padded))
    alone = [dict(decoder.answers([each], {}, padded=padded))[0] for each in asked()]
    assert together == alone
    assert "RwkvForCausalLM answers several prompts otherwise together than alone" in caplog.text


def test_rows_that_have_ended_are_not_gone_on_with(model: Any) -> None:
    plain = plainly(model)
    stop = plain[0].text[0]
    for row, answer in zip(plain, plainly(model, stop=[stop]), strict=True):
        assert answer.text == (row.text[: row.text.index(stop) + 1] if stop in row.text else row.text)
        assert answer.output_tokens == len(answer.text) == len(answer.token_logprobs or ())


def test_out_of_memory_halves_the_batch(model: Any) -> None:
    plain, own = plainly(model), model.generate

    def small(**given: Any) -> Any:
        if len(given["input_ids"]) > 1 and given["input_ids"].shape[1] != LENGTHS[0]:
            given["generation_config"].max_new_tokens = 1
            own(**given)
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
        return own(**given)

    model.generate = small
    try:
        found = plainly(model)
    finally:
        del model.generate
    assert [each.text for each in found] == [each.text for each in plain]


def test_a_prompt_that_alone_does_not_fit_the_memory_is_an_error_of_its_row(model: Any) -> None:
    own = model.generate

    def full(**given: Any) -> Any:
        if given["input_ids"].shape[1] not in LENGTHS:  # those of the trial
            raise torch.OutOfMemoryError("CUDA out of memory")
        return own(**given)

    model.generate = full
    try:
        found = plainly(model)
    finally:
        del model.generate
    assert all(isinstance(each, MemoryError) for each in found)
    assert len(found) == 5
