"""Untrusted text: exceptions and objects whose `str()` or `repr()` may raise, invalid Unicode, invisible characters.

Regular expressions of files are untrusted too: each search has a time limit.

It may also be the body of a server's response, whose size is unknown before it is decompressed.
"""

import logging
import traceback
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from helmframe.errors import ArgumentError, HelmframeError, shorten, show_invisible

__all__ = [
    "display_labels", "error_message", "error_text", "get_logger", "has_traceback", "number_columns",
    "readable_records", "safe_repr", "show_invisible", "text_table", "traceback_text", "type_name", "valid_unicode",
]  # fmt: skip

# The time limit of a search in seconds, and the longest pattern.
PATTERN_SECONDS, PATTERN_CHARACTERS = 1.0, 10_000

# The limit of a response, in bytes before and after decompression.
MAX_REPLY_BYTES = 32 << 20
# The request header that excludes compressions whose decoders have no limit of memory.
ACCEPT_ENCODING = {"Accept-Encoding": "gzip, deflate"}
_PIECE = 1 << 18
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


def text_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table aligned with spaces, numbers to the right, without line breaks or control characters in cells.

    >>> print(text_table(["model", "n"], [["echo", "7"], ["oracle", "10"]]))
    model    n
    echo     7
    oracle  10
    """
    heads, *rows = [[show_invisible(cell).replace("\n", " ") for cell in row] for row in (heads, *rows)]
    columns = list(zip(heads, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    right = number_columns(heads, rows)
    lines = []
    for row in (heads, *rows):
        cells = [cell.rjust(w) if r else cell.ljust(w) for cell, w, r in zip(row, widths, right, strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def number_columns(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[bool]:
    """Return whether each column has numbers."""
    return [
        any(row[index] for row in rows)
        and all(row[index][:1].isdigit() or row[index][:1] in "-+−" for row in rows if row[index])
        for index in range(len(heads))
    ]


class ReplyError(HelmframeError, OSError):
    """An error for a response that is too large, or compressed in another way than requested."""


class BodyDecoder:
    """A decoder of the body of a response, which raises as soon as the body exceeds a number of bytes.

    >>> decoder = BodyDecoder("", limit=4)
    >>> list(decoder.decode(b"abc"))
    [b'abc']

    Args:
        encoding: The value of the header Content-Encoding.
        limit: The maximum number of bytes, before and after decompression.

    Raises:
        ReplyError: The encoding is unsupported.
    """

    def __init__(self, encoding: str, limit: int) -> None:
        name = encoding.strip().lower()
        if name not in _WINDOWS:
            raise ReplyError(f"the response is compressed as {show_invisible(name[:40])!r}; gzip was requested")
        self._limit = limit
        self._received = self._decoded = 0
        self._decompressor: Any = zlib.decompressobj(_WINDOWS[name]) if name in _COMPRESSED else None
        self._is_raw_deflate: bool | None = None if name == "deflate" else False

    def decode(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the decoded bytes of the next chunk, in small pieces.

        Raises:
            ReplyError: The body is too large, or isn't in the format of its encoding.
        """
        self._received += len(chunk)
        self._check(self._received)
        if self._decompressor is None:
            yield chunk
            return
        while not self._decompressor.eof:
            piece = self._decompress(chunk)
            chunk = self._decompressor.unconsumed_tail
            self._decoded += len(piece)
            self._check(self._decoded)
            yield piece
            if not chunk and len(piece) < _PIECE:
                return

    def _decompress(self, chunk: bytes) -> bytes:
        first, self._is_raw_deflate = self._is_raw_deflate is None, bool(self._is_raw_deflate)
        try:
            return bytes(self._decompressor.decompress(chunk, _PIECE))
        except zlib.error as error:
            if not first:
                raise ReplyError(f"the compression of the response is damaged ({error})") from None
        # some servers send deflate without the header that the standard requires
        self._decompressor, self._is_raw_deflate = zlib.decompressobj(-zlib.MAX_WBITS), True
        return self._decompress(chunk)

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise ReplyError(f"the response is larger than {self._limit:,} bytes")


_WINDOWS = {"": 0, "identity": 0, "gzip": zlib.MAX_WBITS | 16, "x-gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}
_COMPRESSED = frozenset({"gzip", "x-gzip", "deflate"})


def read_reply(response: Any, limit: int = MAX_REPLY_BYTES) -> Any:
    """Return a streamed response of httpx as a response with content, at most `limit` bytes.

    Raises:
        ReplyError: The body is too large, or compressed in another way than requested.
    """
    decoder = body_decoder(response, limit)
    return with_content(response, b"".join(piece for chunk in response.iter_raw() for piece in decoder.decode(chunk)))


def body_decoder(response: Any, limit: int) -> BodyDecoder:
    """Return the decoder of a streamed response of httpx.

    Raises:
        ReplyError: The response states a size above the limit, or has an unsupported encoding.
    """
    decoder = BodyDecoder(response.headers.get("Content-Encoding", ""), limit)
    length = response.headers.get("Content-Length", "")
    if length.isdecimal() and int(length[:20]) > limit:
        raise ReplyError(f"the response is larger than {limit:,} bytes")
    return decoder


def with_content(response: Any, content: bytes) -> Any:
    """Return a response of httpx with its decoded content."""
    headers = [(name, value) for name, value in response.headers.multi_items() if name.lower() != "content-encoding"]
    return type(response)(response.status_code, headers=headers, content=content, request=response.request)


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
        matches: list[Any] = self._run("findall", text)
        return matches

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
