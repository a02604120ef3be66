"""Prompts cut at their end, as HELM cuts those that are too long without any example."""

from hashlib import sha256

import polars as pl

from helmframe._schema import PREFIXES
from helmframe.models.model import Model


def cut_right(fitted: pl.DataFrame, prefixes: pl.DataFrame, model: Model) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The prompts that are too long and may be cut, cut to their limit; adds `was_cut`.

    What is asked about (`continuation`) is never cut, and neither is what a chat template puts behind a question.

    Args:
        fitted: rows with `prefix_id`, `suffix`, `limit`, `too_long` and `truncation`.
        prefixes: `PREFIXES`.
        model: its tokenizer.

    Returns:
        The rows, and `PREFIXES` that came to be.

    Source: HELM `LocalWindowService.truncate_from_right`. The question's cue is lost with its end.
    """
    may = (
        pl.col("too_long")
        & (pl.col("truncation") == "right").fill_null(value=False)
        & pl.col("continuation").is_null()
        & ~pl.col("chat_template")
        & (pl.col("limit") > 0)
    )
    numbered = fitted.with_columns(was_cut=may).with_row_index("_place")
    rows = numbered.filter("was_cut")
    if rows.is_empty():
        return numbered.drop("_place"), pl.DataFrame(schema=PREFIXES.schema)
    starts = dict(prefixes.select("prefix_id", "prefix").iter_rows())
    news = []
    for place, prefix_id, suffix, limit in rows.select("_place", "prefix_id", "suffix", "limit").iter_rows():
        text = _cut(starts[prefix_id] + suffix, limit, model)
        start = starts[prefix_id] if text.startswith(starts[prefix_id]) else ""
        news.append((place, sha256(start.encode()).hexdigest()[:32], text[len(start) :], start))
    schema = {"_place": pl.UInt32, "prefix_id": pl.String, "suffix": pl.String, "prefix": pl.String}
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
