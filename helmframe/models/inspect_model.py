"""A model object of Inspect (`inspect_ai.model.get_model(…)`), asked through its own `generate`."""

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

# Calls at once, at most; Inspect has limits of its own for each provider.
MAX_WORKERS = 64
# Seconds for one call.
TIMEOUT = 600.0
# Decoding parameters as Inspect's GenerateConfig calls them.
_NAMES = {
    **{name: name for name in ("max_tokens", "temperature", "top_p", "top_k", "seed")},
    **{name: name for name in ("presence_penalty", "frequency_penalty")},
    "stop": "stop_seqs",
}
_ENDS = {"max_tokens": "length", "model_length": "length", "unknown": None}


def is_model(given: object) -> bool:
    """Whether it is a Model of Inspect, told by the names of its classes: the package is not imported for that."""
    return any((each.__module__, each.__name__) == ("inspect_ai.model._model", "Model") for each in type(given).__mro__)


def from_model(given: Any) -> Model:
    """The model, as helmframe asks it: a plain prompt is one message of the user, a conversation its messages.

    It gives no log-probabilities of given texts, and those of what it generates where its own configuration asks for
    them: `get_model(…, config=GenerateConfig(logprobs=True))`. Its completions are stored with their run.
    """
    asked = _Asked(given)
    wants = getattr(given.config, "logprobs", None)
    return Model(
        name=str(given),
        source=given,
        generate=asked.ask,
        fingerprint=functools.partial(_fingerprint, given),
        durable=False,
        takes=frozenset(_NAMES),
        batch=1,
        workers=MAX_WORKERS,
        adaptive=True,
        timeout=TIMEOUT,
        chat=as_prompt,
        generate_async=asked.ask_async,
        token_logprobs=None if wants else False,
        note="asked through Inspect, which tries again by itself",
    )


@dataclass(frozen=True)
class _Asked:
    """An Inspect model's `generate` as the stages call it."""

    model: Any

    def ask(self, prompts: Sequence[Prompt], decoding: Mapping[str, Any]) -> Sequence[Response]:
        return list(event_loop.run(self.ask_async(prompts, decoding)))

    async def ask_async(self, prompts: Sequence[Prompt], decoding: Mapping[str, Any]) -> Sequence[Response]:
        said = {_NAMES[key]: value for key, value in decoding.items() if key in _NAMES and value is not None}
        stops = said.pop("stop_seqs", None) or []
        if stops:
            said["stop_seqs"] = [stops] if isinstance(stops, str) else list(stops)
        config = import_module("inspect_ai.model").GenerateConfig(**said)
        return [_answer(await self.model.generate(_input(str(prompt)), config=config)) for prompt in prompts]


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
    return [kinds[each["role"]](content=each["content"]) for each in turns]


def _answer(output: Any) -> Response:
    if output.error:
        return RuntimeError(f"the model answered with an error: {output.error}")
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
    )


def _reasoning(output: Any) -> str | None:
    content = "" if output.empty else output.message.content
    parts = [] if isinstance(content, str) else [each for each in content if each.type == "reasoning"]
    return "\n".join(each.reasoning for each in parts) or None


def _logprobs(output: Any) -> tuple[float, ...] | None:
    found = output.choices[0].logprobs if output.choices else None
    return tuple(float(each.logprob) for each in found.content) if found is not None and found.content else None


def _fingerprint(given: Any) -> str:
    config = given.config.model_dump_json()
    return digest("inspect", str(given), config, identity(given))
