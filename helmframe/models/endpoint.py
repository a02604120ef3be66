"""Models of OpenAI-compatible servers: vLLM, TGI, llama.cpp, LM Studio, `transformers serve`, OpenAI."""

import functools
import json
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from helmframe._core.cache_files import digest
from helmframe._core.checks import is_integer
from helmframe._core.images import sendable
from helmframe._core.json_schema import is_strict
from helmframe._core.safe_text import MAX_REPLY_BYTES
from helmframe._core.specs import Call, credential_error, frozen
from helmframe.config import find_credential, read_key, redacted
from helmframe.errors import AnswerError, ArgumentError, CapabilityError
from helmframe.models import event_loop, providers
from helmframe.models.endpoint_client import Endpoint, LitellmEndpoint, RefusedError
from helmframe.models.endpoint_replies import completion_of, score_of
from helmframe.models.event_loop import Room
from helmframe.models.model import Completion, ImagePrompt, Model, Pair, Prompt, PromptImage, Response
from helmframe.models.prompts import as_messages, as_prompt, is_conversation
from helmframe.models.reasoning import server_fields
from helmframe.models.tokenizing import stops_of

if TYPE_CHECKING:
    import asyncio

# The start of a text that names a model of litellm.
LITELLM = "litellm:"
# The decoding parameters that are sent under the same name.
_SENT = frozenset({"max_tokens", "temperature", "top_p", "seed", "stop", "presence_penalty", "frequency_penalty"})
TAKES = _SENT | {"reasoning", "json_schema"}
# The maximum of concurrent calls; their number adapts to the server.
MAX_WORKERS = 64
# The limit of one call in seconds.
TIMEOUT = 600.0
# The maximum of stop sequences in OpenAI's protocol; helmframe applies all of them to the output.
MAX_STOPS = 4

# The most bytes of images in requests that wait for their reply; a request takes several times this memory.
IMAGE_BYTES = 16 << 20

# The parameters that a server may reject. A shorter name comes after the longer names that contain it.
_REFUSABLE = (
    "frequency_penalty", "presence_penalty", "temperature", "max_tokens", "max_completion_tokens", "logprobs", "top_p",
    "top_k", "stop", "seed", "response_format", "n", "reasoning_effort", "chat_template_kwargs",
)  # fmt: skip
# Errors about the length of a prompt, which may mention max_tokens too.
_LENGTH = re.compile(
    r"context (length|window)|maximum (context|model) length|input tokens|prompt (is )?too long", re.IGNORECASE
)
_CONTEXT = re.compile(r"maximum (?:context|model) length (?:is|of) (\d+)", re.IGNORECASE)
# Errors about the content of a schema, which the user can change.
_SCHEMA = re.compile(
    r"(invalid|bad|malformed|unsupported)\W+(json\W+)?(schema|keyword|grammar)\b"
    r"|\bschema\b.{0,60}(invalid|not supported|unsupported|contains)",
    re.IGNORECASE,
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
    max_reply_bytes: int = MAX_REPLY_BYTES,
) -> Model:
    """Return a model of an OpenAI-compatible server.

    Plain prompts are sent to /completions. Conversations (`adapt(chat_template=True)`) are sent to /chat/completions,
    where the server applies the chat template. Prompts with images are sent there too, as content parts. Completions
    are cached by address and name, whichever model the server runs; `score(fresh=True)` generates them again.

    API keys come from environment variables only. A key is sent as a bearer token, and each server receives only its
    own key. A parameter that the server rejects is dropped or replaced, once per model. The manifest lists it, and a
    note shows it.

    >>> http("http://localhost:8000/v1", "org/name", extra={"top_k": 1})
    Model('org/name': generates, scores, chat)

    Args:
        url: The server's base address, which usually ends in /v1.
        name: The model's name on the server.
        chat: Whether plain prompts are sent to /chat/completions too, as one user message; for servers that only chat.
            The model then computes no log-probabilities of texts. OpenAI's own models don't either, except davinci-002
            and babbage-002.
        logprobs: Whether to request log-probabilities of generated tokens, if the server supports them.
        key_env: The environment variable of the server's key. By default the variable of a known provider, such as
            OPENAI_API_KEY, or HELMFRAME_API_KEY for a server on this machine; else no key is sent.
        extra: Further fields of each request that the server supports, such as `{"top_k": 1}`.
        max_reply_bytes: The maximum size of a reply, before and after decompression. A larger reply fails its row.

    Raises:
        ArgumentError: The address, the name, `extra` or `max_reply_bytes` is invalid.
        CapabilityError: httpx is not installed.
    """
    fields = _extra(extra)
    address = _address(url)
    variable = providers.key_variable(address, providers.check_key_env(key_env))
    read_key(variable)  # from now on, its value is redacted
    provider = providers.provider_at(address)
    if not isinstance(name, str) or not name.strip():
        raise ArgumentError(f"http(name={name!r}): name must be the model's name, as {address}/models lists it.")
    if find_credential("name", name) is not None:
        raise credential_error("http()", "name")
    if not is_integer(max_reply_bytes) or max_reply_bytes < 1:
        raise ArgumentError(f"http(max_reply_bytes={max_reply_bytes!r}): max_reply_bytes must be an integer ≥ 1.")
    settings = {
        "chat": chat or None,
        "logprobs": None if logprobs else False,
        "key_env": key_env,
        "extra": fields or None,
        "max_reply_bytes": None if max_reply_bytes == MAX_REPLY_BYTES else max_reply_bytes,
    }
    options = {key: value for key, value in settings.items() if value is not None}
    model = _EndpointModel(
        Endpoint(
            address,
            name,
            variable,
            provider.provider if provider and provider.key else "",
            max_reply_bytes=max_reply_bytes,
        ),
        chat,
        fields,
        logprobs=logprobs,
        never_sent=frozenset(provider.refuses if provider else ()),
    )
    return Model(
        name=name,
        source=Call("http", frozen({"url": address, "name": name, **options})) if options else f"{address}#{name}",
        generate=model.generate,
        fingerprint=functools.partial(digest, "http", address, name, json.dumps([chat, fields], sort_keys=True)),
        durable=True,
        takes=TAKES,
        images=True,
        batch=1,
        workers=MAX_WORKERS,
        adaptive=True,
        timeout=TIMEOUT,
        chat=as_prompt,
        only_chats=chat,
        generate_async=model.generate_async,
        loglikelihood=None if chat or (provider and _never_scores(provider, name)) else model.loglikelihood,
        remembered_by_name=True,
        token_logprobs=None if logprobs else False,
        refused=model.refused_parameters,
        key_env=variable,
        reasons="all" if provider and provider.reasons_with(name) else "",
        price_name=f"{provider.litellm}/{name}" if provider and provider.litellm else "",
    )


