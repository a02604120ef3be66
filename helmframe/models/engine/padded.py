"""One forward pass over texts side by side: padded on the right after what they share, or of equal length and whole."""

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from helmframe.models.engine.heads import Head, Heads
from helmframe.models.engine.packed import Kept
from helmframe.models.engine.planner import Limits, Step
from helmframe.models.engine.trie import Ids


def read_padded(
    model: Any, step: Step, texts: Sequence[Ids], wanted: Sequence[int], heads: Heads, *, keep: bool
) -> tuple[Any, dict[int, Any], dict[int, Kept]]:
    """What the model says in one step: see `read_packed`, whose logits hold no token twice."""
    import torch

    places = [place for block in step.blocks for place in block]
    base = step.base
    head = _head(model, texts[places[0]], base, heads) if base else None
    width = max(len(texts[place]) for place in places)
    ids = np.zeros((len(places), width - base), dtype=np.int64)
    mask = np.zeros((len(places), width), dtype=np.int64)
    for row, place in enumerate(places):
        ids[row, : len(texts[place]) - base] = texts[place][base:]
        mask[row, : len(texts[place])] = 1
    more: dict[str, Any] = {}
    cache = _after(head, len(places))
    if head or keep:
        more = {"use_cache": True, **as_cache(model, cache)}
    if not mask.all():
        more["attention_mask"] = _tensor(model, mask)
    rows = [(len(texts[place]), wanted[place], place) for place in places]
    logits, found = _asked(model, ids, rows, base, more)
    kept = {}
    if keep:
        layers = [(layer.keys, layer.values) for layer in cache.layers]
        kept = {
            place: Kept(length, (), [(keys[row], values[row]) for keys, values in layers], torch.arange(length))
            for row, (length, _, place) in enumerate(rows)
        }
    return logits, found, kept


def read_plain(
    model: Any, places: Sequence[int], texts: Sequence[Ids], wanted: Sequence[int]
) -> tuple[Any, dict[int, Any]]:
    """What the model says of texts of equal length, each read whole: see `read_packed`."""
    ids = np.stack([texts[place] for place in places])
    return _asked(model, ids, [(len(texts[place]), wanted[place], place) for place in places], 0, {})


def of_equal_length(texts: Sequence[Ids], wanted: Sequence[int], limits: Limits) -> Iterator[list[int]]:
    """Places of texts of one length, as many as a pass holds; the longest first."""
    lengths = np.fromiter(map(len, texts), dtype=np.int64)
    for length in sorted(set(lengths.tolist()), reverse=True):
        group: list[int] = []
        first = length
        for place in np.flatnonzero(lengths == length).tolist():
            rows, first = len(group) + 1, min(first, wanted[place] if limits.chosen else 0)
            if group and (rows * length > limits.tokens or rows * (length - first) > limits.wanted):
                yield group
                group, first = [], wanted[place] if limits.chosen else 0
            group.append(place)
        yield group


def _head(model: Any, text: Ids, length: int, heads: Heads) -> Head:
    """The text's first tokens as a head, read if they are not known."""
    known = heads.longest(text, length)
    if known is not None and known.length == length:
        return known
    cache = _after(known)
    ids = _tensor(model, text[None, known.length if known else 0 : length])
    last = {"logits_to_keep": 1} if has_choice(model) else {}
    model(input_ids=ids, use_cache=True, **last, **as_cache(model, cache))
    head = _head_of(cache)
    heads.keep(text, head)
    return head


def _asked(
    model: Any, ids: Any, rows: Sequence[tuple[int, int, int]], base: int, more: dict[str, Any]
) -> tuple[Any, dict[int, Any]]:
    """Logits of the columns in which any row (length, first place wanted, place of the text) wants one."""
    import torch

    columns = np.unique(np.concatenate([np.arange(first, length) for length, first, _ in rows])) - base
    said = {"logits_to_keep": _tensor(model, columns)} if has_choice(model) else {}
    logits = model(input_ids=_tensor(model, ids), **{"use_cache": False, **said, **more}).logits
    if not has_choice(model):
        logits = logits[:, _tensor(model, columns)]
    found = {}
    for row, (length, first, place) in enumerate(rows):
        low, high = np.searchsorted(columns, [first - base, length - base])
        found[place] = torch.arange(row * len(columns) + low, row * len(columns) + high)
    return logits.flatten(0, 1), found


def _tensor(model: Any, array: Any) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(array)).to(model.device)


def has_choice(model: Any) -> bool:
    """Whether the model can be told after which tokens it is asked for logits; else it gives those of all."""
    return "logits_to_keep" in inspect.signature(type(model).forward).parameters


def as_cache(model: Any, cache: Any) -> dict[str, Any]:
    """The argument a model takes its cache by: transformers called it past_key_values up to 5.23."""
    named = "cache" in inspect.signature(type(model).forward).parameters
    return {"cache" if named else "past_key_values": cache}


def _after(head: Head | None, rows: int = 1) -> Any:
    """A cache of so many rows to go on from; nothing is copied before it grows.

    It is one without the model's configuration: a layer with a window then keeps what is beyond it, and its mask, not
    the cache, leaves that out.
    """
    from transformers import DynamicCache

    cache = DynamicCache()
    for place, (keys, values) in enumerate(head.layers if head else ()):
        cache.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1), place)
    return cache


def side_by_side(kept: Sequence[Kept | None], width: int) -> Any:
    """A cache of rows that hold what was read, each padded on the left to so many tokens; one at least holds some.

    What stands before a row's first token is for a mask to leave out.
    """
    from transformers import DynamicCache

    cache = DynamicCache()
    first = next(each for each in kept if each is not None)
    for layer, (heads, of_key, of_value) in enumerate(first.shapes):
        like = first.row[layer][0]
        keys, values = (like.new_zeros((len(kept), heads, width, size)) for size in (of_key, of_value))
        for row, each in enumerate(kept):
            if each is not None:
                start = width - each.length
                each.copy(layer, keys[row, :, start:], values[row, :, start:])
        cache.update(keys, values, layer)
    return cache


def _head_of(cache: Any) -> Head:
    """The head that a cache of one row holds."""
    layers = [(layer.keys[0], layer.values[0]) for layer in cache.layers]
    return Head(layers[0][0].shape[1], layers)
