"""Prompts cut at their end, as HELM cuts those that are too long without any example."""

from hashlib import sha256

import polars as pl

from helmframe._schema import PREFIXES
from helmframe.models.model import Model
from helmframe.models.windows import first_tokens


def cut_right(fitted: pl.DataFrame, prefixes: pl.DataFrame, model: Model) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Cut the prompts that are too long and may be cut to their limit; add `was_cut`.

    A prompt that ends with an option (`continuation`) is cut there too. The last tokens that are left become the
    continuation: the number of tokens that the whole option has. What a chat template puts behind a question is never
    cut.

    Args:
        fitted: rows with `prefix_id`, `suffix`, `continuation`, `limit`, `too_long` and `truncation`.
        prefixes: `PREFIXES`.
        model: its tokenizer.

    Returns:
        The rows, and `PREFIXES` that came to be.

    Source: HELM `LocalWindowService.truncate_from_right` and `BasicReferenceMetric`. The question's cue is lost with
    its end.
    """
    may = (
        pl.col("too_long")
        & (pl.col("truncation") == "right").fill_null(value=False)
        & ~pl.col("chat_template")
        & (pl.col("limit") > 0)
    )
    numbered = fitted.with_columns(was_cut=may).with_row_index("_place")
    rows = numbered.filter("was_cut")
    if rows.is_empty():
        return numbered.drop("_place"), pl.DataFrame(schema=PREFIXES.schema)
    starts = dict(prefixes.select("prefix_id", "prefix").iter_rows())
    news = []
    columns = ("_place", "prefix_id", "suffix", "continuation", "limit")
    for place, prefix_id, suffix, continuation, limit in rows.select(columns).iter_rows():
        text = _cut(starts[prefix_id] + suffix + (continuation or ""), limit, model)
        scored = None if continuation is None else _last_tokens(text, _length(continuation, model), model)
        text = text.removesuffix(scored or "")
        start = starts[prefix_id] if text.startswith(starts[prefix_id]) else ""
        news.append((place, sha256(start.encode()).hexdigest()[:32], text[len(start) :], scored, start))
    types = [pl.UInt32, *[pl.String] * 4]
    schema = dict(zip(["_place", "prefix_id", "suffix", "continuation", "prefix"], types, strict=True))
    new = pl.DataFrame(news, schema=schema, orient="row")
    changed = numbered.update(new.drop("prefix"), on="_place").with_columns(
        too_long=pl.col("too_long") & ~pl.col("was_cut")
    )
    return changed.drop("_place"), new.select(list(PREFIXES.schema)).unique("prefix_id", maintain_order=True)


def _cut(text: str, limit: int, model: Model) -> str:
    assert model.count_tokens is not None  # or it would not be known to be too long
    count = model.count_tokens
    if model.tokens is not None:
        text = model.tokens.decode(list(model.tokens.encode(text))[:limit])
        while count([text])[0] > limit:
            text = text[:-1]
        return text
    # without the tokens: the longest start that fits, as far as a longer text has no fewer tokens
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if count([text[:middle]])[0] <= limit else (low, middle - 1)
    return text[:low]


def _last_tokens(text: str, count: int, model: Model) -> str:
    """Return the last `count` tokens of the text, or all of it where it has fewer."""
    before = max(0, _length(text, model) - count)
    if model.tokens is not None:
        return text.removeprefix(first_tokens(text, before, model.tokens))
    return text.removeprefix(_cut(text, before, model))


def _length(text: str, model: Model) -> int:
    assert model.count_tokens is not None
    return len(model.tokens.encode(text)) if model.tokens is not None else model.count_tokens([text])[0]
