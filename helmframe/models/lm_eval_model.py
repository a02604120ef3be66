"""A model object of lm-eval (`lm_eval.api.model.LM`: HFLM, vLLM, API clients, …), asked through its own methods."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from helmframe.errors import AnswerError
from helmframe.models.identity import identity
from helmframe.models.model import Completion, Model, Pair, Prompt, Response, Tokens, as_results, as_scored, digest

# Decoding parameters as lm-eval calls them. A seed it has for a whole run only.
_NAMES = {
    "max_tokens": "max_gen_toks",
    "stop": "until",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
}


def is_lm(given: object) -> bool:
    """Whether it is an LM of lm-eval, told by the names of its classes: the package is not imported for that."""
    return any((each.__module__, each.__name__) == ("lm_eval.api.model", "LM") for each in type(given).__mro__)


def from_lm(given: Any) -> Model:
    """The LM as a model.

    It generates by `generate_until` and scores by `loglikelihood`, which counts white space at a context's end to the
    continuation; the local engine does so where they share a token. Window, token counts and chat template are used
    where it has them. It gives no log-probabilities of what it generates. Its completions are stored with their run.
    """
    name = _text(given, "pretrained") or _text(given, "model") or type(given).__name__
    asked = _Asked(given, name)
    encodes = callable(getattr(given, "tok_encode", None))
    window = _attribute(given, "max_length")
    return Model(
        name=name,
        source=given,
        generate=asked.ask,
        fingerprint=functools.partial(_fingerprint, given),
        durable=False,
        takes=frozenset(_NAMES),
        batch=64,
        window=window if encodes and isinstance(window, int) else None,
        count_tokens=asked.count_tokens if encodes else None,
        chat=asked.chat if _attribute(_attribute(given, "tokenizer"), "chat_template") else None,
        loglikelihood=asked.loglikelihood,
        tokens=Tokens(asked.encode, asked.decode, asked.prefix) if encodes and hasattr(given, "tok_decode") else None,
        token_logprobs=False,
        note="asked through lm-eval, which cuts a prompt longer than its window on the left",
    )


@dataclass(frozen=True)
class _Asked:
    """An LM's methods as the stages call them."""

    lm: Any
    name: str

    def ask(self, prompts: Sequence[Prompt], decoding: Mapping[str, Any]) -> list[Response]:
        said = {_NAMES[key]: value for key, value in decoding.items() if key in _NAMES and value is not None}
        stops = said.pop("until", None) or []
        temperature = float(said.get("temperature") or 0)
        # its default is to sample where a temperature is said
        arguments = {**said, "until": [stops] if isinstance(stops, str) else list(stops), "do_sample": temperature > 0}
        if temperature == 0:
            arguments = {key: value for key, value in arguments.items() if key not in ("temperature", "top_p", "top_k")}
        return self._asked("generate_until", [(str(prompt), dict(arguments)) for prompt in prompts])

    def loglikelihood(self, prompts: Sequence[Prompt], _: Mapping[str, Any]) -> list[Response]:
        pairs = [each for each in prompts if isinstance(each, Pair)]
        given = iter(self._asked("loglikelihood", [tuple(each) for each in pairs if each.continuation]))
        return [
            self._scored(next(given), each) if each.continuation else Completion("", output_tokens=0) for each in pairs
        ]

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(self.lm.tok_encode(text)) for text in texts]

    def chat(self, turns: Sequence[Mapping[str, str]]) -> str:
        return str(self.lm.apply_chat_template([dict(each) for each in turns]))

    def encode(self, text: str) -> list[int]:
        return list(self.lm.tok_encode(text, add_special_tokens=False))

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.lm.tok_decode(list(ids), skip_special_tokens=False))

    def prefix(self) -> str:
        return self.decode([self.lm.prefix_token_id])

    def _asked(self, method: str, requests: Sequence[tuple[Any, ...]]) -> list[Any]:
        """What a method gives for requests, in lm-eval's own form of them."""
        instance = import_module("lm_eval.api.instance").Instance
        rows = [
            instance(request_type=method, doc={}, arguments=arguments, idx=place)
            for place, arguments in enumerate(requests)
        ]
        function: Callable[..., Any] = getattr(self.lm, method)
        quiet = {"disable_tqdm": True} if "disable_tqdm" in inspect.signature(function).parameters else {}
        if not rows:
            return []
        return as_results(
            function(rows, **quiet), f"{method} of model {self.name!r}", len(rows), item="request", result="result"
        )

    def _scored(self, given: object, pair: Pair) -> Response:
        try:
            return as_scored(given, pair, self.name)
        except AnswerError as error:
            return error


def _fingerprint(given: object) -> str:
    return digest("lm-eval", identity(given))


def _text(given: object, name: str) -> str:
    found = _attribute(given, name)
    return found if isinstance(found, str) else ""


def _attribute(given: object, name: str) -> Any:
    """An attribute, None where it has none: some are properties that raise."""
    try:
        return getattr(given, name, None)
    except (NotImplementedError, OSError, ValueError, RuntimeError):
        return None
