"""What a row's answer says of its tokens, as they came."""

from collections.abc import Sequence
from typing import Any

import pytest

from helmframe.models import Completion
from helmframe.models.engine.rows import Request, Row
from helmframe.models.engine.stops import Watch
from tests.models.engine.test_stops import ids, of_bytes

TOKENIZER = of_bytes()
END = 0


def answered(outputs: Sequence[int], stops: Sequence[str] = (), prompt: str = "ab") -> Completion:
    """The answer that got these tokens, the first of -1 nats, the second of -2, and so on."""
    request = Request(ids(TOKENIZER, prompt), 1000)
    row = Row(request, Watch(TOKENIZER, request.tokens, stops))
    for place, token in enumerate(outputs):
        assert not row.finished
        row.take(token, -float(place + 1), frozenset({END}))
    found = row.answer(TOKENIZER)
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
    watch = Watch(TOKENIZER, ids(TOKENIZER, "ab"), [stop])
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
