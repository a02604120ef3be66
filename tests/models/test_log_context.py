"""Whose requests a model is answering."""

from contextvars import Context, copy_context
from typing import NamedTuple

from helmframe.models.log_context import ASKED, Asked, asked_now


class Somebody(NamedTuple):
    name: str
    context: Context

    def labels(self, index: int) -> dict[str, str]:
        return {"scenario": self.name, "instance_id": f"id{index}"}


def test_nobody_is_answered_outside_a_call() -> None:
    assert asked_now() == []


def test_each_asker_is_named_with_his_first_prompt_and_how_many() -> None:
    a, b = Somebody("a", copy_context()), Somebody("b", copy_context())
    token = ASKED.set([(a, 3), (b, 0), (a, 4)])
    try:
        assert asked_now() == [
            Asked(a.context, {"scenario": "a", "instance_id": "id3"}, 2),
            Asked(b.context, {"scenario": "b", "instance_id": "id0"}, 1),
        ]
    finally:
        ASKED.reset(token)