def from_address(text: str) -> Model:
    """Return the model of an address: `openai:gpt-4.1`, `http://localhost:8000/v1#name`, `http(url=…, name=…)`.

    `openai` is a provider of `specs/providers`; `hf.list_models()` lists all providers. `litellm:provider/model` is a
    model that the package litellm calls.

    Raises:
        ArgumentError: The address is invalid, or lacks the model's name.
    """
    if text.startswith(LITELLM):
        return _through_litellm(text.removeprefix(LITELLM).strip())
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
                raise ArgumentError(f"Model {text!r}: {key}=… is missing.")
        return http(**arguments)  # type: ignore[arg-type]  # checked there
    url, _, name = text.partition("#")
    if not name:
        raise ArgumentError(f"{_address(url)} is a server. Add the name of a model: '{_address(url)}#name'.")
    return http(url, name)


def server_of(model: Model) -> "_EndpointModel | None":
    """Return the server of a model of `http`; None for other models."""
    server = getattr(model.generate_async, "__self__", None)
    if not isinstance(server, _EndpointModel) or isinstance(server.endpoint, LitellmEndpoint):
        return None
    return server


def _through_litellm(name: str) -> Model:
    """Return a chat model that litellm calls; `name` is `provider/model`.

    Raises:
        ArgumentError: The name lacks the provider or the model.
        CapabilityError: litellm is not installed.
    """
    if not all(name.partition("/")):
        raise ArgumentError(f"Model 'litellm:{name}': write litellm:provider/model, such as litellm:openai/gpt-4.1.")
    if find_spec("litellm") is None:
        raise CapabilityError(f"Model 'litellm:{name}' needs the package litellm: pip install 'helmframe[litellm]'.")
    endpoint = LitellmEndpoint("litellm", name)
    model = _EndpointModel(endpoint, chat=True, extra={}, never_sent=frozenset({"chat_template_kwargs"}))
    return Model(
        name=name,
        source=LITELLM + name,
        generate=model.generate,
        fingerprint=functools.partial(digest, "litellm", name),
        durable=True,
        takes=TAKES,
        batch=1,
        workers=MAX_WORKERS,
        adaptive=True,
        timeout=TIMEOUT,
        chat=as_prompt,
        generate_async=model.generate_async,
        remembered_by_name=True,
        only_chats=True,
        refused=model.refused_parameters,
        note="called through litellm, which reads the provider's key and address from the environment",
        price_name=name,
    )


