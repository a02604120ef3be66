"""Prompts: blocks as text or messages, conversations as text, and prompts that are joined on access."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias, TypeVar, overload

import polars as pl

from helmframe._core.expressions import stripped
from helmframe._core.images import ImageRef, LoadImage
from helmframe._schema import CONTENT, CONVERSATION, MEDIA, NO, TURN, YES
from helmframe.errors import CapabilityError, ImageError
from helmframe.models.model import ImagePrompt, Model, PromptImage, Row

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


# The columns that the requests of a conversation's turns share.
_OF_CONVERSATION = ("scenario", CONVERSATION, "perturbation", "perturbation_seed", "setting", "trial")


def requests_by_turn(requests: pl.DataFrame) -> list[pl.DataFrame]:
    """Return the requests of each turn; without conversations, all are in the first frame.

    Args:
        requests: `REQUESTS`, where the blocks of a later turn start with the completion before it, to be filled in.
    """
    if TURN not in requests.columns or requests.is_empty():
        return [requests]
    return [rows for _, rows in sorted(requests.partition_by(TURN, maintain_order=True, as_dict=True).items())]


def next_turn(requests: pl.DataFrame, earlier: pl.DataFrame, completions: pl.DataFrame) -> pl.DataFrame:
    """Return the requests of a turn with the conversation before it: the messages as sent, and the completions.

    The reasoning of a completion isn't part of the conversation, and white space at its ends is removed. A turn after a
    failed one has the reason in `failed`, and isn't sent.

    Args:
        requests: `REQUESTS` of one turn, as `requests_by_turn` returns them.
        earlier: `FITTED` of the turn before, with output_index.
        completions: `COMPLETIONS` of the turn before. Turns after a request without an outcome have no row.

    Returns:
        The requests, one row per output of the turn before, with output_index, `failed`, and all blocks of the
        conversation.
    """
    key = [*_OF_CONVERSATION, "output_index"]
    outcomes = completions.select(*key, "completion", "error", before=TURN)
    sent = earlier.select(*key, sent="blocks").join(outcomes, on=key, how="inner", validate="1:1")
    rows = requests.join(sent, on=list(_OF_CONVERSATION), how="inner", maintain_order="left")
    completion, after = pl.col("blocks").list.first(), pl.col("blocks").list.slice(1)
    parts = completion.struct.field("content").list
    text = stripped(pl.col("completion")).fill_null("")
    part = pl.concat_list(pl.struct(type=pl.lit("text"), text=text, media=pl.lit(None, dtype=MEDIA))).cast(CONTENT)
    filled = completion.struct.with_fields(content=pl.concat_list(parts.head(1), part, parts.tail(1)))
    is_failed = pl.col("completion").is_null()
    reason = pl.coalesce(pl.col("error").str.extract(_FAILED), pl.format("turn {} failed", "before"))
    return rows.with_columns(
        blocks=pl.concat_list("sent", pl.concat_list(filled).cast(rows.schema["blocks"]), after),
        failed=pl.when(is_failed).then(reason),
    ).drop("sent", "completion", "error", "before")


def with_unknown_completions(requests: pl.DataFrame, earlier: pl.DataFrame) -> pl.DataFrame:
    """Return the requests of a turn as `next_turn` does, with placeholders for completions that aren't generated yet.

    Args:
        requests: `REQUESTS` of one turn.
        earlier: `FITTED` of the turn before.
    """
    output = pl.lit(0, dtype=pl.Int64)
    sent = earlier.with_columns(
        output_index=output,
        completion=pl.concat_str(pl.lit("{completion of turn "), pl.col(TURN).cast(pl.String), pl.lit("}")),
        error=pl.lit(None, dtype=pl.String),
    )
    return next_turn(requests, sent, sent).drop("output_index", "failed")


def joined_turns(turns: Sequence[tuple[pl.DataFrame, pl.DataFrame]]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the completions of all turns, conversation by conversation, and their prefixes.

    Args:
        turns: `COMPLETIONS` and `PREFIXES` of each turn, in order.
    """
    position = "\0position"
    order = turns[0][0].select("scenario", CONVERSATION).unique(maintain_order=True).with_row_index(position)
    rows = pl.concat([completions for completions, _ in turns], how="diagonal_relaxed")
    rows = rows.join(order, on=["scenario", CONVERSATION], how="left", maintain_order="left")
    prefixes = pl.concat([prefixes for _, prefixes in turns]).unique("prefix_id", maintain_order=True)
    return rows.sort(position, TURN, maintain_order=True).drop(position), prefixes


# The error of a turn after a failed one.
_FAILED = r"^(turn \d+ failed)$"


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


def has_images() -> pl.Expr:
    """Return whether a request has an image."""
    return _any_part(pl.element().struct.field("type") == "image")


def has_other_media() -> pl.Expr:
    """Return whether a request has a content part that is neither text nor an image."""
    return _any_part(~pl.element().struct.field("type").is_in(["text", "image"]))


def _any_part(condition: pl.Expr) -> pl.Expr:
    parts = pl.element().struct.field("content").list.eval(condition).list.any()
    return pl.col("blocks").list.eval(parts).list.any().fill_null(value=False)


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


class ImagePrompts(Sequence["str | ImagePrompt"]):
    """Prompts with their images on access; the bytes are read when the model is called."""

    def __init__(self, prompts: Sequence[str], requests: pl.DataFrame, load_image: LoadImage | None) -> None:
        self._prompts = prompts
        self._blocks = requests["blocks"]
        self._lengths = requests["suffix"].str.len_chars().to_list()
        column = "content_change"
        self._changes = requests[column].to_list() if column in requests.columns else [None] * requests.height
        self._load_image = load_image

    def __len__(self) -> int:
        return len(self._prompts)

    @overload
    def __getitem__(self, index: int) -> "str | ImagePrompt": ...
    @overload
    def __getitem__(self, index: slice) -> "list[str | ImagePrompt]": ...
    def __getitem__(self, index: int | slice) -> "str | ImagePrompt | list[str | ImagePrompt]":
        """Return one prompt, or a list of prompts for a slice."""
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        blocks = self._blocks[index]
        parts = [] if blocks is None else [part for block in blocks for part in block["content"]]
        pictures = [part for part in parts if part["type"] == "image"]
        if not pictures:
            return self._prompts[index]
        images = tuple(self._image(part, position, self._changes[index]) for position, part in enumerate(pictures))
        return ImagePrompt(self._prompts[index], images, self._lengths[index])

    def _image(self, part: Mapping[str, Any], position: int, changes: str | None) -> PromptImage:
        media = part["media"] or {"name": None, "data": None}
        ref = None if media["data"] else ImageRef.parse(media["name"])
        if ref is None:
            data = media["data"] or b""
            return PromptImage("", lambda: data)
        return PromptImage(ref.at, partial(_load, self._load_image, ref, changes, position))


def _load(load_image: LoadImage | None, ref: ImageRef, changes: str | None, position: int) -> bytes:
    if load_image is None:
        raise ImageError("The image of this prompt can't be read, because its scenario isn't known here.")
    return load_image(ref, changes, position)


class PairedPrompts(Sequence[P]):
    """Prompts combined with a value on access: a `Pair` with its continuation, or a `Seeded` with its seed."""

    def __init__(self, make: Callable[[Any, Any], P], prompts: Sequence[Any], values: Sequence[Any]) -> None:
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
