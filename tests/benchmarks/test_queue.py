"""What the queue costs per prompt, beside a loop that calls the function and makes the same answers."""

import statistics
import time
from collections.abc import Callable

from helmframe.models.model import as_completion
from helmframe.models.protocol import from_any
from helmframe.models.scheduler import queue_of
from tests.acceptance.figures import shown

PROMPTS = [f"p{number}" for number in range(20_000)]
ROUNDS = 7
MOST_TIMES = 30


def answer(prompt: str) -> str:
    return "A"


def looped() -> None:
    for prompt in PROMPTS:
        as_completion(answer(prompt), "loop")


def queued() -> None:
    for _ in queue_of(from_any(answer), "benchmark").run(PROMPTS, {}, labels=lambda _: {}):
        pass


def seconds(work: Callable[[], None]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def test_an_instant_answer_costs_little_more_than_its_call() -> None:
    rounds = [(seconds(looped), seconds(queued)) for _ in range(ROUNDS)]
    loop, queue = (statistics.median(each) for each in zip(*rounds, strict=True))
    each = f"{1e6 * queue / len(PROMPTS):.1f} µs, {queue / loop:.1f} ×"
    shown("queue", "CPU time per prompt of str -> str, and of a bare loop's", each, f"at most {MOST_TIMES} ×")
    assert queue < MOST_TIMES * loop
