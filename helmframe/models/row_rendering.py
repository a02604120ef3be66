"""Prompts rendered row by row: those with substitutions, which see the whole text, and conversations."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any

import polars as pl

from helmframe._schema import PREFIXES
from helmframe.models.messages import Block, kept, messages, number_of_shots, plain, rendered
from helmframe.models.model import Model

Row = Mapping[str, Any]


def whole(rows: pl.DataFrame, heads: Mapping[str, Sequence[Block]], model: Model) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The prompts of these rows, and the starts that they share.

    A conversation goes through the chat template as it is; without one it is told as a dialogue.

    Args:
        rows: `REQUESTS` with `limit`, the tokens a prompt may have (null: any number).
        heads: head_id → blocks.
        model: its chat template and tokenizer.

    Returns:
        The rows with `suffix`, `prefix_id`, `shots_used` and `too_long`, and `PREFIXES`.
    """
    said = rows.select("head_id", "blocks", "chat_template", "substitutions", "continuation", "limit").to_dicts()
    shots = [number_of_shots(heads[row["head_id"]]) for row in said]
    texts = [_text(row, heads, number, model) for row, number in zip(said, shots, strict=True)]
    waiting = _too_long(range(len(said)), said, texts, model)
    while waiting := [place for place in waiting if shots[place]]:
        for place in waiting:
            shots[place] -= 1
            texts[place] = _text(said[place], heads, shots[place], model)
        waiting = _too_long(waiting, said, texts, model)
    too_long = set(_too_long(range(len(said)), said, texts, model))
    starts = [_shared(row, heads, number, text) for row, number, text in zip(said, shots, texts, strict=True)]
    ids = [sha256(start.encode()).hexdigest()[:32] for start in starts]
    prefixes = pl.DataFrame({"prefix_id": ids, "prefix": starts}, schema=PREFIXES.schema)
    fitted = rows.with_columns(
        pl.Series("suffix", [t[len(start) :] for t, start in zip(texts, starts, strict=True)], dtype=pl.String),
        pl.Series("prefix_id", ids, dtype=pl.String),
        pl.Series("shots_used", shots, dtype=pl.Int64),
        pl.Series("too_long", [place in too_long for place in range(len(said))], dtype=pl.Boolean),
    )
    return fitted, prefixes.unique("prefix_id", maintain_order=True)


def _text(row: Row, heads: Mapping[str, Sequence[Block]], shots: int, model: Model) -> str:
    blocks = [*kept(heads[row["head_id"]], shots), *row["blocks"]]
    if not row["chat_template"]:
        return _substituted(plain(blocks), row)
    turns = [{**turn, "content": _substituted(turn["content"], row)} for turn in messages(blocks)]
    return rendered(turns, model)


def _substituted(text: str, row: Row) -> str:
    for source, target in json.loads(row["substitutions"] or "[]"):
        text = re.sub(source, target, text)
    return text


def _shared(row: Row, heads: Mapping[str, Sequence[Block]], shots: int, text: str) -> str:
    """The start of the text that all rows with this head have, if it is one."""
    if row["chat_template"]:
        return ""
    start = _substituted(plain(kept(heads[row["head_id"]], shots)), row)
    return start if text.startswith(start) else ""


def _too_long(places: Iterable[int], said: Sequence[Row], texts: Sequence[str], model: Model) -> list[int]:
    limited = [place for place in places if said[place]["limit"] is not None]
    if not limited or model.count_tokens is None:
        return []
    counts = model.count_tokens([texts[place] + (said[place]["continuation"] or "") for place in limited])
    return [place for place, count in zip(limited, counts, strict=True) if count > said[place]["limit"]]
