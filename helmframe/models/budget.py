"""The budget of a run: limits of requests and cost, prices of models, the priority, and an event that stops the run."""

import json
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from helmframe import config
from helmframe._core.checks import is_integer
from helmframe._core.safe_text import error_text, get_logger
from helmframe._core.yaml import read_yaml
from helmframe.errors import LONGEST_INPUT, ArgumentError, listed
from helmframe.models.callers import Outcome
from helmframe.models.model import Completion, Model

if TYPE_CHECKING:
    from helmframe.models.batch_runs import Batches

# Characters of English per token, for models that don't count tokens.
CHARACTERS_PER_TOKEN = 4
# The name of litellm's price file in its package; the file in a release may have a suffix.
_PRICE_FILES = "model_prices_and_context_window*.json"
# The number of output tokens in an estimate, for requests without a limit.
UNLIMITED_TOKENS = 4096
# A model stops if all its first requests, of this number, fail with one permanent error.
FIRST_REQUESTS = 50

logger = get_logger("helmframe.engines")


@dataclass(frozen=True)
class Price:
    """The price of a model's tokens, in US dollars per million tokens.

    Args:
        prompt: The price of prompt tokens.
        output: The price of output tokens, including those of reasoning.
        cached_prompt: The price of prompt tokens that the server read from its own cache; None: that of `prompt`.
        source: The origin of the price: "user", the name of the user's file, or the release of litellm.
    """

    prompt: float
    output: float
    cached_prompt: float | None = None
    source: str = "user"

    def cost(self, prompt: float, output: float, cached_prompt: float = 0) -> float:
        """Return the cost of tokens in US dollars; `cached_prompt` is a part of `prompt`.

        >>> Price(2, 8, 0.5).cost(1_000_000, 100_000, 400_000)
        2.2
        """
        of_cached = self.prompt if self.cached_prompt is None else self.cached_prompt
        return ((prompt - cached_prompt) * self.prompt + cached_prompt * of_cached + output * self.output) / 1e6


# Model name → (prompt, output), (prompt, output, cached_prompt) or a mapping with these keys; or a YAML file.
Prices: TypeAlias = Mapping[str, Price | Sequence[float] | Mapping[str, float]] | str | Path


def read_prices(prices: Prices | None, *, standing: bool = True) -> dict[str, Price]:
    """Return the user's prices by model name.

    Args:
        prices: The prices, or the path of their file.
        standing: Whether other models have the prices of `hf.configure(prices=…)`.

    Raises:
        ArgumentError: A price is invalid.
        SpecError: The file can't be read.
    """
    sources = [config.prices_file() if standing else None, prices]
    return {name: price for source in sources if source is not None for name, price in _read_mapping(source).items()}


def price_of(model: Model, user_prices: Mapping[str, Price]) -> Price | None:
    """Return the price of a model: the user's, by its name, else that in litellm's price file; None: unknown."""
    return user_prices.get(model.name) or listed_price(model.price_name, in_batches=model.batches is not None)


def listed_price(name: str, *, in_batches: bool = False) -> Price | None:
    """Return the price of `provider/model` in the price file of the package litellm, which is not imported; or None.

    Free models have no listed price, because litellm also writes 0 for subscriptions. The standard price is returned if
    the file has no price of batches.

    Args:
        name: The name in the file.
        in_batches: Whether the price of requests in batches is returned.
    """
    if not name:
        return None
    version, entries = _price_file()
    provider, _, short = name.partition("/")
    entry = entries.get(name)
    if entry is None and entries.get(short, {}).get("litellm_provider") in (provider, f"text-completion-{provider}"):
        entry = entries[short]
    names = ("input_cost_per_token", "output_cost_per_token", "cache_read_input_token_cost")
    fields = entry or {}
    standard = [fields.get(field) for field in names]
    batched = [fields.get(f"{field}_batches", price) for field, price in zip(names, standard, strict=True)]
    prompt, output, cached = map(_per_million, batched if in_batches else standard)
    if prompt is None or output is None or not prompt + output:
        return None
    return Price(prompt, output, cached, f"litellm {version}")


