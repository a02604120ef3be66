"""Answers rows token by token: slots are filled from prompts read together, and filled again as rows finish."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, takewhile
from typing import Any

from helmframe.models.engine.memory import is_out_of_memory
from helmframe.models.engine.reading import Reader, Wanted
from helmframe.models.engine.rows import Request, Row, longest_first, rows_of
from helmframe.models.engine.sampling import Sampling, logprobs
from helmframe.models.engine.slots import Slots
from helmframe.models.engine.stops import ending_tokens
from helmframe.models.model import Completion
from helmframe.models.stop_strings import stops_of

# Rows answered at once. A step reads all weights: the more rows share that, the better, until their own keys and values
# are as large.
MAX_ROWS = {"cpu": 64, "mps": 32, "cuda": 256}


@dataclass(frozen=True, eq=False)
class Decoder:
    """Answers with one model.

    Args:
        reader: of the model.
        tokenizer: the model's.
    """

    reader: Reader
    tokenizer: Any

    def answers(
        self, requests: Sequence[Request], decoding: Mapping[str, Any]
    ) -> Iterator[tuple[int, Completion | MemoryError]]:
        """Each request's place and answer, as they finish.

        `logprob` and `token_logprobs` (nats) are those of the model's own distribution over the tokens of the text,
        without what ended it (`Row.answer`); null where there are none. A request that does not fit the memory even
        alone is an error in its place. Out of memory, what is kept of prompts before goes first; then half as many rows
        are answered at once. They go on from where they were. Call it with the model in evaluation mode and without
        gradients.

        Args:
            requests: what to answer; what several of them begin with is read once. Where more than one token may
                follow, the reader's choice for texts as long as prompt and answer is `packed`.
            decoding: temperature, top_k, top_p and stop; the other parameters are in the requests.
        """
        sampling, stops = Sampling.of(decoding), stops_of(decoding)
        places = rows_of(requests, self.tokenizer, stops, once=sampling.temperature <= 0)
        waiting = longest_first(places)
        model = self.reader.model
        running = _Running(self.reader, sampling, frozenset(ending_tokens(model, self.tokenizer, stops)))
        most = MAX_ROWS.get(model.device.type, MAX_ROWS["cpu"])
        made_room = False
        while waiting or running.rows:
            at_once = min(most, len(waiting) + len(running.rows))
            entering = _entering(waiting, at_once - len(running.rows), at_once)
            del waiting[: len(entering)]
            try:
                for row in running.read(entering, at_once) if entering else running.step():
                    answer = row.answer(self.tokenizer)
                    yield from ((place, answer) for place in places[row])
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                back = [row for row in dict.fromkeys([*running.rows, *entering]) if not row.finished]
                running.clear()
                if not made_room and self.reader.make_room():
                    made_room = True
                else:
                    if len(back) == 1:
                        row = back.pop()
                        row.fail(error)
                        yield from ((place, row.answer(self.tokenizer)) for place in places[row])
                    most = max(1, len(back) // 2)
                waiting = back + waiting


def _entering(waiting: Sequence[Row], free: int, at_once: int) -> list[Row]:
    """The first of those waiting, if they are read now; none while the rows in the slots shall go on."""
    if waiting and waiting[0].left == 1:  # to read them is to answer them: they take no slots
        return list(takewhile(lambda row: row.left == 1, waiting))
    if free < min(-(-at_once // 4), len(waiting)):
        return []
    return list(takewhile(lambda row: row.left > 1, islice(waiting, free)))


@dataclass(eq=False)
class _Running:
    """The rows in the slots: `rows[i]` in slot i."""

    reader: Reader
    sampling: Sampling
    ends: frozenset[int]
    rows: list[Row] = field(default_factory=list)
    _slots: Slots | None = None

    def read(self, rows: Sequence[Row], at_once: int) -> Iterator[Row]:
        """Read rows and give each a token; those that go on enter the slots, the others are given back."""
        import torch

        texts = [row.tokens for row in rows]
        reach = max(len(row.tokens) + row.left for row in rows)
        for part in self.reader.read([Wanted(text, len(text) - 1) for text in texts], keep=rows[0].left > 1):
            read = [rows[place] for place in part.places]
            if part.error is not None:
                for row in read:
                    row.fail(part.error)
            else:
                last = torch.stack([of_row[-1] for of_row in part.rows])
                self._take(read, part.logits[last].float())
            for row, kept in zip(read, part.kept, strict=False):
                if not row.finished:
                    if self._slots is None:
                        self._slots = Slots(self.reader.model, at_once)
                    self._slots.enter(kept, reach)
                    self.rows.append(row)
            yield from (row for row in read if row.finished)

    def step(self) -> list[Row]:
        """Give each row in the slots a token; those that end with it leave, and are given back."""
        import torch

        assert self._slots is not None  # there are rows in it
        tokens = torch.tensor([row.outputs[-1] for row in self.rows], device=self.reader.model.device)
        self._take(self.rows, self._slots.step(tokens))
        finished = [slot for slot, row in enumerate(self.rows) if row.finished]
        found = [self.rows[slot] for slot in finished]
        for slot in reversed(finished):
            self._slots.leave(slot)
            self.rows[slot] = self.rows[-1]
            self.rows.pop()
        return found

    def clear(self) -> None:
        """Let all rows go, and the memory they had."""
        self.rows, self._slots = [], None

    def _take(self, rows: Sequence[Row], logits: Any) -> None:
        keys, steps = [row.request.key for row in rows], [len(row.outputs) for row in rows]
        chosen = self.sampling.choose(logits, keys, steps)
        for row, token, logprob in zip(rows, chosen.tolist(), logprobs(logits, chosen).tolist(), strict=True):
            row.take(token, logprob, self.ends)
