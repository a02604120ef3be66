"""`Model`: its interface to the stages, the types of its prompts and responses, and their validation."""

import math
import types
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, TypedDict

from helmframe._core.checks import as_list, is_integer, type_of
from helmframe._core.safe_text import MAX_REPLY_BYTES, safe_repr, type_name, valid_unicode
from helmframe._core.specs import Call
from helmframe.config import redacted
from helmframe.errors import AnswerError, CapabilityError


class Completion(NamedTuple):
    """A completion with its details; a model function may return it in place of plain text.

    >>> Completion("Paris", logprob=-0.25, output_tokens=1).text
    'Paris'

    Attributes:
        text: The generated text.
        reasoning: The reasoning that the model generated separately.
        logprob: The log-probability of the whole text, in nats.
        token_logprobs: The log-probability of each token of the text, in nats, without the tokens that ended it. None
            for an empty text.
        finish_reason: "stop" or "length".
        prompt_tokens: The number of prompt tokens, as the model counts them.
        output_tokens: The number of generated tokens, as the model counts them, those of the reasoning included.
        reasoning_tokens: The number of generated tokens that are reasoning.
        cached_prompt_tokens: The number of prompt tokens that the server read from its own cache.
        is_greedy: Whether greedy decoding generates the text, for a continuation that `loglikelihood` scored. None if
            unknown.
    """

    text: str
    reasoning: str | None = None
    logprob: float | None = None
    token_logprobs: tuple[float, ...] | None = None
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    cached_prompt_tokens: int | None = None
    is_greedy: bool | None = None

    def with_logprobs(self, logprobs: Sequence[float]) -> "Completion":
        """Return the completion with the log-probabilities of its tokens, in nats; unchanged if there are none.

        >>> Completion("New York").with_logprobs([-0.5, -0.25]).logprob
        -0.75
        """
        return self._replace(logprob=math.fsum(logprobs), token_logprobs=tuple(logprobs)) if logprobs else self


class Pair(NamedTuple):
    """A context and a continuation; `loglikelihood` computes the log-probability of the continuation."""

    context: str
    continuation: str


class Seeded(NamedTuple):
    """A prompt with its own sampling seed, so that samples of one prompt share a call; None isn't reproducible."""

    text: str  # an `ImagePrompt` for models that take images
    seed: int | None

    @classmethod
    def from_prompts(cls, prompts: "Sequence[Prompt]", decoding: Mapping[str, Any]) -> "list[Seeded]":
        """Return the prompts as `Seeded`; a prompt without its own seed gets the seed of the call."""
        seed = decoding.get("seed")
        return [prompt if isinstance(prompt, cls) else cls(str(prompt), seed) for prompt in prompts]


class PromptImage(NamedTuple):
    """An image of a prompt: its placeholder in the question, and a function that reads its bytes."""

    at: str
    load: Callable[[], bytes]


class ImagePrompt(NamedTuple):
    """A prompt with images, for models that take `images`.

    Args:
        text: The prompt, a text or a conversation.
        images: The images, in order.
        question_length: The length of the question, which is the end of the text.
    """

    text: str
    images: tuple[PromptImage, ...]
    question_length: int

    def pieces(self, text: str) -> "list[str | PromptImage]":
        """Return the last text of the prompt, in pieces, with its images in between.

        An image replaces the first occurrence of its placeholder in the question. Images without a placeholder come
        before the question.
        """
        start = max(0, len(text) - self.question_length)
        spots = []
        for image in self.images:
            position = text.find(image.at, start) if image.at else -1
            spots.append((start, 0, image) if position < 0 else (position, len(image.at), image))
        pieces: list[str | PromptImage] = []
        done = 0
        for position, length, image in sorted(spots, key=lambda spot: spot[0]):
            pieces += [text[done:position], image]
            done = position + length
        return [piece for piece in [*pieces, text[done:]] if piece]


class Row(TypedDict):
    """The input of a model that `sees_rows`, in place of the prompt: mock models know the references.

    `right` and `wrong` contain outputs as the adapter expects them: letters for choices, else the references' texts.
    `correct` states for each reference whether it is correct. If there is a `continuation`, its log-probability is
    requested.
    """

    prompt: str
    scenario: str
    instance_id: str
    perturbation: str
    perturbation_seed: int
    output_index: int
    right: list[str]
    wrong: list[str]
    content: list[dict[str, Any]] | None
    continuation: str | None
    reference_index: int | None
    request_mode: str | None
    correct: list[bool]


