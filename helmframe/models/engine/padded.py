"""One forward pass over texts side by side: padded on the right after what they share, or of equal length and whole."""

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from helmframe.models.engine.heads import Head, Heads
from helmframe.models.engine.planner import Step
from helmframe.models.engine.trie import Ids


def read_padded(
    model: Any, step: Step, texts: Sequence[Ids], wanted: Sequence[int], heads: Heads
) -> tuple[Any, dict[int, Any]]:
    """What the model says in one step: see `read_packed`, whose logits hold no token twice."""
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
    if head:
        more = {"use_cache": True, **_as_cache(model, _after(head, len(places)))}
    if not mask.all():
        more["attention_mask"] = _tensor(model, mask)
    return _asked(model, ids, [(len(texts[place]), wanted[place], place) for place in places], base, more)


def read_plain(
    model: Any, places: Sequence[int], texts: Sequence[Ids], wanted: Sequence[int]
) -> tuple[Any, dict[int, Any]]:
    """What the model says of texts of equal length, each read whole: see `read_packed`."""
    ids = np.stack([texts[place] for place in places])
    return _asked(model, ids, [(len(texts[place]), wanted[place], place) for place in places], 0, {})


def of_equal_length(texts: Sequence[Ids], tokens: int) -> Iterator[list[int]]:
    """Places of texts of one length, as many as have no more than so many tokens; the longest first."""
    lengths = np.fromiter(map(len, texts), dtype=np.int64)
    for length in sorted(set(lengths.tolist()), reverse=True):
        places = np.flatnonzero(lengths == length).tolist()
        size = max(1, tokens // length)
        yield from (places[start : start + size] for start in range(0, len(places), size))


def _head(model: Any, text: Ids, length: int, heads: Heads) -> Head:
    """The text's first tokens as a head, read if they are not known."""
    known = heads.longest(text, length)
    if known is not None and known.length == length:
        return known
    cache = _after(known)
    ids = _tensor(model, text[None, known.length if known else 0 : length])
    model(input_ids=ids, use_cache=True, **_last(model), **_as_cache(model, cache))
    head = _head_of(cache)
    heads.keep(text, head)
    return head


def _asked(
    model: Any, ids: Any, rows: Sequence[tuple[int, int, int]], base: int, more: dict[str, Any]
) -> tuple[Any, dict[int, Any]]:
    """Logits of the columns in which any row (length, first place wanted, place of the text) wants one."""
    import torch

    columns = np.unique(np.concatenate([np.arange(first, length) for length, first, _ in rows])) - base
    has_choice = "logits_to_keep" in inspect.signature(type(model).forward).parameters
    said = {"logits_to_keep": _tensor(model, columns)} if has_choice else {}
    logits = model(input_ids=_tensor(model, ids), **{"use_cache": False, **said, **more}).logits
    if not has_choice:
        logits = logits[:, _tensor(model, columns)]
    found = {}
    for row, (length, first, place) in enumerate(rows):
        low, high = np.searchsorted(columns, [first - base, length - base])
        found[place] = torch.arange(row * len(columns) + low, row * len(columns) + high)
    return logits.flatten(0, 1), found


def _last(model: Any) -> dict[str, Any]:
    return {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(type(model).forward).parameters else {}


def _tensor(model: Any, array: Any) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(array)).to(model.device)


def _as_cache(model: Any, cache: Any) -> dict[str, Any]:
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


def _head_of(cache: Any) -> Head:
    """The head that a cache of one row holds."""
    layers = [(layer.keys[0], layer.values[0]) for layer in cache.layers]
    return Head(layers[0][0].shape[1], layers)
