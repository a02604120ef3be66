"""The local engine: as fast as it says, and never silently wrong."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from helmframe.models.engine import Engine
from helmframe.models.engine.angles import reset
from helmframe.models.engine.reading import Wanted
from helmframe.models.model import Answer
from helmframe.models.tokenizing import Tokenizing
from tests.acceptance.figures import shown
from tests.models import tiny
from tests.models.engine.shapes import SHAPES, TRAINED, WINDOW, made

LARGEST = 1e-5
LEAST_SHAPES = 40
NEW = 6
DRAW = np.random.default_rng(3)
HEAD = DRAW.integers(1, 60, 40).tolist()
OWN = [DRAW.integers(1, 60, length).tolist() for length in (5, 9, 3, 1, 7)]
# Longer and shorter than windows and what RoPE was trained on; alike, equal, and one that another goes on from.
TEXTS = [
    *([*HEAD, *own] for own in OWN),
    [*HEAD, *OWN[0]],
    [*HEAD, *OWN[0], 5],
    *([*HEAD[:20], *own] for own in OWN[:2]),
    OWN[1],
]


@pytest.mark.parametrize("name", SHAPES)
def test_4_every_architecture_says_what_it_says_of_each_text_alone(name: str) -> None:
    assert min(map(len, TEXTS)) < WINDOW < TRAINED < max(map(len, TEXTS))
    engine = Engine(made(name), Tokenizing(tiny.tokenizer, 0), None)
    with torch.no_grad():
        alone = [_alone(engine.model, text) for text in TEXTS]
        worst, same, total = 0.0, 0, 0
        choice = engine.reader.choice()
        for tokens in (512, 30):  # of a pass: all at once, and in several
            engine.reader.tokens = tokens
            for part in engine.reader.read([Wanted(text, 0) for text in TEXTS]):
                for place, rows in zip(part.places, part.rows, strict=True):
                    found, expected = part.logits[rows].float(), alone[place]
                    worst = max(worst, float((found - expected).abs().max() / expected.abs().max()))
                    same += int((found.argmax(-1) == expected.argmax(-1)).sum())
                    total += len(expected)
    shown("4", f"{name}: {choice}; largest difference, and tokens as likely", f"{worst:.0e}, {same}/{total}", LARGEST)
    assert total == 2 * sum(map(len, TEXTS))
    assert same == total
    assert worst <= LARGEST


def test_4_there_are_enough_architectures() -> None:
    shown("4", "architectures", len(SHAPES), f"at least {LEAST_SHAPES}")
    assert len(SHAPES) >= LEAST_SHAPES


@pytest.mark.parametrize("name", SHAPES)
def test_4_every_architecture_answers_as_transformers_does_prompt_by_prompt(name: str) -> None:
    engine = Engine(made(name), Tokenizing(tiny.tokenizer, 0), None)
    texts = [engine.words.decode(text) for text in TEXTS]
    assert engine.words.tokens(texts) == TEXTS
    expected = [_generated(engine.model, text) for text in TEXTS]
    found = engine.ask(texts, {"max_tokens": NEW})
    same = sum(
        isinstance(each, Answer) and each.text == engine.words.decode(tokens)
        for tokens, each in zip(expected, found, strict=True)
    )
    shown("4", f"{name}: answers of {NEW} tokens equal to transformers' own", f"{same}/{len(TEXTS)}", "all")
    assert same == len(TEXTS)


def _alone(model: Any, text: Sequence[int]) -> Any:
    reset(model)
    return model(input_ids=torch.tensor([text]), use_cache=False).logits[0].float()


def _generated(model: Any, text: Sequence[int]) -> list[int]:
    """Greedy by transformers, one prompt alone."""
    reset(model)
    ids = torch.tensor([text])
    found = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=NEW,
        eos_token_id=0,
        pad_token_id=0,
    )
    outputs: list[int] = found[0, len(text) :].tolist()
    return outputs[: outputs.index(0)] if 0 in outputs else outputs