_ARGUMENTS = ("url", "name", "chat", "logprobs", "key_env", "extra", "max_reply_bytes")


@dataclass
class _EndpointModel:
    """A model of an endpoint, and the parameters that it is known to support."""

    endpoint: Endpoint
    chat: bool
    extra: Mapping[str, Any]
    logprobs: bool = True
    never_sent: frozenset[str] = frozenset()
    # OpenAI's reasoning models support the newer name only
    max_tokens: str = "max_tokens"
    # rejected parameter → the value that is sent instead, or None: it isn't sent
    replaced: dict[str, int | None] = field(default_factory=dict)
    # rejected parameter → the rejected value, for the manifest
    refused: dict[str, object] = field(default_factory=dict)
    # parameters that may request log-probabilities of a text; after the first success only those that succeeded
    scoring_parameters: Sequence[Mapping[str, Any]] = ({"echo": True, "logprobs": 1}, {"prompt_logprobs": 0})
    # the attempts to score that found no log-probabilities, and the server's last reason
    failed_attempts: int = 0
    reason: str = ""
    # forms of requests that were sent; the first request of a form is sent alone, because the server may reject it
    _sent: set[str] = field(default_factory=set)
    _rooms: "WeakKeyDictionary[asyncio.AbstractEventLoop, Room]" = field(default_factory=WeakKeyDictionary)
    _locks: "WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock]" = field(default_factory=WeakKeyDictionary)

    def generate(self, prompts: Sequence[Prompt], decoding: Mapping[str, Any]) -> Sequence[Response]:
        return list(event_loop.run(self.generate_async(prompts, decoding)))

    async def generate_async(self, prompts: Sequence[Prompt], decoding: Mapping[str, Any]) -> Sequence[Response]:
        return [await self._complete(prompt, decoding) for prompt in prompts]

    def loglikelihood(self, prompts: Sequence[Prompt], _: Mapping[str, Any]) -> Sequence[Response]:
        pairs = [prompt for prompt in prompts if isinstance(prompt, Pair)]
        return [event_loop.run(self._score(pair)) for pair in pairs]

    def refused_parameters(self) -> dict[str, str]:
        """Return the rejected parameters, each with the replacement as text."""
        return {
            name: f"the server rejects {name}={value!r}; {self._replacement(name)}"
            if name != "response_format"
            else "the server rejects response_format, so completions aren't constrained to the JSON schema; the metric "
            "json_schema_valid shows how many match it"
            for name, value in list(self.refused.items())
        }

    def _replacement(self, name: str) -> str:
        if self.replaced.get(name) is not None:
            return f"{name}={self.replaced[name]} is sent instead"
        return "log-probabilities are missing" if name == "logprobs" else f"its default {name} is used"

    def request(self, prompt: Prompt, decoding: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Return the route and the body of a request of text, without the parameters that the server rejects."""
        route, content = self._content(str(prompt))
        return route, {**content, **self._body(decoding, "messages" in content)}

    async def _complete(self, prompt: Prompt, decoding: Mapping[str, Any]) -> Completion:
        if isinstance(prompt, ImagePrompt):
            reply = await self._post_images(prompt, decoding)
        else:
            route, content = self._content(str(prompt))
            reply = await self._post(route, content, decoding)
        return await self._read(reply, stops_of(decoding))

    def _content(self, prompt: str) -> tuple[str, dict[str, Any]]:
        """Return the route of a prompt, and the field of the body that contains it."""
        turns = as_messages(prompt)
        if turns is None and self.chat:
            turns = [{"role": "user", "content": prompt}]
        return ("completions", {"prompt": prompt}) if turns is None else ("chat/completions", {"messages": turns})

    async def _post_images(self, prompt: ImagePrompt, decoding: Mapping[str, Any]) -> Any:
        """Return the reply to a prompt with images, once the images in flight leave room for them."""
        import asyncio

        turns: list[Any] = as_messages(prompt.text) or [{"role": "user", "content": prompt.text}]

        room = self._rooms.setdefault(asyncio.get_running_loop(), Room(IMAGE_BYTES))
        load = functools.partial(_image_parts, prompt, turns[-1]["content"])
        async with room.holding(load, _size_of_parts) as parts:
            return await self._post(
                "chat/completions", {"messages": [*turns[:-1], {**turns[-1], "content": parts}]}, decoding
            )

    async def _post(self, route: str, content: Mapping[str, Any], decoding: Mapping[str, Any]) -> Any:
        """Return the reply to a request without the parameters that the server rejects."""
        is_chat = "messages" in content
        while True:
            body = self._body(decoding, is_chat)
            form = route + json.dumps({name: value for name, value in body.items() if name != "seed"}, default=str)
            form += " seed" * ("seed" in body)
            if form in self._sent:
                try:
                    return await self.endpoint.post(route, {**content, **body})
                except RefusedError as error:
                    if not self._adjust(error, body) and not self._shorten(error, body, decoding):
                        raise
                continue
            async with self._lock():
                if form in self._sent or body != self._body(decoding, is_chat):
                    continue
                try:
                    return await self.endpoint.post(route, {**content, **body})
                except RefusedError as error:
                    if not self._adjust(error, body) and not self._shorten(error, body, decoding):
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
        fields = {key: value for key, value in decoding.items() if key in _SENT and value is not None}
        if decoding.get("json_schema") is not None:
            fields["response_format"] = _response_format(decoding["json_schema"])
        fields["stop"] = stops_of(decoding)[:MAX_STOPS]
        if not fields["stop"]:
            del fields["stop"]
        if self.logprobs:
            fields["logprobs"] = True if is_chat else 1
        if is_chat:
            switches = server_fields(decoding)
            of_template = {**switches.get("chat_template_kwargs", {}), **self.extra.get("chat_template_kwargs", {})}
            fields |= {**switches, **self.extra, **({"chat_template_kwargs": of_template} if of_template else {})}
        else:
            fields |= self.extra
        for name in (*self.never_sent, *self.replaced):
            value = self.replaced.get(name)
            if value is None:
                if name in self.never_sent and name in fields and name in TAKES:
                    self.refused.setdefault(name, fields[name])
                fields.pop(name, None)
            elif name in fields:
                fields[name] = min(fields[name], value)
        if is_chat and "max_tokens" in fields:
            fields[self.max_tokens] = fields.pop("max_tokens")
        return {"model": self.endpoint.name, **fields}

    def _adjust(self, error: RefusedError, body: Mapping[str, Any]) -> bool:
        """Adjust the parameters to the server's error, and return whether to send the request again."""
        message = str(error)
        if error.status_code not in (400, 422) or _LENGTH.search(message):
            return False
        if "max_completion_tokens" in message and "max_tokens" in body and self._says_unsupported(message):
            self.max_tokens = "max_completion_tokens"
            return True
        name = self._named(error, body)
        if name is None:
            return False
        if name == "response_format" and _SCHEMA.search(message):
            raise CapabilityError(
                f"generate(json_schema=…): {self.endpoint.url} rejects the schema for model {self.endpoint.name!r}: "
                f"{message}"
            ) from error
        sent, name = body[name], "max_tokens" if name == "max_completion_tokens" else name
        limit = _LIMIT.search(message) if name == "max_tokens" else None
        value = int(limit[1]) if limit and int(limit[1]) < sent else None
        self.replaced[name] = value
        self.refused.setdefault(name, sent)
        return True

    def _shorten(self, error: RefusedError, body: Mapping[str, Any], decoding: Mapping[str, Any]) -> bool:
        """Limit head-room to half of the server's window, and return whether to send the request again."""
        context = _CONTEXT.search(str(error))
        sent = body.get("max_tokens") or body.get("max_completion_tokens")
        if context is None or not sent or not decoding.get("reasoning") or int(context[1]) // 2 >= sent:
            return False
        self.replaced["max_tokens"] = int(context[1]) // 2
        self.refused.setdefault("max_tokens", sent)
        return True

    @staticmethod
    def _says_unsupported(message: str) -> bool:
        return re.search(r"instead|unsupported|not supported|unrecognized", message, re.IGNORECASE) is not None

    @staticmethod
    def _named(error: RefusedError, body: Mapping[str, Any]) -> str | None:
        """Return the parameter of the request that the error mentions."""
        if error.parameter in body and error.parameter in _REFUSABLE:
            return error.parameter
        text = str(error)
        for name in _REFUSABLE:
            quoted = rf"['\"`]{name}['\"`]" if len(name) == 1 else rf"\b{name}\b"
            if name in body and re.search(quoted, text, re.IGNORECASE):
                return name
        if "response_format" in body and re.search("json.?schema|guided|grammar", text, re.IGNORECASE):
            return "response_format"
        # some servers write "log probabilities" or "logprob"
        return "logprobs" if "logprobs" in body and re.search("logprob|log.prob", text, re.IGNORECASE) else None

    async def _score(self, pair: Pair) -> Completion:
        if is_conversation(pair.context):
            raise CapabilityError(
                f"Model {self.endpoint.name!r}: servers don't return log-probabilities of texts in a conversation. "
                "Remove adapt(chat_template=True), or use .adapt(method='multiple_choice_joint')."
            )
        if not pair.continuation:  # a server can't distinguish it from the last token of the context
            return Completion("", output_tokens=0)
        if len(self.scoring_parameters) > 1:
            # no reply had log-probabilities yet: one request is sent at a time, and the others share its failure
            failed_before = self.failed_attempts
            async with self._lock():
                if self.failed_attempts > failed_before:
                    raise self._no_scores()
                if len(self.scoring_parameters) > 1:
                    return await self._score_by_form(pair)
        return await self._score_by_form(pair)

    async def _score_by_form(self, pair: Pair) -> Completion:
        """Return the log-probability of a continuation, requested in the forms that the server may support."""
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
        self.failed_attempts, self.reason = self.failed_attempts + 1, reason
        raise self._no_scores()

    def _no_scores(self) -> CapabilityError:
        return CapabilityError(
            f"Model {self.endpoint.name!r}: {self.endpoint.url} doesn't return log-probabilities of prompts (echo with "
            f"logprobs, or prompt_logprobs){self.reason}. vLLM's server does. Or generate the answer: "
            ".adapt(method='multiple_choice_joint').metrics('exact_match')."
        )


def _response_format(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the field that constrains completions to a schema; strict if the schema meets OpenAI's strict rules."""
    strict = {"strict": True} if is_strict(schema) else {}
    return {"type": "json_schema", "json_schema": {"name": "completion", "schema": schema, **strict}}


def _image_parts(prompt: ImagePrompt, text: str) -> list[dict[str, Any]]:
    """Return the last message of a prompt as OpenAI's content parts."""
    return [_part(piece) for piece in prompt.pieces(text)]


def _part(piece: str | PromptImage) -> dict[str, Any]:
    if isinstance(piece, str):
        return {"type": "text", "text": piece}
    media_type, data = sendable(piece.load())
    return {"type": "image_url", "image_url": {"url": f"data:{media_type};base64,{b64encode(data).decode()}"}}


def _size_of_parts(parts: Sequence[Mapping[str, Any]]) -> int:
    return sum(len(part["image_url"]["url"]) for part in parts if part["type"] == "image_url")


def _never_scores(provider: providers.Provider, name: str) -> bool:
    """Return whether a model of a provider is known to return no log-probabilities of prompts."""
    return provider.chat or (bool(provider.echoes) and re.fullmatch(provider.echoes, name) is None)


def _address(url: object) -> str:
    """Return the base address in canonical form.

    Raises:
        ArgumentError: The address is invalid, or contains a secret (a password or a query).
        CapabilityError: httpx is not installed.
    """
    if find_spec("httpx") is None:
        raise CapabilityError("Models of servers need the package httpx: pip install 'helmframe[http]'.")
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
        port = parts and parts.port
    except ValueError:
        parts = None
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        shown = redacted(repr(url))
        raise ArgumentError(f"http(url={shown}): url must be a server's address, such as 'http://localhost:8000/v1'.")
    if parts.username is not None or parts.password is not None or parts.query:
        raise ArgumentError(
            f"http(url='{parts.scheme}://{parts.hostname}…'): url must not contain a password or a query, because it "
            "is shown and stored. Put keys into environment variables (key_env=…), and other fields into extra=…."
        )
    if find_credential("url", url) is not None:
        raise credential_error("http()", "url")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    path = re.sub(r"/(chat/)?completions$", "", parts.path.rstrip("/"))
    return f"{parts.scheme}://{host}{'' if port is None else f':{port}'}{path}"


def _extra(fields: object) -> dict[str, Any]:
    try:
        checked: dict[str, Any] = dict(fields or {})  # type: ignore[call-overload]
        json.dumps(checked)
    except (TypeError, ValueError):
        raise ArgumentError(f"http(extra={fields!r}): extra must be a dict of JSON values.") from None
    for key, value in checked.items():
        if key in _RESERVED:
            raise ArgumentError(f"http(extra={{{key!r}: …}}): helmframe sets {key} itself. Remove it.")
        path = find_credential(str(key), value)
        if path is not None:
            raise credential_error("http(extra=…)", path)
    return checked


_RESERVED = frozenset({*TAKES, "model", "prompt", "messages", "n", "echo", "stream", "logprobs"})
