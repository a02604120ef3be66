"""Concurrent stages: while a model generates, the next shard is prepared, and completed shards are written.

So a model does not wait for prompts or for writes. One shard is prefetched and one is written at a time, so memory
stays bounded.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from types import TracebackType
from typing import Self, TypeVar, cast

T = TypeVar("T")
_END = object()


def prefetch(items: Iterable[T]) -> Generator[T]:
    """Yield the items in order; a thread computes the next item while the current one is used. Errors are raised."""
    iterator = iter(items)
    with ThreadPoolExecutor(1, thread_name_prefix="helmframe-ahead") as thread:
        pending = thread.submit(copy_context().run, partial(next, iterator, _END))
        while (item := pending.result()) is not _END:
            pending = thread.submit(copy_context().run, partial(next, iterator, _END))
            yield cast("T", item)


def completed(job: Callable[[], T]) -> "Future[T]":
    """Return a finished future with the result or the exception of a job."""
    future: Future[T] = Future()
    try:
        future.set_result(job())
    except Exception as error:  # noqa: BLE001 - raised again by `result`
        future.set_exception(error)
    return future


class BackgroundWriter:
    """A background thread that runs jobs in order. The end of the block waits for all jobs.

    The exception of a job is raised when the next job is submitted, or at the end of the block. Later jobs still run.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="helmframe-behind")
        self._jobs: deque[Future[None]] = deque()

    def submit(self, job: Callable[[], None]) -> None:
        """Submit a job. It starts at once if no job runs; if a job waits already, this call waits."""
        while len(self._jobs) > 1:
            self._jobs.popleft().result()
        self._jobs.append(self._thread.submit(copy_context().run, job))

    def wait(self) -> None:
        """Wait until all jobs have ended."""
        while self._jobs:
            self._jobs.popleft().result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._thread.shutdown(wait=True)
        if error is None:
            for job in self._jobs:
                job.result()
