"""Prompts cut at their end, as HELM cuts those that are too long without any example."""

from hashlib import sha256

import polars as pl

from helmframe._schema import PREFIXES
from helmframe.models.model import Model


def truncate_right(fitted: pl.DataFrame, prefixes: pl.DataFrame, model: Model) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Truncate the prompts that are too long and may be truncated to their limit; adds `was_cut`.

    The continuation is never truncated, and neither is what a chat template adds after a question.

    Args:
        fitted: Rows with `prefix_id`, `suffix`, `limit`, `too_long` and `truncation`.
        prefixes: `PREFIXES`.
        model: Its tokenizer.

    Returns:
        The rows, and the new `PREFIXES`.

    Source: HELM `LocalWindowService.truncate_from_right`. The question's cue is lost with its end.
    """
    is_truncated = (
        pl.col("too_long")
        & (pl.col("truncation") == "right").fill_null(value=False)
        & pl.col("continuation").is_null()
        & ~pl.col("chat_template")
        & (pl.col("limit") > 0)
    )
    numbered = fitted.with_columns(was_cut=is_truncated).with_row_index("_index")
    rows = numbered.filter("was_cut")
    if rows.is_empty():
        return numbered.drop("_index"), pl.DataFrame(schema=PREFIXES.schema)
    starts = dict(prefixes.select("prefix_id", "prefix").iter_rows())
    truncated = []
    for position, prefix_id, suffix, limit in rows.select("_index", "prefix_id", "suffix", "limit").iter_rows():
        text = _truncated(starts[prefix_id] + suffix, limit, model)
        start = starts[prefix_id] if text.startswith(starts[prefix_id]) else ""
        truncated.append((position, sha256(start.encode()).hexdigest()[:32], text[len(start) :], start))
    schema = {"_index": pl.UInt32, "prefix_id": pl.String, "suffix": pl.String, "prefix": pl.String}
    new = pl.DataFrame(truncated, schema=schema, orient="row")
    changed = numbered.update(new.drop("prefix"), on="_index").with_columns(
        too_long=pl.col("too_long") & ~pl.col("was_cut")
    )
    return changed.drop("_index"), new.select(list(PREFIXES.schema)).unique("prefix_id", maintain_order=True)


def _truncated(text: str, limit: int, model: Model) -> str:
    assert model.count_tokens is not None  # otherwise the prompt could not be too long
    count = model.count_tokens
    if model.tokens is not None:
        text = model.tokens.decode(list(model.tokens.encode(text))[:limit])
        while count([text])[0] > limit:
            text = text[:-1]
        return text
    # without the tokens: the longest start that fits, if a longer text has no fewer tokens
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if count([text[:middle]])[0] <= limit else (low, middle - 1)
    return text[:low]
