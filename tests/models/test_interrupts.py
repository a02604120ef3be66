"""Work that Ctrl-C does not interrupt, and calls with a time limit."""

import contextvars
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from helmframe.models.interrupts import TimeoutThread, run_uninterrupted, wait_for, wait_through


def interrupt(*after: float) -> None:
    for seconds in after:
        threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT)).start()


def test_it_gives_what_the_action_gives() -> None:
    assert run_uninterrupted(lambda: 7) == 7


def test_it_raises_what_the_action_raises() -> None:
    with pytest.raises(ZeroDivisionError):
        run_uninterrupted(lambda: 1 // 0)


def test_ctrl_c_is_raised_once_the_action_has_ended_however_often_it_comes() -> None:
    done: list[bool] = []

    def action() -> None:
        time.sleep(0.4)
        done.append(True)

    interrupt(0.05, 0.1, 0.15)
    with pytest.raises(KeyboardInterrupt):
        run_uninterrupted(action)
    assert done == [True]


def test_waiting_through_ctrl_c_has_an_end() -> None:
    interrupt(0.05)
    started = time.monotonic()
    wait_through([threading.Event()], 0.3)
    assert 0.25 < time.monotonic() - started < 2


def test_waiting_has_a_limit() -> None:
    wait_for([threading.Event()], 0.05)


def test_the_interpreter_does_not_end_before() -> None:
    code = (
        "import threading, time\n"
        "from helmframe.models.interrupts import run_uninterrupted\n"
        "work = lambda: (time.sleep(0.5), print('written'))\n"
        "threading.Thread(target=run_uninterrupted, args=(work,), daemon=True).start()\n"
        "time.sleep(0.2)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "written\n"


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("beside")]


def test_a_call_gives_its_value() -> None:
    aside = TimeoutThread("beside")
    assert [aside.call(lambda: 1, 10), aside.call(lambda: 2, 10)] == [1, 2]
    assert threads() == ["beside-call"]
    aside.end()
    assert threads() == []


def test_what_the_function_raises_is_raised() -> None:
    aside = TimeoutThread("beside")
    with pytest.raises(ZeroDivisionError):
        aside.call(lambda: 1 / 0, 10)
    with pytest.raises(SystemExit):
        aside.call(lambda: exec("raise SystemExit"), 10)
    aside.end()


def test_context_variables_hold_in_the_call() -> None:
    aside = TimeoutThread("beside")
    variable.set("set")
    assert aside.call(variable.get, 10) == "set"
    aside.end()


def test_a_call_that_hangs_is_left_behind_and_the_next_is_made_in_another_thread() -> None:
    aside, go = TimeoutThread("beside"), threading.Event()
    with pytest.raises(TimeoutError, match=r"^no response within 0\.05 s$"):
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
    TimeoutThread("beside").end()
