"""Servers that speak OpenAI's protocol, as models: vLLM, TGI, llama.cpp, LM Studio, `transformers serve`, OpenAI."""

import functools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from helmframe._core.specs import Call, frozen
from helmframe.errors import AnswerError, ArgumentError, CapabilityError
from helmframe.models import event_loop
from helmframe.models.conversations import as_messages, as_prompt, is_conversation
from helmframe.models.endpoint_client import Endpoint, RefusedError
from helmframe.models.endpoint_replies import answer_of, score_of
from helmframe.models.model import Answer, Given, Model, Pair, Prompt, digest
from helmframe.models.tokenizing import stops_of

OPENAI = "https://api.openai.com/v1"
TAKES = frozenset({"max_tokens", "temperature", "top_p", "seed", "stop", "presence_penalty", "frequency_penalty"})
# Calls at once, at most: their number follows what the server stands.
MAX_WORKERS = 64
# Seconds for one call.
TIMEOUT = 600.0
# OpenAI's protocol takes no more stop sequences; helmframe cuts the output at all of them anyway.
MAX_STOPS = 4

# What OpenAI still completes; all its other models only chat.
_OPENAI_COMPLETES = re.compile(r"(davinci|babbage)-002|.*-instruct(-\d+)?")
# Of these, what gives a prompt back with log-probabilities (lm-eval, models/openai_completions.py).
_OPENAI_ECHOES = re.compile(r"(davinci|babbage)-002")


def http(url: str, name: str, *, chat: bool = False, logprobs: bool = True, extra: object = None) -> Model:
    """The model that a server calls `name`.

    Plain prompts go to /completions as they are; conversations (`adapt(chat_template=True)`) to /chat/completions,
    where the server applies the model's template. Keys come from the environment alone: OPENAI_API_KEY for OpenAI,
    HELMFRAME_API_KEY for every other server; they are sent as a bearer token.

    Answers are remembered by address and name, whoever answers there; `score(fresh=True)` asks anew.

    Args:
        url: the server's base address, as clients take it; mostly it ends in /v1.
        name: the model, as the server calls it.
        chat: also plain prompts go to /chat/completions, as one message of the user; for servers that only chat. It
            gives no log-probabilities of given texts then; of OpenAI's own models only davinci-002 and babbage-002 do.
        logprobs: ask for the log-probabilities of the tokens generated, where the server gives them.
        extra: more fields for each request, such as `{"top_k": 1}`, as this server takes them.

    Raises:
        ArgumentError: no such address, or httpx is not installed.
    """
    more = _extra(extra)
    address = _address(url)
    if not isinstance(name, str) or not name.strip():
        raise ArgumentError(f"http(name={name!r}): should be the model's name, as {address}/models lists it.")
    said = {"chat": chat or None, "logprobs": None if logprobs else False, "extra": more or None}
    options = {key: value for key, value in said.items() if value is not None}
    asked = _Asked(Endpoint(address, name), chat, more, {"logprobs"} if logprobs else set())
    return Model(
        name=name,
        source=Call("http", frozen({"url": address, "name": name, **options})) if options else f"{address}#{name}",
        ask=asked.ask,
        fingerprint=functools.partial(digest, "http", address, name, json.dumps([chat, more], sort_keys=True)),
        durable=True,
        takes=TAKES,
        batch=1,
        workers=MAX_WORKERS,
        adaptive=True,
        timeout=TIMEOUT,
        chat=as_prompt,
        ask_async=asked.ask_async,
        loglikelihood=asked.loglikelihood if _rates(asked) else None,
        remembered_by_name=True,
        token_logprobs=None if logprobs else False,
    )


def from_address(said: str) -> Model:
    """A server's model as plans write it: `openai:gpt-4.1`, `http://localhost:8000/v1#name`, `http(url=…, name=…)`.

    Raises:
        ArgumentError: no such address, or it names no model.
    """
    if said.startswith("openai:"):
        name = said.removeprefix("openai:").strip()
        return http(OPENAI, name, chat=_OPENAI_COMPLETES.fullmatch(name) is None)
    if said.startswith("http("):
        arguments = dict(Call.parse(said).arguments)
        for key in arguments:
            if key not in _ARGUMENTS:
                raise ArgumentError.unknown_argument("http()", key, _ARGUMENTS)
        for key in ("url", "name"):
            if key not in arguments:
                raise ArgumentError(f"model {said!r}: {key}= is missing.")
        return http(**arguments)  # type: ignore[arg-type]  # checked there
    url, _, name = said.partition("#")
    if not name:
        raise ArgumentError(f"{_address(url)} is a server; say which of its models: '{_address(url)}#name'.")
    return http(url, name)


def is_address(said: str) -> bool:
    """Whether `from_address` is who reads it."""
    return said.startswith(("openai:", "http://", "https://", "http("))


_ARGUMENTS = ("url", "name", "chat", "logprobs", "extra")


