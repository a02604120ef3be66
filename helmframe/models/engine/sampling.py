"""Requests of the engine, the rows that generate for them, and the sampling of tokens."""

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from helmframe._core.safe_text import error_text, valid_unicode
from helmframe.errors import CapabilityError
from helmframe.models.model import Completion
from helmframe.models.tokenizing import StopDetector, count_before_stop, ending_tokens, stops_of, text_of

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Request:
    """A row to generate.

    Args:
        tokens: The token ids of the prompt, at least one.
        limit: The maximum number of output tokens, at least 1.
        key: The key of the row's random numbers; see `key_of`.
        constraint: The constraint of a row that has no tokens yet; None: every token may follow.
    """

    tokens: Sequence[int]
    limit: int
    key: bytes = b""
    constraint: "Constraint | None" = None


@dataclass(eq=False)
class Constraint:
    """A JSON schema, and the text of one row so far: the tokens that may follow.

    Args:
        matcher: A matcher of llguidance.
    """

    matcher: Any

    def copy(self) -> "Constraint":
        """Return a constraint for another row."""
        return Constraint(self.matcher.deep_copy())

    def allowed(self, size: int) -> "NDArray[np.bool_]":
        """Return which of the first `size` tokens may follow.

        Raises:
            CapabilityError: The schema is too complex for the limits of llguidance.
        """
        bits = np.frombuffer(self.matcher.compute_bitmask(), np.uint8)
        if self.matcher.is_error():
            raise CapabilityError(_refusal(self.matcher.get_error()))
        return np.unpackbits(bits, bitorder="little")[:size].astype(bool)

    def take(self, token: int) -> bool:
        """Add a token, and return whether the value is complete, so that no token may follow."""
        self.matcher.consume_token(token)
        return bool(self.matcher.is_stopped())


def constrained(logits: Any, constraints: Sequence[Constraint | None]) -> Any:
    """Return logits [rows, vocabulary] with minus infinity for tokens that the rows' constraints don't allow."""
    if not any(constraint is not None for constraint in constraints):
        return logits
    import torch

    logits, size = logits.clone(), logits.shape[-1]
    for row, constraint in enumerate(constraints):
        if constraint is not None:
            allowed = torch.from_numpy(constraint.allowed(size)).to(logits.device)
            logits[row].masked_fill_(~allowed, -torch.inf)
    return logits


@dataclass(eq=False)
class Constraints:
    """The constraints of a model's completions, by JSON schema.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
    """

    model: Any
    tokenizer: Any
    _words: dict[tuple[int, ...], Any] = field(default_factory=dict)

    def of(self, decoding: Mapping[str, Any]) -> Constraint | None:
        """Return the constraint of decoding parameters; None without a JSON schema.

        Raises:
            CapabilityError: llguidance is not installed, or doesn't support the schema or the tokenizer.
        """
        schema = decoding.get("json_schema")
        if schema is None:
            return None
        if find_spec("llguidance") is None:
            raise CapabilityError(
                "generate(json_schema=…): local models need the package llguidance: pip install 'helmframe[json]'."
            )
        from llguidance import LLMatcher

        stops = stops_of(decoding)
        ends = tuple(ending_tokens(self.model, self.tokenizer, stops))
        if ends not in self._words:
            self._words[ends] = self._read_tokens(ends)
        # one space, or a line break with indentation: small models may repeat white space without end
        space = " ?" if any("\n" in stop for stop in stops) else r" ?|\n {0,16}"
        options = {"whitespace_pattern": space, "coerce_one_of": True}
        grammar = LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=options)  # type: ignore[arg-type]
        matcher = LLMatcher(self._words[ends], grammar, log_level=0)
        if matcher.is_error():
            raise CapabilityError(_refusal(matcher.get_error()))
        return Constraint(matcher)

    def _read_tokens(self, ends: Sequence[int]) -> Any:
        from llguidance.hf import from_tokenizer

        size = int(self.model.get_input_embeddings().weight.shape[0])
        try:
            return from_tokenizer(self.tokenizer, max(size, len(self.tokenizer)), list(ends) or None)
        except (ValueError, TypeError) as error:
            raise CapabilityError(
                "generate(json_schema=…): llguidance can't read the tokenizer. Use a model with a fast tokenizer. "
                f"({error_text(error)})"
            ) from None


