"""Values between program and tests, as one line of JSON each: nothing that is read can run code or compare by itself.

Numbers, texts, containers and their subclasses go by value; whatever else goes as a number that stands for it.
"""

import json
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any, BinaryIO

LONGEST = 16 << 20  # bytes of one message


class BrokenWireError(Exception):
    """The other side ended, or said what no message is."""


def send(pipe: BinaryIO, message: dict[str, Any]) -> None:
    """One message, at once."""
    pipe.write(json.dumps(message).encode() + b"\n")
    pipe.flush()


def receive(pipe: BinaryIO) -> dict[str, Any]:
    """The next message.

    Raises:
        BrokenWireError: there is none, or it is too long, or not JSON of the right form.
    """
    line = pipe.readline(LONGEST + 1)
    if not line.endswith(b"\n"):
        raise BrokenWireError("too much at once" if len(line) > LONGEST else "it ended")
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BrokenWireError(f"not a message: {type(error).__name__}") from None
    if not isinstance(message, dict):
        raise BrokenWireError("not a message")
    return message


def encode(value: Any, stand_in: Callable[[Any], Any]) -> Any:
    """The value as JSON; `stand_in` says what goes in place of an object that can't go by value."""
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        # in hexadecimal, as Python refuses to write very long numbers in decimal
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
    return ["object", stand_in(value)]


def decode(encoded: Any, of_stand_in: Callable[[Any], Any]) -> Any:
    """The value that `encode` said; always of the plain type itself, never of a subclass.

    Raises:
        BrokenWireError: it said no such thing.
    """
    try:
        return _decoded(encoded, of_stand_in)
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise BrokenWireError(f"not a value: {type(error).__name__}") from None


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


_CONTAINERS: dict[str, Callable[[Any], Any]] = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}
_SCALARS: dict[str, Callable[..., Any]] = {
    "int": lambda text: int(text, 16),
    "bytes": bytes.fromhex,
    "complex": complex,
    "range": lambda *ends: range(*(int(end, 16) for end in ends)),
    "Decimal": Decimal,
    "Fraction": Fraction,
}