class FirstRequests:
    """The outcomes of each model's first requests in a run, and the models that stopped; thread-safe.

    A model stops if its first 50 requests fail with one permanent error. Numbers in messages are ignored. Transient
    errors don't count. After a completion or another permanent error, the model runs to the end. A model is a pair of
    its name and its fingerprint.

    Attributes:
        models: The models that the run evaluates, without judges and models of perturbations.
    """

    def __init__(self) -> None:
        self.models: set[tuple[str, str]] = set()
        self._failed: dict[tuple[str, str], tuple[str, int]] = {}
        self._tested: set[tuple[str, str]] = set()  # these run to the end
        self._errors: dict[tuple[str, str], str] = {}
        self._lock = threading.Lock()

    def error(self, model: tuple[str, str]) -> str | None:
        """Return the error that stopped a model; None if it runs."""
        return self._errors.get(model)

    def add(self, model: tuple[str, str], outcomes: Iterable[Outcome]) -> None:
        """Add outcomes in the order in which they came, and stop the model if it must stop."""
        if model in self._tested or model in self._errors:
            return
        with self._lock:
            for outcome in outcomes:
                if outcome.completion is None and not outcome.is_permanent:
                    continue
                message = re.sub(r"\d+", "0", outcome.error or "")
                first, count = self._failed.get(model, (message, 0))
                if outcome.completion is not None or message != first:
                    self._tested.add(model)
                    return
                self._failed[model] = first, count + 1
                if count + 1 == FIRST_REQUESTS:
                    self._stop(model, outcome.error or "")
                    return

    def stop(self, model: tuple[str, str], error: BaseException) -> bool:
        """Stop a model that can't load; return False if the run evaluates no other model that still runs."""
        with self._lock:
            if not self.models - {*self._errors, model} or model not in self.models:
                return False
            self._stop(model, " ".join(config.redacted(error_text(error)).split())[:LONGEST_INPUT])
            return True

    def _stop(self, model: tuple[str, str], error: str) -> None:
        if model not in self._errors:
            self._errors[model] = error
            logger.warning("%s stopped: %s. Its other requests are not sent.", model[0], error.rstrip("."))