@dataclass
class _Asked:
    """What is asked of an endpoint, and what is known by now of what it takes."""

    endpoint: Endpoint
    chat: bool
    extra: Mapping[str, Any]
    wanted: set[str] = field(default_factory=set)  # "logprobs", until it is refused
    # the newer name is all that OpenAI's models that reason take
    max_tokens: str = "max_tokens"
    # how the log-probabilities of a given text may be asked for; the one that gave some, once there is one
    ways: Sequence[Mapping[str, Any]] = ({"echo": True, "logprobs": 1}, {"prompt_logprobs": 0})

    def ask(self, prompts: Sequence[Prompt], decoding: Mapping[str, Any]) -> Sequence[Given]:
        return list(event_loop.run(self.ask_async(prompts, decoding)))

    async def ask_async(self, prompts: Sequence[Prompt], decoding: Mapping[str, Any]) -> Sequence[Given]:
        return [await self._answer(str(prompt), decoding) for prompt in prompts]

    def loglikelihood(self, prompts: Sequence[Prompt], _: Mapping[str, Any]) -> Sequence[Given]:
        pairs = [each for each in prompts if isinstance(each, Pair)]
        return [event_loop.run(self._score(pair)) for pair in pairs]

    async def _answer(self, prompt: str, decoding: Mapping[str, Any]) -> Answer:
        turns = as_messages(prompt)
        if turns is None and self.chat:
            turns = [{"role": "user", "content": prompt}]
        while True:
            body = self._body(decoding, turns is not None)
            try:
                if turns is None:
                    reply = await self.endpoint.post("completions", {"prompt": prompt, **body})
                else:
                    reply = await self.endpoint.post("chat/completions", {"messages": turns, **body})
                return await self._read(reply, stops_of(decoding))
            except RefusedError as error:
                if not self._learn(error, body):
                    raise

    async def _read(self, reply: Any, stops: Sequence[str]) -> Answer:
        try:
            answer = answer_of(reply, self.endpoint.name, stops)
        except AnswerError:
            await self.endpoint.check_protocol()
            raise
        self.endpoint.answered = True
        return answer

    def _body(self, decoding: Mapping[str, Any], is_chat: bool) -> dict[str, Any]:
        said = {key: value for key, value in decoding.items() if key in TAKES and value is not None}
        said["stop"] = stops_of(decoding)[:MAX_STOPS]
        if not said["stop"]:
            del said["stop"]
        if is_chat and "max_tokens" in said:
            said[self.max_tokens] = said.pop("max_tokens")
        if "logprobs" in self.wanted:
            said["logprobs"] = True if is_chat else 1
        return {"model": self.endpoint.name, **said, **self.extra}

    def _learn(self, error: RefusedError, body: Mapping[str, Any]) -> bool:
        """Whether the request is worth making in another form, after what the server said of this one."""
        if error.status_code not in (400, 422):
            return False
        said = str(error).lower()
        if "logprob" in said and "logprobs" in body:
            self.wanted.discard("logprobs")
            return True
        if "max_completion_tokens" in said and "max_tokens" in body:
            self.max_tokens = "max_completion_tokens"
            return True
        return False

    async def _score(self, pair: Pair) -> Answer:
        if is_conversation(pair.context):
            raise CapabilityError(
                f"model {self.endpoint.name!r}: a server gives no log-probabilities of texts in a conversation; leave "
                "out adapt(chat_template=True), or use .adapt(method='multiple_choice_joint')."
            )
        if not pair.continuation:  # which a server would not know from the context's last token
            return Answer("", output_tokens=0)
        why = ""
        for way in self.ways:
            # one token more than is wanted: not every server stands to be asked for none
            body = {"prompt": pair.context + pair.continuation, **way, "max_tokens": 1, "temperature": 0}
            try:
                reply = await self.endpoint.post("completions", {"model": self.endpoint.name, **body})
            except RefusedError as error:
                if error.status_code not in (400, 422) or not re.search("echo|logprob", str(error), re.IGNORECASE):
                    raise
                why = why or f" ({error})"
                continue
            found = score_of(reply, pair, self.endpoint.name)
            if found is not None:
                self.endpoint.answered = True
                self.ways = (way,)
                return found
        raise self._no_scores(why)

    def _no_scores(self, why: str) -> CapabilityError:
        return CapabilityError(
            f"model {self.endpoint.name!r}: {self.endpoint.url} gives no log-probabilities of given texts (echo with "
            f"logprobs, prompt_logprobs){why}; vLLM does. Or ask otherwise: .adapt(method='multiple_choice_joint') or "
            "'generation'."
        )


def _rates(asked: _Asked) -> bool:
    """Whether the model may give log-probabilities of given texts; of a server that is not known, the answer tells."""
    if asked.endpoint.is_openai and not _OPENAI_ECHOES.fullmatch(asked.endpoint.name):
        return False
    return not asked.chat


def _address(url: object) -> str:
    """The base address in one spelling.

    Raises:
        ArgumentError: it is none, or one that holds what should be nowhere (a password, a key).
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
            "stored; keys come from the environment (HELMFRAME_API_KEY), other fields in extra=."
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    path = re.sub(r"/(chat/)?completions$", "", parts.path.rstrip("/"))
    return f"{parts.scheme}://{host}{'' if port is None else f':{port}'}{path}"


def _extra(said: object) -> dict[str, Any]:
    try:
        more: dict[str, Any] = dict(said or {})  # type: ignore[call-overload]
        json.dumps(more)
    except (TypeError, ValueError):
        raise ArgumentError(f"http(extra={said!r}): should be a dict of what JSON can say.") from None
    for key, value in more.items():
        if key in _OWN:
            raise ArgumentError(f"http(extra={{{key!r}: …}}): helmframe says {key} itself.")
        if re.search(r"key|token$|secret|password|authorization", str(key), re.IGNORECASE) and isinstance(value, str):
            raise ArgumentError(f"http(extra={{{key!r}: …}}): keys come from the environment (HELMFRAME_API_KEY).")
    return more


_OWN = frozenset({*TAKES, "model", "prompt", "messages", "n", "echo", "stream", "logprobs"})
