"""Answers rows through transformers' own `generate`, batch by batch: for models that slots can't hold.

Prompts that may be padded are read before, so that what they share is read once; `generate` goes on from there.
"""

import logging
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from helmframe.models.engine.angles import reset
from helmframe.models.engine.memory import is_out_of_memory
from helmframe.models.engine.packed import Kept
from helmframe.models.engine.padded import as_cache, side_by_side
from helmframe.models.engine.reading import Reader, Wanted
from helmframe.models.engine.rows import Request, Row, longest_first, rows_of
from helmframe.models.engine.sampling import Sampling, logprobs
from helmframe.models.engine.stops import ending_tokens
from helmframe.models.model import Completion
from helmframe.models.stop_strings import stops_of

# Of a batch: rows, and tokens of its prompts, padded. On a CPU reading is fastest in small batches, writing in large.
MAX_ROWS = {"cpu": 32, "mps": 32, "cuda": 128}
TOKENS = {"cpu": 4096, "mps": 8192, "cuda": 32768}
READING, WRITING = 1024, 32
# Whether rows may be asked together is tried with prompts of these lengths, which get so many tokens. How far their
# log-probabilities may be from those of each alone, in float32 and in shorter types; there a trial may fail by chance.
LENGTHS, LIMIT, TRIALS = (9, 6), 3, 3
NOISE, ROUGH = 1e-4, 5e-2

logger = logging.getLogger("helmframe.models")


