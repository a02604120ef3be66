"""The budget of a run: limits of requests and cost, its priority, and an event that stops it."""

import threading
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from helmframe._core.checks import is_integer
from helmframe.errors import ArgumentError, listed
from helmframe.models.model import Completion

if TYPE_CHECKING:
    from helmframe.models.batch_runs import Batches

# Characters of English per token, for models that don't count tokens.
CHARACTERS_PER_TOKEN = 4
# The number of output tokens in an estimate, for requests without a limit.
UNLIMITED_TOKENS = 4096

Prices = Mapping[str, tuple[float, float]]


class Budget:
    """The limits of a run, shared by all its threads.

    Args:
        max_requests: The maximum number of requests to send; cached completions don't count.
        max_cost: The cost of completions at which sending stops, in the unit of `prices`. Calls in flight add to it.
        prices: Model name → price per million prompt tokens, and per million output tokens.
        priority: The priority in the queues of models. Runs of higher priority go first; equal runs take turns.

    Raises:
        ArgumentError: A limit or the priority is invalid, or `max_cost` lacks prices.
    """

    def __init__(
        self,
        max_requests: int | None = None,
        max_cost: float | None = None,
        prices: Prices | None = None,
        priority: int = 0,
    ) -> None:
        for name, limit in (("max_requests", max_requests), ("max_cost", max_cost)):
            if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int | float) or limit < 0):
                raise ArgumentError(f"{name}={limit!r}: {name} must be a number ≥ 0.")
        if not is_integer(priority):
            raise ArgumentError(f"priority={priority!r}: priority must be an integer; higher goes first.")
        if max_cost is not None and not prices:
            raise ArgumentError(
                f"max_cost={max_cost!r}: prices is required. Write prices={{'model': (2.5, 10)}}: the prices of a "
                "million prompt tokens and of a million output tokens."
            )
        self.stopped = threading.Event()
        self.priority = priority
        self.cost = 0.0
        self.batches: dict[tuple[str, str], Batches] = {}  # by name and fingerprint of the model
        self._reserved = 0.0  # the estimated cost of requests in batches
        self._left = max_requests
        self._max_cost = max_cost
        self._prices = dict(prices or {})
        self._lock = threading.Lock()

    def check(self, models: Sequence[str]) -> None:
        """Check that every model has a price, if cost is limited.

        Raises:
            ArgumentError: A model has no price.
        """
        for name in models:
            if self._max_cost is not None and name not in self._prices:
                raise ArgumentError(
                    f"max_cost: prices has no entry for model {name!r}, only for {listed(self._prices)}."
                )

    @property
    def prices(self) -> Prices:
        """Return the prices by model name."""
        return self._prices

    @property
    def left(self) -> int | None:
        """Return the number of requests that may still be sent; None: no limit."""
        return self._left

    def grant(self, wanted: int) -> int:
        """Return the number of requests that may be sent, at most `wanted`, and count them as sent."""
        with self._lock:
            if self.stopped.is_set():
                return 0
            if self._left is None:
                return wanted
            granted = min(wanted, self._left)
            self._left -= granted
            return granted

    def charges(self, model: str) -> bool:
        """Return whether the model has a price."""
        return model in self._prices

    def reserve(self, model: str, characters: Sequence[int], max_tokens: Sequence[int | None]) -> list[float]:
        """Reserve the estimated cost of requests that are submitted together; all output tokens are counted.

        Returns:
            The cost of each request, from the first, until the limit would be exceeded.
        """
        per_prompt, per_output = self._prices[model]
        costs = [
            (length / CHARACTERS_PER_TOKEN * per_prompt + (limit or UNLIMITED_TOKENS) * per_output) / 1e6
            for length, limit in zip(characters, max_tokens, strict=True)
        ]
        with self._lock:
            if self._max_cost is not None:
                room = self._max_cost - self.cost - self._reserved
                costs = costs[: sum(total <= room for total in accumulate(costs))]
            self._reserved += sum(costs)
        return costs

    def release(self, cost: float) -> None:
        """Release a reserved cost, because the requests have ended."""
        with self._lock:
            self._reserved -= cost

    def spend(self, model: str, characters: int, completions: Sequence[Completion | None]) -> None:
        """Add the cost of completions; `characters`, the length of the prompts, is used if tokens are not counted."""
        received = [completion for completion in completions if completion is not None]
        counted = [completion.prompt_tokens for completion in received if completion.prompt_tokens is not None]
        prompt = sum(counted) if len(counted) == len(received) else characters // CHARACTERS_PER_TOKEN
        output = sum(
            len(completion.text) // CHARACTERS_PER_TOKEN + 1
            if completion.output_tokens is None
            else completion.output_tokens
            for completion in received
        )
        per_prompt, per_output = self._prices[model]
        self.paid((prompt * per_prompt + output * per_output) / 1e6)

    def paid(self, cost: float) -> None:
        """Add a cost, and stop the run if the limit is reached."""
        with self._lock:
            self.cost += cost
            if self._max_cost is not None and self.cost + max(self._reserved, 0.0) >= self._max_cost:
                self.stopped.set()
