"""The log of a run: every record made in it, with the request it was made for, as Parquet parts beside its results."""

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
from helmframe._core.safe_text import valid_unicode
from helmframe._schema import LOGS
from helmframe.engines import capture
from helmframe.engines.capture import Captured
from helmframe.errors import ArgumentError, StoreError
from helmframe.models.log_context import ASKED, SAID, asked_now
from helmframe.store import RunFolder

FLUSH_SECONDS = 2.0
FLUSH_ROWS = 10_000
# What waits to be written: more is dropped, and counted.
MAX_WAITING = 100_000
MAX_WAITING_CHARACTERS = 100_000_000

Sink = Callable[[pl.DataFrame], None]

logger = logging.getLogger("helmframe.logs")


@contextmanager
def recording(run_id: str, sink: Sink, flush_seconds: float = FLUSH_SECONDS) -> Iterator["RunLog"]:
    """While it is open, what is logged, warned or printed in this run goes to its log.

    This run is what runs in the context of this call: this thread, threads started by `copy_context().run`, the queue's
    workers while they answer its requests, and async tasks. From the model function comes all: records of any logger
    that the user's configuration lets through, warnings, and what it prints, a record per line. From elsewhere in the
    run come records and warnings, not what is printed. Records of `helmframe` come from INFO on, whatever is shown.

    A call of the model that holds prompts of several runs is in the logs of all of them. A thread that the model
    function starts itself knows no run: its records go to the one that is open, if it was alone since the thread began;
    else they are shown, and in no log.

    Args:
        run_id: no two of the same at a time.
        sink: takes parts of the table `LOGS`, every few seconds and at the end, from one thread at a time.
        flush_seconds: how long a record waits at most.

    Raises:
        StoreError: the last records could not be written. Before the end, writing is tried again.
    """
    log = RunLog(run_id, sink)
    _registry().open(log)
    tokens = _run.set(run_id), ASKED.set(()), SAID.set(set())
    failed = True
    try:
        with log.flushed_every(flush_seconds):
            yield log
        failed = False
    finally:
        _run.reset(tokens[0])
        ASKED.reset(tokens[1])
        SAID.reset(tokens[2])
        _registry().close(log)
        log.end(failed=failed)


class RunLog:
    """The log of one open run; get it from `recording`."""

    def __init__(self, run_id: str, sink: Sink) -> None:
        self.run_id = run_id
        self._sink = sink
        self._rows: deque[tuple[Any, ...]] = deque()
        self._characters = 0
        self._dropped = 0
        self._numbers = itertools.count()
        # a destructor may warn or print in the middle of anything, here too
        self._lock = threading.RLock()
        self._writing = threading.Lock()
        self._wake = threading.Event()

    def add(self, captured: Captured, place: "Place") -> None:
        """Keep a record until it is written."""
        captured = _as_unicode(captured)
        size = len(captured.message) + len(captured.traceback or "")
        with self._lock:
            if len(self._rows) >= MAX_WAITING or self._characters + size > MAX_WAITING_CHARACTERS:
                self._dropped += 1
                return
            self._characters += size
            self._rows.append(self._row(captured, place))
        if len(self._rows) >= FLUSH_ROWS:
            self._wake.set()

    def flush(self) -> None:
        """Write what waits.

        Raises:
            StoreError: it can't be written; it goes on waiting.
        """
        with self._writing:
            with self._lock:
                rows, dropped = list(self._rows), self._dropped
                if dropped:
                    rows.append(self._row(_dropped(dropped), NOWHERE))
            if not rows:
                return
            self._sink(_frame(rows))
            with self._lock:
                for _ in range(len(rows) - bool(dropped)):
                    gone = self._rows.popleft()
                    self._characters -= len(gone[_MESSAGE]) + len(gone[_TRACEBACK] or "")
                self._dropped -= dropped

    @contextmanager
    def flushed_every(self, seconds: float) -> Iterator[None]:
        """Have a thread of its own write what waits."""
        ended = False
        told = False

        def work() -> None:
            nonlocal told
            while not ended:
                self._wake.wait(seconds)
                self._wake.clear()
                try:
                    self.flush()
                except StoreError as error:
                    # the rows wait for the next try
                    if not told:
                        logger.warning("the log of run %s can't be written yet: %s", self.run_id, error)
                    told = True

        thread = threading.Thread(
            target=Context().run, args=(_of_nobody, work), daemon=True, name=f"helmframe-logs-{self.run_id}"
        )
        thread.start()
        try:
            yield
        finally:
            ended = True
            self._wake.set()
            thread.join()

    def end(self, *, failed: bool) -> None:
        """Write the rest; where the run failed anyway, that is what is raised."""
        try:
            self.flush()
        except StoreError as error:
            if not failed:
                raise
            logger.warning("the log of run %s is not complete: %s", self.run_id, error)

    def _row(self, captured: Captured, place: "Place") -> tuple[Any, ...]:
        return (
            round(captured.time * 1e6), next(self._numbers), captured.level, captured.logger, self.run_id,
            place.scenario, place.instance_id, place.model, place.prompts,
            captured.message, captured.traceback, captured.thread, captured.process,
        )  # fmt: skip


