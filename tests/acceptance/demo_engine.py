"""The demo model for checks of speed: as transformers loads it, and in the local engine."""

import time
from collections.abc import Callable
from typing import Any

import torch

from helmframe.models.engine import Engine
from helmframe.models.tokenizing import Tokenizing
from tests.demo import demo_model


def loaded() -> Any:
    """As transformers loads it, in float32."""
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(demo_model(), dtype=torch.float32)
    return model.eval()


def engine_of(tokenizer: Any, first: int) -> Engine:
    """A copy in the engine, which has been asked for so many tokens: its model is checked, its layers are timed."""
    made = Engine(loaded(), Tokenizing(lambda: tokenizer, tokenizer.eos_token_id), 8192, lasting=True)
    made.generate(["What is"], {"max_tokens": first})
    return made


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of the clock, and what the work gives."""
    started = time.perf_counter()
    found = work()
    return time.perf_counter() - started, found
