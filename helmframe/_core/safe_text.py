"""Untrusted text: exceptions and objects whose `str()` or `repr()` may raise, invalid Unicode, invisible characters."""

import logging
import traceback
from collections.abc import Callable, Iterable

from helmframe.errors import shorten, show_invisible

__all__ = [
    "display_labels", "error_message", "error_text", "get_logger", "has_traceback", "readable_records", "safe_repr",
    "show_invisible", "traceback_text", "type_name", "valid_unicode",
]  # fmt: skip

_LONGEST_ERROR = 2_000  # characters: an exception of a model or a package may contain a whole prompt


def error_text(error: BaseException) -> str:
    """Return an exception as `TypeName: message`, or as its type name where the message is empty.

    Never raises, whatever the exception's class does, and returns text that UTF-8 can encode.
    """
    return f"{type_name(type(error))}: {error_message(error)}".removesuffix(": ")


def error_message(error: BaseException) -> str:
    """Return `str(error)`, shortened, or a note in angle brackets where that raises."""
    return shorten(_read(str, error, "str()"), _LONGEST_ERROR)


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


class _ReadableRecords(logging.Filter):
    """A filter that shows invisible characters of log messages as code points, and drops no record."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the message of the record if it has invisible characters."""
        message = record.getMessage()
        readable = show_invisible(message)
        if readable != message:
            record.msg, record.args = readable, None
        return True


readable_records = _ReadableRecords()


def get_logger(name: str) -> logging.Logger:
    """Return the logger of this name, whose messages no terminal obeys: they may contain texts from data and models."""
    logger = logging.getLogger(name)
    logger.addFilter(readable_records)
    return logger


def display_labels(texts: Iterable[str], longest: int = 80) -> dict[str, str]:
    r"""Map each text to a unique label: one line of at most `longest` characters, without invisible characters.

    >>> display_labels(["a\u202eb", "one\ntwo"])
    {'a\u202eb': 'a⟨U+202E⟩b', 'one\ntwo': 'one two'}
    """
    shown: dict[str, str] = {}
    for text in dict.fromkeys(texts):
        line = show_invisible(" ".join(text[: 4 * longest].split()))
        short = line if len(line) <= longest and len(text) <= 4 * longest else f"{line[: longest - 1]}…"
        taken = set(shown.values())
        numbered = (f"{short} ({number})" for number in range(2, len(shown) + 3))
        shown[text] = short if short not in taken else next(label for label in numbered if label not in taken)
    return shown


def _read(read: Callable[[object], str], value: object, name: str) -> str:
    try:
        return valid_unicode(read(value))
    except KeyboardInterrupt:
        raise
    except BaseException as problem:  # noqa: BLE001 - the text of a value must not end a run
        return f"<{name} raised {type_name(type(problem))}>"
