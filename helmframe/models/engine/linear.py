"""Linear layers of oneDNN with prepacked weights, for float32 on a CPU, if they are faster."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from helmframe.models.engine.memory import has_onednn, is_out_of_memory

# The rows of the timed multiplications, from a step of generation to a packed row; only SMALL ones are timed.
ROWS = (8, 32, 128)
SMALL = 500_000_000  # multiplications
TURNS = 4
# The minimum speed-up; a smaller difference is noise.
GAIN = 1.05
# The effect of the order of additions, relative to the largest number.
NOISE = 1e-5
# The same effect for a whole model, relative to the largest logit, after TOKENS tokens and after one more token.
NOISE_OF_ALL = 2e-5
TOKENS, MORE = 12, 2


@dataclass(frozen=True)
class Timed:
    """The speed-up `gain` of oneDNN over torch for layers of one shape; above 1.05 the layers are replaced."""

    inputs: int
    outputs: int
    gain: float
    layers: int


def prepack(model: Any, saved: Sequence[Timed] = ()) -> list[Timed]:
    """Replace linear layers of the model by prepacked layers, for shapes that are faster on this machine.

    The weights of a replaced layer exist only as a packed copy, unless another layer shares them. So code that reads or
    changes them must run before. Subclasses of linear layers (adapters, quantised layers) are not replaced. Nothing is
    replaced without oneDNN, in types other than float32, and on other devices. Nothing is replaced either if the logits
    change, or if the model fails, because its code reads weights directly. The model must be in evaluation mode.

    Args:
        model: The model.
        saved: The timings of the same model on the same machine by an earlier call, whose checks are not repeated.

    Returns:
        The timings by shape.
    """
    import torch

    if model.device.type != "cpu" or not has_onednn():
        return []
    shapes: dict[tuple[int, int], list[_Site]] = {}
    for parent in model.modules():
        for name, layer in parent.named_children():
            if type(layer) is torch.nn.Linear and layer.weight.dtype == torch.float32:
                shapes.setdefault((layer.in_features, layer.out_features), []).append(_Site(parent, name))
    if saved and {(timing.inputs, timing.outputs): timing.layers for timing in saved} == {
        shape: len(sites) for shape, sites in shapes.items()
    }:
        for timing in saved:
            for site in shapes[timing.inputs, timing.outputs] if timing.gain > GAIN else ():
                site.replace()
        return [*saved]
    before = _trial_logits(model) if shapes else None
    if before is None:
        return []
    timings = [Timed(*shape, _gain(sites[0].layer), len(sites)) for shape, sites in shapes.items()]
    faster = [site for timing in timings if timing.gain > GAIN for site in shapes[timing.inputs, timing.outputs]]
    # one layer of each kind is tried first, because two copies of all layers may not fit into memory
    tried = list({(type(site.parent), site.name): site for site in faster}.values())
    layers = [site.layer for site in tried]
    accepted = False
    try:
        for site in tried:
            site.replace()
        accepted = not tried or _is_like(_trial_logits(model), before)
    finally:
        if not accepted:
            for site, layer in zip(tried, layers, strict=True):
                setattr(site.parent, site.name, layer)
    if not accepted:
        return []
    for site in faster:
        if site not in tried:
            site.replace()
    return timings


class _Site(NamedTuple):
    """The site of a layer in a model."""

    parent: Any
    name: str

    @property
    def layer(self) -> Any:
        return getattr(self.parent, self.name)

    def replace(self) -> None:
        setattr(self.parent, self.name, _kind()(self.layer))


def overall(timings: list[Timed]) -> float:
    """Return the total speed-up of a model's linear layers."""
    work = [timing.inputs * timing.outputs * timing.layers for timing in timings]
    faster = sum(size / max(timing.gain, 1.0) for size, timing in zip(work, timings, strict=True))
    return sum(work) / faster if timings else 1.0


def _trial_logits(model: Any) -> Any:
    """Return logits [2, vocabulary] after random tokens, and after one more token; None if the model fails.

    Some models have separate code for one more token.
    """
    import torch
    from transformers import GenerationConfig, LogitsProcessorList

    size = int(model.get_input_embeddings().weight.shape[0])
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(size, (1, TOKENS), generator=draw)
    more = torch.randint(size, (MORE, 1, 1), generator=draw)
    logits: list[Any] = []

    def forced(_: Any, scores: Any) -> Any:
        logits.append(scores[0].clone())
        return torch.full_like(scores, -torch.inf).scatter(1, more[len(logits) - 1], 0.0)

    # no token ends the generation
    config = GenerationConfig(do_sample=False, max_new_tokens=MORE, eos_token_id=None, pad_token_id=0)  # type: ignore[no-untyped-call]
    try:
        model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            generation_config=config,
            logits_processor=LogitsProcessorList([forced]),
        )
    except Exception as error:  # a model may raise errors of any type
        if is_out_of_memory(error):
            raise
        return None
    return torch.stack(logits)


def _is_like(logits: Any, reference: Any) -> bool:
    return logits is not None and bool((logits - reference).abs().max() <= NOISE_OF_ALL * reference.abs().max())


def _gain(layer: Any) -> float:
    import torch

    try:
        packed = _kind()(layer)
    except RuntimeError:  # oneDNN does not support the shape
        return 0.0
    gains: list[float] = []
    for rows in ROWS:
        if gains and rows * layer.weight.numel() > SMALL:
            break
        batch = torch.randn(rows, layer.in_features)
        expected = layer(batch)
        if (packed(batch) - expected).abs().max() > NOISE * expected.abs().max():
            return 0.0
        # in turns, so that other processes of the machine slow both
        times = [(_seconds(layer, batch), _seconds(packed, batch)) for _ in range(TURNS)]
        gains.append(min(seconds for seconds, _ in times) / min(seconds for _, seconds in times))
    return sum(gains) / len(gains)


def _seconds(layer: Callable[[Any], Any], batch: Any) -> float:
    started = time.perf_counter()
    layer(batch)
    return time.perf_counter() - started


@cache
def _kind() -> Any:
    import torch  # the base class is defined here, because torch is imported late

    class Prepacked(torch.nn.Module):
        """A linear layer with weights in the format of oneDNN."""

        def __init__(self, layer: Any) -> None:
            super().__init__()
            self.in_features, self.out_features = layer.in_features, layer.out_features
            self.bias = layer.bias
            self.packed = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), None)  # noqa: SLF001

        def forward(self, batch: Any) -> Any:
            return torch.ops.mkldnn._linear_pointwise(batch, self.packed, self.bias, "none", [], "")  # noqa: SLF001

    return Prepacked
