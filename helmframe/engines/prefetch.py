"""Stages side by side: the next shard is prepared, and completed ones are written, while a model generates.

A model then never waits for prompts to be built or scores to be written. One shard is prefetched and one is being
written, so memory stays bounded.
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
    """Yield the items in order, each made in a thread while the previous one is used; errors come in its place."""
    iterator = iter(items)
    with ThreadPoolExecutor(1, thread_name_prefix="helmframe-ahead") as thread:
        made = thread.submit(copy_context().run, partial(next, iterator, _END))
        while (item := made.result()) is not _END:
            made = thread.submit(copy_context().run, partial(next, iterator, _END))
            yield cast("T", item)


def completed(job: Callable[[], T]) -> "Future[T]":
    """Run a job now, and return its result or exception as a finished future."""
    future: Future[T] = Future()
    try:
        future.set_result(job())
    except Exception as error:  # noqa: BLE001 - raised again by `result`
        future.set_exception(error)
    return future


class BackgroundWriter:
    """A background thread that runs jobs in order while the next are prepared; leaving the block waits for them.

    The exception of a job is raised with the next job or at the end of the block; later jobs run all the same.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="helmframe-behind")
        self._jobs: deque[Future[None]] = deque()

    def submit(self, job: Callable[[], None]) -> None:
        """Submit a job: it starts at once if no other runs; if another waits already, this call waits."""
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
