"""Forward passes over packed texts (shared tokens once, no padding), padded texts, or texts of equal length."""

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from helmframe.models.engine.attention import NotPackedError, Packed, attending
from helmframe.models.engine.memory import Head, Heads, KeyValues, Layer
from helmframe.models.engine.planner import Block, Ids, Limits, Step, build_block


def read_packed(
    model: Any, step: Step, texts: Sequence[Ids], wanted: Sequence[int], heads: Heads, *, keep: bool
) -> tuple[Any, dict[int, Any], dict[int, KeyValues]]:
    """Run one step, and return the model's logits.

    Args:
        model: The model, in evaluation mode, without gradients.
        step: The step, with the indices of its texts.
        texts: The token ids of the texts.
        wanted: The first position of each text whose next-token logits are wanted.
        heads: The cached starts of texts, to which the step's base is added.
        keep: Whether to return keys and values.

    Returns:
        The logits [tokens, vocabulary], the indices of each text's logits, and each text's keys and values.

    Raises:
        NotPackedError: A layer of the model does not call the engine's attention.
    """
    import torch

    head = _packed_head(model, texts[step.blocks[0][0]], step.base, heads) if step.base else None
    blocks = [build_block([texts[index] for index in indices], step.base) for indices in step.blocks]
    starts = np.cumsum([0, *(len(block.tokens) for block in blocks)])
    paths = {
        index: path + start
        for indices, block, start in zip(step.blocks, blocks, starts[:-1], strict=True)
        for index, path in zip(indices, block.paths, strict=True)
    }
    requested = {index: path[wanted[index] - step.base :] for index, path in paths.items()}
    tokens, inverse = np.unique(np.concatenate(list(requested.values())), return_inverse=True)
    logits, layers = _forward(model, blocks, head, tokens, keep=keep)
    ends = np.cumsum([len(path_rows) for path_rows in requested.values()])[:-1]
    rows = dict(zip(requested, map(torch.from_numpy, np.split(inverse, ends)), strict=True))
    key_values = {}
    if keep:
        key_values = {
            index: KeyValues(len(texts[index]), head.layers if head else (), layers, torch.from_numpy(path))
            for index, path in paths.items()
        }
    return logits, rows, key_values


def _packed_head(model: Any, text: Ids, length: int, heads: Heads) -> Head:
    """Return the first tokens of a text as a head, which is read if it is not cached."""
    import torch

    cached = heads.longest(text, length)
    if cached is not None and cached.length == length:
        return cached
    start = cached.length if cached else 0
    block = build_block([text[:length]], start)
    _, layers = _forward(model, [block], cached, np.array([length - start - 1]), keep=True)
    if cached:
        layers = [
            (torch.cat([before[0], added[0]], dim=1), torch.cat([before[1], added[1]], dim=1))
            for before, added in zip(cached.layers, layers, strict=True)
        ]
    head = Head(length, layers)
    heads.add(text, head)
    return head


def _forward(
    model: Any, blocks: Sequence[Block], head: Head | None, wanted: Ids, *, keep: bool
) -> tuple[Any, list[Layer]]:
    """Return the logits [wanted, vocabulary] and, with `keep`, the keys and values of the row by layer."""
    import torch

    device = model.device
    packed = Packed(head.layers if head else (), head.length if head else 0, blocks, keep)
    with attending(model, packed):
        logits = model(
            input_ids=torch.from_numpy(np.concatenate([block.tokens for block in blocks]))[None].to(device),
            position_ids=torch.from_numpy(np.concatenate([block.depths for block in blocks]))[None].to(device),
            use_cache=False,
            logits_to_keep=torch.from_numpy(wanted).to(device),
        ).logits[0]
    layers = model.config.get_text_config().num_hidden_layers
    if packed.n_called != layers:
        raise NotPackedError(f"only {packed.n_called} of its {layers} layers use the attention of transformers")
    return logits, [packed.layers[layer] for layer in sorted(packed.layers)]


