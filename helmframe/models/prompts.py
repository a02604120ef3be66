"""Prompts: blocks as text or messages, conversations as text, and prompts that are joined on access."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar, overload

import polars as pl

from helmframe._schema import NO, YES
from helmframe.errors import CapabilityError
from helmframe.models.model import Model, Row

Block: TypeAlias = dict[str, Any]
Message: TypeAlias = dict[str, str]

# The names of roles in a dialogue, for models without a chat template.
_SPEAKERS = {"user": "User", "assistant": "Assistant"}


def plain(blocks: Sequence[Block]) -> str:
    """Return the blocks as one text, with the system text first; messages become a dialogue."""
    system = "\n\n".join(_text(block) for block in blocks if block["role"] == "system")
    turns = [block for block in blocks if block["role"] != "system"]
    if any(block["kind"] == "message" for block in turns):
        lines = [f"{_SPEAKERS.get(block['role'], block['role'])}: {_text(block)}" for block in turns]
        text = "\n\n".join([*lines, f"{_SPEAKERS['assistant']}:"])
    else:
        text = "".join(_text(block) for block in turns)
    return (f"{system}\n\n" if system else "") + text


def messages(blocks: Sequence[Block]) -> list[Message]:
    """Return the blocks as messages; adjacent blocks of one role are merged, except messages of a conversation."""
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


def apply_chat_template(turns: Sequence[Message], model: Model, variables: Mapping[str, Any] | None = None) -> str:
    """Return the prompt of messages, by the model's chat template and the values of its variables.

    Raises:
        CapabilityError: The model has no chat template.
    """
    if model.chat is None:
        raise CapabilityError.no_chat_template(model.name)
    return model.chat(turns, **(variables or {}))


def number_of_shots(head: Sequence[Block]) -> int:
    """Return the number of few-shot examples; an example of two turns counts once."""
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


# The start of a conversation as text. One line of JSON (all but the last text) and the last text follow.
_BEGIN = "\x02helmframe-chat\x03"


def as_prompt(turns: Sequence[Mapping[str, str]], **_: object) -> str:
    """Return the conversation as one text, without variables of a chat template, which only the server has.

    The last text is unchanged, so that prompts share their start, and text from data needs no escaping.
    """
    *earlier, last = turns
    head = json.dumps([*map(dict, earlier), {"role": last["role"]}], ensure_ascii=False)
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
        *earlier, last = json.loads(head)
        return [*map(dict, earlier), {**last, "content": text}]
    except (TypeError, ValueError):  # a text that only starts like a conversation
        return None


def is_conversation(prompt: str) -> bool:
    """Return whether a prompt starts as those of `as_prompt` do."""
    return prompt.startswith(_BEGIN)


P = TypeVar("P")


class Prompts(Sequence[str]):
    """Prompts that are joined from prefix and suffix on access, so that a shared prefix is stored once."""

    def __init__(self, requests: pl.DataFrame, prefixes: pl.DataFrame) -> None:
        self._prefixes = dict(prefixes.select("prefix_id", "prefix").iter_rows())
        self._prefix_ids = requests["prefix_id"].to_list()
        self._suffixes = requests["suffix"].to_list()

    def __len__(self) -> int:
        return len(self._suffixes)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        """Return one prompt, or a list of prompts for a slice."""
        if isinstance(index, int):
            return str(self._prefixes[self._prefix_ids[index]] + self._suffixes[index])
        pairs = zip(self._prefix_ids[index], self._suffixes[index], strict=True)
        return [self._prefixes[prefix_id] + suffix for prefix_id, suffix in pairs]


class PairedPrompts(Sequence[P]):
    """Prompts combined with a value on access: a `Pair` with its continuation, or a `Seeded` with its seed."""

    def __init__(self, make: Callable[[str, Any], P], prompts: Sequence[str], values: Sequence[Any]) -> None:
        self._make = make
        self._prompts = prompts
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    @overload
    def __getitem__(self, index: int) -> P: ...
    @overload
    def __getitem__(self, index: slice) -> list[P]: ...
    def __getitem__(self, index: int | slice) -> P | list[P]:
        """Return one paired prompt, or a list for a slice."""
        if isinstance(index, int):
            return self._make(self._prompts[index], self._values[index])
        return list(map(self._make, self._prompts[index], self._values[index]))


def rows_of(requests: pl.DataFrame, prefixes: pl.DataFrame) -> list[Row]:
    """Return the rows that mock models receive in place of prompts."""
    prompts = Prompts(requests, prefixes)
    rows: list[Row] = []
    names = (
        "scenario", "instance_id", "perturbation", "perturbation_seed", "output_index", "continuation",
        "reference_index", "request_mode",
    )  # fmt: skip
    for index, row in enumerate(requests.iter_rows(named=True)):
        references = row["perturbed_references"]
        texts = row["choices"] or [reference["text"] for reference in references]
        correct = [bool(reference["correct"]) for reference in references]
        options = list(zip(texts, correct, strict=True))
        if row["reference_index"] is not None:  # the question is whether this reference is correct
            is_right = correct[row["reference_index"]]
            options = [(YES, is_right), (NO, not is_right)]
        content = row["blocks"][-1]["content"]
        rows.append(
            {
                "prompt": prompts[index],
                **{name: row[name] for name in names},  # type: ignore[typeddict-item]
                "right": [text for text, is_right in options if is_right],
                "wrong": [text for text, is_right in options if not is_right],
                "content": content if any(part["type"] != "text" for part in content) else None,
                "correct": correct,
            }
        )
    return rows
