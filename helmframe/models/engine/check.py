"""Whether a way of reading says what plain passes say: tried with the model itself, before it is relied on."""

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

# The start that the texts of a trial share, and what each has of its own; the last two begin alike.
START = 24
OWN = (5, 9, 4)
ALIKE = 2
# The shortest start that says anything.
SHORTEST = 4
# Of the largest logit: what the order of additions may change. In bfloat16 it changes up to 2e-2 with SmolLM2-135M, and
# 1e-2 with tiny random models of 50 architectures (unless other experts are asked); in float16 4e-3 and 1e-3.
NOISE = {"torch.float64": 1e-9, "torch.float32": 2e-5, "torch.float16": 1e-2, "torch.bfloat16": 4e-2}
# So many times the noise another start must change, or the check would not see that a text is read without it. In
# bfloat16 it changes 0.5 of the largest logit of SmolLM2-135M.
CLEAR = 3
# Tokens of the passes that are timed, in texts of at most so many: a GPU is not busy with fewer.
SIZES = {"cpu": (4, 16, 64), "mps": (64, 256, 1024), "cuda": (512, 2048, 8192)}
LENGTH = 64
# Tokens that a pass is worth at most, whatever a busy machine makes of its times.
MOST = {"cpu": 1024, "mps": 2048, "cuda": 8192}


@dataclass(frozen=True)
class Cost:
    """Seconds of a forward pass: for each, and for each of its tokens."""

    once: float
    token: float
    most: float = math.inf

    @property
    def worth(self) -> float:
        """How many tokens cost as much as a pass of its own; at most so many."""
        return min(self.once / max(self.token, 1e-9), self.most)


@dataclass(frozen=True, eq=False)
class Trial:
    """Texts, and what plain passes say of each at the places after their common start.

    Args:
        texts: in lexical order.
        start: tokens they share.
        said: logits of each text.
        changed: of the first, once its start is another.
    """

    texts: list[Ids]
    start: int
    said: list[Any]
    changed: Any

    @classmethod
    def of(cls, model: Any, most: int | None) -> "Trial | None":
        """A trial with texts of at most so many tokens; None where these are too few."""
        start = START if most is None else min(START, most - max(OWN))
        if start < SHORTEST:
            return None
        size = int(model.get_input_embeddings().weight.shape[0])
        draw = np.random.default_rng(0)
        head = draw.integers(0, size, start)
        owns = [draw.integers(0, size, length) for length in OWN]
        owns[2][:ALIKE] = owns[1][:ALIKE]
        texts = sorted((np.concatenate([head, own]) for own in owns), key=lambda text: text.tolist())
        other = np.concatenate([(head + 1) % size, texts[0][start:]])
        said = [_plainly(model, text, start) for text in texts]
        return cls(texts, start, said, _plainly(model, other, start))

    def fault(self, model: Any, way: Way) -> str:
        """Why the texts can't be read this way; "" where they can."""
        limit = NOISE.get(str(model.dtype), NOISE["torch.bfloat16"])
        scale = max(float(each.abs().max()) for each in self.said)
        if not float((self.changed - self.said[0]).abs().max()) > CLEAR * limit * scale:
            return "a check with random tokens can't tell right from wrong"
        try:
            found = [logits for step in self._steps(way) for logits in self._by(model, way, step)]
        except NotPackedError as error:
            return str(error)
        except Exception as error:  # whatever a model's code says to arguments it does not know
            if is_out_of_memory(error):  # that says nothing about the way
                raise
            return " ".join(f"it fails so: {error_text(error)}".split())[:200]
        pairs = list(zip(found, 2 * self.said, strict=True))
        for one, other in pairs:
            # one by one: the largest of numbers and NaN may be a number
            if not (off := float((one - other).abs().max())) <= limit * scale:
                return f"its logits differ by {off / scale:.0e} of the largest so"
        moved = sum(_moved(one, other, limit * scale) for one, other in pairs)
        return f"{moved} of its likeliest tokens are others so" if moved else ""

    def _steps(self, way: Way) -> list[Step]:
        """With the start as a head, and with nothing read before."""
        pairs = {tuple(text[self.start : self.start + ALIKE]): [] for text in self.texts}  # type: dict[Any, list[int]]
        for place, text in enumerate(self.texts):
            pairs[tuple(text[self.start : self.start + ALIKE])].append(place)
        alone = [[place] for place in range(len(self.texts))]
        if way == "packed":
            return [Step(self.start, list(pairs.values())), Step(0, [list(range(len(self.texts)))])]
        return [Step(self.start, alone), Step(0, alone)]

    def _by(self, model: Any, way: Way, step: Step) -> list[Any]:
        wanted = [self.start] * len(self.texts)
        if way == "packed":
            logits, rows, _ = read_packed(model, step, self.texts, wanted, Heads(0), keep=False)
        else:
            logits, rows, _ = read_padded(model, step, self.texts, wanted, Heads(0), keep=False)
        return [logits[rows[place].to(logits.device)].float() for place in range(len(self.texts))]


def checked(model: Any, allowed: Choice, trial: Trial | None) -> Choice:
    """The allowed way, or the next one that says what plain passes say."""
    if trial is None:
        return allowed.lowered("plain", allowed.why)
    found = allowed
    if allowed.way == "packed" and (fault := trial.fault(model, "packed")):
        found = found.lowered("cached", fault)
    if "cached" in (found.way, found.most and found.beyond) and (fault := trial.fault(model, "cached")):
        found = Choice(found.way, found.why, found.most) if found.way == "packed" else Choice("plain", fault)
    return found


def cost(model: Any, way: Way, most: int | None) -> Cost:
    """What a pass costs on this machine, by passes of a few sizes, over texts of no more tokens than `most`.

    Sizes that the memory does not hold are left out; where fewer than two are left, a pass is worth nothing.
    """
    length = LENGTH if most is None else min(LENGTH, most)
    kind = model.device.type
    times: dict[int, float] = {}
    try:
        for tokens in SIZES.get(kind, SIZES["cpu"]):
            each = min(tokens, length)
            count = tokens // each
            times[count * each] = min(_seconds(model, way, count, each) for _ in range(2))
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    if len(times) < 2:
        return Cost(0.0, 1.0)
    token, once = np.polyfit(list(times), list(times.values()), 1)
    return Cost(max(float(once), 0.0), max(float(token), 1e-9), MOST.get(kind, MOST["cpu"]))


def _seconds(model: Any, way: Way, count: int, length: int) -> float:
    """Of a pass over so many texts of one length."""
    size = int(model.get_input_embeddings().weight.shape[0])
    texts = list(np.random.default_rng(count * length).integers(0, size, (count, length)))
    step, wanted = Step(0, [[place] for place in range(count)]), [length - 1] * count
    started = time.perf_counter()
    if way == "packed":
        logits = read_packed(model, step, texts, wanted, Heads(0), keep=False)[0]
    else:
        logits = read_padded(model, step, texts, wanted, Heads(0), keep=False)[0]
    float(logits[0, 0])  # a device may still be at it
    return time.perf_counter() - started


def _moved(found: Any, said: Any, limit: float) -> int:
    """At how many places another token is the likeliest, where the two that were differ by more than the limit."""
    first, second = said.topk(2, dim=-1).values.unbind(-1)
    return int(((found.argmax(-1) != said.argmax(-1)) & (first - second > limit)).sum())


def _plainly(model: Any, text: Ids, start: int) -> Any:
    import torch

    return model(input_ids=torch.from_numpy(text)[None].to(model.device), use_cache=False).logits[0, start:].float()
