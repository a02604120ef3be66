"""What is logged, warned and printed in this process, handed on while somebody wants it; undone without a trace."""

import inspect
import logging
import re
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from types import FrameType
from typing import Any, NamedTuple, Protocol, TextIO, cast

from helmframe import config
from helmframe._core.safe_text import safe_repr, traceback_text, type_name

# Longer messages are cut: a model function may print anything.
MAX_MESSAGE = 32_768
STREAMS = ("stdout", "stderr")


class Captured(NamedTuple):
    """One record: `time` in seconds since 1970, `level` and `logger` as in `logging`."""

    time: float
    level: str
    logger: str
    message: str
    traceback: str | None
    thread: str | None
    process: str | None


class Taker(Protocol):
    """Who wants what is captured."""

    def whose(self, *, printed: bool) -> Any:
        """Who made what is being recorded in this thread and context, to be compared; None: it is not wanted."""

    def take(self, whose: Any, captured: Captured) -> None:
        """Keep it."""


def start(taker: Taker) -> None:
    """Hand everything on to the taker, from all threads, until `stop`; called again, see to it that nothing slips by.

    Log records are seen as they are created, so those of loggers that do not propagate too; nothing else about logging
    changes: what the user configured is shown as before, once. Known secrets are blotted out of log records before
    anybody's handler writes them.
    """
    global _taker
    with _lock:
        _taker = taker
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
    """Put everything back as it was found. What others have put in place of ours meanwhile is theirs, and stays."""
    global _taker
    with _lock:
        for name in STREAMS:
            stream = getattr(sys, name)
            if isinstance(stream, _Tee):
                setattr(sys, name, uncaptured(stream))
        warnings.showwarning = _found(warnings.showwarning, _Warnings)
        logging.setLogRecordFactory(_found(logging.getLogRecordFactory(), _Records))
        _close_gate()
        _taker = None


def end_lines(belongs: Callable[[Any], bool]) -> None:
    """Hand on the lines printed in part by those for whom `belongs` says so."""
    for name in STREAMS:
        stream = getattr(sys, name)
        while isinstance(stream, _Tee):
            stream.end_lines(belongs)
            stream = stream.previous


def uncaptured(stream: Any) -> TextIO:
    """The stream itself, where it is one that is captured now."""
    return cast(TextIO, _found(stream, _Tee))


def captured(record: logging.LogRecord) -> Captured:
    """A log record as it is kept."""
    trace = record.exc_text or _trace(record) or record.stack_info
    return Captured(
        record.created, record.levelname, record.name, _cut(_said(record)), trace, record.threadName, record.processName
    )


_lock = threading.RLock()
_taker: Taker | None = None
# set while something captured is passed on, which may print or log it once more
_passing_on: ContextVar[bool] = ContextVar("helmframe_passing_on", default=False)
_gate: "_Gate | None" = None
_FORMATTER = logging.Formatter()


class _Tee:
    """A standard stream whose lines are captured, too."""

    def __init__(self, stream: TextIO, name: str) -> None:
        self.previous = stream
        self._logger = f"helmframe.model.{name}"
        # by thread: what of a line was printed so far, and by whom
        self._begun: dict[int, tuple[Any, str]] = {}
        # a destructor may print in the middle of anything, here too
        self._lock = threading.RLock()

    def __getattr__(self, name: str) -> Any:
        # whatever else a stream can do, which others ask it by name: a terminal's fileno, Jupyter's set_parent
        return getattr(self.previous, name)

    def write(self, text: str) -> int:
        """Write to the stream, and hand on the lines that it ends."""
        taker = _taker
        whose = taker.whose(printed=True) if taker and not _passing_on.get() else None
        if taker and whose is not None and not _logging_now():
            self._add(taker, whose, text)
        written = _passed_on(self.previous.write, text)
        return len(text) if written is None else int(written)  # streams that others put there may say nothing

    def writelines(self, lines: Iterable[str]) -> None:
        """As `write`."""
        for line in lines:
            self.write(line)

    def end_lines(self, belongs: Callable[[Any], bool]) -> None:
        """See the function."""
        with self._lock:
            ended = [thread for thread, (whose, _) in self._begun.items() if belongs(whose)]
            given = [self._begun.pop(thread) for thread in ended]
        if _taker is not None:
            for whose, text in given:
                self._give(_taker, whose, text)

    def _add(self, taker: Taker, whose: Any, text: str) -> None:
        thread = threading.get_ident()
        with self._lock:
            before, begun = self._begun.pop(thread, (whose, ""))
            given = []
            if before != whose:
                given.append((before, begun))
                begun = ""
            *lines, rest = (begun + text).split("\n")
            given += [(whose, line) for line in lines]
            rest = _shown(rest) if "\r" in rest[:-1] else rest
            if len(rest) > MAX_MESSAGE:
                given.append((whose, rest))
            elif rest:
                self._begun[thread] = (whose, rest)
        for each, line in given:
            self._give(taker, each, line)

    def _give(self, taker: Taker, whose: Any, line: str) -> None:
        line = _cut(_shown(line))
        if line.strip():
            thread = threading.current_thread().name
            taker.take(whose, Captured(time.time(), "INFO", self._logger, line, None, thread, _process_name()))


