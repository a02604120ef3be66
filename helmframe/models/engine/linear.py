"""Linear layers in float32 on a CPU through oneDNN with weights laid out beforehand, where that is faster."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from helmframe.models.engine.memory import is_out_of_memory

# Rows of the multiplications that are timed while these are small: from a step of generation to a packed row.
ROWS = (8, 32, 128)
SMALL = 500_000_000  # multiplications
TURNS = 4
# Below, the difference is noise.
GAIN = 1.05
# Relative to the largest number: the effect of the order of additions.
NOISE = 1e-5
# The same for a whole model, relative to the largest logit, after TOKENS tokens and after one more.
NOISE_OF_ALL = 2e-5
TOKENS, MORE = 12, 2


@dataclass(frozen=True)
class Timed:
    """The speed-up of layers of this shape with oneDNN over torch's own; above 1.05 they are replaced."""

    inputs: int
    outputs: int
    gain: float
    layers: int


def prepack(model: Any) -> list[Timed]:
    """Replace the model's linear layers by prepacked ones, shape by shape, where these are faster on this machine.

    A replaced layer's weights exist only as their packed copy, unless another layer shares them: whatever reads or
    changes them must come before. Layers that are more than linear (adapters, quantised ones) are not replaced. Nothing
    is replaced if torch lacks oneDNN, in types other than float32, on other devices, or if the model's logits then
    change or it fails, as a model does whose code reads weights directly. Call it in evaluation mode.

    Returns:
        The timings by shape.
    """
    import torch

    if model.device.type != "cpu" or not _is_available():
        return []
    shapes: dict[tuple[int, int], list[_Site]] = {}
    for parent in model.modules():
        for name, layer in parent.named_children():
            if type(layer) is torch.nn.Linear and layer.weight.dtype == torch.float32:
                shapes.setdefault((layer.in_features, layer.out_features), []).append(_Site(parent, name))
    before = _trial_logits(model) if shapes else None
    if before is None:
        return []
    timings = [Timed(*shape, _gain(sites[0].layer), len(sites)) for shape, sites in shapes.items()]
    faster = [site for timing in timings if timing.gain > GAIN for site in shapes[timing.inputs, timing.outputs]]
    # one of each kind is tried first: memory might not hold all of them twice
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
    """Return the speed-up of all linear layers of a model together."""
    work = [timing.inputs * timing.outputs * timing.layers for timing in timings]
    faster = sum(size / max(timing.gain, 1.0) for size, timing in zip(work, timings, strict=True))
    return sum(work) / faster if timings else 1.0


def _is_available() -> bool:
    """Return whether torch has the private operations that its own compiler uses for this."""
    import torch

    return bool(torch.backends.mkldnn.is_available()) and all(  # type: ignore[no-untyped-call]
        hasattr(torch.ops.mkldnn, name) for name in ("_reorder_linear_weight", "_linear_pointwise")
    )


def _trial_logits(model: Any) -> Any:
    """Return logits [2, words] after random tokens, and after one more; None if the model fails.

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

    # no token ends it
    config = GenerationConfig(do_sample=False, max_new_tokens=MORE, eos_token_id=None, pad_token_id=0)  # type: ignore[no-untyped-call]
    try:
        model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            generation_config=config,
            logits_processor=LogitsProcessorList([forced]),
        )
    except Exception as error:  # a model's code may raise anything
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
    except RuntimeError:  # a shape it does not take
        return 0.0
    gains: list[float] = []
    for rows in ROWS:
        if gains and rows * layer.weight.numel() > SMALL:
            break
        batch = torch.randn(rows, layer.in_features)
        expected = layer(batch)
        if (packed(batch) - expected).abs().max() > NOISE * expected.abs().max():
            return 0.0
        # in turns: what else runs on the machine then slows both
        times = [(_seconds(layer, batch), _seconds(packed, batch)) for _ in range(TURNS)]
        gains.append(min(seconds for seconds, _ in times) / min(other for _, other in times))
    return sum(gains) / len(gains)


def _seconds(layer: Callable[[Any], Any], batch: Any) -> float:
    started = time.perf_counter()
    layer(batch)
    return time.perf_counter() - started


@cache
def _kind() -> Any:
    import torch  # torch is imported late, and with it the base class

    class Prepacked(torch.nn.Module):
        """A linear layer whose weights only oneDNN can read."""

        def __init__(self, layer: Any) -> None:
            super().__init__()
            self.in_features, self.out_features = layer.in_features, layer.out_features
            self.bias = layer.bias
            self.packed = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), None)  # noqa: SLF001

        def forward(self, batch: Any) -> Any:
            return torch.ops.mkldnn._linear_pointwise(batch, self.packed, self.bias, "none", [], "")  # noqa: SLF001

    return Prepacked
