"""`Model`, as the stages see it: how it is called, what it returns, and what distinguishes it from other models."""

import hashlib
import math
import types
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, NamedTuple, TypeAlias, TypedDict

from helmframe._core.checks import as_list, is_integer, type_of
from helmframe._core.safe_text import safe_repr, type_name, valid_unicode
from helmframe._core.specs import Call
from helmframe.errors import AnswerError


class Completion(NamedTuple):
    """A completion with what a model reports about it; models may return it in place of plain text.

    `logprob` (nats) is that of the whole text, `token_logprobs` (nats) those of its tokens, without the tokens that
    ended it: None if there are none, as for an empty text. `finish_reason` is "stop" or "length"; the token counts are
    the model's own.
    """

    text: str
    reasoning: str | None = None
    logprob: float | None = None
    token_logprobs: tuple[float, ...] | None = None
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None

    def with_logprobs(self, logprobs: Sequence[float]) -> "Completion":
        """Return the completion with the log-probabilities (nats) of its tokens; without tokens it has none."""
        return self._replace(logprob=math.fsum(logprobs), token_logprobs=tuple(logprobs)) if logprobs else self


class Pair(NamedTuple):
    """A context and a continuation, whose log-probability `loglikelihood` computes."""

    context: str
    continuation: str


class Seeded(NamedTuple):
    """A prompt with its own sampling seed (None: not reproducible), so that samples of one prompt share a call."""

    text: str
    seed: int | None

    @classmethod
    def from_prompts(cls, prompts: "Sequence[Prompt]", decoding: Mapping[str, Any]) -> "list[Seeded]":
        """Return the prompts as `Seeded`; those without their own seed get the seed of the call."""
        seed = decoding.get("seed")
        return [prompt if isinstance(prompt, cls) else cls(str(prompt), seed) for prompt in prompts]


class Row(TypedDict):
    """The input of a model that `sees_rows`, in place of the prompt: for mock models, which know the references.

    `right` and `wrong` are outputs as the adapter expects them: letters for choices, else the references' texts;
    `correct` states for each reference whether it is correct. With a `continuation`, its log-probability is requested.
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


Prompt: TypeAlias = str | Seeded | Row | Pair
Response: TypeAlias = Completion | str | BaseException
GenerateFunction: TypeAlias = Callable[[Sequence[Prompt], Mapping[str, Any]], Sequence[Response]]
AsyncGenerateFunction: TypeAlias = Callable[
    [Sequence[Prompt], Mapping[str, Any]], Coroutine[Any, Any, Sequence[Response]]
]

# A decoding parameter of a call that requests log-probabilities; nothing is decoded then.
SCORES = "loglikelihood"


@dataclass(frozen=True)
class Tokens:
    """A tokenizer as `language_modeling` needs it.

    Args:
        encode: Returns the text's tokens, without any that the tokenizer adds.
        decode: Returns the tokens' text; an incomplete character is U+FFFD.
        prefix: Returns the text of the token that texts begin with; "" if there is none.
    """

    encode: Callable[[str], Sequence[int]]
    decode: Callable[[Sequence[int]], str]
    prefix: Callable[[], str]


@dataclass(frozen=True, eq=False)
class Model:
    """A model as helmframe calls it.

    Two models are equal if name, version and source are: sources that are names are compared as text, others by
    identity.

    Args:
        name: The name shown in tables; unique in a plan.
        source: What `hf.model` was called with: a path or name, or the object.
        generate: Generates for one batch of at most `batch` prompts, in order, with the decoding parameters.
        fingerprint: Returns a sha256 (hex) of the model, computed at each call if the model can change.
        durable: Whether completions may be cached beyond the process, because the fingerprint covers the whole model.
        takes: The decoding parameters it honours; None: any. helmframe applies `stop` in any case.
        batch: Prompts per call; 1 for a model that takes one prompt.
        workers: Concurrent calls; the maximum, if `adaptive`.
        window: Tokens that prompt and output may have together; None: unknown.
        max_request_length: HELM's limit for the tokens of prompt and output together, where it differs from `window`.
            By default prompts have the limit `window`, and windows of whole texts one token more.
        count_tokens: Returns the number of tokens of each text, as the model counts them in a prompt.
        chat: Returns a conversation of {role, content} as a prompt, by the model's chat template; None: has none.
        sees_rows: Whether it gets a `Row` for each prompt.
        seeded: Whether it gets a `Seeded` for each prompt when it samples, in place of one seed for a call.
        media: Whether it takes content parts other than text.
        note: A note for `explain()`.
        version: The version that the user declared for the model.
        adaptive: Whether the number of concurrent calls adapts to the model, between 1 and `workers`.
        timeout: Seconds for one call; None: no limit.
        generate_async: As `generate`, for callers on the event loop; if set, it is used in its place.
        loglikelihood: As `generate`, for pairs (context, continuation): a `Completion` each, whose text and
            logprob (nats) are the continuation's; None: not supported.
        tokens: Its tokenizer; None: not available.
        remembered_by_name: Durable, but the model behind this name may change: `explain()` shows the age of
            completions.
        generates: Whether it generates; False for a model that only computes log-probabilities of texts.
        token_logprobs: Whether its completions contain log-probabilities of their tokens; None: known once it has run.
        refused: Returns the decoding parameters that its server refused, each with what is done instead.
        state: Returns, for `explain()` and the manifest, how it runs: what is expected, and after the first call what
            was chosen; None: nothing to report.
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
    chat: Callable[[Sequence[Mapping[str, str]]], str] | None = None
    sees_rows: bool = False
    seeded: bool = False
    media: bool = False
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

    @property
    def capabilities(self) -> tuple[str, ...]:
        """Return what it can do, as far as known before it runs, in this order.

        `generates`: it completes a prompt; `scores`: the log-probability of a continuation; `token_logprobs`: those of
        the tokens it generates; `chat`: takes conversations.
        """
        supported = {
            "generates": self.generates,
            "scores": self.loglikelihood is not None,
            "token_logprobs": self.token_logprobs,
            "chat": self.chat is not None,
        }
        return tuple(name for name, is_supported in supported.items() if is_supported)

    def function_for(self, decoding: Mapping[str, Any]) -> GenerateFunction:
        """Return the function for these decoding parameters: `generate`, or `loglikelihood` if they request scores."""
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
        AnswerError: It is neither text, `Completion`, nor a mapping with "text"; an exception in its place is raised.
    """
    if type(response) is str and response.isascii():
        return Completion(response)
    if isinstance(response, str):
        return Completion(valid_unicode(response))
    if isinstance(response, BaseException):
        raise response
    if isinstance(response, Mapping) and "text" in response:
        response = Completion(**{field: response[field] for field in Completion._fields if field in response})
    if isinstance(response, Completion):
        return _checked(response, name)
    raise AnswerError(f"model {name!r} answered {short(response)}; expected str, Completion or a dict with 'text'.")


def as_results(
    returned: object, source: str, count: int, *, item: str = "prompt", result: str = "completion"
) -> list[Any]:
    """Return what a function of several items returned as a list: one result per item.

    Args:
        returned: What the function returned.
        source: What the error message calls the function.
        count: The number of items that the function received.
        item: What the error message calls an item.
        result: What the error message calls a result.

    Raises:
        AnswerError: The type does not preserve the order of the items, or the number of results differs.
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
    """Return whether all responses are ASCII `str`, which need no check."""
    return set(map(type, responses)) == {str} and all(map(str.isascii, responses))  # type: ignore[arg-type]


