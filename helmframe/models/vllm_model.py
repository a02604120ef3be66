"""Models that vLLM runs in this process. The model of a vLLM server is an `endpoint`."""

import functools
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from helmframe._core.cache_files import digest
from helmframe._core.safe_text import error_text
from helmframe._core.specs import Call, frozen
from helmframe.errors import ArgumentError, CapabilityError, SourceBrokenError
from helmframe.models.local_files import (
    CODE,
    SMALL,
    Checkpoint,
    chat_template,
    check_model,
    find_checkpoint,
    read_json,
    window,
)
from helmframe.models.local_load import Options, load_tokenizer
from helmframe.models.model import Completion, Model, Pair, Prompt, Response
from helmframe.models.reasoning import head_room, template_reasons
from helmframe.models.tokenizing import Split, Tokenizing, splits, stops_of

TAKES = frozenset(
    {"max_tokens", "temperature", "top_p", "top_k", "seed", "stop", "presence_penalty", "frequency_penalty"}
    | {"json_schema"}
)
MAX_TOKENS = 100
# Prompts of a call, which vLLM divides into its own batches.
BATCH = 256
# Options of vLLM that change its speed and memory, but not completions.
_HARDWARE = frozenset({"gpu_memory_utilization", "tensor_parallel_size", "data_parallel_size", "max_num_seqs"})


def vllm(model: str | Path, *, revision: str | None = None, trust_remote_code: bool = False, **options: Any) -> Model:
    """Return a model that vLLM runs in this process, on a GPU.

    The small files are checked now. The model is loaded for its first prompt. It returns log-probabilities of generated
    tokens and of continuations.

    The example uses a vLLM server if this process can't run the model:

    >>> import helmframe as hf
    >>> try:
    ...     model = hf.models.vllm("models/SmolLM2-135M-Instruct", dtype="bfloat16", max_model_len=2048)
    ... except hf.HelmframeError:  # vllm isn't installed, or the folder doesn't exist
    ...     model = hf.model("http://localhost:8000/v1#SmolLM2-135M-Instruct")
    >>> model.name
    'SmolLM2-135M-Instruct'

    Args:
        model: A folder in transformers format, or a Hub name.
        revision: The branch, tag or commit of a Hub name.
        trust_remote_code: Whether Python code of the checkpoint may run, with all your permissions.
        **options: Options of `vllm.LLM`, such as `max_model_len=8192`. `tensor_parallel_size=2` divides the model among
            two GPUs; its cached completions are those of one GPU. vLLM runs copies (`data_parallel_size`) in its server
            only: `vllm serve NAME --data-parallel-size 2`.

    Raises:
        CapabilityError: vllm is not installed.
        SourceMissingError: The model was not found; the message lists the searched paths.
        NotAModelError: The path isn't a checkpoint.
        ArgumentError: An option isn't a JSON value.
    """
    if find_spec("vllm") is None:
        raise CapabilityError(
            "vLLM models need the package vllm and a GPU: pip install 'helmframe[vllm]'. Or use a vLLM server by its "
            "address, 'http://localhost:8000/v1#name', or the local engine: hf.models.local(…)."
        )
    try:
        written = json.dumps({name: value for name, value in options.items() if name not in _HARDWARE}, sort_keys=True)
    except TypeError as error:
        raise ArgumentError(f"vllm(): options must be JSON values: {error}.") from None
    patterns = (*SMALL, CODE) if trust_remote_code else SMALL
    checkpoint = find_checkpoint(str(model), revision=revision, patterns=patterns)
    if not checkpoint.hub:
        check_model(checkpoint.folder)
    arguments = {"revision": revision, "trust_remote_code": trust_remote_code or None, **options}
    arguments = {name: value for name, value in arguments.items() if value is not None}
    folder = checkpoint.folder
    config, settings = read_json(folder / "config.json"), read_json(folder / "tokenizer_config.json")
    trusted = Options(trust_remote_code=trust_remote_code)
    words = Tokenizing(functools.partial(load_tokenizer, folder, trusted), config.get("eos_token_id"))
    max_length = options.get("max_model_len") or window(config, settings)
    loader = _VLLM(checkpoint, {**options, "trust_remote_code": trust_remote_code}, max_length, words)
    template = chat_template(folder, settings)
    return Model(
        name=checkpoint.hub or folder.name,
        source=Call("vllm", frozen({"model": str(model), **arguments})) if arguments else f"vllm:{model}",
        generate=loader.generate,
        fingerprint=functools.partial(_fingerprint, checkpoint, written, trust_remote_code=trust_remote_code),
        durable=True,
        takes=TAKES | {"reasoning"},
        batch=BATCH,
        # vLLM must generate one token to score a text
        window=None if max_length is None else int(max_length) - 2,
        count_tokens=words.count_tokens,
        chat=words.chat if template is not None else None,
        loglikelihood=loader.loglikelihood,
        tokens=words.as_tokens,
        token_logprobs=True,
        note=f"vLLM computes in {options.get('dtype', 'the type it chooses')}: completions may differ from float32's",
        reasons="chat" if template_reasons(template) else "",
    )


