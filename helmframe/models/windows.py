"""A text longer than the model's window as several: each of its tokens is predicted once, from as many as fit."""

from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from helmframe.models.model import Model, Tokens

# What a tokenizer writes for bytes that are no whole character.
_PARTIAL = "\ufffd"
# A window holds one more token than the model reads: its last is predicted only.
_LAST = 1


class Window(NamedTuple):
    """A part of a text that is asked about, after what comes before it.

    `num_conditioning_tokens` is how many come before, as HELM counts them.
    """

    context: str
    continuation: str
    num_conditioning_tokens: int


def cut(rows: pl.DataFrame, model: Model) -> pl.DataFrame:
    """The rows whose whole text is asked about as one row per window; other rows as they are, in their order.

    Adds `window_index` and `num_conditioning_tokens`, null elsewhere, and `suffix`, the window's context. Without a
    tokenizer the text is one window after nothing.

    Args:
        rows: `REQUESTS` with `suffix`.
        model: its window and tokenizer.
    """
    whole = pl.col("continuation").is_not_null() & pl.col("reference_index").is_null()
    none = pl.lit(None, dtype=pl.Int64)
    if not rows.select(whole.any()).item():
        return rows.with_columns(window_index=none, num_conditioning_tokens=none)
    numbered = rows.with_row_index("_place")
    texts = numbered.filter(whole).select("_place", "continuation").unique("_place", maintain_order=True)
    found = [
        (place, index, *window)
        for place, text in texts.iter_rows()
        for index, window in enumerate(_windows(text, model))
    ]
    names = ["_place", "window_index", "suffix", "continuation", "num_conditioning_tokens"]
    types = [pl.UInt32, pl.Int64, pl.String, pl.String, pl.Int64]
    windows = pl.DataFrame(found, schema=dict(zip(names, types, strict=True)), orient="row")
    cut_up = numbered.filter(whole).drop("suffix", "continuation").join(windows, on="_place", how="inner")
    others = numbered.filter(~whole).with_columns(window_index=none, num_conditioning_tokens=none)
    return pl.concat([others, cut_up.select(others.columns)]).sort("_place", "window_index").drop("_place")


def windows(text: str, tokens: Tokens, window: int, max_request_length: int | None = None) -> list[Window]:
    """The windows of a text: the first begins with the tokenizer's first token, the others with all that fits before.

    Args:
        text: any.
        tokens: the tokenizer.
        window: tokens that the model reads at once.
        max_request_length: The most tokens of one request. By default one more than the window, whose last token is
            predicted only. With no more than the window, a first token leaves no room for the last one of the first
            window, which is skipped then, as in HELM.

    A window that ends within a character does without it, and so does the next, as in HELM: a token of some hundred is
    not predicted then.

    Source: HELM `LanguageModelingAdapter`, after EleutherAI's lm_perplexity; its windows byte for byte.
    """
    most = window + _LAST if max_request_length is None else max_request_length
    ids = list(tokens.encode(text))
    prefix = tokens.prefix()
    done = min(window, len(ids))
    prompt, _ = _text(list(tokens.encode(prefix)), ids[:done], most, tokens)
    found = [Window(prefix, prompt.removeprefix(prefix), 1 if prefix else 0)]
    while done < len(ids):
        end = min(len(ids), done + most - 1)
        prompt, conditioning = _text(ids[max(0, end - most) : done], ids[done:end], most, tokens)
        context = first_tokens(prompt, conditioning, tokens)
        found.append(Window(context, prompt.removeprefix(context), conditioning))
        done = end
    return found


def first_tokens(text: str, count: int, tokens: Tokens) -> str:
    """Return the first `count` tokens of the text, and as many more as end with a whole character."""
    ids = list(tokens.encode(text))
    for end in range(count, len(ids) + 1):
        start = tokens.decode(ids[:end])
        if text.startswith(start):
            return start
    return text


def _windows(text: str, model: Model) -> list[Window]:
    if model.tokens is None or model.window is None:
        return [Window("", text, 0)]
    return windows(text, model.tokens, model.window, model.max_request_length)


def _text(conditioning: Sequence[int], predicted: Sequence[int], most: int, tokens: Tokens) -> tuple[str, int]:
    """The window's text without parts of characters at its ends, and how many tokens only condition."""
    raw, predicted = _fitting(conditioning, predicted, most, tokens)
    text = raw.strip(_PARTIAL)
    if text == raw:
        return text, len(conditioning)
    leading = most - len(tokens.encode(raw.lstrip(_PARTIAL)))
    trailing = most - len(tokens.encode(raw.rstrip(_PARTIAL)))
    if trailing >= len(predicted):
        return text, len(tokens.encode(text))
    return text, 1 if leading >= len(conditioning) else len(conditioning) - leading


def _fitting(
    conditioning: Sequence[int], predicted: Sequence[int], most: int, tokens: Tokens
) -> tuple[str, Sequence[int]]:
    """The text, with predicted tokens dropped at the end until it is no longer than allowed when tokenized again."""
    text = tokens.decode([*conditioning, *predicted])
    while (over := len(tokens.encode(text)) - most) > 0 and predicted:
        predicted = predicted[:-over]
        text = tokens.decode([*conditioning, *predicted])
    return text, predicted
