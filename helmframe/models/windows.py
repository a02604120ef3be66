"""Texts longer than the model's window, which are split into windows or truncated on the right, as in HELM."""

from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

import polars as pl

from helmframe._schema import PREFIXES
from helmframe.models.model import Model, Tokens

# The text of bytes that are an incomplete character.
_PARTIAL = "\ufffd"
# A window has one token more than the model reads, because its last token is only predicted.
_LAST = 1


class Window(NamedTuple):
    """A part of a text whose log-probability is requested, with its context.

    `num_conditioning_tokens` is the number of context tokens, as HELM counts them.
    """

    context: str
    continuation: str
    num_conditioning_tokens: int


def split_into_windows(rows: pl.DataFrame, model: Model) -> pl.DataFrame:
    """Return the rows with each whole text split into one row per window, in the same order.

    The columns `window_index` and `num_conditioning_tokens` are null for other rows, which are unchanged. The `suffix`
    of a window is its context. Without a tokenizer, the text is one window without context.

    Args:
        rows: `REQUESTS` with `suffix`.
        model: The model, with its window and tokenizer.
    """
    whole = pl.col("continuation").is_not_null() & pl.col("reference_index").is_null()
    none = pl.lit(None, dtype=pl.Int64)
    if not rows.select(whole.any()).item():
        return rows.with_columns(window_index=none, num_conditioning_tokens=none)
    numbered = rows.with_row_index("_index")
    texts = numbered.filter(whole).select("_index", "continuation").unique("_index", maintain_order=True)
    pieces = [
        (position, index, *window)
        for position, text in texts.iter_rows()
        for index, window in enumerate(_windows(text, model))
    ]
    names = ["_index", "window_index", "suffix", "continuation", "num_conditioning_tokens"]
    types = [pl.UInt32, pl.Int64, pl.String, pl.String, pl.Int64]
    windows = pl.DataFrame(pieces, schema=dict(zip(names, types, strict=True)), orient="row")
    split = numbered.filter(whole).drop("suffix", "continuation").join(windows, on="_index", how="inner")
    unsplit = numbered.filter(~whole).with_columns(window_index=none, num_conditioning_tokens=none)
    return pl.concat([unsplit, split.select(unsplit.columns)]).sort("_index", "window_index").drop("_index")


def windows(text: str, tokens: Tokens, window: int, max_request_length: int | None = None) -> list[Window]:
    """Return the windows of a text. Every token is predicted once, with as much context as fits.

    The first window starts with the first token of every text (BOS). If a window ends within a character, this window
    and the next window skip the character, as in HELM. Then about one token in some hundred is not predicted.

    Args:
        text: The text.
        tokens: The tokenizer.
        window: The maximum number of tokens that the model reads at a time.
        max_request_length: The maximum number of tokens of one request. By default one token more than the window,
            because the last token is only predicted. If it is not larger than the window, the first window skips its
            last token in favour of BOS, as in HELM.

    Source: HELM `LanguageModelingAdapter`, after EleutherAI's lm_perplexity. The windows are equal byte for byte.
    """
    max_length = window + _LAST if max_request_length is None else max_request_length
    ids = list(tokens.encode(text))
    prefix = tokens.prefix()
    done = min(window, len(ids))
    prompt, _ = _text(list(tokens.encode(prefix)), ids[:done], max_length, tokens)
    pieces = [Window(prefix, prompt.removeprefix(prefix), 1 if prefix else 0)]
    while done < len(ids):
        end = min(len(ids), done + max_length - 1)
        prompt, conditioning = _text(ids[max(0, end - max_length) : done], ids[done:end], max_length, tokens)
        context = _start(prompt, conditioning, tokens)
        pieces.append(Window(context, prompt.removeprefix(context), conditioning))
        done = end
    return pieces


def _windows(text: str, model: Model) -> list[Window]:
    if model.tokens is None or model.window is None:
        return [Window("", text, 0)]
    return windows(text, model.tokens, model.window, model.max_request_length)


def _text(conditioning: Sequence[int], predicted: Sequence[int], max_length: int, tokens: Tokens) -> tuple[str, int]:
    """Return the text of a window without incomplete characters at its ends, and the number of context tokens."""
    raw, predicted = _fitting(conditioning, predicted, max_length, tokens)
    text = raw.strip(_PARTIAL)
    if text == raw:
        return text, len(conditioning)
    leading = max_length - len(tokens.encode(raw.lstrip(_PARTIAL)))
    trailing = max_length - len(tokens.encode(raw.rstrip(_PARTIAL)))
    if trailing >= len(predicted):
        return text, len(tokens.encode(text))
    return text, 1 if leading >= len(conditioning) else len(conditioning) - leading


