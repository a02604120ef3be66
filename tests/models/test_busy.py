"""A model is busy while it answers, of the time in which somebody waits for it."""

import time

import pytest

from helmframe.models.busy import Busy, Meter, Seconds


def test_blocks_side_by_side_count_once() -> None:
    meter = Meter()
    started = time.perf_counter()
    with meter:
        time.sleep(0.02)
        with meter:
            time.sleep(0.02)
    spent = time.perf_counter() - started
    time.sleep(0.02)
    assert 0.04 <= meter.seconds <= spent


def test_a_block_counts_while_it_runs() -> None:
    meter = Meter()
    with meter:
        time.sleep(0.01)
        assert meter.seconds >= 0.01


def test_the_share_is_of_the_time_waited() -> None:
    busy = Busy()
    before = busy.seconds
    with busy.waited:
        with busy.answering:
            time.sleep(0.03)
        time.sleep(0.03)
    share = busy.seconds.since(before).share
    assert share is not None
    assert 0 < share < 1


@pytest.mark.parametrize(
    ("seconds", "share"), [(Seconds(3.0, 4.0), 0.75), (Seconds(0.0, 0.0), None), (Seconds(2.0, 1.9), 1.0)]
)
def test_shares(seconds: Seconds, share: float | None) -> None:
    assert seconds.share == share
