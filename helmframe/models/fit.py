"""The stage `fit`: render each request for one model, and shorten prompts that exceed its window."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any

import polars as pl

from helmframe._schema import PREFIXES
from helmframe.errors import CapabilityError
from helmframe.models.model import Model
from helmframe.models.prompts import Block, apply_chat_template, first_shots, messages, number_of_shots, plain
from helmframe.models.reasoning import head_room, template_variables, with_default_room
from helmframe.models.windows import split_into_windows, truncate_right

# The variables of the chat template of a row, as JSON.
_VARIABLES = "_variables"
# A placeholder for the question while the chat template is applied; no template contains it.
_QUESTION = "\x02helmframe-question\x03"
# The token counts of two texts and of their joined text differ by a few tokens at the seam. If a prompt is closer to
# the limit than this number of tokens, the joined text is tokenized.
_SEAM = 8
_LATER = {
    "continuation": pl.String,
    "substitutions": pl.String,
    "truncation": pl.String,
    "reference_index": pl.Int64,
    "chat_template": pl.Boolean,
}


def fit(
    requests: pl.DataFrame, heads: pl.DataFrame, model: Model, *, default_room: bool = True
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the prompts of one model.

    A prompt that exceeds the window loses its last few-shot examples, one by one, but no part of the question. If it is
    too long without examples, its row gets an error, or it is truncated on the right if `truncation` is "right". A text
    whose log-probability is requested as a whole is split into windows, one row each.

    Args:
        requests: `REQUESTS`.
        heads: `HEADS`.
        model: The model, with its window (tokens), chat template and capabilities.
        default_room: Whether completions of a model that is known to reason get head-room by default.

    Returns:
        `FITTED`, one row per request and window, and `PREFIXES`.

    Raises:
        CapabilityError: The model lacks a capability: media, log-probabilities of texts, generation, or a chat
            template.

    Source: HELM `InContextLearningAdapter.construct_prompt`.
    """
    _check_media(requests, model)
    _check_mode(requests, model)
    missing = [pl.lit(None, dtype=dtype).alias(name) for name, dtype in _LATER.items() if name not in requests.columns]
    content = pl.col("blocks").list.last().struct.field("content")
    texts = content.list.eval(pl.element().struct.field("text")).list.join("", ignore_nulls=True)
    rows = requests.with_columns(*missing).with_columns(
        pl.col("chat_template").fill_null(model.chat is not None), suffix=texts
    )
    rows = _with_variables(with_default_room(rows, model) if default_room else rows)
    rows = split_into_windows(rows, model).with_columns(limit=_limit(rows, model))
    by_row = pl.col("substitutions").is_not_null() | (pl.col("blocks").list.len() > 1)
    rendered = rows.select(by_row).to_series()
    if not rendered.any():
        fitted, prefixes = _with_shared_starts(rows, heads, model)
    else:
        numbered = rows.with_row_index("_index")
        by_head = dict(heads.unique("head_id").select("head_id", "head").iter_rows())
        parts = [
            _with_shared_starts(numbered.filter(~rendered), heads, model),
            render_rows(numbered.filter(rendered), by_head, model),
        ]
        columns = parts[1][0].columns
        fitted = pl.concat([frame.select(columns) for frame, _ in parts]).sort("_index").drop("_index")
        prefixes = pl.concat([frame for _, frame in parts]).unique("prefix_id", maintain_order=True)
    fitted, new_prefixes = truncate_right(fitted, prefixes, model)
    prefixes = pl.concat([prefixes, new_prefixes]).unique("prefix_id", maintain_order=True)
    too_long = pl.format(
        "the prompt is longer than the window of {} tokens even without examples", pl.lit(model.window)
    )
    fitted = fitted.with_columns(
        model=pl.lit(model.name),
        prompt_truncated="was_cut",
        refused=pl.when("too_long").then(too_long).otherwise(pl.lit(None, dtype=pl.String)),
    ).drop("limit", "too_long", "was_cut", _VARIABLES)
    return fitted, prefixes.join(fitted.select("prefix_id"), on="prefix_id", how="semi", maintain_order="left")


