"""Attention as the engine gives it to a model; over packed rows: many texts' tokens as one, each seeing its own past.

What a forward pass holds is not the model's to know: it is set for the thread around the pass, and the attention
function that transformers calls in each layer reads it.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

NAME = "helmframe"
# Keys and values of one layer: [heads, tokens, size].
Layer = tuple[Any, Any]


class NotPackedError(RuntimeError):
    """The model's attention is of a kind that packed rows are not read with."""


@dataclass(eq=False)
class Packed:
    """One forward pass over tokens that belong to several blocks: a block is a text, or several that begin alike.

    Args:
        head: keys and values by layer of what comes before every token; empty for nothing.
        length: tokens of the head.
        places: [blocks, width] of the tokens in the row; 0 past a block's end.
        back: [tokens] of each token in the flattened places.
        sees: [blocks, width, width], which tokens of its block a token sees; None: those before it, and itself.
        reach: of the longest text, in tokens, head included.
        keep: whether keys and values are kept in `layers`.
        layers: of the row's own tokens, by layer.
        seen: layers that have called.
    """

    head: Sequence[Layer]
    length: int
    places: Any
    back: Any
    sees: Any
    reach: int
    keep: bool
    layers: dict[int, Layer] = field(default_factory=dict)
    seen: int = 0
    _masks: dict[Any, Any] = field(default_factory=dict)

    def blocks(self, states: Any) -> Any:
        """[1, heads, tokens, size] as [blocks, heads, width, size]."""
        return states[0][:, self.places.to(states.device)].transpose(0, 1)

    def row(self, states: Any) -> Any:
        """[blocks, heads, width, size] as [1, heads, tokens, size]."""
        count, heads, width, size = states.shape
        flat = states.transpose(0, 1).reshape(1, heads, count * width, size)
        return flat[:, :, self.back.to(states.device)]

    def mask(self, like: Any, *, with_head: bool) -> Any:
        """What is added to scores: [blocks, 1, width, (length +) width]."""
        import torch

        key = (like.device, like.dtype, with_head)
        if key not in self._masks:
            sees = self.sees
            if sees is None:
                width = self.places.shape[1]
                sees = torch.ones(width, width, dtype=torch.bool).tril().expand(len(self.places), -1, -1)
            if with_head:
                sees = torch.nn.functional.pad(sees, (self.length, 0), value=True)
            mask = torch.zeros(sees.shape, dtype=like.dtype).masked_fill(~sees, -torch.inf)
            self._masks[key] = mask[:, None].to(like.device)
        return self._masks[key]

    def attend(self, layer: int, query: Any, key: Any, value: Any, scaling: float | None) -> Any:
        """What the tokens see, [1, heads, tokens, size]."""
        self.seen += 1
        if self.keep:
            self.layers[layer] = (key[0], value[0])
        head = self.head[layer] if self.length else None
        with_lse = query.device.type == "cpu" and key.shape[-1] == value.shape[-1]
        return (_cascade if with_lse else _joined)(self, query, key, value, head, scaling)


class Pass(Protocol):
    """One forward pass, as the model's layers meet it."""

    @property
    def reach(self) -> int:
        """Tokens of the longest text, those before this pass included."""

    def attend(self, layer: int, query: Any, key: Any, value: Any, scaling: float | None) -> Any:
        """What tokens see, given [rows, heads, tokens, size]; [rows, heads, tokens, size]."""


@contextmanager
def attending(model: Any, given: Pass) -> Iterator[None]:
    """Within, each layer of the model attends by `given`; afterwards it is as it was."""
    _register()
    config = model.config
    said = config._attn_implementation  # noqa: SLF001 - transformers' own way to set it looks at every module
    _running.given = given
    config._attn_implementation = NAME  # noqa: SLF001
    try:
        yield
    finally:
        config._attn_implementation = said  # noqa: SLF001
        _running.given = None


_running = threading.local()
_registering = threading.Lock()


def _register() -> None:
    from transformers import AttentionInterface, AttentionMaskInterface

    with _registering:
        if NAME not in AttentionInterface():  # type: ignore[no-untyped-call]
            AttentionInterface.register(NAME, _attend)
            AttentionMaskInterface.register(NAME, lambda *_, **__: None)


def _attend(
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **more: Any,
) -> tuple[Any, None]:
    """What transformers calls in each layer, with [rows, heads, tokens, size]; gives [rows, tokens, heads, size]."""
    given: Pass = _running.given
    refused = [name for name in ("softcap", "s_aux", "position_bias", "head_mask") if more.get(name) is not None]
    if attention_mask is not None:
        refused.append("attention_mask")
    if more.get("is_causal") is False or not getattr(module, "is_causal", True):
        refused.append("is_causal=False")
    if sliding_window is not None and sliding_window < given.reach:
        refused.append(f"sliding_window={sliding_window}")
    if refused:
        raise NotPackedError(f"its attention takes {', '.join(refused)}")
    return given.attend(module.layer_idx, query, key, value, scaling).transpose(1, 2), None


def _cascade(packed: Packed, query: Any, key: Any, value: Any, head: Layer | None, scaling: float | None) -> Any:
    """The head is attended to by all tokens at once, then each block to itself; the two are merged by their sums.

    Source: Juravsky et al. 2024 (Hydragen), section 3.1.
    """
    import torch

    flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # noqa: SLF001 - no public one gives the sums
    own = [packed.blocks(states) for states in (query, key, value)]
    if packed.sees is None:
        ours, our_sums = flash(*own, is_causal=True, scale=scaling)
    else:
        ours, our_sums = flash(*own, attn_mask=packed.mask(query, with_head=False), scale=scaling)
    ours = packed.row(ours)
    if head is None:
        return ours
    our_sums = packed.row(our_sums[..., None])
    keys, values = (states[None] for states in head)
    _, heads, tokens, size = query.shape
    groups = keys.shape[1]
    # heads that share keys are asked as if they were more tokens
    stacked = query.reshape(1, groups, heads // groups * tokens, size)
    theirs, their_sums = flash(stacked, keys, values, scale=scaling)
    theirs, their_sums = theirs.reshape(query.shape), their_sums.reshape(1, heads, tokens, 1)
    return torch.lerp(theirs, ours, torch.sigmoid(our_sums - their_sums).to(ours.dtype))


def _joined(packed: Packed, query: Any, key: Any, value: Any, head: Layer | None, scaling: float | None) -> Any:
    """Each block with the head before its keys and values: for devices whose attention gives no sums."""
    import torch

    queries, keys, values = (packed.blocks(states) for states in (query, key, value))
    if head is not None:
        keys, values = (
            torch.cat([states[None].expand(len(own), -1, -1, -1), own], dim=2)
            for states, own in zip(head, (keys, values), strict=True)
        )
    repeats = queries.shape[1] // keys.shape[1]
    if repeats > 1:
        keys, values = (states.repeat_interleave(repeats, dim=1) for states in (keys, values))
    mask = packed.mask(query, with_head=head is not None)
    attend = torch.nn.functional.scaled_dot_product_attention
    return packed.row(attend(queries, keys, values, attn_mask=mask, scale=scaling))
