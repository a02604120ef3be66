"""Rows that the engine generates, with their tokens so far."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from helmframe.models.engine.stops import StopDetector, count_before_stop, text_of
from helmframe.models.model import Answer


@dataclass(frozen=True)
class Request:
    """A row to generate.

    Args:
        tokens: Token ids of the prompt, at least one.
        limit: The maximum of output tokens, at least one.
        key: The key of the row's random numbers; see `key_of`.
    """

    tokens: Sequence[int]
    limit: int
    key: bytes = b""


@dataclass(eq=False)
class Row:
    """A request and its tokens so far.

    It is `finished` when no token may follow, and `stopped` if an ending token or a stop string ended it.
    """

    request: Request
    detector: StopDetector
    outputs: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finished: bool = False
    stopped: bool = False
    error: MemoryError | None = None

    @property
    def tokens(self) -> list[int]:
        """Return the tokens of prompt and output."""
        return [*self.request.tokens, *self.outputs]

    @property
    def left(self) -> int:
        """Return how many tokens may follow."""
        return self.request.limit - len(self.outputs)

    def take(self, token: int, logprob: float, ends: frozenset[int]) -> None:
        """Add a token with its log-probability; the tokens in `ends` end a completion and are not part of it."""
        if token not in ends:
            self.outputs.append(token)
            self.logprobs.append(logprob)
        self.stopped = token in ends or self.detector.ends(token)
        self.finished = self.stopped or not self.left

    def fail(self, error: BaseException) -> None:
        """Finish the row because it does not fit into memory."""
        reason = f"a prompt of {len(self.request.tokens)} tokens does not fit the memory: {error}"
        self.error = error if isinstance(error, MemoryError) else MemoryError(reason)
        self.finished = True

    def clear(self) -> None:
        """Remove all output."""
        self.outputs, self.logprobs, self.finished, self.stopped = [], [], False, False
        self.detector = replace(self.detector)

    def answer(self, tokenizer: Any) -> Answer | MemoryError:
        """Return the row's output as an answer, or the error.

        Log-probabilities are those of tokens before a stop string, and null if there are none; `output_tokens` counts
        all.
        """
        if self.error is not None:
            return self.error
        n_tokens = count_before_stop(tokenizer, self.request.tokens, self.outputs, self.detector.stops)
        return Answer(
            text_of(tokenizer, self.request.tokens, self.outputs),
            finish_reason="stop" if self.stopped else "length",
            prompt_tokens=len(self.request.tokens),
            output_tokens=len(self.outputs),
        ).rated(self.logprobs[:n_tokens])


def rows_of(requests: Sequence[Request], tokenizer: Any, stops: Sequence[str], *, once: bool) -> dict[Row, list[int]]:
    """Return a row for each request, with the indices of the requests that it answers.

    Args:
        requests: The requests.
        tokenizer: The tokenizer in whose text stop strings are searched.
        stops: The strings that end a completion.
        once: Whether equal requests become one row, because they have the same completion.
    """
    first: dict[tuple[int, ...], Row] = {}
    row_requests: dict[Row, list[int]] = {}
    for index, request in enumerate(requests):
        key = (request.limit, *request.tokens) if once else (index,)
        if key not in first:
            first[key] = Row(request, StopDetector(tokenizer, request.tokens, stops))
        row_requests.setdefault(first[key], []).append(index)
    return row_requests


def longest_first(rows: Iterable[Row]) -> list[Row]:
    """Sort rows by their limit, then by their prompts: those left alone at the end have least to generate."""
    return sorted(rows, key=lambda row: (-row.request.limit, -len(row.request.tokens), row.request.tokens))
