"""A slice of prompts becomes outcomes: retries, and batches halved until a bad row is alone."""

import contextvars
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helmframe.models.batches import BatchRunner, Call, Reply
from helmframe.models.callers import LOGGED_WARNINGS, Labels, Outcome
from helmframe.models.model import Prompt, Response
from helmframe.models.pace import Pace

RETURN_A_LIST = "Return a list with one completion per prompt, in the order of the prompts"
Function = Callable[[Sequence[Prompt]], Sequence[Response]]


@dataclass(eq=False)
class Someone:
    labels: Labels = field(default_factory=lambda: lambda index: {"instance_id": f"id{index}"})
    cancelled: bool = False
    logged: set[str] = field(default_factory=set)
    context: contextvars.Context = field(default_factory=contextvars.copy_context)


@dataclass
class Told:
    """What came of a batch, in how many calls, after which pauses."""

    outcomes: list[Outcome]
    calls: int = 0
    pauses: float = 0.0

    @property
    def errors(self) -> list[str | None]:
        return [outcome.error for outcome in self.outcomes]

    @property
    def texts(self) -> list[str | None]:
        return [outcome.completion.text if outcome.completion else None for outcome in self.outcomes]


def ask(function: Function, prompts: Sequence[str], pace: Pace | None = None, caller: Someone | None = None) -> Told:
    """Ask one batch of the function; pauses are counted, not slept."""
    # in a context of its own, as a worker has it: what is said of the current call must not stay behind
    return contextvars.copy_context().run(_ask, function, prompts, pace, caller or Someone())


def _ask(function: Function, prompts: Sequence[str], pace: Pace | None, caller: Someone) -> Told:
    pace = pace or Pace("m", 1, adaptive=False)
    told = Told([])
    runner = BatchRunner("m", pace, {id(caller): told.outcomes})
    steps = runner.run([(caller, index) for index in range(len(prompts))], list(prompts))
    reply: Reply | None = None
    try:
        while True:
            step = steps.send(reply)
            reply = None
            if isinstance(step, Call):
                told.calls += 1
                reply = call(function, step.prompts)
            else:
                told.pauses += step
    except StopIteration:
        told.outcomes.sort()
        return told


def call(function: Function, prompts: Sequence[Prompt]) -> Reply:
    try:
        return Reply(function(prompts), None, 0.5)
    except Exception as error:
        return Reply((), error, 0.5)


def refusing(*bad: str) -> Function:
    def answer(prompts: Sequence[Prompt]) -> Sequence[Response]:
        for prompt in prompts:
            if prompt in bad:
                raise ValueError(prompt)
        return [f"{prompt}!" for prompt in prompts]

    return answer


