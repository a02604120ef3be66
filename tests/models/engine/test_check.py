"""A way of reading that says something else than plain passes is found out and not taken."""

from typing import Any

import pytest
import torch

from helmframe.models.engine import check
from helmframe.models.engine.check import Trial, checked, cost
from helmframe.models.engine.gates import Choice
from tests.models import tiny
from tests.models.engine import shapes


def found(model: Any, allowed: Choice = Choice("packed")) -> Choice:  # noqa: B008 - frozen
    with torch.no_grad():
        return checked(model, allowed, Trial.of(model, allowed.most))


def test_a_way_that_is_exact_is_taken() -> None:
    assert found(tiny.llama()) == Choice("packed")


@pytest.mark.parametrize(
    ("name", "why"),
    [("gpt_neo", "0 of its 2 layers"), ("gemma2", "softcap"), ("gpt_oss", "s_aux"), ("falcon, alibi", "fails")],
)
def test_attention_that_packed_rows_do_not_know_is_padded(name: str, why: str) -> None:
    chosen = found(shapes.made(name))
    assert chosen.way == "cached"
    assert why in chosen.why


def test_layers_that_look_beyond_their_text_are_found_by_their_numbers() -> None:
    model = tiny.llama()
    own = model.model.layers[0].mlp.forward
    # each token is told of all others in its row: exact alone, wrong in company
    model.model.layers[0].mlp.forward = lambda given: own(given) + given.mean(dim=1, keepdim=True)
    chosen = found(model)
    assert chosen.way == "plain"
    assert "differ" in chosen.why


def test_a_model_that_says_the_same_to_all_texts_is_not_trusted() -> None:
    model = tiny.llama()
    with torch.no_grad():
        model.lm_head.weight.zero_()
    chosen = found(model)
    assert chosen.way == "plain"
    assert "can't tell right from wrong" in chosen.why


def test_texts_too_short_for_a_check_are_read_whole() -> None:
    assert found(tiny.llama(), Choice("packed", "a window", 10, "cached")).way == "plain"


def test_a_pass_costs_something() -> None:
    with torch.no_grad():
        timed = cost(tiny.llama(), "packed", None)
    assert timed.token > 0
    assert 0 <= timed.worth <= check.MOST
