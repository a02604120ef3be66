"""Servers that speak OpenAI's protocol, as models: vLLM, TGI, llama.cpp, LM Studio, `transformers serve`, OpenAI."""

import functools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from helmframe._core.specs import Call, frozen
from helmframe.errors import AnswerError, ArgumentError, CapabilityError
from helmframe.models import event_loop, providers
from helmframe.models.endpoint_client import Endpoint, RefusedError
from helmframe.models.endpoint_replies import completion_of, score_of
from helmframe.models.model import Completion, Model, Pair, Prompt, Response, digest
from helmframe.models.prompts import as_messages, as_prompt, is_conversation
from helmframe.models.tokenizing import stops_of

if TYPE_CHECKING:
    import asyncio

TAKES = frozenset({"max_tokens", "temperature", "top_p", "seed", "stop", "presence_penalty", "frequency_penalty"})
# The most concurrent calls: their number adapts to the server.
MAX_WORKERS = 64
# Seconds for one call.
TIMEOUT = 600.0
# OpenAI's protocol takes no more stop sequences; helmframe applies all of them to the output anyway.
MAX_STOPS = 4

# The parameters that a server may refuse; a shorter name may be a part of a longer one.
_REFUSABLE = (
    "frequency_penalty", "presence_penalty", "temperature", "max_tokens", "max_completion_tokens", "logprobs", "top_p",
    "top_k", "stop", "seed", "n",
)  # fmt: skip
# Errors about the length of one prompt name max_tokens too.
_LENGTH = re.compile(
    r"context (length|window)|maximum (context|model) length|input tokens|prompt (is )?too long", re.IGNORECASE
)
_LIMIT = re.compile(
    r"(?:at most|maximum|max(?:imum)? (?:value|allowed)|less than or equal to|<=)\D{0,20}(\d+)", re.IGNORECASE
)


def http(
    url: str,
    name: str,
    *,
    chat: bool = False,
    logprobs: bool = True,
    key_env: str | None = None,
    extra: object = None,
) -> Model:
    """Return the model that a server calls `name`.

    Plain prompts go to /completions unchanged; conversations (`adapt(chat_template=True)`) go to /chat/completions,
    where the server applies the model's template. Keys come from environment variables alone, are sent as bearer
    tokens, and each server receives its own key only.

    A parameter that the server refuses is dropped or replaced, once per model. The manifest lists it, and a note shows
    it.

    Completions are cached by address and name, whichever model runs there; `score(fresh=True)` runs all requests again.

    Args:
        url: The server's base address, as clients take it; mostly it ends in /v1.
        name: The model, as the server calls it.
        chat: Send plain prompts to /chat/completions too, as one message of the user; for servers that only chat. The
            model then computes no log-probabilities of texts; of OpenAI's own models only davinci-002 and babbage-002
            do.
        logprobs: Request log-probabilities of the generated tokens, if the server supports them.
        key_env: The environment variable that holds the server's key. Default: the variable of a provider that
            helmframe knows, such as OPENAI_API_KEY; HELMFRAME_API_KEY for a server on this machine; else no key is
            sent.
        extra: More fields for each request, such as `{"top_k": 1}`, as this server takes them.

    Raises:
        ArgumentError: An invalid address, or httpx is not installed.
    """
    more = _extra(extra)
    address = _address(url)
    variable = providers.key_variable(address, providers.check_key_env(key_env))
    provider = providers.provider_at(address)
    if not isinstance(name, str) or not name.strip():
        raise ArgumentError(f"http(name={name!r}): should be the model's name, as {address}/models lists it.")
    settings = {
        "chat": chat or None,
        "logprobs": None if logprobs else False,
        "key_env": key_env,
        "extra": more or None,
    }
    options = {key: value for key, value in settings.items() if value is not None}
    model = _EndpointModel(
        Endpoint(address, name, variable),
        chat,
        more,
        logprobs=logprobs,
        never_sent=frozenset(provider.refuses if provider else ()),
    )
    return Model(
        name=name,
        source=Call("http", frozen({"url": address, "name": name, **options})) if options else f"{address}#{name}",
        generate=model.generate,
        fingerprint=functools.partial(digest, "http", address, name, json.dumps([chat, more], sort_keys=True)),
        durable=True,
        takes=TAKES,
        batch=1,
        workers=MAX_WORKERS,
        adaptive=True,
        timeout=TIMEOUT,
        chat=as_prompt,
        generate_async=model.generate_async,
        loglikelihood=None if chat or (provider and _never_scores(provider, name)) else model.loglikelihood,
        remembered_by_name=True,
        token_logprobs=None if logprobs else False,
        refused=model.refused_parameters,
    )


