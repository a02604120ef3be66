"""Untrusted text: exceptions and objects whose `str()` or `repr()` may raise, invalid Unicode, invisible characters.

Regular expressions of files are untrusted too: each search has a time limit.
"""

import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from helmframe.errors import ArgumentError

# The time limit of a search in seconds, and the longest pattern.
PATTERN_SECONDS, PATTERN_CHARACTERS = 1.0, 10_000

# controls, formats (zero width, direction), line and paragraph separators, unassigned and private characters
_INVISIBLE = ("Cc", "Cf", "Co", "Cn", "Zl", "Zp")


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


def show_invisible(text: str) -> str:
    r"""Return the text with each invisible character replaced by its code point.

    >>> show_invisible("a\u200bb\x1b[31m")
    'a⟨U+200B⟩b⟨U+001B⟩[31m'
    """
    if text.isprintable():
        return text
    import unicodedata  # late: a library of its own

    return "".join(
        f"⟨U+{ord(character):04X}⟩"
        if unicodedata.category(character) in _INVISIBLE and character not in "\n\t"
        else character
        for character in text
    )


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


@dataclass(frozen=True)
class BoundedPattern:
    """A regular expression of a file or a user, with the methods of `re.Pattern`. Each call ends within a second.

    Raises:
        ArgumentError: A search takes too long.
    """

    source: str
    _compiled: Any

    def search(self, text: str) -> Any:
        """Return the first match, or None."""
        return self._run("search", text)

    def findall(self, text: str) -> list[Any]:
        """Return all matches: the text, or the groups."""
        found: list[Any] = self._run("findall", text)
        return found

    def sub(self, replacement: str, text: str, count: int = 0) -> str:
        """Return the text with the matches replaced."""
        return str(self._run("sub", replacement, text, count=count))

    def _run(self, method: str, *args: Any, **kwargs: Any) -> Any:
        try:
            return getattr(self._compiled, method)(*args, **kwargs, timeout=PATTERN_SECONDS)
        except TimeoutError:
            raise ArgumentError(
                f"The regular expression {self._shown!r} takes more than {PATTERN_SECONDS:g} s for a text of "
                f"{len(args[-1]):,} characters. Remove nested repetitions, such as (a+)+."
            ) from None

    @property
    def _shown(self) -> str:
        return self.source if len(self.source) <= 80 else self.source[:80] + "…"


@lru_cache(maxsize=1024)
def bounded_pattern(pattern: str, flags: int = 0) -> BoundedPattern:
    """Return a regular expression whose searches have a time limit.

    >>> bounded_pattern("([0-9]+)").findall("18 or 20")
    ['18', '20']

    Raises:
        ArgumentError: The pattern is invalid or too long.
    """
    import regex  # type: ignore[import-untyped, unused-ignore]

    if len(pattern) > PATTERN_CHARACTERS:
        limit = f"The limit is {PATTERN_CHARACTERS:,}."
        raise ArgumentError(f"A regular expression has {len(pattern):,} characters. {limit}")
    try:
        return BoundedPattern(pattern, regex.compile(pattern, int(flags) | int(regex.VERSION0)))
    except (regex.error, RecursionError, OverflowError) as error:
        raise ArgumentError(f"{pattern[:80]!r} isn't a regular expression: {error}.") from None


def _read(read: Callable[[object], str], value: object, name: str) -> str:
    try:
        return valid_unicode(read(value))
    except KeyboardInterrupt:
        raise
    except BaseException as problem:  # noqa: BLE001 - the text of a value must not end a run
        return f"<{name} raised {type_name(type(problem))}>"
