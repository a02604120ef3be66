"""Capture of log records, warnings and printed lines of this process, between `start` and `stop`."""

import inspect
import logging
import re
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from functools import partial
from types import FrameType
from typing import Any, NamedTuple, Protocol, TextIO, cast

from helmframe import config
from helmframe._core.safe_text import safe_repr, traceback_text, type_name

# The maximum length of a message: a model function may print anything.
MAX_MESSAGE = 32_768
STREAMS = ("stdout", "stderr")


class Captured(NamedTuple):
    """A captured record: `time` in seconds since 1970, `level` and `logger` as in `logging`."""

    time: float
    level: str
    logger: str
    message: str
    traceback: str | None
    thread: str | None
    process: str | None


class Consumer(Protocol):
    """A consumer of captured output."""

    def owner(self, *, printed: bool) -> Any:
        """Return the owner of records of this thread and context, comparable by ==; None: not captured."""

    def take(self, owner: Any, captured: Captured) -> None:
        """Store a captured record."""


def start(consumer: Consumer) -> None:
    """Pass the output of all threads to the consumer until `stop`. Repeated calls restore hooks that were replaced.

    Log records are captured when they are created, also those of loggers that do not propagate. The user's logging
    configuration shows them as before, once. Known secrets are removed from log records before any handler writes
    them.
    """
    global _consumer
    with _lock:
        _consumer = consumer
        for name in STREAMS:
            stream = getattr(sys, name)
            if stream is not None and not _is_ours(stream):
                setattr(sys, name, _Tee(stream, name))
        if not _is_ours(warnings.showwarning):
            warnings.showwarning = _Warnings(warnings.showwarning)
        if not _is_ours(logging.getLogRecordFactory()):
            logging.setLogRecordFactory(_Records(logging.getLogRecordFactory()))
        _open_gate()


def stop() -> None:
    """Restore the original streams and hooks. Hooks that other code installed over ours stay."""
    global _consumer
    with _lock:
        for name in STREAMS:
            stream = getattr(sys, name)
            if isinstance(stream, _Tee):
                setattr(sys, name, uncaptured(stream))
        warnings.showwarning = _original(warnings.showwarning, _Warnings)
        logging.setLogRecordFactory(_original(logging.getLogRecordFactory(), _Records))
        _close_gate()
        _consumer = None


def set_line_writer(writer: Callable[[TextIO, str], None] | None) -> None:
    """Set the function that writes captured text to its stream, so that a progress bar isn't torn; None: write it."""
    global _line_writer
    _line_writer = writer


def end_lines(belongs: Callable[[Any], bool]) -> None:
    """Pass on the unfinished lines of owners that `belongs` accepts."""
    for name in STREAMS:
        stream = getattr(sys, name)
        while isinstance(stream, _Tee):
            stream.end_lines(belongs)
            stream = stream.previous


def uncaptured(stream: Any) -> TextIO:
    """Return the original stream under a captured stream."""
    return cast(TextIO, _original(stream, _Tee))


def captured(record: logging.LogRecord) -> Captured:
    """Return a log record as a captured record."""
    trace = record.exc_text or _trace(record) or record.stack_info
    return Captured(
        record.created,
        record.levelname,
        record.name,
        _truncated(_message(record)),
        trace,
        record.threadName,
        record.processName,
    )


_lock = threading.RLock()
_consumer: Consumer | None = None
_line_writer: Callable[[TextIO, str], None] | None = None
# set while output is passed on, because handlers may print or log it again
_passing_on: ContextVar[bool] = ContextVar("helmframe_passing_on", default=False)
_gate: "_Gate | None" = None
_FORMATTER = logging.Formatter()


class _Tee:
    """A standard stream whose lines are captured too."""

    def __init__(self, stream: TextIO, name: str) -> None:
        self.previous = stream
        self._logger = f"helmframe.model.{name}"
        # thread → (owner, unfinished line)
        self._unfinished: dict[int, tuple[Any, str]] = {}
        # reentrant, because a destructor may print at any point
        self._lock = threading.RLock()

    def __getattr__(self, name: str) -> Any:
        # other attributes of the stream, such as a terminal's fileno or Jupyter's set_parent
        return getattr(self.previous, name)

    def write(self, text: str) -> int:
        """Write to the stream, and pass on the lines that the text ends."""
        consumer = _consumer
        owner = consumer.owner(printed=True) if consumer and not _passing_on.get() else None
        if consumer and owner is not None and not _logging_now():
            self._add(consumer, owner, text)
        write = self.previous.write if _line_writer is None else partial(_line_writer, self.previous)
        written = _pass_on(write, text)
        return len(text) if written is None else int(written)  # replaced streams may return None

    def writelines(self, lines: Iterable[str]) -> None:
        """Write the lines with `write`."""
        for line in lines:
            self.write(line)

    def end_lines(self, belongs: Callable[[Any], bool]) -> None:
        """Pass on unfinished lines; see the function `end_lines`."""
        with self._lock:
            ended = [thread for thread, (owner, _) in self._unfinished.items() if belongs(owner)]
            unfinished = [self._unfinished.pop(thread) for thread in ended]
        if _consumer is not None:
            for owner, text in unfinished:
                self._emit(_consumer, owner, text)

    def _add(self, consumer: Consumer, owner: Any, text: str) -> None:
        thread = threading.get_ident()
        with self._lock:
            before, unfinished = self._unfinished.pop(thread, (owner, ""))
            complete = []
            if before != owner:
                complete.append((before, unfinished))
                unfinished = ""
            *lines, rest = (unfinished + text).split("\n")
            complete += [(owner, line) for line in lines]
            rest = _visible(rest) if "\r" in rest[:-1] else rest
            if len(rest) > MAX_MESSAGE:
                complete.append((owner, rest))
            elif rest:
                self._unfinished[thread] = (owner, rest)
        for line_owner, line in complete:
            self._emit(consumer, line_owner, line)

    def _emit(self, consumer: Consumer, owner: Any, line: str) -> None:
        line = _truncated(_visible(line))
        if line.strip():
            thread = threading.current_thread().name
            consumer.take(owner, Captured(time.time(), "INFO", self._logger, line, None, thread, _process_name()))


