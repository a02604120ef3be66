"""The last steps into the sandbox, taken by trusted code before anything else is read: own user, limits, no streams."""

import json
import os
import resource
import sys
from types import ModuleType
from typing import Any


def confine(confinement: str) -> None:
    """Give up what is left of the caller's rights, for good.

    Args:
        confinement: JSON with `uid` (null inside a user namespace) and `limits`: cpu in seconds, memory and
            scratch in bytes, processes.
    """
    wanted = json.loads(confinement)
    limits = wanted["limits"]
    _limit(resource.RLIMIT_CPU, limits["cpu"])
    _limit(resource.RLIMIT_AS, limits["memory"])
    _limit(resource.RLIMIT_FSIZE, limits["scratch"])
    _limit(resource.RLIMIT_NPROC, limits["processes"])
    _limit(resource.RLIMIT_NOFILE, 64)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_MEMLOCK, 0)
    _limit(resource.RLIMIT_MSGQUEUE, 0)
    if wanted["uid"] is not None:
        os.setgroups([])
        os.setresgid(wanted["uid"], wanted["uid"], wanted["uid"])
        os.setresuid(wanted["uid"], wanted["uid"], wanted["uid"])
    sys.argv = ["program.py"]


def job_of(number: int) -> Any:
    """What there is to do, as JSON in the open file of this number; the file is closed."""
    with os.fdopen(number, "rb") as file:
        return json.load(file)


def ready(number: int) -> None:
    """Tell who started us that all is set up: from here on a failure is the program's own."""
    os.write(number, b"1")
    os.close(number)


def module_namespace(name: str) -> dict[str, Any]:
    """Return the namespace of a new, empty module. It is in `sys.modules`, where dataclasses look it up."""
    module = sys.modules[name] = ModuleType(name)
    return vars(module)


def silence(*streams: int) -> None:
    """Nothing comes from, or goes to, these streams."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in streams:
        os.dup2(null, stream)
    os.close(null)


def _limit(which: int, most: int) -> None:
    # soft and hard alike: a program can't put it up again, nor catch the signal of the soft one
    resource.setrlimit(which, (most, most))
