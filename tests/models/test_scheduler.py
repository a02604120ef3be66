"""One queue per model: batches filled by all who ask, errors as rows, no thread left behind."""

import asyncio
import concurrent.futures
import gc
import logging
import random
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helmframe.errors import NotAModelError, SourceBrokenError
from helmframe.models import Completion, echo
from helmframe.models.model import SCORES, Model, Pair
from helmframe.models.protocol import from_any
from helmframe.models.scheduler import BACKLOG, MAX_SLICE, ModelQueue, Outcome, current_labels, queue_of

NOTHING: Mapping[str, Any] = {}


def labels(index: int) -> dict[str, str]:
    return {"scenario": "s", "instance_id": f"id{index}", "model": "m"}


def outcomes(
    answering: object, prompts: Sequence[str], decoding: Mapping[str, Any] = NOTHING, **said: Any
) -> list[Outcome]:
    model = from_any(answering, **said)
    found = queue_of(model, model.fingerprint()).run(prompts, decoding, labels=labels)
    return sorted(outcome for batch in found for outcome in batch)


def texts(found: Sequence[Outcome]) -> list[str | None]:
    return [outcome.completion.text if outcome.completion else None for outcome in found]


def until_waiting(queue: ModelQueue, callers: int) -> None:
    """One call is under way and so many callers wait."""
    while len(queue._open) != callers or not queue._workers:
        time.sleep(0.001)


def test_every_prompt_has_an_outcome_at_its_index() -> None:
    prompts = [f"p{number}" for number in range(1000)]
    assert texts(outcomes(echo(), prompts)) == prompts


def test_no_prompts_are_no_outcomes() -> None:
    assert outcomes(echo(), []) == []


def test_a_completion_with_details_is_unchanged() -> None:
    found = outcomes(lambda prompt: Completion(prompt, logprob=-1.0), ["a"])
    assert found[0].completion == Completion("a", logprob=-1.0)


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


def test_a_batch_that_raises_is_halved() -> None:
    def answer(prompts: list[str]) -> list[str]:
        if "b" in prompts:
            raise ValueError("b")
        return prompts

    found = outcomes(answer, ["a", "b", "c", "d"])
    errors = [(outcome.error, outcome.attempts) for outcome in found]
    assert errors == [(None, 3), ("ValueError: b", 3), (None, 2), (None, 2)]


def test_too_few_answers_are_an_error_of_the_row_that_gets_none() -> None:
    found = outcomes(lambda prompts: [prompt for prompt in prompts if prompt != "b"], ["a", "b", "c"], batch=True)
    assert texts(found) == ["a", None, "c"]
    assert "returned 0 completions for 1 prompt." in str(found[1].error)


def test_a_function_that_returns_a_set_fails_all_its_rows_and_misassigns_none() -> None:
    found = outcomes(lambda prompts: set(prompts), [f"p{number}" for number in range(40)], batch=True)
    assert texts(found) == [None] * 40
    assert all(str(each.error).startswith("AnswerError: Model 'lambda' returned a value of type set") for each in found)


def test_a_model_whose_ask_returns_a_set_fails_all_its_rows() -> None:
    def ask(prompts: Sequence[Any], decoding: Mapping[str, Any]) -> Any:
        return set(prompts)

    model = Model("m", "m", generate=ask, fingerprint=lambda: "set", durable=False, takes=None)
    found = outcomes(model, ["a", "b", "c"])
    assert ["type set" in str(each.error) for each in found] == [True] * 3


def test_an_answer_of_the_wrong_type_is_an_error_of_its_row() -> None:
    found = outcomes(lambda prompts: ["a", None], ["a", "b"], batch=True)
    assert texts(found) == ["a", None]
    assert (
        found[1].error
        == "AnswerError: Model 'lambda' returned None (NoneType); expected str, Completion or a dict with 'text'."
    )


def test_an_error_is_logged_once_with_its_traceback_and_always_with_its_row(caplog: pytest.LogCaptureFixture) -> None:
    def answer(prompt: str) -> str:
        raise ValueError(prompt)

    with caplog.at_level(logging.INFO, "helmframe.models"):
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


