"""The one event loop of a process."""

import asyncio
import concurrent.futures
import subprocess
import sys
import threading

import pytest

from helmframe.models import event_loop


async def give(value: int) -> int:
    await asyncio.sleep(0)
    return value


async def loop_of() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def test_it_is_one_for_all_calls() -> None:
    assert event_loop.run(loop_of()) is event_loop.run(loop_of()) is event_loop.loop()


def test_it_is_another_than_the_one_that_runs_here() -> None:
    async def in_a_notebook() -> tuple[int, bool]:
        return event_loop.run(give(3)), event_loop.run(loop_of()) is asyncio.get_running_loop()

    assert asyncio.run(in_a_notebook()) == (3, False)


def test_what_the_coroutine_raises_is_raised() -> None:
    async def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        event_loop.run(fail())


def test_a_coroutine_that_exits_leaves_the_loop_turning() -> None:
    async def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        event_loop.run(leave())
    assert event_loop.run(give(1)) == 1


def test_waiting_on_the_loop_itself_is_refused() -> None:
    async def ask() -> None:
        event_loop.run(give(1))

    with pytest.raises(RuntimeError, match="can't wait for another"):
        event_loop.run(ask())


def test_what_comes_in_time_is_given() -> None:
    assert event_loop.run(event_loop.within(give(2), 10)) == 2


def test_what_does_not_is_cancelled() -> None:
    cancelled = threading.Event()

    async def hang() -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with pytest.raises(TimeoutError, match=r"no response within 0\.05 s"):
        event_loop.run(event_loop.within(hang(), 0.05))
    assert cancelled.wait(10)


def test_what_does_not_even_end_when_cancelled_is_left_behind() -> None:
    go = asyncio.Event()

    async def hang() -> None:
        while not go.is_set():
            try:
                await go.wait()
            except asyncio.CancelledError:
                continue

    with pytest.raises(TimeoutError):
        event_loop.run(event_loop.within(hang(), 0.05))
    event_loop.loop().call_soon_threadsafe(go.set)


def test_a_call_cancelled_from_within_is_an_error_and_cancels_nobody() -> None:
    async def cancel() -> None:
        raise asyncio.CancelledError

    async def wait() -> str:
        with pytest.raises(concurrent.futures.CancelledError, match="cancelled from within"):
            await event_loop.within(cancel(), 10)
        return "the waiting task goes on"

    assert event_loop.run(wait()) == "the waiting task goes on"


def test_a_call_that_raises_generator_exit_does_not_end_the_task_that_waits() -> None:
    async def leave() -> None:
        raise GeneratorExit

    with pytest.raises(RuntimeError, match="the call raised GeneratorExit"):
        event_loop.run(event_loop.within(leave(), 10))


def test_a_forked_child_has_a_loop_of_its_own() -> None:
    code = """
import os
from helmframe.models import event_loop
async def give(value):
    return value
event_loop.run(give(1))
child = os.fork()
if child == 0:
    print(event_loop.run(give(7)), flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""
    assert program(code).stdout == "7\n"


def test_a_process_ends_though_a_call_hangs() -> None:
    code = """
import asyncio, concurrent.futures, contextlib, threading
from helmframe.models import event_loop
async def hang():
    await asyncio.sleep(60)
def wait():
    with contextlib.suppress(concurrent.futures.CancelledError):
        event_loop.run(hang())
threading.Thread(target=wait, daemon=True).start()
while not event_loop._loop or not asyncio.all_tasks(event_loop._loop):
    pass
"""
    done = program(code)
    assert (done.returncode, done.stderr) == (0, "")


def program(code: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-W", "ignore", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)


def test_tasks_share_a_room_and_a_large_one_runs_alone() -> None:
    sizes = [3, 4, 5, 20, 2, 2]
    held: list[int] = []
    seen: list[tuple[int, int]] = []

    async def work(room: event_loop.Room, size: int) -> None:
        async with room.holding(lambda: size, lambda value: value) as value:
            held.append(value)
            seen.append((sum(held), len(held)))
            await asyncio.sleep(0.01)
            held.remove(value)

    async def all_at_once() -> None:
        room = event_loop.Room(10)
        await asyncio.gather(*(work(room, size) for size in sizes))

    event_loop.run(all_at_once())
    assert len(seen) == len(sizes)
    assert all(total <= 10 or n == 1 for total, n in seen)
    assert max(n for _, n in seen) > 1


def test_a_load_that_fails_leaves_the_room_free() -> None:
    def fail() -> int:
        raise ValueError("broken")

    async def work() -> int:
        room = event_loop.Room(10, waiting=1)
        with pytest.raises(ValueError, match="broken"):
            async with room.holding(fail, int):
                pass
        async with room.holding(lambda: 10, int) as value:
            return value

    assert event_loop.run(work()) == 10
