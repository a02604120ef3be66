"""Providers: named OpenAI-compatible servers, with one file each in `specs/providers`."""

import ipaddress
import os
import re
from dataclasses import dataclass
from functools import cache
from urllib.parse import urlsplit

from helmframe._core.yaml import read_yaml, specs_root
from helmframe.config import check_key_variable
from helmframe.errors import ArgumentError, SpecError

# The environment variable of the key of servers on this machine.
LOCAL_KEY = "HELMFRAME_API_KEY"


@dataclass(frozen=True)
class Provider:
    """A named server, whose models are written as `"NAME:model"`.

    Args:
        provider: The name of the provider.
        url: The base address; `{VARIABLE}` is replaced by the value of an environment variable.
        key: The environment variable of the key; "" if the server needs no key.
        chat: Whether all models only chat.
        completes: A pattern of the models with a completions route; other models only chat. "" if there is no pattern.
        echoes: A pattern of the models that return log-probabilities of prompts; "" if all may return them.
        reasons: A pattern of the models that reason before their answers; "" if none is known to.
        refuses: The parameters that the server rejects, and that are never sent.
        litellm: The provider's name in litellm, whose package has a list of prices; "" if the models have no price.
    """

    provider: str
    url: str
    key: str = ""
    chat: bool = False
    completes: str = ""
    echoes: str = ""
    reasons: str = ""
    refuses: tuple[str, ...] = ()
    litellm: str = ""

    def address(self) -> str:
        """Return the base address, with the values of environment variables.

        Raises:
            ArgumentError: An environment variable is not set.
        """

        def value(match: re.Match[str]) -> str:
            text = os.environ.get(match[1], "").strip()
            if not text:
                raise ArgumentError(f"Model '{self.provider}:…': the environment variable {match[1]} isn't set.")
            return text.rstrip("/")

        return re.sub(r"\{(\w+)\}", value, self.url)

    def only_chats(self, model: str) -> bool:
        """Return whether the model only chats."""
        return self.chat or (bool(self.completes) and re.fullmatch(self.completes, model) is None)

    def reasons_with(self, model: str) -> bool:
        """Return whether the model is known to reason before its answers."""
        return bool(self.reasons) and re.fullmatch(self.reasons, model) is not None


@cache
def providers() -> dict[str, Provider]:
    """Return all providers by name.

    Raises:
        SpecError: A file is invalid.
    """
    by_name = {}
    for file in sorted((specs_root() / "providers").glob("*.yaml")):
        fields = read_yaml(file)
        if not isinstance(fields, dict) or not {"provider", "url"} <= set(fields) <= set(_FIELDS):
            raise SpecError.at(file.name, "", f"must have provider and url, and may have {', '.join(_FIELDS[2:])}.")
        by_name[file.stem] = Provider(**{**fields, "refuses": tuple(fields.get("refuses", ()))})
    return by_name


_FIELDS = tuple(Provider.__dataclass_fields__)


def named(text: str) -> tuple[Provider, str] | None:
    """Return the provider and the model of a text such as `"together:org/model"`; None without a provider."""
    name, separator, model = text.partition(":")
    provider = providers().get(name) if separator and not model.startswith("//") else None
    return None if provider is None else (provider, model.strip())


def provider_at(url: str) -> Provider | None:
    """Return the provider at an address; None if the server is unknown, or on this machine."""
    host = urlsplit(url).hostname
    if host is None or is_loopback(url):
        return None
    return next((entry for entry in providers().values() if urlsplit(_expanded(entry.url)).hostname == host), None)


def is_loopback(url: str) -> bool:
    """Return whether an address is on this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def key_variable(url: str, key_env: str | None) -> str | None:
    """Return the environment variable of a server's key, so that each server receives only its own key.

    Args:
        url: The address of the server.
        key_env: The variable that the user specified; None for the default.

    Returns:
        By default the provider's variable, or HELMFRAME_API_KEY on this machine; None if no key is sent.
    """
    if key_env is not None:
        return key_env
    if is_loopback(url):
        return LOCAL_KEY
    provider = provider_at(url)
    return provider.key or None if provider else None


def check_key_env(key_env: object) -> str | None:
    """Return the name of an environment variable, after a check.

    Raises:
        ArgumentError: It isn't a valid name. The message does not show the value, because it may be a key.
    """
    if key_env is None:
        return None
    check_key_variable("http(key_env=…): key_env", key_env)
    return str(key_env)


def _expanded(url: str) -> str:
    return re.sub(r"\{(\w+)\}", lambda match: os.environ.get(match[1], ""), url)
