"""Blocks as the model reads them: one text, or the messages of a conversation."""

from collections.abc import Sequence
from typing import Any, TypeAlias

from helmframe.errors import CapabilityError
from helmframe.models.model import Model

Block: TypeAlias = dict[str, Any]
Message: TypeAlias = dict[str, str]

# How a dialogue is told to a model that knows no roles.
_SPEAKERS = {"user": "User", "assistant": "Assistant"}


def plain(blocks: Sequence[Block]) -> str:
    """The blocks as one text, what the system says first; several messages as a dialogue."""
    system = "\n\n".join(_text(block) for block in blocks if block["role"] == "system")
    others = [block for block in blocks if block["role"] != "system"]
    if any(block["kind"] == "message" for block in others):
        lines = [f"{_SPEAKERS.get(each['role'], each['role'])}: {_text(each)}" for each in others]
        said = "\n\n".join([*lines, f"{_SPEAKERS['assistant']}:"])
    else:
        said = "".join(_text(block) for block in others)
    return (f"{system}\n\n" if system else "") + said


def messages(blocks: Sequence[Block]) -> list[Message]:
    """The blocks as messages: what one role says in several of them is one; messages of a conversation stay apart."""
    turns: list[Message] = []
    apart = False
    for block in blocks:
        role, text = block["role"], _text(block)
        apart = apart or block["kind"] == "message"
        if turns and turns[-1]["role"] == role and (role == "system" or not apart):
            turns[-1]["content"] += f"\n\n{text}" if role == "system" else text
        else:
            turns.append({"role": role, "content": text})
    return turns


def rendered(turns: Sequence[Message], model: Model) -> str:
    """The messages as the model's chat template makes them a prompt.

    Raises:
        CapabilityError: it has none.
    """
    if model.chat is None:
        raise CapabilityError.no_chat_template(model.name)
    return model.chat(turns)


def number_of_shots(head: Sequence[Block]) -> int:
    """How many examples there are: those that are two turns count once."""
    return sum(_starts_shot(block) for block in head)


def kept(head: Sequence[Block], shots: int) -> list[Block]:
    """The head with its first examples only."""
    left, seen = [], 0
    for block in head:
        seen += _starts_shot(block)
        if block["kind"] != "shot" or seen <= shots:
            left.append(block)
    return left


def _starts_shot(block: Block) -> bool:
    return bool(block["kind"] == "shot" and block["role"] == "user")


def _text(block: Block) -> str:
    return "".join(part["text"] or "" for part in block["content"])
