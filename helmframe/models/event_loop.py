"""One event loop for the async models of a process, in its own thread that ends with the process.

asyncio is imported inside functions: most runs have no async model, and it takes a tenth of `import helmframe`.
"""

import atexit
import os
import threading
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

_lock = threading.Lock()
_loop: "asyncio.AbstractEventLoop | None" = None
_thread: threading.Thread | None = None


def loop() -> "asyncio.AbstractEventLoop":
    """Return the running loop; it is created on first use.

    The process has one loop, which never stops earlier: a client that one call opened, and its connections, serve the
    next call. It is separate from a notebook's own loop.
    """
    import asyncio

    global _loop, _thread
    with _lock:
        if _loop is None or _thread is None or not _thread.is_alive():
            _loop = asyncio.new_event_loop()
            _thread = threading.Thread(target=_turn, args=(_loop,), name="helmframe-event-loop", daemon=True)
            _thread.start()
        return _loop


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Return the coroutine's result; blocks the calling thread, while coroutines of other threads run on the same loop.

    Raises:
        RuntimeError: Called on the loop itself, which would wait for itself.
    """
    import asyncio

    if inside():
        coroutine.close()
        raise RuntimeError(
            "An async model can't wait for another model inside its own call. Await it, or call it in a thread."
        )
    return asyncio.run_coroutine_threadsafe(coroutine, loop()).result()


def inside() -> bool:
    """Return whether this is the loop's own thread, which must never wait for a completion."""
    return threading.current_thread() is _thread


async def within(coroutine: Coroutine[Any, Any, Any], timeout: float | None) -> Any:
    """Return the coroutine's result within `timeout` seconds; a call that does not end when cancelled is abandoned.

    Raises:
        TimeoutError: The call took longer.
        CancelledError: The one of `concurrent.futures`: the coroutine raised `asyncio.CancelledError`.
        RuntimeError: The coroutine raised `GeneratorExit`.
    """
    import asyncio
    from concurrent.futures import CancelledError

    task = asyncio.ensure_future(coroutine)
    try:
        # not wait_for, which waits for a cancelled task that may hang
        done, _ = await asyncio.wait({task}, timeout=timeout)
    except asyncio.CancelledError:
        task.cancel()
        raise
    if not done:
        task.add_done_callback(_forget_result)
        task.cancel()
        raise TimeoutError(f"no response within {timeout:g} s")
    # raised unchanged, these two would end the task that waits
    if task.cancelled():
        raise CancelledError("the call was cancelled from within")
    if isinstance(task.exception(), GeneratorExit):
        raise RuntimeError("the call raised GeneratorExit") from task.exception()  # noqa: TRY004 - not a wrong type
    return task.result()


def _turn(turning: "asyncio.AbstractEventLoop") -> None:
    while True:
        try:
            turning.run_forever()
        except (SystemExit, KeyboardInterrupt):
            continue  # asyncio lets these leave a task through the loop; the caller that waits raises them
        return


def _forget_result(task: "asyncio.Future[Any]") -> None:
    if not task.cancelled():
        task.exception()  # retrieved, so that asyncio does not report it as never retrieved


def _end() -> None:
    """Cancel running tasks, so that nothing is reported as pending at exit; a task that blocks is left alone."""
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
    # two turns: one for the cancelled tasks to end, one for tasks that wait for them
    turning.call_soon(turning.call_soon, turning.stop)


def _after_fork() -> None:
    """Reset the loop of a forked child: its thread is missing, and its lock may never be released."""
    global _lock, _loop, _thread
    _lock = threading.Lock()
    _loop = _thread = None


atexit.register(_end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