class Budget:
    """The limits of a run, shared by all its threads.

    Args:
        max_requests: The maximum number of requests to send; cached completions don't count.
        max_cost: The cost of completions at which sending stops, in US dollars. Calls in flight add to it.
        prices: The user's prices by model name, or their file. Other prices are litellm's.
        priority: The priority in the queues of models. Runs of higher priority go first; equal runs take turns.
        standing: Whether other models have the prices of `hf.configure(prices=…)`. Workers don't have that file.

    Raises:
        ArgumentError: A limit, a price or the priority is invalid.
        SpecError: The file of `prices` can't be read.
    """

    def __init__(
        self,
        max_requests: int | None = None,
        max_cost: float | None = None,
        prices: Prices | None = None,
        priority: int = 0,
        *,
        standing: bool = True,
    ) -> None:
        for name, limit in (("max_requests", max_requests), ("max_cost", max_cost)):
            if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int | float) or limit < 0):
                raise ArgumentError(f"{name}={limit!r}: {name} must be a number ≥ 0.")
        if not is_integer(priority):
            raise ArgumentError(f"priority={priority!r}: priority must be an integer; higher goes first.")
        self.stopped = threading.Event()
        self.priority = priority
        self.cost = 0.0
        self.costs: dict[str, float] = {}  # by name of the model
        self.batches: dict[tuple[str, str], Batches] = {}  # by name and fingerprint of the model
        self.first_requests = FirstRequests()
        self._reserved = 0.0  # the estimated cost of requests in batches
        self._left = max_requests
        self._max_cost = max_cost
        self._user_prices = read_prices(prices, standing=standing)
        self._prices = dict(self._user_prices)
        self._priced: set[str] = set()
        self._unpriced: list[str] = []
        self._lock = threading.Lock()

    def check(self, models: Sequence[Model]) -> None:
        """Look up the prices of the models, and check that every model has one if cost is limited.

        Raises:
            ArgumentError: A model has no price.
        """
        for model in models:
            price = price_of(model, self._user_prices)
            if price is not None:
                self._prices[model.name] = price
                self._priced.add(model.name)
            elif self._max_cost is not None:
                name = repr(model.name)
                problem = f"the price of model {name} is unknown"
                if self._user_prices:
                    problem = f"prices has no entry for model {name}, only for {listed(self._user_prices)}"
                raise ArgumentError(
                    f"max_cost={self._max_cost!r}: {problem}. Write prices={{{name}: (2.5, 10)}}: US dollars "
                    f"per million prompt tokens and per million output tokens.{price_hint(model)}"
                )
            elif model.price_name and model.name not in self._unpriced:
                self._unpriced.append(model.name)

    @property
    def prices(self) -> Mapping[str, Price]:
        """Return the known prices by model name."""
        return self._prices

    @property
    def unpriced(self) -> Sequence[str]:
        """Return the models of providers whose price is unknown, once they are checked."""
        return self._unpriced

    def manifest_entries(self) -> dict[str, dict[str, Any]]:
        """Return the known prices of the models that were checked, by name."""
        return {name: asdict(self._prices[name]) for name in sorted(self._priced)}

    @property
    def known_cost(self) -> float | None:
        """Return the cost so far; None if it is unknown, because models have no price."""
        return self.cost if self.cost or (self._priced and not self._unpriced) else None

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

    def refund(self, count: int) -> None:
        """Subtract granted requests that are not sent after all."""
        with self._lock:
            if self._left is not None:
                self._left += count

    def charges(self, model: str) -> bool:
        """Return whether the model has a price."""
        return model in self._prices

    def reserve(self, model: str, characters: Sequence[int], max_tokens: Sequence[int | None]) -> list[float]:
        """Reserve the estimated cost of requests that are submitted together; all output tokens are counted.

        Returns:
            The cost of each request, from the first, until the limit would be exceeded.
        """
        price = self._prices[model]
        costs = [
            price.cost(length / CHARACTERS_PER_TOKEN, limit or UNLIMITED_TOKENS)
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

    def spend(self, model: str, characters: Sequence[int], completions: Sequence[Completion | None]) -> None:
        """Add the cost of completions.

        Args:
            model: The name of the model, which has a price.
            characters: The length of each prompt, which is used if the model does not count tokens.
            completions: The completion of each prompt; None for a failed request, which costs nothing.
        """
        price = self._prices[model]
        cost = sum(
            price.cost(
                _or_estimate(completion.prompt_tokens, length),
                _or_estimate(completion.output_tokens, len(completion.text)),
                completion.cached_prompt_tokens or 0,
            )
            for length, completion in zip(characters, completions, strict=True)
            if completion is not None
        )
        with self._lock:
            self.costs[model] = self.costs.get(model, 0.0) + cost
        self.paid(cost)

    def paid(self, cost: float) -> None:
        """Add a cost, and stop the run if the limit is reached."""
        with self._lock:
            self.cost += cost
            if self._max_cost is not None and self.cost + max(self._reserved, 0.0) >= self._max_cost:
                self.stopped.set()


def estimated_tokens(characters: Any) -> Any:
    """Return the estimated number of tokens of a text with this number of characters; also for expressions."""
    return characters // CHARACTERS_PER_TOKEN + 1


def _or_estimate(tokens: int | None, characters: int) -> int:
    return int(estimated_tokens(characters)) if tokens is None else tokens


def price_hint(model: Model) -> str:
    """Return how to get a listed price, as a sentence after a space; "" if there is no way."""
    if not model.price_name or find_spec("litellm") is not None:
        return ""
    return " Or install litellm, which has a list of prices: pip install 'helmframe[litellm]'."


def _read_mapping(prices: Prices) -> dict[str, Price]:
    source, content = "user", prices
    if isinstance(prices, str | Path):
        file = config.from_home(prices)
        source, content = file.name, read_yaml(file)
    if not isinstance(content, Mapping):
        where = "prices" if source == "user" else source
        raise ArgumentError(f"{where}: must map names of models to prices, such as {{'gpt-4.1': (2, 8)}}.")
    return {str(name): _price(value, source, str(name)) for name, value in content.items()}


def _price(value: object, source: str, name: str) -> Price:
    if isinstance(value, Price):
        return value
    fields = value if isinstance(value, Mapping) else {}
    if isinstance(value, list | tuple) and len(value) in (2, 3):
        fields = dict(zip(_FIELDS, value, strict=False))
    if not {"prompt", "output"} <= set(fields) <= set(_FIELDS) or not all(map(_is_amount, fields.values())):
        raise ArgumentError(
            f"prices: the price of {name!r} is {value!r}. Write (prompt, output), or {{'prompt': 2.5, 'output': 10, "
            "'cached_prompt': 1.25}: US dollars per million tokens."
        )
    return Price(**fields, source=source)


_FIELDS = ("prompt", "output", "cached_prompt")


def _is_amount(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")


def _per_million(price: object) -> float | None:
    """Return a price per token as a price per million tokens, without float noise."""
    return round(float(price) * 1e6, 9) if _is_amount(price) else None  # type: ignore[arg-type]


@lru_cache(maxsize=1)
def _price_file() -> tuple[str, Mapping[str, Any]]:
    """Return the release of litellm, and the entries of its price file; no entries if it isn't installed."""
    from importlib.metadata import PackageNotFoundError, version

    spec = find_spec("litellm")
    folders = [] if spec is None else [Path(folder) for folder in spec.submodule_search_locations or ()]
    files = sorted(file for folder in folders for file in folder.glob(_PRICE_FILES))
    if not files:
        return "", {}
    try:
        entries = json.loads(files[0].read_text(encoding="utf-8"))
        return version("litellm"), {name: entry for name, entry in entries.items() if isinstance(entry, dict)}
    except (OSError, ValueError, AttributeError, PackageNotFoundError) as error:
        logger.warning("The price file of litellm can't be read, so its prices are unknown: %s", error)
        return "", {}
