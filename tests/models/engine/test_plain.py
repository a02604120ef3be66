"""What slots can't hold is answered by transformers' own loop, and gets the same."""

import functools
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from helmframe.models import Completion
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


def answers(found: Iterator[tuple[int, Completion | MemoryError]]) -> list[Any]:
    by_place = dict(found)
    return [by_place[place] for place in range(len(TEXTS))]


def in_slots(model: Any, **decoding: Any) -> list[Any]:
    return answers(Decoder(Reader(model), tiny.tokenizer()).answers(asked(), decoding))


def plainly(model: Any, *, padded: bool = True, **decoding: Any) -> list[Any]:
    return answers(PlainDecoder(Reader(model), tiny.tokenizer()).answers(asked(), decoding, padded=padded))


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("decoding", [{}, {"temperature": 1.0}, {"stop": ["e", "7", "q"]}])
def test_answers_are_those_of_slots(model: Any, padded: bool, decoding: dict[str, Any]) -> None:
    for one, other in zip(plainly(model, padded=padded, **decoding), in_slots(model, **decoding), strict=True):
        assert one._replace(logprob=None, token_logprobs=None) == other._replace(logprob=None, token_logprobs=None)
        assert one.token_logprobs == pytest.approx(other.token_logprobs, abs=1e-4)


def test_without_padding_rows_of_one_length_are_asked_together(model: Any) -> None:
    decoder = PlainDecoder(Reader(model), tiny.tokenizer())
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


def test_a_model_that_mixes_rows_up_is_asked_one_at_a_time(caplog: pytest.LogCaptureFixture) -> None:
    model = made("rwkv")  # transformers' own gives rows the state of others
    decoder = PlainDecoder(Reader(model), tiny.tokenizer())
    together = answers(decoder.answers(asked(), {}, padded=False))
    alone = [dict(decoder.answers([each], {}, padded=False))[0] for each in asked()]
    assert together == alone
    assert "RwkvForCausalLM answers several prompts otherwise together than alone" in caplog.text


def reads(decoder: PlainDecoder, asked: list[Request], **decoding: Any) -> tuple[list[Any], list[tuple[int, ...]]]:
    """Answers, and the shapes of the passes."""
    own, found = decoder.model.forward, []

    @functools.wraps(own)  # `generate` looks at what it takes
    def forward(**given: Any) -> Any:
        found.append(tuple(given["input_ids"].shape))
        return own(**given)

    decoder.model.forward = forward
    try:
        by_place = dict(decoder.answers(asked, decoding, padded=True))
    finally:
        del decoder.model.forward
    return [by_place[place] for place in range(len(asked))], found


@pytest.mark.parametrize("name", ["gemma2", "gpt_oss", "bloom", "mpt", "falcon, alibi"])
def test_what_prompts_share_is_read_once_and_answers_are_those_of_each_alone(name: str) -> None:
    decoder = PlainDecoder(Reader(made(name)), tiny.tokenizer())
    assert decoder.reader.choice().way == "cached"
    shots = tiny.tokenizer()("Question: one. Completion: A. " * 2)["input_ids"]
    asked = [Request([*shots, place + 1, *[7] * (place % 4), 3], 4) for place in range(10)]
    alone: list[Any] = [dict(decoder.answers([each], {}, padded=True))[0] for each in asked]
    decoder._may_be_together(padded=True)
    decoder.reader._cost = None
    together, shapes = reads(decoder, asked)
    for one, other in zip(together, alone, strict=True):
        assert one.text == other.text
        assert one.token_logprobs == pytest.approx(other.token_logprobs, abs=1e-4)
    tokens = sum(rows * width for rows, width in shapes)
    # the shots once, the rest of each padded, and a row for each token of the answers
    assert tokens <= len(shots) + 10 * 4 + 10 * 4


def test_samples_of_one_prompt_share_its_reading() -> None:
    decoder = PlainDecoder(Reader(made("gemma2")), tiny.tokenizer())
    decoder.reader.choice()
    decoder._may_be_together(padded=True)
    prompt = tiny.tokenizer()("The quick brown fox jumps over the lazy dog.")["input_ids"]
    found, shapes = reads(decoder, [Request(prompt, 3, key_of(seed, "")) for seed in range(8)], temperature=2.0)
    assert shapes == [(1, len(prompt) - 1), (8, 1), (8, 1), (8, 1)]
    assert len({each.text for each in found}) > 1


def test_rows_that_have_ended_are_not_gone_on_with(model: Any) -> None:
    plain = plainly(model)
    stop = plain[0].text[0]
    for row, answer in zip(plain, plainly(model, stop=[stop]), strict=True):
        assert answer.text == (row.text[: row.text.index(stop) + 1] if stop in row.text else row.text)
        assert answer.output_tokens == len(answer.text)


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
