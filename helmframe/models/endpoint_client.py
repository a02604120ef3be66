"""The clients of a model on a server, over HTTP or through litellm: requests, keys from the environment, errors."""

import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from helmframe import config
from helmframe._core.safe_text import ACCEPT_ENCODING, MAX_REPLY_BYTES, ReplyError, body_decoder, with_content
from helmframe.errors import (
    CapabilityError,
    HelmframeError,
    SourceBrokenError,
    SourceDeniedError,
    SourceMissingError,
    UnknownNameError,
)
from helmframe.models.providers import is_loopback
from helmframe.models.retries import seconds_to_reset

if TYPE_CHECKING:
    import asyncio

    import httpx

# The limits in seconds of a connection, and of a call without another limit.
CONNECT, LONGEST = 30.0, 3600.0
MAX_MESSAGE = 300
# The most values of JSON in a reply: parsed, each takes up to 80 bytes of memory.
MAX_VALUES = 4_000_000
# The statuses of servers that lack a route: not found, not allowed, not implemented.
_NO_ROUTE = frozenset({404, 405, 501})


class RefusedError(HelmframeError):
    """An error response of a server.

    `status_code`, `headers` and `code` show whether it is transient. `parameter` is the field that the server rejects.
    """

    def __init__(
        self, message: str, status_code: int, headers: Mapping[str, str], code: str | None, parameter: str | None = None
    ) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.headers = headers
        self.code = code
        self.parameter = parameter


class RedirectError(HelmframeError, ConnectionError):
    """An error for a server that has responded before, and now redirects; as after a lost connection, retries help."""


class NotRunningError(HelmframeError):
    """An error for a server of this machine that isn't running; not a `ConnectionError`, because no retry helps."""


