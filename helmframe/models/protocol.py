"""`hf.model`: functions, objects, names and addresses as a `Model`, the frozen value that the stages call."""

import difflib
import functools
import inspect
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import polars as pl

from helmframe._core.cache_files import digest
from helmframe._core.checks import is_integer
from helmframe._core.specs import Call, credential_error
from helmframe.config import find_credential, from_home, has_user, hub_endpoint
from helmframe.errors import ArgumentError, CapabilityError, NotAModelError
from helmframe.models import event_loop, mock
from helmframe.models.identity import code_identity, identity, is_torch_module
from helmframe.models.local_files import WEIGHTS
from helmframe.models.model import Model, Pair, Prompt, Response, as_results, as_scored
from helmframe.models.providers import named, providers

# The maximum of concurrent calls whose number adapts to the model.
MAX_WORKERS = 64
# The limit in seconds of one call of an async function: long enough for a reasoning model, short enough to end a run.
ASYNC_TIMEOUT = 600.0
DECODING = (
    *("max_tokens", "temperature", "top_p", "top_k", "stop", "seed", "n", "presence_penalty", "frequency_penalty"),
    *("reasoning", "json_schema"),
)


def from_any(
    source: object,
    *,
    name: str | None = None,
    version: str | None = None,
    batch: bool | int | None = None,
    workers: int | Literal["auto"] | None = None,
    timeout: float | None = None,
    max_request_length: int | None = None,
) -> Model:
    """Return a function, an object, a name or an address as a `Model`.

    A model is one of these:

    - A function `str -> str` or `list[str] -> list[str]`, sync or async. The annotation of its first parameter
      distinguishes the two; without an annotation it takes one prompt. Its other parameters are decoding parameters.
    - An object with `.generate(prompts, **decoding)`, with `.loglikelihood(pairs)`, or with both. `loglikelihood`
      receives (context, continuation) pairs. It returns a log-probability in nats for each, or a pair of this number
      and the number of tokens.
    - A folder in transformers format, a name `"org/name"`, a GGUF file, or a `(model, tokenizer)` pair.
    - A model of a server: `"openai:name"`, `"http://host:port/v1#name"`, or `"litellm:provider/name"` through litellm.
    - A vLLM model, `"vllm:org/name"`.
    - A model object of lm-eval or Inspect, a mock model as text (`"oracle()"`), or a `Model`.

    `hf.models.local`, `hf.models.http`, `hf.models.batch` and `hf.models.vllm` have more options.

    >>> def shout(prompt: str) -> str:
    ...     return prompt.upper()
    >>> from_any(shout, version="1", name="shout", workers=4)
    Model('shout': generates)

    Args:
        source: The model.
        name: The name in tables. By default the name of the function, class or folder.
        version: The version, which needs `name`. Completions are then cached beyond the process: you declare that this
            name and version always identify the same model. For a server's model, the version that it serves now.
        batch: True if the function takes a list of prompts, False if it takes one prompt; a number is the maximum
            length of the list.
        workers: The number of concurrent calls. Each call of a sync function has its own thread. "auto" adapts the
            number to the model, up to 64, and lowers it after "too many requests" or a timeout. The default is "auto"
            for async functions, else 1.
        timeout: The limit of one call in seconds. A call that takes longer fails, and is retried once. A sync function
            that hangs is abandoned in its thread. The default is 600 for async functions (`math.inf` removes it), else
            no limit.
        max_request_length: The maximum of prompt and output tokens together, as in a model deployment of HELM. With
            HELM's number, prompts are truncated and long texts are split as in HELM. By default the model's window, and
            one token more for whole texts.

    Raises:
        NotAModelError: The value isn't a model; the message lists what is.
        SourceMissingError: The folder or name was not found; the message lists the searched locations.
        ArgumentError: An argument is invalid, or the version belongs to other code already.
    """
    _check(name, version, batch, workers, timeout)
    if max_request_length is not None and (not is_integer(max_request_length) or max_request_length < 1):
        raise ArgumentError(f"model(max_request_length={max_request_length!r}): must be an integer ≥ 1.")
    model = _model_of(source, batch)
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
    return model if version is None else _with_version(model, version)


