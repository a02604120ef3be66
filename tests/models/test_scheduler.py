"""One queue per model: batches filled by all who ask, errors as rows, no thread left behind."""

import asyncio
import gc
import logging
import signal
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from helmframe.errors import NotAModelError, SourceBrokenError
from helmframe.models import Answer, echo
from helmframe.models.protocol import Model, from_any
from helmframe.models.scheduler import ModelQueue, Outcome, current_labels, queue_of

NOTHING: Mapping[str, Any] = {}


def labels(index: int) -> dict[str, str]:
    return {"scenario": "s", "instance_id": f"id{index}", "model": "m"}


def outcomes(
    given: object, prompts: Sequence[str], decoding: Mapping[str, Any] = NOTHING, **said: Any
) -> list[Outcome]:
    model = from_any(given, **said)
    found = queue_of(model, model.fingerprint()).ask(prompts, decoding, labels=labels)
    return sorted(outcome for batch in found for outcome in batch)


def texts(found: Sequence[Outcome]) -> list[str | None]:
    return [outcome.answer.text if outcome.answer else None for outcome in found]


def until_waiting(queue: ModelQueue, callers: int) -> None:
    """One call is under way and so many callers wait."""
    while len(queue._open) != callers or not queue._workers:
        time.sleep(0.001)


def test_every_prompt_is_answered_in_its_place() -> None:
    prompts = [f"p{number}" for number in range(1000)]
    assert texts(outcomes(echo(), prompts)) == prompts


def test_no_prompts_are_no_outcomes() -> None:
    assert outcomes(echo(), []) == []


def test_an_answer_with_details_is_kept() -> None:
    found = outcomes(lambda prompt: Answer(prompt, logprob=-1.0), ["a"])
    assert found[0].answer == Answer("a", logprob=-1.0)


def test_decoding_reaches_the_function() -> None:
    def answer(prompt: str, max_tokens: int = 0) -> str:
        return f"{prompt}{max_tokens}"

    assert texts(outcomes(answer, ["a"], {"max_tokens": 5, "stop": ["x"]})) == ["a5"]


def test_a_function_that_raises_gives_that_row_an_error() -> None:
    def answer(prompt: str) -> str:
        if prompt == "b":
            raise ValueError("no\n  answer")
        return prompt

    found = outcomes(answer, ["a", "b", "c"])
    assert [outcome.error for outcome in found] == [None, "ValueError: no answer", None]


def test_a_long_error_is_cut_and_an_empty_one_is_its_type() -> None:
    def answer(prompt: str) -> str:
        raise RuntimeError("x" * 1000 if prompt == "long" else "")

    long, short = (outcome.error for outcome in outcomes(answer, ["long", "short"]))
    assert long is not None
    assert (len(long), short) == (500, "RuntimeError")


def test_a_list_function_that_raises_is_asked_row_by_row() -> None:
    def answer(prompts: list[str]) -> list[str]:
        if "b" in prompts:
            raise ValueError("b")
        return prompts

    found = outcomes(answer, ["a", "b", "c"])
    assert [(outcome.error, outcome.attempts) for outcome in found] == [(None, 2), ("ValueError: b", 2), (None, 2)]


def test_a_wrong_number_of_answers_is_an_error_of_all_rows() -> None:
    found = outcomes(lambda prompts: prompts[1:], ["a", "b"], batch=True)
    assert ["gave 1 answers" in str(outcome.error) for outcome in found] == [True, True]


def test_an_answer_of_the_wrong_type_is_an_error_of_its_row() -> None:
    found = outcomes(lambda prompts: ["a", None], ["a", "b"], batch=True)
    assert texts(found) == ["a", None]
    assert (
        found[1].error
        == "AnswerError: model 'lambda' answered None (NoneType); expected str, Answer or a dict with 'text'."
    )


def test_an_error_is_logged_once_with_its_traceback_and_always_with_its_row(caplog: pytest.LogCaptureFixture) -> None:
    def answer(prompt: str) -> str:
        raise ValueError(prompt)

    with caplog.at_level(logging.WARNING, "helmframe.models"):
        outcomes(answer, ["a", "b"])
    first, second = caplog.records
    assert (first.__dict__["instance_id"], second.__dict__["instance_id"]) == ("id0", "id1")
    assert second.getMessage() == "ValueError: b [scenario=s instance_id=id1 model=m]"
    assert (first.exc_info is not None, second.exc_info) == (True, None)


def test_a_function_can_see_which_row_it_answers() -> None:
    found = outcomes(lambda prompt: current_labels()["instance_id"], ["a", "b"])
    assert texts(found) == ["id0", "id1"]
    assert current_labels() == {}


def test_a_model_that_can_not_be_loaded_ends_the_asking() -> None:
    def answer(prompt: str) -> str:
        raise SourceBrokenError("no weights")

    with pytest.raises(SourceBrokenError, match="no weights"):
        outcomes(answer, ["a", "b"])


