"""Reads tokens: what a model says after prompts, and the keys and values by which it can go on from them."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from helmframe.models.engine import trie
from helmframe.models.engine.angles import reset
from helmframe.models.engine.check import Cost, Trial, checked, cost
from helmframe.models.engine.gates import Choice, Way, choice
from helmframe.models.engine.heads import ROOM, Heads
from helmframe.models.engine.linear import Timed, overall, prepack
from helmframe.models.engine.packed import Kept, read_packed
from helmframe.models.engine.padded import of_equal_length, read_padded, read_plain
from helmframe.models.engine.planner import Limits, Step, plan
from helmframe.models.engine.trie import Ids, Sorted

__all__ = ["Kept", "Part", "Read", "Reader", "Wanted", "is_out_of_memory", "prefill"]

logger = logging.getLogger("helmframe.models")

# Tokens of a forward pass; on a CPU, of each thread. More are not faster there, and attention to all of them slower.
TOKENS = {"cpu": 256, "mps": 2048, "cuda": 8192}
# Logits held at once: tokens × words of the vocabulary. 400 MB in float32.
LOGITS = 100_000_000


class Wanted(NamedTuple):
    """A text to read, and the first place in it whose successor's probabilities are wanted; so are all after it."""

    tokens: Sequence[int]
    first: int


class Part(NamedTuple):
    """What was read in one forward pass.

    Of the text `places[i]`, what is said of each place wanted is in `logits[rows[i]]`, and its keys and values are in
    `kept[i]`, if asked for. Where one text alone does not fit the memory there is nothing but `error`.
    """

    places: list[int]
    logits: Any
    rows: list[Any]
    kept: list[Kept]
    error: MemoryError | None = None


@dataclass(frozen=True, eq=False)
class Read:
    """What reading rows gave.

    Args:
        logits: [rows, words], float32, at each row's last position.
        kept: of each row, in order; empty if not asked for.
    """

    logits: Any
    kept: Sequence[Kept]


