"""Models with an encoder and a decoder, against transformers' own `generate` and one forward pass a text."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

import helmframe as hf
from helmframe.models import Completion
from helmframe.models.model import Pair
from helmframe.models.protocol import from_any
from tests.models import tiny

PROMPTS = ["Who is it?", "a", "The cat sat on the mat and looked at the dog.", "Two, 2.", "xyz " * 20]
MAKES = pytest.mark.parametrize("make", [tiny.t5, tiny.bart])


def texts(model: hf.Model, prompts: list[str], **decoding: Any) -> list[str]:
    return [
        each.text for each in model.generate(prompts, {"max_tokens": 12, **decoding}) if isinstance(each, Completion)
    ]


def generated(module: Any, prompt: str) -> str:
    """What transformers makes of one prompt."""
    words = tiny.tokenizer()
    ids = torch.tensor([words(prompt)["input_ids"]])
    start = 2 if module.generation_config.forced_bos_token_id is not None else 1
    found = module.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=11 + start, do_sample=False)
    return str(words.decode(found[0][start:], skip_special_tokens=True))


@MAKES
def test_greedy_answers_are_those_of_generate_one_by_one(make: Callable[[], Any]) -> None:
    module = make()
    found = texts(from_any((module, tiny.tokenizer())), PROMPTS)
    assert found == [generated(module, prompt) for prompt in PROMPTS]
    assert len(set(found)) > 1  # the prompt matters


@MAKES
def test_the_log_probability_of_a_continuation_is_the_decoders(make: Callable[[], Any]) -> None:
    module, words = make(), tiny.tokenizer()
    pairs = [Pair("Who is it?", " me"), Pair("a", "bcd, e"), Pair("The cat sat on the mat.", "x")]
    found = from_any((module, words)).loglikelihood(pairs, {})  # type: ignore[misc]
    for pair, answer in zip(pairs, found, strict=True):
        ids, labels = (torch.tensor([words(text)["input_ids"]]) for text in pair)
        start = [0, 0] if module.generation_config.forced_bos_token_id is not None else [0]
        decoder = torch.tensor([[*start, *labels[0, :-1].tolist()]])
        with torch.no_grad():
            logits = module(input_ids=ids, decoder_input_ids=decoder).logits[0, len(start) - 1 :]
        expected = logits.log_softmax(-1).gather(1, labels.T).squeeze(1)
        assert isinstance(answer, Completion)
        assert answer.text == pair.continuation
        assert answer.token_logprobs == pytest.approx(expected.tolist(), abs=1e-4)
        assert answer.logprob == pytest.approx(float(expected.sum()), abs=1e-4)


@MAKES
def test_what_it_generates_is_as_likely_as_it_says(make: Callable[[], Any]) -> None:
    model = from_any((make(), tiny.tokenizer()))
    (answer,) = model.generate(["Who? "], {"max_tokens": 6})
    assert isinstance(answer, Completion)
    (scored,) = model.loglikelihood([Pair("Who? ", answer.text)], {})  # type: ignore[misc]
    assert isinstance(scored, Completion)
    assert scored.logprob == pytest.approx(answer.logprob, abs=1e-4)


def test_a_sample_depends_on_its_prompt_and_seed_alone() -> None:
    model = from_any((tiny.t5(), tiny.tokenizer()))
    together = texts(model, PROMPTS, temperature=1.0, seed=3)
    assert together == [texts(model, [prompt], temperature=1.0, seed=3)[0] for prompt in PROMPTS]
    assert together != texts(model, PROMPTS, temperature=1.0, seed=4)


def test_it_ends_where_a_stop_sequence_is() -> None:
    model = from_any((tiny.t5(), tiny.tokenizer()))
    whole, answer = (model.generate(["Who? "], {"max_tokens": 12, "stop": stop})[0] for stop in ([], ["W"]))
    assert isinstance(whole, Completion)
    assert isinstance(answer, Completion)
    count = whole.text.index("W")
    assert count > 0
    assert (answer.finish_reason, answer.output_tokens) == ("stop", count + 1)
    assert answer.token_logprobs == (whole.token_logprobs or ())[:count]


def test_long_answers_have_log_probabilities_and_empty_ones_none() -> None:
    model = from_any((tiny.t5(), tiny.tokenizer()))
    (long,) = model.generate(["Who? "], {"max_tokens": 120})
    assert isinstance(long, Completion)
    assert len(long.token_logprobs or ()) == long.output_tokens
    (nothing,) = model.generate(["Who? "], {"max_tokens": 120, "stop": [long.text[0]]})
    assert (nothing.logprob, nothing.token_logprobs) == (None, None)  # type: ignore[union-attr]
    found = model.loglikelihood([Pair("Who? ", "me"), Pair("Who? ", "")], {})  # type: ignore[misc]
    assert [each.logprob is None for each in found] == [False, True]  # type: ignore[union-attr]
    assert found[1] == Completion("", prompt_tokens=5, output_tokens=0)


def test_a_prompt_longer_than_the_window_is_an_error_in_its_place() -> None:
    first, second = from_any((tiny.bart(), tiny.tokenizer())).generate(["a" * 129, "b"], {"max_tokens": 2})
    assert isinstance(first, ValueError)
    assert isinstance(second, Completion)


def test_a_folder_answers_as_the_pair(tmp_path: Path) -> None:
    module = tiny.t5()
    folder = tiny.saved(tmp_path / "t5", module)
    model = from_any(folder)
    assert texts(model, PROMPTS) == texts(from_any((module, tiny.tokenizer())), PROMPTS)
    assert (model.durable, model.capabilities) == (True, ("generates", "scores", "token_logprobs"))


def test_a_plan_is_scored_both_ways(tmp_path: Path) -> None:
    folder = tiny.saved(tmp_path / "t5", tiny.t5())
    frame = pl.DataFrame({"q": ["Who?", "What?"], "options": [["me", "you"], ["a", "bc"]], "right": [0, 1]})
    plan = hf.scenario(frame, input="q", choices="options", answer="right").adapt(shots=0).generate(str(folder))
    assert plan.score().completions.collect()["completion"].null_count() == 0
    scored = plan.adapt(method="multiple_choice_separate_original").score().completions.collect()
    assert scored["logprob"].null_count() == 0


def test_too_little_memory_halves_the_rows_and_loses_none(monkeypatch: pytest.MonkeyPatch) -> None:
    module = tiny.t5()
    model = from_any((module, tiny.tokenizer()))
    expected = texts(model, PROMPTS)
    encode = module.get_encoder().forward

    def short_of_memory(*args: Any, **said: Any) -> Any:
        if len(said["input_ids"]) > 2:
            raise RuntimeError("CUDA out of memory")
        return encode(*args, **said)

    monkeypatch.setattr(module.get_encoder(), "forward", short_of_memory)
    assert texts(model, PROMPTS) == expected