def models_of(spec: object) -> tuple[Model, ...]:
    """Return all models of a spec: one model as in `from_any`, a list of models, or {name: model}.

    Raises:
        ArgumentError: There is no model, or two models have the same name.
        NotAModelError: A value isn't a model.
    """
    if isinstance(spec, Mapping):
        models = tuple(from_any(source, name=str(name)) for name, source in spec.items())
    elif isinstance(spec, list):
        models = tuple(from_any(source) for source in spec)
    else:
        models = (from_any(spec),)
    names = [model.name for model in models]
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        raise ArgumentError(
            f"generate(): two models have the name {duplicates[0]!r}. Name them: generate({{'a': …, 'b': …}})."
        )
    if not models:
        raise ArgumentError("generate([]): at least one model is required.")
    return models


def check_spelling(
    names: Iterable[str], models: Sequence[Model], *, where: str = "generate()", others: Iterable[str] = ()
) -> None:
    """Check that no decoding argument is misspelt: a model that takes any argument would silently ignore it.

    Args:
        names: The names of the arguments.
        models: The models.
        where: The function that received the arguments, for the message.
        others: The function's other parameters.

    Raises:
        ArgumentError: An argument is close to a known one; the message suggests it.
    """
    parameters = {*DECODING, *(name for model in models for name in model.takes or ()), *others}
    for name in names:
        # only as similar as a typing error: min_tokens is another parameter than max_tokens
        if name not in parameters and difflib.get_close_matches(name, parameters, n=1, cutoff=0.85):
            raise ArgumentError.unknown_argument(where, name, parameters)


def is_local_name(text: str) -> bool:
    """Return whether a text names a folder, a file or a Hub model, not an address or a call such as `oracle()`."""
    return not (_names_server(text) or text.startswith("vllm:") or _CALL.fullmatch(_without_module(text)))


def _without_module(text: str) -> str:
    """Return a call as plans write it: `hf.models.noisy(0.6)` → `noisy(0.6)`."""
    return re.sub(r"^(?:hf|helmframe)\.models\.(?=\w+\()", "", text)


def host_of(model: Model) -> str | None:
    """Return the host that a model's requests are sent to, or its files come from; None for a model of this process."""
    source = model.source
    if isinstance(source, Call):
        kind, name = source.name, str(dict(source.arguments).get("model", ""))
    elif isinstance(source, str):
        kind, name = "http" if _names_server(source) else "local", source.removeprefix("vllm:")
    else:
        return None
    if name.startswith("litellm:"):
        return f"{name.removeprefix('litellm:').partition('/')[0]} through litellm"
    if kind in ("http", "batch"):
        from helmframe.models import endpoint

        server = endpoint.server_of(model)
        return None if server is None else urlsplit(server.endpoint.url).netloc
    if kind not in ("local", "vllm"):
        return None
    roots = [Path(), *([from_home(os.environ["HELMFRAME_MODELS"])] if os.environ.get("HELMFRAME_MODELS") else [])]
    is_here = any((root / path).exists() for root in roots for path in (from_home(name), Path(name).name))
    return None if is_here else urlsplit(hub_endpoint()).hostname


_CALL = re.compile(r"\w+\(.*\)", re.DOTALL)
# The starts of texts that name a model of a server.
_ADDRESSES = ("http://", "https://", "http(", "litellm:")


def _names_server(text: str) -> bool:
    # the scheme of an address may have capitals
    return text[:8].lower().startswith(_ADDRESSES) or text.startswith(_ADDRESSES) or named(text) is not None