class Place(NamedTuple):
    """For which request of a run something was recorded."""

    scenario: str | None = None
    instance_id: str | None = None
    model: str | None = None
    prompts: int | None = None


NOWHERE = Place()


def whose_now() -> "tuple[tuple[RunLog, Place], ...] | None":
    """The logs that a record made here and now belongs to; None if it belongs to none."""
    return _registry().whose(printed=False)


def read_logs(folder: RunFolder) -> pl.DataFrame:
    """What was recorded of a run, by time; empty if nothing was.

    Returns:
        `LOGS`.
    """
    found = folder.scan(LOGS.name)
    if found is None:
        return pl.DataFrame(schema=LOGS.schema)
    return found.select(list(LOGS.schema)).sort("time", "number").collect()


class _Registry:
    """The runs that are open in this process."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self._logs: dict[str, RunLog] = {}
        self._lock = threading.Lock()
        # threads that may have been started by another run than the one that is open alone now
        self._strangers: WeakSet[threading.Thread] = WeakSet()

    def open(self, log: RunLog) -> None:
        with self._lock:
            if log.run_id in self._logs:
                raise ArgumentError(f"run {log.run_id!r} is being recorded already.")
            self._strangers.update(threading.enumerate())
            self._logs = {**self._logs, log.run_id: log}
            capture.start(self)

    def close(self, log: RunLog) -> None:
        with self._lock:
            self._strangers.update(threading.enumerate())
            capture.end_lines(lambda whose: any(each is log for each, _ in whose))
            if set(self._logs) == {log.run_id}:
                capture.stop()
            self._logs = {run_id: each for run_id, each in self._logs.items() if run_id != log.run_id}

    def whose(self, *, printed: bool) -> tuple[tuple[RunLog, Place], ...] | None:
        """See `capture.Taker`."""
        if self.process != os.getpid():  # forked: nobody will write it here
            return None
        asked = asked_now()
        if asked:
            found: dict[str, Place] = {}
            for each in asked:
                run_id = each.context.get(_run)
                if run_id is not None:
                    before = found.get(run_id)
                    prompts = each.prompts + (before.prompts or 0 if before else 0)
                    labels = each.labels
                    place = before or Place(labels.get("scenario"), labels.get("instance_id"), labels.get("model"))
                    found[run_id] = place._replace(prompts=prompts)
            logs = self._logs
            return tuple((logs[run_id], place) for run_id, place in found.items() if run_id in logs) or None
        run_id = _run.get()
        log = self._alone() if run_id is None else None if printed else self._logs.get(run_id)
        return None if log is None else ((log, NOWHERE),)

    def take(self, whose: tuple[tuple[RunLog, Place], ...], captured: Captured) -> None:
        """See `capture.Taker`."""
        for log, place in whose:
            log.add(captured, place)

    def _alone(self) -> RunLog | None:
        """The one open run, if this thread was started since it is the only one."""
        logs = self._logs
        if len(logs) == 1 and threading.current_thread() not in self._strangers:
            return next(iter(logs.values()))
        return None


def _registry() -> _Registry:
    global _open
    if _open.process != os.getpid():
        _open = _Registry()
    return _open


def _of_nobody(work: Callable[[], None]) -> None:
    """Run it as part of no run."""
    _run.set("")
    work()


def _as_unicode(captured: Captured) -> Captured:
    """Return the record with text that a table can hold; user code may log or print single surrogates."""
    level, name, message = map(valid_unicode, (captured.level, captured.logger, captured.message))
    trace, thread, process = (
        None if text is None else valid_unicode(text)
        for text in (captured.traceback, captured.thread, captured.process)
    )
    return Captured(captured.time, level, name, message, trace, thread, process)


def _dropped(count: int) -> Captured:
    text = f"{count:,} records were dropped here: more came than could be written"
    return Captured(time.time(), "WARNING", logger.name, text, None, None, None)


def _frame(rows: list[tuple[Any, ...]]) -> pl.DataFrame:
    times = {**LOGS.schema, "time": pl.Int64()}
    frame = pl.DataFrame(rows, schema=times, orient="row")
    frame = frame.with_columns(pl.from_epoch("time", time_unit="us").dt.replace_time_zone("UTC"))
    # as `config.redacted`, but once for all: the longer first, for one may begin another
    secrets = sorted(config.secret_texts(), key=len, reverse=True)
    if not secrets:
        return frame
    return frame.with_columns(
        pl.col("message", "traceback").str.replace_many(secrets, ["***"] * len(secrets), leftmost=True)
    )


_MESSAGE, _TRACEBACK = (list(LOGS.schema).index(name) for name in ("message", "traceback"))
# the run whose code this is; "" for none; unset in threads that know nothing of runs
_run: ContextVar[str | None] = ContextVar("helmframe_run", default=None)
_open = _Registry()