class UnreadableError(Exception):
    """`str()` and `repr()` of it raise."""

    def __str__(self) -> str:
        raise ValueError("no text")

    __repr__ = __str__


class RaisingAttributesError(Exception):
    """Any attribute that it lacks raises."""

    def __getattr__(self, name: str) -> object:
        raise KeyError(name)


FATAL: list[tuple[Any, str]] = [
    (UnreadableError, "UnreadableError: <str() raised ValueError>"),
    (RaisingAttributesError, "RaisingAttributesError"),
    (lambda: SystemExit(3), "SystemExit: 3"),
    (asyncio.CancelledError, "CancelledError"),
    (concurrent.futures.CancelledError, "CancelledError"),
    (GeneratorExit, "GeneratorExit"),
    (lambda: BaseExceptionGroup("two", [SystemExit(1)]), "BaseExceptionGroup: two (1 sub-exception)"),
    (StopIteration, "StopIteration"),
    (lambda: ValueError("a\ud800b\0"), "ValueError: a\ufffdb\0"),
    (type("Odd\nName", (Exception,), {}), "Odd Name"),
]


def failing_models(make: Callable[[], BaseException]) -> dict[str, object]:
    """One model of each kind; all of them raise, or return, an error for the prompt "b" alone."""

    def one(prompt: str) -> str:
        if prompt == "b":
            raise make()
        return prompt

    def many(prompts: list[str]) -> list[str]:
        return [one(prompt) for prompt in prompts]

    async def one_async(prompt: str) -> str:
        return one(prompt)

    async def many_async(prompts: list[str]) -> list[str]:
        return many(prompts)

    class Generates:
        def generate(self, prompts: list[str]) -> list[str]:
            return many(prompts)

    return {
        "function": one,
        "list function": many,
        "async function": one_async,
        "async list function": many_async,
        "object": Generates(),
        "coroutine of a lambda": from_any(lambda prompt: one_async(prompt), name="m"),
        "timeout": from_any(one, name="m", timeout=30.0),
        "threads": from_any(one, name="m", workers=4),
        "returned": from_any(lambda prompts: [make() if each == "b" else each for each in prompts], batch=True),
    }


@pytest.mark.parametrize("kind", failing_models(ValueError))
@pytest.mark.parametrize(("make", "error"), FATAL)
def test_whatever_a_model_raises_fails_one_row_and_no_other(
    make: Callable[[], BaseException], error: str, kind: str
) -> None:
    found = outcomes(failing_models(make)[kind], ["a", "b", "c", "d"])
    assert texts(found) == ["a", None, "c", "d"]
    assert error.partition(":")[0] in str(found[1].error)
    if "async" not in kind and kind != "coroutine of a lambda":
        assert found[1].error == error


