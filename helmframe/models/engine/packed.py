"""One forward pass over packed texts: every token they share once, no padding."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from helmframe.models.engine import trie
from helmframe.models.engine.attention import Layer, NotPackedError, Packed, attending
from helmframe.models.engine.heads import Head, Heads
from helmframe.models.engine.planner import Step
from helmframe.models.engine.trie import Block, Ids

# To bring a token into its line takes about as long as to see so many.
GATHERED = 64


@dataclass(frozen=True, eq=False)
class Kept:
    """Keys and values of one text's tokens; those of tokens that texts share are there once.

    Args:
        length: tokens.
        head: by layer, of the text's first tokens; may be empty.
        row: by layer, of the packed row it was read in.
        path: where the text's other tokens stand in that row.
    """

    length: int
    head: Sequence[Layer]
    row: Sequence[Layer]
    path: Any

    @property
    def shapes(self) -> list[tuple[int, int, int]]:
        """Of each layer (heads, size of a key, size of a value)."""
        return [(keys.shape[0], keys.shape[2], values.shape[2]) for keys, values in self.row]

    def copy(self, layer: int, keys: Any, values: Any) -> None:
        """Write the layer's keys into `keys[:, :length]` and its values into `values`: [heads, ≥ length, size]."""
        start = self.length - len(self.path)
        for place, target in enumerate((keys, values)):
            if start:
                target[:, :start] = self.head[layer][place][:, :start]
            own = self.row[layer][place]
            target[:, start : self.length] = own[:, self.path.to(own.device)]


def read_packed(
    model: Any, step: Step, texts: Sequence[Ids], wanted: Sequence[int], heads: Heads, *, keep: bool
) -> tuple[Any, dict[int, Any], dict[int, Kept]]:
    """What the model says in one step.

    Args:
        model: in evaluation mode, without gradients.
        step: which texts, by their places.
        texts: token ids.
        wanted: of each text, the first place whose successor's probability is wanted.
        heads: what is known of their starts; the step's base is added.
        keep: whether keys and values are wanted.

    Returns:
        Logits [tokens, words]; of each text, in which of these rows its own are; its keys and values.

    Raises:
        NotPackedError: not every layer of the model attends as packed rows need it.
    """
    import torch

    head = _head(model, texts[step.blocks[0][0]], step.base, heads) if step.base else None
    blocks = [trie.block([texts[place] for place in places], step.base) for places in step.blocks]
    starts = np.cumsum([0, *(len(block.tokens) for block in blocks)])
    paths = {
        place: path + start
        for places, block, start in zip(step.blocks, blocks, starts[:-1], strict=True)
        for place, path in zip(places, block.paths, strict=True)
    }
    asked = {place: path[wanted[place] - step.base :] for place, path in paths.items()}
    tokens, inverse = np.unique(np.concatenate(list(asked.values())), return_inverse=True)
    logits, layers = _forward(model, blocks, head, tokens, keep=keep)
    ends = np.cumsum([len(each) for each in asked.values()])[:-1]
    rows = dict(zip(asked, map(torch.from_numpy, np.split(inverse, ends)), strict=True))
    kept = {}
    if keep:
        kept = {
            place: Kept(len(texts[place]), head.layers if head else (), layers, torch.from_numpy(path))
            for place, path in paths.items()
        }
    return logits, rows, kept


def _head(model: Any, text: Ids, length: int, heads: Heads) -> Head:
    """The text's first tokens as a head, read if they are not known."""
    import torch

    known = heads.longest(text, length)
    if known is not None and known.length == length:
        return known
    start = known.length if known else 0
    block = trie.block([text[:length]], start)
    _, layers = _forward(model, [block], known, np.array([length - start - 1]), keep=True)
    if known:
        layers = [
            (torch.cat([before[0], own[0]], dim=1), torch.cat([before[1], own[1]], dim=1))
            for before, own in zip(known.layers, layers, strict=True)
        ]
    head = Head(length, layers)
    heads.keep(text, head)
    return head


def _forward(
    model: Any, blocks: Sequence[Block], head: Head | None, wanted: Ids, *, keep: bool
) -> tuple[Any, list[Layer]]:
    """Logits [wanted, words] and, if they are kept, the row's keys and values by layer."""
    import torch

    device = model.device
    starts = np.cumsum([0, *(len(block.tokens) for block in blocks)])
    lines, sees = _lines(blocks, starts)
    width = max(map(len, lines))
    places = np.zeros((len(lines), width), dtype=np.int64)
    back = np.zeros(starts[-1], dtype=np.int64)
    for row, line in enumerate(lines):
        places[row, : len(line)] = line
        back[line] = row * width + np.arange(len(line))
    packed = Packed(
        head=head.layers if head else (),
        length=head.length if head else 0,
        places=torch.from_numpy(places).to(device),
        back=torch.from_numpy(back).to(device),
        sees=sees,
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
    if packed.seen != layers:
        raise NotPackedError(f"{packed.seen} of its {layers} layers take their attention from outside")
    return logits, [packed.layers[layer] for layer in sorted(packed.layers)]


def _lines(blocks: Sequence[Block], starts: Ids) -> tuple[list[Ids], Any]:
    """Which tokens of the row attend to each other, and which of them each sees; None: those before it, and itself.

    They are those of a text, the tokens that it shares with others among them, or those of a block, whichever is less
    to multiply: texts that share little see little of each other, and texts that share much would repeat it.
    """
    import torch

    tries = [np.arange(start, start + len(block.tokens)) for block, start in zip(blocks, starts, strict=False)]
    chains = [path + start for block, start in zip(blocks, starts, strict=False) for path in block.paths]
    if _work(chains) <= _work(tries):
        return chains, None
    width = max(map(len, tries))
    sees = np.zeros((len(tries), width, width), dtype=bool)
    for row, block in enumerate(blocks):
        size = len(block.tokens)
        sees[row, :size, :size] = block.sees()
        # what stands past the end is read by nobody, and must see something
        sees[row, np.arange(size, width), np.arange(size, width)] = True
    return tries, torch.from_numpy(sees)


def _work(lines: Sequence[Ids]) -> int:
    """What it takes that the tokens of lines see each other, which are padded to the longest."""
    width = max(map(len, lines))
    return len(lines) * width * (width + GATHERED)
