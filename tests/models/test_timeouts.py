"""Calls beside, and those that hang there."""

import contextvars
import threading
import time

import pytest

from helmframe.models.timeouts import Aside

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("beside")]


def test_a_call_gives_its_value() -> None:
    aside = Aside("beside")
    assert [aside.call(lambda: 1, 10), aside.call(lambda: 2, 10)] == [1, 2]
    assert threads() == ["beside-call"]
    aside.end()
    assert threads() == []


def test_what_the_function_raises_is_raised() -> None:
    aside = Aside("beside")
    with pytest.raises(ZeroDivisionError):
        aside.call(lambda: 1 / 0, 10)
    with pytest.raises(SystemExit):
        aside.call(lambda: exec("raise SystemExit"), 10)
    aside.end()


def test_context_variables_hold_in_the_call() -> None:
    aside = Aside("beside")
    variable.set("set")
    assert aside.call(variable.get, 10) == "set"
    aside.end()


def test_a_call_that_hangs_is_left_behind_and_the_next_is_made_in_another_thread() -> None:
    aside, go = Aside("beside"), threading.Event()
    with pytest.raises(TimeoutError, match=r"^no answer within 0\.05 s$"):
        aside.call(lambda: go.wait(30), 0.05)
    assert aside.call(lambda: "next", 10) == "next"
    aside.end()
    assert threads() == ["beside-call"]
    go.set()
    until = time.monotonic() + 10
    while threads() and time.monotonic() < until:
        time.sleep(0.01)
    assert threads() == []


def test_an_end_without_a_call_is_one() -> None:
    Aside("beside").end()