@dataclass
class Endpoint:
    """A model of a server.

    Args:
        url: The base address of the server.
        name: The name of the model on the server.
        key: The environment variable of the server's key; None: no key is sent.
        provider: The name of the provider that requires a key; "" for a server that may need none.
        has_responded: Whether the server has responded in this process. Later invalid replies fail one request only.
        max_reply_bytes: The maximum size of a reply, before and after decompression.
    """

    url: str
    name: str
    key: str | None = None
    provider: str = ""
    has_responded: bool = False
    max_reply_bytes: int = MAX_REPLY_BYTES
    _open_at: float = 0.0  # the reset of the server's rate limit, by the clock `time.monotonic`

    async def post(self, route: str, body: Mapping[str, Any]) -> Any:
        """Return the server's reply, parsed as JSON.

        Raises:
            SourceDeniedError: The key is missing, wrong, or not valid for this model.
            SourceMissingError: The server has no such model; the message lists models.
            SourceBrokenError: The server isn't OpenAI-compatible.
            CapabilityError: The server has the model, but not on this route.
            NotRunningError: No server listens at an address of this machine, and none has responded.
            RedirectError: The server redirects, although it has responded before.
            ReplyError: The reply is too large.
            RefusedError: The server returned any other error. A lost connection raises httpx's own error.
        """
        await self._wait_for_reset()
        response = await self._send("POST", route, json=body)
        self._open_at = max(self._open_at, time.monotonic() + seconds_to_reset(response.headers))
        reply = _json(response)
        error = reply.get("error") if isinstance(reply, Mapping) else None
        if response.is_success and not error and reply is not None:
            return reply
        status = response.status_code
        if response.is_success and error:
            status = _status(error)
        elif response.is_success:
            await self.check_protocol()
            raise self._refused(response, route, status, "the reply isn't JSON")
        elif response.is_redirect:
            raise self._redirected(response)
        if status == 401 or (status == 403 and not self.has_responded):
            raise self._denied(status, _error_message(reply))
        if status in _NO_ROUTE and not self.has_responded:
            raise await self._no_route_error(response, route, status, _error_message(reply))
        raise self._refused(response, route, status, _error_message(reply))

    def reply_of(self, response: "httpx.Response", route: str) -> Any:
        """Return a response, parsed as JSON.

        Raises:
            SourceDeniedError: The key is missing, wrong, or not valid for this route.
            RedirectError: The server redirects, although it has responded before.
            RefusedError: The server returned any other error, or no JSON.
        """
        reply = _json(response)
        if response.is_success and reply is not None:
            return reply
        if response.is_redirect:
            raise self._redirected(response)
        message = "the reply isn't JSON" if response.is_success else _error_message(reply)
        if response.status_code in (401, 403):
            raise self._denied(response.status_code, message)
        raise self._refused(response, route, response.status_code, message)

    async def _send(self, method: str, route: str, **options: Any) -> "httpx.Response":
        import httpx

        headers = {**self.headers(), **ACCEPT_ENCODING}
        try:
            async with _client().stream(method, f"{self.url}/{route}", headers=headers, **options) as response:
                decoder = body_decoder(response, self.max_reply_bytes)
                content = [piece async for chunk in response.aiter_raw() for piece in decoder.decode(chunk)]
            return cast("httpx.Response", with_content(response, b"".join(content)))
        except ReplyError as error:
            raise self.oversized(route, error) from None
        except httpx.TransportError as error:
            if not self.has_responded and is_loopback(self.url) and _is_refused(error):
                raise self._not_running() from error
            # of the same class, which decides whether the request is retried
            reason = str(error) or ("timeout" if isinstance(error, httpx.TimeoutException) else "connection lost")
            raise type(error)(f"no response from {self.url}/{route}: {self.safe(reason)}") from error

    async def _wait_for_reset(self) -> None:
        """Wait until the server resets its rate limit, if its last replies reported that the limit is used up."""
        import asyncio

        wait = self._open_at - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)

    async def check_protocol(self) -> None:
        """Check that a server that has not responded yet is OpenAI-compatible.

        Raises:
            SourceBrokenError: The server isn't OpenAI-compatible.
        """
        if not self.has_responded and await self._names() is None:
            raise self._incompatible("its reply isn't in OpenAI's format")

    async def _names(self) -> list[str] | None:
        """Return the models that the server lists; [] if the list is not allowed, None if there is no list."""
        response = await self._send("GET", "models")
        if response.status_code in (401, 403):
            return []
        if response.status_code >= 500 and response.status_code not in _NO_ROUTE:
            raise self._refused(response, "models", response.status_code, "")
        reply = _json(response)
        listed = reply.get("data") if isinstance(reply, Mapping) else None
        if not isinstance(listed, list):
            return None
        return [self.safe(str(entry["id"])) for entry in listed if isinstance(entry, Mapping) and "id" in entry]

    async def _no_route_error(
        self, response: "httpx.Response", route: str, status: int, message: str
    ) -> HelmframeError:
        names = await self._names()
        if names is None:
            return self._incompatible(f"it has neither /{route} nor /models (HTTP {status})")
        if self.name in names or "chat" in message.lower():
            hint = "hf.models.http(url, name, chat=True)" if route == "completions" else "without chat=True"
            return CapabilityError(
                f"{self.url}/{route} doesn't serve model {self.name!r}: {message or status}. Try {hint}."
            )
        if not names:
            return self._refused(response, route, status, message)
        return SourceMissingError(str(UnknownNameError.among(f"model on {self.url}", self.name, names)))

    def _not_running(self) -> NotRunningError:
        port = urlsplit(self.url).port
        command = f"vllm serve {self.name}{'' if port is None else f' --port {port}'}"
        return NotRunningError(
            f"No server is running at {self.url}: the connection was refused. Start the server, for example "
            f"{command!r}, or check the port of the address. Then rerun the plan."
        )

    def _incompatible(self, reason: str) -> SourceBrokenError:
        return SourceBrokenError(
            f"No OpenAI-compatible server found at {self.url}: {reason}. The base address usually ends in /v1."
        )

    def _denied(self, status: int, message: str) -> SourceDeniedError:
        name = self.key
        if name is None:
            return SourceDeniedError(
                f"{self.url} needs a key (HTTP {status}). Put it into an environment variable, and name the variable: "
                f"hf.models.http({self.url!r}, {self.name!r}, key_env='MY_SERVER_KEY')."
            )
        if not config.read_key(name):
            return SourceDeniedError(
                f"{self.url} needs a key (HTTP {status}). Set it in the environment: export {name}=…."
            )
        details = f": {self.safe(message)}" if message else ""
        return SourceDeniedError(f"{self.url} rejects the key in {name} (HTTP {status}){details}")

    def _refused(self, response: "httpx.Response", route: str, status: int, message: str) -> RefusedError:
        reply = _json(response)
        error = reply.get("error") if isinstance(reply, Mapping) else None
        code = error.get("code") if isinstance(error, Mapping) else None
        text = f"{self.url}/{route} returned HTTP {status}"
        details = f": {self.safe(message)}" if message else ""
        parameter = error.get("param") if isinstance(error, Mapping) else None
        return RefusedError(
            text + details,
            status,
            dict(response.headers),
            code if isinstance(code, str) else None,
            parameter if isinstance(parameter, str) else None,
        )

    def _redirected(self, response: "httpx.Response") -> HelmframeError:
        text = f"{self.url} redirects to {self.safe(response.headers.get('Location', ''))}"
        if self.has_responded:
            return RedirectError(f"{text}, although it has responded before")
        return SourceBrokenError(f"{text}. Use that address.")

    def oversized(self, route: str, error: ReplyError) -> ReplyError:
        """Return the error of a reply that is too large, with the address and the setting."""
        return ReplyError(
            f"{self.url}/{route}: {error}. To allow larger replies, write hf.models.http(…, max_reply_bytes=n)."
        )

    def headers(self) -> dict[str, str]:
        """Return the headers of a request, with the key.

        Raises:
            SourceDeniedError: The key is missing or invalid.
        """
        key = config.read_key(self.key)
        if not key and self.provider:
            raise SourceDeniedError(f"{self.provider}: needs a key: export {self.key}=….")
        if not key:
            return {}
        if not key.isascii() or not key.isprintable():
            raise SourceDeniedError(f"The key in {self.key} contains invalid characters. Export it again.")
        return {"Authorization": f"Bearer {key}"}

    def safe(self, message: str) -> str:
        """Return the server's message as one short line without keys, which some servers repeat."""
        key = config.read_key(self.key)
        shown = config.redacted(message.replace(key, "***") if key else message)
        return " ".join("".join(character if character.isprintable() else " " for character in shown).split())[
            :MAX_MESSAGE
        ]