Prompt: TypeAlias = str | Seeded | Row | Pair | ImagePrompt
Response: TypeAlias = Completion | str | BaseException
GenerateFunction: TypeAlias = Callable[[Sequence[Prompt], Mapping[str, Any]], Sequence[Response]]
AsyncGenerateFunction: TypeAlias = Callable[
    [Sequence[Prompt], Mapping[str, Any]], Coroutine[Any, Any, Sequence[Response]]
]

# The decoding parameter of a call that requests log-probabilities, and decodes nothing.
SCORES = "loglikelihood"


class BatchService(Protocol):
    """A provider's batch API."""

    def cancel(self, fingerprint: str) -> list[str]:
        """Cancel the batches in progress of the model with this fingerprint, and return their ids."""


@dataclass(frozen=True)
class Tokens:
    """A tokenizer as `language_modeling` needs it.

    Args:
        encode: A function that returns the text's tokens, without tokens that the tokenizer adds.
        decode: A function that returns the tokens' text; an incomplete character is U+FFFD.
        prefix: A function that returns the text of the first token of every text; "" if there is none.
    """

    encode: Callable[[str], Sequence[int]]
    decode: Callable[[Sequence[int]], str]
    prefix: Callable[[], str]


@dataclass(frozen=True, eq=False)
class Model:
    """A model as helmframe calls it. `hf.model(…)` and the functions of `hf.models` return one.

    Two models are equal if their names, versions and sources are equal. Sources that are names are compared as text,
    other sources by identity.

    >>> import helmframe as hf
    >>> hf.models.echo()
    Model('echo': generates, scores)

    Args:
        name: The name in tables, unique in a plan.
        source: The first argument of `hf.model`: a path or name, or the object.
        generate: A function that generates for a batch of at most `batch` prompts, in order, with the decoding
            parameters.
        fingerprint: A function that returns a sha256 (hex) of the model. It is called for each run.
        durable: Whether completions may be cached beyond the process, because the fingerprint covers the whole model.
        takes: The supported decoding parameters; None: any. helmframe applies `stop` in any case.
        batch: The maximum number of prompts per call; 1 for a function of one prompt.
        workers: The number of concurrent calls; the maximum, if `adaptive`.
        window: The maximum of prompt and output tokens together; None: unknown.
        max_request_length: HELM's limit for the tokens of prompt and output together, if it differs from `window`. By
            default the limit is `window` for prompts, and one token more for the windows of whole texts.
        count_tokens: A function that returns the number of tokens of each text, as the model counts them in a prompt.
        chat: A function that returns a conversation of {role, content} as a prompt, by the model's chat template, with
            variables of the template as keyword arguments; None: the model has no chat template.
        sees_rows: Whether the model receives a `Row` for each prompt.
        seeded: Whether the model receives a `Seeded` for each prompt when it samples, in place of one seed per call.
        media: Whether the model supports content parts other than text.
        only_chats: Whether the model receives every prompt as a message of a conversation, and replies in sentences.
            Plans with such a model parse option letters leniently.
        images: Whether prompts with images are passed as `ImagePrompt`.
        note: A note for `explain()`.
        version: The version that the user declared for the model.
        adaptive: Whether the number of concurrent calls adapts to the model, between 1 and `workers`.
        timeout: The limit of one call in seconds; None: no limit.
        generate_async: The async version of `generate`; if set, it is called instead.
        loglikelihood: A function like `generate` for pairs (context, continuation). It returns a `Completion` for each,
            with the text and log-probability (nats) of the continuation; None: unsupported.
        tokens: The tokenizer; None: not available.
        remembered_by_name: Whether the model behind this name may change although it is durable, as with a server.
            `explain()` then shows the age of its completions.
        generates: Whether the model generates text; False if it only computes log-probabilities of texts.
        token_logprobs: Whether completions contain log-probabilities of their tokens; None: known after the first call.
        refused: A function that returns the decoding parameters that the server rejected, each with what is sent
            instead; None: nothing to report.
        key_env: The environment variable of the server's key; models with different keys don't share a queue.
        price_name: The name in litellm's price file, as provider/model; "" if the file has no price of the model.
        state: A function that returns how the model runs, for `explain()` and the manifest: the expectation, and after
            the first call the facts; None: nothing to report.
        reasons: The prompts before whose answers the model is known to reason: "all", "chat" for those of its chat
            template, or "" if nothing is known. Their completions get head-room by default.
    """

    name: str
    source: object
    generate: GenerateFunction
    fingerprint: Callable[[], str]
    durable: bool
    takes: frozenset[str] | None
    batch: int = 32
    workers: int = 1
    window: int | None = None
    max_request_length: int | None = None
    count_tokens: Callable[[Sequence[str]], Sequence[int]] | None = None
    chat: Callable[..., str] | None = None
    sees_rows: bool = False
    seeded: bool = False
    media: bool = False
    only_chats: bool = False
    images: bool = False
    note: str = ""
    version: str | None = None
    adaptive: bool = False
    timeout: float | None = None
    generate_async: AsyncGenerateFunction | None = None
    loglikelihood: GenerateFunction | None = None
    tokens: Tokens | None = None
    remembered_by_name: bool = False
    generates: bool = True
    token_logprobs: bool | None = None
    state: Callable[[], str] | None = None
    refused: Callable[[], Mapping[str, str]] | None = None
    key_env: str | None = None
    reasons: Literal["", "chat", "all"] = ""
    price_name: str = ""
    batches: "BatchService | None" = None

    def cancel(self) -> list[str]:
        """Cancel the batches of `hf.models.batch` in progress, and return their ids.

        Completions that the provider has generated by then are stored when the plan is run again.

        >>> import helmframe as hf
        >>> hf.models.oracle().cancel()
        Traceback (most recent call last):
        helmframe.errors.CapabilityError: Model 'oracle' has no batches: it isn't a model of hf.models.batch(…).

        Raises:
            CapabilityError: The model has no batch API.
        """
        if self.batches is None:
            raise CapabilityError(f"Model {self.name!r} has no batches: it isn't a model of hf.models.batch(…).")
        return self.batches.cancel(self.fingerprint())

    @property
    def capabilities(self) -> tuple[str, ...]:
        """Return the names of the model's capabilities, as far as they are known before it runs.

        - `generates`: The model completes prompts.
        - `scores`: The model computes log-probabilities of continuations.
        - `token_logprobs`: Completions contain log-probabilities of their tokens.
        - `chat`: The model takes conversations.
        """
        supported = {
            "generates": self.generates,
            "scores": self.loglikelihood is not None,
            "token_logprobs": self.token_logprobs,
            "chat": self.chat is not None,
        }
        return tuple(name for name, is_supported in supported.items() if is_supported)

    def function_for(self, decoding: Mapping[str, Any]) -> GenerateFunction:
        """Return `generate`, or `loglikelihood` if the decoding parameters request log-probabilities.

        >>> import helmframe as hf
        >>> model = hf.model(lambda prompt: "yes")
        >>> model.function_for({"max_tokens": 1}) is model.generate
        True
        """
        if SCORES not in decoding:
            return self.generate
        assert self.loglikelihood is not None  # checked by the stage `fit`
        return self.loglikelihood

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Model) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f"Model({self.name!r}: {', '.join(self.capabilities)})"

    def _key(self) -> tuple[str, str | None, object]:
        return self.name, self.version, _source_key(self.source)