def _with_variables(rows: pl.DataFrame) -> pl.DataFrame:
    """Add the variables of the chat template as JSON."""
    variables = {text: json.dumps(template_variables(json.loads(text))) for text in rows["decoding"].unique()}
    written = pl.col("decoding").replace_strict(variables, return_dtype=pl.String)
    return rows.with_columns(pl.when("chat_template").then(written).otherwise(pl.lit("{}")).alias(_VARIABLES))


def _limit(rows: pl.DataFrame, model: Model) -> pl.Expr:
    """Return the maximum number of prompt tokens; null if there is no limit, or the prompt is a window already."""
    if model.window is None or model.count_tokens is None:
        return pl.lit(None, dtype=pl.Int64)
    decoding = {text: json.loads(text) for text in rows["decoding"].unique()}
    max_length = model.max_request_length or model.window
    # head-room leaves half of the window to the prompt
    reserved = {text: min(head_room(values), max_length // 2) for text, values in decoding.items()}
    limits = {
        text: max_length - int(values.get("max_tokens") or 0) - reserved[text] for text, values in decoding.items()
    }
    limit = pl.col("decoding").replace_strict(limits, return_dtype=pl.Int64)
    return pl.when(pl.col("window_index").is_null()).then(limit)


def _with_shared_starts(rows: pl.DataFrame, heads: pl.DataFrame, model: Model) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the prompts with `prefix_id`, `shots_used` and `too_long`; their shared starts are rendered once."""
    starts = _starts(rows, heads, model)
    head = ["head_id", "chat_template", _VARIABLES]
    rows = rows.join(starts.select(*head, "tail").unique(head), on=head, how="left", maintain_order="left")
    rows = rows.with_columns(suffix=pl.col("suffix") + pl.col("tail")).drop("tail")
    rows = _with_shots(rows, starts, model)
    fitted = rows.join(
        starts.select(*head, "prefix_id", shots_used="shots"),
        on=[*head, "shots_used"],
        how="left",
        maintain_order="left",
        validate="m:1",
    )
    return fitted, starts.select(list(PREFIXES.schema)).unique("prefix_id", maintain_order=True)


def _starts(requests: pl.DataFrame, heads: pl.DataFrame, model: Model) -> pl.DataFrame:
    """Return one row per head and number of examples: the rendered prefix, and the text after the question (`tail`)."""
    keys = ["head_id", "chat_template", _VARIABLES]
    used = requests.select(keys).unique(maintain_order=True)
    rows = []
    for head_id, chat_template, variables, head in (
        used.join(heads.unique("head_id"), on="head_id").select(*keys, "head").iter_rows()
    ):
        shots = number_of_shots(head)
        least = 0 if model.window else shots
        for number in range(least, shots + 1):
            prefix, tail = _render(first_shots(head, number), model, chat_template, json.loads(variables))
            prefix_id = sha256(prefix.encode()).hexdigest()[:32]
            rows.append((head_id, chat_template, variables, number, prefix_id, prefix, tail))
    names = (*keys, "shots", "prefix_id", "prefix", "tail")
    schema: dict[str, type[pl.DataType]] = dict.fromkeys(names, pl.String)
    schema |= {"chat_template": pl.Boolean, "shots": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _render(
    head: Sequence[Block],
    model: Model,
    chat_template: bool,
    variables: Mapping[str, Any],
) -> tuple[str, str]:
    if not chat_template:
        return plain(head), ""
    question = {"role": "user", "kind": "question", "content": [{"type": "text", "text": _QUESTION, "media": None}]}
    prefix, mark, tail = apply_chat_template(messages([*head, question]), model, variables).partition(_QUESTION)
    if not mark or _QUESTION in tail:
        raise CapabilityError(f"The chat template of model {model.name!r} drops the text of a message.")
    return prefix, tail


def _with_shots(rows: pl.DataFrame, starts: pl.DataFrame, model: Model) -> pl.DataFrame:
    """Add `shots_used` and `too_long`."""
    shots = pl.col("shot_ids").list.len().cast(pl.Int64)
    if model.window is None or model.count_tokens is None or rows.is_empty():
        return rows.with_columns(shots_used=shots, too_long=pl.lit(value=False))
    count = model.count_tokens
    starts = starts.with_columns(prefix_tokens=pl.Series(list(count(starts["prefix"].to_list())), dtype=pl.Int64))
    # the continuation is part of the prompt
    texts = rows.select(pl.concat_str("suffix", "continuation", ignore_nulls=True)).to_series()
    head = ["head_id", "chat_template", _VARIABLES]
    counted = rows.select(
        *head,
        "limit",
        suffix=texts,
        suffix_tokens=pl.Series(list(count(texts.to_list())), dtype=pl.Int64),
    ).with_row_index("row")
    options = counted.join(starts, on=head).with_columns(
        room=pl.col("limit") - pl.col("prefix_tokens") - pl.col("suffix_tokens")
    )
    near = options.filter(pl.col("room").abs() <= _SEAM)
    joined = (near["prefix"] + near["suffix"]).to_list()
    exact = pl.Series(list(count(joined)) if joined else [], dtype=pl.Int64)
    near = near.select("row", "shots", exact_room=pl.col("limit") - exact)
    fitting = (
        options.join(near, on=["row", "shots"], how="left")
        .filter(pl.coalesce("exact_room", "room", 0) >= 0)
        .group_by("row")
        .agg(shots_used=pl.col("shots").max())
    )
    chosen = counted.select("row").join(fitting, on="row", how="left", maintain_order="left")
    return rows.with_columns(shots_used=chosen["shots_used"].fill_null(0), too_long=chosen["shots_used"].is_null())


def _check_media(requests: pl.DataFrame, model: Model) -> None:
    if model.media:
        return
    has_media = pl.col("blocks").list.eval(
        pl.element().struct.field("content").list.eval(pl.element().struct.field("type") != "text").list.any()
    )
    with_media = requests.filter(has_media.list.any())
    if with_media.height:
        raise CapabilityError(
            f"Model {model.name!r} takes text only, and instance {with_media['instance_id'][0]!r} of scenario "
            f"{with_media['scenario'][0]!r} contains other media. Use a model that takes content parts."
        )


def _check_mode(requests: pl.DataFrame, model: Model) -> None:
    scores = pl.col("continuation").is_not_null() if "continuation" in requests.columns else pl.lit(value=False)
    if model.loglikelihood is None and (requested := requests.filter(scores)).height:
        raise CapabilityError.no_log_probabilities(model.name, requested["scenario"][0])
    if not model.generates and (requested := requests.filter(~scores)).height:
        raise CapabilityError.no_generation(model.name, requested["scenario"][0])


Row = Mapping[str, Any]


def render_rows(
    rows: pl.DataFrame, heads: Mapping[str, Sequence[Block]], model: Model
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the prompts of rows that are rendered one by one, and the starts that they share.

    The chat template renders a conversation unchanged. Without a template, a conversation is rendered as a dialogue.

    Args:
        rows: `REQUESTS` with `limit`, the maximum number of prompt tokens (null: no limit).
        heads: Head id → blocks.
        model: The model, with its chat template and tokenizer.

    Returns:
        The rows with `suffix`, `prefix_id`, `shots_used` and `too_long`, and `PREFIXES`.
    """
    names = ["head_id", "blocks", "chat_template", _VARIABLES, "substitutions", "continuation", "limit"]
    records = rows.select(names).to_dicts()
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
    return apply_chat_template(turns, model, json.loads(row[_VARIABLES]))


def _substituted(text: str, row: Row) -> str:
    for source, target in json.loads(row["substitutions"] or "[]"):
        text = re.sub(source, target, text)
    return text


def _shared(row: Row, heads: Mapping[str, Sequence[Block]], shots: int, text: str) -> str:
    """Return the start that all rows of a head share, if the text begins with it; else ""."""
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