def _refusal(problem: str) -> str:
    line = " ".join(valid_unicode(problem).split())[:300]
    return f"generate(json_schema=…): llguidance, which local models use, doesn't support the schema: {line}"


@dataclass(eq=False)
class Row:
    """A row that generates for a request, with its tokens so far.

    A row is `finished` if no token may follow, and `stopped` if an end token or a stop string ended it.
    """

    request: Request
    detector: StopDetector
    constraint: Constraint | None = None
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
        """Return the number of tokens that may follow."""
        return self.request.limit - len(self.outputs)

    def take(self, token: int, logprob: float, ends: frozenset[int]) -> None:
        """Add a token with its log-probability; a token in `ends` ends the completion, and is not part of it."""
        if token not in ends:
            self.outputs.append(token)
            self.logprobs.append(logprob)
        self.stopped = token in ends or self.detector.ends(token)
        if self.constraint is not None and not self.stopped:
            self.stopped = self.constraint.take(token)
        self.finished = self.stopped or not self.left

    def fail(self, error: BaseException) -> None:
        """Finish the row with an error, because it does not fit into memory."""
        reason = f"a prompt of {len(self.request.tokens)} tokens doesn't fit into memory: {error}"
        self.error = error if isinstance(error, MemoryError) else MemoryError(reason)
        self.finished = True

    def clear(self) -> None:
        """Remove all output tokens."""
        self.outputs, self.logprobs, self.finished, self.stopped = [], [], False, False
        self.detector = replace(self.detector)
        self.constraint = None if self.request.constraint is None else self.request.constraint.copy()

    def completion(self, tokenizer: Any) -> Completion | MemoryError:
        """Return the completion of the row, or its error.

        Log-probabilities are those of the tokens before a stop string; `output_tokens` counts all tokens.
        """
        if self.error is not None:
            return self.error
        n_tokens = count_before_stop(tokenizer, self.request.tokens, self.outputs, self.detector.stops)
        return Completion(
            text_of(tokenizer, self.request.tokens, self.outputs),
            finish_reason="stop" if self.stopped else "length",
            prompt_tokens=len(self.request.tokens),
            output_tokens=len(self.outputs),
        ).with_logprobs(self.logprobs[:n_tokens])


def rows_of(requests: Sequence[Request], tokenizer: Any, stops: Sequence[str], *, once: bool) -> dict[Row, list[int]]:
    """Return the rows for the requests, with the indices of the requests of each row.

    Args:
        requests: The requests.
        tokenizer: The tokenizer, in whose text stop strings are searched.
        stops: The strings that end a completion.
        once: Whether equal requests share one row, because they have the same completion.
    """
    first: dict[tuple[int, ...], Row] = {}
    row_requests: dict[Row, list[int]] = {}
    for index, request in enumerate(requests):
        key = (request.limit, *request.tokens) if once else (index,)
        if key not in first:
            constraint = None if request.constraint is None else request.constraint.copy()
            first[key] = Row(request, StopDetector(tokenizer, request.tokens, stops), constraint)
        row_requests.setdefault(first[key], []).append(index)
    return row_requests


def longest_first(rows: Iterable[Row]) -> list[Row]:
    """Return the rows sorted by limit and prompt, the longest first, so that the last rows generate least."""
    return sorted(rows, key=lambda row: (-row.request.limit, -len(row.request.tokens), row.request.tokens))


# The number of tokens that are ranked for top_p; the whole vocabulary is ranked only if these are not enough.
LIKELY = 256
# The number of rows of logits that fit into a CPU's cache.
CACHED = 8


