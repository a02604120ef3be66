"""Keys and values of the rows being generated: each has a slot, written in place as the row grows."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from helmframe.models.engine.attention import attending
from helmframe.models.engine.memory import free
from helmframe.models.engine.packed import KeyValues

# Slots grow by half of their size, to a multiple of this number of tokens.
STEP = 32
# The share of free memory that slots may use.
SHARE = 0.5


@dataclass(eq=False)
class Slots:
    """Keys and values by layer, [rows, heads, room, size]: row r has `lengths[r]` tokens, from index 0 on.

    The first `len(slots)` slots are in use: when a row leaves, the last row moves to its slot. After running out of
    memory, slots can't be used any more.

    Args:
        model: A model that calls its attention through transformers' interface, with `layer_idx`.
        most: The maximum of rows at once.
    """

    model: Any
    most: int
    lengths: list[int] = field(default_factory=list)
    _keys: list[Any] = field(default_factory=list)
    _values: list[Any] = field(default_factory=list)
    _mask: Any = None
    _positions: Sequence[Any] = ()

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def room(self) -> int:
        """Return the tokens that each row can have without growing."""
        return int(self._keys[0].shape[2]) if self._keys else 0

    @property
    def reach(self) -> int:
        """Return the length of the longest row in tokens, the next token included."""
        return max(self.lengths) + 1

    def enter(self, key_values: KeyValues, room: int = 0) -> None:
        """Add a row that continues a text that was read.

        Args:
            key_values: Keys and values of its tokens, which are copied.
            room: The most tokens that rows will have, if known: more memory is allocated only when needed.

        Raises:
            MemoryError: No slot is free, or memory is too short.
        """
        if len(self) == self.most:
            raise MemoryError(f"out of memory: all {self.most} slots are taken.")
        needed = key_values.length + 1
        if needed > self.room:
            self._grow(max(needed, min(room, 2 * needed)), key_values.shapes)
        row = len(self)
        for layer, (keys, values) in enumerate(zip(self._keys, self._values, strict=True)):
            key_values.copy(layer, keys[row], values[row])
        self.lengths.append(key_values.length)

    def leave(self, row: int) -> None:
        """Free the row's slot; the last row moves there."""
        last = len(self) - 1
        length = self.lengths.pop()
        if row == last:
            return
        for tensor in (*self._keys, *self._values):
            tensor[row, :, :length] = tensor[last, :, :length]
        self.lengths[row] = length

    def step(self, tokens: Any) -> Any:
        """Return the logits [rows, words], float32, after one more token of each row.

        Call it with the model in evaluation mode and without gradients.

        Args:
            tokens: Token ids [rows], on the model's device.

        Raises:
            MemoryError: Memory is too short for rows of this length.
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
        # added to the scores: every layer would convert booleans again
        self._mask = torch.zeros(beyond.shape, dtype=self.model.dtype, device=device).masked_fill_(beyond, -torch.inf)
        with attending(self.model, self):
            output = self.model(
                input_ids=tokens[:, None], position_ids=lengths[:, None], use_cache=False, logits_to_keep=1
            )
        for row in range(len(self)):
            self.lengths[row] += 1
        return output.logits[:, -1].float()

    def attend(self, layer: int, query: Any, key: Any, value: Any, scaling: float | None) -> Any:
        """Return the attention output of each row's new token, [rows, heads, 1, size], and store its key and value."""
        import torch

        for tensors in (self._keys, self._values):
            tensors[layer] = tensors[layer].to(key.device)  # a model may be spread over several devices
        keys, values, mask = self._keys[layer], self._values[layer], self._mask.to(key.device)
        rows, lengths = (indices.to(key.device) for indices in self._positions)
        keys[rows, :, lengths] = key[:, :, 0]
        values[rows, :, lengths] = value[:, :, 0]
        count, longest = len(self), mask.shape[-1]
        # queries that share a head of keys are adjacent, so that keys are read once and never repeated
        grouped = query.reshape(count, keys.shape[1], -1, query.shape[-1])
        output = torch.nn.functional.scaled_dot_product_attention(
            grouped, keys[:count, :, :longest], values[:count, :, :longest], attn_mask=mask, scale=scaling
        )
        return output.reshape(count, query.shape[1], 1, value.shape[-1])

    def _grow(self, room: int, shapes: Sequence[tuple[int, int, int]]) -> None:
        """Grow each slot to at least `room` tokens.

        Raises:
            MemoryError: More than half of the free memory is needed.
        """
        import torch

        room = -(-room // STEP) * STEP
        dtype, device = self.model.dtype, self.model.device
        bytes_per_token = sum(heads * (key + value) for heads, key, value in shapes) * dtype.itemsize
        more = self.most * (room - self.room) * bytes_per_token
        if more > SHARE * free(device):
            raise MemoryError(f"out of memory: {self.most} rows of {room} tokens need {more / 1e9:.1f} GB more.")
        count = len(self)
        for tensors, sizes in (
            (self._keys, [(heads, key) for heads, key, _ in shapes]),
            (self._values, [(heads, value) for heads, _, value in shapes]),
        ):
            for layer, (heads, size) in enumerate(sizes):
                # zeros, because unwritten values are multiplied by a weight of 0
                before = tensors[layer] if layer < len(tensors) else None
                where = device if before is None else before.device
                grown = torch.zeros((self.most, heads, room, size), dtype=dtype, device=where)
                if before is None:
                    tensors.append(grown)
                else:
                    grown[:count, :, : before.shape[2]] = before[:count]
                    tensors[layer] = grown
