"""Rows to answer, and what each has got so far."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from helmframe.models.engine.stops import Watch, kept, text_of
from helmframe.models.model import Completion


@dataclass(frozen=True)
class Request:
    """A row to answer.

    Args:
        tokens: ids of the prompt, one at least.
        limit: tokens that may follow, one at least.
        key: what its draws depend on; see `key_of`.
    """

    tokens: Sequence[int]
    limit: int
    key: bytes = b""


@dataclass(eq=False)
class Row:
    """A request and what it has got so far.

    It is `finished` when no token shall follow, and `stopped` if a token that ends answers did it, or a stop string.
    """

    request: Request
    watch: Watch
    outputs: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finished: bool = False
    stopped: bool = False
    error: MemoryError | None = None

    @property
    def tokens(self) -> list[int]:
        """The prompt's, and those it has got."""
        return [*self.request.tokens, *self.outputs]

    @property
    def left(self) -> int:
        """Tokens that may still follow."""
        return self.request.limit - len(self.outputs)

    def take(self, token: int, logprob: float, ends: frozenset[int]) -> None:
        """One token more, and its log-probability; `ends` are the tokens that end answers and are no part of them."""
        if token not in ends:
            self.outputs.append(token)
            self.logprobs.append(logprob)
        self.stopped = token in ends or self.watch.ends(token)
        self.finished = self.stopped or not self.left

    def fail(self, error: BaseException) -> None:
        """The row does not fit the memory."""
        said = f"a prompt of {len(self.request.tokens)} tokens does not fit the memory: {error}"
        self.error = error if isinstance(error, MemoryError) else MemoryError(said)
        self.finished = True

    def clear(self) -> None:
        """Back to where nothing has come yet."""
        self.outputs, self.logprobs, self.finished, self.stopped = [], [], False, False
        self.watch = replace(self.watch)

    def answer(self, tokenizer: Any) -> Completion | MemoryError:
        """What the row has got, as an answer; or why it has none.

        Log-probabilities are those of the tokens that are `kept`, and null where there is none of these; all that came
        are counted.
        """
        if self.error is not None:
            return self.error
        own = self.logprobs[: kept(tokenizer, self.request.tokens, self.outputs, self.watch.stops)]
        return Completion(
            text_of(tokenizer, self.request.tokens, self.outputs),
            finish_reason="stop" if self.stopped else "length",
            prompt_tokens=len(self.request.tokens),
            output_tokens=len(self.outputs),
        ).with_logprobs(own)


def rows_of(requests: Sequence[Request], tokenizer: Any, stops: Sequence[str], *, once: bool) -> dict[Row, list[int]]:
    """A row for each request, and the requests' places that its answer is for.

    Args:
        requests: what to answer.
        tokenizer: in whose text stops are looked for.
        stops: strings that end an answer.
        once: the same requests are one row, for they have the same answer.
    """
    first: dict[tuple[int, ...], Row] = {}
    places: dict[Row, list[int]] = {}
    for place, each in enumerate(requests):
        key = (each.limit, *each.tokens) if once else (place,)
        if key not in first:
            first[key] = Row(each, Watch(tokenizer, each.tokens, stops))
        places.setdefault(first[key], []).append(place)
    return places


def longest_first(rows: Iterable[Row]) -> list[Row]:
    """The rows by what they may get, then by their prompts: who is left alone at the end has least to go."""
    return sorted(rows, key=lambda row: (-row.request.limit, -len(row.request.tokens), row.request.tokens))
