"""The event loop for the async models of a process, in a thread that ends with the process.

asyncio is imported inside functions, because most runs have no async model and its import is slow.
"""

import atexit
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from helmframe.models.callers import CURRENT_REQUESTS, PromptRef

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

# The maximum number of concurrent calls in threads, of all models together.
MAX_THREADS = 256

T = TypeVar("T")

_lock = threading.Lock()
_loop: "asyncio.AbstractEventLoop | None" = None
_thread: threading.Thread | None = None
_threads: "ThreadPoolExecutor | None" = None
# task → the requests of the model call that created it
_requests: "WeakKeyDictionary[asyncio.Task[Any], Sequence[PromptRef]]" = WeakKeyDictionary()
# replaced loop → the requests of the call that blocks it
_blocking: "WeakKeyDictionary[asyncio.AbstractEventLoop, Sequence[PromptRef]]" = WeakKeyDictionary()
_stall: "_Stall | None" = None


class _Stall(NamedTuple):
    """The task that the loop runs, and the time since which it has run nothing else."""

    task: "asyncio.Task[Any] | None"
    since: float


class Blocked(NamedTuple):
    """A loop that runs nothing but one task: the requests of the task, if they are known, and the seconds so far."""

    loop: "asyncio.AbstractEventLoop"
    task: "asyncio.Task[Any] | None"
    requests: "Sequence[PromptRef]"
    seconds: float


def loop() -> "asyncio.AbstractEventLoop":
    """Return the running loop, which is created on first use.

    The process has one loop until it ends, so clients and connections of one call serve the next call. It is not the
    loop of a notebook.
    """
    import asyncio

    global _loop, _thread
    with _lock:
        if _loop is None or _thread is None or not _thread.is_alive():
            _loop = asyncio.new_event_loop()
            _loop.set_task_factory(_make_task)
            _thread = threading.Thread(target=_turn, args=(_loop,), name="helmframe-event-loop", daemon=True)
            _thread.start()
        return _loop


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Return the coroutine's result. This thread waits; coroutines of other threads run on the same loop.

    Raises:
        RuntimeError: The function was called on the loop's own thread, which would wait for itself.
    """
    import asyncio

    if inside():
        coroutine.close()
        raise RuntimeError(
            "An async model can't wait for another model inside its own call. Await it, or call it in a thread."
        )
    return asyncio.run_coroutine_threadsafe(coroutine, loop()).result()


def inside() -> bool:
    """Return whether this is the loop's own thread, which must not wait for a completion."""
    return threading.current_thread() is _thread


def blocked() -> Blocked | None:
    """Return the time in which the loop has run one task only; None if there is no loop.

    The function must be called regularly, because it detects at each call whether the loop has run other tasks.
    """
    import asyncio

    global _stall
    with _lock:
        current = _loop
        if current is None:
            return None
        task, now = asyncio.current_task(current), time.monotonic()
        if _stall is None:
            _stall = _Stall(task, now)
            current.call_soon_threadsafe(_run_other)
        elif _stall.task is not task:
            _stall = _Stall(task, now)
        return Blocked(current, task, () if task is None else _requests.get(task, ()), now - _stall.since)


def replace(stalled: Blocked) -> None:
    """Replace a blocked loop by a new one on the next use; the thread of the old one ends with its call."""
    global _loop, _thread, _stall
    with _lock:
        if _loop is stalled.loop:
            _blocking[stalled.loop] = stalled.requests
            _loop = _thread = _stall = None
            stalled.loop.call_soon_threadsafe(_cancel_all, stalled.loop)


def blocking_requests(replaced: "asyncio.AbstractEventLoop") -> Sequence[PromptRef]:
    """Return the requests of the task for which a loop was replaced; empty if they are unknown."""
    return _blocking.get(replaced, ())


async def in_thread(function: Callable[..., Any], *args: Any) -> Any:
    """Return the result of a function that runs in a thread, in the current context.

    The threads are not asyncio's own: those resolve host names, so a call that waits for a connection would block them.
    """
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    global _threads
    if _threads is None:
        _threads = ThreadPoolExecutor(MAX_THREADS, "helmframe-call")
    return await asyncio.get_running_loop().run_in_executor(_threads, copy_context().run, function, *args)


