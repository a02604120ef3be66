"""Which errors pass by themselves, and after which pause a model is asked again."""

import errno
import socket
import urllib.error
from datetime import UTC, datetime, timedelta
from email.message import Message
from email.utils import format_datetime
from typing import Any, NamedTuple

import httpx
import pytest

from helmframe.models.retries import is_overload, is_timeout, is_transient, may_be_one_row, retry_after, retrying


class StatusError(Exception):
    """An error as openai's and anthropic's clients raise it."""

    def __init__(self, status: int, code: str | None = None, **headers: str) -> None:
        super().__init__(f"status {status}")
        self.status_code = status
        self.code = code
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class Failed(NamedTuple):
    error: BaseException | None


def with_response(status: int, **headers: str) -> httpx.HTTPStatusError:
    """An error as `response.raise_for_status()` raises it."""
    request = httpx.Request("POST", "http://localhost")
    response = httpx.Response(status, request=request, headers=headers)
    return httpx.HTTPStatusError("failed", request=request, response=response)


def of_aiohttp(status: int) -> Exception:
    error = Exception("failed")
    error.status = status  # type: ignore[attr-defined]
    return error


def pauses(*errors: BaseException | None) -> list[float]:
    """The pauses before the attempts that follow these errors."""
    made: list[float] = []
    left = iter(errors)
    for attempt in retrying(made.append):
        attempt.retry_state.set_result(Failed(next(left)))
    return made


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 529])
def test_a_status_that_passes_is_transient(status: int) -> None:
    found = [is_transient(error) for error in (StatusError(status), with_response(status), of_aiohttp(status))]
    assert found == [True, True, True]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 501])
def test_another_status_is_not(status: int) -> None:
    assert [is_transient(error) for error in (StatusError(status), with_response(status))] == [False, False]


def test_an_empty_account_does_not_fill_by_waiting() -> None:
    assert not is_transient(StatusError(429, code="insufficient_quota"))


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError("refused"),
        BrokenPipeError(),
        TimeoutError("late"),
        OSError(errno.EHOSTUNREACH, "no route"),
        socket.gaierror(socket.EAI_AGAIN, "again"),
        urllib.error.URLError(ConnectionResetError("reset")),
        urllib.error.HTTPError("http://x", 503, "busy", Message(), None),
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("late"),
        httpx.RemoteProtocolError("closed"),
    ],
)
def test_a_lost_connection_is_transient(error: Exception) -> None:
    assert is_transient(error)


@pytest.mark.parametrize(
    "error",
    [
        None,
        ValueError("wrong"),
        FileNotFoundError("missing"),
        OSError(errno.ENOSPC, "full"),
        socket.gaierror(socket.EAI_NONAME, "unknown"),
        httpx.UnsupportedProtocol("ftp"),
        httpx.DecodingError("gzip"),
        KeyboardInterrupt(),
    ],
)
def test_what_will_fail_again_is_not_transient(error: BaseException | None) -> None:
    assert not is_transient(error)


def test_a_class_of_the_users_own_is_not_judged_by_its_name() -> None:
    class TransportError(Exception): ...

    assert not is_transient(TransportError())


def test_timeouts_and_busy_servers_ask_for_fewer_calls() -> None:
    many = [
        is_overload(error) for error in (StatusError(429), with_response(503), TimeoutError(), httpx.PoolTimeout(""))
    ]
    assert many == [True] * 4
    assert [is_overload(error) for error in (StatusError(500), ConnectionResetError())] == [False, False]
    assert (is_timeout(httpx.ReadTimeout("")), is_timeout(ConnectionResetError())) == (True, False)


def test_a_row_may_be_at_fault_for_a_500_or_a_timeout_but_not_for_a_busy_server() -> None:
    errors = [
        ValueError(),
        StatusError(400),
        StatusError(500),
        TimeoutError(),
        StatusError(429),
        ConnectionResetError(),
    ]
    assert [may_be_one_row(error) for error in errors] == [True, True, True, True, False, False]


def test_retry_after_is_read_as_seconds_or_milliseconds() -> None:
    found = [
        retry_after(error)
        for error in (
            with_response(429, **{"retry-after": "2.5"}),
            StatusError(429, Retry_After="3"),
            StatusError(429, retry_after_ms="250"),
            StatusError(429),
            StatusError(429, Retry_After="soon"),
            ValueError(),
        )
    ]
    assert found == [2.5, 3.0, 0.25, 0.0, 0.0, 0.0]


def test_retry_after_is_read_as_a_date() -> None:
    later, earlier = (datetime.now(UTC) + timedelta(seconds=seconds) for seconds in (60, -60))
    assert 55 < retry_after(with_response(503, **{"retry-after": format_datetime(later, usegmt=True)})) <= 60
    assert retry_after(with_response(503, **{"retry-after": format_datetime(earlier, usegmt=True)})) == 0


def test_a_request_is_retried_four_times_after_growing_random_pauses() -> None:
    found = [pauses(*[ConnectionResetError()] * 5) for _ in range(200)]
    assert {len(each) for each in found} == {4}
    longest = [max(each[k] for each in found) for k in range(4)]
    assert [0.8 * limit < most <= limit for most, limit in zip(longest, [1, 2, 4, 8], strict=True)] == [True] * 4
    assert min(each[3] for each in found) < 1


def test_a_timeout_is_retried_once() -> None:
    assert len(pauses(TimeoutError(), TimeoutError())) == 1


def test_success_ends_the_attempts() -> None:
    assert len(pauses(ConnectionResetError(), None)) == 1


def test_an_error_that_does_not_pass_ends_them_too() -> None:
    assert len(pauses(ConnectionResetError(), ValueError())) == 1


def test_the_server_is_given_the_time_it_asks_for() -> None:
    (pause,) = pauses(with_response(429, **{"retry-after": "7"}), None)
    assert 7 <= pause <= 8


def test_a_server_that_asks_for_an_hour_is_not_waited_for() -> None:
    assert pauses(with_response(429, **{"retry-after": "3600"})) == []


def test_headers_of_another_kind_are_no_headers() -> None:
    error: Any = StatusError(429)
    error.headers = "Retry-After: 3"
    assert retry_after(error) == 0


class PropertyError(Exception):
    """Its attributes are properties that raise, as a client's may until a response has come."""

    @property
    def response(self) -> object:
        raise RuntimeError("no response yet")

    headers = status_code = response


def test_an_error_whose_attributes_raise_is_read_without_them() -> None:
    error = PropertyError("lost")
    assert (is_transient(error), is_timeout(error), is_overload(error)) == (False, False, False)
    assert (may_be_one_row(error), retry_after(error)) == (True, 0.0)