def as_completion(response: object, name: str) -> Completion:
    """Return one response of the model called `name` as a `Completion`.

    Raises:
        AnswerError: The response is neither text, `Completion`, nor a mapping with "text", or it is too long.
        BaseException: The response is an exception, which is raised.
    """
    if isinstance(response, str):
        _check_length(response, name)
        return Completion(response if type(response) is str and response.isascii() else valid_unicode(response))
    if isinstance(response, BaseException):
        raise response
    if isinstance(response, Mapping) and "text" in response:
        response = Completion(**{field: response[field] for field in Completion._fields if field in response})
    if isinstance(response, Completion):
        return _checked(response, name)
    raise AnswerError(f"Model {name!r} returned {short(response)}; expected str, Completion or a dict with 'text'.")


def as_results(
    returned: object, source: str, count: int, *, item: str = "prompt", result: str = "completion"
) -> list[Any]:
    """Return the value that a function of several items returned, as a list of one result per item.

    Args:
        returned: The returned value.
        source: The name of the function in the error message.
        count: The number of items that the function received.
        item: The noun for an item in the error message.
        result: The noun for a result in the error message.

    Raises:
        AnswerError: The value's type has no order, or the number of results differs.
    """
    results = None if isinstance(returned, Completion) else as_list(returned)
    if results is not None and len(results) == count:
        return results
    description = f"a value of type {type_of(returned)}" if results is None else _counted(len(results), result)
    raise AnswerError(
        f"{source} returned {description} for {_counted(count, item)}. Return a list with one {result} per {item}, in "
        f"the order of the {item}s."
    )


def is_plain(responses: Sequence[Response]) -> bool:
    """Return whether all responses are ASCII `str` of a valid length, which need no validation."""
    if set(map(type, responses)) != {str}:
        return False
    texts: Sequence[str] = responses  # type: ignore[assignment]
    return all(map(str.isascii, texts)) and max(map(len, texts)) <= MAX_CHARACTERS


def as_completions(texts: Sequence[Response]) -> Iterable[Completion]:
    """Return plain texts as `Completion`s; equal texts, such as option letters, share one."""
    completions = {text: Completion(text) for text in set(texts) if isinstance(text, str)}
    return map(completions.__getitem__, texts)  # type: ignore[arg-type]  # `is_plain`: all are texts


