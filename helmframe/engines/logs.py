"""The log of a run: every record with its request, stored as Parquet. It includes records of child processes."""

import itertools
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar
from typing import Any, NamedTuple
from weakref import WeakSet

import polars as pl

from helmframe import config
from helmframe._core.safe_text import get_logger, valid_unicode
from helmframe._schema import LOGS
from helmframe.engines import capture
from helmframe.engines.capture import Captured, captured
from helmframe.errors import ArgumentError, StoreError
from helmframe.models.callers import CURRENT_REQUESTS, LOGGED_WARNINGS, current_requests
from helmframe.store import RunFolder

FLUSH_SECONDS = 2.0
FLUSH_ROWS = 10_000
# The maximum of waiting records, and of their characters: further records are dropped, and counted.
MAX_WAITING = 100_000
MAX_WAITING_CHARACTERS = 100_000_000

Sink = Callable[[pl.DataFrame], None]

logger = get_logger("helmframe.logs")


@contextmanager
def recording(run_id: str, sink: Sink, flush_seconds: float = FLUSH_SECONDS) -> Iterator["RunLog"]:
    """Record the log records, warnings and printed lines of a run during the block.

    A run is all code in the context of this call: this thread, threads started by `copy_context().run`, workers of the
    queue while they run its requests, and async tasks. Model functions are recorded completely: records of all loggers
    that the user's configuration lets through, warnings, and printed lines. The rest of the run is recorded without
    printed lines. Records of `helmframe` are recorded from INFO on, whatever is shown.

    A model call with prompts of several runs is in the logs of all of them. A thread that a model function starts
    belongs to no run. Its records are added to the open run if that was the only open run since the thread started;
    else they are shown, but not recorded.

    Args:
        run_id: The run's id. A run can be recorded only once at a time.
        sink: A function that stores parts of the table `LOGS`. One thread at a time calls it, every few seconds and at
            the end.
        flush_seconds: The maximum number of seconds until a record is stored.

    Raises:
        StoreError: The last records could not be written. Earlier failures are retried.
    """
    log = RunLog(run_id, sink)
    _registry().open(log)
    tokens = _run.set(run_id), CURRENT_REQUESTS.set(()), LOGGED_WARNINGS.set(set())
    failed = True
    try:
        with log.flushed_every(flush_seconds):
            yield log
        failed = False
    finally:
        _run.reset(tokens[0])
        CURRENT_REQUESTS.reset(tokens[1])
        LOGGED_WARNINGS.reset(tokens[2])
        _registry().close(log)
        log.end(failed=failed)


class RunLog:
    """The log of one open run, made by `recording`."""

    def __init__(self, run_id: str, sink: Sink) -> None:
        self.run_id = run_id
        self._sink = sink
        self._rows: deque[tuple[Any, ...]] = deque()
        self._characters = 0
        self._dropped = 0
        self._numbers = itertools.count()
        # reentrant, because a destructor may warn or print at any point
        self._lock = threading.RLock()
        self._writing = threading.Lock()
        self._wake = threading.Event()

    def add(self, captured: Captured, request: "RequestContext") -> None:
        """Add a record, which is written later."""
        captured = _as_unicode(captured)
        size = len(captured.message) + len(captured.traceback or "")
        with self._lock:
            if len(self._rows) >= MAX_WAITING or self._characters + size > MAX_WAITING_CHARACTERS:
                self._dropped += 1
                return
            self._characters += size
            self._rows.append(self._row(captured, request))
        if len(self._rows) >= FLUSH_ROWS:
            self._wake.set()

    def flush(self) -> None:
        """Write the waiting records.

        Raises:
            StoreError: The records aren't written. They wait for the next attempt.
        """
        with self._writing:
            with self._lock:
                rows, dropped = list(self._rows), self._dropped
                if dropped:
                    rows.append(self._row(_dropped(dropped), NO_REQUEST))
            if not rows:
                return
            self._sink(_frame(rows))
            with self._lock:
                for _ in range(len(rows) - bool(dropped)):
                    row = self._rows.popleft()
                    self._characters -= len(row[_MESSAGE]) + len(row[_TRACEBACK] or "")
                self._dropped -= dropped

    @contextmanager
    def flushed_every(self, seconds: float) -> Iterator[None]:
        """Write the waiting records regularly during the block, in another thread."""
        ended = False
        warned = False

        def work() -> None:
            nonlocal warned
            while not ended:
                self._wake.wait(seconds)
                self._wake.clear()
                try:
                    self.flush()
                except StoreError as error:
                    if not warned:
                        logger.warning("Could not write the log of run %s; it is retried: %s", self.run_id, error)
                    warned = True

        thread = threading.Thread(
            target=Context().run, args=(_outside_runs, work), daemon=True, name=f"helmframe-logs-{self.run_id}"
        )
        thread.start()
        try:
            yield
        finally:
            ended = True
            self._wake.set()
            thread.join()

    def end(self, *, failed: bool) -> None:
        """Write the remaining records; a failure is raised unless the run failed too."""
        try:
            self.flush()
        except StoreError as error:
            if not failed:
                raise
            logger.warning("The log of run %s is incomplete: %s", self.run_id, error)

    def _row(self, captured: Captured, request: "RequestContext") -> tuple[Any, ...]:
        return (
            round(captured.time * 1e6), next(self._numbers), captured.level, captured.logger, self.run_id,
            request.scenario, request.instance_id, request.model, request.prompts,
            captured.message, captured.traceback, captured.thread, captured.process,
        )  # fmt: skip


