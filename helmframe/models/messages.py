"""Prompts: blocks rendered as text or messages, conversations as text, and prompts joined when they are read."""

from collections.abc import Sequence
from typing import Any, TypeAlias

from helmframe.errors import CapabilityError
from helmframe.models.model import Model

Block: TypeAlias = dict[str, Any]
Message: TypeAlias = dict[str, str]

# The names of roles in a dialogue, for a model without a chat template.
_SPEAKERS = {"user": "User", "assistant": "Assistant"}


def plain(blocks: Sequence[Block]) -> str:
    """Return the blocks as one text, with the system's text first; several messages become a dialogue."""
    system = "\n\n".join(_text(block) for block in blocks if block["role"] == "system")
    others = [block for block in blocks if block["role"] != "system"]
    if any(block["kind"] == "message" for block in others):
        lines = [f"{_SPEAKERS.get(block['role'], block['role'])}: {_text(block)}" for block in others]
        text = "\n\n".join([*lines, f"{_SPEAKERS['assistant']}:"])
    else:
        text = "".join(_text(block) for block in others)
    return (f"{system}\n\n" if system else "") + text


def messages(blocks: Sequence[Block]) -> list[Message]:
    """Return the blocks as messages: adjacent blocks of one role are merged, messages of a conversation are not."""
    turns: list[Message] = []
    is_dialogue = False
    for block in blocks:
        role, text = block["role"], _text(block)
        is_dialogue = is_dialogue or block["kind"] == "message"
        if turns and turns[-1]["role"] == role and (role == "system" or not is_dialogue):
            turns[-1]["content"] += f"\n\n{text}" if role == "system" else text
        else:
            turns.append({"role": role, "content": text})
    return turns


def apply_chat_template(turns: Sequence[Message], model: Model) -> str:
    """Return the messages as a prompt, by the model's chat template.

    Raises:
        CapabilityError: The model has no chat template.
    """
    if model.chat is None:
        raise CapabilityError.no_chat_template(model.name)
    return model.chat(turns)


def number_of_shots(head: Sequence[Block]) -> int:
    """Return the number of examples; an example of two turns counts once."""
    return sum(_starts_shot(block) for block in head)


def first_shots(head: Sequence[Block], shots: int) -> list[Block]:
    """Return the head with its first examples only."""
    blocks, n_seen = [], 0
    for block in head:
        n_seen += _starts_shot(block)
        if block["kind"] != "shot" or n_seen <= shots:
            blocks.append(block)
    return blocks


def _starts_shot(block: Block) -> bool:
    return bool(block["kind"] == "shot" and block["role"] == "user")


def _text(block: Block) -> str:
    return "".join(part["text"] or "" for part in block["content"])
