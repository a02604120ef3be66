"""What a model is to the stages: how it is asked, what it answers, and what sets it apart from every other."""

import hashlib
import math
import types
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, NamedTuple, TypeAlias, TypedDict

from helmframe._core.checks import as_list, type_of
from helmframe._core.safe_text import safe_repr, type_name, valid_unicode
from helmframe._core.specs import Call
from helmframe.errors import AnswerError


class Answer(NamedTuple):
    """What a model may give instead of plain text.

    `logprob` (nats) is that of the whole text, `token_logprobs` (nats) of its tokens, without what ended it: None
    where there are none, as in an empty text. `finish_reason` is "stop" or "length"; the token counts are the model's
    own.
    """

    text: str
    reasoning: str | None = None
    logprob: float | None = None
    token_logprobs: tuple[float, ...] | None = None
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None

    def rated(self, logprobs: Sequence[float]) -> "Answer":
        """The answer with the log-probabilities (nats) of its tokens; without a token it has none."""
        return self._replace(logprob=math.fsum(logprobs), token_logprobs=tuple(logprobs)) if logprobs else self


class Pair(NamedTuple):
    """What `loglikelihood` is asked: how likely is the continuation after the context?"""

    context: str
    continuation: str


class Seeded(NamedTuple):
    """A prompt with the seed of its own draws (None: never the same): samples of one prompt can be asked together."""

    text: str
    seed: int | None

    @classmethod
    def each(cls, prompts: "Sequence[Prompt]", decoding: Mapping[str, Any]) -> "list[Seeded]":
        """The prompts; those without a seed of their own have the call's."""
        seed = decoding.get("seed")
        return [prompt if isinstance(prompt, cls) else cls(str(prompt), seed) for prompt in prompts]


