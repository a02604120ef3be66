"""Judges for tests, which remember what they were asked, and a small plan for them to judge."""

from collections.abc import Callable
from itertools import count

import polars as pl

import helmframe as hf

NUMBERS = count()
QUESTIONS = pl.DataFrame(
    {
        "input": ["why?", "how?", "when?", "who?"],
        "references": [["a"], ["b"], ["c"], ["d"]],
        "checklist": ["one", "two", "three", "four"],
    }
)


class Judge:
    """Finds what is in capitals good, remembers what it was asked, and replies by a function if it is given one."""

    def __init__(self, reply: Callable[[str], str] | None = None) -> None:
        self.number = next(NUMBERS)  # no other test's answers are its own
        self.asked: list[str] = []
        self.reply = reply or (lambda prompt: f"<score>{int(completion_in(prompt).isupper())}</score>")

    def generate(self, prompts: list[str]) -> list[str]:
        self.asked += prompts
        return [self.reply(each) for each in prompts]


def completion_in(prompt: str, name: str = "completion") -> str:
    return prompt.partition(f"<<<{name} ")[2].partition("\n")[2].partition("\n")[0]


def loud(prompt: str) -> str:
    return "YES" if "why" in prompt or "who" in prompt else "no"


def plan(*metrics: object, **models: object) -> hf.Plan:
    return hf.scenario(QUESTIONS, name="q").generate(models or {"loud": loud}).metrics(*metrics)


def named(judge: Judge, name: str = "j", **more: object) -> hf.Model:
    return hf.model(judge, name=name, version="1", **more)  # type: ignore[arg-type]


def value(results: hf.Results, metric: str, **where: str) -> float:
    return results.value(metric, **where)
