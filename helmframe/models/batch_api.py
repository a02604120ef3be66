"""The batch APIs of OpenAI and Anthropic, and `hf.models.batch`, whose requests run through them."""

import json
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, BinaryIO, ClassVar, Generic, Literal, NamedTuple, TypeVar

from helmframe._core.safe_text import ACCEPT_ENCODING, ReplyError, body_decoder, read_reply
from helmframe._core.specs import Call, frozen
from helmframe.config import without_echo
from helmframe.errors import AnswerError, ArgumentError, CapabilityError, HelmframeError, SourceError, StoreError
from helmframe.models import endpoint, providers
from helmframe.models.completion_cache import store_root
from helmframe.models.endpoint_client import CONNECT, Endpoint
from helmframe.models.model import Model, Prompt
from helmframe.models.reasoning import LEVELS
from helmframe.models.retries import is_transient, retrying
from helmframe.store import Address, below, listing
from helmframe.store.files import read_all

T = TypeVar("T")

# A process on another host that has not submitted a batch by then counts as killed.
SUBMISSION_SECONDS = 900.0
# The limit in seconds of one call, which may upload or download a large file.
CALL_SECONDS = 900.0
# The difference between the clocks of this host and of the provider, in seconds.
CLOCK_SKEW = 120.0
# The maximum of pages of a list that are read.
MAX_PAGES = 100
# Anthropic requires max_tokens.
DEFAULT_MAX_TOKENS = 4096
# The statuses of a batch that has ended.
ENDED = frozenset({"completed", "failed", "expired", "cancelled", "canceled"})

_NO_API = frozenset({404, 405, 501})


def batch(
    model: str | Model,
    *,
    url: str | None = None,
    chat: bool | None = None,
    logprobs: bool = True,
    key_env: str | None = None,
    extra: object = None,
    api: Literal["openai", "anthropic"] | None = None,
) -> Model:
    """Return a model whose requests run through its provider's batch API, within 24 hours and at a lower price.

    All missing requests of a plan are uploaded before the run waits for any of them. Rerun the plan to resume: batches
    in progress are found again, and nothing is sent twice. The cache is that of the live model: completions of a batch
    serve the live model, and vice versa. The first request of each setting is sent live, so that a wrong key or a
    parameter that the server rejects shows at once.

    >>> batch("my-model", url="http://localhost:8000/v1", chat=True)
    Model('my-model': generates, chat)

    Args:
        model: The model, as in `hf.model`: `"openai:gpt-4.1"`, `"anthropic:claude-sonnet-4-5"`, `"http://host/v1#name"`,
            or a model of `hf.models.http`. With `url`, the model's name on the server.
        url: The base address of a server with OpenAI's batch API (/files and /batches).
        chat: As in `hf.models.http`; by default the provider's setting.
        logprobs: As in `hf.models.http`.
        key_env: As in `hf.models.http`.
        extra: As in `hf.models.http`.
        api: The batch API. By default "anthropic" for the provider anthropic, else "openai".

    Raises:
        ArgumentError: An argument is invalid, or the model isn't a server's.
        CapabilityError: httpx is not installed.
    """
    options = {"url": url, "chat": chat, "logprobs": None if logprobs else False, "key_env": key_env, "extra": extra}
    options = {name: value for name, value in options.items() if value is not None}
    live = _live(model, **options)  # type: ignore[arg-type]
    server = endpoint.server_of(live)
    if server is None:
        raise ArgumentError(
            f"batch({live.name!r}): model must be a server's model, such as 'openai:gpt-4.1' or hf.models.http(…)."
        )
    provider = providers.provider_at(server.endpoint.url)
    kind = api or ("anthropic" if provider is not None and provider.provider == "anthropic" else "openai")
    if kind not in _APIS:
        raise ArgumentError.unknown_value(f"batch(api={api!r})", api, _APIS)
    text = str(live.source) if isinstance(model, Model) else model
    arguments = {"model": text, **options, **({"api": api} if api else {})}
    return replace(
        live,
        source=Call("batch", frozen(arguments)),
        loglikelihood=None,
        token_logprobs=False if kind == "anthropic" else live.token_logprobs,
        media=live.media and kind != "anthropic",
        images=False,
        # the Messages API has no field for a schema
        takes=None if live.takes is None else live.takes - ({"json_schema"} if kind == "anthropic" else set()),
        note=f"runs through the batch API of {server.endpoint.url}, within 24 hours",
        batches=_APIS[kind](server.endpoint, server.request),
    )