class Row(TypedDict):
    """What a model that `sees_rows` gets instead of the prompt: for mock models, which know the answers.

    `right` and `wrong` are answers as the adapter expects them: letters for choices, else the references' texts;
    `correct` says of each reference whether it is. With a `continuation`, its log-probability is asked for.
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
Given: TypeAlias = Answer | str | BaseException
Ask: TypeAlias = Callable[[Sequence[Prompt], Mapping[str, Any]], Sequence[Given]]
AskAsync: TypeAlias = Callable[[Sequence[Prompt], Mapping[str, Any]], Coroutine[Any, Any, Sequence[Given]]]

# Among the decoding parameters of a call: log-probabilities are asked for, nothing is decoded.
SCORES = "loglikelihood"


@dataclass(frozen=True)
class Tokens:
    """A tokenizer as `language_modeling` needs it.

    Args:
        encode: the text's tokens, without any that the tokenizer adds.
        decode: their text; a character of which there is a part only is U+FFFD.
        prefix: the text of the token that texts begin with; "" where there is none.
    """

    encode: Callable[[str], Sequence[int]]
    decode: Callable[[Sequence[int]], str]
    prefix: Callable[[], str]


@dataclass(frozen=True, eq=False)
class Model:
    """One model as helmframe asks it.

    Two models are equal if name, version and source are: sources that are names are compared as text, others are the
    same only if they are one object.

    Args:
        name: shown in tables; unique in a plan.
        source: what was given: a path or name, or the object.
        ask: answers one batch of at most `batch` prompts, in order, given the decoding parameters.
        fingerprint: sha256 (hex) of what answers, computed anew at each call where it can change.
        durable: whether answers may be kept beyond the process, because the fingerprint covers all that answers.
        takes: decoding parameters it honours; None: any. `stop` is cut by helmframe in any case.
        batch: prompts per call; 1 for a model that takes one prompt.
        workers: calls at once; the most, if `adaptive`.
        window: tokens that prompt and output may have together; None: unknown.
        max_request_length: HELM's limit for the tokens of prompt and output together, where it differs from `window`.
            By default prompts have the limit `window`, and windows of whole texts one token more.
        count_tokens: the number of tokens of each text, as the model counts them in a prompt.
        chat: a conversation of {role, content} as the prompt the model's chat template makes of it; None: has none.
        sees_rows: gets a `Row` for each prompt.
        seeded: gets a `Seeded` for each prompt where it samples, in place of one seed for a call.
        media: takes content parts other than text.
        note: for `explain()`.
        version: the name under which the user vouches for what answers.
        adaptive: the calls at once follow what the model stands, between 1 and `workers`.
        timeout: seconds for one call; None: it may take as long as it likes.
        ask_async: `ask` for who is on the event loop; then that is how it is asked.
        loglikelihood: as `ask`, for pairs (context, continuation): an `Answer` each, whose text is the continuation and
            whose logprob (nats) is its own; None: it gives none.
        tokens: its tokenizer; None: not at hand.
        remembered_by_name: durable, but what answers under this name may change: `explain()` says how old answers are.
        generates: goes on from a prompt; False for what only says how likely texts are.
        token_logprobs: whether its answers hold the log-probabilities of their tokens; None: the answers will tell.
        state: for `explain()` and the manifest, how it answers: what is to be expected, and once it has answered, what
            was chosen; None: nothing to say.
    """

    name: str
    source: object
    ask: Ask
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
    ask_async: AskAsync | None = None
    loglikelihood: Ask | None = None
    tokens: Tokens | None = None
    remembered_by_name: bool = False
    generates: bool = True
    token_logprobs: bool | None = None
    state: Callable[[], str] | None = None

    @property
    def capabilities(self) -> tuple[str, ...]:
        """What it can do, as far as that is known before it is asked, in this order.

        `generates`: goes on from a prompt; `scores`: the log-probability of a continuation; `token_logprobs`: those of
        the tokens it generates; `chat`: takes conversations.
        """
        can = {
            "generates": self.generates,
            "scores": self.loglikelihood is not None,
            "token_logprobs": self.token_logprobs,
            "chat": self.chat is not None,
        }
        return tuple(name for name, able in can.items() if able)

    def asked(self, decoding: Mapping[str, Any]) -> Ask:
        """What answers a call with these decoding parameters: `ask`, or `loglikelihood` where they say so."""
        if SCORES not in decoding:
            return self.ask
        assert self.loglikelihood is not None  # the stage `fit` saw to it
        return self.loglikelihood

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Model) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f"Model({self.name!r}: {', '.join(self.capabilities)})"

    def _key(self) -> tuple[str, str | None, object]:
        return self.name, self.version, _source_key(self.source)


def as_answer(given: object, name: str) -> Answer:
    """One answer of the model called `name`, whatever form it has.

    Raises:
        AnswerError: neither text, Answer, nor a mapping with "text"; an exception given as an answer is raised.
    """
    if type(given) is str and given.isascii():
        return Answer(given)
    if isinstance(given, str):
        return Answer(valid_unicode(given))
    if isinstance(given, BaseException):
        raise given
    if isinstance(given, Mapping) and "text" in given:
        given = Answer(**{field: given[field] for field in Answer._fields if field in given})
    if isinstance(given, Answer):
        return _checked(given, name)
    raise AnswerError(f"model {name!r} answered {short(given)}; expected str, Answer or a dict with 'text'.")


def as_results(
    given: object, source: str, count: int, *, item: str = "prompt", result: str = "completion"
) -> list[Any]:
    """Return as a list what a function of several items returned: one result per item.

    Args:
        given: What the function returned.
        source: What the error message calls the function.
        count: The number of items that the function received.
        item: What the error message calls an item.
        result: What the error message calls a result.

    Raises:
        AnswerError: The type does not keep the order of the items, or the number of results is another one.
    """
    listed = None if isinstance(given, Answer) else as_list(given)
    if listed is not None and len(listed) == count:
        return listed
    returned = f"a value of type {type_of(given)}" if listed is None else _counted(len(listed), result)
    raise AnswerError(
        f"{source} returned {returned} for {_counted(count, item)}. Return a list with one {result} per {item}, in the "
        f"order of the {item}s."
    )


def is_plain(given: Sequence[Given]) -> bool:
    """Whether each is text that needs no look: `str`, and nothing but ASCII."""
    return set(map(type, given)) == {str} and all(map(str.isascii, given))  # type: ignore[arg-type]


def as_answers(texts: Sequence[Given]) -> Iterable[Answer]:
    """Plain texts as answers, without the cost of a call for each."""
    nothing = [repeat(None)] * (len(Answer._fields) - 1)
    return map(tuple.__new__, repeat(Answer), zip(texts, *nothing, strict=False))


def as_scored(given: object, pair: Pair, name: str) -> Answer:
    """What `loglikelihood` of the model called `name` gave for one pair: the continuation with its log-probability.

    A number is the log-probability (nats); in a pair of a number and something else, an int is the number of tokens and
    a list the log-probabilities of each; a bool (greedy or not) says nothing here.

    Raises:
        AnswerError: none of these, no Answer and no mapping, or no log-probability: above 0, or not a number.
    """
    if isinstance(given, BaseException):
        raise given
    fields: dict[str, Any] = {}
    if isinstance(given, Answer):
        fields = given._asdict()
    elif isinstance(given, Mapping):
        fields = {field: given[field] for field in Answer._fields if field in given}
    elif isinstance(given, tuple | list) and len(given) == 2:
        fields = {"logprob": given[0]}
        if isinstance(given[1], tuple | list):
            fields["token_logprobs"] = given[1]
        elif isinstance(given[1], int) and not isinstance(given[1], bool):
            fields["output_tokens"] = given[1]
    else:
        fields = {"logprob": given}
    answer = _checked(Answer(**{**fields, "text": pair.continuation}), name)
    if answer.logprob is None and answer.token_logprobs is not None:
        answer = answer._replace(logprob=sum(answer.token_logprobs))
    if answer.logprob is None or not answer.logprob <= _NOT_LIKELIER:
        raise AnswerError(
            f"loglikelihood of model {name!r} gave {short(given)}; expected a log-probability in nats, at most 0, or "
            "one with the number of tokens: (-3.2, 4)."
        )
    return answer


def digest(*parts: str) -> str:
    """sha256 (hex) of the parts."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def _source_key(source: object) -> object:
    if isinstance(source, str | Call):
        return source
    if isinstance(source, types.MethodType):  # made anew by each look at the attribute
        return id(source.__self__), id(source.__func__)
    return tuple(map(id, source)) if isinstance(source, tuple) else id(source)


def _checked(answer: Answer, name: str) -> Answer:
    if not isinstance(answer.text, str):
        raise AnswerError(f"model {name!r} answered with text={short(answer.text)}; expected str.")
    logprobs = answer.token_logprobs
    wrong = [
        field
        for field, kinds in _KINDS.items()
        if (value := getattr(answer, field)) is not None and (not isinstance(value, kinds) or isinstance(value, bool))
    ]
    if logprobs is not None and not all(isinstance(each, float | int) for each in logprobs):
        wrong.append("token_logprobs")
    if wrong:
        raise AnswerError(f"model {name!r} answered with {wrong[0]}={short(getattr(answer, wrong[0]))}.")
    return answer._replace(
        text=valid_unicode(answer.text),
        reasoning=answer.reasoning and valid_unicode(answer.reasoning),
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


def short(given: object) -> str:
    text = safe_repr(given)
    return f"{text if len(text) <= 60 else text[:57] + '…'} ({type_name(type(given))})"
