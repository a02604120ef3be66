"""A loaded model answers greedily, whatever the batch, and says how likely it thought its answer."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

import helmframe as hf
from helmframe._core.json_schema import schema_problem, schema_text
from helmframe.errors import CapabilityError
from helmframe.models.encoder_decoder import EncoderDecoder
from helmframe.models.engine import Engine, sampling
from helmframe.models.engine.choice import Choice, Way
from helmframe.models.engine.reading import Reader
from helmframe.models.local_model import from_pair, local
from helmframe.models.model import Completion, Pair
from helmframe.models.tokenizing import Tokenizing
from tests.models import tiny
from tests.models.tiny import gpt2, gpt2_folder, llama, saved, tokenizer

SHOTS = "Question: one. Completion: A\n" * 3
PROMPTS = [f"{SHOTS}Question: {'x' * (number % 7)}{number}? Answer:" for number in range(12)]
UNLIKE = ["a", "Who? ", "The quick brown fox.", "0123456789 0123456789"]


def made(model: Any, window: int | None = 128, tokenizer: Any = None) -> Engine:
    return Engine(model, Tokenizing(lambda: tokenizer or tiny.tokenizer(), 0), window)


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def engine(request: pytest.FixtureRequest) -> Engine:
    return made(getattr(tiny, request.param)())


def answered(engine: Engine, prompts: list[str], **decoding: Any) -> list[Completion]:
    found = engine.generate(prompts, decoding)
    assert all(isinstance(each, Completion) for each in found)
    return found  # type: ignore[return-value]


def by_hand(engine: Engine, prompt: str, limit: int) -> tuple[list[int], list[float]]:
    """Greedy without batches, caches and `generate`."""
    ids, logprobs = engine.words.tokens([prompt])[0], []
    outputs: list[int] = []
    for _ in range(limit):
        with torch.no_grad():
            scores = torch.log_softmax(engine.model(torch.tensor([ids + outputs])).logits[0, -1], dim=-1)
        best = int(scores.argmax())
        if best == 0:
            break
        outputs.append(best)
        logprobs.append(float(scores[best]))
    return outputs, logprobs


@pytest.mark.parametrize("prompts", [PROMPTS, UNLIKE], ids=["alike", "unlike"])
def test_a_batch_answers_as_each_prompt_alone_by_hand(engine: Engine, prompts: list[str]) -> None:
    for prompt, answer in zip(prompts, answered(engine, prompts, max_tokens=6), strict=True):
        outputs, logprobs = by_hand(engine, prompt, 6)
        assert answer.text == engine.words.tokenizer.decode(outputs)
        assert answer.token_logprobs == pytest.approx(logprobs, abs=1e-4)
        assert answer.logprob == pytest.approx(sum(logprobs), abs=1e-3)


@contextmanager
def counted(engine: Engine) -> Iterator[list[int]]:
    """The tokens of each forward pass."""
    own, found = engine.model.forward, []

    def forward(**given: Any) -> Any:
        found.append(given["input_ids"].numel())
        return own(**given)

    engine.model.forward = forward
    try:
        yield found
    finally:
        del engine.model.forward


def test_what_prompts_share_is_computed_once(engine: Engine) -> None:
    answered(engine, PROMPTS, max_tokens=1)
    assert engine.reader.choice().way == "packed"
    with counted(engine) as passes:
        answered(engine, PROMPTS, max_tokens=1)
    different = {tuple(tokens[: place + 1]) for tokens in engine.words.tokens(PROMPTS) for place in range(len(tokens))}
    assert sum(passes) == len(different)


def test_a_hook_on_the_model_sees_whole_prompts(engine: Engine) -> None:
    plain = answered(engine, PROMPTS, max_tokens=2)
    seen: list[int] = []
    handle = engine.model.register_forward_hook(
        lambda _, __, given, ___: seen.append(given["input_ids"].shape[1]), with_kwargs=True
    )
    try:
        hooked = answered(engine, PROMPTS, max_tokens=1)
        assert engine.reader.choice().way == "plain"
    finally:
        handle.remove()
    assert [each.text for each in hooked] == [each.text[:1] for each in plain]
    assert set(seen) == {len(each) for each in engine.words.tokens(PROMPTS)}


def test_sampling_defaults_of_the_model_are_out_of_force() -> None:
    engine = made(tiny.llama())
    plain = answered(engine, UNLIKE, max_tokens=20)
    own = engine.model.generation_config
    own.update(do_sample=True, temperature=5.0, repetition_penalty=3.0, no_repeat_ngram_size=2)
    assert answered(engine, UNLIKE, max_tokens=20, temperature=0) == plain
    assert (engine.model.generation_config is own, own.repetition_penalty) == (True, 3.0)


def test_a_model_in_training_is_asked_in_evaluation_mode_and_left_in_training() -> None:
    engine = made(tiny.gpt2())
    plain = answered(engine, UNLIKE, max_tokens=5)
    engine.model.train()
    engine.model.lm_head.eval()
    assert answered(engine, UNLIKE, max_tokens=5) == plain
    assert (engine.model.training, engine.model.lm_head.training) == (True, False)


def test_the_same_seed_draws_the_same_in_any_batch(engine: Engine) -> None:
    together = answered(engine, UNLIKE, max_tokens=5, temperature=1.0, seed=1)
    alone = [answered(engine, [prompt], max_tokens=5, temperature=1.0, seed=1)[0] for prompt in UNLIKE]
    other = answered(engine, UNLIKE, max_tokens=5, temperature=1.0, seed=2)
    assert [each.text for each in together] == [each.text for each in alone]
    assert [each.text for each in together] != [each.text for each in other]


def test_without_a_seed_each_call_draws_anew(engine: Engine) -> None:
    found = {answered(engine, ["a"], max_tokens=8, temperature=5.0)[0].text for _ in range(5)}
    assert len(found) > 1


@pytest.mark.parametrize("said", [{"top_k": 1}, {"top_p": 1e-9}])
def test_only_the_likeliest_is_drawn_from_one(engine: Engine, said: dict[str, Any]) -> None:
    greedy = answered(engine, UNLIKE, max_tokens=5)
    drawn = answered(engine, UNLIKE, max_tokens=5, temperature=3.0, seed=1, **said)
    assert [each.text for each in drawn] == [each.text for each in greedy]


def test_an_answer_ends_at_a_stop_string(engine: Engine) -> None:
    whole = answered(engine, ["Who? "], max_tokens=20)[0].text
    stop = whole[3]
    answer = answered(engine, ["Who? "], max_tokens=20, stop=[stop])[0]
    assert (answer.text, answer.finish_reason) == (whole[: whole.index(stop) + 1], "stop")
    assert answer.output_tokens == len(answer.text)


def test_a_row_that_ends_early_does_not_change_the_others(engine: Engine) -> None:
    plain = answered(engine, UNLIKE, max_tokens=20)
    stop = plain[0].text[0]
    stopped = answered(engine, UNLIKE, max_tokens=20, stop=[stop])
    expected = [each.text[: each.text.index(stop) + 1] if stop in each.text else each.text for each in plain]
    assert [each.text for each in stopped] == expected


def test_the_end_of_text_token_ends_an_answer_and_is_no_part_of_it() -> None:
    engine = made(tiny.gpt2())
    whole = answered(engine, ["a"], max_tokens=8)[0]
    third = engine.words.tokens([whole.text])[0][2]
    engine.model.generation_config.eos_token_id = [third]
    answer = answered(engine, ["a"], max_tokens=8)[0]
    assert answer.text == whole.text[: whole.text.index(whole.text[2])]
    assert (answer.finish_reason, whole.finish_reason) == ("stop", "length")


def test_tokens_are_counted(engine: Engine) -> None:
    answer = answered(engine, ["abc"], max_tokens=4)[0]
    assert (answer.prompt_tokens, answer.output_tokens, engine.words.count_tokens(["abc", "a"])) == (3, 4, [3, 1])


def test_a_prompt_longer_than_the_window_is_an_error_of_its_row(engine: Engine) -> None:
    long, short = engine.generate(["x" * 128, "x"], {"max_tokens": 3})
    assert isinstance(long, ValueError)
    assert "128 tokens; the model's window is 128" in str(long)
    assert isinstance(short, Completion)


def test_an_answer_ends_with_the_window(engine: Engine) -> None:
    first, second = answered(engine, ["x" * 126, "x"], max_tokens=5)
    assert (first.output_tokens, first.finish_reason, second.output_tokens) == (2, "length", 5)


def test_an_empty_prompt_is_answered(engine: Engine) -> None:
    assert answered(engine, [""], max_tokens=2)[0].prompt_tokens == 1


def test_no_tokens_asked_are_an_empty_answer(engine: Engine) -> None:
    answer = answered(engine, ["abc"], max_tokens=0)[0]
    assert (answer.text, answer.prompt_tokens, answer.output_tokens) == ("", 3, 0)


def test_no_prompts_are_no_answers(engine: Engine) -> None:
    assert engine.generate([], {}) == []


@pytest.mark.parametrize("lasting", [True, False])
def test_what_prompts_share_is_kept_from_call_to_call_where_nobody_else_has_the_model(lasting: bool) -> None:
    engine = Engine(tiny.llama(), Tokenizing(tiny.tokenizer, 0), 128, lasting=lasting)
    answered(engine, PROMPTS[:1], max_tokens=1)
    engine.reader.tokens, engine.reader._cost = 32, None
    read = []
    for _ in range(2):
        with counted(engine) as passes:
            answered(engine, PROMPTS, max_tokens=1)
        read.append(sum(passes))
    assert (read[1] < read[0] - len(SHOTS)) == lasting


@contextmanager
def small(engine: Engine, rows: int, tokens: int) -> Iterator[None]:
    """A memory that holds no passes larger than that."""
    own, tokens_before = engine.model.forward, engine.reader.tokens

    def forward(**given: Any) -> Any:
        shape = given["input_ids"].shape
        if shape[0] > rows or shape[1] > tokens:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
        return own(**given)

    engine.model.forward = forward
    try:
        yield
    finally:
        del engine.model.forward
        engine.reader.tokens = tokens_before


def test_out_of_memory_makes_passes_smaller(engine: Engine) -> None:
    plain = answered(engine, UNLIKE, max_tokens=3)
    assert engine.reader.choice().way == "packed"
    with small(engine, rows=2, tokens=24):
        found = answered(engine, UNLIKE, max_tokens=3)
    assert [each.text for each in found] == [each.text for each in plain]


def test_a_prompt_that_alone_does_not_fit_the_memory_is_an_error_of_its_row(engine: Engine) -> None:
    assert engine.reader.choice().way == "packed"
    with small(engine, rows=1, tokens=3):
        answers = engine.generate(["a", "four", "b"], {"max_tokens": 3})
    assert [type(answer) for answer in answers] == [Completion, MemoryError, Completion]
    assert "4 tokens doesn't fit into memory" in str(answers[1])


def test_a_text_that_begins_with_bos_gets_no_second_one() -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.add_special_tokens({"bos_token": "<end>"})
    engine = made(tiny.gpt2(), tokenizer=tokenizer)
    assert engine.words.tokens(["<end>a"])[0].count(0) == 1


def test_the_chat_template_is_applied() -> None:
    turns = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
    template = turns + "{% if add_generation_prompt %}[me]{% endif %}"
    engine = made(tiny.gpt2(), tokenizer=tiny.tokenizer(template))
    assert engine.words.chat([{"role": "user", "content": "hi"}]) == "[user] hi\n[me]"


def score_by_hand(model: Any, words: Any, context: str, continuation: str) -> list[float]:
    """One text alone, token by token."""
    import torch

    start = words(context)["input_ids"] or [0]
    ids = start + words(continuation)["input_ids"]
    with torch.no_grad():
        found = torch.log_softmax(model(torch.tensor([ids])).logits[0].double(), dim=-1)
    return [float(found[place - 1, ids[place]]) for place in range(len(start), len(ids))]


PAIRS = [
    Pair("Ice is", " cold"),
    Pair("", "Once upon a time"),
    Pair("A much longer context, of many words, that fills the batch", "."),
    Pair("x", ""),
    Pair("Ice is", " hot and dry"),
]


@pytest.mark.parametrize("make", [gpt2, llama])
def test_a_batch_gives_what_each_text_gives_alone(make: Any) -> None:
    model, words = make().eval(), tokenizer()
    ask = from_pair(model, words).loglikelihood
    assert ask is not None
    for pair, answer in zip(PAIRS, ask(PAIRS, {}), strict=True):
        assert isinstance(answer, Completion)
        expected = score_by_hand(model, words, *pair)
        assert answer.text == pair.continuation
        assert answer.output_tokens == len(pair.continuation)
        if not pair.continuation:
            assert (answer.logprob, answer.token_logprobs) == (None, None)
            continue
        assert answer.token_logprobs == pytest.approx(expected, abs=1e-4)
        assert answer.logprob == pytest.approx(math.fsum(expected), abs=1e-4)
        assert answer.is_greedy is False  # random weights


def test_a_continuation_is_greedy_if_the_model_generates_it() -> None:
    model = from_pair(llama().eval(), tokenizer())
    assert model.loglikelihood is not None
    (generated,) = model.generate(["Ice is"], {"max_tokens": 3})
    assert isinstance(generated, Completion)
    pairs = [Pair("Ice is", generated.text), Pair("Ice is", generated.text[:-1] + "\x01")]
    greedy, other = model.loglikelihood(pairs, {})
    assert isinstance(greedy, Completion)
    assert isinstance(other, Completion)
    assert (greedy.is_greedy, other.is_greedy) == (True, False)


def test_a_text_longer_than_the_window_is_an_error_of_its_row() -> None:
    ask = from_pair(gpt2().eval(), tokenizer()).loglikelihood
    assert ask is not None
    longest, too_long = ask([Pair("a" * 64, "b" * 65), Pair("a" * 65, "b" * 65)], {})
    assert isinstance(longest, Completion)
    assert isinstance(too_long, ValueError)
    assert "130 tokens; the model's window is 128" in str(too_long)


def test_a_folder_answers_the_same_and_is_remembered(tmp_path: Path) -> None:
    model = local(saved(tmp_path / "tiny", llama()))
    assert model.durable
    assert model.loglikelihood is not None
    (answer,) = model.loglikelihood([Pair("Ice is", " cold")], {})
    assert isinstance(answer, Completion)
    assert answer.logprob == pytest.approx(
        math.fsum(score_by_hand(llama().eval(), tokenizer(), "Ice is", " cold")), abs=1e-4
    )


def test_a_sentence_about_options_and_one_about_texts(tmp_path: Path) -> None:
    gpt2_folder(tmp_path / "bytes")
    plan = hf.scenario("sampler").where(subject="music").limit(4).generate(str(tmp_path / "bytes"))
    options = plan.adapt(method="multiple_choice_separate_calibrated", shots=1).score()
    assert options.table(metrics="exact_match").select("n", "n_error", "n_unparsed").row(0) == (4, 0, 0)
    texts = plan.adapt(method="language_modeling").metrics("bits_per_byte", "perplexity").score()
    # random weights know nothing: about the entropy of one byte of 257
    assert texts.value("bits_per_byte") == pytest.approx(8, abs=0.3)
    assert texts.value("perplexity") == pytest.approx(257, rel=0.2)


SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 99}, "b": {"enum": ["x", "y"]}},
    "required": ["a", "b"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("decoding", [{}, {"temperature": 1.0, "top_k": 3, "seed": 3}, {"stop": ["\n"]}])
@pytest.mark.parametrize("way", ["packed", "plain"])
def test_random_weights_complete_to_json_that_matches_a_schema(
    decoding: dict[str, Any], way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, byte_tokenizer = tiny.gpt2_of_bytes()
    engine = made(model, 1024, byte_tokenizer)
    monkeypatch.setattr(Reader, "choice", lambda reader: Choice(way))
    completions = engine.generate(["Who? ", "The cat sat", "a"], {"max_tokens": 200, "json_schema": SCHEMA, **decoding})
    for completion in completions:
        assert isinstance(completion, Completion)
        assert completion.finish_reason == "stop"
        assert schema_problem(completion.text, schema_text(SCHEMA)) is None
        assert ("\n" in completion.text) <= ("stop" not in decoding)
        # the log-probability is that of the model without the schema
        assert completion.logprob is not None
        assert completion.logprob < -20


def test_a_schema_leaves_other_calls_alone_and_a_limit_cuts_json() -> None:
    model, byte_tokenizer = tiny.gpt2_of_bytes()
    engine = made(model, 1024, byte_tokenizer)
    before = engine.generate(["Who? "], {"max_tokens": 5})
    (cut,) = engine.generate(["Who? "], {"max_tokens": 3, "json_schema": SCHEMA})
    assert isinstance(cut, Completion)
    assert (cut.text[0], cut.finish_reason, cut.output_tokens) == ("{", "length", 3)
    assert engine.generate(["Who? "], {"max_tokens": 5}) == before


def test_an_encoder_decoder_is_constrained_too() -> None:
    _, byte_tokenizer = tiny.gpt2_of_bytes()
    words = Tokenizing(lambda: byte_tokenizer, 0)
    (completion,) = EncoderDecoder(tiny.t5(vocabulary=257), words, None).generate(
        ["Who? "], {"max_tokens": 200, "json_schema": SCHEMA}
    )
    assert isinstance(completion, Completion)
    assert schema_problem(completion.text, schema_text(SCHEMA)) is None


def test_schemas_and_tokenizers_that_are_not_supported_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    model, byte_tokenizer = tiny.gpt2_of_bytes()
    with pytest.raises(CapabilityError, match=r'llguidance.* support the schema: Unimplemented keys: \["not"\]'):
        made(model, 1024, byte_tokenizer).generate(["a"], {"json_schema": {"not": {}}})
    with pytest.raises(CapabilityError, match="can't read the tokenizer"):
        made(gpt2()).generate(["a"], {"json_schema": SCHEMA})
    monkeypatch.setattr(sampling, "find_spec", lambda name: None)
    with pytest.raises(CapabilityError, match=r"pip install 'helmframe\[json\]'"):
        made(model, 1024, byte_tokenizer).generate(["a"], {"json_schema": SCHEMA})
