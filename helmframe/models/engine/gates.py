"""Which way a model's tokens may be read without changing what it says, as its configuration tells."""

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
    """How texts are read, and why not otherwise.

    - `packed`: many texts in one row, every token they share once.
    - `cached`: in batches, padded on the right; a start they share once.
    - `plain`: in batches of equal length, nothing shared.

    Args:
        way: of texts that are no longer than `most`.
        why: where it is not `packed`, or not for all texts.
        most: tokens, those to be generated included; None: any.
        beyond: the way of longer texts.
    """

    way: Way
    why: str = ""
    most: int | None = None
    beyond: Way = "plain"

    def of(self, length: int) -> Way:
        """The way of a text of so many tokens."""
        return self.way if self.most is None or length <= self.most else self.beyond

    def lowered(self, way: Way, why: str) -> "Choice":
        """This way at best, for a reason that came up."""
        if way == "plain" or self.beyond == "plain":
            return Choice(way, why, None if way == "plain" else self.most)
        return replace(self, way=way, why=why, most=None)

    def __str__(self) -> str:
        if self.way == "packed" and self.most is None:
            return "prompts are packed and what they share is read once"
        if self.way == "packed":
            return f"prompts of up to {self.most} tokens are packed, longer ones {_SAID[self.beyond]} ({self.why})"
        return f"prompts are {_SAID[self.way]} ({self.why})"


_SAID = {"packed": "packed", "cached": "padded", "plain": "read whole, in batches of equal length"}


def choice(model: Any) -> Choice:
    """The fastest way that the model's configuration, class and hooks allow."""
    if _is_hooked(model):
        return Choice("plain", "a hook on the model may look at positions")
    if any(getattr(each, "is_prompt_learning", False) for each in (getattr(model, "peft_config", None) or {}).values()):
        return Choice("plain", "its adapter puts tokens of its own before a text")
    return by_config(model.config, model)


def by_config(config: Any, kind: Any) -> Choice:
    """The fastest way that a configuration allows to a model of this class, or to this model."""
    if getattr(config, "is_encoder_decoder", False):
        return Choice("plain", f"{config.model_type} is an encoder-decoder")
    config = config.get_text_config()
    name = config.model_type
    layers = set(getattr(config, "layer_types", None) or ())
    if getattr(kind, "_is_stateful", False) or layers - ATTENDING:
        return Choice("plain", f"{name} has layers that keep a state instead of tokens")
    if not getattr(config, "is_causal", True) or getattr(config, "use_bidirectional_attention", False):
        return Choice("plain", f"{name} looks ahead")
    found = [_by_window(config, layers), _by_rope(config)]
    limited = [each for each in found if each.most is not None]
    allowed = Choice("packed")
    if limited:
        shortest = min(limited, key=lambda each: each.most or 0)
        # what is longer than both goes by the stricter of the two
        beyond: Way = "plain" if any(each.beyond == "plain" for each in limited) else "cached"
        allowed = replace(shortest, beyond=beyond)
    if getattr(config, "attn_logit_softcapping", None):
        return allowed.lowered("cached", "its attention takes softcap")
    return allowed


def expected(allowed: Choice) -> str:
    """What is to be expected of a choice before it is tried."""
    check = "; a check before the first prompt bears that out, or lowers it" if allowed.way != "plain" else ""
    return f"by its configuration {allowed}{check}"


def _by_window(config: Any, layers: set[str]) -> Choice:
    """Attention to the last tokens only, or in chunks: within the first of them it is as any."""
    windows = {}
    if "sliding_attention" in layers or (not layers and getattr(config, "use_sliding_window", True)):
        windows["a sliding window"] = getattr(config, "sliding_window", None)
    if "chunked_attention" in layers or not layers:
        windows["attention in chunks"] = getattr(config, "attention_chunk_size", None)
    said = {name: int(size) for name, size in windows.items() if size}
    if not said:
        return Choice("packed")
    name = min(said, key=lambda each: said[each])
    return Choice("packed", f"{name} of {said[name]} tokens", said[name], "cached")


def _by_rope(config: Any) -> Choice:
    """Angles that change with the length of what is read together, once it is beyond what was trained."""
    said = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    kinds = [each for each in said.values() if isinstance(each, Mapping)] or [said]
    limits = {}
    for each in kinds:
        kind = each.get("rope_type") or each.get("type")
        if kind in OF_LENGTH:
            trained = each.get("original_max_position_embeddings") if kind == "longrope" else None
            trained = trained or getattr(config, "original_max_position_embeddings", None)
            limits[kind] = int(trained or config.max_position_embeddings)
    if not limits:
        return Choice("packed")
    kind = min(limits, key=lambda each: limits[each])
    return Choice("packed", f"{kind} RoPE depends on the length beyond {limits[kind]} tokens", limits[kind], "plain")


def _is_hooked(model: Any) -> bool:
    return any(vars(each)["_forward_hooks"] or vars(each)["_forward_pre_hooks"] for each in model.modules())
