"""vLLM in this process, for GPUs. As a server it is a model over HTTP like any other."""

import functools
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from helmframe._core.safe_text import error_text
from helmframe._core.specs import Call, frozen
from helmframe.errors import ArgumentError, CapabilityError, SourceBrokenError
from helmframe.models.continuations import Split, splits
from helmframe.models.local_files import CODE, SMALL, Checkpoint, check_model, found, read_json, window
from helmframe.models.local_load import load_tokenizer
from helmframe.models.local_options import Options
from helmframe.models.model import Completion, Model, Pair, Prompt, Response, digest
from helmframe.models.stop_strings import stops_of
from helmframe.models.tokenizing import Tokenizing

TAKES = frozenset(
    {"max_tokens", "temperature", "top_p", "top_k", "seed", "stop", "presence_penalty", "frequency_penalty"}
)
MAX_TOKENS = 100
# vLLM makes batches of its own out of what it is given at once.
BATCH = 256
# Of vLLM's options, those that say where and how fast it runs, and nothing about its answers.
_PLACE = frozenset({"gpu_memory_utilization", "tensor_parallel_size", "max_num_seqs"})


def vllm(model: str | Path, *, revision: str | None = None, trust_remote_code: bool = False, **options: Any) -> Model:
    """A model that vLLM runs in this process.

    Nothing is loaded before the first prompt; the small files are looked at now. It gives log-probabilities of what it
    generates and of given texts.

    Args:
        model: a folder in transformers format, or a hub name.
        revision: branch, tag or commit of a hub name.
        trust_remote_code: run Python code that comes with the checkpoint. It can do all that you can.
        **options: of `vllm.LLM`, as it takes them: `dtype="bfloat16"`, `tensor_parallel_size=2`, `max_model_len=8192`.

    Raises:
        CapabilityError: vllm is not installed.
        SourceMissingError: found nowhere; lists the places looked at.
        NotAModelError: something else is there.
        ArgumentError: an option that JSON can't say.
    """
    if find_spec("vllm") is None:
        raise CapabilityError(
            "asking vLLM in this process needs the package vllm, and a GPU: pip install 'helmframe[vllm]'. Or give "
            "its server's address, 'http://localhost:8000/v1#name'; or leave out vllm, and the local engine answers."
        )
    try:
        written = json.dumps({name: each for name, each in options.items() if name not in _PLACE}, sort_keys=True)
    except TypeError as error:
        raise ArgumentError(f"vllm(): an option is nothing that JSON can say: {error}.") from None
    patterns = (*SMALL, CODE) if trust_remote_code else SMALL
    checkpoint = found(str(model), revision=revision, patterns=patterns)
    if not checkpoint.hub:
        check_model(checkpoint.folder)
    said = {"revision": revision, "trust_remote_code": trust_remote_code or None, **options}
    said = {name: value for name, value in said.items() if value is not None}
    folder = checkpoint.folder
    config, settings = read_json(folder / "config.json"), read_json(folder / "tokenizer_config.json")
    trusted = Options(trust_remote_code=trust_remote_code)
    words = Tokenizing(functools.partial(load_tokenizer, folder, trusted), config.get("eos_token_id"))
    most = options.get("max_model_len") or window(config, settings)
    asked = _VLLM(checkpoint, {**options, "trust_remote_code": trust_remote_code}, most, words)
    has_chat = "chat_template" in settings or (folder / "chat_template.jinja").is_file()
    return Model(
        name=checkpoint.hub or folder.name,
        source=Call("vllm", frozen({"model": str(model), **said})) if said else f"vllm:{model}",
        generate=asked.ask,
        fingerprint=functools.partial(_fingerprint, checkpoint, written, trust_remote_code=trust_remote_code),
        durable=True,
        takes=TAKES,
        batch=BATCH,
        # a text that is scored stands before one token more, which vLLM must be asked for
        window=None if most is None else int(most) - 2,
        count_tokens=words.count_tokens,
        chat=words.chat if has_chat else None,
        loglikelihood=asked.loglikelihood,
        tokens=words.as_tokens,
        token_logprobs=True,
        note=f"vLLM computes in {options.get('dtype', 'the type it chooses')}: some answers differ from float32's",
    )


