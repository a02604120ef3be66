"""How much a run may ask, and before whom: requests, money, priority, or until somebody says stop."""

import threading
from collections.abc import Mapping, Sequence

from helmframe.errors import ArgumentError
from helmframe.models.model import Answer

# Characters of English per token, where a model does not count.
CHARACTERS_PER_TOKEN = 4

Prices = Mapping[str, tuple[float, float]]


class Budget:
    """What a run may still ask; one for all its threads.

    Args:
        max_requests: requests asked at most; those that the store has don't count.
        max_cost: stops asking once the answers cost this much, in the unit of `prices`; what is in flight comes on top.
        prices: model name → price of a million prompt tokens and of a million output tokens.
        priority: runs of higher priority go first in their model's queue; equal ones take turns.
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
                raise ArgumentError(f"{name}={limit!r}: a number from 0 on.")
        if isinstance(priority, bool) or not isinstance(priority, int):
            raise ArgumentError(f"priority={priority!r}: a whole number; higher goes first.")
        if max_cost is not None and not prices:
            raise ArgumentError(
                "max_cost needs prices={model: (per million prompt tokens, per million output tokens)}."
            )
        self.stopped = threading.Event()
        self.priority = priority
        self.cost = 0.0
        self._left = max_requests
        self._max_cost = max_cost
        self._prices = dict(prices or {})
        self._lock = threading.Lock()

    def check(self, models: Sequence[str]) -> None:
        """That every model has a price, where money is counted.

        Raises:
            ArgumentError: one has none.
        """
        for name in models:
            if self._max_cost is not None and name not in self._prices:
                raise ArgumentError(f"max_cost: no price for model {name!r}; prices has: {', '.join(self._prices)}.")

    @property
    def prices(self) -> Prices:
        """As they were said."""
        return self._prices

    @property
    def left(self) -> int | None:
        """Requests that may still be asked; None: any number."""
        return self._left

    def grant(self, wanted: int) -> int:
        """How many of the wanted requests may be asked; they count as asked."""
        with self._lock:
            if self.stopped.is_set():
                return 0
            if self._left is None:
                return wanted
            granted = min(wanted, self._left)
            self._left -= granted
            return granted

    def charges(self, model: str) -> bool:
        """Whether this model's answers have a price."""
        return model in self._prices

    def spend(self, model: str, characters: int, answers: Sequence[Answer | None]) -> None:
        """Count what answers cost; `characters` is the length of their prompts, for models that don't count tokens."""
        given = [answer for answer in answers if answer is not None]
        counted = [answer.prompt_tokens for answer in given if answer.prompt_tokens is not None]
        prompt = sum(counted) if len(counted) == len(given) else characters // CHARACTERS_PER_TOKEN
        output = sum(
            len(answer.text) // CHARACTERS_PER_TOKEN + 1 if answer.output_tokens is None else answer.output_tokens
            for answer in given
        )
        per_prompt, per_output = self._prices[model]
        self.paid((prompt * per_prompt + output * per_output) / 1e6)

    def paid(self, cost: float) -> None:
        """Count what somebody has spent elsewhere."""
        with self._lock:
            self.cost += cost
            if self._max_cost is not None and self.cost >= self._max_cost:
                self.stopped.set()
