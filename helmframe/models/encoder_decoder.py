"""Encoder-decoder models (T5, BART), which run prompts in padded batches."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from inspect import signature
from typing import Any

from helmframe.models.engine.memory import is_out_of_memory
from helmframe.models.engine.sampling import Constraints, Sampling, constrained, key_of, logprobs
from helmframe.models.model import Completion, Pair, Prompt, Response, Seeded
from helmframe.models.reasoning import head_room
from helmframe.models.tokenizing import StopDetector, Tokenizing, count_before_stop, ending_tokens, stops_of, text_of

MAX_TOKENS = 100
STATE = "prompts are read in padded batches (encoder-decoder)"
# The maximum of padded prompt tokens of a batch, and of its rows, by device.
TOKEN_BUDGET = {"cpu": 4096, "cuda": 65_536}
MAX_ROWS = {"cpu": 32, "cuda": 256}


@dataclass(eq=False)
class EncoderDecoder:
    """A loaded encoder-decoder, which runs one call at a time.

    The encoder reads the prompt with the tokenizer's end token. The decoder generates the completion after its start
    token. `loglikelihood` passes the context to the encoder, and scores the continuation in the decoder; the two share
    no token.
    """

    model: Any
    words: Tokenizing
    window: int | None
    _rows: int = 0  # the maximum of rows after memory ran out
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def generate(self, prompts: Sequence[Prompt], decoding: Mapping[str, Any]) -> list[Response]:
        """Return one response per prompt, as `Engine.generate` does. The limit of tokens excludes the prompt."""
        seeded = Seeded.from_prompts(prompts, decoding)
        tokens = self.words.tokens([prompt.text for prompt in seeded])
        max_tokens = decoding.get("max_tokens")
        limit = MAX_TOKENS + head_room(decoding) if max_tokens is None else int(max_tokens)
        if self.window is not None:
            limit = min(limit, self.window)
        responses: list[Response] = [self._too_long(ids) for ids in tokens]
        fitting = [index for index, ids in enumerate(tokens) if self._fits(ids)]
        if limit < 1:
            return [Completion("", finish_reason="length", prompt_tokens=len(ids), output_tokens=0) for ids in tokens]
        keys = [key_of(prompt.seed, prompt.text) for prompt in seeded]

        def generate(batch: Sequence[int]) -> list[Completion]:
            return self._generate([tokens[index] for index in batch], [keys[index] for index in batch], limit, decoding)

        for index, response in self._run_batches(fitting, tokens, generate):
            responses[index] = response
        return responses

    def loglikelihood(self, prompts: Sequence[Prompt], _: Mapping[str, Any]) -> list[Response]:
        """Return the log-probability of each pair's continuation, and of its tokens, in nats."""
        pairs = [prompt for prompt in prompts if isinstance(prompt, Pair)]
        contexts = self.words.tokens([pair.context for pair in pairs])
        continuations = [self.words.encode(pair.continuation) for pair in pairs]
        responses: list[Response] = [self._too_long(ids) for ids in contexts]
        fits = [
            self._fits(context) and self._fits(continuation)
            for context, continuation in zip(contexts, continuations, strict=True)
        ]
        fitting = [index for index, both_fit in enumerate(fits) if both_fit]

        def score(batch: Sequence[int]) -> list[Completion]:
            return self._score([contexts[index] for index in batch], [continuations[index] for index in batch])

        for index, response in self._run_batches(fitting, contexts, score):
            responses[index] = response
        return [
            response._replace(text=pair.continuation) if isinstance(response, Completion) else response
            for response, pair in zip(responses, pairs, strict=True)
        ]

    def state(self) -> str:
        """Return how prompts are run."""
        return STATE

    def _fits(self, tokens: Sequence[int]) -> bool:
        return self.window is None or len(tokens) <= self.window

    def _too_long(self, tokens: Sequence[int]) -> ValueError:
        return ValueError(f"the prompt has {len(tokens)} tokens; the model's window is {self.window}.")

    def _run_batches(
        self, indices: Sequence[int], tokens: Sequence[Sequence[int]], work: Callable[[Sequence[int]], list[Completion]]
    ) -> Iterator[tuple[int, Response]]:
        """Yield each index and its completion, in batches of similar length; batches are halved if memory runs out."""
        device = self.model.device.type
        budget = TOKEN_BUDGET.get(device, TOKEN_BUDGET["cpu"])
        waiting = sorted(indices, key=lambda index: -len(tokens[index]))
        with self._exclusive():
            while waiting:
                max_rows = self._rows or MAX_ROWS.get(device, MAX_ROWS["cpu"])
                batch = waiting[: max(1, min(max_rows, budget // len(tokens[waiting[0]])))]
                results: Sequence[Response]
                try:
                    results = work(batch)
                except RuntimeError as error:
                    if not is_out_of_memory(error):
                        raise
                    if len(batch) > 1:
                        self._rows = len(batch) // 2
                        continue
                    results = [
                        MemoryError(f"a prompt of {len(tokens[batch[0]])} tokens doesn't fit into memory: {error}")
                    ]
                yield from zip(batch, results, strict=True)
                waiting = waiting[len(batch) :]

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Lock the model, and put it into evaluation mode during the block."""
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
        """Return the encoder's output for the prompts, as arguments of the decoder; padding is masked."""
        ids, mask = self._padded(rows)
        return {"encoder_outputs": self.model.get_encoder()(input_ids=ids, attention_mask=mask), "attention_mask": mask}

    def _generate(
        self, rows: Sequence[Sequence[int]], keys: Sequence[bytes], limit: int, decoding: Mapping[str, Any]
    ) -> list[Completion]:
        import torch
        from transformers import DynamicCache, EncoderDecoderCache

        sampling, stops = Sampling.of(decoding), stops_of(decoding)
        ends = set(ending_tokens(self.model, self.words.tokenizer, stops))
        constraint = Constraints(self.model, self.words.tokenizer).of(decoding)
        constraints = [None if constraint is None else constraint.copy() for _ in rows]
        detectors = [StopDetector(self.words.tokenizer, [], stops) for _ in rows]
        outputs: list[list[int]] = [[] for _ in rows]
        values: list[list[float]] = [[] for _ in rows]
        ended = [False] * len(rows)
        read = self._read(rows)
        ids = torch.tensor([self._start()] * len(rows), device=self.model.device)
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        # the argument is called past_key_values up to transformers 5.23
        cache_name = "cache" if "cache" in signature(type(self.model).forward).parameters else "past_key_values"
        for step in range(limit):
            logits = (
                self.model(**read, decoder_input_ids=ids, use_cache=True, **{cache_name: cache}).logits[:, -1].float()
            )
            masked = constrained(logits, [None if end else own for own, end in zip(constraints, ended, strict=True)])
            chosen = sampling.choose(masked, keys, [step] * len(rows))
            chosen_logprobs = logprobs(logits, chosen).tolist()
            for row, token in enumerate(chosen.tolist()):
                if ended[row] or token in ends:
                    ended[row] = True
                    continue
                outputs[row].append(token)
                values[row].append(chosen_logprobs[row])
                own = constraints[row]
                ended[row] = (bool(stops) and detectors[row].ends(token)) or (own is not None and own.take(token))
            if all(ended):
                break
            ids = chosen[:, None]
        texts = [text_of(self.words.tokenizer, [], tokens) for tokens in outputs]
        logprobs_by_row = [
            row_values[: count_before_stop(self.words.tokenizer, [], tokens, stops)]
            for row_values, tokens in zip(values, outputs, strict=True)
        ]
        return [
            Completion(
                text,
                finish_reason="stop" if end else "length",
                prompt_tokens=len(prompt),
                output_tokens=len(tokens),
            ).with_logprobs(row_logprobs)
            for text, row_logprobs, prompt, tokens, end in zip(
                texts, logprobs_by_row, rows, outputs, ended, strict=True
            )
        ]

    def _score(self, contexts: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> list[Completion]:
        import torch

        start = self._start()
        ids, _ = self._padded([[*start, *target[:-1]] for target in targets])
        wanted, _ = self._padded([target or [0] for target in targets])
        logits = self.model(**self._read(contexts), decoder_input_ids=ids, use_cache=False).logits
        logits = logits[:, len(start) - 1 :].float()
        chosen = logits.gather(-1, wanted[..., None]).squeeze(-1) - torch.logsumexp(logits, dim=-1)
        likeliest = (logits.argmax(-1) == wanted).tolist()
        return [
            Completion(
                "",
                prompt_tokens=len(context),
                output_tokens=len(target),
                is_greedy=all(greedy[: len(target)]) if target else None,
            ).with_logprobs(line[: len(target)])
            for line, greedy, context, target in zip(chosen.tolist(), likeliest, contexts, targets, strict=True)
        ]

    def _start(self) -> list[int]:
        """Return the first tokens of the decoder: its start token, and a forced first token."""
        token_ids = {}
        for name in ("decoder_start_token_id", "forced_bos_token_id", "bos_token_id"):
            configs = (getattr(self.model, "generation_config", None), self.model.config)
            token_ids[name] = next(
                (value for config in configs if (value := getattr(config, name, None)) is not None), None
            )
        start = token_ids["decoder_start_token_id"]
        start = token_ids["bos_token_id"] if start is None else start
        return [
            int(start or 0),
            *([] if token_ids["forced_bos_token_id"] is None else [int(token_ids["forced_bos_token_id"])]),
        ]

    def _padded(self, rows: Sequence[Sequence[int]]) -> tuple[Any, Any]:
        """Return the rows as one tensor, padded at the end, and its mask."""
        import torch

        pad, width = self.words.tokenizer.pad_token_id or 0, max(map(len, rows))
        ids = [[*row, *[pad] * (width - len(row))] for row in rows]
        mask = [[1] * len(row) + [0] * (width - len(row)) for row in rows]
        return torch.tensor(ids, device=self.model.device), torch.tensor(mask, device=self.model.device)