def read_padded(
    model: Any, step: Step, texts: Sequence[Ids], wanted: Sequence[int], heads: Heads, *, keep: bool
) -> tuple[Any, dict[int, Any], dict[int, KeyValues]]:
    """Run one step as `read_packed` does, with padded texts; logits of shared tokens are repeated."""
    import torch

    indices = [index for block in step.blocks for index in block]
    base = step.base
    head = _padded_head(model, texts[indices[0]], base, heads) if base else None
    width = max(len(texts[index]) for index in indices)
    ids = np.zeros((len(indices), width - base), dtype=np.int64)
    mask = np.zeros((len(indices), width), dtype=np.int64)
    for row, index in enumerate(indices):
        ids[row, : len(texts[index]) - base] = texts[index][base:]
        mask[row, : len(texts[index])] = 1
    arguments: dict[str, Any] = {}
    cache = _cache_after(head, len(indices))
    if head or keep:
        arguments = {"use_cache": True, **as_cache(model, cache)}
    if not mask.all():
        arguments["attention_mask"] = _tensor(model, mask)
    rows = [(len(texts[index]), wanted[index], index) for index in indices]
    logits, text_rows = _run_rows(model, ids, rows, base, arguments)
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
    """Run texts of equal length without shared starts, and return logits and rows as `read_packed` does."""
    ids = np.stack([texts[index] for index in indices])
    return _run_rows(model, ids, [(len(texts[index]), wanted[index], index) for index in indices], 0, {})


def of_equal_length(texts: Sequence[Ids], wanted: Sequence[int], limits: Limits) -> Iterator[list[int]]:
    """Yield the indices of texts of equal length, one list per pass; the longest first."""
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


def _padded_head(model: Any, text: Ids, length: int, heads: Heads) -> Head:
    """Return the first tokens of a text as a head, which is read if it is not cached."""
    cached = heads.longest(text, length)
    if cached is not None and cached.length == length:
        return cached
    cache = _cache_after(cached)
    ids = _tensor(model, text[None, cached.length if cached else 0 : length])
    last = {"logits_to_keep": 1} if has_choice(model) else {}
    model(input_ids=ids, use_cache=True, **last, **as_cache(model, cache))
    head = _head_of(cache)
    heads.add(text, head)
    return head


def _run_rows(
    model: Any, ids: Any, rows: Sequence[tuple[int, int, int]], base: int, arguments: dict[str, Any]
) -> tuple[Any, dict[int, Any]]:
    """Return the logits of the columns that any row wants; a row is (length, first wanted position, text index)."""
    import torch

    columns = np.unique(np.concatenate([np.arange(first, length) for length, first, _ in rows])) - base
    choice = {"logits_to_keep": _tensor(model, columns)} if has_choice(model) else {}
    logits = model(input_ids=_tensor(model, ids), **{"use_cache": False, **choice, **arguments}).logits
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
    """Return whether the model can return the logits of selected positions only."""
    return "logits_to_keep" in inspect.signature(type(model).forward).parameters


def as_cache(model: Any, cache: Any) -> dict[str, Any]:
    """Return the keyword argument of a model's cache, which is past_key_values up to transformers 5.23."""
    named = "cache" in inspect.signature(type(model).forward).parameters
    return {"cache" if named else "past_key_values": cache}


def _cache_after(head: Head | None, rows: int = 1) -> Any:
    """Return a cache of `rows` rows that continue a head; nothing is copied before the cache grows.

    The cache does not know the model's configuration. So layers with a sliding window store all tokens, and their mask
    excludes tokens outside the window.
    """
    from transformers import DynamicCache

    cache = DynamicCache()
    for layer, (keys, values) in enumerate(head.layers if head else ()):
        cache.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1), layer)
    return cache


def side_by_side(key_values: Sequence[KeyValues | None], width: int) -> Any:
    """Return a cache of rows that were read before, each padded on the left to `width` tokens.

    At least one row must have tokens. A mask must exclude the padding.
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
