"""Conversations as one prompt, for models that apply their template themselves: servers, and clients of servers."""

import json
from collections.abc import Mapping, Sequence

from helmframe.models.messages import Message

# The prompt begins with this, followed by one line of JSON (all but the last text), and the last text.
_BEGIN = "\x02helmframe-chat\x03"


def as_prompt(turns: Sequence[Mapping[str, str]]) -> str:
    """Return the conversation as one text.

    The last text is unchanged, so that prompts share their start, and a text from data needs no escaping.
    """
    *before, last = turns
    head = json.dumps([*map(dict, before), {"role": last["role"]}], ensure_ascii=False)
    return f"{_BEGIN}{head}\n{last['content']}"


def as_messages(prompt: str) -> list[Message] | None:
    """Return the conversation of a prompt; None for a plain prompt.

    >>> as_messages(as_prompt([{"role": "user", "content": "Who?"}]))
    [{'role': 'user', 'content': 'Who?'}]
    """
    if not is_conversation(prompt):
        return None
    head, _, text = prompt.removeprefix(_BEGIN).partition("\n")
    try:
        *before, last = json.loads(head)
        return [*map(dict, before), {**last, "content": text}]
    except (TypeError, ValueError):  # a text that only begins like a conversation
        return None


def is_conversation(prompt: str) -> bool:
    """Return whether a prompt begins as those of `as_prompt` do."""
    return prompt.startswith(_BEGIN)
