"""Which errors of a model pass by themselves, and how long to wait before it is asked again."""

import errno
import math
import socket
import urllib.error
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Protocol

from helmframe._core.safe_text import type_name

if TYPE_CHECKING:
    from tenacity import RetryCallState, Retrying


RETRIES = 4
# The pause before retry k is drawn from 0 to FIRST_PAUSE · 2^(k-1) seconds, at most LONGEST_PAUSE ("full jitter").
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
# A server that asks for a longer pause than this is not waited for: the row fails, and the next run asks it again.
LONGEST_RETRY_AFTER = 120.0

# 409 is a lock that was not got in time, 529 an overloaded server, with those who serve models.
_TRANSIENT = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_TOO_MANY = frozenset({408, 429, 503, 504, 529})
_UNREACHABLE = frozenset({errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.EPIPE})
# Connection errors of clients that don't derive them from the builtin ones, by library: nothing is imported for them.
_CLIENTS = frozenset({"httpx", "httpx2", "httpcore", "requests", "urllib3", "aiohttp", "openai", "anthropic", "http"})
_LOST = frozenset(
    {
        "TransportError",  # httpx
        "APIConnectionError",  # openai, anthropic
        "ClientConnectionError",  # aiohttp
        "ClientPayloadError",
        "ConnectionError",  # requests
        "ChunkedEncodingError",
        "Timeout",
        "IncompleteRead",  # http.client
        "NetworkError",  # httpcore
        "TimeoutException",
        "RemoteProtocolError",
        "ProtocolError",  # urllib3
        "TimeoutError",
    }
)
_PERMANENT = frozenset({"UnsupportedProtocol", "InvalidURL", "MissingSchema", "SSLError"})


class Failing(Protocol):
    """What came of a call: the error, or None where it answered."""

    @property
    def error(self) -> BaseException | None:
        """The error of the call."""


def is_transient(error: BaseException | None) -> bool:
    """Whether the same request may succeed a moment later: a lost connection, a timeout, a server that is overloaded.

    Told by the builtin kinds, by the HTTP status an error carries, and by the class names of usual clients.
    """
    if error is None:
        return False
    status = status_of(error)
    if status is not None:
        # an empty account is answered with 429 too
        return status in _TRANSIENT and _attribute(error, "code") != "insufficient_quota"
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    if isinstance(error, socket.gaierror):
        return error.errno == socket.EAI_AGAIN
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, BaseException):
        return is_transient(error.reason)
    names = _client_names(error)
    if names:
        return bool(names & _LOST) and not names & _PERMANENT
    return isinstance(error, OSError) and error.errno in _UNREACHABLE


def is_timeout(error: BaseException | None) -> bool:
    """Whether it took a long wait to fail."""
    return isinstance(error, TimeoutError) or any("Timeout" in name for name in _client_names(error))


def says_too_many(error: BaseException) -> bool:
    """Whether fewer calls at once may help."""
    return status_of(error) in _TOO_MANY or is_timeout(error)


def may_be_one_row(error: BaseException) -> bool:
    """Whether one row of the batch may be at fault: its others deserve to be asked without it."""
    return not is_transient(error) or status_of(error) == 500 or is_timeout(error)


def status_of(error: BaseException) -> int | None:
    """The HTTP status that an error carries, as usual clients name it; None: it carries none."""
    response = _attribute(error, "response")
    given = [_attribute(error, "status_code"), _attribute(response, "status_code")]
    given += [_attribute(error, "status"), _attribute(response, "status")]
    if isinstance(error, urllib.error.HTTPError):
        given.append(error.code)
    return next((int(each) for each in given if isinstance(each, int) and 100 <= each < 600), None)


def retry_after(error: BaseException | None) -> float:
    """The seconds that the server asks to wait (`Retry-After`, as seconds or as a date); 0: it asks for none."""
    headers = _attribute(_attribute(error, "response"), "headers") or _attribute(error, "headers")
    if not isinstance(headers, Mapping) and not callable(_attribute(headers, "get")):
        return 0.0
    said = _header(headers, "Retry-After")
    milliseconds = _number(_header(headers, "Retry-After-Ms"))
    if milliseconds is not None:
        return max(0.0, milliseconds / 1000)
    seconds = _number(said)
    return max(0.0, _until(said) if seconds is None else seconds)


def retrying(pause: Callable[[float], None]) -> "Retrying":
    """Attempts at one request, to iterate over: the first has been made; `pause` is told the seconds before each other.

    Each attempt gets its `Failing` by `retry_state.set_result`. A timeout, which is a long wait already, is retried
    once.
    """
    from tenacity import Retrying, retry_if_result

    return Retrying(
        retry=retry_if_result(lambda reply: is_transient(reply.error)),
        stop=_is_enough,
        wait=_seconds,
        sleep=pause,
        retry_error_callback=lambda state: None,  # noqa: ARG005 - the last reply has the error
    )


def _is_enough(state: "RetryCallState") -> bool:
    error = _error(state)
    retries = 1 if isinstance(error, TimeoutError) else RETRIES
    return state.attempt_number > retries or retry_after(error) > LONGEST_RETRY_AFTER


def _seconds(state: "RetryCallState") -> float:
    from tenacity import wait_random_exponential

    jitter = wait_random_exponential(multiplier=FIRST_PAUSE, max=LONGEST_PAUSE)(state)
    asked = retry_after(_error(state))
    # after a pause that all were asked for, not all come back at once
    return asked + min(jitter, FIRST_PAUSE) if asked else jitter


def _error(state: "RetryCallState") -> BaseException | None:
    reply: Failing | None = None if state.outcome is None else state.outcome.result()
    return None if reply is None else reply.error


def _client_names(error: BaseException | None) -> set[str]:
    """The names of an error's classes that come from a client."""
    classes = type(error).__mro__
    return {type_name(each) for each in classes if str(_attribute(each, "__module__")).partition(".")[0] in _CLIENTS}


def _attribute(value: object, name: str) -> Any:
    """Return an attribute of an error or its response; None where it has none, or where reading it raises."""
    try:
        return getattr(value, name, None)
    except Exception:  # noqa: BLE001 - the attributes of a client's errors may be properties that raise
        return None


def _header(headers: Any, name: str) -> str | None:
    for spelled in (name, name.lower()):
        said = headers.get(spelled)
        if isinstance(said, str | int | float):
            return str(said)
    return None


def _number(said: str | None) -> float | None:
    try:
        number = float(said or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _until(said: str | None) -> float:
    try:
        moment = parsedate_to_datetime(said or "")
    except ValueError:
        return 0.0
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - datetime.now(UTC)).total_seconds()
