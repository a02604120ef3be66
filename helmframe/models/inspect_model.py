"""Model objects of Inspect (`inspect_ai.model.get_model(…)`), which run through their own `generate`."""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from helmframe.models import event_loop
from helmframe.models.identity import identity
from helmframe.models.model import Completion, Model, Prompt, Response, digest
from helmframe.models.prompts import as_messages, as_prompt

# The maximum of concurrent calls; Inspect also limits each provider.
MAX_WORKERS = 64
# The limit of one call in seconds.
TIMEOUT = 600.0
# Decoding parameter → its name in Inspect's GenerateConfig.
_NAMES = {
    **{name: name for name in ("max_tokens", "temperature", "top_p", "top_k", "seed")},
    **{name: name for name in ("presence_penalty", "frequency_penalty")},
    "stop": "stop_seqs",
}
_ENDS = {"max_tokens": "length", "model_length": "length", "unknown": None}


def is_model(value: object) -> bool:
    """Return whether an object is a Model of Inspect, by its class names; the package is not imported for this."""
    return any((cls.__module__, cls.__name__) == ("inspect_ai.model._model", "Model") for cls in type(value).__mro__)


def from_model(model: Any) -> Model:
    """Return the model of an Inspect model object.

    A plain prompt is sent as one user message, and a conversation as its messages. The model does not score
    continuations. It returns log-probabilities of generated tokens if its configuration requests them:
    `get_model(…, config=GenerateConfig(logprobs=True))`. Its completions are stored with their run.
    """
    caller = _Caller(model)
    has_logprobs = getattr(model.config, "logprobs", None)
    return Model(
        name=str(model),
        source=model,
        generate=caller.generate,
        fingerprint=functools.partial(_fingerprint, model),
        durable=False,
        takes=frozenset({*_NAMES, "reasoning"}),
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
class _Caller:
    """An Inspect model's `generate` as the stages call it."""

    model: Any

    def generate(self, prompts: Sequence[Prompt], decoding: Mapping[str, Any]) -> Sequence[Response]:
        return list(event_loop.run(self.generate_async(prompts, decoding)))

    async def generate_async(self, prompts: Sequence[Prompt], decoding: Mapping[str, Any]) -> Sequence[Response]:
        parameters = {_NAMES[key]: value for key, value in decoding.items() if key in _NAMES and value is not None}
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
        cached_prompt_tokens=getattr(usage, "input_tokens_cache_read", None),
        reasoning_tokens=getattr(usage, "reasoning_tokens", None),
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


def _fingerprint(model: Any) -> str:
    config = model.config.model_dump_json()
    return digest("inspect", str(model), config, identity(model))