@dataclass
class LitellmEndpoint(Endpoint):
    """A model of a provider that the package litellm calls; `name` is `provider/model`.

    litellm reads keys and addresses from the environment variables of the provider. helmframe retries requests, so
    litellm does not.
    """

    async def post(self, route: str, body: Mapping[str, Any]) -> Any:  # noqa: ARG002 - the only route is chat
        """Return the reply in OpenAI's format.

        Raises:
            SourceDeniedError: The key is missing or wrong.
            SourceMissingError: The provider is unknown, or does not have the model.
            RefusedError: The provider returned any other error, or can't be reached.
        """
        await self._wait_for_reset()
        litellm = _litellm()
        try:
            response = await litellm.acompletion(**body, num_retries=0, max_retries=0, timeout=LONGEST)
        except import_module("openai").OpenAIError as error:
            problem = self._error_of(error, litellm)
        else:
            headers = getattr(response, "_response_headers", None) or {}
            self._open_at = max(self._open_at, time.monotonic() + seconds_to_reset(headers))
            return response.model_dump()
        # outside of the block, because tracebacks of litellm's errors may contain the request
        raise problem

    async def check_protocol(self) -> None:
        """Do nothing: litellm converts every reply to OpenAI's format."""

    def _error_of(self, error: Any, litellm: Any) -> HelmframeError:
        """Return the error of a call as an error of helmframe."""
        status = error.status_code if isinstance(getattr(error, "status_code", None), int) else 500
        message = self.safe(str(error).partition(" To drop these")[0])
        if "LLM Provider NOT provided" in message:
            provider = self.name.partition("/")[0]
            return SourceMissingError(f"litellm has no provider {provider!r}. Write 'litellm:provider/model'.")
        if not self.has_responded:
            missing = litellm.validate_environment(self.name)["missing_keys"]
            if missing and status != 429:
                return SourceDeniedError(f"litellm:{self.name} needs a key: export {missing[0]}=….")
            if status == 404:
                return SourceMissingError(f"litellm:{self.name}: the provider has no such model: {message}")
        if status == 401 or (status == 403 and not self.has_responded):
            return SourceDeniedError(f"litellm:{self.name}: the provider rejects the key (HTTP {status}): {message}")
        response = getattr(error, "response", None)
        headers = getattr(error, "litellm_response_headers", None) or getattr(response, "headers", None)
        details = error.body if isinstance(getattr(error, "body", None), Mapping) else {}
        code, parameter = details.get("code"), details.get("param")
        return RefusedError(
            f"litellm:{self.name} returned HTTP {status}: {message}",
            status,
            dict(headers or {}),
            code if isinstance(code, str) else None,
            parameter if isinstance(parameter, str) else None,
        )


