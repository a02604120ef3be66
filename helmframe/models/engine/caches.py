"""Keys and values as transformers' own cache, for models that don't take them packed."""

import inspect
from typing import Any

from helmframe.models.engine.heads import Head


def as_cache(model: Any, cache: Any) -> dict[str, Any]:
    """The argument a model takes its cache by: transformers called it past_key_values up to 5.23."""
    named = "cache" in inspect.signature(type(model).forward).parameters
    return {"cache" if named else "past_key_values": cache}


def after(head: Head | None, rows: int = 1) -> Any:
    """A cache of so many rows to go on from; nothing is copied before it grows.

    It is one without the model's configuration: a layer with a window then keeps what is beyond it, and its mask, not
    the cache, leaves that out.
    """
    from transformers import DynamicCache

    cache = DynamicCache()
    for place, (keys, values) in enumerate(head.layers if head else ()):
        cache.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1), place)
    return cache


def head_of(cache: Any) -> Head:
    """The head that a cache of one row holds."""
    layers = [(layer.keys[0], layer.values[0]) for layer in cache.layers]
    return Head(layers[0][0].shape[1], layers)