def _model_of_text(source: str | Path) -> Model:
    """Return the model of an address, a call, or a folder's name; its backend is imported here."""
    if isinstance(source, str):
        source = _without_module(source)
    if isinstance(source, str) and _names_server(source):
        from helmframe.models import endpoint

        return endpoint.from_address(source)
    if isinstance(source, str) and (has_user(source) or find_credential("model", source)):
        raise credential_error("model()", "the name")
    if isinstance(source, str) and source.startswith("batch("):
        from helmframe.models import batch_api

        return batch_api.from_text(source)
    if isinstance(source, str) and source.startswith(("vllm:", "vllm(")):
        from helmframe.models import vllm_model

        return vllm_model.from_text(source)
    if isinstance(source, str) and _CALL.fullmatch(source) and not source.startswith("local("):
        return mock.from_text(source)
    from helmframe.models import local_model

    if isinstance(source, str) and source.startswith("local("):
        return local_model.from_text(source)
    return local_model.local(source)


def _model_of(source: object, batch: bool | int | None) -> Model:
    if isinstance(source, Model):
        return source
    if isinstance(source, str | Path):
        return _model_of_text(source)
    if isinstance(source, tuple) and len(source) == 2 and any(map(is_torch_module, source)):
        from helmframe.models import local_model

        return local_model.from_pair(*source)
    if is_torch_module(source) and hasattr(source, "generate"):
        raise NotAModelError.of(source, "its tokenizer is missing; pass the pair (model, tokenizer)")
    if isinstance(source, type):
        raise NotAModelError.of(source, "it is a class; pass an instance")
    packages = {cls.__module__.partition(".")[0] for cls in type(source).__mro__}
    if packages & {"lm_eval", "inspect_ai"}:
        from helmframe.models import harness_models

        if harness_models.is_lm(source):
            return harness_models.from_lm(source)
        if harness_models.is_inspect_model(source):
            return harness_models.from_inspect_model(source)
    takes_list = None if batch is None else batch is not False
    if callable(getattr(source, "generate", None)):
        return _from_function(source, source.generate, takes_list, default=True)  # type: ignore[attr-defined]
    if callable(getattr(source, "loglikelihood", None)):
        return _only_scores(source)
    if callable(source):
        return _from_function(source, source, takes_list, default=False)
    raise NotAModelError.of(source)


def _from_function(source: object, function: Callable[..., Any], takes_list: bool | None, *, default: bool) -> Model:
    """Return a function or method as a model; its signature shows the decoding parameters that it takes."""
    first, takes = _signature(source, function)
    takes_list = _takes_list(first, default) if takes_list is None else takes_list
    name = _name(source)
    wrapped = _Function(function, name, takes)
    is_async = _is_async(function)
    generate_async = wrapped.run_list_async if takes_list else wrapped.run_prompts_async
    loglikelihood = getattr(source, "loglikelihood", None)
    return Model(
        name=name,
        source=source,
        generate=wrapped.run_list if takes_list else wrapped.run_prompts,
        fingerprint=functools.partial(_fingerprint, function),
        durable=False,
        takes=takes,
        batch=32 if takes_list else 1,
        workers=MAX_WORKERS if is_async else 1,
        adaptive=is_async,
        timeout=ASYNC_TIMEOUT if is_async else None,
        generate_async=generate_async if is_async else None,
        loglikelihood=_Scores(loglikelihood, name).run if callable(loglikelihood) else None,
    )


def _only_scores(source: Any) -> Model:
    """Return an object that only computes log-probabilities as a model."""
    name = _name(source)

    def refuse(_: Sequence[Prompt], __: Mapping[str, Any]) -> list[Response]:
        raise CapabilityError(f"Model {name!r} doesn't generate text: it has no .generate(prompts).")

    return Model(
        name=name,
        source=source,
        generate=refuse,
        fingerprint=functools.partial(_fingerprint, source.loglikelihood),
        durable=False,
        takes=frozenset(),
        loglikelihood=_Scores(source.loglikelihood, name).run,
        generates=False,
        token_logprobs=False,
    )


