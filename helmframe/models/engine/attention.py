"""Attention functions for the engine's forward passes, among them packed rows: several texts in one row.

Attention needs to know the forward pass, which a model doesn't pass on. It is therefore set for the thread around the
pass; the attention function that transformers calls in each layer reads it.
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
    """The model's kind of attention does not support packed rows."""


@dataclass(eq=False)
class Packed:
    """One forward pass over the tokens of several blocks: a block is a text, or several texts with a common start.

    Args:
        head: Keys and values by layer of the start that precedes all tokens; empty: none.
        length: The number of tokens in the head.
        positions: [blocks, width]: the index of each token in the row; 0 after the end of a block.
        inverse: [tokens]: the index of each token in the flattened `positions`.
        visible: [blocks, width, width]: whether a token sees another token of its block; None: earlier and itself.
        reach: The length of the longest text in tokens, head included.
        keep: Whether keys and values are stored in `layers`.
        layers: Keys and values of the row's tokens by layer.
        n_called: The number of layers that have called `attend`.
    """

    head: Sequence[Layer]
    length: int
    positions: Any
    inverse: Any
    visible: Any
    reach: int
    keep: bool
    layers: dict[int, Layer] = field(default_factory=dict)
    n_called: int = 0
    _masks: dict[Any, Any] = field(default_factory=dict)

    def blocks(self, states: Any) -> Any:
        """Reshape [1, heads, tokens, size] to [blocks, heads, width, size]."""
        return states[0][:, self.positions.to(states.device)].transpose(0, 1)

    def row(self, states: Any) -> Any:
        """Reshape [blocks, heads, width, size] to [1, heads, tokens, size]."""
        count, heads, width, size = states.shape
        flat = states.transpose(0, 1).reshape(1, heads, count * width, size)
        return flat[:, :, self.inverse.to(states.device)]

    def mask(self, like: Any, *, with_head: bool) -> Any:
        """Return the mask to add to scores: [blocks, 1, width, (length +) width]."""
        import torch

        key = (like.device, like.dtype, with_head)
        if key not in self._masks:
            visible = self.visible
            if visible is None:
                width = self.positions.shape[1]
                visible = torch.ones(width, width, dtype=torch.bool).tril().expand(len(self.positions), -1, -1)
            if with_head:
                visible = torch.nn.functional.pad(visible, (self.length, 0), value=True)
            mask = torch.zeros(visible.shape, dtype=like.dtype).masked_fill(~visible, -torch.inf)
            self._masks[key] = mask[:, None].to(like.device)
        return self._masks[key]

    def attend(self, layer: int, query: Any, key: Any, value: Any, scaling: float | None) -> Any:
        """Return the attention output of the tokens, [1, heads, tokens, size]."""
        self.n_called += 1
        if self.keep:
            self.layers[layer] = (key[0], value[0])
        head = self.head[layer] if self.length else None
        with_lse = query.device.type == "cpu" and key.shape[-1] == value.shape[-1]
        return (_cascade if with_lse else _joined)(self, query, key, value, head, scaling)


class Pass(Protocol):
    """One forward pass, as the model's layers use it."""

    @property
    def reach(self) -> int:
        """Return the length of the longest text in tokens, earlier tokens included."""

    def attend(self, layer: int, query: Any, key: Any, value: Any, scaling: float | None) -> Any:
        """Return the attention output; queries, keys, values and output are [rows, heads, tokens, size]."""


@contextmanager
def attending(model: Any, forward_pass: Pass) -> Iterator[None]:
    """Make each layer of the model attend by `forward_pass` inside the block, and restore the model after it."""
    _register()
    config = model.config
    implementation = config._attn_implementation  # noqa: SLF001 - the setter of transformers visits every module
    _running.forward_pass = forward_pass
    config._attn_implementation = NAME  # noqa: SLF001
    try:
        yield
    finally:
        config._attn_implementation = implementation  # noqa: SLF001
        _running.forward_pass = None


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
    """Compute the attention of one layer for transformers: from [rows, heads, tokens, size] to [rows, tokens, heads,
    size].
    """
    forward_pass: Pass = _running.forward_pass
    refused = [name for name in ("softcap", "s_aux", "position_bias", "head_mask") if more.get(name) is not None]
    if attention_mask is not None:
        refused.append("attention_mask")
    if more.get("is_causal") is False or not getattr(module, "is_causal", True):
        refused.append("is_causal=False")
    if sliding_window is not None and sliding_window < forward_pass.reach:
        refused.append(f"sliding_window={sliding_window}")
    if refused:
        raise NotPackedError(f"its attention takes {', '.join(refused)}")
    return forward_pass.attend(module.layer_idx, query, key, value, scaling).transpose(1, 2), None


def _cascade(packed: Packed, query: Any, key: Any, value: Any, head: Layer | None, scaling: float | None) -> Any:
    """Attend to the head with all tokens at once, then within each block, and merge both by their sums.

    Source: Juravsky et al. 2024 (Hydragen), section 3.1.
    """
    import torch

    flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # noqa: SLF001 - no public one gives the sums
    states_by_block = [packed.blocks(states) for states in (query, key, value)]
    if packed.visible is None:
        block_output, block_sums = flash(*states_by_block, is_causal=True, scale=scaling)
    else:
        block_output, block_sums = flash(*states_by_block, attn_mask=packed.mask(query, with_head=False), scale=scaling)
    block_output = packed.row(block_output)
    if head is None:
        return block_output
    block_sums = packed.row(block_sums[..., None])
    keys, values = (states[None] for states in head)
    _, heads, tokens, size = query.shape
    groups = keys.shape[1]
    # query heads that share keys are stacked as if they were more tokens
    stacked = query.reshape(1, groups, heads // groups * tokens, size)
    head_output, head_sums = flash(stacked, keys, values, scale=scaling)
    head_output, head_sums = head_output.reshape(query.shape), head_sums.reshape(1, heads, tokens, 1)
    return torch.lerp(head_output, block_output, torch.sigmoid(block_sums - head_sums).to(block_output.dtype))


def _joined(packed: Packed, query: Any, key: Any, value: Any, head: Layer | None, scaling: float | None) -> Any:
    """Attend within each block with the head's keys and values prepended, on devices whose attention gives no sums."""
    import torch

    queries, keys, values = (packed.blocks(states) for states in (query, key, value))
    if head is not None:
        keys, values = (
            torch.cat([states[None].expand(len(block_states), -1, -1, -1), block_states], dim=2)
            for states, block_states in zip(head, (keys, values), strict=True)
        )
    repeats = queries.shape[1] // keys.shape[1]
    if repeats > 1:
        keys, values = (states.repeat_interleave(repeats, dim=1) for states in (keys, values))
    mask = packed.mask(query, with_head=head is not None)
    attend = torch.nn.functional.scaled_dot_product_attention
    return packed.row(attend(queries, keys, values, attn_mask=mask, scale=scaling))
