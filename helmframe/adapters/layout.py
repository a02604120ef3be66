"""Blocks: the pieces of a prompt in order, before any model renders them."""

import json
import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import polars as pl

from helmframe.columns import BLOCK, CONTENT, HEADS, MEDIA
from helmframe.specs import AdapterSpec


def heads(
    parts: pl.DataFrame, shots: pl.DataFrame, setting: str, spec: AdapterSpec, part_columns: Sequence[str]
) -> pl.DataFrame:
    """The blocks before the question, for each part and trial: system, instructions, shots.

    Joined texts are HELM's prompt: `instance_prefix` ends every block, so that blocks can be dropped without a trace.

    Args:
        parts: one row per part, with `part` and the part columns.
        shots: from `examples.draw`.
        setting: the setting's name.
        spec: the adapter.
        part_columns: columns that `instructions` and `system` may name.

    Returns:
        `HEADS`.
    """
    rows = []
    by_part = shots.partition_by("part", "trial", as_dict=True)
    for part in parts.iter_rows(named=True):
        filled = {name: str(part[name]).replace("_", " ") for name in part_columns}
        for trial in range(spec.trials):
            drawn = by_part.get((part["part"], trial), shots.clear())
            blocks = _head(drawn, spec, filled)
            ids = drawn["shot_id"].to_list()
            digest = sha256(json.dumps(blocks, ensure_ascii=False).encode()).hexdigest()[:32]
            rows.append(
                {
                    "head_id": digest,
                    "part": part["part"],
                    "setting": setting,
                    "trial": trial,
                    "head": blocks,
                    "shot_ids": ids,
                }
            )
    return pl.DataFrame(rows, schema=HEADS.schema)


def question_block(question: pl.Expr, spec: AdapterSpec, content: str | None) -> pl.Expr:
    """The question as a list of one block: its text up to `output_prefix`, whose trailing space goes, and other media.

    `content` names the column of the instance's own content parts; a part that is no text is kept as it is, before the
    text.
    """
    # the prefix alone loses its trailing space: an input or option that ends in some keeps it
    space = spec.output_prefix[len(spec.output_prefix.rstrip()) :]
    text = pl.concat_str(question.str.strip_suffix(space), pl.lit(spec.global_suffix))
    said = pl.concat_list(pl.struct(type=pl.lit("text"), text=text, media=pl.lit(None, dtype=MEDIA))).cast(CONTENT)
    if content:
        media = pl.col(content).list.eval(pl.element().filter(pl.element().struct.field("type") != "text"))
        said = pl.concat_list(media.fill_null([]), said).cast(CONTENT)
    return pl.concat_list(pl.struct(role=pl.lit("user"), kind=pl.lit("question"), content=said)).cast(pl.List(BLOCK))


def ended(text: str) -> str:
    """The text with a line end, unless it is empty or has one."""
    return text if not text or text.endswith("\n") else text + "\n"


def _head(shots: pl.DataFrame, spec: AdapterSpec, filled: Mapping[str, str]) -> list[dict[str, Any]]:
    blocks = []
    if spec.system:
        blocks.append(_block("system", "system", _fill(spec.system, filled)))
    instructions = ended(_fill(spec.instructions, filled))
    if instructions or spec.global_prefix:
        after = spec.instance_prefix if instructions else ""
        blocks.append(_block("user", "instructions", spec.global_prefix + instructions + after))
    for question, answer in shots.select("question", "answer").iter_rows():
        blocks.append(_block("user", "shot", question + answer + spec.output_suffix + spec.instance_prefix))
    return blocks


def _fill(text: str, filled: Mapping[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda found: filled.get(found.group(1), found.group()), text)


def _block(role: str, kind: str, text: str) -> dict[str, Any]:
    return {"role": role, "kind": kind, "content": [{"type": "text", "text": text, "media": None}]}
