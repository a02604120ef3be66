"""The ways a model's tokens may be read without changing its output, by its configuration."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

Way = Literal["packed", "cached", "plain"]
# Kinds of layers whose past is keys and values of single tokens.
ATTENDING = {"full_attention", "sliding_attention", "chunked_attention"}
# RoPE whose angles depend on the length of the text.
OF_LENGTH = {"dynamic", "longrope"}


@dataclass(frozen=True)
class Choice:
    """How texts are read, and why not faster.

    - `packed`: many texts in one row, every token they share once.
    - `cached`: in batches, padded on the right; a start they share once.
    - `plain`: in batches of equal length, nothing shared.

    Args:
        way: The way for texts of at most `most` tokens.
        why: The reason if it is not `packed`, or not for all texts.
        most: Tokens, generated ones included; None: no maximum.
        beyond: The way for longer texts.
    """

    way: Way
    why: str = ""
    most: int | None = None
    beyond: Way = "plain"

    def of(self, length: int) -> Way:
        """Return the way for a text of `length` tokens."""
        return self.way if self.most is None or length <= self.most else self.beyond

    def lowered(self, way: Way, why: str) -> "Choice":
        """Return a choice of at most this way, for a reason that was found later."""
        if way == "plain" or self.beyond == "plain":
            return Choice(way, why, None if way == "plain" else self.most)
        return replace(self, way=way, why=why, most=None)

    def __str__(self) -> str:
        if self.way == "packed" and self.most is None:
            return "prompts are packed and what they share is read once"
        if self.way == "packed":
            return f"prompts of up to {self.most} tokens are packed, longer ones {_PHRASES[self.beyond]} ({self.why})"
        return f"prompts are {_PHRASES[self.way]} ({self.why})"


_PHRASES = {"packed": "packed", "cached": "padded", "plain": "read whole, in batches of equal length"}


def allowed_choice(model: Any) -> Choice:
    """Return the fastest way that the model's configuration, class and hooks allow."""
    if _is_hooked(model):
        return Choice("plain", "a hook on the model may look at positions")
    adapters = (getattr(model, "peft_config", None) or {}).values()
    if any(getattr(config, "is_prompt_learning", False) for config in adapters):
        return Choice("plain", "its adapter puts tokens of its own before a text")
    return by_config(model.config, model)


def by_config(config: Any, kind: Any) -> Choice:
    """Return the fastest way that a configuration allows to a model, or to a class of models."""
    if getattr(config, "is_encoder_decoder", False):
        return Choice("plain", f"{config.model_type} is an encoder-decoder")
    config = config.get_text_config()
    name = config.model_type
    layers = set(getattr(config, "layer_types", None) or ())
    if getattr(kind, "_is_stateful", False) or layers - ATTENDING:
        return Choice("plain", f"{name} has layers that keep a state instead of tokens")
    if not getattr(config, "is_causal", True) or getattr(config, "use_bidirectional_attention", False):
        return Choice("plain", f"{name} looks ahead")
    choices = [_by_window(config, layers), _by_rope(config)]
    limited = [one for one in choices if one.most is not None]
    allowed = Choice("packed")
    if limited:
        shortest = min(limited, key=lambda one: one.most or 0)
        # texts longer than both use the stricter of the two
        beyond: Way = "plain" if any(one.beyond == "plain" for one in limited) else "cached"
        allowed = replace(shortest, beyond=beyond)
    if getattr(config, "attn_logit_softcapping", None):
        return allowed.lowered("cached", "its attention takes softcap")
    return allowed


def expectation(allowed: Choice) -> str:
    """Return the note about a choice before it is checked."""
    check = "; a check before the first prompt bears that out, or lowers it" if allowed.way != "plain" else ""
    return f"by its configuration {allowed}{check}"


def _by_window(config: Any, layers: set[str]) -> Choice:
    """Return the choice for attention to the last tokens only, or in chunks, which short texts fit into."""
    windows = {}
    if "sliding_attention" in layers or (not layers and getattr(config, "use_sliding_window", True)):
        windows["a sliding window"] = getattr(config, "sliding_window", None)
    if "chunked_attention" in layers or not layers:
        windows["attention in chunks"] = getattr(config, "attention_chunk_size", None)
    sizes = {name: int(size) for name, size in windows.items() if size}
    if not sizes:
        return Choice("packed")
    name = min(sizes, key=lambda label: sizes[label])
    return Choice("packed", f"{name} of {sizes[name]} tokens", sizes[name], "cached")


def _by_rope(config: Any) -> Choice:
    """Return the choice for angles that change with the length of a text beyond the trained length."""
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    kinds = [parameters for parameters in rope.values() if isinstance(parameters, Mapping)] or [rope]
    limits = {}
    for parameters in kinds:
        kind = parameters.get("rope_type") or parameters.get("type")
        if kind in OF_LENGTH:
            trained = parameters.get("original_max_position_embeddings") if kind == "longrope" else None
            trained = trained or getattr(config, "original_max_position_embeddings", None)
            limits[kind] = int(trained or config.max_position_embeddings)
    if not limits:
        return Choice("packed")
    kind = min(limits, key=lambda name: limits[name])
    return Choice("packed", f"{kind} RoPE depends on the length beyond {limits[kind]} tokens", limits[kind], "plain")


def _is_hooked(model: Any) -> bool:
    return any(vars(module)["_forward_hooks"] or vars(module)["_forward_pre_hooks"] for module in model.modules())