def failing(*errors: Exception) -> Function:
    """Raises these errors, one a call, then answers."""
    left = list(errors)

    def answer(prompts: Sequence[Prompt]) -> Sequence[Response]:
        if left:
            raise left.pop(0)
        return [f"{prompt}!" for prompt in prompts]

    return answer


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between retries are short, since they are waited for here by looking at the clock."""
    monkeypatch.setattr("helmframe.models.retries.FIRST_PAUSE", 0.001)
    monkeypatch.setattr("helmframe.models.pace.PAUSES", (0.01, 0.02))


NUMBERS = [str(number) for number in range(32)]
ENDS = [number for number in NUMBERS if int(number) % 4 in (0, 3)]


def test_a_successful_batch_is_one_call() -> None:
    told = ask(refusing(), ["a", "b"])
    assert (told.texts, told.calls) == (["a!", "b!"], 1)


@pytest.mark.parametrize("bad", ["0", "13", "31"])
def test_one_bad_row_of_32_costs_11_calls_and_the_others_keep_their_answers(bad: str) -> None:
    told = ask(refusing(bad), NUMBERS)
    assert told.texts == [None if number == bad else f"{number}!" for number in NUMBERS]
    assert told.calls == 11
    assert told.errors[int(bad)] == f"ValueError: {bad}"


@pytest.mark.parametrize("bad", [NUMBERS[:8], NUMBERS[8:24], NUMBERS[::4], NUMBERS[::2], NUMBERS[1::2], ENDS])
def test_many_bad_rows_leave_the_others_their_answers(bad: list[str]) -> None:
    told = ask(refusing(*bad), NUMBERS)
    assert told.texts == [None if number in bad else f"{number}!" for number in NUMBERS]


@settings(deadline=None)
@given(st.sets(st.integers(0, 31), max_size=6))
def test_a_bad_row_costs_at_most_two_calls_for_each_halving(bad: set[int]) -> None:
    told = ask(refusing(*map(str, bad)), NUMBERS)
    assert [index for index, error in enumerate(told.errors) if error] == sorted(bad)
    assert told.calls <= 1 + 2 * math.log2(32) * len(bad)


@pytest.mark.parametrize(("rows", "calls"), [(2, 3), (32, 15), (512, 23)])
def test_a_model_that_is_down_is_given_up_after_few_calls(rows: int, calls: int) -> None:
    def broken(prompts: Sequence[Prompt]) -> Sequence[Response]:
        raise RuntimeError("out of order")

    told = ask(broken, ["a"] * rows)
    assert told.errors == ["RuntimeError: out of order"] * rows
    assert told.calls == calls


def test_attempts_are_the_calls_that_held_a_row() -> None:
    told = ask(refusing("a"), ["a", "b", "c", "d"])
    assert [outcome.attempts for outcome in told.outcomes] == [3, 3, 2, 2]


def test_too_few_answers_are_halved_too() -> None:
    told = ask(lambda prompts: [str(prompt) for prompt in prompts if prompt != "b"], ["a", "b", "c"])
    assert told.texts == ["a", None, "c"]
    assert told.errors[1] == f"AnswerError: Model 'm' returned 0 completions for 1 prompt. {RETURN_A_LIST}."


def test_a_transient_error_is_retried() -> None:
    told = ask(failing(ConnectionResetError(), ConnectionResetError()), ["a", "b"])
    assert (told.texts, told.calls) == (["a!", "b!"], 3)
    assert {(outcome.attempts, outcome.latency) for outcome in told.outcomes} == {(3, 0.5)}


def test_an_error_that_does_not_pass_is_not() -> None:
    told = ask(failing(ValueError("no"), ValueError("no")), ["a"])
    assert (told.errors, told.calls) == (["ValueError: no"], 1)


def test_a_lost_connection_is_no_fault_of_a_row() -> None:
    told = ask(failing(*[ConnectionResetError("reset")] * 9), NUMBERS)
    assert (told.errors, told.calls) == (["ConnectionResetError: reset"] * 32, 5)


def test_a_row_that_hangs_is_found_without_a_retry_for_each_half() -> None:
    def answer(prompts: Sequence[Prompt]) -> Sequence[Response]:
        if "7" in prompts:
            raise TimeoutError("no answer within 60 s")
        return [f"{prompt}!" for prompt in prompts]

    told = ask(answer, NUMBERS)
    assert [index for index, error in enumerate(told.errors) if error] == [7]
    assert told.errors[7] == "TimeoutError: no answer within 60 s"
    assert told.calls == 12


def test_a_model_that_is_down_raises_without_a_call() -> None:
    pace = Pace("m", 1, adaptive=False)
    down = failing(*[ConnectionRefusedError("refused")] * 100)
    told = [ask(down, ["a"], pace) for _ in range(5)]
    assert [each.calls for each in told] == [5, 5, 2, 0, 0]
    said = "model 'm' doesn't respond (12 failures in a row, last: ConnectionRefusedError: refused)"
    assert told[4].errors == [f"ConnectionError: {said}; rerun when it is back."]
    assert told[4].outcomes[0].attempts == 0


def test_a_caller_that_has_gone_is_not_waited_for() -> None:
    caller = Someone()

    def answer(prompts: Sequence[Prompt]) -> Sequence[Response]:
        caller.cancelled = True
        raise ConnectionResetError

    told = ask(answer, ["a"], caller=caller)
    assert (told.outcomes, told.calls) == ([], 1)


def one_at_a_time(prompts: Sequence[Prompt]) -> Sequence[Response]:
    if len(prompts) > 1:
        raise RuntimeError("out of memory")
    return [f"{prompts[0]}!"]


def warnings_of(function: Function, prompts: Sequence[str], caplog: pytest.LogCaptureFixture) -> list[str]:
    """The warnings of two equal batches of one caller."""
    caplog.set_level(logging.DEBUG, "helmframe.models")
    caller = Someone()
    for _ in range(2):
        ask(function, prompts, caller=caller)
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_too_few_answers_are_warned_of_once_with_what_the_halving_costs(caplog: pytest.LogCaptureFixture) -> None:
    said = warnings_of(lambda prompts: ["A"], NUMBERS[:8], caplog)
    cost = f"Model 'm' returned 1 completion for 8 prompts. {RETURN_A_LIST}; "
    cost += "retried the 8 prompts in halves: 14 more calls [instance_id=id0]"
    assert said == [cost]
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.DEBUG] == [cost]


def test_a_batch_that_fails_although_its_rows_succeed_warns_once(caplog: pytest.LogCaptureFixture) -> None:
    said = warnings_of(one_at_a_time, NUMBERS[:4], caplog)
    assert said == ["RuntimeError: out of memory; retried the 4 prompts in halves: 6 more calls [instance_id=id0]"]


def test_a_bad_row_is_logged_and_the_halving_is_not(caplog: pytest.LogCaptureFixture) -> None:
    assert warnings_of(refusing("1"), NUMBERS[:4], caplog) == ["ValueError: 1 [instance_id=id1]"]


def test_in_a_run_all_callers_are_warned_together(caplog: pytest.LogCaptureFixture) -> None:
    context = contextvars.copy_context()
    context.run(LOGGED_WARNINGS.set, set())
    for _ in range(2):
        ask(one_at_a_time, ["a", "b"], caller=Someone(context=context))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
