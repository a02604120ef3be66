"""Linear layers in float32 on a CPU by oneDNN with weights laid out for it beforehand, where that is faster."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from helmframe.models.engine.memory import is_out_of_memory

# Rows of a multiplication that is timed, as far as it stays small: a step of generation to a packed row.
ROWS = (8, 32, 128)
SMALL = 500_000_000  # multiplications
TURNS = 4
# Below, the difference is noise.
GAIN = 1.05
# Of the largest number, what the order of additions may change.
NOISE = 1e-5
# The same for a whole model: of the largest logit, after so many tokens and after one more.
NOISE_OF_ALL = 2e-5
TOKENS, MORE = 12, 2


@dataclass(frozen=True)
class Timed:
    """How much faster than torch's own a layer of this shape is with oneDNN; above 1.05 it is used."""

    inputs: int
    outputs: int
    gain: float
    layers: int


def prepack(model: Any) -> list[Timed]:
    """Replace the model's linear layers by prepacked ones, shape by shape, where these are faster on this machine.

    The weights of a replaced layer are gone but for their packed copy, unless another layer has them too: what reads
    or changes them comes before. Layers that are more than linear (adapters, quantised ones) are left alone. Nothing is
    done where torch lacks oneDNN, in other types than float32, on other devices, and where the model then says
    something else, or fails, as one does whose code looks at the weights themselves. Call it in evaluation mode.

    Returns:
        What was timed, by shape.
    """
    import torch

    if model.device.type != "cpu" or not _is_there():
        return []
    shapes: dict[tuple[int, int], list[_Place]] = {}
    for parent in model.modules():
        for name, layer in parent.named_children():
            if type(layer) is torch.nn.Linear and layer.weight.dtype == torch.float32:
                shapes.setdefault((layer.in_features, layer.out_features), []).append(_Place(parent, name))
    before = _said(model) if shapes else None
    if before is None:
        return []
    found = [Timed(*shape, _gain(places[0].layer), len(places)) for shape, places in shapes.items()]
    faster = [place for timed in found if timed.gain > GAIN for place in shapes[timed.inputs, timed.outputs]]
    # one of each kind is tried first: a model's memory might not hold all of them twice
    tried = list({(type(place.parent), place.name): place for place in faster}.values())
    layers = [place.layer for place in tried]
    kept = False
    try:
        for place in tried:
            place.replace()
        kept = not tried or _is_like(_said(model), before)
    finally:
        if not kept:
            for place, layer in zip(tried, layers, strict=True):
                setattr(place.parent, place.name, layer)
    if not kept:
        return []
    for place in faster:
        if place not in tried:
            place.replace()
    return found


class _Place(NamedTuple):
    """Where in a model a layer is."""

    parent: Any
    name: str

    @property
    def layer(self) -> Any:
        return getattr(self.parent, self.name)

    def replace(self) -> None:
        setattr(self.parent, self.name, _kind()(self.layer))


def overall(timed: list[Timed]) -> float:
    """How much faster all linear layers of a model are together."""
    work = [each.inputs * each.outputs * each.layers for each in timed]
    faster = sum(size / max(each.gain, 1.0) for size, each in zip(work, timed, strict=True))
    return sum(work) / faster if timed else 1.0


def _is_there() -> bool:
    """Whether the operations that torch's own compiler uses for this, which are not public, are there."""
    import torch

    return bool(torch.backends.mkldnn.is_available()) and all(  # type: ignore[no-untyped-call]
        hasattr(torch.ops.mkldnn, name) for name in ("_reorder_linear_weight", "_linear_pointwise")
    )


def _said(model: Any) -> Any:
    """Logits [2, words] after some random tokens, and after one more; None where the model fails.

    Some models have code of its own for one token more.
    """
    import torch
    from transformers import GenerationConfig, LogitsProcessorList

    size = int(model.get_input_embeddings().weight.shape[0])
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(size, (1, TOKENS), generator=draw)
    more = torch.randint(size, (MORE, 1, 1), generator=draw)
    found: list[Any] = []

    def forced(_: Any, scores: Any) -> Any:
        found.append(scores[0].clone())
        return torch.full_like(scores, -torch.inf).scatter(1, more[len(found) - 1], 0.0)

    # whatever comes, no end
    config = GenerationConfig(do_sample=False, max_new_tokens=MORE, eos_token_id=None, pad_token_id=0)  # type: ignore[no-untyped-call]
    try:
        model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            generation_config=config,
            logits_processor=LogitsProcessorList([forced]),
        )
    except Exception as error:  # whatever a model's code says
        if is_out_of_memory(error):
            raise
        return None
    return torch.stack(found)


def _is_like(found: Any, said: Any) -> bool:
    return found is not None and bool((found - said).abs().max() <= NOISE_OF_ALL * said.abs().max())


def _gain(layer: Any) -> float:
    import torch

    try:
        packed = _kind()(layer)
    except RuntimeError:  # a shape it does not take
        return 0.0
    gains: list[float] = []
    for rows in ROWS:
        if gains and rows * layer.weight.numel() > SMALL:
            break
        given = torch.randn(rows, layer.in_features)
        expected = layer(given)
        if (packed(given) - expected).abs().max() > NOISE * expected.abs().max():
            return 0.0
        # in turns: what else runs on the machine then slows both
        times = [(_seconds(layer, given), _seconds(packed, given)) for _ in range(TURNS)]
        gains.append(min(own for own, _ in times) / min(other for _, other in times))
    return sum(gains) / len(gains)


def _seconds(layer: Callable[[Any], Any], given: Any) -> float:
    started = time.perf_counter()
    layer(given)
    return time.perf_counter() - started


@cache
def _kind() -> Any:
    import torch  # a class of torch can't be said before torch is there

    class Prepacked(torch.nn.Module):
        """A linear layer whose weights only oneDNN can read."""

        def __init__(self, layer: Any) -> None:
            super().__init__()
            self.in_features, self.out_features = layer.in_features, layer.out_features
            self.bias = layer.bias
            self.packed = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), None)  # noqa: SLF001

        def forward(self, given: Any) -> Any:
            return torch.ops.mkldnn._linear_pointwise(given, self.packed, self.bias, "none", [], "")  # noqa: SLF001

    return Prepacked
