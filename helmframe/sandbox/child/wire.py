"""The messages between program and tests, and the confinement of their processes.

A message is one line of JSON, so reading it runs no code. Numbers, texts, containers and their subclasses are passed by
value, types and modules of Python by name, and other objects as a number.
"""

import builtins
import json
import os
import resource
import sys
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from importlib import import_module
from types import ModuleType
from typing import Any, BinaryIO

# The maximum size of a message in bytes.
LONGEST = 16 << 20


class BrokenWireError(Exception):
    """An error of the other process, such as an invalid message; its text is a predicate, such as "ended early"."""


def send(pipe: BinaryIO, message: dict[str, Any]) -> None:
    """Write and flush one message."""
    pipe.write(json.dumps(message).encode() + b"\n")
    pipe.flush()


def receive(pipe: BinaryIO) -> dict[str, Any]:
    """Return the next message.

    Raises:
        BrokenWireError: The pipe ended, or the message is too long or isn't a JSON object.
    """
    line = pipe.readline(LONGEST + 1)
    if not line.endswith(b"\n"):
        raise BrokenWireError(f"sent a message over {LONGEST >> 20} MiB" if len(line) > LONGEST else "ended early")
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BrokenWireError(f"sent an invalid message ({type(error).__name__})") from None
    if not isinstance(message, dict):
        raise BrokenWireError("sent an invalid message")
    return message


def encode(value: Any, stand_in: Callable[[Any], Any]) -> Any:
    """Return a value as JSON; `stand_in` returns the number of an object, or the encoded value of a type or module."""
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        # in hexadecimal, because Python limits the length of decimal numbers
        return ["int", hex(int(value))]
    if isinstance(value, float):
        return float(value)
    if isinstance(value, dict):
        return ["dict", *([encode(key, stand_in), encode(element, stand_in)] for key, element in value.items())]
    for kind in (list, tuple, set, frozenset):
        if isinstance(value, kind):
            return [kind.__name__, *(encode(element, stand_in) for element in value)]
    if isinstance(value, bytes | bytearray):
        return ["bytes", bytes(value).hex()]
    if isinstance(value, complex):
        return ["complex", value.real, value.imag]
    if isinstance(value, range):
        return ["range", hex(value.start), hex(value.stop), hex(value.step)]
    if isinstance(value, Decimal | Fraction):
        return [type(value).__name__, str(value)]
    number = stand_in(value)
    return number if isinstance(number, list) else ["object", number]


def decode(encoded: Any, of_stand_in: Callable[[Any], Any]) -> Any:
    """Return the value that `encode` encoded, always of a plain type, never of a subclass.

    Raises:
        BrokenWireError: The value isn't encoded.
    """
    try:
        return _decoded(encoded, of_stand_in)
    except (ArithmeticError, ImportError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise BrokenWireError(f"sent an invalid value ({type(error).__name__})") from None


def _decoded(encoded: Any, of_stand_in: Callable[[Any], Any]) -> Any:
    if not isinstance(encoded, list):
        return encoded
    kind, *rest = encoded
    if kind == "dict":
        return {_decoded(key, of_stand_in): _decoded(value, of_stand_in) for key, value in rest}
    if kind in _CONTAINERS:
        return _CONTAINERS[kind](_decoded(element, of_stand_in) for element in rest)
    if kind == "object":
        return of_stand_in(rest[0])
    return _SCALARS[kind](*rest)


TYPES: dict[str, type] = {name: value for name, value in vars(builtins).items() if isinstance(value, type)}
MODULES: dict[str, str] = {name: name for name in sys.stdlib_module_names}
_CONTAINERS: dict[str, Callable[[Any], Any]] = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}
_SCALARS: dict[str, Callable[..., Any]] = {
    "int": lambda text: int(text, 16),
    "bytes": bytes.fromhex,
    "complex": complex,
    "range": lambda *ends: range(*(int(end, 16) for end in ends)),
    "Decimal": Decimal,
    "Fraction": Fraction,
    "type": lambda name: TYPES[name],
    "module": lambda name: import_module(MODULES[name]),
}


def confine(confinement: str) -> None:
    """Set the limits of this process, and change to an unprivileged user.

    Args:
        confinement: JSON with `uid` (null inside a user namespace) and `limits`: cpu in seconds, memory and
            scratch in bytes, and the number of processes.
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
    _limit(resource.RLIMIT_SIGPENDING, 256)  # signals and timers
    if wanted["uid"] is not None:
        os.setgroups([])
        os.setresgid(wanted["uid"], wanted["uid"], wanted["uid"])
        os.setresuid(wanted["uid"], wanted["uid"], wanted["uid"])
    sys.argv = ["program.py"]


def job_of(number: int) -> Any:
    """Return the job, which is JSON in the file of this descriptor; close the file."""
    with os.fdopen(number, "rb") as file:
        return json.load(file)


def ready(number: int) -> None:
    """Report to the parent process that the setup is done, so that later failures are the program's own."""
    os.write(number, b"1")
    os.close(number)


def module_namespace(name: str) -> dict[str, Any]:
    """Return the namespace of a new module in `sys.modules`, where dataclasses search for it."""
    module = sys.modules[name] = ModuleType(name)
    return vars(module)


def silence(*streams: int) -> None:
    """Redirect these streams to the null device."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in streams:
        os.dup2(null, stream)
    os.close(null)


def _limit(name: int, value: int) -> None:
    # soft and hard limit, so that a program can't raise the limit or catch the signal of the soft limit
    resource.setrlimit(name, (value, value))
