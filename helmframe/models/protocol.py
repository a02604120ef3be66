"""What counts as a model: anything that answers prompts, as one frozen value that the stages can ask."""

import difflib
import functools
import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from helmframe.errors import ArgumentError, CapabilityError, NotAModelError
from helmframe.models import endpoint, event_loop, inspect_model, lm_eval_model, local_model, toy, vllm_model
from helmframe.models.identity import code_identity, identity, is_torch_module
from helmframe.models.model import Given, Model, Pair, Prompt, as_results, as_scored, digest
from helmframe.specs import Call

# Calls at once, at most, where their number follows what the model stands.
MAX_WORKERS = 64
# Seconds for one request of an async function: long enough for a model that thinks, short enough that a run ends.
ASYNC_TIMEOUT = 600.0
DECODING = ("max_tokens", "temperature", "top_p", "top_k", "stop", "seed", "n", "presence_penalty", "frequency_penalty")


def from_any(
    given: object,
    *,
    name: str | None = None,
    version: str | None = None,
    batch: bool | int | None = None,
    workers: int | Literal["auto"] | None = None,
    timeout: float | None = None,
    max_request_length: int | None = None,
) -> Model:
    """Anything that answers, as a `Model`.

    Args:
        given: a function `str -> str` or `list[str] -> list[str]` (told by the annotation of its first parameter;
            unannotated: one prompt), sync or async; an object with `.generate(prompts, **decoding)` and, if it can,
            `.loglikelihood(pairs)` of (context, continuation): a log-probability each, in nats, or (it, tokens), or
            with that alone; a transformers `(model, tokenizer)` pair; a folder in transformers format, or a GGUF file;
            `org/name`; a model of a server (`"openai:name"`, `"http://host:port/v1#name"`); `"vllm:org/name"`; a model
            object of lm-eval or Inspect; a mock model as text (`"oracle()"`); or a `Model`. `hf.models.local`, `.http`
            and `.vllm` say more about how it is loaded or asked.
        name: how tables call it; default the function's, class's or folder's name.
        version: with `name`: you vouch that whatever has this name and version gives the same answers, so they are kept
            beyond the process. Of a server's model: which one answers under that name now.
        batch: True: takes a list of prompts; False: one prompt; a number: a list of at most so many.
        workers: calls at once, each of a sync function in a thread of its own. "auto": as many as it stands, up to 64,
            fewer after "too many requests" or a timeout. Default 1; "auto" for async functions.
        timeout: seconds for one call, then it counts as failed, and is tried once more. A sync function that hangs is
            left behind in its thread. Default none; 600 for async functions; `math.inf` for none there too.
        max_request_length: The most tokens of prompt and output together, as a deployment of HELM has it. With HELM's
            number, prompts are shortened and long texts are split where HELM does it. Default: the model's window, and
            one token more for whole texts.

    Raises:
        NotAModelError: it can't answer; says what can.
        SourceMissingError: no such folder or name; lists the places looked at.
        ArgumentError: an argument that can't be, or a version vouched for other code before.
    """
    _check(name, version, batch, workers, timeout)
    if max_request_length is not None and (
        isinstance(max_request_length, bool) or not isinstance(max_request_length, int) or max_request_length < 1
    ):
        raise ArgumentError(f"model(max_request_length={max_request_length!r}): must be an integer ≥ 1.")
    model = _given(given, batch)
    if name is not None:
        model = replace(model, name=name)
    if workers is not None:
        model = replace(model, workers=MAX_WORKERS if workers == "auto" else workers, adaptive=workers == "auto")
    if timeout is not None:
        model = replace(model, timeout=None if math.isinf(timeout) else float(timeout))
    if batch is not None and not isinstance(batch, bool):
        model = replace(model, batch=batch)
    if max_request_length is not None:
        model = replace(model, max_request_length=max_request_length)
    return model if version is None else _vouched(model, version)


def models_of(said: object) -> tuple[Model, ...]:
    """All who are said to answer: what `from_any` takes, a list of that, or {name: model}.

    Raises:
        ArgumentError: none, or two of one name.
        NotAModelError: one can't answer.
    """
    if isinstance(said, Mapping):
        models = tuple(from_any(each, name=str(name)) for name, each in said.items())
    elif isinstance(said, list):
        models = tuple(from_any(each) for each in said)
    else:
        models = (from_any(said),)
    names = [model.name for model in models]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ArgumentError(
            f"generate(): two models are called {twice[0]!r}. Name them: generate({{'first': …, 'second': …}})."
        )
    if not models:
        raise ArgumentError("generate([]): give at least one model.")
    return models


def check_spelling(said: Iterable[str], models: Sequence[Model]) -> None:
    """That no decoding argument is a known one misspelt: a model that takes any would take it, and nothing come of it.

    Raises:
        ArgumentError: one is; says which was meant.
    """
    known = {*DECODING, *(name for model in models for name in model.takes or ())}
    for name in said:
        # as near as a slip of the keys; min_tokens is a word of its own
        if name not in known and difflib.get_close_matches(name, known, n=1, cutoff=0.85):
            raise ArgumentError.unknown_argument("generate()", name, known)


