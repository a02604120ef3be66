"""Work that Ctrl-C does not break off."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from helmframe.models.interrupts import unbroken, wait_for, wait_through


def interrupt(*after: float) -> None:
    for seconds in after:
        threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT)).start()


def test_it_gives_what_the_action_gives() -> None:
    assert unbroken(lambda: 7) == 7


def test_it_raises_what_the_action_raises() -> None:
    with pytest.raises(ZeroDivisionError):
        unbroken(lambda: 1 // 0)


def test_ctrl_c_is_raised_once_the_action_has_ended_however_often_it_comes() -> None:
    done: list[bool] = []

    def action() -> None:
        time.sleep(0.4)
        done.append(True)

    interrupt(0.05, 0.1, 0.15)
    with pytest.raises(KeyboardInterrupt):
        unbroken(action)
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
        "from helmframe.models.interrupts import unbroken\n"
        "work = lambda: (time.sleep(0.5), print('written'))\n"
        "threading.Thread(target=unbroken, args=(work,), daemon=True).start()\n"
        "time.sleep(0.2)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "written\n"