@cache
def _litellm() -> Any:
    """Import litellm without its downloads, its logging, and keys from a file `.env`."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    os.environ.setdefault("LITELLM_OFFLINE_MODE", "true")
    mode = os.environ.get("LITELLM_MODE")
    os.environ["LITELLM_MODE"] = "PRODUCTION"  # in its other mode, the import loads .env
    try:
        litellm: Any = import_module("litellm")
    finally:
        if mode is None:
            del os.environ["LITELLM_MODE"]
        else:
            os.environ["LITELLM_MODE"] = mode
    litellm.suppress_debug_info = True
    litellm.telemetry = False
    if "LITELLM_LOG" not in os.environ:
        logging.getLogger("LiteLLM").setLevel(logging.CRITICAL)
    return litellm


# The client of each event loop (a process has one). It holds the connections, but no keys.
_clients: "WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient]" = WeakKeyDictionary()


def _client() -> "httpx.AsyncClient":
    import asyncio

    import httpx

    loop = asyncio.get_running_loop()
    if loop not in _clients:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
        timeout = httpx.Timeout(LONGEST, connect=CONNECT, pool=None)
        _clients[loop] = httpx.AsyncClient(limits=limits, timeout=timeout)
    return _clients[loop]


def _is_refused(error: BaseException) -> bool:
    """Return whether an error, or one that caused it, is a refused connection."""
    if isinstance(error, ConnectionRefusedError):
        return True
    causes = [*getattr(error, "exceptions", ()), error.__cause__ or error.__context__]
    return any(_is_refused(cause) for cause in causes if cause is not None)


def _json(response: "httpx.Response") -> Any:
    """Return the body as JSON; None if it isn't JSON, or has too many values."""
    if len(response.content) > MAX_VALUES and sum(map(response.content.count, (b",", b"[", b"{"))) > MAX_VALUES:
        return None
    try:
        return response.json()
    except (ValueError, RecursionError):  # RecursionError: too many nested brackets
        return None


def _status(error: object) -> int:
    """Return the status of an error in a reply of status 200, which routers send; 400 if it has none."""
    code = error.get("code") if isinstance(error, Mapping) else None
    return code if isinstance(code, int) and 400 <= code < 600 else 400


def _error_message(reply: Any) -> str:
    """Return the message in the body of an error, under the keys of common servers."""
    if isinstance(reply, Mapping):
        for key in ("error", "message", "detail"):
            if reply.get(key):
                return _error_message(reply[key])
    # redacted before truncation, because half a key isn't recognised
    return reply if isinstance(reply, str) else "" if reply is None else config.redacted(str(reply))[: 2 * MAX_MESSAGE]