def from_text(text: str) -> Model:
    """Return the vLLM model of a plan's text: `vllm:org/name` or `vllm(model='org/name', dtype='bfloat16')`.

    Raises:
        ArgumentError: `model` is missing.
    """
    if text.startswith("vllm:"):
        return vllm(text.removeprefix("vllm:").strip())
    arguments: dict[str, Any] = dict(Call.parse(text).arguments)
    if "model" not in arguments:
        raise ArgumentError(f"Model {text!r}: model=… is missing.")
    return vllm(**arguments)


@dataclass(eq=False)
class _VLLM:
    """A checkpoint that vLLM loads for its first prompt, and that runs one call at a time."""

    checkpoint: Checkpoint
    options: Mapping[str, Any]
    window: int | None
    words: Tokenizing
    _llm: Any = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def generate(self, prompts: Sequence[Prompt], decoding: Mapping[str, Any]) -> list[Response]:
        tokens = self.words.tokens([str(prompt) for prompt in prompts])
        parameters = {key: value for key, value in decoding.items() if key in TAKES and value is not None}
        parameters = {"max_tokens": MAX_TOKENS + head_room(decoding), "temperature": 0.0, **parameters}
        if not parameters.get("top_k"):
            parameters.pop("top_k", None)
        if "json_schema" in parameters:
            structured = import_module("vllm.sampling_params").StructuredOutputsParams
            parameters["structured_outputs"] = structured(json=parameters.pop("json_schema"))
        if parameters["max_tokens"] < 1:
            return [Completion("", finish_reason="length", prompt_tokens=len(ids), output_tokens=0) for ids in tokens]
        # logprobs=0 requests the log-probability of the sampled token only
        return [self._completion(output, parameters) for output in self._run(tokens, logprobs=0, **parameters)]

    def loglikelihood(self, prompts: Sequence[Prompt], _: Mapping[str, Any]) -> list[Response]:
        pairs = [prompt for prompt in prompts if isinstance(prompt, Pair)]
        text_splits = splits(self.words, pairs)
        responses: list[Response] = [
            ValueError(f"the text has {len(split.tokens)} tokens; the model's window is {self.window}.")
            for split in text_splits
        ]
        fitting = [
            index for index, split in enumerate(text_splits) if self.window is None or len(split.tokens) < self.window
        ]
        texts = [text_splits[index].tokens for index in fitting]
        outputs = self._run(texts, prompt_logprobs=0, max_tokens=1, temperature=0.0)
        for index, output in zip(fitting, outputs, strict=True):
            responses[index] = _scored(output, pairs[index], text_splits[index])
        return responses

    def _completion(self, output: Any, parameters: Mapping[str, Any]) -> Completion:
        """Return a completion with the log-probabilities of its tokens, without the tokens that ended it."""
        from helmframe.models.tokenizing import count_before_stop

        (generated,) = output.outputs
        by_token = generated.finish_reason == "stop" and not isinstance(generated.stop_reason, str)
        prompt, tokens = output.prompt_token_ids, list(generated.token_ids)[: -1 if by_token else None]
        completion = Completion(
            generated.text,
            finish_reason=generated.finish_reason,
            prompt_tokens=len(prompt),
            output_tokens=len(tokens),
        )
        scored_tokens = tokens[: count_before_stop(self.words.tokenizer, prompt, tokens, stops_of(parameters))]
        token_logprobs = zip(list(generated.logprobs)[: len(scored_tokens)], scored_tokens, strict=True)
        return completion.with_logprobs([float(logprobs[token].logprob) for logprobs, token in token_logprobs])

    def _run(self, tokens: Sequence[Sequence[int]], **parameters: Any) -> list[Any]:
        """Return vLLM's output for each prompt of token ids, in order."""
        package: Any = import_module("vllm")
        with self._lock:
            if self._llm is None:
                self._llm = self._loaded(package)
            prompts = [{"prompt_token_ids": list(ids)} for ids in tokens]
            return (
                list(self._llm.generate(prompts, package.SamplingParams(**parameters), use_tqdm=False))
                if prompts
                else []
            )

    def _loaded(self, package: Any) -> Any:
        hub, folder = self.checkpoint.hub, self.checkpoint.folder
        location = {"model": hub, "revision": folder.name} if hub else {"model": str(folder)}
        try:
            return package.LLM(**location, **self.options)
        except Exception as error:  # vLLM raises anything for a model, an option or a machine
            reason = " ".join(error_text(error).split())[:400]
            raise SourceBrokenError(f"vLLM can't load {location['model']}: {reason}") from error


def _scored(output: Any, pair: Pair, split: Split) -> Completion:
    """Return the continuation with the log-probabilities of its tokens, from those of the prompt's positions."""
    pairs = zip(output.prompt_logprobs[split.start :], split.continuation, strict=True)
    scored = [logprobs[token] for logprobs, token in pairs]
    ranks = [getattr(token, "rank", None) for token in scored]
    completion = Completion(
        pair.continuation,
        prompt_tokens=split.start,
        output_tokens=len(split.continuation),
        is_greedy=None if None in ranks or not ranks else all(rank == 1 for rank in ranks),
    )
    return completion.with_logprobs([float(token.logprob) for token in scored])


def _fingerprint(checkpoint: Checkpoint, options: str, *, trust_remote_code: bool) -> str:
    return digest("vllm", checkpoint.digest(), options, str(trust_remote_code))