def _fitting(
    conditioning: Sequence[int], predicted: Sequence[int], max_length: int, tokens: Tokens
) -> tuple[str, Sequence[int]]:
    """Return the text, without its last predicted tokens if it is too long when it is tokenized again."""
    text = tokens.decode([*conditioning, *predicted])
    while (over := len(tokens.encode(text)) - max_length) > 0 and predicted:
        predicted = predicted[:-over]
        text = tokens.decode([*conditioning, *predicted])
    return text, predicted


def _start(text: str, count: int, tokens: Tokens) -> str:
    """Return the text of the first `count` tokens, and of more tokens until a character ends."""
    ids = list(tokens.encode(text))
    for end in range(count, len(ids) + 1):
        start = tokens.decode(ids[:end])
        if text.startswith(start):
            return start
    return text


def truncate_right(fitted: pl.DataFrame, prefixes: pl.DataFrame, model: Model) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Truncate prompts that are too long on the right, if `truncation` allows it, and add `was_cut`.

    A prompt with an option (`continuation`) is truncated at the end of the option. The last remaining tokens become the
    continuation; their number is that of the whole option. Prompts of a chat template are not truncated.

    Args:
        fitted: Rows with `prefix_id`, `suffix`, `continuation`, `limit`, `too_long` and `truncation`.
        prefixes: `PREFIXES`.
        model: The model, with its tokenizer.

    Returns:
        The rows, and the new `PREFIXES`.

    Source: HELM `LocalWindowService.truncate_from_right` and `BasicReferenceMetric`. The end of the question is lost,
    with its answer cue.
    """
    is_truncated = (
        pl.col("too_long")
        & (pl.col("truncation") == "right").fill_null(value=False)
        & ~pl.col("chat_template")
        & (pl.col("limit") > 0)
    )
    numbered = fitted.with_columns(was_cut=is_truncated).with_row_index("_index")
    rows = numbered.filter("was_cut")
    if rows.is_empty():
        return numbered.drop("_index"), pl.DataFrame(schema=PREFIXES.schema)
    starts = dict(prefixes.select("prefix_id", "prefix").iter_rows())
    truncated = []
    columns = ("_index", "prefix_id", "suffix", "continuation", "limit")
    for position, prefix_id, suffix, continuation, limit in rows.select(columns).iter_rows():
        text = _truncated(starts[prefix_id] + suffix + (continuation or ""), limit, model)
        scored = None if continuation is None else _last_tokens(text, _length(continuation, model), model)
        text = text.removesuffix(scored or "")
        start = starts[prefix_id] if text.startswith(starts[prefix_id]) else ""
        truncated.append((position, sha256(start.encode()).hexdigest()[:32], text[len(start) :], scored, start))
    types = [pl.UInt32, *[pl.String] * 4]
    schema = dict(zip(["_index", "prefix_id", "suffix", "continuation", "prefix"], types, strict=True))
    new = pl.DataFrame(truncated, schema=schema, orient="row")
    changed = numbered.update(new.drop("prefix"), on="_index").with_columns(
        too_long=pl.col("too_long") & ~pl.col("was_cut")
    )
    return changed.drop("_index"), new.select(list(PREFIXES.schema)).unique("prefix_id", maintain_order=True)


def _truncated(text: str, limit: int, model: Model) -> str:
    assert model.count_tokens is not None  # else no prompt is too long
    count = model.count_tokens
    if model.tokens is not None:
        text = model.tokens.decode(list(model.tokens.encode(text))[:limit])
        while count([text])[0] > limit:
            text = text[:-1]
        return text
    # a binary search for the longest start that fits, because a longer text has no fewer tokens
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if count([text[:middle]])[0] <= limit else (low, middle - 1)
    return text[:low]


def _last_tokens(text: str, count: int, model: Model) -> str:
    """Return the text of the last `count` tokens, or the whole text if it has fewer."""
    before = max(0, _length(text, model) - count)
    if model.tokens is not None:
        return text.removeprefix(_start(text, before, model.tokens))
    return text.removeprefix(_truncated(text, before, model))


def _length(text: str, model: Model) -> int:
    assert model.count_tokens is not None
    return len(model.tokens.encode(text)) if model.tokens is not None else model.count_tokens([text])[0]
