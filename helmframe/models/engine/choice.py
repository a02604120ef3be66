"""The choice of how a model reads texts without a change of its output, by its configuration and by checks."""

import json
import math
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from helmframe._core.cache_files import cache_folder, digest, save
from helmframe._core.safe_text import error_text
from helmframe.models.engine.attention import NotPackedError
from helmframe.models.engine.linear import Timed
from helmframe.models.engine.memory import Heads, is_out_of_memory
from helmframe.models.engine.passes import read_packed, read_padded
from helmframe.models.engine.planner import Ids, Step

Way = Literal["packed", "cached", "plain"]
# Kinds of layers that store keys and values of single tokens.
ATTENDING = {"full_attention", "sliding_attention", "chunked_attention"}
# Kinds of RoPE whose angles depend on the length of the text.
OF_LENGTH = {"dynamic", "longrope"}


@dataclass(frozen=True)
class Choice:
    """The way in which texts are read, and the reason why it isn't a faster one.

    - `packed`: Many texts are one row, and shared tokens are read once.
    - `cached`: Texts are padded on the right in batches, and a shared start is read once.
    - `plain`: Texts of equal length are batches, and nothing is shared.

    Args:
        way: The way for texts of at most `max_length` tokens.
        why: The reason why `way` isn't `packed`, or isn't used for all texts.
        max_length: The maximum number of tokens, with generated tokens; None: no maximum.
        beyond: The way for longer texts.
    """

    way: Way
    why: str = ""
    max_length: int | None = None
    beyond: Way = "plain"

    def of(self, length: int) -> Way:
        """Return the way for a text of `length` tokens."""
        return self.way if self.max_length is None or length <= self.max_length else self.beyond

    def lowered(self, way: Way, why: str) -> "Choice":
        """Return the choice lowered to a slower way, with the reason."""
        if way == "plain" or self.beyond == "plain":
            return Choice(way, why, None if way == "plain" else self.max_length)
        return replace(self, way=way, why=why, max_length=None)

    def __str__(self) -> str:
        if self.way == "packed" and self.max_length is None:
            return "prompts are packed, and shared prefixes are read once"
        if self.way == "packed":
            beyond = f"longer prompts are {_PHRASES[self.beyond]} ({self.why})"
            return f"prompts of up to {self.max_length} tokens are packed, {beyond}"
        return f"prompts are {_PHRASES[self.way]} ({self.why})"


_PHRASES = {"packed": "packed", "cached": "padded", "plain": "read whole, in batches of equal length"}


def allowed_choice(model: Any) -> Choice:
    """Return the fastest choice that the model's configuration, class and hooks allow."""
    if _is_hooked(model):
        return Choice("plain", "a hook on the model may depend on positions")
    adapters = (getattr(model, "peft_config", None) or {}).values()
    if any(getattr(config, "is_prompt_learning", False) for config in adapters):
        return Choice("plain", "its adapter puts its own tokens before a text")
    return by_config(model.config, model)


def by_config(config: Any, kind: Any) -> Choice:
    """Return the fastest choice that a configuration allows; `kind` is the model or its class."""
    if getattr(config, "is_encoder_decoder", False):
        return Choice("plain", f"{config.model_type} is an encoder-decoder")
    config = config.get_text_config()
    name = config.model_type
    layers = set(getattr(config, "layer_types", None) or ())
    if getattr(kind, "_is_stateful", False) or layers - ATTENDING:
        return Choice("plain", f"{name} has layers with a recurrent state")
    if not getattr(config, "is_causal", True) or getattr(config, "use_bidirectional_attention", False):
        return Choice("plain", f"{name} attends to later tokens")
    choices = [_choice_by_window(config, layers), _choice_by_rope(config)]
    limited = [choice for choice in choices if choice.max_length is not None]
    allowed = Choice("packed")
    if limited:
        shortest = min(limited, key=lambda choice: choice.max_length or 0)
        # longer texts use the stricter of both choices
        beyond: Way = "plain" if any(choice.beyond == "plain" for choice in limited) else "cached"
        allowed = replace(shortest, beyond=beyond)
    if getattr(config, "attn_logit_softcapping", None):
        return allowed.lowered("cached", "its attention uses softcap")
    return allowed


