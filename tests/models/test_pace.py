"""How many calls run at once, and when none does."""

import time

import pytest

from helmframe.models import pace
from helmframe.models.pace import Busy, Meter, ModelDownError, Pace, Seconds, Ticket


def adaptive(most: int = 64) -> Pace:
    return Pace("m", most, adaptive=True)


def leave(asked: Pace) -> Ticket:
    ticket = asked.admit()
    assert isinstance(ticket, Ticket)
    return ticket


def fail(asked: Pace, times: int, error: Exception | None = None) -> None:
    for _ in range(times):
        asked.failed(asked._ticket, error or ConnectionRefusedError("refused"))


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "PAUSES", (0.01, 0.02))


def test_a_set_number_of_workers_does_not_change() -> None:
    fixed = Pace("m", 3, adaptive=False)
    fixed.succeeded()
    fixed.failed(leave(fixed), TimeoutError())
    assert fixed.limit == 3


def test_an_adaptive_limit_starts_at_eight_and_doubles_with_each_round_until_the_model_pushes_back() -> None:
    asked = adaptive()
    limits = [asked.limit]
    for _ in range(4):
        for _ in range(asked.limit):
            asked.succeeded()
        limits.append(asked.limit)
    assert limits == [8, 16, 32, 64, 64]


def test_too_many_requests_halve_it_once_for_calls_that_ran_together() -> None:
    asked = adaptive()
    together = [leave(asked) for _ in range(8)]
    for ticket in together:
        asked.failed(ticket, TimeoutError())
    assert asked.limit == 4
    asked.failed(leave(asked), TimeoutError())
    assert asked.limit == 2


def test_after_a_push_back_it_rises_by_one_for_each_round() -> None:
    asked = adaptive()
    asked.failed(leave(asked), TimeoutError())
    for _ in range(5):
        asked.succeeded()
    assert asked.limit == 5


def test_it_never_falls_below_one_or_rises_above_the_most() -> None:
    asked = adaptive(most=2)
    for _ in range(20):
        asked.failed(leave(asked), TimeoutError()) if asked._failures < 9 else asked.succeeded()
        assert 1 <= asked.limit <= 2


def test_a_lost_connection_says_nothing_about_the_limit() -> None:
    asked = adaptive()
    asked.failed(leave(asked), ConnectionResetError())
    assert asked.limit == 8


def test_nine_failures_in_a_row_stop_nothing() -> None:
    asked = adaptive()
    fail(asked, 9)
    assert isinstance(asked.admit(), Ticket)


def test_an_answer_between_starts_the_count_anew() -> None:
    asked = adaptive()
    fail(asked, 9)
    asked.succeeded()
    fail(asked, 9)
    assert isinstance(asked.admit(), Ticket)


def test_ten_make_all_wait() -> None:
    asked = adaptive()
    fail(asked, 10)
    wait = asked.admit()
    assert not isinstance(wait, Ticket)
    assert 0.9 < wait <= 1


@pytest.mark.usefixtures("short")
def test_one_call_at_a_time_looks_whether_it_is_back() -> None:
    asked = adaptive()
    fail(asked, 10)
    time.sleep(0.02)
    assert leave(asked).probe
    assert not isinstance(asked.admit(), Ticket)


@pytest.mark.usefixtures("short")
def test_a_successful_probe_lets_all_calls_continue() -> None:
    asked = adaptive()
    fail(asked, 10)
    time.sleep(0.02)
    leave(asked)
    asked.succeeded()
    assert [leave(asked).probe, leave(asked).probe] == [False, False]


@pytest.mark.usefixtures("short")
def test_a_probe_that_is_refused_shows_that_the_model_is_up() -> None:
    asked = adaptive()
    fail(asked, 10)
    time.sleep(0.02)
    asked.refused(leave(asked))
    assert not leave(asked).probe


@pytest.mark.usefixtures("short")
def test_a_look_that_was_dropped_is_for_the_next_one() -> None:
    asked = adaptive()
    fail(asked, 10)
    time.sleep(0.02)
    asked.dropped(leave(asked))
    assert leave(asked).probe


@pytest.mark.usefixtures("short")
def test_after_the_last_look_the_model_is_gone_until_somebody_says_try_again() -> None:
    asked = adaptive()
    fail(asked, 10)
    for _ in pace.PAUSES:
        time.sleep(0.03)
        asked.failed(leave(asked), ConnectionRefusedError("refused"))
    said = r"model 'm' doesn't respond \(12 failures in a row, last: ConnectionRefusedError: refused\); rerun when"
    with pytest.raises(ModelDownError, match=said):
        asked.admit()
    asked.try_again()
    asked.failed(leave(asked), ConnectionRefusedError("refused"))
    with pytest.raises(ModelDownError, match="13 failures"):
        asked.admit()


@pytest.mark.usefixtures("short")
def test_a_look_that_hangs_is_the_last_and_is_not_repeated_at_once() -> None:
    asked = adaptive()
    fail(asked, 10)
    time.sleep(0.02)
    asked.failed(leave(asked), TimeoutError("no answer"))
    with pytest.raises(ModelDownError):
        asked.admit()
    asked.try_again()
    with pytest.raises(ModelDownError):
        asked.admit()


def test_the_pauses_are_thirty_seconds_in_all() -> None:
    assert sum(pace.PAUSES) == 30


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
        with busy.generating:
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
