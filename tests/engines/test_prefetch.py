"""What is made ahead and put away behind."""

import threading
from collections.abc import Iterator
from functools import partial

import pytest

from helmframe.engines.prefetch import BackgroundWriter, prefetch


def test_items_come_in_order() -> None:
    assert list(prefetch(range(5))) == [0, 1, 2, 3, 4]


def test_the_next_item_is_made_while_one_is_used() -> None:
    made = threading.Event()

    def items() -> Iterator[int]:
        yield 0
        made.set()
        yield 1

    found = prefetch(items())
    assert next(found) == 0
    assert made.wait(5)
    assert list(found) == [1]


def test_no_more_than_one_is_made_ahead() -> None:
    made = []

    def items() -> Iterator[int]:
        for each in range(9):
            made.append(each)
            yield each

    found = prefetch(items())
    next(found)
    found.close()  # waits for what is being made
    assert made in ([0], [0, 1])


def test_an_error_comes_where_the_item_would() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise KeyError("the second")

    found = prefetch(items())
    assert next(found) == 1
    with pytest.raises(KeyError, match="the second"):
        next(found)


def test_jobs_are_done_in_order_before_the_block_ends() -> None:
    done: list[int] = []
    with BackgroundWriter() as behind:
        for each in range(9):
            behind.submit(lambda each=each: done.append(each))  # type: ignore[misc]
    assert done == list(range(9))


def test_an_error_of_a_job_is_raised_and_the_others_are_done() -> None:
    done: list[int] = []

    def wrong() -> None:
        raise KeyError("wrong")

    def both() -> None:
        with BackgroundWriter() as behind:
            behind.submit(wrong)
            behind.submit(lambda: done.append(1))

    with pytest.raises(KeyError, match="wrong"):
        both()
    assert done == [1]


def test_waiting_sees_all_done_and_raises_what_one_raised() -> None:
    done: list[int] = []

    def wrong() -> None:
        raise KeyError("wrong")

    with BackgroundWriter() as behind:
        for number in range(3):
            behind.submit(partial(done.append, number))
        behind.wait()
        assert done == [0, 1, 2]
        behind.submit(wrong)
        with pytest.raises(KeyError, match="wrong"):
            behind.wait()


def test_an_error_in_the_block_goes_before_one_of_a_job() -> None:
    def wrong() -> None:
        raise KeyError("a job")

    def both() -> None:
        with BackgroundWriter() as behind:
            behind.submit(wrong)
            raise ValueError("the block")

    with pytest.raises(ValueError, match="the block"):
        both()


def test_no_thread_is_left() -> None:
    before = threading.active_count()
    list(prefetch(range(3)))
    with BackgroundWriter() as behind:
        behind.submit(lambda: None)
    assert threading.active_count() == before
