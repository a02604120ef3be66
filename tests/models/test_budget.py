"""Budgets, and the prices of models: the user's, and those of litellm's list."""

import json
import sys
from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from helmframe import config
from helmframe.errors import ArgumentError, SpecError
from helmframe.models import Completion, batch, budget, oracle
from helmframe.models.budget import (
    FIRST_REQUESTS,
    Budget,
    FirstRequests,
    Price,
    listed_price,
    price_of,
    read_prices,
)
from helmframe.models.callers import Outcome
from helmframe.models.protocol import from_any

# Entries as in litellm's file: US dollars per token.
ENTRIES: Mapping[str, Any] = {
    "gpt-x": {
        "litellm_provider": "openai",
        "input_cost_per_token": 2e-06,
        "output_cost_per_token": 8e-06,
        "cache_read_input_token_cost": 5e-07,
        "input_cost_per_token_batches": 1e-06,
        "output_cost_per_token_batches": 4e-06,
    },
    "together_ai/org/name": {
        "litellm_provider": "together_ai",
        "input_cost_per_token": 1.04e-06,
        "output_cost_per_token": 1.04e-06,
    },
    "free": {"litellm_provider": "openai", "input_cost_per_token": 0.0, "output_cost_per_token": 0.0},
    "image": {"litellm_provider": "openai", "output_cost_per_image": 0.02},
}


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace litellm's list of prices."""
    monkeypatch.setattr(budget, "_price_file", lambda: ("9.9", ENTRIES))


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore the settings of this process."""
    monkeypatch.setattr(config, "_settings", config._settings)


@pytest.mark.parametrize(
    ("prices", "price"),
    [
        ({"m": (2, 8)}, Price(2, 8)),
        ({"m": [2, 8, 0.5]}, Price(2, 8, 0.5)),
        ({"m": {"prompt": 2, "output": 8}}, Price(2, 8)),
        ({"m": {"prompt": 2, "output": 8, "cached_prompt": 0.5}}, Price(2, 8, 0.5)),
    ],
)
def test_a_price_has_two_or_three_numbers(prices: Any, price: Price) -> None:
    assert read_prices(prices) == {"m": price}


@pytest.mark.parametrize(
    "price", [2, (2,), (1, 2, 3, 4), ("2", "8"), (-1, 2), (True, 2), {"prompt": 2}, (1, float("nan"))]
)
def test_an_invalid_price_is_an_error(price: Any) -> None:
    with pytest.raises(ArgumentError, match="the price of 'm' is"):
        Budget(prices={"m": price})


def test_prices_may_be_in_a_yaml_file(tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text("m: [2, 8]\norg/other: {prompt: 1, output: 2, cached_prompt: 0.1}\n")
    expected = {"m": Price(2, 8, source="prices.yaml"), "org/other": Price(1, 2, 0.1, "prices.yaml")}
    assert read_prices(file) == read_prices(str(file)) == expected
    config.configure(prices=file)
    assert read_prices(None) == expected
    assert read_prices({"m": (3, 4)}) == expected | {"m": Price(3, 4)}


def test_a_variable_names_the_file_of_prices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.yaml").write_text("m: [2, 8]")
    monkeypatch.setenv("HELMFRAME_PRICES", str(tmp_path / "mine.yaml"))
    assert Budget().prices == {"m": Price(2, 8, source="mine.yaml")}
    assert Budget(standing=False).prices == {}


def test_a_file_that_is_missing_or_no_mapping_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"prices\.yaml.*can't be read"):
        read_prices(tmp_path / "prices.yaml")
    (tmp_path / "prices.yaml").write_text("- 1")
    with pytest.raises(ArgumentError, match=r"prices\.yaml: must map names of models to prices"):
        read_prices(tmp_path / "prices.yaml")


@pytest.mark.usefixtures("listed")
def test_listed_prices_are_those_of_the_provider() -> None:
    assert listed_price("openai/gpt-x") == Price(2, 8, 0.5, "litellm 9.9")
    assert listed_price("together_ai/org/name") == Price(1.04, 1.04, None, "litellm 9.9")
    assert [listed_price(name) for name in ("azure/gpt-x", "openai/none", "openai/free", "openai/image", "")] == [
        None
    ] * 5


@pytest.mark.usefixtures("listed")
def test_models_of_batches_have_the_price_of_batches() -> None:
    assert price_of(batch("openai:gpt-x"), {}) == Price(1, 4, 0.5, "litellm 9.9")
    assert listed_price("together_ai/org/name", in_batches=True) == Price(1.04, 1.04, None, "litellm 9.9")


@pytest.mark.usefixtures("listed")
def test_the_users_price_precedes_the_listed_price() -> None:
    model = from_any("openai:gpt-x")
    assert price_of(model, {}) == Price(2, 8, 0.5, "litellm 9.9")
    assert price_of(model, {"gpt-x": Price(1, 1)}) == Price(1, 1)
    # a name alone is no provider: a function may have any name
    assert price_of(from_any(lambda prompt: prompt, name="gpt-x"), {}) is None
    assert price_of(from_any("http://localhost:8000/v1#gpt-x"), {}) is None


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("openai:gpt-x", "openai/gpt-x"),
        ("together:org/name", "together_ai/org/name"),
        ("gemini:gemini-x", "gemini/gemini-x"),
        ("ollama:llama", ""),
    ],
)
def test_models_of_providers_have_their_name_in_litellm(text: str, name: str) -> None:
    assert from_any(text).price_name == name
    assert from_any(text, name="renamed").price_name == name


def test_the_list_is_the_file_of_the_installed_package() -> None:
    spec = find_spec("litellm")
    assert spec is not None
    (file,) = Path(str(spec.origin)).parent.glob("model_prices_and_context_window*.json")
    entry = json.loads(file.read_text())["gpt-4.1"]
    price = listed_price("openai/gpt-4.1")
    assert price is not None
    assert price.source == f"litellm {version('litellm')}"
    assert price.prompt == pytest.approx(entry["input_cost_per_token"] * 1e6)
    assert price.cached_prompt == pytest.approx(entry["cache_read_input_token_cost"] * 1e6)


def test_cached_prompt_tokens_have_their_own_price() -> None:
    assert Price(2, 8, 0.5).cost(1_000_000, 0, 1_000_000) == 0.5
    assert Price(2, 8).cost(1_000_000, 0, 1_000_000) == 2
    spent = Budget(prices={"m": (2, 8, 0.5)})
    spent.spend(
        "m", [0], [Completion("A", prompt_tokens=1_000_000, output_tokens=1_000_000, cached_prompt_tokens=400_000)]
    )
    assert spent.cost == pytest.approx(0.6 * 2 + 0.4 * 0.5 + 8)


def test_four_characters_are_a_token_if_tokens_are_not_counted() -> None:
    spent = Budget(prices={"m": (1e6, 1e6)})
    spent.spend("m", [39, 8], [Completion("A" * 20), None])
    assert spent.cost == (39 // 4 + 1) + (20 // 4 + 1)


@pytest.mark.usefixtures("listed")
def test_an_unknown_price_is_never_zero() -> None:
    known, unknown = from_any("openai:gpt-x"), from_any("openai:none")
    spent = Budget()
    spent.check([known, unknown, oracle()])
    assert (spent.unpriced, spent.known_cost) == (["none"], None)
    spent.spend("gpt-x", [4], [Completion("A", prompt_tokens=10, output_tokens=1)])
    assert spent.known_cost == spent.cost > 0
    only = Budget()
    only.check([oracle()])
    assert only.known_cost is None
    free = Budget(prices={"oracle": (0, 0)})
    free.check([oracle()])
    assert free.known_cost == 0


@pytest.mark.usefixtures("listed")
def test_limited_cost_needs_a_price_of_each_model() -> None:
    Budget(max_cost=1).check([from_any("openai:gpt-x")])
    with pytest.raises(ArgumentError, match=r"max_cost=1: the price of model 'none' is unknown. Write prices="):
        Budget(max_cost=1).check([from_any("openai:none")])
    with pytest.raises(ArgumentError, match="prices has no entry for model 'oracle', only for other"):
        Budget(max_cost=1, prices={"other": (1, 2)}).check([oracle()])


def test_a_damaged_list_is_a_warning_and_no_price(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    package = tmp_path / "litellm"
    package.mkdir()
    (package / "__init__.py").write_text("raise AssertionError('not imported')")
    (package / "model_prices_and_context_window_backup.json").write_text("{")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "litellm", raising=False)
    budget._price_file.cache_clear()
    try:
        assert listed_price("openai/gpt-x") is None
    finally:
        budget._price_file.cache_clear()
    assert "The price file of litellm can't be read" in caplog.text


# -- the first requests of a model -------------------------------------------------------------------------------------

MODEL = ("m", "fingerprint")


def failed(error: str, *, is_permanent: bool = True) -> Outcome:
    return Outcome(0, None, error, 0.1, 1, is_permanent)


def test_a_model_stops_at_the_fiftieth_failure_with_one_message_without_its_numbers() -> None:
    first = FirstRequests()
    first.add(MODEL, [failed(f"HTTP 404: request {number}") for number in range(FIRST_REQUESTS - 1)])
    assert first.error(MODEL) is None
    first.add(MODEL, [failed("HTTP 404: request 999")])
    assert first.error(MODEL) == "HTTP 404: request 999"
    assert first.error(("other", "fingerprint")) is None


def test_transient_errors_neither_count_nor_end_the_count() -> None:
    first = FirstRequests()
    for _ in range(FIRST_REQUESTS - 1):
        first.add(MODEL, [failed("HTTP 404"), failed("HTTP 503", is_permanent=False)])
    assert first.error(MODEL) is None
    first.add(MODEL, [failed("HTTP 404")])
    assert first.error(MODEL) == "HTTP 404"


@pytest.mark.parametrize("other", [Outcome(0, Completion("A"), None, 0.1, 1), failed("ValueError")])
def test_a_completion_or_another_error_ends_the_count(other: Outcome) -> None:
    first = FirstRequests()
    first.add(MODEL, [failed("HTTP 404"), other])
    first.add(MODEL, [failed("HTTP 404")] * FIRST_REQUESTS)
    assert first.error(MODEL) is None


def test_the_last_model_does_not_stop_but_raises() -> None:
    first = FirstRequests()
    other = ("other", "fingerprint")
    assert not first.stop(MODEL, OSError("gone"))
    first.models = {MODEL, other}
    assert first.stop(MODEL, OSError("gone"))
    assert first.error(MODEL) == "OSError: gone"
    assert not first.stop(other, OSError("gone"))
