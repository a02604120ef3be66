"""Model objects of lm-eval (`lm_eval.api.model.LM`) and Inspect (`inspect_ai.model.get_model(…)`), as models."""

import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from helmframe._core.cache_files import digest
from helmframe.errors import AnswerError
from helmframe.models import event_loop
from helmframe.models.identity import identity
from helmframe.models.model import Completion, Model, Pair, Prompt, Response, Tokens, as_results, as_scored
from helmframe.models.prompts import as_messages, as_prompt

# Decoding parameter → its name in lm-eval, which has a seed for a whole run only.
_LM_NAMES = {
    "max_tokens": "max_gen_toks",
    "stop": "until",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
}
# The maximum of concurrent calls; Inspect also limits each provider.
MAX_WORKERS = 64
# The limit of one call in seconds.
TIMEOUT = 600.0
# Decoding parameter → its name in Inspect's GenerateConfig.
_INSPECT_NAMES = {
    **{name: name for name in ("max_tokens", "temperature", "top_p", "top_k", "seed")},
    **{name: name for name in ("presence_penalty", "frequency_penalty")},
    "stop": "stop_seqs",
}
_ENDS = {"max_tokens": "length", "model_length": "length", "unknown": None}


def is_lm(value: object) -> bool:
    """Return whether an object is an LM of lm-eval, by its class names; the package is not imported for this."""
    return any((cls.__module__, cls.__name__) == ("lm_eval.api.model", "LM") for cls in type(value).__mro__)


def from_lm(lm: Any) -> Model:
    """Return the model of an lm-eval model object.

    `generate_until` generates, and `loglikelihood` scores. lm-eval counts white space at the end of the context to the
    continuation; the local engine does so only for shared tokens. The object's window, token counts and chat template
    are used if it has them. It returns no log-probabilities of generated tokens. Its completions are stored with their
    run.
    """
    name = _text(lm, "pretrained") or _text(lm, "model") or type(lm).__name__
    caller = _LmCaller(lm, name)
    encodes = callable(getattr(lm, "tok_encode", None))
    window = _attribute(lm, "max_length")
    return Model(
        name=name,
        source=lm,
        generate=caller.generate,
        fingerprint=functools.partial(_lm_fingerprint, lm),
        durable=False,
        takes=frozenset(_LM_NAMES),
        batch=64,
        window=window if encodes and isinstance(window, int) else None,
        count_tokens=caller.count_tokens if encodes else None,
        chat=caller.chat if _attribute(_attribute(lm, "tokenizer"), "chat_template") else None,
        loglikelihood=caller.loglikelihood,
        tokens=Tokens(caller.encode, caller.decode, caller.prefix) if encodes and hasattr(lm, "tok_decode") else None,
        token_logprobs=False,
        note="called through lm-eval, which truncates a prompt longer than its window on the left",
    )


