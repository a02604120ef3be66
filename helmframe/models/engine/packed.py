"""One forward pass over packed texts: each shared token once, no padding."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from helmframe.models.engine import trie
from helmframe.models.engine.attention import Layer, NotPackedError, Packed, attending
from helmframe.models.engine.heads import Head, Heads
from helmframe.models.engine.planner import Step
from helmframe.models.engine.trie import Block, Ids

# Gathering a token into its line costs about as much as attending to this many tokens.
GATHERED = 64


@dataclass(frozen=True, eq=False)
class KeyValues:
    """Keys and values of one text's tokens; tokens that several texts share are stored once.

    Args:
        length: The number of tokens.
        head: Keys and values by layer of the text's first tokens; may be empty.
        row: Keys and values by layer of the packed row that the text was read in.
        path: The indices of the text's other tokens in that row.
    """

    length: int
    head: Sequence[Layer]
    row: Sequence[Layer]
    path: Any

    @property
    def shapes(self) -> list[tuple[int, int, int]]:
        """Return (heads, size of a key, size of a value) for each layer."""
        return [(keys.shape[0], keys.shape[2], values.shape[2]) for keys, values in self.row]

    def copy(self, layer: int, keys: Any, values: Any) -> None:
        """Write the layer's keys into `keys[:, :length]` and its values into `values`: [heads, ≥ length, size]."""
        start = self.length - len(self.path)
        for part, target in enumerate((keys, values)):
            if start:
                target[:, :start] = self.head[layer][part][:, :start]
            states = self.row[layer][part]
            target[:, start : self.length] = states[:, self.path.to(states.device)]


def read_packed(
    model: Any, step: Step, texts: Sequence[Ids], wanted: Sequence[int], heads: Heads, *, keep: bool
) -> tuple[Any, dict[int, Any], dict[int, KeyValues]]:
    """Run one step, and return the model's logits.

    Args:
        model: The model, in evaluation mode, without gradients.
        step: The texts of this step, by index.
        texts: Token ids.
        wanted: For each text, the first position whose next-token probabilities are wanted.
        heads: The cached starts of texts; the step's base is added.
        keep: Whether to return keys and values.

    Returns:
        Logits [tokens, words]; for each text the indices of its logits; for each text its keys and values.

    Raises:
        NotPackedError: A layer of the model does not call the engine's attention.
    """
    import torch

    head = _head(model, texts[step.blocks[0][0]], step.base, heads) if step.base else None
    blocks = [trie.block([texts[index] for index in indices], step.base) for indices in step.blocks]
    starts = np.cumsum([0, *(len(block.tokens) for block in blocks)])
    paths = {
        index: path + start
        for indices, block, start in zip(step.blocks, blocks, starts[:-1], strict=True)
        for index, path in zip(indices, block.paths, strict=True)
    }
    requested = {index: path[wanted[index] - step.base :] for index, path in paths.items()}
    tokens, inverse = np.unique(np.concatenate(list(requested.values())), return_inverse=True)
    logits, layers = _forward(model, blocks, head, tokens, keep=keep)
    ends = np.cumsum([len(path_rows) for path_rows in requested.values()])[:-1]
    rows = dict(zip(requested, map(torch.from_numpy, np.split(inverse, ends)), strict=True))
    key_values = {}
    if keep:
        key_values = {
            index: KeyValues(len(texts[index]), head.layers if head else (), layers, torch.from_numpy(path))
            for index, path in paths.items()
        }
    return logits, rows, key_values


def _head(model: Any, text: Ids, length: int, heads: Heads) -> Head:
    """Return the text's first tokens as a head; read them if they are not cached."""
    import torch

    cached = heads.longest(text, length)
    if cached is not None and cached.length == length:
        return cached
    start = cached.length if cached else 0
    block = trie.block([text[:length]], start)
    _, layers = _forward(model, [block], cached, np.array([length - start - 1]), keep=True)
    if cached:
        layers = [
            (torch.cat([before[0], added[0]], dim=1), torch.cat([before[1], added[1]], dim=1))
            for before, added in zip(cached.layers, layers, strict=True)
        ]
    head = Head(length, layers)
    heads.add(text, head)
    return head


def _forward(
    model: Any, blocks: Sequence[Block], head: Head | None, wanted: Ids, *, keep: bool
) -> tuple[Any, list[Layer]]:
    """Return logits [wanted, words] and, with `keep`, keys and values of the row by layer."""
    import torch

    device = model.device
    starts = np.cumsum([0, *(len(block.tokens) for block in blocks)])
    lines, visible = _lines(blocks, starts)
    width = max(map(len, lines))
    positions = np.zeros((len(lines), width), dtype=np.int64)
    inverse = np.zeros(starts[-1], dtype=np.int64)
    for row, line in enumerate(lines):
        positions[row, : len(line)] = line
        inverse[line] = row * width + np.arange(len(line))
    packed = Packed(
        head=head.layers if head else (),
        length=head.length if head else 0,
        positions=torch.from_numpy(positions).to(device),
        inverse=torch.from_numpy(inverse).to(device),
        visible=visible,
        reach=1 + max(int(block.depths.max()) for block in blocks),
        keep=keep,
    )
    with attending(model, packed):
        logits = model(
            input_ids=torch.from_numpy(np.concatenate([block.tokens for block in blocks]))[None].to(device),
            position_ids=torch.from_numpy(np.concatenate([block.depths for block in blocks]))[None].to(device),
            use_cache=False,
            logits_to_keep=torch.from_numpy(wanted).to(device),
        ).logits[0]
    layers = model.config.get_text_config().num_hidden_layers
    if packed.n_called != layers:
        raise NotPackedError(f"{packed.n_called} of its {layers} layers take their attention from outside")
    return logits, [packed.layers[layer] for layer in sorted(packed.layers)]


def _lines(blocks: Sequence[Block], starts: Ids) -> tuple[list[Ids], Any]:
    """Return lines of tokens that attend to each other, and which tokens each sees; None: earlier tokens and itself.

    A line is a text with the tokens that it shares, or a whole block, whichever needs fewer multiplications: texts that
    share little see little of each other, and lines of texts that share much would repeat it.
    """
    import torch

    tries = [np.arange(start, start + len(block.tokens)) for block, start in zip(blocks, starts, strict=False)]
    chains = [path + start for block, start in zip(blocks, starts, strict=False) for path in block.paths]
    if _work(chains) <= _work(tries):
        return chains, None
    width = max(map(len, tries))
    visible = np.zeros((len(tries), width, width), dtype=bool)
    for row, block in enumerate(blocks):
        n_tokens = len(block.tokens)
        visible[row, :n_tokens, :n_tokens] = block.visible()
        # padding is not read, but must see something
        visible[row, np.arange(n_tokens, width), np.arange(n_tokens, width)] = True
    return tries, torch.from_numpy(visible)


def _work(lines: Sequence[Ids]) -> int:
    """Return the cost of attention within lines that are padded to the longest."""
    width = max(map(len, lines))
    return len(lines) * width * (width + GATHERED)
