"""One event loop for the async models of a process, in a thread of its own that ends with the process.

asyncio is imported where it is used: most runs have no async model, and it takes a tenth of `import helmframe`.
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
    """The loop, turning; made when it is first needed.

    It is one for the process and never stops before it: a client that was opened by one call, and the connections it
    keeps, serve the next. A notebook's own loop has no part in it.
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
    """What the coroutine gives; blocks the calling thread, while those of other threads run on the same loop.

    Raises:
        RuntimeError: called on the loop itself, which would wait for itself.
    """
    import asyncio

    if inside():
        coroutine.close()
        raise RuntimeError("an async model can't wait for another inside its own call; await it, or ask in a thread.")
    return asyncio.run_coroutine_threadsafe(coroutine, loop()).result()


def inside() -> bool:
    """Whether this is the loop's own thread, which must never wait for an answer."""
    return threading.current_thread() is _thread


async def within(coroutine: Coroutine[Any, Any, Any], timeout: float | None) -> Any:
    """What the coroutine gives within so many seconds; a call that does not even end when cancelled is left behind.

    Raises:
        TimeoutError: it gave nothing in time.
        CancelledError: The one of `concurrent.futures`: the coroutine raised `asyncio.CancelledError`.
        RuntimeError: The coroutine raised `GeneratorExit`.
    """
    import asyncio
    from concurrent.futures import CancelledError

    task = asyncio.ensure_future(coroutine)
    try:
        # not wait_for: that one waits for a cancelled task, which may hang on
        done, _ = await asyncio.wait({task}, timeout=timeout)
    except asyncio.CancelledError:
        task.cancel()
        raise
    if not done:
        task.add_done_callback(_forget_result)
        task.cancel()
        raise TimeoutError(f"no answer within {timeout:g} s")
    # raised as they are, these two would end the task that waits
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
            continue  # asyncio lets these out of a task through the loop; who waits for the task raises them
        return


def _forget_result(task: "asyncio.Future[Any]") -> None:
    if not task.cancelled():
        task.exception()  # looked at, so that asyncio does not report it as never seen


def _end() -> None:
    """Cancel what still runs, so that nothing is reported as pending at exit; a task that blocks is left alone."""
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
    # two turns: one for the cancelled tasks to end, one for those who wait for them
    turning.call_soon(turning.call_soon, turning.stop)


def _after_fork() -> None:
    """A forked child has the loop but not its thread, and perhaps a lock that nobody there will release."""
    global _lock, _loop, _thread
    _lock = threading.Lock()
    _loop = _thread = None


atexit.register(_end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
