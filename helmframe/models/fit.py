"""The stage `fit`: each request as one model gets it, rendered and cut to its window."""

import json
from hashlib import sha256
from typing import Any

import polars as pl

from helmframe.columns import PREFIXES
from helmframe.errors import CapabilityError
from helmframe.models.model import Model

# Stands where the question will be while the chat template is applied; no tokenizer or template knows it.
_QUESTION = "\x02helmframe-question\x03"
# Tokens of two texts and of their joined text differ by a few where they meet; nearer to the limit than this we count
# exactly.
_SEAM = 8


def fit(requests: pl.DataFrame, heads: pl.DataFrame, model: Model) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The prompts of one model.

    A prompt too long for the window loses its last examples, one by one, never a part of the question; one that is too
    long without any example is refused, and the row says so.

    Args:
        requests: `REQUESTS`.
        heads: `HEADS`.
        model: its window (tokens), chat template and whether it takes media.

    Returns:
        `FITTED`, one row per request, and `PREFIXES`.

    Raises:
        CapabilityError: an instance holds media and the model takes text only, or the chat template asked for is not
            there.

    Source: HELM `InContextLearningAdapter.construct_prompt`, without its cut through the question.
    """
    _check_media(requests, model)
    content = pl.col("blocks").list.last().struct.field("content")
    texts = content.list.eval(pl.element().struct.field("text")).list.join("", ignore_nulls=True)
    rows = requests.with_columns(suffix=texts)
    starts = _starts(requests, heads, model)
    head = ["head_id", "chat_template"]
    rows = rows.join(starts.select(*head, "tail").unique(head), on=head, how="left", maintain_order="left")
    rows = rows.with_columns(suffix=pl.col("suffix") + pl.col("tail")).drop("tail")
    rows = _with_shots(rows, starts, model)
    fitted = rows.join(
        starts.select(*head, "prefix_id", shots_used="shots"),
        on=[*head, "shots_used"],
        how="left",
        maintain_order="left",
        validate="m:1",
    ).with_columns(
        model=pl.lit(model.name), prompt_truncated=pl.col("shots_used") < pl.col("shot_ids").list.len().cast(pl.Int64)
    )
    prefixes = starts.select(list(PREFIXES.schema)).unique("prefix_id", maintain_order=True)
    return fitted, prefixes.join(fitted.select("prefix_id"), on="prefix_id", how="semi", maintain_order="left")


def _starts(requests: pl.DataFrame, heads: pl.DataFrame, model: Model) -> pl.DataFrame:
    """One row per head and number of shots kept: the rendered prefix, and what follows the question (`tail`)."""
    used = requests.select("head_id", "chat_template").unique(maintain_order=True)
    rows = []
    for head_id, chat_template, head in (
        used.join(heads.unique("head_id"), on="head_id").select("head_id", "chat_template", "head").iter_rows()
    ):
        shots = sum(block["kind"] == "shot" for block in head)
        least = 0 if model.window else shots
        for kept in range(least, shots + 1):
            prefix, tail = _render(_keep(head, kept), model, chat_template=chat_template)
            prefix_id = sha256(prefix.encode()).hexdigest()[:32]
            rows.append((head_id, chat_template, kept, prefix_id, prefix, tail))
    names = ["head_id", "chat_template", "shots", "prefix_id", "prefix", "tail"]
    schema = dict(zip(names, [pl.String, pl.Boolean, pl.Int64, pl.String, pl.String, pl.String], strict=True))
    return pl.DataFrame(rows, schema=schema, orient="row")


def _keep(head: list[dict[str, Any]], shots: int) -> list[dict[str, Any]]:
    first_shot = next((place for place, block in enumerate(head) if block["kind"] == "shot"), len(head))
    return head[: first_shot + shots]


def _render(head: list[dict[str, Any]], model: Model, *, chat_template: bool) -> tuple[str, str]:
    system = "".join(_text(block) for block in head if block["role"] == "system")
    before = "".join(_text(block) for block in head if block["role"] != "system")
    if not chat_template:
        return (f"{system}\n\n" if system else "") + before, ""
    if model.chat is None:
        raise CapabilityError(f"adapt(chat_template=True): model {model.name!r} has no chat template; leave it out.")
    messages = [{"role": "system", "content": system}] if system else []
    rendered = model.chat([*messages, {"role": "user", "content": before + _QUESTION}])
    prefix, mark, tail = rendered.partition(_QUESTION)
    if not mark or _QUESTION in tail:
        raise CapabilityError(f"the chat template of model {model.name!r} does not keep the text of a message.")
    return prefix, tail


def _text(block: dict[str, Any]) -> str:
    return "".join(part["text"] or "" for part in block["content"])


def _with_shots(rows: pl.DataFrame, starts: pl.DataFrame, model: Model) -> pl.DataFrame:
    """Adds `shots_used` and `refused`."""
    shots = pl.col("shot_ids").list.len().cast(pl.Int64)
    if model.window is None or model.count_tokens is None or rows.is_empty():
        return rows.with_columns(shots_used=shots, refused=pl.lit(None, dtype=pl.String))
    decoding = {said: json.loads(said) for said in rows["decoding"].unique()}
    limits = {said: model.window - int(each.get("max_tokens") or 0) for said, each in decoding.items()}
    count = model.count_tokens
    starts = starts.with_columns(prefix_tokens=pl.Series(list(count(starts["prefix"].to_list())), dtype=pl.Int64))
    counted = rows.select(
        "head_id",
        "chat_template",
        "suffix",
        limit=pl.col("decoding").replace_strict(limits, return_dtype=pl.Int64),
        suffix_tokens=pl.Series(list(count(rows["suffix"].to_list())), dtype=pl.Int64),
    ).with_row_index("row")
    options = counted.join(starts, on=["head_id", "chat_template"]).with_columns(
        room=pl.col("limit") - pl.col("prefix_tokens") - pl.col("suffix_tokens")
    )
    near = options.filter(pl.col("room").abs() <= _SEAM)
    joined = (near["prefix"] + near["suffix"]).to_list()
    exact = pl.Series(list(count(joined)) if joined else [], dtype=pl.Int64)
    near = near.select("row", "shots", exact_room=pl.col("limit") - exact)
    fitting = (
        options.join(near, on=["row", "shots"], how="left")
        .filter(pl.coalesce("exact_room", "room") >= 0)
        .group_by("row")
        .agg(shots_used=pl.col("shots").max())
    )
    chosen = counted.select("row", "limit", "suffix_tokens").join(fitting, on="row", how="left", maintain_order="left")
    too_long = pl.format(
        "the prompt is longer than the window of {} tokens even without examples", pl.lit(model.window)
    )
    return rows.with_columns(
        shots_used=chosen["shots_used"].fill_null(0),
        refused=chosen.select(pl.when(pl.col("shots_used").is_null()).then(too_long)).to_series(),
    )


def _check_media(requests: pl.DataFrame, model: Model) -> None:
    if model.media:
        return
    has_media = pl.col("blocks").list.eval(
        pl.element().struct.field("content").list.eval(pl.element().struct.field("type") != "text").list.any()
    )
    held = requests.filter(has_media.list.any())
    if held.height:
        raise CapabilityError(
            f"model {model.name!r} takes text only, and instance {held['instance_id'][0]!r} of scenario "
            f"{held['scenario'][0]!r} holds other media; use a model that takes content parts."
        )
