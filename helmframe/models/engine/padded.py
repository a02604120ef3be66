"""One forward pass over texts side by side: padded on the right after a shared start, or whole and of equal length."""

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from helmframe.models.engine.heads import Head, Heads
from helmframe.models.engine.packed import KeyValues
from helmframe.models.engine.planner import Limits, Step
from helmframe.models.engine.trie import Ids


def read_padded(
    model: Any, step: Step, texts: Sequence[Ids], wanted: Sequence[int], heads: Heads, *, keep: bool
) -> tuple[Any, dict[int, Any], dict[int, KeyValues]]:
    """Run one step as `read_packed` does, with padded texts; shared tokens of the logits are not merged."""
    import torch

    indices = [index for block in step.blocks for index in block]
    base = step.base
    head = _head(model, texts[indices[0]], base, heads) if base else None
    width = max(len(texts[index]) for index in indices)
    ids = np.zeros((len(indices), width - base), dtype=np.int64)
    mask = np.zeros((len(indices), width), dtype=np.int64)
    for row, index in enumerate(indices):
        ids[row, : len(texts[index]) - base] = texts[index][base:]
        mask[row, : len(texts[index])] = 1
    more: dict[str, Any] = {}
    cache = _after(head, len(indices))
    if head or keep:
        more = {"use_cache": True, **as_cache(model, cache)}
    if not mask.all():
        more["attention_mask"] = _tensor(model, mask)
    rows = [(len(texts[index]), wanted[index], index) for index in indices]
    logits, text_rows = _run_rows(model, ids, rows, base, more)
    key_values = {}
    if keep:
        layers = [(layer.keys, layer.values) for layer in cache.layers]
        key_values = {
            index: KeyValues(length, (), [(keys[row], values[row]) for keys, values in layers], torch.arange(length))
            for row, (length, _, index) in enumerate(rows)
        }
    return logits, text_rows, key_values


def read_plain(
    model: Any, indices: Sequence[int], texts: Sequence[Ids], wanted: Sequence[int]
) -> tuple[Any, dict[int, Any]]:
    """Run texts of equal length, each read whole, and return logits and rows as `read_packed` does."""
    ids = np.stack([texts[index] for index in indices])
    return _run_rows(model, ids, [(len(texts[index]), wanted[index], index) for index in indices], 0, {})


def of_equal_length(texts: Sequence[Ids], wanted: Sequence[int], limits: Limits) -> Iterator[list[int]]:
    """Yield the indices of texts of one length, as many as a pass holds; the longest first."""
    lengths = np.fromiter(map(len, texts), dtype=np.int64)
    for length in sorted(set(lengths.tolist()), reverse=True):
        group: list[int] = []
        first = length
        for index in np.flatnonzero(lengths == length).tolist():
            rows, first = len(group) + 1, min(first, wanted[index] if limits.chosen else 0)
            if group and (rows * length > limits.tokens or rows * (length - first) > limits.wanted):
                yield group
                group, first = [], wanted[index] if limits.chosen else 0
            group.append(index)
        yield group


def _head(model: Any, text: Ids, length: int, heads: Heads) -> Head:
    """Return the text's first tokens as a head; read them if they are not cached."""
    cached = heads.longest(text, length)
    if cached is not None and cached.length == length:
        return cached
    cache = _after(cached)
    ids = _tensor(model, text[None, cached.length if cached else 0 : length])
    last = {"logits_to_keep": 1} if has_choice(model) else {}
    model(input_ids=ids, use_cache=True, **last, **as_cache(model, cache))
    head = _head_of(cache)
    heads.add(text, head)
    return head


def _run_rows(
    model: Any, ids: Any, rows: Sequence[tuple[int, int, int]], base: int, more: dict[str, Any]
) -> tuple[Any, dict[int, Any]]:
    """Return the logits of all columns that any row wants; a row is (length, first wanted position, text index)."""
    import torch

    columns = np.unique(np.concatenate([np.arange(first, length) for length, first, _ in rows])) - base
    choice = {"logits_to_keep": _tensor(model, columns)} if has_choice(model) else {}
    logits = model(input_ids=_tensor(model, ids), **{"use_cache": False, **choice, **more}).logits
    if not has_choice(model):
        logits = logits[:, _tensor(model, columns)]
    text_rows = {}
    for row, (length, first, index) in enumerate(rows):
        low, high = np.searchsorted(columns, [first - base, length - base])
        text_rows[index] = torch.arange(row * len(columns) + low, row * len(columns) + high)
    return logits.flatten(0, 1), text_rows


def _tensor(model: Any, array: Any) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(array)).to(model.device)


def has_choice(model: Any) -> bool:
    """Return whether the model can return logits of chosen positions only."""
    return "logits_to_keep" in inspect.signature(type(model).forward).parameters


def as_cache(model: Any, cache: Any) -> dict[str, Any]:
    """Return the keyword argument for a model's cache: transformers called it past_key_values up to 5.23."""
    named = "cache" in inspect.signature(type(model).forward).parameters
    return {"cache" if named else "past_key_values": cache}


def _after(head: Head | None, rows: int = 1) -> Any:
    """Return a cache of `rows` rows that continue a head; nothing is copied before the cache grows.

    It is built without the model's configuration: layers with a sliding window then store all tokens, and their mask
    excludes those outside the window.
    """
    from transformers import DynamicCache

    cache = DynamicCache()
    for layer, (keys, values) in enumerate(head.layers if head else ()):
        cache.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1), layer)
    return cache


def side_by_side(key_values: Sequence[KeyValues | None], width: int) -> Any:
    """Return a cache of rows that were read before, each padded on the left to `width` tokens; at least one has tokens.

    A mask must exclude what precedes a row's first token.
    """
    from transformers import DynamicCache

    cache = DynamicCache()
    first = next(row_values for row_values in key_values if row_values is not None)
    for layer, (heads, key_size, value_size) in enumerate(first.shapes):
        like = first.row[layer][0]
        keys, values = (like.new_zeros((len(key_values), heads, width, size)) for size in (key_size, value_size))
        for row, row_values in enumerate(key_values):
            if row_values is not None:
                start = width - row_values.length
                row_values.copy(layer, keys[row, :, start:], values[row, :, start:])
        cache.update(keys, values, layer)
    return cache


def _head_of(cache: Any) -> Head:
    """Return the cache of one row as a head."""
    layers = [(layer.keys[0], layer.values[0]) for layer in cache.layers]
    return Head(layers[0][0].shape[1], layers)
