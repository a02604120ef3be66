"""Draws follow the probabilities, and depend on nothing but the seed, the prompt and the step."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from helmframe.models import Completion
from helmframe.models.engine.sampling import LIKELY, Request, Row, Sampling, _sample, key_of, logprobs, uniforms
from helmframe.models.tokenizing import StopDetector
from tests.models.test_tokenizing import ids, of_bytes

ROWS = 4000


def drawn(logits: list[float], sampling: Sampling) -> list[int]:
    """4,000 draws of a first token."""
    keys = [key_of(0, str(row)) for row in range(ROWS)]
    return [int(each) for each in sampling.choose(torch.tensor([logits] * ROWS), keys, [0] * ROWS)]


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(1.0), [0.6439, 0.2369, 0.0871, 0.0321]),  # softmax of 3, 2, 1, 0
        (Sampling(2.0), [0.4550, 0.2760, 0.1674, 0.1015]),
        (Sampling(1.0, top_k=2), [0.7311, 0.2689, 0, 0]),
        (Sampling(1.0, top_p=0.7), [0.7311, 0.2689, 0, 0]),  # the first two together pass 0.7
        (Sampling(1.0, top_p=0.6), [1, 0, 0, 0]),
        (Sampling(1.0, top_k=3, top_p=0.999), [0.6652, 0.2447, 0.0900, 0]),
        (Sampling(1.0, top_k=9), [0.6439, 0.2369, 0.0871, 0.0321]),  # more than there are
    ],
)
def test_draws_follow_the_probabilities(sampling: Sampling, expected: list[float]) -> None:
    found = drawn([3.0, 2.0, 1.0, 0.0], sampling)
    assert [found.count(token) / ROWS for token in range(4)] == pytest.approx(expected, abs=0.025)


def test_unlikely_tokens_of_a_large_vocabulary_are_drawn_too() -> None:
    found = drawn([0.0] * 3000, Sampling(1.0))
    assert len(set(found)) > 2000  # of 3,000 equally likely ones, 4,000 draws meet 2,209 on average


def test_top_p_may_keep_more_tokens_than_are_ranked_first() -> None:
    logits = torch.linspace(1.0, 0.0, 8 * LIKELY)
    likely = torch.softmax(logits.double(), dim=0).cumsum(0)
    kept = Sampling(1.0, top_p=0.5)._truncated(logits[None]).isfinite()[0]
    assert int(kept.sum()) == int((likely < 0.5).sum()) + 1 > LIKELY
    assert bool(kept[: int(kept.sum())].all())


def test_no_draw_falls_off_the_end_or_on_what_is_left_out() -> None:
    weights = torch.zeros(3, 1000)
    weights[:, 7], weights[0, 3], weights[2] = 0.3, 0.1, 1.0
    almost = 1 - 2**-53
    draws = torch.tensor([[almost, almost], [0.0, 0.0], [almost, almost]], dtype=torch.float64)
    assert _sample(weights, draws).tolist() == [7, 7, 999]


def test_a_row_is_drawn_as_it_is_alone() -> None:
    torch.manual_seed(0)
    logits, keys, steps = 3 * torch.randn(40, 2000), [key_of(1, str(row)) for row in range(40)], list(range(40))
    sampling = Sampling(1.0)
    alone = [int(sampling.choose(logits[[row]], [keys[row]], [steps[row]])) for row in range(40)]
    assert sampling.choose(logits, keys, steps).tolist() == alone


@pytest.mark.parametrize("spread", [0.5, 3.0])  # many unlikely tokens, and few likely ones
def test_float_noise_seldom_moves_a_draw(spread: float) -> None:
    torch.manual_seed(0)
    logits, keys = spread * torch.randn(500, 20_000), [key_of(1, str(row)) for row in range(500)]
    noisy = logits + 1e-5 * torch.randn(500, 20_000)
    one, other = (Sampling(1.0).choose(each, keys, [0] * 500) for each in (logits, noisy))
    assert int((one == other).sum()) >= 495


@pytest.mark.parametrize("decoding", [{}, {"temperature": 0}, {"temperature": None, "top_k": None, "top_p": None}])
def test_the_default_is_greedy(decoding: dict[str, object]) -> None:
    sampling = Sampling.of(decoding)
    assert sampling == Sampling()
    assert sampling.choose(torch.tensor([[1.0, 3.0, 2.0]]), [b""], [0]).tolist() == [1]


def test_log_probabilities_are_those_of_temperature_1() -> None:
    logits = torch.tensor([[3.0, 2.0, 1.0, 0.0]])
    assert logprobs(logits, torch.tensor([1])).exp().tolist() == pytest.approx([0.2369], abs=1e-4)


def test_numbers_depend_on_seed_text_and_step() -> None:
    pairs = [uniforms(key_of(seed, text), step) for seed in (0, 1) for text in ("a", "b") for step in (0, 1)]
    assert len({number for pair in pairs for number in pair}) == 16
    # as they are on every machine
    assert pairs[0] == (0.22198105309033, 0.48720545890272215)


def test_without_a_seed_no_two_keys_are_the_same() -> None:
    assert key_of(None, "a") != key_of(None, "a")


TOKENIZER = of_bytes()
END = 0


def answered(outputs: Sequence[int], stops: Sequence[str] = (), prompt: str = "ab") -> Completion:
    """The answer that got these tokens, the first of -1 nats, the second of -2, and so on."""
    request = Request(ids(TOKENIZER, prompt), 1000)
    row = Row(request, StopDetector(TOKENIZER, request.tokens, stops))
    for place, token in enumerate(outputs):
        assert not row.finished
        row.take(token, -float(place + 1), frozenset({END}))
    found = row.completion(TOKENIZER)
    assert isinstance(found, Completion)
    return found


def test_the_token_that_ends_it_is_none_of_it() -> None:
    found = answered([*ids(TOKENIZER, "ab."), END])
    assert found[:5] == ("ab.", None, -3.0, (-1.0, -2.0), "stop")
    assert found.output_tokens == 2


def test_without_a_token_it_has_no_log_probability() -> None:
    assert answered([END]) == Completion("", finish_reason="stop", prompt_tokens=1, output_tokens=0)


# of_bytes has tokens " a", "ab", ".\n", and a line's end with half an é
@pytest.mark.parametrize(
    ("text", "stop", "own"),
    [
        ("ab b", " b", [-1.0]),  # the stop's tokens are none
        ("a.\n", ".\n", [-1.0]),  # one token is the whole stop
        ("a.\n", "\n", [-1.0, -2.0]),  # one that holds the text's end too is the text's
        ("a b\né", "\n", [-1.0, -2.0, -3.0]),  # the stop's token holds half of what comes after
        ("é.\n", ".\n", [-1.0, -2.0]),  # a character of two tokens
        ("😀\n", "\n", [-1.0, -2.0, -3.0, -4.0]),
        (".\n", ".", None),  # nothing is left
        ("\nab", "\n", None),
    ],
)
def test_the_tokens_of_a_stop_string_are_none_of_it(text: str, stop: str, own: list[float] | None) -> None:
    outputs = ids(TOKENIZER, text)
    watch = StopDetector(TOKENIZER, ids(TOKENIZER, "ab"), [stop])
    count = next(count for count, token in enumerate(outputs, 1) if watch.ends(token))
    found = answered(outputs[:count], [stop])
    assert found.token_logprobs == (None if own is None else tuple(own))
    assert found.logprob == (None if own is None else sum(own))
    assert (found.finish_reason, found.output_tokens) == ("stop", count)


def test_a_long_answer_has_its_log_probabilities() -> None:
    found = answered(ids(TOKENIZER, "a") * 600)
    assert (found.output_tokens, len(found.token_logprobs or ())) == (600, 600)
    assert found.logprob == -sum(range(1, 601))


def test_what_is_not_finished_is_cut_nowhere() -> None:
    outputs: list[Any] = ids(TOKENIZER, "a b")
    assert answered(outputs, ["\n"]).token_logprobs == tuple(-float(place + 1) for place in range(len(outputs)))
