"""Stages side by side: what comes next is made ready ahead, what is answered is put away behind.

A model that answers then never waits for prompts to be built or scores to be written. One shard each is held ahead
and behind, so memory stays bounded.
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


def ahead(items: Iterable[T]) -> Generator[T]:
    """The items in order, each made in a thread while the one before it is used; errors come where the item would."""
    iterator = iter(items)
    with ThreadPoolExecutor(1, thread_name_prefix="helmframe-ahead") as thread:
        made = thread.submit(copy_context().run, partial(next, iterator, _END))
        while (item := made.result()) is not _END:
            made = thread.submit(copy_context().run, partial(next, iterator, _END))
            yield cast("T", item)


def done(job: Callable[[], T]) -> "Future[T]":
    """The job, done now: what it gives, or the exception it raised, is met where `result()` is asked for."""
    future: Future[T] = Future()
    try:
        future.set_result(job())
    except Exception as error:  # noqa: BLE001 - raised again by `result`
        future.set_exception(error)
    return future


class Behind:
    """Does jobs in order in a thread, while the next are prepared; leaving the block waits for them.

    Raises what a job raised, with the next job or at the end of the block; the jobs behind it are done all the same.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="helmframe-behind")
        self._jobs: deque[Future[None]] = deque()

    def do(self, job: Callable[[], None]) -> None:
        """Do it soon: at once if no other is under way; waits where one waits already."""
        while len(self._jobs) > 1:
            self._jobs.popleft().result()
        self._jobs.append(self._thread.submit(copy_context().run, job))

    def wait(self) -> None:
        """Until all of them are done."""
        while self._jobs:
            self._jobs.popleft().result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._thread.shutdown(wait=True)
        if error is None:
            for job in self._jobs:
                job.result()