@dataclass(frozen=True)
class _Function:
    """A function as the stages call it, and the decoding parameters that it takes."""

    call: Callable[..., Any]
    name: str
    takes: frozenset[str] | None

    def run_prompts(self, prompts: Sequence[Prompt], decoding: Mapping[str, Any]) -> list[Response]:
        arguments = self._taken(decoding)
        return [_resolved(self.call(prompt, **arguments)) for prompt in prompts]

    def run_list(self, prompts: Sequence[Prompt], decoding: Mapping[str, Any]) -> list[Response]:
        return self._checked(_resolved(self.call(list(prompts), **self._taken(decoding))), prompts)

    async def run_prompts_async(self, prompts: Sequence[Prompt], decoding: Mapping[str, Any]) -> list[Response]:
        arguments = self._taken(decoding)
        return [await self.call(prompt, **arguments) for prompt in prompts]

    async def run_list_async(self, prompts: Sequence[Prompt], decoding: Mapping[str, Any]) -> list[Response]:
        return self._checked(await self.call(list(prompts), **self._taken(decoding)), prompts)

    def _checked(self, responses: Any, prompts: Sequence[Prompt]) -> list[Response]:
        return as_results(responses, f"Model {self.name!r}", len(prompts))

    def _taken(self, decoding: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in decoding.items() if self.takes is None or key in self.takes}


@dataclass(frozen=True)
class _Scores:
    """An object's `loglikelihood(pairs)` as the stages call it."""

    call: Callable[..., Any]
    name: str

    def run(self, prompts: Sequence[Prompt], _: Mapping[str, Any]) -> list[Response]:
        pairs = [prompt for prompt in prompts if isinstance(prompt, Pair)]
        returned = _resolved(self.call(list(map(tuple, pairs))))
        source = f"loglikelihood of model {self.name!r}"
        results = as_results(returned, source, len(pairs), item="pair", result="log-probability")
        return [self._scored(result, pair) for result, pair in zip(results, pairs, strict=True)]

    def _scored(self, result: object, pair: Pair) -> Response:
        try:
            return as_scored(result, pair, self.name)
        except Exception as error:  # noqa: BLE001 - the result of this pair alone is invalid
            return error


def _resolved(result: Any) -> Any:
    """Return a result, after running it if it is a coroutine."""
    if type(result) is str or not inspect.iscoroutine(result):
        return result
    return event_loop.run(result)


