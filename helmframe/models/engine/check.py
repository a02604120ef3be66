"""Checks of fast ways to read, with the model itself: their logits must equal those of plain passes."""

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from helmframe._core.safe_text import error_text
from helmframe.models.engine.attention import NotPackedError
from helmframe.models.engine.gates import Choice, Way
from helmframe.models.engine.heads import Heads
from helmframe.models.engine.memory import is_out_of_memory
from helmframe.models.engine.packed import read_packed
from helmframe.models.engine.padded import read_padded
from helmframe.models.engine.planner import Step
from helmframe.models.engine.trie import Ids

# Tokens that the texts of a trial share, and tokens after that of each; the last two texts share SHARED of these.
START = 24
SUFFIXES = (5, 9, 4)
SHARED = 2
# A shorter start shows nothing.
SHORTEST = 4
# Relative to the largest logit: the effect of the order of additions. In bfloat16 up to 2e-2 with SmolLM2-135M, and
# 1e-2 with tiny random models of 50 architectures (unless other experts run); in float16 4e-3 and 1e-3.
NOISE = {"torch.float64": 1e-9, "torch.float32": 2e-5, "torch.float16": 1e-2, "torch.bfloat16": 4e-2}
# Another start must change logits by this multiple of the noise; else the check could not see that a start is
# ignored. In bfloat16 it changes 0.5 of the largest logit of SmolLM2-135M.
CLEAR = 3
# Tokens of the passes that are timed, and of their longest texts: a GPU is not busy with fewer.
SIZES = {"cpu": (4, 16, 64), "mps": (64, 256, 1024), "cuda": (512, 2048, 8192)}
LENGTH = 64
# The most tokens that a pass is worth: times on a busy machine are noisy.
MOST = {"cpu": 1024, "mps": 2048, "cuda": 8192}


@dataclass(frozen=True)
class Cost:
    """Seconds of a forward pass: a fixed part, and a part per token."""

    once: float
    token: float
    most: float = math.inf

    @property
    def worth(self) -> float:
        """Return how many tokens cost as much as one more pass, at most `most`."""
        return min(self.once / max(self.token, 1e-9), self.most)


@dataclass(frozen=True, eq=False)
class Trial:
    """Texts, and their logits by plain passes at all positions after the common start.

    Args:
        texts: The texts in lexical order.
        start: The number of tokens that they share.
        reference: The logits of each text.
        changed: The logits of the first text after a different start.
    """

    texts: list[Ids]
    start: int
    reference: list[Any]
    changed: Any

    @classmethod
    def of(cls, model: Any, most: int | None) -> "Trial | None":
        """Return a trial with texts of at most `most` tokens; None if that is too few."""
        start = START if most is None else min(START, most - max(SUFFIXES))
        if start < SHORTEST:
            return None
        size = int(model.get_input_embeddings().weight.shape[0])
        draw = np.random.default_rng(0)
        head = draw.integers(0, size, start)
        suffixes = [draw.integers(0, size, length) for length in SUFFIXES]
        suffixes[2][:SHARED] = suffixes[1][:SHARED]
        texts = sorted((np.concatenate([head, suffix]) for suffix in suffixes), key=lambda text: text.tolist())
        other = np.concatenate([(head + 1) % size, texts[0][start:]])
        reference = [_plainly(model, text, start) for text in texts]
        return cls(texts, start, reference, _plainly(model, other, start))

    def fault(self, model: Any, way: Way) -> str:
        """Return why the texts can't be read this way; "" if they can."""
        limit = NOISE.get(str(model.dtype), NOISE["torch.bfloat16"])
        scale = max(float(logits.abs().max()) for logits in self.reference)
        if not float((self.changed - self.reference[0]).abs().max()) > CLEAR * limit * scale:
            return "a check with random tokens can't tell right from wrong"
        try:
            results = [logits for step in self._steps(way) for logits in self._by(model, way, step)]
        except NotPackedError as error:
            return str(error)
        except Exception as error:  # a model's code may raise anything for unknown arguments
            if is_out_of_memory(error):  # not a fault of the way
                raise
            return " ".join(f"it fails so: {error_text(error)}".split())[:200]
        pairs = list(zip(results, 2 * self.reference, strict=True))
        for result, expected_logits in pairs:
            # one by one: the largest of numbers and NaN may be a number
            if not (difference := float((result - expected_logits).abs().max())) <= limit * scale:
                return f"its logits differ by {difference / scale:.0e} of the largest so"
        n_moved = sum(_moved(result, expected_logits, limit * scale) for result, expected_logits in pairs)
        return f"{n_moved} of its likeliest tokens are others so" if n_moved else ""

    def _steps(self, way: Way) -> list[Step]:
        """Return steps that read the start as a head, and steps that read nothing before."""
        pairs = {tuple(text[self.start : self.start + SHARED]): [] for text in self.texts}  # type: dict[Any, list[int]]
        for index, text in enumerate(self.texts):
            pairs[tuple(text[self.start : self.start + SHARED])].append(index)
        alone = [[index] for index in range(len(self.texts))]
        if way == "packed":
            return [Step(self.start, list(pairs.values())), Step(0, [list(range(len(self.texts)))])]
        return [Step(self.start, alone), Step(0, alone)]

    def _by(self, model: Any, way: Way, step: Step) -> list[Any]:
        wanted = [self.start] * len(self.texts)
        if way == "packed":
            logits, rows, _ = read_packed(model, step, self.texts, wanted, Heads(0), keep=False)
        else:
            logits, rows, _ = read_padded(model, step, self.texts, wanted, Heads(0), keep=False)
        return [logits[rows[index].to(logits.device)].float() for index in range(len(self.texts))]


def checked_choice(model: Any, allowed: Choice, trial: Trial | None) -> Choice:
    """Return the allowed way if its logits equal those of plain passes, else the next way whose logits do."""
    if trial is None:
        return allowed.lowered("plain", allowed.why)
    result = allowed
    if allowed.way == "packed" and (problem := trial.fault(model, "packed")):
        result = result.lowered("cached", problem)
    if "cached" in (result.way, result.most and result.beyond) and (problem := trial.fault(model, "cached")):
        result = Choice(result.way, result.why, result.most) if result.way == "packed" else Choice("plain", problem)
    return result


def cost(model: Any, way: Way, most: int | None) -> Cost:
    """Measure the cost of a pass on this machine, by passes of a few sizes over texts of at most `most` tokens.

    Sizes that do not fit into memory are skipped; with fewer than two sizes an additional pass is worth nothing.
    """
    length = LENGTH if most is None else min(LENGTH, most)
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


def _seconds(model: Any, way: Way, count: int, length: int) -> float:
    """Return the seconds of a pass over `count` texts of one length."""
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
    """Count positions where another token is the likeliest, though the top two reference logits differ by more than
    `limit`.
    """
    first, second = reference.topk(2, dim=-1).values.unbind(-1)
    return int(((logits.argmax(-1) != reference.argmax(-1)) & (first - second > limit)).sum())


def _plainly(model: Any, text: Ids, start: int) -> Any:
    import torch

    return model(input_ids=torch.from_numpy(text)[None].to(model.device), use_cache=False).logits[0, start:].float()