@dataclass(eq=False)
class Reader:
    """A model as the engine reads with it.

    Args:
        model: in evaluation mode and without gradients whenever it is read with.
        lasting: whether its weights are the engine's own: what texts share is then kept from one call to the next, and
            linear layers may be replaced by faster ones.
        tokens: of a pass; 0 until the device and its memory have said.
        linears: how much faster than torch's own the layers are that replaced them.
    """

    model: Any
    lasting: bool = False
    tokens: int = 0
    linears: list[Timed] = field(default_factory=list)
    _choices: dict[Choice, Choice] = field(default_factory=dict)
    _cost: Cost | None = None
    _heads: Heads = field(default_factory=lambda: Heads(0))

    def choice(self) -> Choice:
        """How texts are read: what the configuration allows, as far as a check against plain passes bears it out."""
        allowed = choice(self.model)
        if allowed not in self._choices:
            self._prepare(allowed)
        return self._choices[allowed]

    def read(self, texts: Sequence[Wanted], *, keep: bool = False) -> Iterator[Part]:
        """All texts, a part after each forward pass; what they share is computed once, where the model allows it.

        Out of memory, passes become smaller, and nothing is read twice.

        Args:
            texts: none is empty, or longer than the window.
            keep: whether keys and values are wanted; only of texts that are read packed.
        """
        chosen = self.choice()
        ways: dict[Way, list[int]] = {}
        for place, text in enumerate(texts):
            ways.setdefault(chosen.of(len(text.tokens)), []).append(place)
        try:
            for way, places in ways.items():
                for part in self._in_memory(way, [texts[place] for place in places], keep=keep):
                    yield part._replace(places=[places[place] for place in part.places])
        finally:
            if not self.lasting:
                self.forget()

    def state(self) -> str:
        """What was chosen last, and what was gained by it."""
        if not self._choices:
            return "how prompts are read is chosen at the first one"
        gained = f"; linear layers {overall(self.linears):.1f} times as fast by oneDNN" if self.linears else ""
        return f"{list(self._choices.values())[-1]}{gained}"

    def forget(self) -> None:
        """What texts share is read anew."""
        self._heads.clear()

    def _prepare(self, allowed: Choice) -> None:
        device = self.model.device.type
        if not self.tokens:
            self.tokens = TOKENS.get(device, TOKENS["cpu"]) * (_threads() if device == "cpu" else 1)
            self._heads = Heads(ROOM.get(device, ROOM["cpu"]))
        trial = None if allowed.way == "plain" else Trial.of(self.model, allowed.most)
        if self.lasting and not self._choices:
            self.linears = prepack(self.model)
        found = self._choices[allowed] = checked(self.model, allowed, trial)
        logger.info("%s: %s", type(self.model).__name__, found)
        if self._cost is None and found.way != "plain":
            self._cost = cost(self.model, found.way, found.most)

    def _in_memory(self, way: Way, texts: Sequence[Wanted], *, keep: bool) -> Iterator[Part]:
        """The texts, in passes that become smaller each time one does not fit the memory."""
        waiting = list(range(len(texts)))
        while waiting:
            done: set[int] = set()
            try:
                for part in self._passes(way, [texts[place] for place in waiting], keep=keep):
                    places = [waiting[place] for place in part.places]
                    done.update(places)
                    yield part._replace(places=places)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                self.tokens = max(1, self.tokens // 2)
                logger.info("out of memory: %d tokens a pass from now on", self.tokens)
            waiting = [place for place in waiting if place not in done]

    def _passes(self, way: Way, texts: Sequence[Wanted], *, keep: bool) -> Iterator[Part]:
        """The texts, pass by pass.

        Raises:
            RuntimeError: a pass over several texts does not fit the memory.
        """
        ordered = trie.in_order([text.tokens for text in texts])
        wanted = [len(text) for text in ordered.texts]
        users: list[list[int]] = [[] for _ in wanted]
        for place, (text, unique) in enumerate(zip(texts, ordered.places, strict=True)):
            wanted[unique] = min(wanted[unique], text.first)
            users[unique].append(place)
        for step in self._steps(way, ordered, wanted):
            read = [place for block in step.blocks for place in block]
            asked = [(place, unique) for unique in read for place in users[unique]]
            places = [place for place, _ in asked]
            try:
                logits, rows, kept = self._pass(way, step, ordered.texts, wanted, keep=keep)
            except RuntimeError as error:
                if len(read) > 1 or not is_out_of_memory(error):
                    raise
                said = f"a prompt of {len(ordered.texts[read[0]])} tokens does not fit the memory: {error}"
                yield Part(places, None, [], [], MemoryError(said))
                continue
            found = [rows[unique][texts[place].first - wanted[unique] :].to(logits.device) for place, unique in asked]
            yield Part(places, logits, found, [kept[unique] for _, unique in asked] if keep else [])

    def _steps(self, way: Way, ordered: Sorted, wanted: Sequence[int]) -> Iterator[Step]:
        if way == "plain":
            return (Step(0, [[place] for place in places]) for places in of_equal_length(ordered.texts, self.tokens))
        words = int(self.model.config.get_text_config().vocab_size)
        worth = self._cost.worth if self._cost else 0.0
        limits = Limits(self.tokens, max(1, LOGITS // words), worth, tries=way == "packed")
        return plan(ordered, wanted, limits, self._heads.known)

    def _pass(
        self, way: Way, step: Step, texts: Sequence[Ids], wanted: Sequence[int], *, keep: bool
    ) -> tuple[Any, dict[int, Any], dict[int, Kept]]:
        reset(self.model)
        if way == "packed":
            return read_packed(self.model, step, texts, wanted, self._heads, keep=keep)
        if way == "cached":
            return *read_padded(self.model, step, texts, wanted, self._heads), {}
        return *read_plain(self.model, [place for block in step.blocks for place in block], texts, wanted), {}


def prefill(reader: Reader, rows: Sequence[Sequence[int]], *, keep: bool) -> Read:
    """Each row read to its end; rows that begin alike, or are the same, are computed once as far as they are.

    Call it with the model in evaluation mode and without gradients, under the engine's lock.

    Args:
        reader: whose choice for rows of such lengths is `packed`, if keys and values are wanted.
        rows: token ids, none of them empty, none longer than the window.
        keep: whether keys and values are wanted.

    Raises:
        MemoryError: a row alone does not fit the memory.
    """
    import torch

    logits: list[Any] = [None] * len(rows)
    kept: list[Any] = [None] * len(rows)
    for part in reader.read([Wanted(row, len(row) - 1) for row in rows], keep=keep):
        if part.error is not None:
            raise part.error
        for place, found in zip(part.places, part.rows, strict=True):
            logits[place] = part.logits[found[-1]]
        for place, each in zip(part.places, part.kept, strict=False):
            kept[place] = each
    return Read(torch.stack(logits).float(), kept if keep else [])


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch says that there is no memory, of whichever device."""
    text = str(error).lower()
    return "out of memory" in text or "allocate memory" in text or "not enough memory" in text


def _threads() -> int:
    import torch

    return torch.get_num_threads()
