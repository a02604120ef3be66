"""Blocks as one text, and as messages."""

from typing import Any

import pytest

from helmframe.errors import CapabilityError
from helmframe.models.model import Model
from helmframe.models.prompts import apply_chat_template, first_shots, messages, number_of_shots, plain


def block(role: str, kind: str, text: str) -> dict[str, Any]:
    return {"role": role, "kind": kind, "content": [{"type": "text", "text": text, "media": None}]}


FEW_SHOT = [
    block("system", "system", "S"),
    block("user", "instructions", "I\n"),
    block("user", "shot", "q1"),
    block("assistant", "shot", "a1"),
    block("user", "shot", "q2"),
    block("assistant", "shot", "a2"),
    block("user", "question", "q"),
]
TALK = [
    block("user", "message", "Hi"),
    block("assistant", "message", "Yes?"),
    block("user", "question", "How?"),
]


def test_what_one_role_says_in_several_blocks_is_one_message() -> None:
    assert messages(FEW_SHOT) == [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "I\nq1"},
        {"role": "assistant", "content": "a1"},
        {"role": "user", "content": "q2"},
        {"role": "assistant", "content": "a2"},
        {"role": "user", "content": "q"},
    ]


def test_messages_of_a_conversation_stay_apart() -> None:
    said = [block("user", "message", "Hi"), block("user", "message", "Hello?")]
    assert [each["content"] for each in messages(said)] == ["Hi", "Hello?"]


def test_the_systems_words_are_one_message() -> None:
    said = [block("system", "system", "A"), block("system", "message", "B"), *TALK]
    assert messages(said)[0] == {"role": "system", "content": "A\n\nB"}


def test_a_conversation_without_a_template_is_a_dialogue() -> None:
    assert plain(TALK) == "User: Hi\n\nAssistant: Yes?\n\nUser: How?\n\nAssistant:"


def test_a_single_message_is_its_text() -> None:
    assert plain([block("user", "question", "How?")]) == "How?"


def test_an_example_of_two_turns_counts_once() -> None:
    assert number_of_shots(FEW_SHOT) == 2
    assert [each["content"][0]["text"] for each in first_shots(FEW_SHOT[:-1], 1)] == ["S", "I\n", "q1", "a1"]


def test_a_model_without_template_says_so() -> None:
    plain_model = Model("m", "m", lambda prompts, _: [], str, durable=False, takes=None)
    with pytest.raises(CapabilityError, match="model 'm' has no chat template"):
        apply_chat_template(messages(TALK), plain_model)