@pytest.mark.parametrize("kind", [kind for kind in failing_models(ValueError) if kind != "returned"])
def test_a_keyboard_interrupt_in_a_model_ends_the_run(kind: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        outcomes(failing_models(KeyboardInterrupt)[kind], ["a", "b", "c", "d"])


def test_a_scoring_method_beside_an_async_one_may_raise_stop_iteration() -> None:
    class Scores:
        async def generate(self, prompts: list[str]) -> list[str]:
            return prompts

        def loglikelihood(self, pairs: list[tuple[str, str]]) -> list[float]:
            if any(context == "b" for context, _ in pairs):
                raise StopIteration
            return [-1.0] * len(pairs)

    model = from_any(Scores(), timeout=20.0)
    pairs: Any = [Pair(context, "x") for context in "abc"]
    found = outcomes(model, pairs, {SCORES: True})
    assert texts(found) == ["x", None, "x"]
    assert found[1].error == "RuntimeError: the function raised StopIteration"


def test_a_completion_whose_repr_raises_is_an_error_of_its_row() -> None:
    class Unreadable:
        def __repr__(self) -> str:
            raise ValueError("no text")

    (found,) = outcomes(lambda prompt: Unreadable(), ["a"])
    error = "AnswerError: Model 'lambda' returned <repr() of Unreadable raised ValueError> (Unreadable); expected"
    assert str(found.error).startswith(error)


@pytest.mark.usefixtures("impatient")
def test_a_model_that_is_gone_is_reported_though_its_error_has_no_text() -> None:
    class LostError(UnreadableError, ConnectionError):
        pass

    def answer(prompt: str) -> str:
        raise LostError

    found = outcomes(answer, [str(number) for number in range(12)])
    assert "last: LostError: <str() raised ValueError>" in str(found[-1].error)


def test_one_fingerprint_has_one_queue() -> None:
    assert queue_of(echo(), "f") is not queue_of(echo(), "g")
    queue = queue_of(echo(), "f")
    assert queue_of(echo(), "f") is queue


def test_no_thread_is_left_but_that_of_the_event_loop() -> None:
    async def later(prompt: str) -> str:
        return prompt

    before = threading.enumerate()
    outcomes(echo(), ["a"] * 100)
    outcomes(lambda prompt: 1 / 0, ["a"] * 100, workers=4)
    outcomes(lambda prompt: prompt, ["a"] * 100, workers="auto", timeout=10)
    outcomes(later, ["a"] * 100)

    def left() -> set[str]:
        return {thread.name for thread in threading.enumerate() if thread not in before}

    # a worker that has signed off is a thread for another moment
    deadline = time.monotonic() + 5
    while left() - {"helmframe-event-loop"} and time.monotonic() < deadline:
        time.sleep(0.01)
    assert left() <= {"helmframe-event-loop"}


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
        threading.Thread(target=lambda name=name, n=n: list(queue.run([name] * n, {}, labels=labels)))
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
        threading.Thread(target=lambda text=text, d=d: list(queue.run([text] * 3, d, labels=labels)))
        for text, d in (("first", {}), ("a", {"temperature": 0}), ("b", {"temperature": 1}))
    ]
    for waiting, thread in enumerate(threads):
        thread.start()
        until_waiting(queue, waiting)
    go.set()
    for thread in threads:
        thread.join(30)
    assert sorted(map(tuple, batches)) == [("a",) * 3, ("b",) * 3, ("first",) * 3]


def test_a_closed_iterator_cancels_prompts_that_were_not_sent() -> None:
    asked: list[str] = []

    def answer(prompt: str) -> str:
        asked.append(prompt)
        time.sleep(0.03)
        return prompt

    model = from_any(answer)
    found = queue_of(model, "closed").run(["a"] * 50, {}, labels=labels)
    next(iter(found))
    found.close()
    count = len(asked)
    time.sleep(0.2)
    assert len(asked) <= count + 1


def test_control_c_yields_finished_completions_and_raises() -> None:
    def answer(prompt: str) -> str:
        time.sleep(0.05)
        if prompt == "last":
            signal.raise_signal(signal.SIGINT)
            time.sleep(0.3)
        return prompt

    found: list[Outcome] = []

    def collect() -> None:
        for batch in queue_of(from_any(answer), "interrupted").run(["a", "b", "last", "never"], {}, labels=labels):
            found.extend(batch)

    with pytest.raises(KeyboardInterrupt):
        collect()
    assert texts(sorted(found))[:2] == ["a", "b"]


HANGS = """
import time, threading
from helmframe.models.protocol import from_any
from helmframe.models.scheduler import ModelQueue
def answer(prompt: str) -> str:
    if prompt == "hang":
        print("hangs", flush=True)
        time.sleep(60)
    return prompt
try:
    for batch in ModelQueue(from_any(answer)).run(["a", "hang", "b"], {}, labels=lambda index: {}):
        pass
finally:
    time.sleep(0.5)
"""


