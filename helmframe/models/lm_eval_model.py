"""Model objects of lm-eval (`lm_eval.api.model.LM`), which run through their own methods."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from helmframe.errors import AnswerError
from helmframe.models.identity import identity
from helmframe.models.model import Completion, Model, Pair, Prompt, Response, Tokens, as_results, as_scored, digest

# Decoding parameter → its name in lm-eval, which has a seed for a whole run only.
_NAMES = {
    "max_tokens": "max_gen_toks",
    "stop": "until",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
}


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
    caller = _Caller(lm, name)
    encodes = callable(getattr(lm, "tok_encode", None))
    window = _attribute(lm, "max_length")
    return Model(
        name=name,
        source=lm,
        generate=caller.generate,
        fingerprint=functools.partial(_fingerprint, lm),
        durable=False,
        takes=frozenset(_NAMES),
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
class _Caller:
    """An LM's methods as the stages call them."""

    lm: Any
    name: str

    def generate(self, prompts: Sequence[Prompt], decoding: Mapping[str, Any]) -> list[Response]:
        parameters = {_NAMES[key]: value for key, value in decoding.items() if key in _NAMES and value is not None}
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


def _fingerprint(lm: object) -> str:
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
