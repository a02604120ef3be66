"""One model of one server over HTTP: requests, keys from the environment, and what its refusals mean."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from helmframe import config
from helmframe.errors import (
    CapabilityError,
    HelmframeError,
    SourceBrokenError,
    SourceDeniedError,
    SourceMissingError,
    UnknownNameError,
)

if TYPE_CHECKING:
    import asyncio

    import httpx

# Seconds to get a connection, and for a call that nobody has put another limit to.
CONNECT, LONGEST = 30.0, 3600.0
MAX_SAID = 300
# A server without the route may call it not found, not allowed, or not implemented.
_NO_ROUTE = frozenset({404, 405, 501})


class RefusedError(HelmframeError):
    """A server answered with an error. `status_code`, `headers` and `code` tell whether it may pass by itself."""

    def __init__(self, message: str, status_code: int, headers: Mapping[str, str], code: str | None) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.headers = headers
        self.code = code


@dataclass
class Endpoint:
    """A model of a server.

    Args:
        url: the server's base address.
        name: the model, as the server calls it.
        answered: it has, in this process; after that a strange reply is the fault of one request.
    """

    url: str
    name: str
    answered: bool = False

    @property
    def is_openai(self) -> bool:
        """It is OpenAI itself, and no server that speaks as it does."""
        return urlsplit(self.url).hostname == "api.openai.com"

    async def post(self, route: str, body: Mapping[str, Any]) -> Any:
        """The server's reply, read as JSON.

        Raises:
            SourceDeniedError: the key is missing, wrong, or not for this model.
            SourceMissingError: the server has no such model; says which it has.
            SourceBrokenError: what answers there is no server of this kind.
            CapabilityError: the server has the model, but not this way to ask it.
            RefusedError: any other error; a lost connection is httpx's own.
        """
        response = await _client().post(f"{self.url}/{route}", json=body, headers=self._headers())
        reply = _json(response)
        said = reply.get("error") if isinstance(reply, Mapping) else None
        if response.is_success and not said and reply is not None:
            return reply
        status = response.status_code
        if response.is_success and said:
            status = _status(said)
        elif response.is_success:
            await self.check_protocol()
            raise self._refused(response, route, status, "the reply is no JSON")
        elif response.is_redirect:
            raise SourceBrokenError(f"{self.url} redirects to {response.headers.get('Location')}; give that address.")
        if status == 401 or (status == 403 and not self.answered):
            raise self._denied(status, _said(reply))
        if status in _NO_ROUTE and not self.answered:
            raise await self._not_there(response, route, status, _said(reply))
        raise self._refused(response, route, status, _said(reply))

    async def check_protocol(self) -> None:
        """See that a server which has not answered yet is of this kind at all.

        Raises:
            SourceBrokenError: it is not.
        """
        if not self.answered and await self._names() is None:
            raise self._stranger("it does not answer in OpenAI's form")

    async def _names(self) -> list[str] | None:
        """The models that the server lists; [] where it won't tell, None where it has no list."""
        response = await _client().get(f"{self.url}/models", headers=self._headers())
        if response.status_code in (401, 403):
            return []
        if response.status_code >= 500 and response.status_code not in _NO_ROUTE:
            raise self._refused(response, "models", response.status_code, "")
        reply = _json(response)
        listed = reply.get("data") if isinstance(reply, Mapping) else None
        if not isinstance(listed, list):
            return None
        return [str(each["id"]) for each in listed if isinstance(each, Mapping) and "id" in each]

    async def _not_there(self, response: "httpx.Response", route: str, status: int, said: str) -> HelmframeError:
        names = await self._names()
        if names is None:
            return self._stranger(f"it has neither /{route} nor /models (HTTP {status})")
        if self.name in names or "chat" in said.lower():
            way = "hf.models.http(url, name, chat=True)" if route == "completions" else "leave out chat"
            return CapabilityError(
                f"{self.url}/{route} does not serve model {self.name!r}: {said or status}. Try {way}."
            )
        if not names:
            return self._refused(response, route, status, said)
        return SourceMissingError(str(UnknownNameError.among(f"model of {self.url}", self.name, names)))

    def _stranger(self, why: str) -> SourceBrokenError:
        return SourceBrokenError(
            f"no OpenAI-compatible server at {self.url}: {why}. Its base address mostly ends in /v1."
        )

    def _denied(self, status: int, said: str) -> SourceDeniedError:
        name = self._variable
        if not _key(name):
            return SourceDeniedError(f"{self.url} wants a key (HTTP {status}): export {name}=… where this runs.")
        more = f": {self._safe(said)}" if said else ""
        return SourceDeniedError(f"{self.url} refuses the key in {name} (HTTP {status}){more}")

    def _refused(self, response: "httpx.Response", route: str, status: int, said: str) -> RefusedError:
        reply = _json(response)
        error = reply.get("error") if isinstance(reply, Mapping) else None
        code = error.get("code") if isinstance(error, Mapping) else None
        text = f"{self.url}/{route} answered HTTP {status}"
        more = f": {self._safe(said)}" if said else ""
        return RefusedError(text + more, status, dict(response.headers), code if isinstance(code, str) else None)

    @property
    def _variable(self) -> str:
        """The key's variable. OpenAI's key goes to OpenAI alone: another server would only learn it."""
        return "OPENAI_API_KEY" if self.is_openai else "HELMFRAME_API_KEY"

    def _headers(self) -> dict[str, str]:
        key = _key(self._variable)
        if not key:
            return {}
        if not key.isascii() or not key.isprintable():
            raise SourceDeniedError(f"the key in {self._variable} holds characters that no key has; export it again.")
        return {"Authorization": f"Bearer {key}"}

    def _safe(self, said: str) -> str:
        """What the server said without keys, which some repeat, in one short line."""
        key = _key(self._variable)
        shown = config.redacted(said.replace(key, "***") if key else said)
        return " ".join("".join(each if each.isprintable() else " " for each in shown).split())[:MAX_SAID]


# One client for each event loop (the process has one): it keeps the connections, and no keys.
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


def _key(name: str) -> str:
    return os.environ.get(name, "").strip()


def _json(response: "httpx.Response") -> Any:
    """What the body says; None where it is no JSON."""
    try:
        return response.json()
    except (ValueError, RecursionError):  # brackets without end
        return None


def _status(error: object) -> int:
    """The status that an error in a reply of status 200 names, as routers give; 400 where it names none."""
    code = error.get("code") if isinstance(error, Mapping) else None
    return code if isinstance(code, int) and 400 <= code < 600 else 400


def _said(reply: Any) -> str:
    """The message in an error's body, wherever this server puts it."""
    if isinstance(reply, Mapping):
        for key in ("error", "message", "detail"):
            if reply.get(key):
                return _said(reply[key])
    return reply if isinstance(reply, str) else "" if reply is None else str(reply)[: 2 * MAX_SAID]