@dataclass(frozen=True)
class Sampling:
    """The sampling of tokens: greedy at temperature 0, and from the whole vocabulary at top_k 0."""

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0

    @classmethod
    def of(cls, decoding: Mapping[str, Any]) -> "Sampling":
        """Return the sampling of decoding parameters, greedy by default."""
        top_p = decoding.get("top_p")
        return cls(
            float(decoding.get("temperature") or 0),
            int(decoding.get("top_k") or 0),
            1.0 if top_p is None else min(float(top_p), 1.0),
        )

    def choose(self, logits: Any, keys: Sequence[bytes], steps: Sequence[int]) -> Any:
        """Return the next token of each row, token ids [rows].

        Args:
            logits: The logits of the rows, [rows, vocabulary].
            keys: The key of each row; see `key_of`.
            steps: The number of output tokens of each row.
        """
        if self.temperature <= 0:
            return logits.argmax(dim=-1)
        import torch

        draws = [uniforms(key, step) for key, step in zip(keys, steps, strict=True)]
        weights = torch.softmax(self._truncated(logits.float() / self.temperature), dim=-1)
        return _sample(weights, torch.tensor(draws, dtype=torch.float64, device=logits.device))

    def _truncated(self, scaled: Any) -> Any:
        """Return the logits with minus infinity for tokens outside the `top_k` likeliest and the mass `top_p`."""
        import torch

        size = scaled.shape[-1]
        if not 0 < self.top_k < size and self.top_p >= 1:
            return scaled
        ranked = scaled.topk(min(self.top_k or LIKELY, size), dim=-1)
        values = ranked.values
        if self.top_p < 1:
            norm = torch.logsumexp(values if self.top_k else scaled, dim=-1, keepdim=True)
            if not self.top_k and bool(((values - norm).exp().sum(dim=-1) < self.top_p).any()):
                ranked = scaled.sort(dim=-1, descending=True)
                values = ranked.values
            probabilities = (values - norm).double().exp()
            before = probabilities.cumsum(dim=-1) - probabilities
            # the first token is always included
            values = values.masked_fill((before >= self.top_p) & (before > 0), -torch.inf)
        return torch.full_like(scaled, -torch.inf).scatter(1, ranked.indices, values)


def _sample(weights: Any, draws: Any) -> Any:
    """Sample a token of each row by two numbers in [0, 1): one of about √vocabulary lines of tokens, and a token in it.

    Each of the two steps compares few weights, so float noise rarely changes a sample. A single step over all tokens
    would often change between unlikely tokens, whose weights are as small as the noise.
    """
    import torch

    rows, size = weights.shape
    side = math.ceil(math.sqrt(size))
    lines = torch.nn.functional.pad(weights, (0, side * side - size)).reshape(rows, side, side)
    line = _pick(lines.sum(dim=-1, dtype=torch.float64), draws[:, 0])
    column = _pick(lines[torch.arange(rows, device=line.device), line].double(), draws[:, 1])
    return line * side + column


def _pick(weights: Any, draws: Any) -> Any:
    """Return the index at which the cumulated weight of each row exceeds its random number."""
    import torch

    cumulated = weights.cumsum(dim=-1)
    total = cumulated[:, -1:]
    indices = torch.searchsorted(cumulated, draws[:, None] * total, right=True)
    return indices.minimum((cumulated < total).sum(dim=-1, keepdim=True)).squeeze(1)


def logprobs(logits: Any, tokens: Any) -> Any:
    """Return the log-probability (nats) of each row's token, [rows], at temperature 1."""
    return logits.gather(1, tokens[:, None]).squeeze(1) - norms(logits)


def norms(logits: Any) -> Any:
    """Return the log-sum-exp of each row of logits [rows, vocabulary]."""
    import torch

    # on a CPU few rows at a time, so that their exponentials fit into its cache
    size = CACHED if logits.device.type == "cpu" else len(logits)
    return torch.cat([torch.logsumexp(rows, dim=-1) for rows in logits.split(size)])


def key_of(seed: int | None, text: str) -> bytes:
    """Return the key of a row's random numbers, from seed and prompt; random without a seed."""
    if seed is None:
        return os.urandom(32)
    return hashlib.sha256(f"{seed}\0{text}".encode("utf-8", "replace")).digest()


def uniforms(key: bytes, step: int) -> tuple[float, float]:
    """Return two random numbers in [0, 1), from key and step."""
    digest = hashlib.blake2b(step.to_bytes(8, "big"), key=key, digest_size=16).digest()
    first, second = (int.from_bytes(half, "big") >> 11 for half in (digest[:8], digest[8:]))
    return first / 2**53, second / 2**53
