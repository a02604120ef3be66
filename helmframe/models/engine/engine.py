"""A loaded transformers model and its tokenizer: answers prompts, and says how likely texts are."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from helmframe.models.engine.decode import Decoder
from helmframe.models.engine.gates import Choice, Way
from helmframe.models.engine.plain import PlainDecoder
from helmframe.models.engine.reading import Reader
from helmframe.models.engine.rows import Request
from helmframe.models.engine.sampling import key_of
from helmframe.models.engine.scoring import scored
from helmframe.models.model import Completion, Pair, Prompt, Response, Seeded
from helmframe.models.tokenizing import Tokenizing

TAKES = frozenset({"max_tokens", "temperature", "top_p", "top_k", "seed", "stop"})
MAX_TOKENS = 100


@dataclass(eq=False)
class Engine:
    """Answers with the model it holds; one call at a time, whoever calls.

    The model's own sampling defaults (temperature, repetition penalty, …) are out of force while it answers: a request
    without temperature is greedy. In float32 an answer is the same in any batch, up to float noise where two tokens are
    as likely.

    Args:
        model: on its device, in its type.
        words: its tokenizer.
        window: tokens that prompt and answer have together; None: any number.
        lasting: whether nobody else has the model, so that its weights stay as they are: what prompts share is then
            kept from call to call, and its linear layers are replaced where others are faster.
    """

    model: Any
    words: Tokenizing
    window: int | None
    lasting: bool = field(default=False, kw_only=True)
    reader: Reader = field(init=False)
    _decoder: Decoder = field(init=False)
    _plain: PlainDecoder = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.reader = Reader(self.model, lasting=self.lasting)
        self._decoder = Decoder(self.reader, self.words.tokenizer)
        self._plain = PlainDecoder(self.reader, self.words.tokenizer)

    def ask(self, prompts: Sequence[Prompt], decoding: Mapping[str, Any]) -> list[Response]:
        """One answer per prompt, in order; a prompt that fits neither window nor memory is an error in its place.

        `logprob` and `token_logprobs` (nats) are those of the model's own distribution, whatever the temperature, over
        the tokens of the text, without what ended it: an end-of-text token, or those of a stop string. A text without a
        token has none.
        """
        asked = Seeded.from_prompts(prompts, decoding)
        tokens = self.words.tokens([prompt.text for prompt in asked])
        max_tokens = decoding.get("max_tokens")
        most = MAX_TOKENS if max_tokens is None else int(max_tokens)
        if most < 1:
            return [Completion("", finish_reason="length", prompt_tokens=len(ids), output_tokens=0) for ids in tokens]
        limits = [most if self.window is None else min(most, self.window - len(ids)) for ids in tokens]
        answers: list[Response] = [
            ValueError(f"the prompt has {len(ids)} tokens; the model's window is {self.window}.") for ids in tokens
        ]
        able = [place for place, limit in enumerate(limits) if limit > 0]
        requests = [
            Request(tokens[place], limits[place], key_of(asked[place].seed, asked[place].text)) for place in able
        ]
        with self._asking():
            for place, answer in self._answered(requests, decoding):
                answers[able[place]] = answer
        return answers

    def loglikelihood(self, prompts: Sequence[Prompt], _: Mapping[str, Any]) -> list[Response]:
        """The log-probability of each pair's continuation, and of its tokens, in nats."""
        pairs = [each for each in prompts if isinstance(each, Pair)]
        with self._asking():
            return scored(self.reader, self.words, pairs, self.window)

    def state(self) -> str:
        """How prompts are read and longer answers asked for, as far as it is known by now, and what is gained by it."""
        return "; ".join(each for each in (self.reader.state(), self._plain.state()) if each)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """The model for this thread alone, as we ask it; what prompts share is kept no longer where others have it."""
        with self._lock, _as_we_ask(self.model):
            try:
                yield
            finally:
                if not self.lasting:
                    self.reader.forget()

    def _answered(
        self, requests: Sequence[Request], decoding: Mapping[str, Any]
    ) -> Iterator[tuple[int, Completion | MemoryError]]:
        """Each request's place and answer: by slots where the tokens are of a kind that these hold."""
        ways: dict[Way, list[int]] = {}
        choice = self.reader.choice() if requests else Choice("packed")
        for place, request in enumerate(requests):
            # one token is what reading gives, whichever way
            way: Way = "packed" if request.limit == 1 else choice.of(len(request.tokens) + request.limit)
            ways.setdefault(way, []).append(place)
        for way, places in ways.items():
            of_way = [requests[place] for place in places]
            if way == "packed":
                answers = self._decoder.answers(of_way, decoding)
            else:
                answers = self._plain.answers(of_way, decoding, padded=way == "cached")
            for place, answer in answers:
                yield places[place], answer


@contextmanager
def _as_we_ask(model: Any) -> Iterator[None]:
    """The model in evaluation mode and without sampling defaults of its own; afterwards as it was."""
    import torch
    from transformers import GenerationConfig

    training = [module for module in model.modules() if module.training]
    own = model.generation_config
    model.eval()
    ends = own.eos_token_id if own is not None else None
    model.generation_config = GenerationConfig(eos_token_id=ends)  # type: ignore[no-untyped-call]
    try:
        with torch.no_grad():
            yield
    finally:
        model.generation_config = own
        for module in training:
            module.training = True