def from_address(text: str) -> Model:
    """Return a server's model from text: `openai:gpt-4.1`, `http://localhost:8000/v1#name`, `http(url=…, name=…)`.

    `openai` is one of the providers in `specs/providers`; `hf.list_models()` lists them.

    Raises:
        ArgumentError: An invalid address, or it lacks the model's name.
    """
    named = providers.named(text)
    if named is not None:
        provider, name = named
        return http(provider.address(), name, chat=provider.only_chats(name))
    if text.startswith("http("):
        arguments = dict(Call.parse(text).arguments)
        for key in arguments:
            if key not in _ARGUMENTS:
                raise ArgumentError.unknown_argument("http()", key, _ARGUMENTS)
        for key in ("url", "name"):
            if key not in arguments:
                raise ArgumentError(f"model {text!r}: {key}= is missing.")
        return http(**arguments)  # type: ignore[arg-type]  # checked there
    url, _, name = text.partition("#")
    if not name:
        raise ArgumentError(f"{_address(url)} is a server; say which of its models: '{_address(url)}#name'.")
    return http(url, name)


_ARGUMENTS = ("url", "name", "chat", "logprobs", "key_env", "extra")


@dataclass
class _EndpointModel:
    """A model of an endpoint, and what is known so far of the parameters that it takes."""

    endpoint: Endpoint
    chat: bool
    extra: Mapping[str, Any]
    logprobs: bool = True
    never_sent: frozenset[str] = frozenset()
    # OpenAI's reasoning models take the newer name only
    max_tokens: str = "max_tokens"
    # refused parameter → the value that is sent in its place, or None: it isn't sent
    replaced: dict[str, int | None] = field(default_factory=dict)
    # refused parameter → the value that was refused, for the manifest
    refused: dict[str, object] = field(default_factory=dict)
    # ways to request log-probabilities of a text; only the one that worked, once one did
    scoring_parameters: Sequence[Mapping[str, Any]] = ({"echo": True, "logprobs": 1}, {"prompt_logprobs": 0})
    # forms of requests that were sent before; the first of a form is sent alone, so that others learn from its refusal
    _sent: set[str] = field(default_factory=set)
    _locks: "WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock]" = field(default_factory=WeakKeyDictionary)

    def generate(self, prompts: Sequence[Prompt], decoding: Mapping[str, Any]) -> Sequence[Response]:
        return list(event_loop.run(self.generate_async(prompts, decoding)))

    async def generate_async(self, prompts: Sequence[Prompt], decoding: Mapping[str, Any]) -> Sequence[Response]:
        return [await self._complete(str(prompt), decoding) for prompt in prompts]

    def loglikelihood(self, prompts: Sequence[Prompt], _: Mapping[str, Any]) -> Sequence[Response]:
        pairs = [prompt for prompt in prompts if isinstance(prompt, Pair)]
        return [event_loop.run(self._score(pair)) for pair in pairs]

    def refused_parameters(self) -> dict[str, str]:
        """Return the refused parameters, each with what is done instead."""
        return {
            name: (
                f"{name}={self.replaced[name]} is sent: it refuses {value!r}"
                if self.replaced[name] is not None
                else f"the server's default {name} is used: it refuses {name}={value!r}"
            )
            for name, value in list(self.refused.items())
        }

    async def _complete(self, prompt: str, decoding: Mapping[str, Any]) -> Completion:
        turns = as_messages(prompt)
        if turns is None and self.chat:
            turns = [{"role": "user", "content": prompt}]
        if turns is None:
            reply = await self._post("completions", {"prompt": prompt}, decoding)
        else:
            reply = await self._post("chat/completions", {"messages": turns}, decoding)
        return await self._read(reply, stops_of(decoding))

    async def _post(self, route: str, content: Mapping[str, Any], decoding: Mapping[str, Any]) -> Any:
        """Return the reply to a request, without the parameters that the server refuses."""
        is_chat = "messages" in content
        while True:
            body = self._body(decoding, is_chat)
            form = route + json.dumps({name: value for name, value in body.items() if name != "seed"}, default=str)
            form += " seed" * ("seed" in body)
            if form in self._sent:
                try:
                    return await self.endpoint.post(route, {**content, **body})
                except RefusedError as error:
                    if not self._adjust(error, body):
                        raise
                continue
            async with self._lock():
                if form in self._sent or body != self._body(decoding, is_chat):
                    continue
                try:
                    return await self.endpoint.post(route, {**content, **body})
                except RefusedError as error:
                    if not self._adjust(error, body):
                        raise
                finally:
                    self._sent.add(form)

    def _lock(self) -> "asyncio.Lock":
        import asyncio

        return self._locks.setdefault(asyncio.get_running_loop(), asyncio.Lock())

    async def _read(self, reply: Any, stops: Sequence[str]) -> Completion:
        try:
            completion = completion_of(reply, self.endpoint.name, stops)
        except AnswerError:
            await self.endpoint.check_protocol()
            raise
        self.endpoint.has_responded = True
        return completion

    def _body(self, decoding: Mapping[str, Any], is_chat: bool) -> dict[str, Any]:
        fields = {key: value for key, value in decoding.items() if key in TAKES and value is not None}
        fields["stop"] = stops_of(decoding)[:MAX_STOPS]
        if not fields["stop"]:
            del fields["stop"]
        if self.logprobs:
            fields["logprobs"] = True if is_chat else 1
        fields |= self.extra
        for name in (*self.never_sent, *self.replaced):
            value = self.replaced.get(name)
            if value is None:
                fields.pop(name, None)
            elif name in fields:
                fields[name] = min(fields[name], value)
        if is_chat and "max_tokens" in fields:
            fields[self.max_tokens] = fields.pop("max_tokens")
        return {"model": self.endpoint.name, **fields}

    def _adjust(self, error: RefusedError, body: Mapping[str, Any]) -> bool:
        """Return whether to send the request in another form, given the server's error."""
        message = str(error)
        if error.status_code not in (400, 422) or _LENGTH.search(message):
            return False
        if "max_completion_tokens" in message and "max_tokens" in body and self._says_unsupported(message):
            self.max_tokens = "max_completion_tokens"
            return True
        name = self._named(error, body)
        if name is None:
            return False
        sent, name = body[name], "max_tokens" if name == "max_completion_tokens" else name
        limit = _LIMIT.search(message) if name == "max_tokens" else None
        value = int(limit[1]) if limit and int(limit[1]) < sent else None
        self.replaced[name] = value
        if name != "logprobs":  # an addition of ours
            self.refused.setdefault(name, sent)
        return True

    @staticmethod
    def _says_unsupported(message: str) -> bool:
        return re.search(r"instead|unsupported|not supported|unrecognized", message, re.IGNORECASE) is not None

    @staticmethod
    def _named(error: RefusedError, body: Mapping[str, Any]) -> str | None:
        """Return the parameter of the request that the error names."""
        if error.parameter in body and error.parameter in _REFUSABLE:
            return error.parameter
        text = str(error)
        for name in _REFUSABLE:
            quoted = rf"['\"`]{name}['\"`]" if len(name) == 1 else rf"\b{name}\b"
            if name in body and re.search(quoted, text, re.IGNORECASE):
                return name
        # "log probabilities", "logprob"
        return "logprobs" if "logprobs" in body and re.search("logprob|log.prob", text, re.IGNORECASE) else None

    async def _score(self, pair: Pair) -> Completion:
        if is_conversation(pair.context):
            raise CapabilityError(
                f"model {self.endpoint.name!r}: a server gives no log-probabilities of texts in a conversation; leave "
                "out adapt(chat_template=True), or use .adapt(method='multiple_choice_joint')."
            )
        if not pair.continuation:  # a server could not distinguish it from the context's last token
            return Completion("", output_tokens=0)
        reason = ""
        for parameters in self.scoring_parameters:
            # one token more than needed: some servers reject max_tokens=0
            body = {"prompt": pair.context + pair.continuation, **parameters, "max_tokens": 1, "temperature": 0}
            try:
                reply = await self.endpoint.post("completions", {"model": self.endpoint.name, **body})
            except RefusedError as error:
                if error.status_code not in (400, 422) or not re.search("echo|logprob", str(error), re.IGNORECASE):
                    raise
                reason = reason or f" ({error})"
                continue
            completion = score_of(reply, pair, self.endpoint.name)
            if completion is not None:
                self.endpoint.has_responded = True
                self.scoring_parameters = (parameters,)
                return completion
        raise self._no_scores(reason)

    def _no_scores(self, reason: str) -> CapabilityError:
        return CapabilityError(
            f"model {self.endpoint.name!r}: {self.endpoint.url} gives no log-probabilities of given texts (echo with "
            f"logprobs, prompt_logprobs){reason}; vLLM does. Or ask otherwise: .adapt(method='multiple_choice_joint') "
            "or 'generation'."
        )