@pytest.mark.parametrize("times", [1, 2])
def test_control_c_ends_a_process_whose_model_hangs(times: int) -> None:
    command = [sys.executable, "-c", HANGS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "hangs\n"
        started = time.monotonic()
        for _ in range(times):
            time.sleep(0.1)
            process.send_signal(signal.SIGINT)
        try:
            _, error = process.communicate(timeout=30)
        finally:
            process.kill()
    assert time.monotonic() - started < 10
    assert error.count("KeyboardInterrupt") == times


def asked_while_busy(queue: ModelQueue, go: threading.Event, *callers: tuple[list[str], int]) -> None:
    """Start these callers, each a list of prompts and a priority, while the queue's first call is held up by `go`."""
    threads = [
        threading.Thread(target=lambda p=p, n=n: list(queue.run(p, {}, labels=labels, priority=n))) for p, n in callers
    ]
    for waiting, thread in enumerate(threads):
        thread.start()
        until_waiting(queue, waiting)
    go.set()
    for thread in threads:
        thread.join(30)


def test_higher_priorities_run_first_and_equal_ones_take_turns() -> None:
    asked: list[str] = []
    go = threading.Event()

    def answer(prompt: str) -> str:
        go.wait(30)
        asked.append(prompt)
        time.sleep(0.006)  # so long that a slice stays one call
        return prompt

    queue = ModelQueue(from_any(answer))
    asked_while_busy(queue, go, (["first"], 0), (["low"] * 4, -1), (["a"] * 4, 5), (["b"] * 4, 5))
    assert sorted(asked[1:3]) == ["a", "b"]
    assert (sorted(asked[1:9]), asked[9:]) == (["a"] * 4 + ["b"] * 4, ["low"] * 4)


def test_the_last_batch_of_the_higher_priority_is_filled_up() -> None:
    batches: list[list[str]] = []
    go = threading.Event()

    def answer(prompts: list[str]) -> list[str]:
        go.wait(30)
        batches.append(prompts)
        return prompts

    queue = ModelQueue(from_any(answer, batch=4))
    asked_while_busy(queue, go, (["first"], 0), (["low"] * 5, 0), (["high"] * 2, 1))
    assert batches[1] == ["high", "high", "low", "low"]


def test_a_caller_that_does_not_fetch_stalls_alone() -> None:
    asked: list[str] = []

    def answer(prompts: list[str]) -> list[str]:
        asked.extend(prompts)
        return prompts

    queue = ModelQueue(from_any(answer))
    slow = iter(queue.run(["slow"] * 50_000, {}, labels=labels))
    fetched = len(next(slow))
    assert len(list(queue.run(["quick"] * 1000, {}, labels=labels))) > 0
    until_idle(queue)
    assert asked.count("quick") == 1000
    assert asked.count("slow") - fetched <= BACKLOG + MAX_SLICE
    assert fetched + sum(len(batch) for batch in slow) == 50_000


def until_idle(queue: ModelQueue) -> None:
    while queue._workers or queue._tasks:
        time.sleep(0.001)


def test_a_stop_yields_finished_completions_and_sends_no_more() -> None:
    asked: list[str] = []
    stop = threading.Event()

    def answer(prompt: str) -> str:
        asked.append(prompt)
        if len(asked) == 5:
            stop.set()
        time.sleep(0.02)
        return prompt

    queue = ModelQueue(from_any(answer))
    found = [outcome for batch in queue.run(["a"] * 100, {}, labels=labels, stop=stop) for outcome in batch]
    assert len(found) == len(asked) == 5


def test_a_stop_does_not_wait_long_for_a_call_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("helmframe.models.callers.STOP_SECONDS", 0.1)
    stop, go = threading.Event(), threading.Event()

    def answer(prompt: str) -> str:
        stop.set()
        go.wait(30)
        return prompt

    started = time.monotonic()
    assert list(ModelQueue(from_any(answer)).run(["a"] * 3, {}, labels=labels, stop=stop)) == []
    assert time.monotonic() - started < 5
    go.set()


def test_a_stop_before_the_start_sends_nothing() -> None:
    stop = threading.Event()
    stop.set()
    assert list(ModelQueue(echo()).run(["a"], {}, labels=labels, stop=stop)) == []


def test_a_stop_ends_the_pause_before_a_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("helmframe.models.retries.FIRST_PAUSE", 1000.0)
    stop = threading.Event()

    async def answer(prompt: str) -> str:
        stop.set()
        raise ConnectionResetError

    assert list(ModelQueue(from_any(answer)).run(["a"], {}, labels=labels, stop=stop)) == []


def test_a_function_that_hangs_is_an_error_of_its_row_and_holds_nothing_up() -> None:
    go = threading.Event()
    calls: list[str] = []

    def answer(prompt: str) -> str:
        calls.append(prompt)
        if prompt == "b":
            go.wait(30)
        return f"{prompt} {current_labels()['instance_id']}"

    found = outcomes(answer, ["a", "b", "c"], timeout=0.1)
    go.set()
    assert texts(found) == ["a id0", None, "c id2"]
    assert (found[1].error, found[1].attempts) == ("TimeoutError: no response within 0.1 s", 2)
    assert calls == ["a", "b", "b", "c"]


def test_an_async_function_that_hangs_is_an_error_of_its_row() -> None:
    async def answer(prompt: str) -> str:
        if prompt == "b":
            await asyncio.sleep(60)
        return prompt

    found = outcomes(answer, ["a", "b", "c"], timeout=0.1)
    assert texts(found) == ["a", None, "c"]
    assert found[1].error == "TimeoutError: no response within 0.1 s"


def test_async_calls_are_tasks_and_no_threads() -> None:
    async def answer(prompt: str) -> str:
        await asyncio.sleep(0.001)
        return threading.current_thread().name

    assert set(texts(outcomes(answer, ["a"] * 50))) == {"helmframe-event-loop"}


def test_an_async_function_can_see_which_row_it_answers() -> None:
    async def answer(prompt: str) -> str:
        await asyncio.sleep(0.001)
        return current_labels()["instance_id"]

    assert texts(outcomes(answer, ["a", "b"])) == ["id0", "id1"]


def test_async_calls_at_once_grow_as_the_model_stands_them() -> None:
    now, most = 0, 0

    async def answer(prompt: str) -> str:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        now -= 1
        return prompt

    outcomes(answer, ["a"] * 400)
    assert 32 < most <= 64


def test_threads_at_once_grow_as_the_model_stands_them() -> None:
    now: list[int] = []
    most: list[int] = []

    def answer(prompt: str) -> str:
        now.append(1)
        most.append(len(now))
        time.sleep(0.03)
        now.pop()
        return prompt

    outcomes(answer, ["a"] * 200, workers="auto")
    assert 12 < max(most) <= 64


def test_a_fixed_number_of_async_workers_stays() -> None:
    now, most = 0, 0

    async def answer(prompt: str) -> str:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.001)
        now -= 1
        return prompt

    outcomes(answer, ["a"] * 50, workers=3)
    assert most == 3