class RequestContext(NamedTuple):
    """The request of a run that a record belongs to."""

    scenario: str | None = None
    instance_id: str | None = None
    model: str | None = None
    prompts: int | None = None


NO_REQUEST = RequestContext()


def current_logs() -> "tuple[tuple[RunLog, RequestContext], ...] | None":
    """Return the logs to which records of this thread and context belong; None if there are none."""
    return _registry().owner(printed=False)


def read_logs(folder: RunFolder) -> pl.DataFrame:
    """Return the log of a run as `LOGS`, ordered by time; empty if there is no log."""
    rows = folder.scan(LOGS.name)
    if rows is None:
        return pl.DataFrame(schema=LOGS.schema)
    return rows.select(list(LOGS.schema)).sort("time", "number").collect()


class _Registry:
    """The open runs of this process."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self._logs: dict[str, RunLog] = {}
        self._lock = threading.Lock()
        # threads that may not belong to the only open run
        self._strangers: WeakSet[threading.Thread] = WeakSet()

    def open(self, log: RunLog) -> None:
        with self._lock:
            if log.run_id in self._logs:
                raise ArgumentError(f"Run {log.run_id!r} is already being recorded.")
            self._strangers.update(threading.enumerate())
            self._logs = {**self._logs, log.run_id: log}
            capture.start(self)

    def close(self, log: RunLog) -> None:
        with self._lock:
            self._strangers.update(threading.enumerate())
            capture.end_lines(lambda owner: any(other is log for other, _ in owner))
            if set(self._logs) == {log.run_id}:
                capture.stop()
            self._logs = {run_id: other for run_id, other in self._logs.items() if run_id != log.run_id}

    def owner(self, *, printed: bool) -> tuple[tuple[RunLog, RequestContext], ...] | None:
        """Return the logs and requests of this context, as `capture.Consumer` requires."""
        if self.process != os.getpid():  # a forked process writes no log
            return None
        calls = current_requests()
        if calls:
            requests: dict[str, RequestContext] = {}
            for call in calls:
                run_id = call.context.get(_run)
                if run_id is not None:
                    before = requests.get(run_id)
                    prompts = call.prompts + (before.prompts or 0 if before else 0)
                    labels = call.labels
                    request = before or RequestContext(
                        labels.get("scenario"), labels.get("instance_id"), labels.get("model")
                    )
                    requests[run_id] = request._replace(prompts=prompts)
            logs = self._logs
            return tuple((logs[run_id], request) for run_id, request in requests.items() if run_id in logs) or None
        run_id = _run.get()
        log = self._only_open_run() if run_id is None else None if printed else self._logs.get(run_id)
        return None if log is None else ((log, NO_REQUEST),)

    def take(self, owner: tuple[tuple[RunLog, RequestContext], ...], captured: Captured) -> None:
        """Add the record to its logs, as `capture.Consumer` requires."""
        for log, request in owner:
            log.add(captured, request)

    def _only_open_run(self) -> RunLog | None:
        """Return the only open run, if this thread was started while it was the only open run."""
        logs = self._logs
        if len(logs) == 1 and threading.current_thread() not in self._strangers:
            return next(iter(logs.values()))
        return None


def _registry() -> _Registry:
    global _open
    if _open.process != os.getpid():
        _open = _Registry()
    return _open


def _outside_runs(work: Callable[[], None]) -> None:
    """Run a function outside of all runs."""
    _run.set("")
    work()


def _as_unicode(captured: Captured) -> Captured:
    """Return the record as valid Unicode, because user code may log or print lone surrogates."""
    level, name, message = map(valid_unicode, (captured.level, captured.logger, captured.message))
    trace, thread, process = (
        None if text is None else valid_unicode(text)
        for text in (captured.traceback, captured.thread, captured.process)
    )
    return Captured(captured.time, level, name, message, trace, thread, process)


def _dropped(count: int) -> Captured:
    text = f"{count:,} records were dropped here, because they came faster than they could be written"
    return Captured(time.time(), "WARNING", logger.name, text, None, None, None)


def _frame(rows: list[tuple[Any, ...]]) -> pl.DataFrame:
    times = {**LOGS.schema, "time": pl.Int64()}
    frame = pl.DataFrame(rows, schema=times, orient="row")
    frame = frame.with_columns(pl.from_epoch("time", time_unit="us").dt.replace_time_zone("UTC"))
    # as `config.redacted`, but vectorised: longest first, because a secret may be the start of another
    secrets = sorted(config.secret_texts(), key=len, reverse=True)
    if secrets:
        frame = frame.with_columns(
            pl.col("message", "traceback").str.replace_many(secrets, ["***"] * len(secrets), leftmost=True)
        )
    for name in ("message", "traceback"):
        hints = frame[name].str.contains_any(list(config.CREDENTIAL_HINTS), ascii_case_insensitive=True)
        # few texts have a hint
        indices = hints.fill_null(value=False).arg_true()
        if len(indices):
            clean = [config.redacted(text) for text in frame[name].gather(indices)]
            frame = frame.with_columns(frame[name].scatter(indices, clean))
    return frame


_MESSAGE, _TRACEBACK = (list(LOGS.schema).index(name) for name in ("message", "traceback"))
# the id of this context's run; "" outside of runs; unset in threads of unknown origin
_run: ContextVar[str | None] = ContextVar("helmframe_run", default=None)
_open = _Registry()


@contextmanager
def child_logging() -> Iterator[dict[str, Any]]:
    """Yield the arguments of a process pool whose log records and warnings are added to the run's log.

    Use it inside a model function. This process logs the records too. Output that child processes print is not
    captured. Close and join a `multiprocessing.Pool`: if it is terminated, its last records are lost.

    >>> import multiprocessing
    >>> from concurrent.futures import ProcessPoolExecutor
    >>> import helmframe as hf
    >>> def generate(prompts):
    ...     with hf.engines.child_logging() as arguments, ProcessPoolExecutor(2, context, **arguments) as pool:
    ...         return list(pool.map(str.upper, prompts))
    >>> context = multiprocessing.get_context("spawn")
    >>> model = hf.model(generate, batch=8)
    >>> plan = hf.scenario("sampler").where(subject="music").limit(2).generate(model)
    >>> plan.completions().collect()["completion"].str.starts_with("THE FOLLOWING").all()
    True
    """
    import multiprocessing
    from logging.handlers import QueueListener

    # a queue for spawned children works for forked children too
    queue = multiprocessing.get_context("spawn").Queue()
    listener = QueueListener(queue, _Arrivals())
    listener.start()
    try:
        yield {"initializer": _send, "initargs": (queue, logging.getLogger().getEffectiveLevel())}
    finally:
        listener.stop()
        queue.close()
        queue.join_thread()


class _Arrivals(logging.Handler):
    """A handler that adds the records of child processes to the logs of its creator."""

    def __init__(self) -> None:
        super().__init__()
        self._logs = current_logs() or ()

    def emit(self, record: logging.LogRecord) -> None:
        """Add the record to the run's log, and pass it to the handlers of this process."""
        for log, request in self._logs:
            log.add(captured(record), request)
        logging.getLogger(record.name).handle(record)


def _send(queue: Any, level: int) -> None:
    """Send the records of a child process to the queue only."""
    from logging.handlers import QueueHandler

    logging.captureWarnings(capture=True)
    root = logging.getLogger()
    for handler in list(root.handlers):  # inherited by a forked child
        root.removeHandler(handler)
    root.addHandler(QueueHandler(queue))
    root.setLevel(level)
