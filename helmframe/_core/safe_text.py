"""Text of what user code made: exceptions and objects whose `str()` or `repr()` may raise, and invalid Unicode."""

import traceback
from collections.abc import Callable


def error_text(error: BaseException) -> str:
    """Return an exception as `TypeName: message`, or as its type name where the message is empty.

    Never raises, whatever the exception's class does, and returns text that UTF-8 can encode.
    """
    return f"{type_name(type(error))}: {error_message(error)}".removesuffix(": ")


def error_message(error: BaseException) -> str:
    """Return `str(error)`, or a note in angle brackets where that raises."""
    return _read(str, error, "str()")


def traceback_text(error: BaseException) -> str:
    """Return the traceback of an exception; without frames that fail to format."""
    try:
        return valid_unicode("".join(traceback.format_exception(error)))
    except Exception as problem:  # noqa: BLE001 - a class or attributes that `traceback` does not expect
        return f"{error_text(error)} (no traceback: formatting it raised {error_text(problem)})"


def has_traceback(error: BaseException) -> bool:
    """Return whether an exception was raised and its traceback can be formatted, as log handlers do."""
    try:
        return error.__traceback__ is not None and bool(traceback.format_exception(error))
    except Exception:  # noqa: BLE001 - a class or attributes that `traceback` does not expect
        return False


def safe_repr(value: object) -> str:
    """Return `repr(value)`, or a note in angle brackets where that raises."""
    return _read(repr, value, f"repr() of {type_name(type(value))}")


def type_name(kind: type) -> str:
    """Return the name of a class, even where its metaclass defines `__name__` otherwise."""
    return valid_unicode(type.__dict__["__name__"].__get__(kind))


def valid_unicode(text: str) -> str:
    """Return the text as UTF-8 can encode it: surrogate pairs are joined, single surrogates become U+FFFD."""
    try:
        str.encode(text)
    except UnicodeEncodeError:
        return str.encode(text, "utf-16", "surrogatepass").decode("utf-16", "replace")
    return str.__str__(text)


def _read(read: Callable[[object], str], value: object, name: str) -> str:
    try:
        return valid_unicode(read(value))
    except KeyboardInterrupt:
        raise
    except BaseException as problem:  # noqa: BLE001 - the text of a value must not end a run
        return f"<{name} raised {type_name(type(problem))}>"
