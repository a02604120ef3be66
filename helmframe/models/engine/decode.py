"""Generation token by token: prompts that were read together fill slots, which are refilled as rows finish."""

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
from helmframe.models.model import Answer
from helmframe.models.stop_strings import stops_of

# Rows at once. A step reads all weights: the more rows share that, the better, until their keys and values are large.
MAX_ROWS = {"cpu": 64, "mps": 32, "cuda": 256}


@dataclass(frozen=True, eq=False)
class Decoder:
    """Generates completions with one model.

    Args:
        reader: The model's reader.
        tokenizer: The model's tokenizer.
    """

    reader: Reader
    tokenizer: Any

    def answers(
        self, requests: Sequence[Request], decoding: Mapping[str, Any]
    ) -> Iterator[tuple[int, Answer | MemoryError]]:
        """Yield (index of a request, answer) as requests finish.

        `logprob` and `token_logprobs` (nats) are those of the model's own distribution over the tokens of the text,
        without the tokens that ended it (`Row.answer`); null where there are none. A request that does not fit into
        memory even alone is an error. When memory runs out, cached prompts are removed first; then the number of rows
        at once is halved, and rows resume where they were. Call it with the model in evaluation mode and without
        gradients.

        Args:
            requests: The requests; starts that several share are read once. If more than one token may follow, the
                reader's choice for texts as long as prompt and answer must be `packed`.
            decoding: temperature, top_k, top_p and stop; the other parameters are in the requests.
        """
        sampling, stops = Sampling.of(decoding), stops_of(decoding)
        row_requests = rows_of(requests, self.tokenizer, stops, once=sampling.temperature <= 0)
        waiting = longest_first(row_requests)
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
                    yield from ((index, answer) for index in row_requests[row])
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
                        yield from ((index, row.answer(self.tokenizer)) for index in row_requests[row])
                    most = max(1, len(back) // 2)
                waiting = back + waiting


def _entering(waiting: Sequence[Row], free: int, at_once: int) -> list[Row]:
    """Return the first waiting rows if they are to be read now; none while the rows in slots should continue."""
    if waiting and waiting[0].left == 1:  # reading gives their only token: they take no slots
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
        """Read rows and sample a token for each; yield those that finish, and put the others into slots."""
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
        """Sample a token for each row in a slot; return the rows that finish, and free their slots."""
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
        """Remove all rows, and free their memory."""
        self.rows, self._slots = [], None

    def _take(self, rows: Sequence[Row], logits: Any) -> None:
        keys, steps = [row.request.key for row in rows], [len(row.outputs) for row in rows]
        chosen = self.sampling.choose(logits, keys, steps)
        for row, token, logprob in zip(rows, chosen.tolist(), logprobs(logits, chosen).tolist(), strict=True):
            row.take(token, logprob, self.ends)
