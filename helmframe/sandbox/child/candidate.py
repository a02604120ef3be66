"""The program under test in its sandbox, as a script, or as a module whose functions the referee calls."""

import builtins
import os
import sys
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

from helmframe.sandbox.child.wire import (
    MODULES,
    BrokenWireError,
    confine,
    decode,
    encode,
    job_of,
    module_namespace,
    ready,
    receive,
    send,
    silence,
)


def script(confinement: str, job: str, started: str) -> None:
    """Run the program as `python program.py` would, on the standard streams."""
    confine(confinement)
    work = job_of(int(job))
    ready(int(started))
    _load(work, module_namespace("__main__"))


def module(confinement: str, job: str, started: str, requests: str, replies: str) -> None:
    """Load the program, then serve the referee's calls until it closes the pipe."""
    confine(confinement)
    work = job_of(int(job))
    silence(0, 1, 2)
    ready(int(started))
    with os.fdopen(int(requests), "rb") as incoming, os.fdopen(int(replies), "wb") as outgoing:
        names = module_namespace("program")
        objects: list[Any] = []
        send(outgoing, _reply(partial(_load, work, names), objects))
        while True:
            try:
                request = receive(incoming)
            except BrokenWireError:
                os._exit(0)
            send(outgoing, _reply(partial(_handle, request, names, objects), objects))


def _load(work: dict[str, Any], names: dict[str, Any]) -> None:
    # Python's `site`, which the sandbox does not import, defines both
    builtin_names: dict[str, Any] = {"exit": sys.exit, "quit": sys.exit}
    exec(compile(work["imports"], "imports.py", "exec"), builtin_names)  # noqa: S102
    # not into the module, because the referee must not use these names as the program's
    vars(builtins).update({name: value for name, value in builtin_names.items() if not name.startswith("__")})
    exec(compile(work["program"], "program.py", "exec"), names)  # noqa: S102 - the purpose of this module


def _reply(work: Callable[[], Any], objects: list[Any]) -> dict[str, Any]:
    def stand_in(value: Any) -> Any:
        if isinstance(value, ModuleType) and sys.modules.get(value.__name__) is value and value.__name__ in MODULES:
            return ["module", value.__name__]
        objects.append(value)
        return len(objects) - 1

    try:
        return {"value": encode(work(), stand_in)}
    except BaseException as error:  # noqa: BLE001 - SystemExit is a result of the program too
        text = error.args[0] if len(error.args) == 1 else error
        return {"error": type(error).__name__, "text": str(text)[:2000]}


def _handle(request: dict[str, Any], names: dict[str, Any], objects: list[Any]) -> Any:
    if "name" in request:
        return names[request["name"]]
    if "next" in request:
        # one value at a time, because the caller may stop before an endless generator
        return list(zip(range(1), objects[request["next"]], strict=False))
    if "iterate" in request:
        return _Iterator(iter(objects[request["iterate"]]))
    if "truth" in request:
        return bool(objects[request["truth"]])
    if "length" in request:
        return len(objects[request["length"]])
    args = decode(request["args"], objects.__getitem__)
    keywords = decode(request["keywords"], objects.__getitem__)
    return objects[request["call"]](*args, **keywords)


class _Iterator:
    """An iterator that is passed by reference, not by value."""

    def __init__(self, iterator: Any) -> None:
        self._iterator = iterator

    def __iter__(self) -> "_Iterator":
        return self

    def __next__(self) -> Any:
        return next(self._iterator)