@dataclass(eq=False)
class PlainDecoder:
    """Answers with one model, `most` rows at once: half as many from when the memory did not hold them.

    Args:
        reader: of the model.
        tokenizer: the model's.
    """

    reader: Reader
    tokenizer: Any
    most: int | None = None
    _together: dict[bool, bool] = field(default_factory=dict)

    @property
    def model(self) -> Any:
        """Of the reader."""
        return self.reader.model

    def answers(
        self, requests: Sequence[Request], decoding: Mapping[str, Any], *, padded: bool
    ) -> Iterator[tuple[int, Completion | MemoryError]]:
        """Each request's place and answer, batch by batch; as `Decoder.answers`.

        Args:
            requests: what to answer.
            decoding: temperature, top_k, top_p and stop.
            padded: whether prompts of different lengths may be asked together, padded on the left; what they share is
                then read once, and so is a prompt of which there are several samples.
        """
        sampling, stops = Sampling.of(decoding), stops_of(decoding)
        ends = frozenset(ending_tokens(self.model, self.tokenizer, stops))
        places = rows_of(requests, self.tokenizer, stops, once=sampling.temperature <= 0)
        waiting = longest_first(places)
        most = 1
        padded = padded and len(waiting) > 1 and self._may_be_together(padded=True)
        if padded or (len(waiting) > 1 and self._may_be_together(padded=False)):
            most = len(waiting)
        made_room = False
        while waiting:
            rows = self._batch(waiting[:most], padded=padded)
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
                    self.most = len(rows) // 2
                    continue
                rows[0].fail(error)
            for row in rows:
                answer = row.answer(self.tokenizer)
                yield from ((place, answer) for place in places[row])
            del waiting[: len(rows)]

    def state(self) -> str:
        """How rows are asked where some were answered otherwise together than alone; "" where none were, so far."""
        if self._together.get(False) is False:
            return "longer answers are asked for one by one, as several come out otherwise together"
        if self._together.get(True) is False:
            return "longer answers are asked for in batches of equal length, as padded ones come out otherwise"
        return ""

    def _batch(self, waiting: Sequence[Row], *, padded: bool) -> list[Row]:
        """The first of those waiting that are asked together: the limit is that of the whole batch."""
        device = self.model.device.type
        first = waiting[0].request
        budget = TOKENS.get(device, TOKENS["cpu"])
        if device == "cpu":
            budget = min(budget, READING + WRITING * first.limit)
        most = min(self.most or MAX_ROWS.get(device, MAX_ROWS["cpu"]), max(1, budget // len(first.tokens)))
        return [
            row
            for row in waiting[:most]
            if row.request.limit == first.limit and (padded or len(row.request.tokens) == len(first.tokens))
        ]

    def _may_be_together(self, *, padded: bool) -> bool:
        """Whether rows get together what each gets alone: tried with random prompts, for some models forget rows."""
        if padded not in self._together:
            found = self._together[padded] = any(self._trial(seed, padded=padded) for seed in range(TRIALS))
            if not found:
                how = "prompts of unlike length" if padded else "several prompts"
                logger.warning("%s answers %s otherwise together than alone", type(self.model).__name__, how)
        return self._together[padded]

    def _trial(self, seed: int, *, padded: bool) -> bool:
        draw = random.Random(seed)  # noqa: S311
        size = int(self.model.get_input_embeddings().weight.shape[0])
        lengths = LENGTHS if padded else (LENGTHS[0],) * 2
        asked = [Request([draw.randrange(size) for _ in range(length)], LIMIT) for length in lengths]
        found: list[list[float]] = []
        for together in (True, False):
            rows = [*rows_of(asked, self.tokenizer, [], once=False)]
            for batch in [rows] if together else [[row] for row in rows]:
                self._generate(batch, Sampling(), frozenset(), padded=padded and together)
            found.append([logprob for row in rows for logprob in row.logprobs])
        noise = NOISE if str(self.model.dtype) in ("torch.float32", "torch.float64") else ROUGH
        return all(abs(one - other) <= noise for one, other in zip(*found, strict=True))

    def _generate(self, rows: Sequence[Row], sampling: Sampling, ends: frozenset[int], *, padded: bool) -> None:
        import torch
        from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

        pad = next((each for each in (self.tokenizer.pad_token_id, *sorted(ends)) if each is not None), 0)
        width = max(len(row.request.tokens) for row in rows)
        gaps = [width - len(row.request.tokens) for row in rows]
        device = self.model.device
        ids = torch.tensor(
            [[pad] * gap + [*row.request.tokens] for gap, row in zip(gaps, rows, strict=True)], device=device
        )
        mask = torch.tensor([[0] * gap + [1] * (width - gap) for gap in gaps], device=device)
        steps = _Steps(rows, sampling, ends)
        read = self._read(rows, width - 1) if padded and width > 1 else {}
        reset(self.model)
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
        """What `generate` goes on from: all tokens of the prompts but the last, those they share read once.

        Raises:
            MemoryError: a prompt does not fit the memory.
        """
        texts = {place: row.request.tokens[:-1] for place, row in enumerate(rows) if len(row.request.tokens) > 1}
        places = list(texts)
        kept: list[Kept | None] = [None] * len(rows)
        for part in self.reader.read([Wanted(text, len(text) - 1) for text in texts.values()], keep=True):
            if part.error is not None:
                raise part.error
            for place, each in zip(part.places, part.kept, strict=True):
                kept[places[place]] = each
        return as_cache(self.model, side_by_side(kept, width))


@dataclass(eq=False)
class _Steps:
    """What the loop of `generate` asks at each step: which token comes next, and which rows are done."""

    rows: Sequence[Row]
    sampling: Sampling
    ends: frozenset[int]

    def choose(self, _: Any, scores: Any) -> Any:
        """A logits processor: gives each row its next token, and leaves the loop no other."""
        import torch

        scores = scores.float()
        # past its end a row goes on with whatever comes
        steps = [len(row.outputs) for row in self.rows]
        chosen = self.sampling.choose(scores, [row.request.key for row in self.rows], steps)
        for row, token, logprob in zip(self.rows, chosen.tolist(), logprobs(scores, chosen).tolist(), strict=True):
            if not row.finished:
                row.take(token, logprob, self.ends)
        return torch.full_like(scores, -torch.inf).scatter(1, chosen[:, None], 0.0)

    def stop(self, ids: Any, *_: Any, **__: Any) -> Any:
        """A stopping criterion: the rows that are finished."""
        import torch

        return torch.tensor([row.finished for row in self.rows], device=ids.device)
