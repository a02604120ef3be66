"""Providers of models: named servers that speak OpenAI's protocol, one file each in `specs/providers`."""

import ipaddress
import os
import re
from dataclasses import dataclass
from functools import cache
from urllib.parse import urlsplit

from helmframe._core.yaml import read_yaml, specs_root
from helmframe.errors import ArgumentError, SpecError

# The variable of the key for servers on this machine.
LOCAL_KEY = "HELMFRAME_API_KEY"


@dataclass(frozen=True)
class Provider:
    """A named server: `"NAME:model"` is a model of it.

    Args:
        provider: The name.
        url: The base address; `{VARIABLE}` stands for the value of an environment variable.
        key: The environment variable that holds the key; "" if the server needs none.
        chat: Whether all its models only chat.
        completes: A pattern of the models that complete a text; if there is one, all others only chat.
        echoes: A pattern of the models that return the log-probabilities of a prompt; "" if none is known to refuse.
        refuses: The parameters that it refuses; they are never sent.
    """

    provider: str
    url: str
    key: str = ""
    chat: bool = False
    completes: str = ""
    echoes: str = ""
    refuses: tuple[str, ...] = ()

    def address(self) -> str:
        """Return the base address, with the values of environment variables.

        Raises:
            ArgumentError: A variable is not set.
        """

        def value(match: re.Match[str]) -> str:
            found = os.environ.get(match[1], "").strip()
            if not found:
                raise ArgumentError(f"model '{self.provider}:…': the environment variable {match[1]} isn't set.")
            return found.rstrip("/")

        return re.sub(r"\{(\w+)\}", value, self.url)

    def only_chats(self, model: str) -> bool:
        """Return whether the model only chats."""
        return self.chat or (bool(self.completes) and re.fullmatch(self.completes, model) is None)


@cache
def providers() -> dict[str, Provider]:
    """Return the providers by name.

    Raises:
        SpecError: A file is invalid.
    """
    found = {}
    for file in sorted((specs_root() / "providers").glob("*.yaml")):
        fields = read_yaml(file)
        if not isinstance(fields, dict) or not {"provider", "url"} <= set(fields) <= set(_FIELDS):
            raise SpecError.at(file.name, "", f"must have provider and url, and may have {', '.join(_FIELDS[2:])}.")
        found[file.stem] = Provider(**{**fields, "refuses": tuple(fields.get("refuses", ()))})
    return found


_FIELDS = tuple(Provider.__dataclass_fields__)


def named(text: str) -> tuple[Provider, str] | None:
    """Return the provider and the model that `"together:org/model"` names; None if it names no provider."""
    name, separator, model = text.partition(":")
    provider = providers().get(name) if separator and not model.startswith("//") else None
    return None if provider is None else (provider, model.strip())


def provider_at(url: str) -> Provider | None:
    """Return the provider at an address; None if it is unknown, or on this machine."""
    host = urlsplit(url).hostname
    if host is None or is_loopback(url):
        return None
    return next((found for found in providers().values() if urlsplit(_expanded(found.url)).hostname == host), None)


def is_loopback(url: str) -> bool:
    """Return whether an address is on this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def key_variable(url: str, key_env: str | None) -> str | None:
    """Return the environment variable of a server's key: each server receives its own key only.

    Args:
        url: The server's address.
        key_env: The variable that the user named.

    Returns:
        By default the provider's variable, or HELMFRAME_API_KEY on this machine; None: no key is sent.
    """
    if key_env is not None:
        return key_env
    if is_loopback(url):
        return LOCAL_KEY
    provider = provider_at(url)
    return provider.key or None if provider else None


def check_key_env(key_env: object) -> str | None:
    """Return `key_env`, which must be the name of an environment variable.

    Raises:
        ArgumentError: It isn't; the value isn't shown, because it may be a key.
    """
    if key_env is None or (isinstance(key_env, str) and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key_env)):
        return key_env
    raise ArgumentError("http(key_env=…) must be the name of an environment variable, such as 'MY_SERVER_KEY'.")


def _expanded(url: str) -> str:
    return re.sub(r"\{(\w+)\}", lambda match: os.environ.get(match[1], ""), url)