def from_text(text: str) -> Model:
    """Return the model of a text in a plan: `batch(model='openai:gpt-4.1')`.

    Raises:
        ArgumentError: An argument is unknown, invalid or missing.
    """
    arguments: dict[str, Any] = dict(Call.parse(text).arguments)
    known = ("model", "url", "chat", "logprobs", "key_env", "extra", "api")
    for name in arguments:
        if name not in known:
            raise ArgumentError.unknown_argument("batch()", name, known)
    if "model" not in arguments:
        raise ArgumentError(f"Model {text!r}: model=… is missing.")
    return batch(**arguments)


def _live(model: object, *, chat: bool | None = None, url: str | None = None, **options: Any) -> Model:
    """Return the live model of the same server."""
    if isinstance(model, Model):
        if model.batches is not None:
            raise ArgumentError(f"batch({model.name!r}): the model runs through a batch API already.")
        if chat is not None or url is not None or options:
            raise ArgumentError("batch(): pass url, chat and other options to hf.models.http(…), or pass a name.")
        return model
    if not isinstance(model, str) or not model.strip():
        raise ArgumentError(f"batch({model!r}): model must be a name such as 'openai:gpt-4.1', or hf.models.http(…).")
    if url is not None:
        return endpoint.http(url, model, chat=bool(chat), **options)
    named = providers.named(model)
    if named is not None:
        provider, name = named
        chats = provider.only_chats(name) if chat is None else chat
        return endpoint.http(provider.address(), name, chat=chats, **options)
    address, _, name = model.partition("#")
    if not options and chat is None:
        return endpoint.from_address(model)
    return endpoint.http(address, name, chat=bool(chat), **options)


class UnavailableError(SourceError, ConnectionError):
    """An error for a batch API that does not respond, after retries."""


class State(NamedTuple):
    """The state of a batch at the provider; `files` are the routes of its results, once it has ended."""

    status: str
    ended: bool
    completed: int
    failed: int
    reason: str = ""
    files: tuple[str, ...] = ()


class Result(NamedTuple):
    """One result of a batch: the custom_id of its request, and the server's reply or an error."""

    key: str
    reply: object
    error: str | None


# The fields of a batch's record.
Record = dict[str, Any]