def expectation(allowed: Choice) -> str:
    """Return the note about a choice that is not checked yet."""
    check = "; a check before the first prompt confirms this, or chooses a slower way" if allowed.way != "plain" else ""
    return f"by the model's configuration, {allowed}{check}"


def _choice_by_window(config: Any, layers: set[str]) -> Choice:
    """Return the choice for a sliding window or for attention in chunks, into which short texts fit."""
    windows = {}
    if "sliding_attention" in layers or (not layers and getattr(config, "use_sliding_window", True)):
        windows["a sliding window"] = getattr(config, "sliding_window", None)
    if "chunked_attention" in layers or not layers:
        windows["attention in chunks"] = getattr(config, "attention_chunk_size", None)
    sizes = {name: int(size) for name, size in windows.items() if size}
    if not sizes:
        return Choice("packed")
    name = min(sizes, key=lambda label: sizes[label])
    return Choice("packed", f"{name} of {sizes[name]} tokens", sizes[name], "cached")


def _choice_by_rope(config: Any) -> Choice:
    """Return the choice for RoPE whose angles depend on the length of texts beyond the trained length."""
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    kinds = [parameters for parameters in rope.values() if isinstance(parameters, Mapping)] or [rope]
    limits = {}
    for parameters in kinds:
        kind = parameters.get("rope_type") or parameters.get("type")
        if kind in OF_LENGTH:
            trained = parameters.get("original_max_position_embeddings") if kind == "longrope" else None
            trained = trained or getattr(config, "original_max_position_embeddings", None)
            limits[kind] = int(trained or config.max_position_embeddings)
    if not limits:
        return Choice("packed")
    kind = min(limits, key=lambda name: limits[name])
    return Choice("packed", f"{kind} RoPE depends on the length beyond {limits[kind]} tokens", limits[kind], "plain")


def _is_hooked(model: Any) -> bool:
    return any(vars(module)["_forward_hooks"] or vars(module)["_forward_pre_hooks"] for module in model.modules())


# The number of tokens that the texts of a trial share, and the number of further tokens of each text. The last two
# texts share SHARED further tokens.
START = 24
SUFFIXES = (5, 9, 4)
SHARED = 2
# The minimum of shared tokens of a conclusive trial.
SHORTEST = 4
# The effect of the order of additions, relative to the largest logit. In bfloat16 it is up to 2e-2 with SmolLM2-135M,
# and 1e-2 with tiny random models of 50 architectures (unless other experts are used); in float16 4e-3 and 1e-3.
NOISE = {"torch.float64": 1e-9, "torch.float32": 2e-5, "torch.float16": 1e-2, "torch.bfloat16": 4e-2}
# A different start must change logits by this multiple of the noise, or the trial can't detect that a start is ignored.
# In bfloat16 it changes them by 0.5 of the largest logit of SmolLM2-135M.
CLEAR = 3
# The tokens of the timed passes, large enough to keep a GPU busy, and of their longest texts.
SIZES = {"cpu": (4, 16, 64), "mps": (64, 256, 1024), "cuda": (512, 2048, 8192)}
LENGTH = 64
# The maximum of tokens that a pass is worth, because times on a busy machine are noisy.
MOST = {"cpu": 1024, "mps": 2048, "cuda": 8192}


@dataclass(frozen=True)
class Cost:
    """The cost of a forward pass in seconds: `once` is fixed, and `token` is per token."""

    once: float
    token: float
    max_worth: float = math.inf

    @property
    def worth(self) -> float:
        """Return the number of tokens whose cost equals that of one more pass, at most `max_worth`."""
        return min(self.once / max(self.token, 1e-9), self.max_worth)