def _never_scores(provider: providers.Provider, name: str) -> bool:
    """Return whether this model of a provider is known to return no log-probabilities of a prompt."""
    return provider.chat or (bool(provider.echoes) and re.fullmatch(provider.echoes, name) is None)


def _address(url: object) -> str:
    """Return the base address in one spelling.

    Raises:
        ArgumentError: It is not an address, or contains a secret (a password, a key).
    """
    if find_spec("httpx") is None:
        raise ArgumentError("asking a server needs the package httpx: pip install 'helmframe[http]'.")
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
        port = parts and parts.port
    except ValueError:
        parts = None
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ArgumentError(f"http(url={url!r}): should be a server's address, such as 'http://localhost:8000/v1'.")
    if parts.username is not None or parts.password is not None or parts.query:
        raise ArgumentError(
            f"http(url='{parts.scheme}://{parts.hostname}…'): an address with a password or a query would be shown and "
            "stored. Keys come from environment variables (key_env=), other fields in extra=."
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    path = re.sub(r"/(chat/)?completions$", "", parts.path.rstrip("/"))
    return f"{parts.scheme}://{host}{'' if port is None else f':{port}'}{path}"


def _extra(fields: object) -> dict[str, Any]:
    try:
        more: dict[str, Any] = dict(fields or {})  # type: ignore[call-overload]
        json.dumps(more)
    except (TypeError, ValueError):
        raise ArgumentError(f"http(extra={fields!r}): should be a dict of what JSON can say.") from None
    for key, value in more.items():
        if key in _RESERVED:
            raise ArgumentError(f"http(extra={{{key!r}: …}}): helmframe says {key} itself.")
        if re.search(r"key|token$|secret|password|authorization", str(key), re.IGNORECASE) and isinstance(value, str):
            raise ArgumentError(f"http(extra={{{key!r}: …}}): keys come from environment variables (key_env=).")
    return more


_RESERVED = frozenset({*TAKES, "model", "prompt", "messages", "n", "echo", "stream", "logprobs"})