def as_scored(response: object, pair: Pair, name: str) -> Completion:
    """Return the result of `loglikelihood` for one pair, as a `Completion` with a log-probability.

    The result may be a number, the log-probability in nats. It may be a pair of this number and the number of tokens
    (int), the log-probability of each token (list), or whether the continuation is greedy (bool). Or it is a
    `Completion`, or a mapping of its fields.

    Raises:
        AnswerError: The result is none of these, or its log-probability is invalid.
        BaseException: The result is an exception, which is raised.
    """
    if isinstance(response, BaseException):
        raise response
    fields: dict[str, Any] = {}
    if isinstance(response, Completion):
        fields = response._asdict()
    elif isinstance(response, Mapping):
        fields = {field: response[field] for field in Completion._fields if field in response}
    elif isinstance(response, tuple | list) and len(response) == 2:
        fields = {"logprob": response[0]}
        if isinstance(response[1], tuple | list):
            fields["token_logprobs"] = response[1]
        elif type(response[1]).__name__ in ("bool", "bool_"):  # NumPy's bool too, without its import
            fields["is_greedy"] = bool(response[1])
        elif is_integer(response[1]):
            fields["output_tokens"] = response[1]
    else:
        fields = {"logprob": response}
    completion = _checked(Completion(**{**fields, "text": pair.continuation}), name)
    if completion.logprob is None and completion.token_logprobs is not None:
        completion = completion._replace(logprob=sum(completion.token_logprobs))
    if completion.logprob is None or not completion.logprob <= _NOT_LIKELIER:
        raise AnswerError(
            f"loglikelihood of model {name!r} returned {short(response)}; expected a log-probability (nats, at most 0) "
            "alone, or with the number of tokens: (-3.2, 4)."
        )
    return completion


def _source_key(source: object) -> object:
    if isinstance(source, str | Call):
        return source
    if isinstance(source, types.MethodType):  # each access of the attribute creates a new object
        return id(source.__self__), id(source.__func__)
    return tuple(map(id, source)) if isinstance(source, tuple) else id(source)


def _checked(completion: Completion, name: str) -> Completion:
    if not isinstance(completion.text, str):
        raise AnswerError(f"Model {name!r} returned text={short(completion.text)}; expected str.")
    for text in (completion.text, completion.reasoning):
        if isinstance(text, str):
            _check_length(text, name)
    logprobs = completion.token_logprobs
    wrong = [
        field
        for field, kinds in _KINDS.items()
        if (value := getattr(completion, field)) is not None
        and (not isinstance(value, kinds) or isinstance(value, bool))
    ]
    if logprobs is not None and not all(isinstance(logprob, float | int) for logprob in logprobs):
        wrong.append("token_logprobs")
    if not isinstance(completion.is_greedy, bool | None):
        raise AnswerError(f"Model {name!r} returned is_greedy={short(completion.is_greedy)}; expected bool.")
    if wrong:
        kinds = " or ".join(kind.__name__ for kind in _KINDS[wrong[0]])
        raise AnswerError(
            f"Model {name!r} returned {wrong[0]}={short(getattr(completion, wrong[0]))}; expected {kinds}."
        )
    return completion._replace(
        text=valid_unicode(completion.text),
        reasoning=completion.reasoning and valid_unicode(completion.reasoning),
        token_logprobs=None if logprobs is None else tuple(map(float, logprobs)),
    )


def _check_length(text: str, name: str) -> None:
    if str.__len__(text) > MAX_CHARACTERS:
        raise AnswerError(
            f"Model {name!r} returned a text of {str.__len__(text):,} characters; expected at most {MAX_CHARACTERS:,}."
        )


# The most characters of a completion, as in a server's reply.
MAX_CHARACTERS = MAX_REPLY_BYTES
# The log-probability of 1, plus float noise.
_NOT_LIKELIER = 1e-3
_KINDS: dict[str, tuple[type, ...]] = {
    "reasoning": (str,),
    "logprob": (float, int),
    "token_logprobs": (tuple, list),
    "finish_reason": (str,),
    "prompt_tokens": (int,),
    "output_tokens": (int,),
    "reasoning_tokens": (int,),
    "cached_prompt_tokens": (int,),
}


def _counted(number: int, name: str) -> str:
    plural = name if number == 1 else name.removesuffix("y") + "ies" if name.endswith("y") else f"{name}s"
    return f"{number:,} {plural}"


def short(value: object) -> str:
    text = redacted(safe_repr(value))
    return f"{text if len(text) <= 60 else text[:57] + '…'} ({type_name(type(value))})"