class _Warnings:
    """`warnings.showwarning`, captured."""

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
        taker = _taker
        whose = taker.whose(printed=False) if taker and file is None else None
        if taker and whose is not None and not _passing_on.get():
            text = _cut(config.redacted(f"{category.__name__}: {message} ({filename}:{lineno})"))
            thread = threading.current_thread().name
            taker.take(whose, Captured(time.time(), "WARNING", "py.warnings", text, None, thread, _process_name()))
            clean = config.redacted(str(message))
            message = message if clean == str(message) else clean
        _passed_on(self.previous, message, category, filename, lineno, file, line)


class _Records:
    """The factory of log records, captured."""

    def __init__(self, previous: Callable[..., logging.LogRecord]) -> None:
        self.previous = previous

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record: logging.LogRecord = _passed_on(self.previous, *args, **kwargs)
        taker = _taker
        # a record without a name is to be filled with what came from elsewhere (logging.makeLogRecord)
        whose = taker.whose(printed=False) if taker and record.name and not _passing_on.get() else None
        if taker and whose is not None:
            _blot(record)
            taker.take(whose, captured(record))
        return record


class _Gate(logging.Handler):
    """Lets our records of level INFO be captured where the user's configuration would not have them shown."""

    def emit(self, record: logging.LogRecord) -> None:
        """Pass on to the user's handlers what his configuration lets through."""
        ours, root = logging.getLogger("helmframe"), logging.getLogger()
        logger: logging.Logger | None = logging.getLogger(record.name)
        while logger is not None and logger is not ours and not logger.level:
            logger = logger.parent
        if (logger is not None and logger is not ours) or record.levelno >= root.level:
            root.handle(record)


def _open_gate() -> None:
    global _gate
    ours = logging.getLogger("helmframe")
    # where the user said anything about our loggers, that holds
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


def _found(hook: Any, kind: type[Any]) -> Any:
    """What was there before ours."""
    while isinstance(hook, kind):
        hook = hook.previous
    return hook


def _passed_on(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
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
        # all handlers show this text, and do not format the exception again
        record.exc_text = traceback_text(record.exc_info[1])
        return record.exc_text


def _blot(record: logging.LogRecord) -> None:
    """Take known secrets out of a record, for all handlers."""
    message = _said(record)
    clean = config.redacted(message)
    if clean != message:
        record.msg, record.args = clean, ()
    trace = _trace(record)
    if trace and (blotted := config.redacted(trace)) != trace:
        # formatters show this text, and do not make it again
        record.exc_text = blotted


def _said(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception as error:  # noqa: BLE001 - arguments of the user's that can't be formatted: his handlers say so
        return f"{safe_repr(record.msg)} ({type_name(type(error))} in its arguments)"


def _cut(text: str) -> str:
    if len(text) <= MAX_MESSAGE:
        return text
    # before it is cut: half a secret is not found any more
    text = config.redacted(text)
    return f"{text[:MAX_MESSAGE]}… ({len(text) - MAX_MESSAGE:,} more characters)"


def _shown(line: str) -> str:
    """What a terminal shows of a line in the end: a progress bar goes back to its start and writes it again."""
    return re.split(r"\r(?!$)", line)[-1].rstrip("\r")


def _logging_now() -> bool:
    """Whether a log handler is writing: what it writes is captured as a record."""
    frame: FrameType | None = inspect.currentframe()
    theirs = vars(logging)
    while frame is not None:
        if frame.f_globals is theirs:
            return True
        frame = frame.f_back
    return False


def _process_name() -> str:
    from multiprocessing import current_process

    return current_process().name