def is_local_name(said: str) -> bool:
    """Whether it names a folder, a file or a hub model: no address, and no call such as `oracle()`."""
    return not (endpoint.is_address(said) or said.startswith("vllm:") or _CALL.fullmatch(said))


_CALL = re.compile(r"\w+\(.*\)", re.DOTALL)


def _given(given: object, batch: bool | int | None) -> Model:
    if isinstance(given, Model):
        return given
    if isinstance(given, str) and endpoint.is_address(given):
        return endpoint.from_address(given)
    if isinstance(given, str) and given.startswith("local("):
        return local_model.from_text(given)
    if isinstance(given, str) and given.startswith(("vllm:", "vllm(")):
        return vllm_model.from_text(given)
    if isinstance(given, str) and _CALL.fullmatch(given):
        return toy.from_text(given)
    if isinstance(given, str | Path):
        return local_model.local(given)
    if isinstance(given, tuple) and len(given) == 2 and any(map(is_torch_module, given)):
        return local_model.from_pair(*given)
    if is_torch_module(given) and hasattr(given, "generate"):
        raise NotAModelError.of(given, "its tokenizer is missing; give the pair (model, tokenizer)")
    if isinstance(given, type):
        raise NotAModelError.of(given, f"{given.__name__} is a class; give an object of it")
    if lm_eval_model.is_lm(given):
        return lm_eval_model.from_lm(given)
    if inspect_model.is_model(given):
        return inspect_model.from_model(given)
    many = None if batch is None else batch is not False
    if callable(getattr(given, "generate", None)):
        return _from_function(given, given.generate, many, default=True)  # type: ignore[attr-defined]
    if callable(getattr(given, "loglikelihood", None)):
        return _only_scores(given)
    if callable(given):
        return _from_function(given, given, many, default=False)
    raise NotAModelError.of(given)


def _from_function(given: object, function: Callable[..., Any], many: bool | None, *, default: bool) -> Model:
    """A function or method as a model: what it takes is read from its signature."""
    first, takes = _signature(given, function)
    many = _takes_list(first, default) if many is None else many
    name = _name(given)
    asked = _Function(function, name, takes)
    is_async = _is_async(function)
    ask_async = asked.await_list if many else asked.await_each
    scores = getattr(given, "loglikelihood", None)
    return Model(
        name=name,
        source=given,
        ask=asked.ask_list if many else asked.ask_each,
        fingerprint=functools.partial(_fingerprint, function),
        durable=False,
        takes=takes,
        batch=32 if many else 1,
        workers=MAX_WORKERS if is_async else 1,
        adaptive=is_async,
        timeout=ASYNC_TIMEOUT if is_async else None,
        ask_async=ask_async if is_async else None,
        loglikelihood=_Scores(scores, name).ask if callable(scores) else None,
    )


def _only_scores(given: Any) -> Model:
    """An object that says how likely texts are, and generates none."""
    name = _name(given)

    def ask(_: Sequence[Prompt], __: Mapping[str, Any]) -> list[Given]:
        raise CapabilityError(f"model {name!r} generates no text; it has no .generate(prompts).")

    return Model(
        name=name,
        source=given,
        ask=ask,
        fingerprint=functools.partial(_fingerprint, given.loglikelihood),
        durable=False,
        takes=frozenset(),
        loglikelihood=_Scores(given.loglikelihood, name).ask,
        generates=False,
        token_logprobs=False,
    )


@dataclass(frozen=True)
class _Function:
    """A function and what of the decoding parameters it takes."""

    call: Callable[..., Any]
    name: str
    takes: frozenset[str] | None

    def ask_each(self, prompts: Sequence[Prompt], decoding: Mapping[str, Any]) -> list[Given]:
        said = self._taken(decoding)
        return [_settled(self.call(prompt, **said)) for prompt in prompts]

    def ask_list(self, prompts: Sequence[Prompt], decoding: Mapping[str, Any]) -> list[Given]:
        return self._listed(_settled(self.call(list(prompts), **self._taken(decoding))), prompts)

    async def await_each(self, prompts: Sequence[Prompt], decoding: Mapping[str, Any]) -> list[Given]:
        said = self._taken(decoding)
        return [await self.call(prompt, **said) for prompt in prompts]

    async def await_list(self, prompts: Sequence[Prompt], decoding: Mapping[str, Any]) -> list[Given]:
        return self._listed(await self.call(list(prompts), **self._taken(decoding)), prompts)

    def _listed(self, answers: Any, prompts: Sequence[Prompt]) -> list[Given]:
        return as_results(answers, f"model {self.name!r}", len(prompts))

    def _taken(self, decoding: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in decoding.items() if self.takes is None or key in self.takes}


