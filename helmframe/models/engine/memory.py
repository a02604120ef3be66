"""The memory of a device: free bytes, errors when it runs out, and cached starts of texts."""

import ctypes
import math
import os
import sys
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from helmframe.models.engine.planner import Ids, n_shared

# The tokens of a forward pass; on a CPU, per thread. More tokens are not faster there, and their attention is slower.
TOKENS = {"cpu": 256, "mps": 2048, "cuda": 8192}
# The bytes of cached starts, without the last one.
ROOM = {"cpu": 1 << 30, "mps": 1 << 30}
# The share of a GPU's free memory for cached starts, which are removed first when memory runs out.
SHARE = 1 / 8
# The bytes of a GPU's free memory per token of a pass, so that most memory is left for running rows.
BYTES_PER_TOKEN, LEAST = 1 << 19, 256


def budgets(device: Any) -> tuple[int, int]:
    """Return the tokens of a forward pass on this device, and the bytes for cached starts."""
    import torch

    tokens, kind = TOKENS.get(device.type, TOKENS["cpu"]), device.type
    if kind == "cuda":
        left = free(device)
        return max(LEAST, min(tokens, int(left / BYTES_PER_TOKEN))), int(left * SHARE)
    return tokens * (torch.get_num_threads() if kind == "cpu" else 1), ROOM.get(kind, ROOM["cpu"])


def free(device: Any) -> float:
    """Return the free bytes of the device's memory."""
    import torch

    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return float(torch.cuda.mem_get_info(device)[0] + unused)
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return math.inf  # unknown on this system, so the allocation may fail


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error of torch means that the memory of a device ran out."""
    text = str(error).lower()
    return "out of memory" in text or "allocate memory" in text or "not enough memory" in text


# The parameters of glibc's `mallopt`, and their values: the free bytes of a heap, and the bytes of its largest block.
# Weights and logits are larger.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_FREE_BYTES, _LARGEST_BLOCK = 1 << 28, 1 << 25


def retain_freed() -> None:
    """Let the process reuse the memory that the layers of a pass free.

    By default glibc returns the memory of a layer to the system, and the next layer pays a page fault for every 4 kB.
    The user's own settings of glibc have precedence.
    """
    if sys.platform != "linux" or any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return
    mallopt(_TRIM_THRESHOLD, _FREE_BYTES)
    mallopt(_MMAP_THRESHOLD, _LARGEST_BLOCK)


def has_onednn() -> bool:
    """Return whether torch has the private operations of its compiler that multiply float32 by oneDNN."""
    import torch

    return bool(torch.backends.mkldnn.is_available()) and all(  # type: ignore[no-untyped-call]
        hasattr(torch.ops.mkldnn, name) for name in ("_reorder_linear_weight", "_linear_pointwise")
    )


# Keys and values of one layer: [heads, tokens, size].
Layer = tuple[Any, Any]


@dataclass(frozen=True, eq=False)
class KeyValues:
    """The keys and values of a text; tokens that several texts share are stored once.

    Args:
        length: The number of tokens.
        head: The keys and values by layer of the text's first tokens; may be empty.
        row: The keys and values by layer of the packed row in which the text was read.
        path: The indices of the text's other tokens in the row.
    """

    length: int
    head: Sequence[Layer]
    row: Sequence[Layer]
    path: Any

    @property
    def shapes(self) -> list[tuple[int, int, int]]:
        """Return (heads, size of a key, size of a value) for each layer."""
        return [(keys.shape[0], keys.shape[2], values.shape[2]) for keys, values in self.row]

    @property
    def start(self) -> int:
        """Return the number of tokens in the head."""
        return self.length - len(self.path)

    def copy(self, layer: int, keys: Any, values: Any, *, with_head: bool = True) -> None:
        """Write the layer's keys into the first places of `keys` and its values into `values`: [heads, tokens, size].

        `with_head`: whether those of the head are written too, before the others.
        """
        start = self.start if with_head else 0
        for part, target in enumerate((keys, values)):
            if start:
                target[:, :start] = self.head[layer][part][:, :start]
            states = self.row[layer][part]
            target[:, start : start + len(self.path)] = states[:, self.path.to(states.device)]


@dataclass(frozen=True, eq=False)
class Head:
    """The keys and values of a start of texts, by layer."""

    length: int
    layers: Sequence[Layer]

    @property
    def size(self) -> int:
        """Return the size in bytes."""
        return sum(states.nbytes for layer in self.layers for states in layer)

    def cut(self, length: int) -> "Head":
        """Return the first tokens of the head, without a copy."""
        if length == self.length:
            return self
        return Head(length, [(keys[:, :length], values[:, :length]) for keys, values in self.layers])


@dataclass(eq=False)
class Heads:
    """The cached heads of one model whose weights do not change; the least recently used are removed.

    Args:
        room: The maximum of bytes of cached heads, without the last one.
    """

    room: int
    _cached: "OrderedDict[bytes, Head]" = field(default_factory=OrderedDict)

    def longest(self, text: Ids, max_length: int) -> Head | None:
        """Return the longest cached start of the text, of at most `max_length` tokens.

        A longer head, or one that ends differently, is cut. Not by more than half, because a short start saves too
        little.
        """
        longest, length = b"", 0
        for key, head in self._cached.items():
            shared = n_shared(np.frombuffer(key, dtype=np.int64), text[:max_length])
            if shared > length and 2 * shared >= head.length:
                longest, length = key, shared
        if not length:
            return None
        self._cached.move_to_end(longest)
        return self._cached[longest].cut(length)

    def n_cached(self, text: Ids, max_length: int) -> int:
        """Return the number of first tokens of the text that are cached."""
        head = self.longest(text, max_length)
        return head.length if head else 0

    def add(self, text: Ids, head: Head) -> None:
        """Add the head of a text, and remove the least recently used heads beyond the room."""
        self._cached[text[: head.length].tobytes()] = head
        size = sum(cached.size for cached in self._cached.values())
        while size > self.room and len(self._cached) > 1:
            size -= self._cached.popitem(last=False)[1].size

    def make_room(self) -> int:
        """Remove all heads, halve the room, and return the number of bytes freed."""
        size = sum(cached.size for cached in self._cached.values())
        if size:
            self.room = min(self.room, size) // 2
            self.clear()
        return size

    def clear(self) -> None:
        """Remove all heads."""
        self._cached.clear()