def test_an_async_function_that_exits_leaves_the_loop_running() -> None:
    async def leave(prompt: str) -> str:
        raise SystemExit(3)

    async def answer(prompt: str) -> str:
        return prompt

    assert outcomes(leave, ["a"])[0].error == "SystemExit: 3"
    assert texts(outcomes(answer, ["a"])) == ["a"]


def test_an_async_function_that_waits_for_a_model_raises() -> None:
    async def answer(prompt: str) -> str:
        return str(outcomes(echo(), [prompt]))

    (found,) = outcomes(answer, ["a"])
    assert "can't wait for completions inside its own call" in str(found.error)


def forever(started: float = 5.0) -> None:
    """Block the thread, as a client without a timeout does; not for ever, so that the test's process ends."""
    time.sleep(started)


def test_an_async_call_that_blocks_the_loop_fails_alone_and_the_others_run() -> None:
    async def answer(prompt: str) -> str:
        await asyncio.sleep(0.01)
        if prompt == "p7":
            forever()
        return prompt

    started = time.monotonic()
    found = outcomes(answer, [f"p{number}" for number in range(40)], timeout=0.5)
    assert time.monotonic() - started < 4
    assert [outcome.index for outcome in found if outcome.error] == [7]
    assert found[7].error == "TimeoutError: the call blocked the event loop for more than 0.5 s"
    assert texts(outcomes(answer, ["a", "b"])) == ["a", "b"]