def as_completions(texts: Sequence[Response]) -> Iterable[Completion]:
    """Return plain texts as `Completion`s, without the cost of a call for each."""
    nothing = [repeat(None)] * (len(Completion._fields) - 1)
    return map(tuple.__new__, repeat(Completion), zip(texts, *nothing, strict=False))


def as_scored(response: object, pair: Pair, name: str) -> Completion:
    """Return what `loglikelihood` of a model returned for one pair, as a `Completion` with a log-probability.

    A number is the log-probability (nats). In a pair of a number and something else, an int is the number of tokens and
    a list contains the log-probability of each; a bool (greedy or not) is ignored.

    Raises:
        AnswerError: It is none of these, no `Completion` and no mapping, or its log-probability is invalid.
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
        elif is_integer(response[1]):
            fields["output_tokens"] = response[1]
    else:
        fields = {"logprob": response}
    completion = _checked(Completion(**{**fields, "text": pair.continuation}), name)
    if completion.logprob is None and completion.token_logprobs is not None:
        completion = completion._replace(logprob=sum(completion.token_logprobs))
    if completion.logprob is None or not completion.logprob <= _NOT_LIKELIER:
        raise AnswerError(
            f"loglikelihood of model {name!r} gave {short(response)}; expected a log-probability in nats, at most 0, "
            "or one with the number of tokens: (-3.2, 4)."
        )
    return completion


def digest(*parts: str) -> str:
    """Return a sha256 (hex) of the parts."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def _source_key(source: object) -> object:
    if isinstance(source, str | Call):
        return source
    if isinstance(source, types.MethodType):  # each access of the attribute makes a new one
        return id(source.__self__), id(source.__func__)
    return tuple(map(id, source)) if isinstance(source, tuple) else id(source)


def _checked(completion: Completion, name: str) -> Completion:
    if not isinstance(completion.text, str):
        raise AnswerError(f"model {name!r} answered with text={short(completion.text)}; expected str.")
    logprobs = completion.token_logprobs
    wrong = [
        field
        for field, kinds in _KINDS.items()
        if (value := getattr(completion, field)) is not None
        and (not isinstance(value, kinds) or isinstance(value, bool))
    ]
    if logprobs is not None and not all(isinstance(logprob, float | int) for logprob in logprobs):
        wrong.append("token_logprobs")
    if wrong:
        raise AnswerError(f"model {name!r} answered with {wrong[0]}={short(getattr(completion, wrong[0]))}.")
    return completion._replace(
        text=valid_unicode(completion.text),
        reasoning=completion.reasoning and valid_unicode(completion.reasoning),
        token_logprobs=None if logprobs is None else tuple(map(float, logprobs)),
    )


# A probability of 1, and float noise.
_NOT_LIKELIER = 1e-3
_KINDS: dict[str, tuple[type, ...]] = {
    "reasoning": (str,),
    "logprob": (float, int),
    "token_logprobs": (tuple, list),
    "finish_reason": (str,),
    "prompt_tokens": (int,),
    "output_tokens": (int,),
}


def _counted(number: int, name: str) -> str:
    plural = name if number == 1 else name.removesuffix("y") + "ies" if name.endswith("y") else f"{name}s"
    return f"{number:,} {plural}"


def short(value: object) -> str:
    text = safe_repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '…'} ({type_name(type(value))})"
