"""A loaded model answers greedily, whatever the batch, and says how likely it thought its answer."""

from typing import Any

import pytest
import torch

from helmframe.models import Answer
from helmframe.models.engine import Engine, _Chooser
from tests.models import tiny

SHOTS = "Question: one. Answer: A\n" * 3
PROMPTS = [f"{SHOTS}Question: {'x' * (number % 7)}{number}? Answer:" for number in range(12)]
UNLIKE = ["a", "Who? ", "The quick brown fox.", "0123456789 0123456789"]


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def engine(request: pytest.FixtureRequest) -> Engine:
    return Engine(getattr(tiny, request.param)(), tiny.tokenizer(), 128)


def answered(engine: Engine, prompts: list[str], **decoding: Any) -> list[Answer]:
    found = engine.ask(prompts, decoding)
    assert all(isinstance(each, Answer) for each in found)
    return found  # type: ignore[return-value]


def by_hand(engine: Engine, prompt: str, limit: int) -> tuple[list[int], list[float]]:
    """Greedy without batches, caches and `generate`."""
    ids, logprobs = engine.tokens([prompt])[0], []
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
        assert answer.text == engine.tokenizer.decode(outputs)
        assert answer.token_logprobs == pytest.approx(logprobs, abs=1e-4)
        assert answer.logprob == pytest.approx(sum(logprobs), abs=1e-3)


def test_what_prompts_share_is_computed_once(engine: Engine) -> None:
    widths: list[int] = []

    answered(engine, PROMPTS, max_tokens=1)
    assert engine._reuses
    plain = sum(len(each) for each in engine.tokens(PROMPTS))
    own = engine.model.forward

    def counted(**given: Any) -> Any:
        widths.append(given["input_ids"].numel())
        return own(**given)

    engine.model.forward = counted
    try:
        answered(engine, PROMPTS, max_tokens=1)
    finally:
        engine.model.forward = own
    assert sum(widths) < plain / 2


def test_a_hook_on_the_model_sees_whole_prompts(engine: Engine) -> None:
    handle = engine.model.register_forward_hook(lambda *_: None)
    try:
        assert not engine._can_reuse()
    finally:
        handle.remove()


def test_sampling_defaults_of_the_model_are_out_of_force() -> None:
    engine = Engine(tiny.llama(), tiny.tokenizer(), 128)
    plain = answered(engine, UNLIKE, max_tokens=20)
    own = engine.model.generation_config
    own.update(do_sample=True, temperature=5.0, repetition_penalty=3.0, no_repeat_ngram_size=2)
    assert answered(engine, UNLIKE, max_tokens=20, temperature=0) == plain
    assert (engine.model.generation_config is own, own.repetition_penalty) == (True, 3.0)


def test_a_model_in_training_is_asked_in_evaluation_mode_and_left_in_training() -> None:
    engine = Engine(tiny.gpt2(), tiny.tokenizer(), 128)
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


def drawn(logits: list[float], **decoding: Any) -> list[int]:
    """4,000 draws of a first token."""
    chooser = _Chooser.of([str(row) for row in range(4000)], {"seed": 0, **decoding}, keep=False)
    return [int(each) for each in chooser._drawn(torch.tensor([logits] * 4000))]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"temperature": 1.0}, [0.6439, 0.2369, 0.0871, 0.0321]),  # softmax of 3, 2, 1, 0
        ({"temperature": 2.0}, [0.4550, 0.2760, 0.1674, 0.1015]),
        ({"temperature": 1.0, "top_k": 2}, [0.7311, 0.2689, 0, 0]),
        ({"temperature": 1.0, "top_p": 0.7}, [0.7311, 0.2689, 0, 0]),  # the first two together pass 0.7
        ({"temperature": 1.0, "top_p": 0.6}, [1, 0, 0, 0]),
        ({"temperature": 1.0, "top_k": 3, "top_p": 0.999}, [0.6652, 0.2447, 0.0900, 0]),
    ],
)
def test_draws_follow_the_probabilities(said: dict[str, Any], expected: list[float]) -> None:
    found = drawn([3.0, 2.0, 1.0, 0.0], **said)
    assert [found.count(token) / 4000 for token in range(4)] == pytest.approx(expected, abs=0.025)