@dataclass(frozen=True, eq=False)
class Trial:
    """Random texts, and their logits of plain passes at all positions after the shared start.

    Args:
        texts: The texts in lexical order.
        start: The number of tokens that the texts share.
        reference: The logits of each text.
        changed: The logits of the first text after a different start.
    """

    texts: list[Ids]
    start: int
    reference: list[Any]
    changed: Any

    @classmethod
    def of(cls, model: Any, max_length: int | None) -> "Trial | None":
        """Return a trial with texts of at most `max_length` tokens; None if these are too few."""
        start = START if max_length is None else min(START, max_length - max(SUFFIXES))
        if start < SHORTEST:
            return None
        size = int(model.get_input_embeddings().weight.shape[0])
        draw = np.random.default_rng(0)
        head = draw.integers(0, size, start)
        suffixes = [draw.integers(0, size, length) for length in SUFFIXES]
        suffixes[2][:SHARED] = suffixes[1][:SHARED]
        texts = sorted((np.concatenate([head, suffix]) for suffix in suffixes), key=lambda text: text.tolist())
        other = np.concatenate([(head + 1) % size, texts[0][start:]])
        reference = [_plain_logits(model, text, start) for text in texts]
        return cls(texts, start, reference, _plain_logits(model, other, start))

    def fault(self, model: Any, way: Way) -> str:
        """Return the reason why the model computes other numbers this way; "" if it doesn't."""
        limit = NOISE.get(str(model.dtype), NOISE["torch.bfloat16"])
        scale = max(float(logits.abs().max()) for logits in self.reference)
        if not float((self.changed - self.reference[0]).abs().max()) > CLEAR * limit * scale:
            return "a check with random tokens was inconclusive"
        try:
            results = [logits for step in self._steps(way) for logits in self._logits(model, way, step)]
        except NotPackedError as error:
            return str(error)
        except Exception as error:  # a model may raise errors of any type for unknown arguments
            if is_out_of_memory(error):  # memory is not a fault of the way
                raise
            return " ".join(f"the check failed: {error_text(error)}".split())[:200]
        pairs = list(zip(results, 2 * self.reference, strict=True))
        for result, expected_logits in pairs:
            # one by one, because the maximum of numbers and NaN may be a number
            if not (difference := float((result - expected_logits).abs().max())) <= limit * scale:
                return f"logits of the check differ by {difference / scale:.0e} of the largest logit"
        n_moved = sum(_moved(result, expected_logits, limit * scale) for result, expected_logits in pairs)
        return f"{n_moved} of the likeliest tokens of the check differ" if n_moved else ""

    def _steps(self, way: Way) -> list[Step]:
        """Return steps that read the start as a head, and steps without a head."""
        pairs = {tuple(text[self.start : self.start + SHARED]): [] for text in self.texts}  # type: dict[Any, list[int]]
        for index, text in enumerate(self.texts):
            pairs[tuple(text[self.start : self.start + SHARED])].append(index)
        single = [[index] for index in range(len(self.texts))]
        if way == "packed":
            return [Step(self.start, list(pairs.values())), Step(0, [list(range(len(self.texts)))])]
        return [Step(self.start, single), Step(0, single)]

    def _logits(self, model: Any, way: Way, step: Step) -> list[Any]:
        wanted = [self.start] * len(self.texts)
        if way == "packed":
            logits, rows, _ = read_packed(model, step, self.texts, wanted, Heads(0), keep=False)
        else:
            logits, rows, _ = read_padded(model, step, self.texts, wanted, Heads(0), keep=False)
        return [logits[rows[index].to(logits.device)].float() for index in range(len(self.texts))]


def checked_choice(model: Any, allowed: Choice, trial: Trial | None) -> Choice:
    """Return the allowed choice, lowered to a way whose logits equal those of plain passes."""
    if trial is None:
        return allowed.lowered("plain", allowed.why)
    result = allowed
    if allowed.way == "packed" and (problem := trial.fault(model, "packed")):
        result = result.lowered("cached", problem)
    if "cached" in (result.way, result.max_length and result.beyond) and (problem := trial.fault(model, "cached")):
        result = (
            Choice(result.way, result.why, result.max_length) if result.way == "packed" else Choice("plain", problem)
        )
    return result


