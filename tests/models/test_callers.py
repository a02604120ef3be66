"""Callers, and whose requests a model is running."""

from contextvars import Context, copy_context
from dataclasses import dataclass, field

from helmframe.models.callers import CURRENT_REQUESTS, CurrentRequests, current_requests


@dataclass(eq=False)
class Somebody:
    name: str
    context: Context
    cancelled: bool = False
    logged: set[str] = field(default_factory=set)

    def labels(self, index: int) -> dict[str, str]:
        return {"scenario": self.name, "instance_id": f"id{index}"}


def test_there_is_no_current_request_outside_a_call() -> None:
    assert current_requests() == []


def test_each_asker_is_named_with_his_first_prompt_and_how_many() -> None:
    a, b = Somebody("a", copy_context()), Somebody("b", copy_context())
    token = CURRENT_REQUESTS.set([(a, 3), (b, 0), (a, 4)])
    try:
        assert current_requests() == [
            CurrentRequests(a.context, {"scenario": "a", "instance_id": "id3"}, 2),
            CurrentRequests(b.context, {"scenario": "b", "instance_id": "id0"}, 1),
        ]
    finally:
        CURRENT_REQUESTS.reset(token)
