"""Attention functions for the engine's forward passes: packed rows, and slots of rows that generate.

A model doesn't pass the engine's forward pass on to its attention. So it is set for the thread during the pass, and the
attention function that transformers calls in each layer reads it.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np

from helmframe.models.engine.memory import KeyValues, Layer, free, has_onednn
from helmframe.models.engine.planner import Block, Ids, build_block

NAME = "helmframe"
# The rows of queries of a tile, whose scores then fit into the cache of a core.
ROWS = 192
# The longest text in tokens that is read in tiles.
LONGEST = 2048


class NotPackedError(RuntimeError):
    """An error for attention that does not support packed rows."""


@dataclass(eq=False)
class Packed:
    """One forward pass over the tokens of several blocks. A block is a text, or several texts with a common start.

    Args:
        head: The keys and values by layer of the start that precedes all tokens; empty if there is none.
        length: The number of tokens in the head.
        blocks: The blocks of the row, in order.
        keep: Whether keys and values are stored in `layers`.
        layers: The keys and values of the row's tokens by layer.
        n_called: The number of layers that have called `attend`.
    """

    head: Sequence[Layer]
    length: int
    blocks: Sequence[Block]
    keep: bool
    layers: dict[int, Layer] = field(default_factory=dict)
    n_called: int = 0
    _masks: dict[Any, Any] = field(default_factory=dict)

    @cached_property
    def reach(self) -> int:
        """Return the length of the longest text in tokens, with the head."""
        return 1 + max(int(block.depths.max()) for block in self.blocks)

    @cached_property
    def starts(self) -> Ids:
        """Return the index of the first token of each block, and the number of tokens."""
        return np.cumsum([0, *(len(block.tokens) for block in self.blocks)])

    @cached_property
    def lines(self) -> "Lines":
        """Return the lines of tokens that attend to each other."""
        return Lines.of(self.blocks, self.starts)

    def rows(self, states: Any) -> Any:
        """Reshape [1, heads, tokens, size] to [lines, heads, width, size]."""
        return states[0][:, self.lines.positions.to(states.device)].transpose(0, 1)

    def row(self, states: Any) -> Any:
        """Reshape [lines, heads, width, size] to [1, heads, tokens, size]."""
        count, heads, width, size = states.shape
        flat = states.transpose(0, 1).reshape(1, heads, count * width, size)
        return flat[:, :, self.lines.inverse.to(states.device)]

    def mask(self, like: Any, *, with_head: bool) -> Any:
        """Return the mask that is added to the scores, [lines, 1, width, (length +) width]."""
        import torch

        key = (like.device, like.dtype, with_head)
        if key not in self._masks:
            visible = self.lines.visible
            if visible is None:
                count, width = self.lines.positions.shape
                visible = torch.ones(width, width, dtype=torch.bool).tril().expand(count, -1, -1)
            if with_head:
                visible = torch.nn.functional.pad(visible, (self.length, 0), value=True)
            mask = torch.zeros(visible.shape, dtype=like.dtype).masked_fill(~visible, -torch.inf)
            self._masks[key] = mask[:, None].to(like.device)
        return self._masks[key]

    def tiles(self, repeats: int) -> "list[Tile]":
        """Return the tiles of the row for layers with `repeats` query heads per key head."""
        key = ("tiles", repeats)
        if key not in self._masks:
            self._masks[key] = [*_tiles(self.blocks, self.starts, repeats)]
        tiles: list[Tile] = self._masks[key]
        return tiles

    def attend(self, layer: int, query: Any, key: Any, value: Any, scaling: float | None) -> Any:
        """Return the attention output of the tokens, [1, heads, tokens, size]."""
        self.n_called += 1
        if self.keep:
            self.layers[layer] = (key[0], value[0])
        head = self.head[layer] if self.length else None
        if query.device.type != "cpu":
            return _joined(self, query, key, value, head, scaling)
        if self.reach <= LONGEST and _has_faster_tiles(*_shape(query, key, value)):
            return _tiled(self, query, key, value, head, scaling)
        with_lse = key.shape[-1] == value.shape[-1]
        return (_cascade if with_lse else _joined)(self, query, key, value, head, scaling)


@dataclass(frozen=True, eq=False)
class Lines:
    """Lines of tokens that attend to each other, padded to the longest.

    A line is a text with its shared tokens, or a whole block, whichever needs fewer multiplications. Lines of texts
    that share many tokens would repeat them, and blocks of texts that share few tokens would mask most pairs.

    Args:
        positions: The index of each token in the row, [lines, width]; 0 after the end of a line.
        inverse: The index of each token in the flattened `positions`, [tokens].
        visible: Whether a token sees another token of its line, [lines, width, width]; None: it sees earlier tokens
            and itself.
    """

    positions: Any
    inverse: Any
    visible: Any

    @classmethod
    def of(cls, blocks: Sequence[Block], starts: Ids) -> "Lines":
        """Return the lines of blocks that begin at these tokens of the row."""
        import torch

        tries = [np.arange(start, start + len(block.tokens)) for block, start in zip(blocks, starts, strict=False)]
        chains = [path + start for block, start in zip(blocks, starts, strict=False) for path in block.paths]
        is_chain = _work(chains) <= _work(tries)
        lines = chains if is_chain else tries
        width = max(map(len, lines))
        positions = np.zeros((len(lines), width), dtype=np.int64)
        inverse = np.zeros(starts[-1], dtype=np.int64)
        visible = np.zeros((len(lines), width, width), dtype=bool) if not is_chain else None
        for row, line in enumerate(lines):
            positions[row, : len(line)] = line
            inverse[line] = row * width + np.arange(len(line))
            if visible is not None:
                visible[row, : len(line), : len(line)] = blocks[row].visible()
                # padding is not used, but must see a token
                visible[row, np.arange(len(line), width), np.arange(len(line), width)] = True
        return cls(
            torch.from_numpy(positions),
            torch.from_numpy(inverse),
            None if visible is None else torch.from_numpy(visible),
        )


# The cost of gathering a token into its line, as a number of tokens to attend to.
GATHERED = 64


def _work(lines: Sequence[Ids]) -> int:
    """Return the cost of attention within lines that are padded to the longest line."""
    width = max(map(len, lines))
    return len(lines) * width * (width + GATHERED)


class Tile(NamedTuple):
    """Tokens `low` to `high` of a row, which see no tokens of the row before `first`.

    Args:
        low: The first token.
        high: The end of the tokens.
        first: The first token of the block of `low`.
        mask: The mask that is added to the scores of the tokens, [(high - low) × repeats, high - first].
    """

    low: int
    high: int
    first: int
    mask: Any


def _tiles(blocks: Sequence[Block], starts: Ids, repeats: int) -> Iterator[Tile]:
    """Yield the tiles of a row of blocks that begin at these tokens."""
    import torch

    size = max(1, ROWS // repeats)
    visible = [block.visible() for block in blocks]
    for low in range(0, int(starts[-1]), size):
        high = min(low + size, int(starts[-1]))
        inside = range(int(np.searchsorted(starts, low, "right")) - 1, int(np.searchsorted(starts, high)))
        first = int(starts[inside[0]])
        mask = np.full((high - low, high - first), -np.inf, dtype=np.float32)
        for index in inside:
            start, top, end = int(starts[index]), max(low, int(starts[index])), min(high, int(starts[index + 1]))
            seen = visible[index][top - start : end - start, : end - start]
            mask[top - low : end - low, start - first : end - first][seen] = 0
        yield Tile(low, high, first, torch.from_numpy(mask.repeat(repeats, axis=0)))


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
    states_by_line = [packed.rows(states) for states in (query, key, value)]
    if packed.lines.visible is None:
        block_output, block_sums = flash(*states_by_line, is_causal=True, scale=scaling)
    else:
        block_output, block_sums = flash(*states_by_line, attn_mask=packed.mask(query, with_head=False), scale=scaling)
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


def _tiled(packed: Packed, query: Any, key: Any, value: Any, head: Layer | None, scaling: float | None) -> Any:
    """Attend to the head and to the row in tiles of tokens, with the matrix multiplication of oneDNN.

    Nothing is gathered, because a tile sees neighbouring tokens of the row.
    """
    import torch

    multiply = torch.ops.mkldnn._linear_pointwise  # noqa: SLF001 - no public function multiplies float32 by oneDNN
    _, heads, tokens, size = query.shape
    groups, value_size = key.shape[1], value.shape[-1]
    repeats = heads // groups
    scale = size**-0.5 if scaling is None else scaling
    # rows of a group are (token, head), so that the rows of a tile are neighbours
    rows = (query[0] * scale).view(groups, repeats, tokens, size).transpose(1, 2).reshape(groups, -1, size)
    output = query.new_empty(groups, tokens * repeats, value_size)
    starts = [[], []] if head is None else [[states] for states in head]
    for low, high, first, mask in packed.tiles(repeats):
        span = slice(low * repeats, high * repeats)
        # in memory of their own, because oneDNN is slow with the strides of a row that is split into heads
        keys, values = (
            torch.cat([*before, states[0, :, first:high]], dim=1) if before else states[0, :, first:high].contiguous()
            for before, states in zip(starts, (key, value), strict=True)
        )
        for group in range(groups):
            scores = multiply(rows[group, span], keys[group], None, "none", [], "")
            scores[:, packed.length :] += mask
            weights = torch.softmax(scores, dim=-1)
            output[group, span] = multiply(weights, values[group].T, None, "none", [], "")
    return output.view(groups, tokens, repeats, value_size).transpose(1, 2).reshape(1, heads, tokens, value_size)


# The tokens of the row and of the head that are timed.
TIMED, TIMED_HEAD = 192, 256
TURNS = 3


def _shape(query: Any, key: Any, value: Any) -> tuple[Any, int, int, int, int, int]:
    """Return what decides which attention is faster: type, heads, groups of heads, sizes, and threads."""
    import torch

    return query.dtype, query.shape[1], key.shape[1], key.shape[-1], value.shape[-1], torch.get_num_threads()


@cache
def _has_faster_tiles(dtype: Any, heads: int, groups: int, key_size: int, value_size: int, _: int) -> bool:
    """Return whether tiles are faster on this machine than the attention of torch."""
    import torch

    if dtype != torch.float32 or not has_onednn():
        return False
    draw = torch.Generator().manual_seed(0)
    blocks = [build_block([np.full(TIMED // 4, number)], 0) for number in range(4)]
    # in the layout of a model, which computes all heads of a token at once
    query, key, value, *head = (
        torch.randn(tokens, count, size, generator=draw).transpose(0, 1)
        for tokens, count, size in (
            (TIMED, heads, key_size),
            (TIMED, groups, key_size),
            (TIMED, groups, value_size),
            (TIMED_HEAD, groups, key_size),
            (TIMED_HEAD, groups, value_size),
        )
    )
    passes = [Packed((), 0, blocks, keep=False), Packed([(head[0], head[1])], TIMED_HEAD, blocks, keep=False)]
    ways = (_tiled, _cascade if key_size == value_size else _joined)
    times = [
        [[_seconds(way, packed, query[None], key[None], value[None]) for way in ways] for packed in passes]
        for _ in range(1 + TURNS)
    ][1:]
    tiled, other = np.array(times).min(axis=0).sum(axis=0)
    return bool(tiled < other)


def _seconds(way: Any, packed: Packed, query: Any, key: Any, value: Any) -> float:
    started = time.perf_counter()
    way(packed, query, key, value, packed.head[0] if packed.length else None, None)
    return time.perf_counter() - started


def _with_starts(
    query: Any, keys: Any, values: Any, mask: Any, starts: Sequence[tuple[Any, Any, int, Any]], scaling: float | None
) -> Any:
    """Attend to each row's own tokens and to the start that it shares with others, and merge both outputs.

    Args:
        query: The queries, [rows, groups, heads of a group, size].
        keys: The keys of the own tokens, [rows, groups, tokens, size].
        values: The values of the own tokens.
        mask: The mask that is added to the scores of the own tokens, [rows, 1, 1, tokens].
        starts: Keys and values of each start, [groups, ≥ length, size], its length, and the indices of its rows.
        scaling: The factor of the scores.

    Returns:
        The output, in the shape of `query`.
    """
    import torch

    flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # noqa: SLF001 - no public function returns the sums
    _, groups, heads, size = query.shape
    output, sums = flash(query, keys, values, attn_mask=mask.expand(-1, -1, heads, -1), scale=scaling)
    for start_keys, start_values, length, rows in starts:
        count = len(rows)
        # the queries of all rows are stacked like further tokens
        stacked = query[rows].transpose(0, 1).reshape(1, groups, count * heads, size)
        states = (states[None, :, :length] for states in (start_keys, start_values))
        start_output, start_sums = flash(stacked, *states, scale=scaling)
        start_output = start_output.view(groups, count, heads, size).transpose(0, 1)
        start_sums = start_sums.view(groups, count, heads, 1).transpose(0, 1)
        share = torch.sigmoid(sums[rows][..., None] - start_sums).to(output.dtype)
        output[rows] = torch.lerp(start_output, output[rows], share)
    return output


def _joined(packed: Packed, query: Any, key: Any, value: Any, head: Layer | None, scaling: float | None) -> Any:
    """Attend within each block with the head prepended, on devices whose attention does not return sums."""
    import torch

    queries, keys, values = (packed.rows(states) for states in (query, key, value))
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
# The tokens of the shortest start that rows share in slots, and the maximum of such starts, because each costs an
# operation per layer.
SHORTEST_START, MOST_STARTS = 32, 4


@dataclass(frozen=True, eq=False)
class Start:
    """The keys and values by layer of the first tokens of rows, [heads, ≥ length, size]; none if `length` is 0."""

    layers: Sequence[Layer] = ()
    length: int = 0

    def is_like(self, other: "Start") -> bool:
        """Return whether both have the same keys in memory."""
        first, second = self.layers[0][0], other.layers[0][0]
        return self.length == other.length and first.data_ptr() == second.data_ptr()


_NONE = Start()


@dataclass(eq=False)
class Slots:
    """Keys and values by layer, [rows, heads, room, size]; row r has `lengths[r]` tokens.

    On a CPU, rows with the same long start share its keys and values; a slot then has the tokens after the start only.
    The first `len(slots)` slots are in use. When a row leaves, the last row moves to its slot. Slots that ran out of
    memory stay unused.

    Args:
        model: A model that calls its attention through transformers' interface, with `layer_idx`.
        max_rows: The maximum number of rows.
    """

    model: Any
    max_rows: int
    lengths: list[int] = field(default_factory=list)
    _starts: list[Start] = field(default_factory=list)
    _keys: list[Any] = field(default_factory=list)
    _values: list[Any] = field(default_factory=list)
    _mask: Any = None
    _positions: Sequence[Any] = ()
    _groups: Sequence[tuple[Start, Any]] = ()

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def room(self) -> int:
        """Return the number of tokens of a row, without a shared start, that fit without growing."""
        return int(self._keys[0].shape[2]) if self._keys else 0

    @property
    def reach(self) -> int:
        """Return the length of the longest row in tokens, the next token included."""
        return max(self.lengths) + 1

    @property
    def _n_stored(self) -> list[int]:
        """Return the number of tokens in each slot."""
        return [length - start.length for length, start in zip(self.lengths, self._starts, strict=True)]

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
        start = self._start_of(key_values)
        needed = key_values.length - start.length + 1
        if needed > self.room:
            self._grow(max(needed, min(room - start.length, 2 * needed)), key_values.shapes)
        row = len(self)
        for layer, (keys, values) in enumerate(zip(self._keys, self._values, strict=True)):
            key_values.copy(layer, keys[row], values[row], with_head=start is _NONE)
        self.lengths.append(key_values.length)
        self._starts.append(start)

    def _start_of(self, key_values: KeyValues) -> Start:
        """Return the start that a new row shares with other rows; an empty one if its slot has all its tokens."""
        new = Start(key_values.head, key_values.start)
        on_cpu = all(keys.device.type == "cpu" for keys, _ in key_values.row)
        # the attention that returns sums has keys and values of one size
        if new.length < SHORTEST_START or not on_cpu or any(key != value for _, key, value in key_values.shapes):
            return _NONE
        used = [start for start in dict.fromkeys(self._starts) if start is not _NONE]
        same = next((start for start in used if start.is_like(new)), None)
        return same or (new if len(used) < MOST_STARTS else _NONE)

    def leave(self, row: int) -> None:
        """Free the slot of a row; the last row moves there."""
        last = len(self) - 1
        n_stored = self._n_stored[last]
        length, start = self.lengths.pop(), self._starts.pop()
        if row == last:
            return
        for tensor in (*self._keys, *self._values):
            tensor[row, :, :n_stored] = tensor[last, :, :n_stored]
        self.lengths[row], self._starts[row] = length, start

    def step(self, tokens: Any) -> Any:
        """Return the logits [rows, vocabulary], float32, after one more token of each row.

        The model must be in evaluation mode, without gradients.

        Args:
            tokens: The token ids [rows], on the model's device.

        Raises:
            MemoryError: Not enough memory is free for rows of this length.
        """
        import torch

        n_stored = self._n_stored
        longest = max(n_stored) + 1
        if longest > self.room:
            shapes = [(k.shape[1], k.shape[3], v.shape[3]) for k, v in zip(self._keys, self._values, strict=True)]
            self._grow(max(longest, self.room + self.room // 2), shapes)
        device = self.model.device
        lengths, places = torch.tensor(self.lengths, device=device), torch.tensor(n_stored, device=device)
        self._positions = torch.arange(len(self), device=device), places
        beyond = (torch.arange(longest, device=device) > places[:, None])[:, None, None]
        self._groups = [
            (start, torch.tensor([row for row, other in enumerate(self._starts) if other is start]))
            for start in dict.fromkeys(self._starts)
            if start is not _NONE
        ]
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
        if self._groups:
            output = _with_starts(
                grouped,
                keys[:count, :, :longest],
                values[:count, :, :longest],
                mask,
                [(*start.layers[layer], start.length, group) for start, group in self._groups],
                scaling,
            )
            return output.reshape(count, query.shape[1], 1, value.shape[-1])
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