@dataclass(frozen=True)
class _LmCaller:
    """An LM's methods as the stages call them."""

    lm: Any
    name: str

    def generate(self, prompts: Sequence[Prompt], decoding: Mapping[str, Any]) -> list[Response]:
        parameters = {
            _LM_NAMES[key]: value for key, value in decoding.items() if key in _LM_NAMES and value is not None
        }
        stops = parameters.pop("until", None) or []
        temperature = float(parameters.get("temperature") or 0)
        # lm-eval samples by default if a temperature is set
        arguments = {
            **parameters,
            "until": [stops] if isinstance(stops, str) else list(stops),
            "do_sample": temperature > 0,
        }
        if temperature == 0:
            arguments = {key: value for key, value in arguments.items() if key not in ("temperature", "top_p", "top_k")}
        return self._call("generate_until", [(str(prompt), dict(arguments)) for prompt in prompts])

    def loglikelihood(self, prompts: Sequence[Prompt], _: Mapping[str, Any]) -> list[Response]:
        pairs = [prompt for prompt in prompts if isinstance(prompt, Pair)]
        results = iter(self._call("loglikelihood", [tuple(pair) for pair in pairs if pair.continuation]))
        return [
            self._scored(next(results), pair) if pair.continuation else Completion("", output_tokens=0)
            for pair in pairs
        ]

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(self.lm.tok_encode(text)) for text in texts]

    def chat(self, turns: Sequence[Mapping[str, str]], **_: object) -> str:
        return str(self.lm.apply_chat_template([dict(turn) for turn in turns]))

    def encode(self, text: str) -> list[int]:
        return list(self.lm.tok_encode(text, add_special_tokens=False))

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.lm.tok_decode(list(ids), skip_special_tokens=False))

    def prefix(self) -> str:
        return self.decode([self.lm.prefix_token_id])

    def _call(self, method: str, requests: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Return the results of a method of the LM for requests in lm-eval's format."""
        instance = import_module("lm_eval.api.instance").Instance
        rows = [
            instance(request_type=method, doc={}, arguments=arguments, idx=index)
            for index, arguments in enumerate(requests)
        ]
        function: Callable[..., Any] = getattr(self.lm, method)
        quiet = {"disable_tqdm": True} if "disable_tqdm" in inspect.signature(function).parameters else {}
        if not rows:
            return []
        return as_results(
            function(rows, **quiet), f"{method} of model {self.name!r}", len(rows), item="request", result="result"
        )

    def _scored(self, result: object, pair: Pair) -> Response:
        try:
            return as_scored(result, pair, self.name)
        except AnswerError as error:
            return error


def _lm_fingerprint(lm: object) -> str:
    return digest("lm-eval", identity(lm))


def _text(lm: object, name: str) -> str:
    value = _attribute(lm, name)
    return value if isinstance(value, str) else ""


def _attribute(lm: object, name: str) -> Any:
    """Return an attribute; None if it is missing or a property that raises."""
    try:
        return getattr(lm, name, None)
    except (NotImplementedError, OSError, ValueError, RuntimeError):
        return None


def is_inspect_model(value: object) -> bool:
    """Return whether an object is a Model of Inspect, by its class names; the package is not imported for this."""
    return any((cls.__module__, cls.__name__) == ("inspect_ai.model._model", "Model") for cls in type(value).__mro__)


def from_inspect_model(model: Any) -> Model:
    """Return the model of an Inspect model object.

    A plain prompt is sent as one user message, and a conversation as its messages. The model does not score
    continuations. It returns log-probabilities of generated tokens if its configuration requests them:
    `get_model(…, config=GenerateConfig(logprobs=True))`. Its completions are stored with their run.
    """
    caller = _InspectCaller(model)
    has_logprobs = getattr(model.config, "logprobs", None)
    return Model(
        name=str(model),
        source=model,
        generate=caller.generate,
        fingerprint=functools.partial(_inspect_fingerprint, model),
        durable=False,
        takes=frozenset({*_INSPECT_NAMES, "reasoning"}),
        only_chats=True,
        batch=1,
        workers=MAX_WORKERS,
        adaptive=True,
        timeout=TIMEOUT,
        chat=as_prompt,
        generate_async=caller.generate_async,
        token_logprobs=None if has_logprobs else False,
        note="called through Inspect, which retries by itself",
    )


@dataclass(frozen=True)
class _InspectCaller:
    """An Inspect model's `generate` as the stages call it."""

    model: Any

    def generate(self, prompts: Sequence[Prompt], decoding: Mapping[str, Any]) -> Sequence[Response]:
        return list(event_loop.run(self.generate_async(prompts, decoding)))

    async def generate_async(self, prompts: Sequence[Prompt], decoding: Mapping[str, Any]) -> Sequence[Response]:
        parameters = {
            _INSPECT_NAMES[key]: value for key, value in decoding.items() if key in _INSPECT_NAMES and value is not None
        }
        stops = parameters.pop("stop_seqs", None) or []
        if stops:
            parameters["stop_seqs"] = [stops] if isinstance(stops, str) else list(stops)
        reasoning = decoding.get("reasoning")
        if isinstance(reasoning, str) or reasoning is False:
            parameters["reasoning_effort"] = reasoning or "none"
        elif reasoning:
            parameters["reasoning_tokens"] = reasoning
        config = import_module("inspect_ai.model").GenerateConfig(**parameters)
        return [_response(await self.model.generate(_input(str(prompt)), config=config)) for prompt in prompts]


def _input(prompt: str) -> Any:
    turns = as_messages(prompt)
    if turns is None:
        return prompt
    package = import_module("inspect_ai.model")
    kinds = {
        "system": package.ChatMessageSystem,
        "user": package.ChatMessageUser,
        "assistant": package.ChatMessageAssistant,
    }
    return [kinds[turn["role"]](content=turn["content"]) for turn in turns]


def _response(output: Any) -> Response:
    if output.error:
        return RuntimeError(f"the model returned an error: {output.error}")
    usage = output.usage
    read = getattr(usage, "input_tokens_cache_read", None) or 0
    wrote = getattr(usage, "input_tokens_cache_write", None) or 0
    logprobs = _logprobs(output)
    return Completion(
        output.completion,
        reasoning=_reasoning(output),
        logprob=None if logprobs is None else math.fsum(logprobs),
        token_logprobs=logprobs,
        finish_reason=_ENDS.get(output.stop_reason, output.stop_reason),
        prompt_tokens=None if usage is None else usage.input_tokens + read + wrote,
        output_tokens=None if usage is None else usage.output_tokens,
        reasoning_tokens=getattr(usage, "reasoning_tokens", None),
        cached_prompt_tokens=getattr(usage, "input_tokens_cache_read", None),
    )


def _reasoning(output: Any) -> str | None:
    content = "" if output.empty else output.message.content
    parts = [] if isinstance(content, str) else [part for part in content if part.type == "reasoning"]
    return "\n".join(part.reasoning for part in parts) or None


def _logprobs(output: Any) -> tuple[float, ...] | None:
    logprobs = output.choices[0].logprobs if output.choices else None
    return (
        tuple(float(token.logprob) for token in logprobs.content) if logprobs is not None and logprobs.content else None
    )


def _inspect_fingerprint(model: Any) -> str:
    config = model.config.model_dump_json()
    return digest("inspect", str(model), config, identity(model))