async def within(coroutine: Coroutine[Any, Any, Any], timeout: float | None) -> Any:
    """Return the coroutine's result within `timeout` seconds; a call that ignores its cancellation is abandoned.

    Raises:
        TimeoutError: The call took longer.
        CancelledError: The coroutine raised `asyncio.CancelledError`; the class is that of `concurrent.futures`.
        RuntimeError: The coroutine raised `GeneratorExit`.
    """
    import asyncio
    from concurrent.futures import CancelledError

    task = asyncio.ensure_future(coroutine)
    try:
        # not asyncio.wait_for, which waits for the cancelled task, even if it hangs
        done, _ = await asyncio.wait({task}, timeout=timeout)
    except asyncio.CancelledError:
        task.cancel()
        raise
    if not done:
        task.add_done_callback(_forget_result)
        task.cancel()
        raise TimeoutError(f"no response within {timeout:g} s")
    # converted, because these two would end the waiting task
    if task.cancelled():
        raise CancelledError("the call was cancelled from within")
    if isinstance(task.exception(), GeneratorExit):
        raise RuntimeError("the call raised GeneratorExit") from task.exception()  # noqa: TRY004 - not a wrong type
    return task.result()


class Room:
    """A number of bytes that the tasks of one loop share; a task waits until its bytes fit, or it is alone.

    Args:
        size: The number of bytes.
        waiting: The number of tasks that may load their bytes before they fit.
    """

    def __init__(self, size: int, waiting: int = 4) -> None:
        import asyncio

        self._size = size
        self._taken = 0
        self._changed = asyncio.Condition()
        self._door = asyncio.Semaphore(waiting)

    @asynccontextmanager
    async def holding(self, load: Callable[[], T], size_of: Callable[[T], int]) -> AsyncIterator[T]:
        """Yield the result of `load`, which runs in a thread, and hold room for its bytes during the block."""
        import asyncio

        async with self._door:
            value = await asyncio.to_thread(load)
            size = size_of(value)
            async with self._changed:
                await self._changed.wait_for(lambda: not self._taken or self._taken + size <= self._size)
                self._taken += size
        try:
            yield value
        finally:
            async with self._changed:
                self._taken -= size
                self._changed.notify_all()


def _make_task(of_loop: "asyncio.AbstractEventLoop", coroutine: Any, **options: Any) -> "asyncio.Task[Any]":
    import asyncio

    task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=of_loop, **options)
    _requests[task] = CURRENT_REQUESTS.get()
    return task


def _run_other() -> None:
    """Record that the loop runs other tasks too."""
    global _stall
    with _lock:
        _stall = None


def _turn(turning: "asyncio.AbstractEventLoop") -> None:
    while True:
        try:
            turning.run_forever()
        except (SystemExit, KeyboardInterrupt):
            continue  # these pass from a task through the loop; the waiting caller raises them
        break
    if turning is not _loop:  # it was replaced
        turning.close()


def _forget_result(task: "asyncio.Future[Any]") -> None:
    if not task.cancelled():
        task.exception()  # retrieved, so that asyncio does not report it as never retrieved


def _end() -> None:
    """Cancel the running tasks at exit, so that asyncio does not report them as pending; skip a blocked loop."""
    if _loop is None or _thread is None or not _thread.is_alive():
        return
    _loop.call_soon_threadsafe(_cancel_all, _loop)
    _thread.join(timeout=1.0)
    if not _thread.is_alive():
        _loop.close()


def _cancel_all(turning: "asyncio.AbstractEventLoop") -> None:
    import asyncio

    for task in asyncio.all_tasks(turning):
        task.cancel()
    # after two turns: cancelled tasks end in the first, and tasks that wait for them in the second
    turning.call_soon(turning.call_soon, turning.stop)


def _after_fork() -> None:
    """Reset the loop in a forked child, where its thread is missing and its lock may be held."""
    global _lock, _loop, _thread, _threads, _stall
    _lock = threading.Lock()
    _loop = _thread = _threads = _stall = None


atexit.register(_end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
