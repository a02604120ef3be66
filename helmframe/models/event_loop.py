"""One event loop for the async models of a process, turning only while somebody waits for an answer."""

import asyncio
import atexit
import threading
from collections.abc import Coroutine
from typing import Any

_lock = threading.Lock()
_waiting = 0
_loop: asyncio.AbstractEventLoop | None = None
_thread: threading.Thread | None = None


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What the coroutine gives; blocks the calling thread, while those of other threads run on the same loop.

    The loop is one for the process, so that a client opened in one call can be used in the next; its thread ends with
    the last waiting call.
    """
    loop = _enter()
    try:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result()
    finally:
        _leave(loop)


def _enter() -> asyncio.AbstractEventLoop:
    global _loop, _thread, _waiting
    with _lock:
        _waiting += 1
        if _loop is None or _loop.is_closed():
            _loop = asyncio.new_event_loop()
            atexit.register(_loop.close)
        if _waiting == 1:
            _thread = threading.Thread(target=_loop.run_forever, name="helmframe-event-loop", daemon=True)
            _thread.start()
        return _loop


def _leave(loop: asyncio.AbstractEventLoop) -> None:
    global _waiting
    with _lock:
        _waiting -= 1
        if _waiting == 0 and _thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            _thread.join()
