"""Log-probabilities of given texts, by a real (tiny) model."""

import math
from pathlib import Path
from typing import Any

import pytest

import helmframe as hf
from helmframe.models.local_model import from_pair, local
from helmframe.models.model import Completion, Pair
from tests.models.tiny import gpt2, gpt2_folder, llama, saved, tokenizer


def by_hand(model: Any, words: Any, context: str, continuation: str) -> list[float]:
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
        expected = by_hand(model, words, *pair)
        assert answer.text == pair.continuation
        assert answer.output_tokens == len(pair.continuation)
        if not pair.continuation:
            assert (answer.logprob, answer.token_logprobs) == (None, None)
            continue
        assert answer.token_logprobs == pytest.approx(expected, abs=1e-4)
        assert answer.logprob == pytest.approx(math.fsum(expected), abs=1e-4)


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
    assert answer.logprob == pytest.approx(math.fsum(by_hand(llama().eval(), tokenizer(), "Ice is", " cold")), abs=1e-4)


def test_a_sentence_about_options_and_one_about_texts(tmp_path: Path) -> None:
    gpt2_folder(tmp_path / "bytes")
    plan = hf.scenario("sampler").where(subject="music").limit(4).generate(str(tmp_path / "bytes"))
    options = plan.adapt(method="multiple_choice_separate_calibrated", shots=1).score()
    assert options.table(metrics="exact_match").select("n", "n_error", "n_unparsed").row(0) == (4, 0, 0)
    texts = plan.adapt(method="language_modeling").metrics("bits_per_byte", "perplexity").score()
    # random weights know nothing: about the entropy of one byte of 257
    assert texts.value("bits_per_byte") == pytest.approx(8, abs=0.3)
    assert texts.value("perplexity") == pytest.approx(257, rel=0.2)
