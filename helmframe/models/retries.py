"""Transient errors of a model, and the pauses before retries."""

import errno
import math
import re
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
# The pause before retry k is random, up to FIRST_PAUSE · 2^(k-1) seconds and LONGEST_PAUSE ("full jitter").
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
# If a server requests a longer pause, the row fails, and the next run retries it.
LONGEST_RETRY_AFTER = 120.0

# Providers use 409 for a lock that timed out, and 529 for an overloaded server.
_TRANSIENT = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_TOO_MANY = frozenset({408, 429, 503, 504, 529})
_UNREACHABLE = frozenset({errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.EPIPE})
# Clients whose connection errors don't derive from builtin errors. They are matched by name, without an import.
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
    """The result of a call: the error, or None if it succeeded."""

    @property
    def error(self) -> BaseException | None:
        """Return the error of the call."""


def is_transient(error: BaseException | None) -> bool:
    """Return whether a retry may succeed: after a lost connection, a timeout, or a server overload.

    The decision uses the builtin error types, the HTTP status of an error, and class names of common clients.
    """
    if error is None:
        return False
    status = status_of(error)
    if status is not None:
        # an account without credit has status 429 too
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
    """Return whether an error is a timeout."""
    return isinstance(error, TimeoutError) or any("Timeout" in name for name in _client_names(error))


def is_overload(error: BaseException) -> bool:
    """Return whether an error means too many requests, so that fewer concurrent calls may help."""
    return status_of(error) in _TOO_MANY or is_timeout(error)


def may_be_one_row(error: BaseException) -> bool:
    """Return whether a bad row may have caused the error, so that the batch should be halved."""
    return not is_transient(error) or status_of(error) == 500 or is_timeout(error)


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status of an error, by the attribute names of common clients; None if it has none."""
    response = _attribute(error, "response")
    statuses = [_attribute(error, "status_code"), _attribute(response, "status_code")]
    statuses += [_attribute(error, "status"), _attribute(response, "status")]
    if isinstance(error, urllib.error.HTTPError):
        statuses.append(error.code)
    return next((int(status) for status in statuses if isinstance(status, int) and 100 <= status < 600), None)


def retry_after(error: BaseException | None) -> float:
    """Return the seconds to wait that the server requests (`Retry-After`, in seconds or as a date), else 0."""
    headers = _attribute(_attribute(error, "response"), "headers") or _attribute(error, "headers")
    if not isinstance(headers, Mapping) and not callable(_attribute(headers, "get")):
        return 0.0
    value = _header(headers, "Retry-After")
    milliseconds = _number(_header(headers, "Retry-After-Ms"))
    if milliseconds is not None:
        return max(0.0, milliseconds / 1000)
    if value is None:
        return seconds_to_reset(headers)
    seconds = _number(value)
    return max(0.0, _seconds_until(value) if seconds is None else seconds)


def seconds_to_reset(headers: Any) -> float:
    """Return the seconds until a used-up rate limit is reset, by the headers `x-ratelimit-*`; 0 if none is used up.

    >>> seconds_to_reset({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1m2.5s"})
    62.5
    """
    waits = [
        _duration(_header(headers, f"x-ratelimit-reset-{kind}"))
        for kind in ("requests", "tokens")
        if _number(_header(headers, f"x-ratelimit-remaining-{kind}")) == 0
    ]
    return min(max(waits, default=0.0), LONGEST_RETRY_AFTER)


def _duration(text: str | None) -> float:
    """Return the seconds of a duration such as "6m0s", "20ms" or "1.5"; 0 for anything else."""
    number = _number(text)
    if number is not None:
        return max(0.0, number)
    parts = _DURATION.fullmatch((text or "").strip())
    return (
        0.0
        if parts is None
        else sum(float(part or 0) * unit for part, unit in zip(parts.groups(), _UNITS, strict=True))
    )


_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
_UNITS = (3600.0, 60.0, 1.0, 0.001)


def retrying(pause: Callable[[float], None]) -> "Retrying":
    """Return an iterator of attempts after a first one; `pause` receives the seconds before each retry.

    The result of each attempt, a `Failing`, is set by `retry_state.set_result`. A timeout is retried only once, because
    it has taken long already.
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
    requested = retry_after(_error(state))
    # callers that wait for the same requested pause must not continue at the same time
    return requested + min(jitter, FIRST_PAUSE) if requested else jitter


def _error(state: "RetryCallState") -> BaseException | None:
    reply: Failing | None = None if state.outcome is None else state.outcome.result()
    return None if reply is None else reply.error


def _client_names(error: BaseException | None) -> set[str]:
    """Return the names of an error's classes that a client defines."""
    classes = type(error).__mro__
    return {type_name(cls) for cls in classes if str(_attribute(cls, "__module__")).partition(".")[0] in _CLIENTS}


def _attribute(value: object, name: str) -> Any:
    """Return an attribute of an error or its response; None if it is missing or raises."""
    try:
        return getattr(value, name, None)
    except Exception:  # noqa: BLE001 - the attributes of a client's errors may be properties that raise
        return None


def _header(headers: Any, name: str) -> str | None:
    for spelling in (name, name.lower()):
        value = headers.get(spelling)
        if isinstance(value, str | int | float):
            return str(value)
    return None


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _seconds_until(date: str | None) -> float:
    try:
        moment = parsedate_to_datetime(date or "")
    except ValueError:
        return 0.0
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - datetime.now(UTC)).total_seconds()