def test_a_function_that_exits_ends_the_asking() -> None:
    def answer(prompt: str) -> str:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        outcomes(answer, ["a"])


def test_one_fingerprint_has_one_queue() -> None:
    assert queue_of(echo(), "f") is not queue_of(echo(), "g")
    queue = queue_of(echo(), "f")
    assert queue_of(echo(), "f") is queue


def test_no_thread_is_left() -> None:
    outcomes(echo(), ["a"] * 100)
    outcomes(lambda prompt: 1 / 0, ["a"] * 100, workers=4)
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("helmframe")] == []


def test_a_queue_lives_no_longer_than_its_last_caller() -> None:
    seen = weakref.ref(queue_of(echo(), "gone"))
    gc.collect()
    assert seen() is None


def test_workers_ask_at_once() -> None:
    barrier = threading.Barrier(4, timeout=30)

    def answer(prompt: str) -> str:
        barrier.wait()
        return prompt

    assert texts(outcomes(answer, list("abcd"), workers=4)) == list("abcd")


def test_async_calls_wait_together() -> None:
    waiting = []

    async def answer(prompt: str) -> str:
        waiting.append(prompt)
        while len(waiting) < 8:
            await asyncio.sleep(0.001)
        return prompt

    assert texts(outcomes(answer, list("abcdefgh"))) == list("abcdefgh")


def test_callers_share_batches_and_take_turns() -> None:
    batches: list[list[str]] = []
    all_wait = threading.Event()

    def answer(prompts: list[str]) -> list[str]:
        all_wait.wait(30)
        batches.append(list(prompts))
        time.sleep(0.03)
        return prompts

    model = from_any(answer, batch=4)
    queue = queue_of(model, "shared")
    threads = [
        threading.Thread(target=lambda name=name, n=n: list(queue.ask([name] * n, {}, labels=labels)))
        for name, n in (("first", 1), ("a", 40), ("b", 8))
    ]
    for waiting, thread in enumerate(threads):
        thread.start()
        until_waiting(queue, waiting)
    all_wait.set()
    for thread in threads:
        thread.join(30)
    assert [sorted(batch) for batch in batches[1:5]] == [["a", "a", "b", "b"]] * 4


def test_other_decoding_is_another_batch() -> None:
    batches: list[list[str]] = []
    go = threading.Event()

    def answer(prompts: list[str]) -> list[str]:
        go.wait(30)
        batches.append(list(prompts))
        return prompts

    queue = queue_of(from_any(answer), "decoding")
    threads = [
        threading.Thread(target=lambda text=text, d=d: list(queue.ask([text] * 3, d, labels=labels)))
        for text, d in (("first", {}), ("a", {"temperature": 0}), ("b", {"temperature": 1}))
    ]
    for waiting, thread in enumerate(threads):
        thread.start()
        until_waiting(queue, waiting)
    go.set()
    for thread in threads:
        thread.join(30)
    assert sorted(map(tuple, batches)) == [("a",) * 3, ("b",) * 3, ("first",) * 3]


def test_a_closed_iterator_takes_back_what_was_not_asked() -> None:
    asked: list[str] = []

    def answer(prompt: str) -> str:
        asked.append(prompt)
        time.sleep(0.03)
        return prompt

    model = from_any(answer)
    found = queue_of(model, "closed").ask(["a"] * 50, {}, labels=labels)
    next(iter(found))
    found.close()  # type: ignore[attr-defined]
    count = len(asked)
    time.sleep(0.2)
    assert len(asked) <= count + 1


def test_control_c_gives_what_is_answered_and_is_raised() -> None:
    def answer(prompt: str) -> str:
        time.sleep(0.05)
        if prompt == "last":
            signal.raise_signal(signal.SIGINT)
            time.sleep(0.3)
        return prompt

    found: list[Outcome] = []

    def collect() -> None:
        for batch in queue_of(from_any(answer), "interrupted").ask(["a", "b", "last", "never"], {}, labels=labels):
            found.extend(batch)

    with pytest.raises(KeyboardInterrupt):
        collect()
    assert texts(sorted(found))[:2] == ["a", "b"]


def test_a_model_with_an_error_in_its_own_code_ends_no_other_caller() -> None:
    broken = Model("m", "m", ask=lambda prompts, decoding: [], fingerprint=lambda: "e", durable=False, takes=None)
    found = outcomes(broken, ["a", "b"])
    assert all("gave 0 answers to 2 prompts" in str(outcome.error) for outcome in found)


def test_what_is_no_model_is_never_queued() -> None:
    with pytest.raises(NotAModelError):
        outcomes(3, ["a"])


def test_ten_thousand_instant_answers_take_less_than_a_quarter_second() -> None:
    prompts = [f"p{number}" for number in range(10_000)]

    def answer(prompt: str) -> str:
        return "A"

    def seconds() -> float:
        started = time.process_time()  # the machine may be shared
        outcomes(answer, prompts)
        return time.process_time() - started

    assert min(seconds() for _ in range(3)) < 0.25
