"""Attention functions for the engine's forward passes: packed rows, and slots of rows that generate.

A model doesn't pass the engine's forward pass on to its attention. So it is set for the thread during the pass, and the
attention function that transformers calls in each layer reads it.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from helmframe.models.engine.memory import KeyValues, Layer, free

NAME = "helmframe"


class NotPackedError(RuntimeError):
    """An error for attention that does not support packed rows."""


@dataclass(eq=False)
class Packed:
    """One forward pass over the tokens of several blocks. A block is a text, or several texts with a common start.

    Args:
        head: The keys and values by layer of the start that precedes all tokens; empty if there is none.
        length: The number of tokens in the head.
        positions: The index of each token in the row, [blocks, width]; 0 after the end of a block.
        inverse: The index of each token in the flattened `positions`, [tokens].
        visible: Whether a token sees another token of its block, [blocks, width, width]; None: it sees earlier tokens
            and itself.
        reach: The length of the longest text in tokens, with the head.
        keep: Whether keys and values are stored in `layers`.
        layers: The keys and values of the row's tokens by layer.
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
        """Return the mask that is added to the scores, [blocks, 1, width, (length +) width]."""
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
    """A forward pass, as the layers of the model use it."""

    @property
    def reach(self) -> int:
        """Return the length of the longest text in tokens, with earlier tokens."""

    def attend(self, layer: int, query: Any, key: Any, value: Any, scaling: float | None) -> Any:
        """Return the attention output; queries, keys, values and the output have shape [rows, heads, tokens, size]."""


@contextmanager
def attending(model: Any, forward_pass: Pass) -> Iterator[None]:
    """Use the attention of `forward_pass` in each layer of the model during the block."""
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
    **options: Any,
) -> tuple[Any, None]:
    """Compute the attention of one layer, from [rows, heads, tokens, size] to [rows, tokens, heads, size]."""
    forward_pass: Pass = _running.forward_pass
    refused = [name for name in ("softcap", "s_aux", "position_bias", "head_mask") if options.get(name) is not None]
    if attention_mask is not None:
        refused.append("attention_mask")
    if options.get("is_causal") is False or not getattr(module, "is_causal", True):
        refused.append("is_causal=False")
    if sliding_window is not None and sliding_window < forward_pass.reach:
        refused.append(f"sliding_window={sliding_window}")
    if refused:
        raise NotPackedError(f"its attention uses {', '.join(refused)}")
    return forward_pass.attend(module.layer_idx, query, key, value, scaling).transpose(1, 2), None