def _signature(source: object, function: Callable[..., Any]) -> tuple[object, frozenset[str] | None]:
    """Return the annotation of the first parameter, and the names of the others; None if the function takes any."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except ValueError:  # some builtins have no signature to read
        return inspect.Parameter.empty, frozenset()
    if not parameters or parameters[0].kind not in _POSITIONAL:
        raise NotAModelError.of(source, "its first argument must be a prompt")
    decoding = parameters[1:]
    keywords = [
        parameter
        for parameter in decoding
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    ]
    required = [
        parameter for parameter in decoding if parameter.default is parameter.empty and parameter.kind not in _VARIABLE
    ]
    unknown = [
        parameter.name
        for parameter in required
        if parameter.kind is parameter.POSITIONAL_ONLY or parameter.name not in DECODING
    ]
    if unknown:
        raise NotAModelError.of(
            source, f"it also needs {', '.join(unknown)}; bind extra parameters with functools.partial"
        )
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return parameters[0].annotation, None
    return parameters[0].annotation, frozenset(parameter.name for parameter in keywords)


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


def _name(source: object) -> str:
    while isinstance(source, functools.partial):
        source = source.func
    for name in (getattr(source, "__name__", None), getattr(source, "name", None)):
        if isinstance(name, str) and name:
            return "lambda" if name == "<lambda>" else name
    return type(source).__name__


def _fingerprint(function: object) -> str:
    return digest("object", identity(function))


_declared_versions: dict[tuple[str, str], str] = {}


def _with_version(model: Model, version: str) -> Model:
    """Return the model as durable: name and version identify its completions.

    Raises:
        ArgumentError: The name and version belong to other code in this process, or the model has an identity already.
    """
    if model.remembered_by_name:
        fingerprint = functools.partial(digest, "version", model.fingerprint(), version)
        return replace(model, version=version, fingerprint=fingerprint)
    if model.durable:
        raise ArgumentError(
            f"model(version={version!r}): model {model.name!r} is identified by its content. Remove version."
        )
    # the method represents its object, because only methods that it calls matter
    code = f"{model.source if isinstance(model.source, Call) else code_identity(_entry(model.source))}"
    if _declared_versions.setdefault((model.name, version), code) != code:
        declared = f"name={model.name!r}, version={version!r}"
        raise ArgumentError(f"model({declared}): the version belongs to other code already. Choose another version.")
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
            raise ArgumentError(f"model({key}={text!r}): {key} must be non-empty text.")
        if find_credential(key, text) is not None:
            raise credential_error("model()", key)
    if version is not None and name is None:
        raise ArgumentError(f"model(version={version!r}): version needs name=… too; together they identify the model.")
    for key, number in (("batch", batch), ("workers", None if isinstance(workers, str) else workers)):
        if number is not None and not isinstance(number, bool) and (not isinstance(number, int) or number < 1):
            raise ArgumentError(f"model({key}={number!r}): {key} must be an integer ≥ 1.")
    if isinstance(workers, bool) or (isinstance(workers, str) and workers != "auto"):
        raise ArgumentError(f"model(workers={workers!r}): workers must be an integer ≥ 1, or 'auto'.")
    if timeout is not None and (isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout > 0):
        raise ArgumentError(f"model(timeout={timeout!r}): timeout must be a number of seconds > 0.")


_LISTING = {"name": pl.String, "kind": pl.String, "arguments": pl.String, "description": pl.String}


def list_models() -> pl.DataFrame:
    """Return the functions of `hf.models`, and the checkpoints on this machine.

    Functions, objects, names on the Hub and addresses of servers are models too; see `hf.model`.

    Returns:
        One row per model: name, kind, arguments (with defaults) and description. The kind is "mock" (predictable
        completions), "backend" (runs a checkpoint, or calls a server), "provider" (`"NAME:model"` is a model of this
        server) or "checkpoint" (a folder in HELMFRAME_MODELS).

    >>> list_models().filter(kind="mock")["name"].to_list()
    ['echo', 'noisy', 'oracle', 'replay']
    """
    from helmframe.models.batch_api import batch
    from helmframe.models.endpoint import http
    from helmframe.models.local_model import local
    from helmframe.models.vllm_model import vllm

    listed: dict[str, tuple[Callable[..., Model], ...]] = {
        "mock": (mock.echo, mock.noisy, mock.oracle, mock.replay),
        "backend": (batch, http, local, vllm),
    }
    rows = [_function_row(kind, function) for kind, functions in listed.items() for function in functions]
    servers = [
        {
            "name": f"{name}:",
            "kind": "provider",
            "arguments": "",
            "description": f"a server at {provider.url}" + (f"; its key is in {provider.key}" if provider.key else ""),
        }
        for name, provider in providers().items()
    ]
    servers.append(
        {
            "name": "litellm:",
            "kind": "provider",
            "arguments": "",
            "description": "any provider of the package litellm, as litellm:provider/model",
        }
    )
    return pl.DataFrame([*rows, *servers, *map(_checkpoint_row, _checkpoints())], schema=_LISTING)


def _function_row(kind: str, function: Callable[..., Model]) -> dict[str, str]:
    signature = inspect.signature(function)
    arguments = ", ".join(
        name if parameter.default is parameter.empty else f"{name}={parameter.default!r}"
        for name, parameter in signature.parameters.items()
    )
    description = (inspect.getdoc(function) or "").partition("\n")[0]
    return {"name": function.__name__, "kind": kind, "arguments": arguments, "description": description}


def _checkpoint_row(folder: Path) -> dict[str, str]:
    return {"name": str(folder), "kind": "checkpoint", "arguments": "", "description": "a transformers checkpoint"}


def _checkpoints() -> list[Path]:
    """Return the folders of models below $HELMFRAME_MODELS: `name`, or `org/name`."""
    root = os.environ.get("HELMFRAME_MODELS")
    if not root:
        return []
    folder = from_home(root)
    configs = [config for pattern in ("*/config.json", "*/*/config.json") for config in folder.glob(pattern)]
    folders = sorted({config.parent for config in configs})
    return [folder for folder in folders if any(any(folder.glob(pattern)) for pattern in WEIGHTS)]
