"""How many questions each noise perturbation changes per second of one core (whatever else the machine does)."""

import time
from typing import Any

import polars as pl
import pytest

from helmframe._core.expressions import key_of
from helmframe.perturbations.registry import PERTURBATIONS

QUESTION = "What is the difference between a male and a female catheter, and which of 12 do nurses use today?"
TEXTS = 20_000
LEAST = 100_000

NOISE: list[tuple[str, dict[str, Any]]] = [
    *((name, {"prob": 0.1}) for name in ("keyboard", "ocr", "swap_letters", "delete_letters", "insert_letters")),
    *((name, {"prob": 0.1}) for name in ("repeat_letters", "leet", "random_case", "homoglyphs", "zero_width")),
    *((name, {"prob": 0.1}) for name in ("drop_words", "swap_words", "repeat_words", "change_numbers")),
    *(
        (name, {"prob": 0.1, "per": "word"})
        for name in ("keyboard", "swap_letters", "delete_letters", "insert_letters")
    ),
    *(("punctuation", {"mode": mode}) for mode in ("drop", "insert", "double")),
    ("uppercase", {}),
    ("titlecase", {}),
]


@pytest.mark.parametrize(("name", "arguments"), NOISE)
def test_a_hundred_thousand_questions_per_core_and_second(name: str, arguments: dict[str, Any]) -> None:
    frame = pl.DataFrame({"id": [str(place) for place in range(TEXTS)], "text": [QUESTION] * TEXTS})
    frame = frame.with_columns(key=key_of(name, pl.col("id")))
    entry = PERTURBATIONS[name]
    expression = entry.function(pl.col("text"), *([pl.col("key")] if entry.draws else []), **arguments)
    took = []
    for _ in range(6):
        start = time.process_time()
        frame.select(expression)
        took.append(time.process_time() - start)
    speed = TEXTS / min(took)
    print(f"{name} {arguments}: {speed:,.0f} texts per core and second (at least {LEAST:,})")
    assert speed >= LEAST
