"""The engine of a loaded transformers model: it generates completions and scores continuations."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from helmframe.models.engine.choice import Choice, Way
from helmframe.models.engine.decode import Decoder, PlainDecoder
from helmframe.models.engine.reading import Part, Reader, Wanted
from helmframe.models.engine.sampling import Constraints, Request, key_of, norms
from helmframe.models.model import Completion, Pair, Prompt, Response, Seeded
from helmframe.models.reasoning import head_room
from helmframe.models.tokenizing import Tokenizing, splits

TAKES = frozenset({"max_tokens", "temperature", "top_p", "top_k", "seed", "stop", "json_schema"})
MAX_TOKENS = 100


@dataclass(eq=False)
class Engine:
    """A loaded model with its tokenizer, which runs one call at a time.

    The model's own sampling defaults (temperature, repetition penalty, …) don't apply: a request without temperature is
    greedy. In float32 a completion does not depend on its batch, except for float noise between equally likely tokens.

    Args:
        model: The model, on its device and in its type.
        words: The model's tokenizer.
        window: The maximum of prompt and output tokens together; None: no maximum.
        lasting: Whether no other code can change the weights. Then shared starts of prompts are cached across calls,
            and linear layers are replaced if others are faster.
        fingerprint: The hash of the model's files and options, if known. Checks and timings are cached by it.
    """

    model: Any
    words: Tokenizing
    window: int | None
    lasting: bool = field(default=False, kw_only=True)
    fingerprint: str = field(default="", kw_only=True)
    reader: Reader = field(init=False)
    _decoder: Decoder = field(init=False)
    _plain: PlainDecoder = field(init=False)
    _constraints: Constraints = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.reader = Reader(self.model, lasting=self.lasting, fingerprint=self.fingerprint)
        self._decoder = Decoder(self.reader, self.words.tokenizer)
        self._plain = PlainDecoder(self.reader, self.words.tokenizer)
        self._constraints = Constraints(self.model, self.words.tokenizer)

    def generate(self, prompts: Sequence[Prompt], decoding: Mapping[str, Any]) -> list[Response]:
        """Return one response per prompt, in order; a prompt that does not fit into window or memory is an error.

        `logprob` and `token_logprobs` (nats) are those of the model's own distribution at temperature 1, over the
        tokens of the text, without the tokens that ended it (end of text, or a stop string). A text without tokens has
        none.
        """
        seeded = Seeded.from_prompts(prompts, decoding)
        tokens = self.words.tokens([prompt.text for prompt in seeded])
        max_tokens = decoding.get("max_tokens")
        max_output = MAX_TOKENS + head_room(decoding) if max_tokens is None else int(max_tokens)
        if max_output < 1:
            return [Completion("", finish_reason="length", prompt_tokens=len(ids), output_tokens=0) for ids in tokens]
        limits = [max_output if self.window is None else min(max_output, self.window - len(ids)) for ids in tokens]
        responses: list[Response] = [
            ValueError(f"the prompt has {len(ids)} tokens; the model's window is {self.window}.") for ids in tokens
        ]
        fitting = [index for index, limit in enumerate(limits) if limit > 0]
        constraint = self._constraints.of(decoding)
        requests = [
            Request(tokens[index], limits[index], key_of(seeded[index].seed, seeded[index].text), constraint)
            for index in fitting
        ]
        with self._exclusive():
            for index, completion in self._complete(requests, decoding):
                responses[fitting[index]] = completion
        return responses

    def loglikelihood(self, prompts: Sequence[Prompt], _: Mapping[str, Any]) -> list[Response]:
        """Return the log-probability (nats) of each pair's continuation and of its tokens, and whether it is greedy."""
        pairs = [prompt for prompt in prompts if isinstance(prompt, Pair)]
        with self._exclusive():
            return score_pairs(self.reader, self.words, pairs, self.window)

    def state(self) -> str:
        """Return how prompts are read and how completions are batched, as far as known."""
        return "; ".join(text for text in (self.reader.state(), self._plain.state()) if text)

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Lock and prepare the model during the block; forget cached starts afterwards if its weights may change."""
        with self._lock, _prepared(self.model):
            try:
                yield
            finally:
                if not self.lasting:
                    self.reader.forget()

    def _complete(
        self, requests: Sequence[Request], decoding: Mapping[str, Any]
    ) -> Iterator[tuple[int, Completion | MemoryError]]:
        """Yield the index and the completion of each request, from slots if the model supports them."""
        ways: dict[Way, list[int]] = {}
        choice = self.reader.choice() if requests else Choice("packed")
        for index, request in enumerate(requests):
            # a request of one token needs no way of generation, because reading returns it
            way: Way = "packed" if request.limit == 1 else choice.of(len(request.tokens) + request.limit)
            ways.setdefault(way, []).append(index)
        for way, indices in ways.items():
            of_way = [requests[index] for index in indices]
            if way == "packed":
                completions = self._decoder.complete(of_way, decoding)
            else:
                completions = self._plain.complete(of_way, decoding, padded=way == "cached")
            for index, completion in completions:
                yield indices[index], completion


@contextmanager
def _prepared(model: Any) -> Iterator[None]:
    """Put the model into evaluation mode, without its own sampling defaults, during the block."""
    import torch
    from transformers import GenerationConfig

    training = [module for module in model.modules() if module.training]
    original = model.generation_config
    model.eval()
    ends = original.eos_token_id if original is not None else None
    model.generation_config = GenerationConfig(eos_token_id=ends)  # type: ignore[no-untyped-call]
    try:
        with torch.no_grad():
            yield
    finally:
        model.generation_config = original
        for module in training:
            module.training = True


def score_pairs(reader: Reader, words: Tokenizing, pairs: Sequence[Pair], window: int | None) -> list[Response]:
    """Return the continuation of each pair with its log-probability (nats) after the context, in order.

    `splits` determines the continuation's tokens; without tokens it has no log-probability. It is greedy if each of its
    tokens is the likeliest. A pair that does not fit into window or memory is an error. Starts that pairs share are
    read once.

    Args:
        reader: The reader of the model, which must be in evaluation mode, without gradients.
        words: The model's tokenizer.
        pairs: The pairs to score.
        window: The maximum number of tokens that the model reads at a time.
    """
    pair_splits = splits(words, pairs)
    responses: list[Response] = [
        ValueError(f"the text has {len(split.tokens)} tokens; the model's window is {window}.") for split in pair_splits
    ]
    # the last token is predicted, not read
    fitting = [index for index, split in enumerate(pair_splits) if window is None or len(split.tokens) - 1 <= window]
    read: dict[int, tuple[Sequence[float], bool | None] | MemoryError] = {
        index: ((), None) for index in fitting if not pair_splits[index].continuation
    }
    texts = {
        index: Wanted(pair_splits[index].tokens[:-1], pair_splits[index].start - 1)
        for index in fitting
        if pair_splits[index].continuation
    }
    indices = list(texts)
    for part in reader.read(list(texts.values())):
        part_indices = [indices[number] for number in part.indices]
        read.update(
            zip(part_indices, _logprobs(part, [pair_splits[index].continuation for index in part_indices]), strict=True)
        )
    for index, result in read.items():
        if isinstance(result, MemoryError):
            responses[index] = result
            continue
        values, is_greedy = result
        completion = Completion(
            pairs[index].continuation,
            prompt_tokens=pair_splits[index].start,
            output_tokens=len(values),
            is_greedy=is_greedy,
        )
        responses[index] = completion.with_logprobs(values)
    return responses


def _logprobs(part: Part, targets: Sequence[list[int]]) -> list[tuple[list[float], bool]] | list[MemoryError]:
    """Return each text's log-probabilities (nats), one for each target, and whether all targets are the likeliest."""
    import torch

    if part.error is not None:
        return [part.error for _ in targets]
    logits = part.logits.float()
    summed = norms(logits)
    tokens = torch.tensor([token for target in targets for token in target], device=logits.device)
    rows = torch.cat(part.rows)
    values = (logits[rows, tokens] - summed[rows]).tolist()
    likeliest = (logits.argmax(-1)[rows] == tokens).tolist()
    ends = list(accumulate(map(len, targets)))
    spans = [slice(end - len(target), end) for target, end in zip(targets, ends, strict=True)]
    return [(values[span], all(likeliest[span])) for span in spans]