def test_a_task_of_a_call_that_blocks_the_loop_fails_its_call() -> None:
    async def one(prompt: str) -> str:
        await asyncio.sleep(0)
        if prompt == "c":
            forever()
        return prompt

    async def answer(prompts: list[str]) -> list[str]:
        return list(await asyncio.gather(*map(one, prompts)))

    found = outcomes(answer, list("abcdef"), timeout=0.3, batch=3)
    assert texts(found) == ["a", "b", None, "d", "e", "f"]


def test_a_call_that_blocks_the_loop_without_pause_fails_alone() -> None:
    ended = time.monotonic() + 5

    async def answer(prompt: str) -> str:
        while prompt == "b" and time.monotonic() < ended:
            pass
        return prompt

    assert texts(outcomes(answer, ["a", "b", "c"], timeout=0.5)) == ["a", None, "c"]


def test_a_blocked_loop_delays_another_model_and_fails_none_of_its_rows() -> None:
    async def blocks(prompt: str) -> str:
        await asyncio.sleep(0.05)
        if prompt == "b":
            forever()
        return prompt

    async def answer(prompt: str) -> str:
        await asyncio.sleep(0.1)
        return prompt

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        first = pool.submit(outcomes, blocks, ["a", "b", "c"], timeout=0.5)
        second = pool.submit(outcomes, answer, ["x"] * 100, timeout=30)
        assert texts(first.result()) == ["a", None, "c"]
        assert texts(second.result()) == ["x"] * 100


def test_short_blocks_of_the_loop_fail_nothing() -> None:
    async def answer(prompt: str) -> str:
        time.sleep(0.02)
        return prompt

    assert texts(outcomes(answer, ["a"] * 60, timeout=0.6, workers=2)) == ["a"] * 60


def test_a_call_that_swallows_its_cancellation_fails_alone() -> None:
    released = threading.Event()

    async def answer(prompt: str) -> str:
        while prompt == "b" and not released.is_set():
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.05)
        return prompt

    assert texts(outcomes(answer, ["a", "b", "c"], timeout=0.2)) == ["a", None, "c"]
    released.set()


@pytest.mark.parametrize("text", ["x" * 50_000_000, "ü" * 50_000_000])
def test_a_text_of_fifty_megabytes_fails_its_row(text: str) -> None:
    def answer(prompts: list[str]) -> list[Any]:
        return [text if prompt == "b" else {"text": prompt, "reasoning": text if prompt == "c" else None}
                for prompt in prompts]  # fmt: skip

    found = outcomes(answer, ["a", "b", "c", "d"])
    assert texts(found) == ["a", None, None, "d"]
    assert all("returned a text of 50,000,000 characters; expected at most" in str(found[n].error) for n in (1, 2))

    def plain(prompts: list[str]) -> list[str]:
        return [text if prompt == "b" else prompt for prompt in prompts]

    assert texts(outcomes(plain, ["a", "b"])) == ["a", None]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("helmframe.models.retries.FIRST_PAUSE", 0.001)
    monkeypatch.setattr("helmframe.models.pace.PAUSES", (0.01, 0.02))


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("workers", [1, 4, "auto"])
def test_a_model_that_is_gone_costs_few_calls_and_gives_every_row_one_error(workers: Any) -> None:
    calls: list[str] = []

    def answer(prompt: str) -> str:
        calls.append(prompt)
        raise ConnectionRefusedError("refused")

    found = outcomes(answer, ["a"] * 5000, workers=workers)
    gone = [outcome for outcome in found if "doesn't respond" in str(outcome.error)]
    assert len(gone) > 4950
    assert str(gone[0].error).startswith("ConnectionError: model 'answer' doesn't respond (")
    assert len(calls) < 30