def from_text(said: str) -> Model:
    """A model of vLLM as plans write it: `vllm:org/name`, `vllm(model='org/name', dtype='bfloat16')`.

    Raises:
        ArgumentError: it names no model.
    """
    if said.startswith("vllm:"):
        return vllm(said.removeprefix("vllm:").strip())
    arguments: dict[str, Any] = dict(Call.parse(said).arguments)
    if "model" not in arguments:
        raise ArgumentError(f"model {said!r}: model= is missing.")
    return vllm(**arguments)


@dataclass(eq=False)
class _VLLM:
    """A checkpoint that vLLM loads when it is first asked; one call at a time."""

    checkpoint: Checkpoint
    options: Mapping[str, Any]
    window: int | None
    words: Tokenizing
    _llm: Any = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, prompts: Sequence[Prompt], decoding: Mapping[str, Any]) -> list[Response]:
        tokens = self.words.tokens([str(prompt) for prompt in prompts])
        said = {key: value for key, value in decoding.items() if key in TAKES and value is not None}
        said = {"max_tokens": MAX_TOKENS, "temperature": 0.0, **said}
        if not said.get("top_k"):
            said.pop("top_k", None)
        if said["max_tokens"] < 1:
            return [Completion("", finish_reason="length", prompt_tokens=len(each), output_tokens=0) for each in tokens]
        # the token chosen, and no other
        return [self._answer(each, said) for each in self._generated(tokens, logprobs=0, **said)]

    def loglikelihood(self, prompts: Sequence[Prompt], _: Mapping[str, Any]) -> list[Response]:
        pairs = [each for each in prompts if isinstance(each, Pair)]
        found = splits(self.words, pairs)
        answers: list[Response] = [
            ValueError(f"the text has {len(each.tokens)} tokens; the model's window is {self.window}.")
            for each in found
        ]
        able = [place for place, each in enumerate(found) if self.window is None or len(each.tokens) < self.window]
        texts = [found[place].tokens for place in able]
        outputs = self._generated(texts, prompt_logprobs=0, max_tokens=1, temperature=0.0)
        for place, output in zip(able, outputs, strict=True):
            answers[place] = _scored(output, pairs[place], found[place])
        return answers

    def _answer(self, output: Any, said: Mapping[str, Any]) -> Completion:
        """What was generated, with the log-probabilities of its tokens, not those of what ended it."""
        from helmframe.models.engine.stops import kept

        (found,) = output.outputs
        by_token = found.finish_reason == "stop" and not isinstance(found.stop_reason, str)
        prompt, tokens = output.prompt_token_ids, list(found.token_ids)[: -1 if by_token else None]
        answer = Completion(
            found.text, finish_reason=found.finish_reason, prompt_tokens=len(prompt), output_tokens=len(tokens)
        )
        own = tokens[: kept(self.words.tokenizer, prompt, tokens, stops_of(said))]
        places = zip(list(found.logprobs)[: len(own)], own, strict=True)
        return answer.with_logprobs([float(each[token].logprob) for each, token in places])

    def _generated(self, tokens: Sequence[Sequence[int]], **said: Any) -> list[Any]:
        """What vLLM puts out, one for each prompt of token ids, in order."""
        package: Any = import_module("vllm")
        with self._lock:
            if self._llm is None:
                self._llm = self._loaded(package)
            prompts = [{"prompt_token_ids": list(each)} for each in tokens]
            return list(self._llm.generate(prompts, package.SamplingParams(**said), use_tqdm=False)) if prompts else []

    def _loaded(self, package: Any) -> Any:
        hub, folder = self.checkpoint.hub, self.checkpoint.folder
        where = {"model": hub, "revision": folder.name} if hub else {"model": str(folder)}
        try:
            return package.LLM(**where, **self.options)
        except Exception as error:  # whatever vLLM says of a model, an option or a machine
            reason = " ".join(error_text(error).split())[:400]
            raise SourceBrokenError(f"{where['model']} can't be loaded by vLLM: {reason}") from error


def _scored(output: Any, pair: Pair, found: Split) -> Completion:
    """How likely the continuation's tokens are: each place holds what the token there was given."""
    places = zip(output.prompt_logprobs[found.start :], found.continuation, strict=True)
    answer = Completion(pair.continuation, prompt_tokens=found.start, output_tokens=len(found.continuation))
    return answer.with_logprobs([float(each[token].logprob) for each, token in places])


def _fingerprint(checkpoint: Checkpoint, options: str, *, trust_remote_code: bool) -> str:
    return digest("vllm", checkpoint.digest(), options, str(trust_remote_code))
