"""Whether a way of reading says what plain passes say: tried with the model itself, before it is relied on."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from helmframe.models.engine.attention import NotPackedError
from helmframe.models.engine.gates import Choice, Way
from helmframe.models.engine.heads import Heads
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
# Of the largest logit: what the order of additions may change, in float32 and in shorter types.
NOISE = {"torch.float32": 2e-5, "torch.float64": 1e-9}
ROUGH = 5e-2
# Tokens of the passes that are timed.
SIZES = (4, 16, 64)
# Tokens that a pass is worth at most, whatever a busy machine makes of its times.
MOST = 1024


@dataclass(frozen=True)
class Cost:
    """Seconds of a forward pass: for each, and for each of its tokens."""

    once: float
    token: float

    @property
    def worth(self) -> float:
        """How many tokens cost as much as a pass of its own."""
        return min(self.once / max(self.token, 1e-9), MOST)


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
        limit = NOISE.get(str(model.dtype), ROUGH)
        scale = max(float(each.abs().max()) for each in self.said)
        if float((self.changed - self.said[0]).abs().max()) <= 10 * limit * scale:
            return "a check with random tokens can't tell right from wrong"
        try:
            found = [logits for step in self._steps(way) for logits in self._by(model, way, step)]
        except NotPackedError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - whatever a model's code says to arguments it does not know
            return " ".join(f"it fails so: {type(error).__name__}: {error}".split())[:200]
        off = max(float((one - other).abs().max()) for one, other in zip(found, 2 * self.said, strict=False))
        if not off <= limit * scale:
            return f"its logits differ by {off / scale:.0e} of the largest so"
        return ""

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
            logits, rows = read_padded(model, step, self.texts, wanted, Heads(0))
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
    """What a pass costs on this machine, by passes of a few sizes, none of more tokens than `most`."""
    times = []
    sizes = [each for each in SIZES if most is None or each <= most]
    if len(sizes) < 2:
        return Cost(0.0, 1.0)
    size = int(model.get_input_embeddings().weight.shape[0])
    for tokens in sizes:
        text = np.random.default_rng(tokens).integers(0, size, tokens)
        passes = []
        for _ in range(2):
            started = time.perf_counter()
            if way == "packed":
                logits = read_packed(model, Step(0, [[0]]), [text], [tokens - 1], Heads(0), keep=False)[0]
            else:
                logits = read_padded(model, Step(0, [[0]]), [text], [tokens - 1], Heads(0))[0]
            float(logits[0, 0])  # a device may still be at it
            passes.append(time.perf_counter() - started)
        times.append(min(passes))
    token, once = np.polyfit(sizes, times, 1)
    return Cost(max(float(once), 0.0), max(float(token), 1e-9))


def _plainly(model: Any, text: Ids, start: int) -> Any:
    import torch

    return model(input_ids=torch.from_numpy(text)[None].to(model.device), use_cache=False).logits[0, start:].float()