@pytest.mark.usefixtures("impatient")
def test_the_next_caller_probes_a_model_that_was_down() -> None:
    down = [True]

    def answer(prompt: str) -> str:
        if down:
            raise ConnectionRefusedError("refused")
        return prompt

    model = from_any(answer)

    def ask() -> list[Outcome]:
        batches = queue_of(model, "back").run(["a"] * 100, {}, labels=labels)
        return sorted(outcome for batch in batches for outcome in batch)

    assert set(texts(ask())) == {None}
    assert {outcome.attempts for outcome in ask()} == {0, 1}
    down.clear()
    assert set(texts(ask())) == {"a"}


@settings(deadline=None)
@given(
    seed=st.integers(0, 1000),
    size=st.integers(1, 40),
    bad=st.sets(st.integers(0, 39), max_size=3),
    batch=st.sampled_from([False, 1, 3, 32]),
    workers=st.sampled_from([1, 4, "auto"]),
)
def test_order_and_delay_never_change_an_outcome(seed: int, size: int, bad: set[int], batch: Any, workers: Any) -> None:
    delays = random.Random(seed)
    prompts = [f"p{number}" for number in range(size)]

    def one(prompt: str) -> str:
        time.sleep(delays.choice([0, 0, 0.001]))
        if int(prompt[1:]) in bad:
            raise ValueError(prompt)
        return prompt.upper()

    def many(asked: list[str]) -> list[str]:
        return [one(prompt) for prompt in asked]

    found = outcomes(many if batch else one, prompts, batch=batch, workers=workers)
    expected = [(None, f"ValueError: p{n}") if n in bad else (f"P{n}", None) for n in range(size)]
    assert list(zip(texts(found), [outcome.error for outcome in found], strict=True)) == expected


SPAWN = """
import multiprocessing
import helmframe as hf

async def answer(prompt: str) -> str:
    return "A"

def run(folder):
    return hf.scenario("sampler").where(subject="music").limit(3).generate(answer).score().value()

if __name__ == "__main__":
    import sys
    hf.configure(store=sys.argv[1])
    before = run(None)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(run, [None]) == [before]
    print("done")
"""


def test_a_spawned_child_asks_on_its_own(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SPAWN)
    command = [sys.executable, "-W", "ignore", str(script), str(tmp_path / "store")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "done\n", done.stderr


def test_a_forked_child_asks_on_its_own() -> None:
    code = """
import os
from helmframe.models.protocol import from_any
from helmframe.models.scheduler import queue_of
async def later(prompt):
    return prompt
def ask(given):
    batches = queue_of(from_any(given), "f").run(["a"], {}, labels=lambda i: {})
    return [outcome.completion.text for batch in batches for outcome in batch]
held = queue_of(from_any(later), "f")
held._lock.acquire()  # as another thread may have it at the moment of the fork
child = os.fork()
if child == 0:
    print(ask(later), flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "['a']\n", done.stderr


def test_a_model_with_an_error_in_its_own_code_ends_no_other_caller() -> None:
    broken = Model("m", "m", generate=lambda prompts, decoding: [], fingerprint=lambda: "e", durable=False, takes=None)
    found = outcomes(broken, ["a", "b"])
    assert all("returned 0 completions for 1 prompt." in str(outcome.error) for outcome in found)


def test_what_is_no_model_is_never_queued() -> None:
    with pytest.raises(NotAModelError):
        outcomes(3, ["a"])


def test_what_is_not_fetched_when_the_iteration_ends_early_is_left() -> None:
    left: list[Outcome] = []
    batches = queue_of(from_any(lambda prompt: prompt), "left").run(["a"] * 40, {}, labels=labels, left=left)
    fetched = next(batches)
    time.sleep(0.3)
    batches.close()
    assert {each.index for each in fetched}.isdisjoint(each.index for each in left)
    assert len(fetched) + len(left) == 40


def test_a_queue_that_something_still_holds_does_not_answer_for_a_model_made_anew() -> None:
    def answer(prompts: list[str]) -> list[str]:
        return prompts

    held = queue_of(from_any(answer), "anew")
    assert queue_of(from_any(answer), "anew") is held
    assert queue_of(from_any(answer, batch=4), "anew").model.batch == 4