def _cascade(packed: Packed, query: Any, key: Any, value: Any, head: Layer | None, scaling: float | None) -> Any:
    """Attend to the head with all tokens at once, and within each block, and merge both outputs by their sums.

    Source: Juravsky et al. 2024 (Hydragen), section 3.1.
    """
    import torch

    flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # noqa: SLF001 - no public function returns the sums
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
    # query heads that share keys are stacked like further tokens
    stacked = query.reshape(1, groups, heads // groups * tokens, size)
    head_output, head_sums = flash(stacked, keys, values, scale=scaling)
    head_output, head_sums = head_output.reshape(query.shape), head_sums.reshape(1, heads, tokens, 1)
    return torch.lerp(head_output, block_output, torch.sigmoid(block_sums - head_sums).to(block_output.dtype))


def _joined(packed: Packed, query: Any, key: Any, value: Any, head: Layer | None, scaling: float | None) -> Any:
    """Attend within each block with the head prepended, on devices whose attention does not return sums."""
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


# Slots grow by half of their size, rounded up to a multiple of this number of tokens.
STEP = 32
# The share of free memory that slots may use.
SHARE = 0.5


@dataclass(eq=False)
class Slots:
    """Keys and values by layer, [rows, heads, room, size]; row r has `lengths[r]` tokens from index 0 on.

    The first `len(slots)` slots are in use. When a row leaves, the last row moves to its slot. Slots that ran out of
    memory stay unused.

    Args:
        model: A model that calls its attention through transformers' interface, with `layer_idx`.
        max_rows: The maximum number of rows.
    """

    model: Any
    max_rows: int
    lengths: list[int] = field(default_factory=list)
    _keys: list[Any] = field(default_factory=list)
    _values: list[Any] = field(default_factory=list)
    _mask: Any = None
    _positions: Sequence[Any] = ()

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def room(self) -> int:
        """Return the number of tokens of a row that fit without growing."""
        return int(self._keys[0].shape[2]) if self._keys else 0

    @property
    def reach(self) -> int:
        """Return the length of the longest row in tokens, the next token included."""
        return max(self.lengths) + 1

    def enter(self, key_values: KeyValues, room: int = 0) -> None:
        """Add a row that continues a text.

        Args:
            key_values: The keys and values of the text's tokens, which are copied.
            room: The maximum number of tokens of rows, if known; further memory is allocated when it is needed.

        Raises:
            MemoryError: No slot or not enough memory is free.
        """
        if len(self) == self.max_rows:
            raise MemoryError(f"out of memory: all {self.max_rows} slots are in use.")
        needed = key_values.length + 1
        if needed > self.room:
            self._grow(max(needed, min(room, 2 * needed)), key_values.shapes)
        row = len(self)
        for layer, (keys, values) in enumerate(zip(self._keys, self._values, strict=True)):
            key_values.copy(layer, keys[row], values[row])
        self.lengths.append(key_values.length)

    def leave(self, row: int) -> None:
        """Free the slot of a row; the last row moves there."""
        last = len(self) - 1
        length = self.lengths.pop()
        if row == last:
            return
        for tensor in (*self._keys, *self._values):
            tensor[row, :, :length] = tensor[last, :, :length]
        self.lengths[row] = length

    def step(self, tokens: Any) -> Any:
        """Return the logits [rows, vocabulary], float32, after one more token of each row.

        The model must be in evaluation mode, without gradients.

        Args:
            tokens: The token ids [rows], on the model's device.

        Raises:
            MemoryError: Not enough memory is free for rows of this length.
        """
        import torch

        longest = self.reach
        if longest > self.room:
            shapes = [(k.shape[1], k.shape[3], v.shape[3]) for k, v in zip(self._keys, self._values, strict=True)]
            self._grow(max(longest, self.room + self.room // 2), shapes)
        device = self.model.device
        lengths = torch.tensor(self.lengths, device=device)
        self._positions = torch.arange(len(self), device=device), lengths
        beyond = (torch.arange(longest, device=device) > lengths[:, None])[:, None, None]
        # numbers, not booleans, which every layer would convert
        self._mask = torch.zeros(beyond.shape, dtype=self.model.dtype, device=device).masked_fill_(beyond, -torch.inf)
        with attending(self.model, self):
            output = self.model(
                input_ids=tokens[:, None], position_ids=lengths[:, None], use_cache=False, logits_to_keep=1
            )
        for row in range(len(self)):
            self.lengths[row] += 1
        return output.logits[:, -1].float()

    def attend(self, layer: int, query: Any, key: Any, value: Any, scaling: float | None) -> Any:
        """Return the attention output of each row's new token, [rows, heads, 1, size]; store its key and value."""
        import torch

        for tensors in (self._keys, self._values):
            tensors[layer] = tensors[layer].to(key.device)  # layers may be on several devices
        keys, values, mask = self._keys[layer], self._values[layer], self._mask.to(key.device)
        rows, lengths = (indices.to(key.device) for indices in self._positions)
        keys[rows, :, lengths] = key[:, :, 0]
        values[rows, :, lengths] = value[:, :, 0]
        count, longest = len(self), mask.shape[-1]
        # queries that share keys are adjacent, so that keys are read once and not repeated
        grouped = query.reshape(count, keys.shape[1], -1, query.shape[-1])
        output = torch.nn.functional.scaled_dot_product_attention(
            grouped, keys[:count, :, :longest], values[:count, :, :longest], attn_mask=mask, scale=scaling
        )
        return output.reshape(count, query.shape[1], 1, value.shape[-1])

    def _grow(self, room: int, shapes: Sequence[tuple[int, int, int]]) -> None:
        """Grow each slot to at least `room` tokens.

        Raises:
            MemoryError: The growth needs more than half of the free memory.
        """
        import torch

        room = -(-room // STEP) * STEP
        dtype, device = self.model.dtype, self.model.device
        bytes_per_token = sum(heads * (key + value) for heads, key, value in shapes) * dtype.itemsize
        n_bytes = self.max_rows * (room - self.room) * bytes_per_token
        if n_bytes > SHARE * free(device):
            raise MemoryError(f"out of memory: {self.max_rows} rows of {room} tokens need {n_bytes / 1e9:.1f} GB more.")
        count = len(self)
        for tensors, sizes in (
            (self._keys, [(heads, key) for heads, key, _ in shapes]),
            (self._values, [(heads, value) for heads, _, value in shapes]),
        ):
            for layer, (heads, size) in enumerate(sizes):
                # zeros, because unwritten values are multiplied by a weight of 0
                old = tensors[layer] if layer < len(tensors) else None
                layer_device = device if old is None else old.device
                grown = torch.zeros((self.max_rows, heads, room, size), dtype=dtype, device=layer_device)
                if old is None:
                    tensors.append(grown)
                else:
                    grown[:count, :, : old.shape[2]] = old[:count]
                    tensors[layer] = grown