@dataclass(frozen=True)
class _Scores:
    """An object's `loglikelihood(pairs)`."""

    call: Callable[..., Any]
    name: str

    def ask(self, prompts: Sequence[Prompt], _: Mapping[str, Any]) -> list[Given]:
        pairs = [each for each in prompts if isinstance(each, Pair)]
        given = _settled(self.call([tuple(each) for each in pairs]))
        source = f"loglikelihood of model {self.name!r}"
        listed = as_results(given, source, len(pairs), item="pair", result="log-probability")
        return [self._scored(each, pair) for each, pair in zip(listed, pairs, strict=True)]

    def _scored(self, given: object, pair: Pair) -> Given:
        try:
            return as_scored(given, pair, self.name)
        except Exception as error:  # noqa: BLE001 - what the model gave for this pair alone
            return error


def _settled(answer: Any) -> Any:
    """The answer itself; a coroutine, from an async function or a lambda around one, is run first."""
    if type(answer) is str or not inspect.iscoroutine(answer):
        return answer
    return event_loop.run(answer)


def _signature(given: object, function: Callable[..., Any]) -> tuple[object, frozenset[str] | None]:
    """The annotation of the first parameter, and the names of the others; None where it takes any."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except ValueError:  # some builtins have no signature to read
        return inspect.Parameter.empty, frozenset()
    if not parameters or parameters[0].kind not in _POSITIONAL:
        raise NotAModelError.of(given, "it takes no prompt as its first argument")
    others = parameters[1:]
    named = [each for each in others if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
    needed = [each for each in others if each.default is each.empty and each.kind not in _VARIABLE]
    unknown = [each.name for each in needed if each.kind is each.POSITIONAL_ONLY or each.name not in DECODING]
    if unknown:
        raise NotAModelError.of(given, f"it also needs {', '.join(unknown)}; bind it with functools.partial")
    if any(each.kind is each.VAR_KEYWORD for each in parameters):
        return parameters[0].annotation, None
    return parameters[0].annotation, frozenset(each.name for each in named)


_POSITIONAL = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.VAR_POSITIONAL,
)
_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_LIST = re.compile(r"([\w.]+\.)?(list|tuple|sequence|iterable|collection)\b", re.IGNORECASE)


def _takes_list(annotation: object, default: bool) -> bool:
    if annotation is inspect.Parameter.empty:
        return default
    text = annotation if isinstance(annotation, str) else str(getattr(annotation, "__name__", annotation))
    if not isinstance(annotation, str | type):
        text = str(annotation)
    if re.fullmatch(r"(builtins\.)?str", text):
        return False
    return default or _LIST.match(text) is not None


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def _name(given: object) -> str:
    while isinstance(given, functools.partial):
        given = given.func
    for found in (getattr(given, "__name__", None), getattr(given, "name", None)):
        if isinstance(found, str) and found:
            return "lambda" if found == "<lambda>" else found
    return type(given).__name__


def _fingerprint(function: object) -> str:
    return digest("object", identity(function))


_VOUCHED: dict[tuple[str, str], str] = {}


def _vouched(model: Model, version: str) -> Model:
    """The model, durable: its name and version stand for what answers.

    One process must not know two pieces of code under one version: the second is refused.
    """
    if model.remembered_by_name:
        fingerprint = functools.partial(digest, "version", model.fingerprint(), version)
        return replace(model, version=version, fingerprint=fingerprint)
    if model.durable:
        raise ArgumentError(f"model {model.name!r} is remembered by its content; version= is for functions and objects")
    # a method stands for its object's code: which of the others matter depends on what it calls
    code = f"{model.source if isinstance(model.source, Call) else code_identity(_entry(model.source))}"
    if _VOUCHED.setdefault((model.name, version), code) != code:
        said = f"name={model.name!r}, version={version!r}"
        raise ArgumentError(f"{said} stands for other code already; give the new code another version.")
    fingerprint = functools.partial(digest, "vouched", model.name, version)
    return replace(model, durable=True, version=version, fingerprint=fingerprint)


def _entry(source: object) -> object:
    generate = getattr(source, "generate", None)
    return generate if callable(generate) else source


def _check(
    name: str | None,
    version: str | None,
    batch: bool | int | None,
    workers: int | Literal["auto"] | None,
    timeout: float | None,
) -> None:
    for key, text in (("name", name), ("version", version)):
        if text is not None and (not isinstance(text, str) or not text.strip()):
            raise ArgumentError(f"model(): {key}={text!r} should be text.")
    if version is not None and name is None:
        raise ArgumentError("model(): version= needs name= too; the two together stand for what answers.")
    for key, number in (("batch", batch), ("workers", None if isinstance(workers, str) else workers)):
        if number is not None and not isinstance(number, bool) and (not isinstance(number, int) or number < 1):
            raise ArgumentError(f"model(): {key}={number!r} should be a number of at least 1.")
    if isinstance(workers, bool) or (isinstance(workers, str) and workers != "auto"):
        raise ArgumentError(f"model(): workers={workers!r} should be a number of at least 1, or 'auto'.")
    if timeout is not None and (isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout > 0):
        raise ArgumentError(f"model(): timeout={timeout!r} should be a number of seconds above 0.")
