"""Models that read a prompt with an encoder and answer with a decoder (T5, BART): the plain way, batch by batch."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from inspect import signature
from typing import Any

from helmframe.models.engine.memory import is_out_of_memory
from helmframe.models.engine.sampling import Sampling, key_of, logprobs
from helmframe.models.engine.stops import Watch, ending_tokens, kept, text_of
from helmframe.models.model import Completion, Pair, Prompt, Response, Seeded
from helmframe.models.stop_strings import stops_of
from helmframe.models.tokenizing import Tokenizing

MAX_TOKENS = 100
STATE = "prompts are read in padded batches (an encoder-decoder)"
# Padded tokens of prompts read at once, and rows.
TOKEN_BUDGET = {"cpu": 4096, "cuda": 65_536}
MAX_ROWS = {"cpu": 32, "cuda": 256}


@dataclass(eq=False)
class EncoderDecoder:
    """Answers with the encoder-decoder it holds; one call at a time, whoever calls.

    A prompt goes to the encoder as the tokenizer writes it, with the token that ends texts; the answer is what the
    decoder says after its start token. Of a pair for `loglikelihood` the context goes to the encoder, and the
    continuation's own tokens are what the decoder is asked about: no token is shared by the two.
    """

    model: Any
    words: Tokenizing
    window: int | None
    _rows: int = 0  # at once, since the memory did not hold more
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, prompts: Sequence[Prompt], decoding: Mapping[str, Any]) -> list[Response]:
        """One answer per prompt, in order; as `Engine.ask`, but the output counts by itself, not with its prompt."""
        asked = Seeded.from_prompts(prompts, decoding)
        tokens = self.words.tokens([prompt.text for prompt in asked])
        max_tokens = decoding.get("max_tokens")
        limit = MAX_TOKENS if max_tokens is None else int(max_tokens)
        if self.window is not None:
            limit = min(limit, self.window)
        answers: list[Response] = [self._too_long(ids) for ids in tokens]
        able = [place for place, ids in enumerate(tokens) if self._fits(ids)]
        if limit < 1:
            return [Completion("", finish_reason="length", prompt_tokens=len(ids), output_tokens=0) for ids in tokens]
        keys = [key_of(prompt.seed, prompt.text) for prompt in asked]

        def answered(batch: Sequence[int]) -> list[Completion]:
            return self._answered([tokens[place] for place in batch], [keys[place] for place in batch], limit, decoding)

        for place, answer in self._in_batches(able, tokens, answered):
            answers[place] = answer
        return answers

    def loglikelihood(self, prompts: Sequence[Prompt], _: Mapping[str, Any]) -> list[Response]:
        """The log-probability of each pair's continuation, and of its tokens, in nats."""
        pairs = [each for each in prompts if isinstance(each, Pair)]
        contexts = self.words.tokens([pair.context for pair in pairs])
        continuations = [self.words.encode(pair.continuation) for pair in pairs]
        answers: list[Response] = [self._too_long(ids) for ids in contexts]
        fits = [self._fits(one) and self._fits(two) for one, two in zip(contexts, continuations, strict=True)]
        able = [place for place, both_fit in enumerate(fits) if both_fit]

        def scored(batch: Sequence[int]) -> list[Completion]:
            return self._scored([contexts[place] for place in batch], [continuations[place] for place in batch])

        for place, answer in self._in_batches(able, contexts, scored):
            answers[place] = answer
        return [
            answer._replace(text=pair.continuation) if isinstance(answer, Completion) else answer
            for answer, pair in zip(answers, pairs, strict=True)
        ]

    def state(self) -> str:
        """How it answers."""
        return STATE

    def _fits(self, tokens: Sequence[int]) -> bool:
        return self.window is None or len(tokens) <= self.window

    def _too_long(self, tokens: Sequence[int]) -> ValueError:
        return ValueError(f"the prompt has {len(tokens)} tokens; the model's window is {self.window}.")

    def _in_batches(
        self, places: Sequence[int], tokens: Sequence[Sequence[int]], work: Callable[[Sequence[int]], list[Completion]]
    ) -> Iterator[tuple[int, Response]]:
        """Each place and its answer, in batches of like length, the longest first; halved where memory is short."""
        device = self.model.device.type
        budget = TOKEN_BUDGET.get(device, TOKEN_BUDGET["cpu"])
        waiting = sorted(places, key=lambda place: -len(tokens[place]))
        with self._asking():
            while waiting:
                most = self._rows or MAX_ROWS.get(device, MAX_ROWS["cpu"])
                batch = waiting[: max(1, min(most, budget // len(tokens[waiting[0]])))]
                found: Sequence[Response]
                try:
                    found = work(batch)
                except RuntimeError as error:
                    if not is_out_of_memory(error):
                        raise
                    if len(batch) > 1:
                        self._rows = len(batch) // 2
                        continue
                    found = [
                        MemoryError(f"a prompt of {len(tokens[batch[0]])} tokens does not fit the memory: {error}")
                    ]
                yield from zip(batch, found, strict=True)
                waiting = waiting[len(batch) :]

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """The model for us alone, in evaluation mode; afterwards as it was."""
        import torch

        with self._lock, torch.no_grad():
            training = [module for module in self.model.modules() if module.training]
            self.model.eval()
            try:
                yield
            finally:
                for module in training:
                    module.training = True

    def _read(self, rows: Sequence[Sequence[int]]) -> dict[str, Any]:
        """What the encoder makes of the prompts, as the decoder takes it. What follows a row's tokens is not seen."""
        ids, mask = self._padded(rows)
        return {"encoder_outputs": self.model.get_encoder()(input_ids=ids, attention_mask=mask), "attention_mask": mask}

    def _answered(
        self, rows: Sequence[Sequence[int]], keys: Sequence[bytes], limit: int, decoding: Mapping[str, Any]
    ) -> list[Completion]:
        import torch
        from transformers import DynamicCache, EncoderDecoderCache

        sampling, stops = Sampling.of(decoding), stops_of(decoding)
        ends = set(ending_tokens(self.model, self.words.tokenizer, stops))
        watches = [Watch(self.words.tokenizer, [], stops) for _ in rows]
        outputs: list[list[int]] = [[] for _ in rows]
        values: list[list[float]] = [[] for _ in rows]
        ended = [False] * len(rows)
        read = self._read(rows)
        ids = torch.tensor([self._start()] * len(rows), device=self.model.device)
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        # transformers called the argument past_key_values up to 5.23
        named = "cache" if "cache" in signature(type(self.model).forward).parameters else "past_key_values"
        for step in range(limit):
            logits = self.model(**read, decoder_input_ids=ids, use_cache=True, **{named: cache}).logits[:, -1].float()
            chosen = sampling.choose(logits, keys, [step] * len(rows))
            likely = logprobs(logits, chosen).tolist()
            for row, token in enumerate(chosen.tolist()):
                if ended[row] or token in ends:
                    ended[row] = True
                    continue
                outputs[row].append(token)
                values[row].append(likely[row])
                ended[row] = bool(stops) and watches[row].ends(token)
            if all(ended):
                break
            ids = chosen[:, None]
        texts = [text_of(self.words.tokenizer, [], tokens) for tokens in outputs]
        owns = [
            of_row[: kept(self.words.tokenizer, [], tokens, stops)]
            for of_row, tokens in zip(values, outputs, strict=True)
        ]
        return [
            Completion(
                text,
                finish_reason="stop" if end else "length",
                prompt_tokens=len(prompt),
                output_tokens=len(tokens),
            ).with_logprobs(own)
            for text, own, prompt, tokens, end in zip(texts, owns, rows, outputs, ended, strict=True)
        ]

    def _scored(self, contexts: Sequence[Sequence[int]], asked: Sequence[Sequence[int]]) -> list[Completion]:
        import torch

        start = self._start()
        ids, _ = self._padded([[*start, *each[:-1]] for each in asked])
        wanted, _ = self._padded([each or [0] for each in asked])
        logits = self.model(**self._read(contexts), decoder_input_ids=ids, use_cache=False).logits
        logits = logits[:, len(start) - 1 :].float()
        chosen = logits.gather(-1, wanted[..., None]).squeeze(-1) - torch.logsumexp(logits, dim=-1)
        return [
            Completion("", prompt_tokens=len(context), output_tokens=len(each)).with_logprobs(line[: len(each)])
            for line, context, each in zip(chosen.tolist(), contexts, asked, strict=True)
        ]

    def _start(self) -> list[int]:
        """What the decoder's text begins with: its start token, and the one that the model is made to say first."""
        found = {}
        for name in ("decoder_start_token_id", "forced_bos_token_id", "bos_token_id"):
            configs = (getattr(self.model, "generation_config", None), self.model.config)
            found[name] = next((value for each in configs if (value := getattr(each, name, None)) is not None), None)
        start = found["decoder_start_token_id"]
        start = found["bos_token_id"] if start is None else start
        return [int(start or 0), *([] if found["forced_bos_token_id"] is None else [int(found["forced_bos_token_id"])])]

    def _padded(self, rows: Sequence[Sequence[int]]) -> tuple[Any, Any]:
        """The rows as one tensor, padded at their ends, and what of it is theirs."""
        import torch

        pad, width = self.words.tokenizer.pad_token_id or 0, max(map(len, rows))
        ids = [[*row, *[pad] * (width - len(row))] for row in rows]
        mask = [[1] * len(row) + [0] * (width - len(row)) for row in rows]
        return torch.tensor(ids, device=self.model.device), torch.tensor(mask, device=self.model.device)