class _Warnings:
    """A replacement of `warnings.showwarning` that captures warnings."""

    def __init__(self, previous: Callable[..., None]) -> None:
        self.previous = previous

    def __call__(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        consumer = _consumer
        owner = consumer.owner(printed=False) if consumer and file is None else None
        if consumer and owner is not None and not _passing_on.get():
            text = _truncated(config.redacted(f"{category.__name__}: {message} ({filename}:{lineno})"))
            thread = threading.current_thread().name
            consumer.take(owner, Captured(time.time(), "WARNING", "py.warnings", text, None, thread, _process_name()))
            clean = config.redacted(str(message))
            message = message if clean == str(message) else clean
        _pass_on(self.previous, message, category, filename, lineno, file, line)


class _Records:
    """A factory of log records that captures them."""

    def __init__(self, previous: Callable[..., logging.LogRecord]) -> None:
        self.previous = previous

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record: logging.LogRecord = _pass_on(self.previous, *args, **kwargs)
        consumer = _consumer
        # a record without a name is a template for a received one (logging.makeLogRecord)
        owner = consumer.owner(printed=False) if consumer and record.name and not _passing_on.get() else None
        if consumer and owner is not None:
            _redact(record)
            consumer.take(owner, captured(record))
        return record


class _Gate(logging.Handler):
    """A handler that lets our INFO records be captured, but hides those that the user's configuration hides."""

    def emit(self, record: logging.LogRecord) -> None:
        """Pass on the records that the user's configuration shows."""
        ours, root = logging.getLogger("helmframe"), logging.getLogger()
        logger: logging.Logger | None = logging.getLogger(record.name)
        while logger is not None and logger is not ours and not logger.level:
            logger = logger.parent
        if (logger is not None and logger is not ours) or record.levelno >= root.level:
            root.handle(record)


def _open_gate() -> None:
    global _gate
    ours = logging.getLogger("helmframe")
    # the user's configuration of our loggers takes precedence
    if _gate is None and not ours.level and not ours.handlers and ours.propagate:
        _gate = _Gate()
        ours.addHandler(_gate)
        ours.setLevel(max(1, min(logging.INFO, logging.getLogger().level)))
        ours.propagate = False


def _close_gate() -> None:
    global _gate
    if _gate is not None:
        ours = logging.getLogger("helmframe")
        ours.removeHandler(_gate)
        ours.setLevel(logging.NOTSET)
        ours.propagate = True
        _gate = None


def _is_ours(hook: object) -> bool:
    return isinstance(hook, _Tee | _Warnings | _Records)


def _original(hook: Any, kind: type[Any]) -> Any:
    """Return the original hook under ours."""
    while isinstance(hook, kind):
        hook = hook.previous
    return hook


def _pass_on(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    token = _passing_on.set(True)
    try:
        return function(*args, **kwargs)
    finally:
        _passing_on.reset(token)


def _trace(record: logging.LogRecord) -> str | None:
    if not record.exc_info or record.exc_info[1] is None:
        return None
    try:
        return _FORMATTER.formatException(record.exc_info)
    except Exception:  # noqa: BLE001 - an exception whose class or attributes `traceback` does not expect
        # handlers show this text instead of formatting the exception again
        record.exc_text = traceback_text(record.exc_info[1])
        return record.exc_text


def _redact(record: logging.LogRecord) -> None:
    """Remove known secrets from a record, for all handlers."""
    message = _message(record)
    clean = config.redacted(message)
    if clean != message:
        record.msg, record.args = clean, ()
    trace = _trace(record)
    if trace and (redacted := config.redacted(trace)) != trace:
        # formatters show this text instead of formatting again
        record.exc_text = redacted


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception as error:  # noqa: BLE001 - invalid arguments of user code, which its handlers report
        return f"{safe_repr(record.msg)} ({type_name(type(error))} in its arguments)"


def _truncated(text: str) -> str:
    if len(text) <= MAX_MESSAGE:
        return text
    # before truncation, because half a secret isn't recognised
    text = config.redacted(text)
    return f"{text[:MAX_MESSAGE]}… ({len(text) - MAX_MESSAGE:,} more characters)"


def _visible(line: str) -> str:
    """Return the text that a terminal shows at the end: a progress bar returns to the line's start and rewrites it."""
    return re.split(r"\r(?!$)", line)[-1].rstrip("\r")


def _logging_now() -> bool:
    """Return whether a log handler is writing, whose output is captured as a record already."""
    frame: FrameType | None = inspect.currentframe()
    logging_globals = vars(logging)
    while frame is not None:
        if frame.f_globals is logging_globals:
            return True
        frame = frame.f_back
    return False


def _process_name() -> str:
    from multiprocessing import current_process

    return current_process().name
