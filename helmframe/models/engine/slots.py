"""The keys and values of rows that are being answered: a slot for each, written in place as the row grows."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from helmframe.models.engine.attention import attending
from helmframe.models.engine.memory import free
from helmframe.models.engine.packed import Kept

# Room is added in steps: by half of what there is, and a multiple of this.
STEP = 32
# Of the memory that is free.
SHARE = 0.5


@dataclass(eq=False)
class Slots:
    """Keys and values by layer, [rows, heads, room, size]: row r holds `lengths[r]` tokens from place 0 on.

    Rows in use are the first `len(slots)`: where one leaves, the last takes its place. Slots that ran out of memory are
    of no use any more.

    Args:
        model: calls its attention by transformers' interface, with `layer_idx`.
        most: rows at once.
    """

    model: Any
    most: int
    lengths: list[int] = field(default_factory=list)
    _keys: list[Any] = field(default_factory=list)
    _values: list[Any] = field(default_factory=list)
    _mask: Any = None
    _places: Sequence[Any] = ()

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def room(self) -> int:
        """Tokens that each row can have without growing."""
        return int(self._keys[0].shape[2]) if self._keys else 0

    @property
    def reach(self) -> int:
        """Tokens of the longest row, the next one included."""
        return max(self.lengths) + 1

    def enter(self, kept: Kept, room: int = 0) -> None:
        """One row more, that goes on from what was read.

        Args:
            kept: its tokens' keys and values, which are copied.
            room: tokens that rows will have at most, if that is known: more is made only later, when it is needed.

        Raises:
            MemoryError: there is no slot free, or no memory for one so long.
        """
        if len(self) == self.most:
            raise MemoryError(f"out of memory: all {self.most} slots are taken.")
        needed = kept.length + 1
        if needed > self.room:
            self._grow(max(needed, min(room, 2 * needed)), kept.shapes)
        row = len(self)
        for layer, (keys, values) in enumerate(zip(self._keys, self._values, strict=True)):
            kept.copy(layer, keys[row], values[row])
        self.lengths.append(kept.length)

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
        """The logits [rows, words], float32, after one token more of each row.

        Call it with the model in evaluation mode and without gradients.

        Args:
            tokens: ids [rows], on the model's device.

        Raises:
            MemoryError: there is no memory for rows so long.
        """
        import torch

        longest = self.reach
        if longest > self.room:
            shapes = [(k.shape[1], k.shape[3], v.shape[3]) for k, v in zip(self._keys, self._values, strict=True)]
            self._grow(max(longest, self.room + self.room // 2), shapes)
        device = self.model.device
        lengths = torch.tensor(self.lengths, device=device)
        self._places = torch.arange(len(self), device=device), lengths
        beyond = (torch.arange(longest, device=device) > lengths[:, None])[:, None, None]
        # added to the scores: as true and false each layer would make it anew
        self._mask = torch.zeros(beyond.shape, dtype=self.model.dtype, device=device).masked_fill_(beyond, -torch.inf)
        with attending(self.model, self):
            found = self.model(
                input_ids=tokens[:, None], position_ids=lengths[:, None], use_cache=False, logits_to_keep=1
            )
        for row in range(len(self)):
            self.lengths[row] += 1
        return found.logits[:, -1].float()

    def attend(self, layer: int, query: Any, key: Any, value: Any, scaling: float | None) -> Any:
        """What each row's new token sees in its row, [rows, heads, 1, size]; its own key and value are kept."""
        import torch

        for tensors in (self._keys, self._values):
            tensors[layer] = tensors[layer].to(key.device)  # a model may be spread over several devices
        keys, values, mask = self._keys[layer], self._values[layer], self._mask.to(key.device)
        rows, lengths = (each.to(key.device) for each in self._places)
        keys[rows, :, lengths] = key[:, :, 0]
        values[rows, :, lengths] = value[:, :, 0]
        count, longest = len(self), mask.shape[-1]
        # queries that share a head of keys stand side by side, so that keys are read once and never repeated
        grouped = query.reshape(count, keys.shape[1], -1, query.shape[-1])
        found = torch.nn.functional.scaled_dot_product_attention(
            grouped, keys[:count, :, :longest], values[:count, :, :longest], attn_mask=mask, scale=scaling
        )
        return found.reshape(count, query.shape[1], 1, value.shape[-1])

    def _grow(self, room: int, shapes: Sequence[tuple[int, int, int]]) -> None:
        """Room for so many tokens in each slot.

        Raises:
            MemoryError: that is more than half of the free memory.
        """
        import torch

        room = -(-room // STEP) * STEP
        dtype, device = self.model.dtype, self.model.device
        bytes_each = sum(heads * (key + value) for heads, key, value in shapes) * dtype.itemsize
        more = self.most * (room - self.room) * bytes_each
        if more > SHARE * free(device):
            raise MemoryError(f"out of memory: {self.most} rows of {room} tokens need {more / 1e9:.1f} GB more.")
        count = len(self)
        for tensors, sizes in (
            (self._keys, [(heads, key) for heads, key, _ in shapes]),
            (self._values, [(heads, value) for heads, _, value in shapes]),
        ):
            for layer, (heads, size) in enumerate(sizes):
                # zeros, for what nobody wrote is multiplied by a weight of 0
                before = tensors[layer] if layer < len(tensors) else None
                where = device if before is None else before.device
                grown = torch.zeros((self.most, heads, room, size), dtype=dtype, device=where)
                if before is None:
                    tensors.append(grown)
                else:
                    grown[:count, :, : before.shape[2]] = before[:count]
                    tensors[layer] = grown