def test_unlikely_tokens_of_a_large_vocabulary_are_drawn_too() -> None:
    found = drawn([0.0] * 3000, temperature=1.0)
    assert len(set(found)) > 2000  # of 3,000 equally likely ones, 4,000 draws meet 2,209 on average


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
    engine = Engine(tiny.gpt2(), tiny.tokenizer(), 128)
    whole = answered(engine, ["a"], max_tokens=8)[0]
    third = engine.tokens([whole.text])[0][2]
    engine.model.generation_config.eos_token_id = [third]
    answer = answered(engine, ["a"], max_tokens=8)[0]
    assert answer.text == whole.text[: whole.text.index(whole.text[2])]
    assert (answer.finish_reason, whole.finish_reason) == ("stop", "length")


def test_tokens_are_counted(engine: Engine) -> None:
    answer = answered(engine, ["abc"], max_tokens=4)[0]
    assert (answer.prompt_tokens, answer.output_tokens, engine.count_tokens(["abc", "a"])) == (3, 4, [3, 1])


def test_a_prompt_longer_than_the_window_is_an_error_of_its_row(engine: Engine) -> None:
    long, short = engine.ask(["x" * 128, "x"], {"max_tokens": 3})
    assert isinstance(long, ValueError)
    assert "128 tokens; the model's window is 128" in str(long)
    assert isinstance(short, Answer)


def test_an_answer_ends_with_the_window(engine: Engine) -> None:
    first, second = answered(engine, ["x" * 126, "x"], max_tokens=5)
    assert (first.output_tokens, first.finish_reason, second.output_tokens) == (2, "length", 5)


def test_an_empty_prompt_is_answered(engine: Engine) -> None:
    assert answered(engine, [""], max_tokens=2)[0].prompt_tokens == 1


def test_no_tokens_asked_are_an_empty_answer(engine: Engine) -> None:
    answer = answered(engine, ["abc"], max_tokens=0)[0]
    assert (answer.text, answer.prompt_tokens, answer.output_tokens) == ("", 3, 0)


def test_no_prompts_are_no_answers(engine: Engine) -> None:
    assert engine.ask([], {}) == []


def test_log_probabilities_of_long_answers_are_left_out() -> None:
    engine = Engine(tiny.llama(), tiny.tokenizer(), None)
    assert answered(engine, ["a"], max_tokens=513)[0].logprob is None


def test_out_of_memory_halves_the_batch(engine: Engine) -> None:
    own, plain = engine.model.generate, answered(engine, UNLIKE, max_tokens=3)

    def small(**given: Any) -> Any:
        if len(given["input_ids"]) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
        return own(**given)

    engine.model.generate = small
    try:
        assert [each.text for each in answered(engine, UNLIKE, max_tokens=3)] == [each.text for each in plain]
    finally:
        engine.model.generate, engine._most = own, 0


def test_a_prompt_that_alone_does_not_fit_the_memory_is_an_error_of_its_row(engine: Engine) -> None:
    own = engine.model.generate

    def full(**_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    engine.model.generate = full
    try:
        answers = engine.ask(["a", "b"], {"max_tokens": 3})
        assert [type(answer) for answer in answers] == [MemoryError, MemoryError]
    finally:
        engine.model.generate, engine._most = own, 0


def test_a_text_that_begins_with_bos_gets_no_second_one() -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.add_special_tokens({"bos_token": "<end>"})
    engine = Engine(tiny.gpt2(), tokenizer, 128)
    assert engine.tokens(["<end>a"])[0].count(0) == 1


def test_the_chat_template_is_applied() -> None:
    turns = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
    template = turns + "{% if add_generation_prompt %}[me]{% endif %}"
    engine = Engine(tiny.gpt2(), tiny.tokenizer(template), 128)
    assert engine.chat([{"role": "user", "content": "hi"}]) == "[user] hi\n[me]"
