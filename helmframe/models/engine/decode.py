"""Generation, token by token in slots, or batch by batch with transformers' own `generate`."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, takewhile
from typing import Any

from helmframe._core.safe_text import get_logger
from helmframe.models.engine.attention import Slots
from helmframe.models.engine.memory import KeyValues, is_out_of_memory
from helmframe.models.engine.passes import as_cache, side_by_side
from helmframe.models.engine.reading import Reader, Wanted, reset_angles
from helmframe.models.engine.sampling import Request, Row, Sampling, constrained, logprobs, longest_first, rows_of
from helmframe.models.model import Completion
from helmframe.models.tokenizing import ending_tokens, stops_of

# The maximum of concurrent rows. Rows share the read of all weights in a step, until their keys and values are large.
MAX_ROWS = {"cpu": 64, "mps": 32, "cuda": 256}


@dataclass(frozen=True, eq=False)
class Decoder:
    """A generator of completions in slots.

    Args:
        reader: The model's reader.
        tokenizer: The model's tokenizer.
    """

    reader: Reader
    tokenizer: Any

    def complete(
        self, requests: Sequence[Request], decoding: Mapping[str, Any]
    ) -> Iterator[tuple[int, Completion | MemoryError]]:
        """Yield (index of a request, completion) as requests finish.

        `logprob` and `token_logprobs` (nats) are those of the model's own distribution over the tokens of the text,
        without the tokens that ended it (`Row.completion`). A request that does not fit into memory alone is an error.
        When memory runs out, cached prompts are removed first. Then the maximum of concurrent rows is halved, and rows
        resume at their last token. The model must be in evaluation mode, without gradients.

        Args:
            requests: The requests; shared starts are read once. If more than one token may follow, the reader's choice
                for texts of the length of prompt and completion must be `packed`.
            decoding: The parameters temperature, top_k, top_p and stop; the requests contain the others.
        """
        sampling, stops = Sampling.of(decoding), stops_of(decoding)
        row_requests = rows_of(requests, self.tokenizer, stops, once=sampling.temperature <= 0)
        waiting = longest_first(row_requests)
        model = self.reader.model
        running = _Running(self.reader, sampling, frozenset(ending_tokens(model, self.tokenizer, stops)))
        max_rows = MAX_ROWS.get(model.device.type, MAX_ROWS["cpu"])
        made_room = False
        while waiting or running.rows:
            at_once = min(max_rows, len(waiting) + len(running.rows))
            entering = _rows_to_read(waiting, at_once - len(running.rows), at_once)
            del waiting[: len(entering)]
            try:
                for row in running.read(entering, at_once) if entering else running.step():
                    completion = row.completion(self.tokenizer)
                    yield from ((index, completion) for index in row_requests[row])
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                unfinished = [row for row in dict.fromkeys([*running.rows, *entering]) if not row.finished]
                running.clear()
                if not made_room and self.reader.make_room():
                    made_room = True
                else:
                    if len(unfinished) == 1:
                        row = unfinished.pop()
                        row.fail(error)
                        yield from ((index, row.completion(self.tokenizer)) for index in row_requests[row])
                    max_rows = max(1, len(unfinished) // 2)
                waiting = unfinished + waiting


def _rows_to_read(waiting: Sequence[Row], free: int, at_once: int) -> list[Row]:
    """Return the waiting rows to read now; empty while the rows in slots should continue."""
    if waiting and waiting[0].left == 1:  # reading returns their only token, so they need no slots
        return list(takewhile(lambda row: row.left == 1, waiting))
    if free < min(-(-at_once // 4), len(waiting)):
        return []
    return list(takewhile(lambda row: row.left > 1, islice(waiting, free)))


@dataclass(eq=False)
class _Running:
    """The rows in the slots: `rows[i]` is in slot i."""

    reader: Reader
    sampling: Sampling
    ends: frozenset[int]
    rows: list[Row] = field(default_factory=list)
    _slots: Slots | None = None

    def read(self, rows: Sequence[Row], at_once: int) -> Iterator[Row]:
        """Read rows and sample a token for each; yield the finished rows, and put the others into slots."""
        import torch

        texts = [row.tokens for row in rows]
        reach = max(len(row.tokens) + row.left for row in rows)
        for part in self.reader.read([Wanted(text, len(text) - 1) for text in texts], keep=rows[0].left > 1):
            read = [rows[index] for index in part.indices]
            if part.error is not None:
                for row in read:
                    row.fail(part.error)
            else:
                last = torch.stack([text_rows[-1] for text_rows in part.rows])
                self._take(read, part.logits[last].float())
            for row, key_values in zip(read, part.key_values, strict=False):
                if not row.finished:
                    if self._slots is None:
                        self._slots = Slots(self.reader.model, at_once)
                    self._slots.enter(key_values, reach)
                    self.rows.append(row)
            yield from (row for row in read if row.finished)

    def step(self) -> list[Row]:
        """Sample a token for each row in a slot; return the finished rows, and free their slots."""
        import torch

        assert self._slots is not None  # rows are in slots
        tokens = torch.tensor([row.outputs[-1] for row in self.rows], device=self.reader.model.device)
        self._take(self.rows, self._slots.step(tokens))
        finished = [slot for slot, row in enumerate(self.rows) if row.finished]
        finished_rows = [self.rows[slot] for slot in finished]
        for slot in reversed(finished):
            self._slots.leave(slot)
            self.rows[slot] = self.rows[-1]
            self.rows.pop()
        return finished_rows

    def clear(self) -> None:
        """Remove all rows, and free their memory, so that another reader can use it."""
        self.rows, self._slots = [], None

    def _take(self, rows: Sequence[Row], logits: Any) -> None:
        keys, steps = [row.request.key for row in rows], [len(row.outputs) for row in rows]
        chosen = self.sampling.choose(constrained(logits, [row.constraint for row in rows]), keys, steps)
        for row, token, logprob in zip(rows, chosen.tolist(), logprobs(logits, chosen).tolist(), strict=True):
            row.take(token, logprob, self.ends)


# The maximum of rows of a batch, and of padded prompt tokens. On a CPU, small batches are faster for prompts, and large
# batches for output.
BATCH_ROWS = {"cpu": 32, "mps": 32, "cuda": 128}
TOKENS = {"cpu": 4096, "mps": 8192, "cuda": 32768}
READING, WRITING = 1024, 32
# The trial of batches has prompts of these LENGTHS, and LIMIT tokens of output. Its log-probabilities may differ from
# those of single rows by NOISE in float32, and by ROUGH in shorter types, where a trial may fail by chance.
LENGTHS, LIMIT, TRIALS = (9, 6), 3, 3
NOISE, ROUGH = 1e-4, 5e-2

logger = get_logger("helmframe.models")


@dataclass(eq=False)
class PlainDecoder:
    """A generator of completions in batches.

    Args:
        reader: The model's reader.
        tokenizer: The model's tokenizer.
        max_rows: The maximum of rows of a batch, which is halved when memory runs out; None: the device's default.
    """

    reader: Reader
    tokenizer: Any
    max_rows: int | None = None
    _batchable: dict[bool, bool] = field(default_factory=dict)

    @property
    def model(self) -> Any:
        """Return the reader's model."""
        return self.reader.model

    def complete(
        self, requests: Sequence[Request], decoding: Mapping[str, Any], *, padded: bool
    ) -> Iterator[tuple[int, Completion | MemoryError]]:
        """Yield (index of a request, completion) batch by batch, as `Decoder.complete` does.

        Args:
            requests: The requests.
            decoding: The parameters temperature, top_k, top_p and stop.
            padded: Whether prompts of different lengths may share a batch, padded on the left. Then shared starts are
                read once, and so is a prompt with several samples.
        """
        sampling, stops = Sampling.of(decoding), stops_of(decoding)
        ends = frozenset(ending_tokens(self.model, self.tokenizer, stops))
        row_requests = rows_of(requests, self.tokenizer, stops, once=sampling.temperature <= 0)
        waiting = longest_first(row_requests)
        max_rows = 1
        padded = padded and len(waiting) > 1 and self._is_batchable(padded=True)
        if padded or (len(waiting) > 1 and self._is_batchable(padded=False)):
            max_rows = len(waiting)
        made_room = False
        while waiting:
            rows = self._batch(waiting[:max_rows], padded=padded)
            try:
                self._generate(rows, sampling, ends, padded=padded)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                for row in rows:
                    row.clear()
                if not made_room and self.reader.make_room():
                    made_room = True
                    continue
                if len(rows) > 1:
                    self.max_rows = len(rows) // 2
                    continue
                rows[0].fail(error)
            for row in rows:
                completion = row.completion(self.tokenizer)
                yield from ((index, completion) for index in row_requests[row])
            del waiting[: len(rows)]

    def state(self) -> str:
        """Return how requests are batched, if batches changed completions so far; else ""."""
        if self._batchable.get(False) is False:
            return "longer completions are generated one by one, because batches change them"
        if self._batchable.get(True) is False:
            return "longer completions are generated in batches of equal length, because padding changes them"
        return ""

    def _batch(self, waiting: Sequence[Row], *, padded: bool) -> list[Row]:
        """Return the first waiting rows that can share a batch; all have the same limit of output tokens."""
        device = self.model.device.type
        first = waiting[0].request
        budget = TOKENS.get(device, TOKENS["cpu"])
        if device == "cpu":
            budget = min(budget, READING + WRITING * first.limit)
        max_rows = min(self.max_rows or BATCH_ROWS.get(device, BATCH_ROWS["cpu"]), max(1, budget // len(first.tokens)))
        return [
            row
            for row in waiting[:max_rows]
            if row.request.limit == first.limit and (padded or len(row.request.tokens) == len(first.tokens))
        ]

    def _is_batchable(self, *, padded: bool) -> bool:
        """Return whether batches don't change completions, by a trial with random prompts."""
        if padded not in self._batchable:
            unchanged = self._batchable[padded] = any(self._trial(seed, padded=padded) for seed in range(TRIALS))
            if not unchanged:
                prompts = "prompts of different lengths" if padded else "several prompts"
                logger.warning(
                    "%s generates other completions for %s in a batch than alone", type(self.model).__name__, prompts
                )
        return self._batchable[padded]

    def _trial(self, seed: int, *, padded: bool) -> bool:
        draw = random.Random(seed)  # noqa: S311
        size = int(self.model.get_input_embeddings().weight.shape[0])
        lengths = LENGTHS if padded else (LENGTHS[0],) * 2
        requests = [Request([draw.randrange(size) for _ in range(length)], LIMIT) for length in lengths]
        logprobs_by_run: list[list[float]] = []
        for batched in (True, False):
            rows = [*rows_of(requests, self.tokenizer, [], once=False)]
            for batch in [rows] if batched else [[row] for row in rows]:
                self._generate(batch, Sampling(), frozenset(), padded=padded and batched)
            logprobs_by_run.append([logprob for row in rows for logprob in row.logprobs])
        noise = NOISE if str(self.model.dtype) in ("torch.float32", "torch.float64") else ROUGH
        return all(abs(batched - single) <= noise for batched, single in zip(*logprobs_by_run, strict=True))

    def _generate(self, rows: Sequence[Row], sampling: Sampling, ends: frozenset[int], *, padded: bool) -> None:
        import torch
        from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

        pad = next((token for token in (self.tokenizer.pad_token_id, *sorted(ends)) if token is not None), 0)
        width = max(len(row.request.tokens) for row in rows)
        gaps = [width - len(row.request.tokens) for row in rows]
        device = self.model.device
        ids = torch.tensor(
            [[pad] * gap + [*row.request.tokens] for gap, row in zip(gaps, rows, strict=True)], device=device
        )
        mask = torch.tensor([[0] * gap + [1] * (width - gap) for gap in gaps], device=device)
        steps = _Steps(rows, sampling, ends)
        read = self._read(rows, width - 1) if padded and width > 1 else {}
        reset_angles(self.model)
        self.model.generate(
            input_ids=ids,
            attention_mask=mask,
            generation_config=GenerationConfig(  # type: ignore[no-untyped-call]
                do_sample=False,
                max_new_tokens=rows[0].request.limit,
                pad_token_id=pad,
                eos_token_id=None,
                use_cache=True,
            ),
            logits_processor=LogitsProcessorList([steps.choose]),
            stopping_criteria=StoppingCriteriaList([steps.stop]),
            **read,
        )

    def _read(self, rows: Sequence[Row], width: int) -> dict[str, Any]:
        """Return the cache with all prompt tokens but the last, from which `generate` continues.

        Raises:
            MemoryError: A prompt does not fit into memory.
        """
        texts = {index: row.request.tokens[:-1] for index, row in enumerate(rows) if len(row.request.tokens) > 1}
        indices = list(texts)
        cached: list[KeyValues | None] = [None] * len(rows)
        for part in self.reader.read([Wanted(text, len(text) - 1) for text in texts.values()], keep=True):
            if part.error is not None:
                raise part.error
            for index, key_values in zip(part.indices, part.key_values, strict=True):
                cached[indices[index]] = key_values
        return as_cache(self.model, side_by_side(cached, width))


@dataclass(eq=False)
class _Steps:
    """The hooks of the loop of `generate`: they choose the next token of each row, and stop finished rows."""

    rows: Sequence[Row]
    sampling: Sampling
    ends: frozenset[int]

    def choose(self, _: Any, scores: Any) -> Any:
        """Sample the next token of each row, and allow no other token; a logits processor."""
        import torch

        scores = scores.float()
        # finished rows continue with any token
        steps = [len(row.outputs) for row in self.rows]
        constraints = [None if row.finished else row.constraint for row in self.rows]
        chosen = self.sampling.choose(constrained(scores, constraints), [row.request.key for row in self.rows], steps)
        for row, token, logprob in zip(self.rows, chosen.tolist(), logprobs(scores, chosen).tolist(), strict=True):
            if not row.finished:
                row.take(token, logprob, self.ends)
        return torch.full_like(scores, -torch.inf).scatter(1, chosen[:, None], 0.0)

    def stop(self, ids: Any, *_: Any, **__: Any) -> Any:
        """Return which rows are finished; a stopping criterion."""
        import torch

        return torch.tensor([row.finished for row in self.rows], device=ids.device)
