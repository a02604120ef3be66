"""Prompts rendered row by row: those with substitutions, which see the whole text, and conversations."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any

import polars as pl

from helmframe._schema import PREFIXES
from helmframe.models.messages import Block, apply_chat_template, first_shots, messages, number_of_shots, plain
from helmframe.models.model import Model

Row = Mapping[str, Any]


def render_rows(
    rows: pl.DataFrame, heads: Mapping[str, Sequence[Block]], model: Model
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the prompts of these rows, and the starts that they share.

    A conversation goes through the chat template unchanged; without a template it is rendered as a dialogue.

    Args:
        rows: `REQUESTS` with `limit`, the tokens a prompt may have (null: any number).
        heads: head_id → blocks.
        model: Its chat template and tokenizer.

    Returns:
        The rows with `suffix`, `prefix_id`, `shots_used` and `too_long`, and `PREFIXES`.
    """
    records = rows.select("head_id", "blocks", "chat_template", "substitutions", "continuation", "limit").to_dicts()
    shots = [number_of_shots(heads[row["head_id"]]) for row in records]
    texts = [_text(row, heads, number, model) for row, number in zip(records, shots, strict=True)]
    waiting = _too_long(range(len(records)), records, texts, model)
    while waiting := [index for index in waiting if shots[index]]:
        for index in waiting:
            shots[index] -= 1
            texts[index] = _text(records[index], heads, shots[index], model)
        waiting = _too_long(waiting, records, texts, model)
    too_long = set(_too_long(range(len(records)), records, texts, model))
    starts = [_shared(row, heads, number, text) for row, number, text in zip(records, shots, texts, strict=True)]
    ids = [sha256(start.encode()).hexdigest()[:32] for start in starts]
    prefixes = pl.DataFrame({"prefix_id": ids, "prefix": starts}, schema=PREFIXES.schema)
    fitted = rows.with_columns(
        pl.Series("suffix", [text[len(start) :] for text, start in zip(texts, starts, strict=True)], dtype=pl.String),
        pl.Series("prefix_id", ids, dtype=pl.String),
        pl.Series("shots_used", shots, dtype=pl.Int64),
        pl.Series("too_long", [index in too_long for index in range(len(records))], dtype=pl.Boolean),
    )
    return fitted, prefixes.unique("prefix_id", maintain_order=True)


def _text(row: Row, heads: Mapping[str, Sequence[Block]], shots: int, model: Model) -> str:
    blocks = [*first_shots(heads[row["head_id"]], shots), *row["blocks"]]
    if not row["chat_template"]:
        return _substituted(plain(blocks), row)
    turns = [{**turn, "content": _substituted(turn["content"], row)} for turn in messages(blocks)]
    return apply_chat_template(turns, model)


def _substituted(text: str, row: Row) -> str:
    for source, target in json.loads(row["substitutions"] or "[]"):
        text = re.sub(source, target, text)
    return text


def _shared(row: Row, heads: Mapping[str, Sequence[Block]], shots: int, text: str) -> str:
    """Return the start of the text that all rows with this head share, if the text begins with it."""
    if row["chat_template"]:
        return ""
    start = _substituted(plain(first_shots(heads[row["head_id"]], shots)), row)
    return start if text.startswith(start) else ""


def _too_long(indices: Iterable[int], records: Sequence[Row], texts: Sequence[str], model: Model) -> list[int]:
    limited = [index for index in indices if records[index]["limit"] is not None]
    if not limited or model.count_tokens is None:
        return []
    counts = model.count_tokens([texts[index] + (records[index]["continuation"] or "") for index in limited])
    return [index for index, count in zip(limited, counts, strict=True) if count > records[index]["limit"]]
