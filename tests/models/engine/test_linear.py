"""Linear layers are replaced where others are faster, and give the same."""

from typing import Any

import pytest
import torch

from helmframe.models.engine import linear
from helmframe.models.engine.linear import Timed, overall, prepack
from tests.models import tiny


class _Scaled(torch.nn.Linear):
    pass


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine where each prepacked layer is the faster."""
    monkeypatch.setattr(linear, "GAIN", 0.0)


def test_a_replaced_layer_says_the_same(always: None) -> None:
    model, ids = tiny.llama(), torch.arange(20)[None]
    with torch.no_grad():
        plain = model(input_ids=ids).logits
        timed = prepack(model)
        assert (model(input_ids=ids).logits - plain).abs().max() < 1e-4
    assert sum(each.layers for each in timed) == 15
    assert not any(type(each) is torch.nn.Linear for each in model.modules())


def test_layers_that_are_more_than_linear_are_left_alone(always: None) -> None:
    model = tiny.llama()
    model.lm_head = _Scaled(32, 70, bias=False)
    prepack(model)
    assert type(model.lm_head) is _Scaled


class _Looking(torch.nn.Linear):
    """Has a layer, and looks at its weights itself."""

    def __init__(self, layer: torch.nn.Linear, when: int) -> None:
        super().__init__(1, 1)
        self.layer, self.when = layer, when

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        if given.shape[1] >= self.when:
            return self.layer(given)  # type: ignore[no-any-return]
        return torch.nn.functional.linear(given, self.layer.weight)


@pytest.mark.parametrize("when", [99, 2])
def test_a_model_that_looks_at_weights_keeps_them(always: None, when: int) -> None:
    """In all passes, or in those over one token only."""
    model = tiny.llama()
    layers = [each for each in model.modules() if type(each) is torch.nn.Linear]
    model.model.layers[0].mlp.down_proj = _Looking(model.model.layers[0].mlp.down_proj, when)
    assert prepack(model) == []
    assert [each for each in model.modules() if type(each) is torch.nn.Linear] == layers


def test_layers_that_together_say_something_else_are_not_used(always: None, monkeypatch: pytest.MonkeyPatch) -> None:
    model, kind = tiny.llama(), linear._kind()

    def off(layer: torch.nn.Linear) -> Any:
        """Right for random numbers, not for those of the model."""
        found, own = kind(layer), kind(layer).forward
        found.forward = lambda given: own(given) + (0.01 if given.shape[0] == 1 else 0)
        return found

    monkeypatch.setattr(linear, "_kind", lambda: off)
    assert prepack(model) == []
    assert type(model.lm_head) is torch.nn.Linear


def test_other_types_than_float32_are_left_alone(always: None) -> None:
    model: Any = tiny.llama().bfloat16()
    assert prepack(model) == []


def test_nothing_is_replaced_where_nothing_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "GAIN", 1e9)
    model = tiny.llama()
    prepack(model)
    assert type(model.lm_head) is torch.nn.Linear


def test_a_torch_without_the_operations_does_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "has_onednn", lambda: False)
    assert prepack(tiny.llama()) == []


def test_the_gain_of_all_counts_each_by_its_work() -> None:
    # of 3 parts of work one is done twice as fast, and a slower layer is not used: 3 / 2.5
    assert overall([Timed(10, 10, 2.0, 1), Timed(10, 10, 0.5, 2)]) == pytest.approx(1.2)