@dataclass(frozen=True)
class BatchApi:
    """OpenAI's batch API, which other providers support too.

    Args:
        endpoint: The server.
        request: A function that returns the route and the body of a request, from a prompt and decoding parameters.
    """

    endpoint: Endpoint
    request: Callable[[Prompt, Mapping[str, Any]], tuple[str, dict[str, Any]]]

    # The provider's limits of one batch.
    MAX_REQUESTS: ClassVar[int] = 50_000
    MAX_BYTES: ClassVar[int] = 200_000_000
    # The bytes around and between the requests of an upload.
    PARTS: ClassVar[tuple[bytes, bytes, bytes]] = (b"", b"\n", b"\n")
    ROUTE: ClassVar[str] = "batches"
    CURSOR: ClassVar[str] = "after"

    def entry(self, key: str, route: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return a request as the upload contains it."""
        return {"custom_id": key, "method": "POST", "url": f"/v1/{route}", "body": body}

    def create(self, record: Record, upload: BinaryIO | None, save: Callable[[], None]) -> None:
        """Upload the requests unless the record has the id of their file, and create the batch.

        Args:
            record: The record, which receives the ids.
            upload: The requests; None if the record has their file.
            save: A function that stores the record.
        """
        if not record["file"]:
            assert upload is not None
            upload.seek(0)
            file = (_file_name(record), upload, "application/jsonl")
            record["file"] = _id(self._call("POST", "files", data={"purpose": "batch"}, files={"file": file}))
            save()
        body = {
            "input_file_id": record["file"],
            "endpoint": f"/v1/{record['route']}",
            "completion_window": "24h",
            "metadata": {"helmframe": record["name"]},
        }
        record["batch"] = _id(self._call("POST", "batches", json=body))
        save()

    def find(self, record: Record, keys: frozenset[str], taken: Iterable[str]) -> None:  # noqa: ARG002
        """Add the ids of the batch and of the file to the record, if the provider has them.

        Args:
            record: The record of a submission whose end isn't known.
            keys: The custom_ids of its requests.
            taken: The ids of other batches.
        """
        for entry in self._list("batches"):
            metadata = entry.get("metadata")
            is_named = isinstance(metadata, Mapping) and metadata.get("helmframe") == record["name"]
            if is_named or (record["file"] and entry.get("input_file_id") == record["file"]):
                record["batch"] = _id(entry)
                return
        if not record["file"]:
            name = _file_name(record)
            record["file"] = next(
                (_id(entry) for entry in self._list("files", purpose="batch") if entry.get("filename") == name), None
            )

    def state(self, record: Record) -> State:
        """Return the state of a batch."""
        reply = self.get(f"batches/{record['batch']}")
        status = self.endpoint.safe(str(reply.get("status")))
        counts = reply.get("request_counts")
        counts = counts if isinstance(counts, Mapping) else {}
        files = [reply.get(name) for name in ("output_file_id", "error_file_id")]
        errors = reply.get("errors")
        problems = errors.get("data") if isinstance(errors, Mapping) else None
        messages = [str(problem.get("message")) for problem in problems or () if isinstance(problem, Mapping)]
        return State(
            status,
            status in ENDED,
            _count(counts, "completed"),
            _count(counts, "failed"),
            self.endpoint.safe("; ".join(messages[:3])),
            tuple(f"files/{_id({'id': file})}/content" for file in files if file),
        )

    def result(self, line: bytes) -> Result | None:
        """Return a line of the results; None if it isn't valid."""
        entry = _parsed(line)
        if entry is None:
            return None
        response, error = entry.get("response"), entry.get("error")
        if not isinstance(response, Mapping):
            return Result(entry["custom_id"], None, self._message(error))
        if response.get("status_code") != 200:
            text = self._message(response.get("body"))
            return Result(entry["custom_id"], None, f"HTTP {response.get('status_code')}: {text}")
        return Result(entry["custom_id"], response.get("body"), None)

    def cancel(self, fingerprint: str) -> list[str]:
        """Cancel the model's batches in progress, and return their ids."""
        cancelled = []
        for record in read_records(folder_of(store_root(), fingerprint)):
            if record["batch"] and not record["collected"] and not self.state(record).ended:
                self._call("POST", f"{self.ROUTE}/{record['batch']}/cancel")
                cancelled.append(str(record["batch"]))
        return cancelled

    def get(self, route: str, **params: Any) -> Mapping[str, Any]:
        """Return the reply to a GET, which is retried after transient errors."""
        reply = retried(lambda _: self._call("GET", route, params=params))
        return reply if isinstance(reply, Mapping) else {}

    def download(self, route: str, into: BinaryIO, n: int) -> Iterator[bytes]:
        """Write the content of a file with at most `n` results to `into`, and return its lines.

        A line that is larger than a reply may be is replaced by an empty line.
        """
        limit = self.endpoint.max_reply_bytes
        retried(lambda _: self._call("GET", route, into=into, limit=n * limit))
        into.seek(0)
        while line := into.readline(limit):
            is_whole = line.endswith(b"\n") or len(line) < limit
            rest = line
            while not is_whole and rest and not rest.endswith(b"\n"):
                rest = into.readline(limit)
            yield line if is_whole else b""

    def headers(self) -> dict[str, str]:
        """Return the headers of a request, with the key."""
        return self.endpoint.headers()

    def _list(self, route: str, **params: str) -> Iterator[Mapping[str, Any]]:
        """Yield the entries of all pages of a list."""
        cursor: dict[str, str] = {}
        for _ in range(MAX_PAGES):
            page = self.get(route, limit="100", **params, **cursor)
            data = page.get("data")
            entries = [entry for entry in data if isinstance(entry, Mapping)] if isinstance(data, list) else []
            yield from entries
            if not page.get("has_more") or not entries:
                return
            cursor = {self.CURSOR: _id(entries[-1])}

    def _call(self, method: str, route: str, *, into: BinaryIO | None = None, limit: int = 0, **options: Any) -> Any:
        """Return the reply, parsed as JSON, or write it to `into`, at most `limit` bytes.

        Raises:
            SourceDeniedError: The key is missing or wrong.
            CapabilityError: The server has no batch API.
            ReplyError: The reply is too large.
            RedirectError, RefusedError: The server redirects, or returned another error. A lost connection raises
                httpx's own error.
        """
        import httpx

        url = f"{self.endpoint.url}/{route}"
        timeout, headers = httpx.Timeout(CALL_SECONDS, connect=CONNECT), {**self.headers(), **ACCEPT_ENCODING}
        deadline = time.monotonic() + CALL_SECONDS
        try:
            with (
                httpx.Client(timeout=timeout) as client,
                client.stream(method, url, headers=headers, **options) as streamed,
            ):
                if streamed.is_success and into is not None:
                    decoder = body_decoder(streamed, limit)
                    into.seek(0)
                    into.truncate()
                    for chunk in streamed.iter_raw():
                        into.writelines(decoder.decode(chunk))
                        if time.monotonic() > deadline:
                            raise httpx.ReadTimeout(f"the file is not complete after {CALL_SECONDS:.0f} s")
                    return None
                response = read_reply(streamed, self.endpoint.max_reply_bytes)
        except ReplyError as error:
            raise self.endpoint.oversized(route, error) from None
        except httpx.TransportError as error:
            reason = self.endpoint.safe(str(error)) or "connection lost"
            raise type(error)(f"no response from {url}: {reason}") from error
        if response.status_code in _NO_API and route in ("files", self.ROUTE):
            raise CapabilityError(
                f"{self.endpoint.url} has no batch API: /{route} returned HTTP {response.status_code}. "
                f"Use the live model: hf.models.http({self.endpoint.url!r}, {self.endpoint.name!r})."
            )
        return self.endpoint.reply_of(response, route)

    def _message(self, error: object) -> str:
        """Return the message of an error in a result."""
        while isinstance(error, Mapping):
            error = error.get("error") or error.get("message") or error.get("code") or error.get("type") or "no reply"
        return self.endpoint.safe(str(error or "no reply"))


class AnthropicBatchApi(BatchApi):
    """Anthropic's Message Batches API.

    It stores no metadata. A lost batch is identified by its creation time, its number of requests, and once it has
    ended by the custom_ids of its results.
    """

    MAX_REQUESTS = 100_000
    MAX_BYTES = 256_000_000
    PARTS = (b'{"requests":[', b",", b"]}")
    ROUTE = "messages/batches"
    CURSOR = "after_id"

    def entry(self, key: str, route: str, body: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """See `BatchApi`."""
        return {"custom_id": key, "params": as_message_request(body)}

    def create(self, record: Record, upload: BinaryIO | None, save: Callable[[], None]) -> None:
        """See `BatchApi`."""
        assert upload is not None
        upload.seek(0)
        record["batch"] = _id(self._call("POST", self.ROUTE, content=upload))
        save()

    def find(self, record: Record, keys: frozenset[str], taken: Iterable[str]) -> None:
        """See `BatchApi`."""
        excluded = set(taken)
        for entry in self._list(self.ROUTE):
            late = _seconds(entry.get("created_at")) - record["created"]
            counts = entry.get("request_counts")
            total = sum(_count(counts, name) for name in counts) if isinstance(counts, Mapping) else 0
            if not -CLOCK_SKEW <= late <= SUBMISSION_SECONDS + CLOCK_SKEW or total != record["requests"]:
                continue
            batch_id = _id(entry)
            if batch_id in excluded or (entry.get("processing_status") == "ended" and not self._has(batch_id, keys)):
                continue
            record["batch"] = batch_id
            return

    def state(self, record: Record) -> State:
        """See `BatchApi`."""
        reply = self.get(f"{self.ROUTE}/{record['batch']}")
        status = self.endpoint.safe(str(reply.get("processing_status")))
        counts = reply.get("request_counts")
        counts = counts if isinstance(counts, Mapping) else {}
        ended = status == "ended"
        if ended:
            status = next((name for name in ("expired", "canceled") if _count(counts, name)), "completed")
        failed = sum(_count(counts, name) for name in ("errored", "canceled", "expired"))
        files = (f"{self.ROUTE}/{record['batch']}/results",) if ended else ()
        return State(status, ended, _count(counts, "succeeded"), failed, "", files)

    def result(self, line: bytes) -> Result | None:
        """See `BatchApi`."""
        entry = _parsed(line)
        result = entry and entry.get("result")
        if entry is None or not isinstance(result, Mapping):
            return None
        if result.get("type") != "succeeded":
            return Result(entry["custom_id"], None, self._message(result))
        return Result(entry["custom_id"], as_chat_reply(result.get("message")), None)

    def headers(self) -> dict[str, str]:
        """See `BatchApi`."""
        bearer = super().headers().get("Authorization", "")
        key = {"x-api-key": bearer.removeprefix("Bearer ")} if bearer else {}
        return {**key, "anthropic-version": "2023-06-01", "Content-Type": "application/json"}

    def _has(self, batch_id: str, keys: frozenset[str]) -> bool:
        with tempfile.TemporaryFile() as file:
            first = self.result(next(self.download(f"{self.ROUTE}/{batch_id}/results", file, len(keys)), b""))
        return first is not None and first.key in keys


_APIS: dict[str, type[BatchApi]] = {"openai": BatchApi, "anthropic": AnthropicBatchApi}
# Fields of OpenAI's protocol that Anthropic's does not have, or names differently.
_OPENAI_ONLY = frozenset({"logprobs", "top_logprobs", "seed", "presence_penalty", "frequency_penalty", "n", "stop"})


def as_message_request(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of a chat request in the format of Anthropic's Messages API.

    >>> as_message_request({"model": "m", "messages": [{"role": "user", "content": "Who?"}], "stop": [" ", "B"]})
    {'model': 'm', 'messages': [{'role': 'user', 'content': 'Who?'}], 'max_tokens': 4096, 'stop_sequences': ['B']}
    >>> as_message_request({"messages": [], "max_tokens": 2049, "temperature": 0, "reasoning_effort": "low"})
    {'messages': [], 'max_tokens': 2049, 'thinking': {'type': 'enabled', 'budget_tokens': 2048}}
    """
    fields = {name: value for name, value in body.items() if name not in _OPENAI_ONLY}
    fields["max_tokens"] = fields.pop("max_completion_tokens", None) or fields.get("max_tokens") or DEFAULT_MAX_TOKENS
    turns = fields["messages"]
    system = "\n".join(turn["content"] for turn in turns if turn["role"] == "system")
    fields["messages"] = [turn for turn in turns if turn["role"] != "system"]
    if system:
        fields["system"] = system
    budget = LEVELS.get(fields.pop("reasoning_effort", ""))
    if budget and budget < fields["max_tokens"]:
        fields["thinking"] = {"type": "enabled", "budget_tokens": budget}
        fields.pop("temperature", None)  # Anthropic rejects it with thinking
    if "temperature" in fields:
        fields["temperature"] = min(fields["temperature"], 1)
    # Anthropic rejects stop sequences of white space; helmframe applies all of them to the output
    stops = [stop for stop in body.get("stop") or () if stop.strip()]
    return {**fields, "stop_sequences": stops} if stops else fields


def as_chat_reply(message: object) -> dict[str, Any]:
    """Return a message of Anthropic's API as the reply of an OpenAI-compatible server."""
    message = message if isinstance(message, Mapping) else {}
    content = message.get("content")
    blocks = [block for block in content if isinstance(block, Mapping)] if isinstance(content, list) else None
    usage = message.get("usage")
    usage = usage if isinstance(usage, Mapping) else {}
    cached = [_count(usage, name) for name in ("cache_read_input_tokens", "cache_creation_input_tokens")]
    text = None if blocks is None else "".join(str(block.get("text", "")) for block in blocks)
    thoughts = "".join(str(block.get("thinking", "")) for block in blocks or ())
    reply: dict[str, Any] = {"content": text, **({"reasoning_content": thoughts} if thoughts else {})}
    return {
        "choices": [{"message": reply, "finish_reason": message.get("stop_reason")}] if blocks is not None else [],
        "usage": {
            "prompt_tokens": _count(usage, "input_tokens") + sum(cached),
            "completion_tokens": _count(usage, "output_tokens"),
        }
        if usage
        else None,
    }


def folder_of(root: Address, fingerprint: str) -> Address:
    return below(root, "batches", fingerprint[:32])


def read_records(folder: Address) -> list[Record]:
    """Return the records of a folder.

    Raises:
        StoreError: A record is damaged.
    """
    files = [file for file in listing(folder) if file.name.endswith(".json")]
    records = []
    for file, data in zip(files, read_all([file.address for file in files]), strict=True):
        if data is None:  # removed meanwhile
            continue
        try:
            record = json.loads(data)
            _ = record["name"], record["batch"], record["file"], record["collected"]
        except (ValueError, KeyError, TypeError):
            raise StoreError(
                f"{file.address} is damaged. Cancel its batch at the provider, and remove the file."
            ) from None
        records.append(record)
    return sorted(records, key=lambda record: float(record["created"]))


def retried(action: Callable[[int], T]) -> T:
    """Return the result of an action, which is retried after transient errors.

    The action receives the number of the attempt, from 1.

    Raises:
        UnavailableError: The last error is transient too.
        HelmframeError: The action raised it.
    """
    import httpx

    attempt: _Attempt[T] = _Attempt(None, None)
    for turn in retrying(time.sleep):
        try:
            attempt = _Attempt(action(turn.retry_state.attempt_number), None)
        except (HelmframeError, OSError, httpx.TransportError) as error:
            attempt = _Attempt(None, error)
        turn.retry_state.set_result(attempt)
    if attempt.error is not None and is_transient(attempt.error):
        raise UnavailableError(f"{attempt.error}. Rerun the plan to resume.") from attempt.error
    if attempt.error is not None:
        raise attempt.error
    return attempt.value  # type: ignore[return-value]  # set by the last attempt


@dataclass
class _Attempt(Generic[T]):
    """The result of an attempt, or its error."""

    value: T | None
    error: BaseException | None


def _file_name(record: Record) -> str:
    return f"helmframe-{record['name']}.jsonl"


def _id(entry: object) -> str:
    """Return the id in a reply.

    Raises:
        AnswerError: It has no id that may be part of an address.
    """
    value = entry.get("id") if isinstance(entry, Mapping) else None
    is_valid = isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_.:-]{1,200}", value) and set(value) != {"."}
    # an id is stored; one that contains a key is an echo
    if isinstance(value, str) and is_valid and without_echo(value) == value:
        return value
    raise AnswerError("The batch API returned an object without a valid id.")


def _parsed(line: bytes) -> Mapping[str, Any] | None:
    """Return a line of results; None if it isn't an object with a custom_id."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) and isinstance(entry.get("custom_id"), str) else None


def _count(counts: Mapping[str, Any], name: str) -> int:
    value = counts.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _seconds(text: object) -> float:
    """Return a time of Anthropic's API in seconds since 1970; 0 if it is invalid."""
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return 0.0
