"""Rows answered in slots get what each would get alone, whatever comes and goes beside it."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from packaging.version import Version

from helmframe.models import Completion
from helmframe.models.engine import attention, decode
from helmframe.models.engine.decode import LENGTHS, Decoder, PlainDecoder
from helmframe.models.engine.reading import Reader
from helmframe.models.engine.sampling import Request, key_of
from helmframe.models.local_model import BATCH
from tests.models import tiny
from tests.models.engine.shapes import made

# until then its attention was inside, where slots can't reach it, and it is padded
GPTJ = ("gptj",) if Version(transformers.__version__) >= Version("5.24") else ()
# Of every kind of attention that slots hold: shared keys, rotated or learned or shifted positions, experts, two sizes.
KINDS = (
    *("llama", "gpt2", "gpt_neox", "gpt_bigcode", *GPTJ, "opt", "qwen2", "qwen3", "gemma", "phi", "phi3", "olmo2"),
    *("stablelm", "mixtral", "cohere", "granite", "smollm3", "deepseek_v3"),
)
PROMPTS = [*("a", "Who? ", "The quick brown fox.", "0123456789 0123456789"), *(f"Q{each}" * 4 for each in range(6))]
TOKENIZER = tiny.tokenizer()


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny.llama()


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def requests(limits: Sequence[int], texts: Sequence[str] = PROMPTS, seed: int | None = None) -> list[Request]:
    return [
        Request(TOKENIZER(text)["input_ids"], limit, key_of(seed, text))
        for text, limit in zip(texts, limits, strict=True)
    ]


@functools.cache
def reader_of(model: Any) -> Reader:
    """A reader that has checked the model."""
    found = Reader(model)
    with torch.no_grad():
        assert found.choice().way == "packed"
    return found


def answered(model: Any, asked: Sequence[Request], **decoding: Any) -> list[Completion]:
    found = dict(Decoder(reader_of(model), TOKENIZER).complete(asked, decoding))
    assert sorted(found) == list(range(len(asked)))
    return [found[place] for place in range(len(asked))]  # type: ignore[misc]


def by_hand(model: Any, request: Request) -> tuple[str, list[float], str]:
    """Greedy, one row, without caches: text, log-probabilities and why it ends."""
    outputs: list[int] = []
    logprobs: list[float] = []
    while len(outputs) < request.limit:
        scores = torch.log_softmax(model(torch.tensor([[*request.tokens, *outputs]])).logits[0, -1], dim=-1)
        best = int(scores.argmax())
        if best == 0:
            return TOKENIZER.decode(outputs), logprobs, "stop"
        outputs.append(best)
        logprobs.append(float(scores[best]))
    return TOKENIZER.decode(outputs), logprobs, "length"


@pytest.mark.parametrize("kind", KINDS)
def test_every_architecture_answers_in_slots_as_by_hand(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "MAX_ROWS", {"cpu": 4})
    model, asked = made(kind), requests([1 + 2 * (place % 5) for place in range(len(PROMPTS))])
    for request, answer in zip(asked, answered(model, asked), strict=True):
        text, logprobs, reason = by_hand(model, request)
        assert (answer.text, answer.finish_reason) == (text, reason)
        assert answer.token_logprobs == pytest.approx(logprobs, abs=1e-4)
        assert answer.logprob == pytest.approx(sum(logprobs), abs=1e-3)
        assert (answer.prompt_tokens, answer.output_tokens) == (len(request.tokens), len(logprobs))


@pytest.mark.parametrize("kind", KINDS)
def test_every_architecture_shares_starts_in_slots(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, asked = made(kind), requests([9] * 6, [f"All prompts begin alike, {place}?" for place in range(6)])
    reader, calls, own = reader_of(model), [], attention._with_starts

    def with_starts(*given: Any) -> Any:
        calls.append(len(given[0]))
        return own(*given)

    monkeypatch.setattr(attention, "_with_starts", with_starts)
    monkeypatch.setattr(attention, "SHORTEST_START", 8)
    # a pass costs nothing and has few tokens, so the start is read once, before the prompts
    monkeypatch.setattr(reader, "_cost", None)
    monkeypatch.setattr(reader, "tokens", 16)
    for request, answer in zip(asked, answered(model, asked), strict=True):
        text, logprobs, _ = by_hand(model, request)
        assert answer.text == text
        assert answer.token_logprobs == pytest.approx(logprobs, abs=1e-4)
    # its keys and values differ in size
    assert (kind == "deepseek_v3") != (6 in calls)


@pytest.mark.parametrize("rows", [1, 3, 64])
def test_answers_do_not_depend_on_how_many_rows_there_are(
    model: Any, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = requests([3 + 7 * (place % 3) for place in range(len(PROMPTS))])
    expected = answered(model, asked)
    monkeypatch.setattr(decode, "MAX_ROWS", {"cpu": rows})
    assert [each.text for each in answered(model, asked)] == [each.text for each in expected]


def test_samples_do_not_depend_on_how_many_rows_there_are(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = requests([12] * 32, [f"{place}?" for place in range(32)], seed=1)
    alone = [answered(model, [each], temperature=1.0)[0].text for each in asked]
    for rows in (4, 8, 32):
        monkeypatch.setattr(decode, "MAX_ROWS", {"cpu": rows})
        same = [one.text == other for one, other in zip(answered(model, asked, temperature=1.0), alone, strict=True)]
        assert sum(same) >= 31  # 95 %
    assert len(set(alone)) > 20


def test_short_answers_come_first(model: Any) -> None:
    places = [
        place for place, _ in Decoder(reader_of(model), TOKENIZER).complete(requests([9, 1, 5], PROMPTS[1:4]), {})
    ]
    assert places == [1, 2, 0]


def test_free_slots_are_filled_while_others_go_on(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "MAX_ROWS", {"cpu": 2})
    widths: list[int] = []
    own = model.forward

    def forward(**given: Any) -> Any:
        if given["input_ids"].shape[1] == 1:
            widths.append(len(given["input_ids"]))
        return own(**given)

    model.forward = forward
    try:
        answered(model, requests([12, 4, 4, 4], PROMPTS[:4]))
    finally:
        del model.forward
    # the longest takes eleven steps, the others three each beside it, one after the other
    assert widths.count(2) == 9
    assert len(widths) == 11


def passes(model: Any, asked: Sequence[Request], **decoding: Any) -> list[tuple[int, ...]]:
    """The shapes of what the model is given once it is known."""
    reader = reader_of(model)
    shapes: list[tuple[int, ...]] = []
    own = model.forward

    def forward(**given: Any) -> Any:
        shapes.append(tuple(given["input_ids"].shape))
        return own(**given)

    model.forward = forward
    try:
        list(Decoder(reader, TOKENIZER).complete(asked, decoding))
    finally:
        del model.forward
    return shapes


def test_samples_of_one_prompt_read_it_once(model: Any) -> None:
    tokens = requests([5], ["The quick brown fox."])[0].tokens
    asked = [Request(tokens, 5, key_of(seed, "fox")) for seed in range(6)]
    assert passes(model, asked, temperature=1.0)[0] == (1, len(tokens))
    assert len({each.text for each in answered(model, asked, temperature=5.0)}) > 1


def test_equal_greedy_requests_run_once(model: Any) -> None:
    twice = requests([5] * 4, ["fox", "dog", "fox", "fox"])
    assert max(rows for rows, _ in passes(model, twice)) == 2
    found = answered(model, twice)
    assert found[0] == found[2] == found[3] != found[1]


def test_one_token_is_what_reading_gives(model: Any) -> None:
    shapes = passes(model, requests([1] * len(PROMPTS)))
    assert all(rows == 1 for rows, _ in shapes)
    assert sum(width for _, width in shapes) <= sum(len(each.tokens) for each in requests([1] * len(PROMPTS)))


def test_a_stop_string_ends_its_row_only(model: Any) -> None:
    asked = requests([20] * len(PROMPTS))
    plain = [each.text for each in answered(model, asked)]
    stop = plain[1][2:4]
    found = answered(model, asked, stop=[stop])
    assert [each.text for each in found] == [
        each[: each.index(stop) + len(stop)] if stop in each else each for each in plain
    ]
    assert (found[1].finish_reason, found[1].output_tokens) == ("stop", len(found[1].text))
    own = answered(model, asked)[1].token_logprobs or ()
    before = own[: plain[1].index(stop)]
    assert found[1].token_logprobs == (pytest.approx(before, abs=1e-5) if before else None)


class Memory:
    """Holds no pass of more rows, or more tokens of a row, than that."""

    def __init__(self, model: Any, rows: int, tokens: int) -> None:
        self.model, self.rows, self.tokens = model, rows, tokens

    def __enter__(self) -> None:
        own = self.model.forward

        def forward(**given: Any) -> Any:
            rows, tokens = given["input_ids"].shape
            if rows > self.rows or tokens > self.tokens:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
            return own(**given)

        self.model.forward = forward

    def __exit__(self, *_: object) -> None:
        del self.model.forward


def test_out_of_memory_what_prompts_share_is_let_go_before_rows_are_fewer() -> None:
    reader = Reader(tiny.llama())
    reader.choice()
    reader.tokens, reader._cost = 16, None
    model, asked = reader.model, requests([5] * 6, [f"The quick brown fox {each}" for each in range(6)])
    expected = [by_hand(model, each)[0] for each in asked]
    own, rows = model.forward, []

    def forward(**given: Any) -> Any:
        if given["input_ids"].shape[1] == 1:
            rows.append(len(given["input_ids"]))
            if len(rows) == 2:
                assert reader._heads.n_cached(np.array(asked[0].tokens), 20)
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
        return own(**given)

    model.forward = forward
    found = dict(Decoder(reader, TOKENIZER).complete(asked, {}))
    assert [found[place].text for place in range(6)] == expected  # type: ignore[union-attr]
    assert max(rows[2:]) == 6


def test_a_call_has_twice_as_many_prompts_as_there_are_slots() -> None:
    assert {device: 2 * rows <= BATCH[device] for device, rows in decode.MAX_ROWS.items()} == dict.fromkeys(BATCH, True)


@pytest.mark.parametrize("decoding", [{}, {"temperature": 1.0}], ids=["greedy", "sampled"])
def test_out_of_memory_fewer_rows_go_on_from_where_they_were(model: Any, decoding: dict[str, Any]) -> None:
    asked = requests([5 + place for place in range(len(PROMPTS))], seed=1)
    expected = answered(model, asked, **decoding)
    reader = reader_of(model)
    with Memory(model, rows=3, tokens=64):
        found = dict(Decoder(reader, TOKENIZER).complete(asked, decoding))
    assert [found[place].text for place in range(len(asked))] == [each.text for each in expected]  # type: ignore[union-attr]


def test_slots_that_would_not_fit_are_fewer(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = requests([40] * len(PROMPTS))
    expected = [each.text for each in answered(model, asked)]
    monkeypatch.setattr("helmframe.models.engine.attention.free", lambda _: 200_000.0)  # of 256 bytes a token and row
    assert [each.text for each in answered(model, asked)] == expected


def test_a_row_that_alone_does_not_fit_is_an_error_in_its_place(model: Any) -> None:
    reader = reader_of(model)
    asked = requests([5, 5, 5], ["a", "long enough to be too long", "b"])
    with Memory(model, rows=1, tokens=9):
        found = dict(Decoder(reader, TOKENIZER).complete(asked, {}))
    assert [type(found[place]) for place in range(3)] == [Completion, MemoryError, Completion]
    assert "26 tokens doesn't fit into memory" in str(found[1])


def test_another_error_is_raised(model: Any) -> None:
    def broken(**_: Any) -> None:
        raise RuntimeError("a kernel is missing")

    reader = reader_of(model)
    model.forward = broken
    try:
        with pytest.raises(RuntimeError, match="a kernel is missing"):
            list(Decoder(reader, TOKENIZER).complete(requests([5], ["a"]), {}))
    finally:
        del model.forward


TEXTS = ["a", "Who? ", "The quick brown fox.", "0123456789 0123456789", "dogs!"]
LIMITS = [3, 9, 9, 9, 9]


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def plain_model(request: pytest.FixtureRequest) -> Any:
    return getattr(tiny, request.param)()


def asked() -> list[Request]:
    tokenizer = tiny.tokenizer()
    return [
        Request(tokenizer(text)["input_ids"], limit, key_of(1, text)) for text, limit in zip(TEXTS, LIMITS, strict=True)
    ]


def answers(found: Iterator[tuple[int, Completion | MemoryError]]) -> list[Any]:
    by_place = dict(found)
    return [by_place[place] for place in range(len(TEXTS))]


def in_slots(model: Any, **decoding: Any) -> list[Any]:
    return answers(Decoder(Reader(model), tiny.tokenizer()).complete(asked(), decoding))


def plainly(model: Any, *, padded: bool = True, **decoding: Any) -> list[Any]:
    return answers(PlainDecoder(Reader(model), tiny.tokenizer()).complete(asked(), decoding, padded=padded))


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("decoding", [{}, {"temperature": 1.0}, {"stop": ["e", "7", "q"]}])
def test_answers_are_those_of_slots(plain_model: Any, padded: bool, decoding: dict[str, Any]) -> None:
    for one, other in zip(
        plainly(plain_model, padded=padded, **decoding), in_slots(plain_model, **decoding), strict=True
    ):
        assert one._replace(logprob=None, token_logprobs=None) == other._replace(logprob=None, token_logprobs=None)
        assert one.token_logprobs == pytest.approx(other.token_logprobs, abs=1e-4)


def test_without_padding_rows_of_equal_length_share_a_batch(plain_model: Any) -> None:
    decoder = PlainDecoder(Reader(plain_model), tiny.tokenizer())
    list(decoder.complete(asked(), {}, padded=False))
    shapes: list[tuple[int, ...]] = []
    own = plain_model.generate

    def generate(**given: Any) -> Any:
        shapes.append(tuple(given["input_ids"].shape))
        assert bool(given["attention_mask"].all())
        return own(**given)

    plain_model.generate = generate
    try:
        list(decoder.complete(asked(), {}, padded=False))
    finally:
        del plain_model.generate
    assert shapes == [(1, 21), (1, 20), (2, 5), (1, 1)]


def test_a_model_that_mixes_rows_runs_one_at_a_time(caplog: pytest.LogCaptureFixture) -> None:
    model = made("rwkv")  # transformers' own gives rows the state of others
    decoder = PlainDecoder(Reader(model), tiny.tokenizer())
    together = answers(decoder.complete(asked(), {}, padded=False))
    alone = [dict(decoder.complete([each], {}, padded=False))[0] for each in asked()]
    assert together == alone
    assert "RwkvForCausalLM generates other completions for several prompts in a batch than alone" in caplog.text


def reads(decoder: PlainDecoder, asked: list[Request], **decoding: Any) -> tuple[list[Any], list[tuple[int, ...]]]:
    """Answers, and the shapes of the passes."""
    own, found = decoder.model.forward, []

    @functools.wraps(own)  # `generate` looks at what it takes
    def forward(**given: Any) -> Any:
        found.append(tuple(given["input_ids"].shape))
        return own(**given)

    decoder.model.forward = forward
    try:
        by_place = dict(decoder.complete(asked, decoding, padded=True))
    finally:
        del decoder.model.forward
    return [by_place[place] for place in range(len(asked))], found


@pytest.mark.parametrize("name", ["gemma2", "gpt_oss", "bloom", "mpt", "falcon, alibi"])
def test_what_prompts_share_is_read_once_and_answers_are_those_of_each_alone(name: str) -> None:
    decoder = PlainDecoder(Reader(made(name)), tiny.tokenizer())
    assert decoder.reader.choice().way == "cached"
    shots = tiny.tokenizer()("Question: one. Answer: A. " * 2)["input_ids"]
    asked = [Request([*shots, place + 1, *[7] * (place % 4), 3], 4) for place in range(10)]
    alone: list[Any] = [dict(decoder.complete([each], {}, padded=True))[0] for each in asked]
    decoder._is_batchable(padded=True)
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
    decoder._is_batchable(padded=True)
    prompt = tiny.tokenizer()("The quick brown fox jumps over the lazy dog.")["input_ids"]
    found, shapes = reads(decoder, [Request(prompt, 3, key_of(seed, "")) for seed in range(8)], temperature=2.0)
    assert shapes == [(1, len(prompt) - 1), (8, 1), (8, 1), (8, 1)]
    assert len({each.text for each in found}) > 1


def test_rows_that_have_ended_are_not_gone_on_with(plain_model: Any) -> None:
    plain = plainly(plain_model)
    stop = plain[0].text[0]
    for row, answer in zip(plain, plainly(plain_model, stop=[stop]), strict=True):
        assert answer.text == (row.text[: row.text.index(stop) + 1] if stop in row.text else row.text)
        assert answer.output_tokens == len(answer.text)


def test_out_of_memory_halves_the_batch(plain_model: Any) -> None:
    plain, own = plainly(plain_model), plain_model.generate

    def small(**given: Any) -> Any:
        if len(given["input_ids"]) > 1 and given["input_ids"].shape[1] != LENGTHS[0]:
            given["generation_config"].max_new_tokens = 1
            own(**given)
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
        return own(**given)

    plain_model.generate = small
    try:
        found = plainly(plain_model)
    finally:
        del plain_model.generate
    assert [each.text for each in found] == [each.text for each in plain]


def test_a_prompt_that_alone_does_not_fit_the_memory_is_an_error_of_its_row(plain_model: Any) -> None:
    own = plain_model.generate

    def full(**given: Any) -> Any:
        if given["input_ids"].shape[1] not in LENGTHS:  # those of the trial
            raise torch.OutOfMemoryError("CUDA out of memory")
        return own(**given)

    plain_model.generate = full
    try:
        found = plainly(plain_model)
    finally:
        del plain_model.generate
    assert all(isinstance(each, MemoryError) for each in found)
    assert len(found) == 5