def cost(model: Any, way: Way, max_length: int | None) -> Cost:
    """Measure the cost of a pass on this machine, with passes of a few sizes over texts of at most `max_length` tokens.

    Sizes that don't fit into memory are skipped. With fewer than two sizes, one more pass is worth no token.
    """
    length = LENGTH if max_length is None else min(LENGTH, max_length)
    kind = model.device.type
    times: dict[int, float] = {}
    try:
        for tokens in SIZES.get(kind, SIZES["cpu"]):
            text_length = min(tokens, length)
            count = tokens // text_length
            times[count * text_length] = min(_seconds(model, way, count, text_length) for _ in range(2))
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    if len(times) < 2:
        return Cost(0.0, 1.0)
    token, once = np.polyfit(list(times), list(times.values()), 1)
    return Cost(max(float(once), 0.0), max(float(token), 1e-9), MOST.get(kind, MOST["cpu"]))


@dataclass(frozen=True)
class Preparation:
    """The checks and timings before the first prompt, which later processes reuse.

    Args:
        choice: The choice that the configuration allows and the checks confirmed.
        cost: The cost of a pass; None for texts that are read plainly.
        linears: The speed-ups of linear layers.
    """

    choice: Choice
    cost: Cost | None
    linears: Sequence[Timed]

    @classmethod
    def load(cls, path: Path) -> "Preparation | None":
        """Return the preparation of a file; None if the file is missing or unreadable."""
        try:
            saved = json.loads(path.read_bytes())
            cost = None if saved["cost"] is None else Cost(**saved["cost"])
            return cls(Choice(**saved["choice"]), cost, [Timed(**timing) for timing in saved["linears"]])
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def save(self, path: Path) -> None:
        """Write the file, unless the folder is read-only."""
        save(path, json.dumps(asdict(self)))


def preparation_file(model: Any, fingerprint: str) -> Path:
    """Return the file of a model's preparation: in the user's cache, by all that checks and timings depend on.

    Args:
        model: The model, on its device.
        fingerprint: The hash of the model's files and options.
    """
    import torch
    import transformers

    device = model.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu()
    settings = sorted(f"{name}={value}" for name, value in os.environ.items() if name.startswith(_SETTINGS))
    code = [path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parent.glob("*.py"))]
    machine = (torch.__version__, transformers.__version__, str(device), name, str(torch.get_num_threads()))
    key = digest("preparation", fingerprint, str(model.dtype), *machine, *settings, *code)
    return cache_folder("engine") / f"{key[:32]}.json"


# The environment variables of torch's libraries that change timings and sums.
_SETTINGS = ("ATEN_", "DNNL_", "KMP_", "MKL_", "OMP_", "ONEDNN_", "PYTORCH_", "TORCH_")


def _cpu() -> str:
    """Return the name and the features of the CPU."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    except OSError:  # another system than Linux
        return f"{platform.machine()} {platform.processor()}"
    named = ("vendor_id", "cpu family", "model", "model name", "flags", "Features")
    return "\n".join(line for line in lines if line.split("\t")[0].strip() in named)


def _seconds(model: Any, way: Way, count: int, length: int) -> float:
    """Return the seconds of a pass over `count` texts of this length."""
    size = int(model.get_input_embeddings().weight.shape[0])
    texts = list(np.random.default_rng(count * length).integers(0, size, (count, length)))
    step, wanted = Step(0, [[index] for index in range(count)]), [length - 1] * count
    started = time.perf_counter()
    if way == "packed":
        logits = read_packed(model, step, texts, wanted, Heads(0), keep=False)[0]
    else:
        logits = read_padded(model, step, texts, wanted, Heads(0), keep=False)[0]
    float(logits[0, 0])  # waits for the device
    return time.perf_counter() - started


def _moved(logits: Any, reference: Any, limit: float) -> int:
    """Return the number of positions with a new likeliest token; near ties of the reference don't count."""
    first, second = reference.topk(2, dim=-1).values.unbind(-1)
    return int(((logits.argmax(-1) != reference.argmax(-1)) & (first - second > limit)).sum())


def _plain_logits(model: Any, text: Ids, start: int) -> Any:
    import torch

    return model(input_ids=torch.from_numpy(text)[None].to(model.device), use_cache=False).logits[0, start:].float()
