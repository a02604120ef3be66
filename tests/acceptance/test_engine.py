"""The local engine: as fast as it says, and never silently wrong."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from helmframe.models.engine import Engine, linear
from helmframe.models.engine.reading import Wanted, reset_angles
from helmframe.models.model import Completion
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
# Of shots, one might say, and questions.
START = DRAW.integers(1, 60, 90).tolist()
LONG = [[*START, *DRAW.integers(1, 60, length).tolist()] for length in (5, 9, 3, 1, 7, 5)]
# Their code looks at the weights of linear layers itself, which therefore stay.
LOOKING = ("mamba", "mamba2", "jamba")


@pytest.fixture(params=[False, True], ids=["a pair", "a folder"])
def lasting(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the engine has a model for itself, as it has a folder's: all linear layers are then replaced, on any
    machine, and starts are kept."""
    monkeypatch.setattr(linear, "GAIN", 0.0)
    return bool(request.param)


@pytest.mark.parametrize("name", SHAPES)
def test_4_every_architecture_says_what_it_says_of_each_text_alone(name: str, lasting: bool) -> None:
    assert min(map(len, TEXTS)) < WINDOW < TRAINED < max(map(len, TEXTS))
    engine = Engine(made(name), Tokenizing(tiny.tokenizer, 0), None, lasting=lasting)
    with torch.no_grad():
        alone = [_alone(engine.model, text) for text in TEXTS]
        worst, same, total = 0.0, 0, 0
        choice = engine.reader.choice()
        for tokens in (512, 30):  # of a pass: all at once, and in several
            engine.reader.tokens = tokens
            for part in engine.reader.read([Wanted(text, 0) for text in TEXTS]):
                for place, rows in zip(part.indices, part.rows, strict=True):
                    found, expected = part.logits[rows].float(), alone[place]
                    worst = max(worst, float((found - expected).abs().max() / expected.abs().max()))
                    same += int((found.argmax(-1) == expected.argmax(-1)).sum())
                    total += len(expected)
    kind = f"{name}{', ' + _replaced(engine.model) if lasting else ''}: {choice}"
    shown("4", f"{kind}; largest difference, and tokens as likely", f"{worst:.0e}, {same}/{total}", LARGEST)
    assert "Prepacked" not in _kinds(engine.model) or lasting
    assert not lasting or name in LOOKING or "Linear" not in _kinds(engine.model)
    assert total == 2 * sum(map(len, TEXTS))
    assert same == total
    assert worst <= LARGEST


def test_4_there_are_enough_architectures() -> None:
    shown("4", "architectures", len(SHAPES), f"at least {LEAST_SHAPES}")
    assert len(SHAPES) >= LEAST_SHAPES


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("texts", [TEXTS, LONG], ids=["of all lengths", "with a long start"])
def test_4_every_architecture_answers_as_transformers_does_prompt_by_prompt(
    name: str, lasting: bool, texts: list[list[int]]
) -> None:
    engine = Engine(made(name), Tokenizing(tiny.tokenizer, 0), None, lasting=lasting)
    prompts = [engine.words.decode(text) for text in texts]
    assert engine.words.tokens(prompts) == texts
    expected = [_generated(engine.model, text) for text in texts]
    found = [*engine.generate(prompts, {"max_tokens": NEW}), *engine.generate(prompts[:2], {"max_tokens": NEW})]
    same = sum(
        isinstance(each, Completion) and each.text == engine.words.decode(tokens)
        for tokens, each in zip([*expected, *expected[:2]], found, strict=True)
    )
    shown("4", f"{name}: answers of {NEW} tokens equal to transformers' own", f"{same}/{len(found)}", "all")
    assert same == len(found)


SHARED = ["gemma2", "gpt_oss", "bloom", "mpt", "falcon", "falcon, alibi", "gpt_neo", "xglm", "mistral, sliding"]


@pytest.mark.parametrize("name", SHARED)
def test_4_what_prompts_share_is_read_once_where_they_are_padded_too(name: str) -> None:
    engine = Engine(made(name), Tokenizing(tiny.tokenizer, 0), None, lasting=True)
    prompts = [engine.words.decode(text) for text in LONG]
    engine.generate(prompts[:1], {"max_tokens": NEW})
    engine.generate([prompt[1:] for prompt in prompts[:2]], {"max_tokens": NEW})
    engine.reader._cost = None  # here a pass of its own pays always
    own, sizes = engine.model.forward, []

    @functools.wraps(own)
    def forward(**given: Any) -> Any:
        sizes.append(given["input_ids"].numel())
        return own(**given)

    engine.model.forward = forward
    samples = engine.generate(prompts * 2, {"max_tokens": NEW, "temperature": 1.0, "seed": 1})
    whole, once = 2 * sum(map(len, LONG)), len(START) + sum(len(text) - len(START) for text in LONG)
    read = sum(sizes) - NEW * len(samples)
    shown("4", f"{name}: tokens read for prompts of {whole}, of which {once} are different", read, 2 * once)
    assert read <= 2 * once


def _kinds(model: Any) -> set[str]:
    return {type(each).__name__ for each in model.modules()}


def _replaced(model: Any) -> str:
    return f"{sum(type(each).__name__ == 'Prepacked' for each in model.modules())} layers replaced"


def _alone(model: Any, text: Sequence[int]) -> Any:
    reset_angles(model)
    return model(input_ids=torch.tensor([text]), use_cache=False).logits[0].float()


def _generated(model: Any, text: Sequence[int]) -> list[int]:
    """Greedy by transformers, one prompt alone."""
    reset_angles(model)
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
