"""Reads tokens: what a model says after prompts, and the keys and values by which it can go on from them."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from helmframe.models.engine import trie
from helmframe.models.engine.angles import reset
from helmframe.models.engine.check import Cost, Trial, checked, cost
from helmframe.models.engine.gates import Choice, Way, choice, expected
from helmframe.models.engine.heads import Heads
from helmframe.models.engine.linear import Timed, overall, prepack
from helmframe.models.engine.memory import budgets, is_out_of_memory
from helmframe.models.engine.packed import Kept, read_packed
from helmframe.models.engine.padded import has_choice, of_equal_length, read_padded, read_plain
from helmframe.models.engine.planner import Limits, Step, plan
from helmframe.models.engine.trie import Ids, Sorted

__all__ = ["Kept", "Part", "Read", "Reader", "Wanted", "prefill"]

logger = logging.getLogger("helmframe.models")

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
        lasting: whether its weights are the engine's own: linear layers may then be replaced by faster ones. Where they
            are not, `forget` before they may have changed: what texts share is kept.
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
        """How texts are read: what the configuration allows, as far as a check against plain passes bears it out.

        Raises:
            MemoryError: there is none left for the check, which is tried again the next time.
        """
        allowed = choice(self.model)
        if allowed not in self._choices:
            try:
                self._prepare(allowed)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                said = "out of memory before the first prompt: beside the model there is no room for a few short texts"
                raise MemoryError(f"{said}: {error}") from error
        return self._choices[allowed]

    def read(self, texts: Sequence[Wanted], *, keep: bool = False) -> Iterator[Part]:
        """All texts, a part after each forward pass; what they share is computed once, where the model allows it.

        Out of memory, what is kept of texts before goes first, then passes become smaller; no text is read twice.

        Args:
            texts: none is empty, or longer than the window.
            keep: whether keys and values are wanted; there are none of texts that are read plainly.
        """
        chosen = self.choice()
        ways: dict[Way, list[int]] = {}
        for place, text in enumerate(texts):
            ways.setdefault(chosen.of(len(text.tokens)), []).append(place)
        for way, places in ways.items():
            for part in self._in_memory(way, [texts[place] for place in places], keep=keep):
                yield part._replace(places=[places[place] for place in part.places])

    def state(self) -> str:
        """What was chosen, one after the other where hooks came or went, and what was gained by it."""
        if not self._choices:
            return expected(choice(self.model))
        gained = ""
        if self.linears:
            gained = f"; linear layers {overall(self.linears):.1f} times as fast by oneDNN in passes of few tokens"
        chosen = dict.fromkeys(map(_as_borne_out, self._choices.values()))
        return f"{', then '.join(chosen)}{gained}"

    def forget(self) -> None:
        """What texts share is read anew."""
        self._heads.clear()

    def make_room(self) -> bool:
        """Out of memory: let go what texts share, and keep less of it from now on; whether that frees any."""
        freed = self._heads.make_room()
        if freed:
            logger.info("out of memory: %.1f MB of what prompts share are let go", freed / 1e6)
        return freed > 0

    def _prepare(self, allowed: Choice) -> None:
        if not self.tokens:
            self.tokens, room = budgets(self.model.device)
            self._heads = Heads(room)
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
        logits = max(1, LOGITS // int(self.model.config.get_text_config().vocab_size))
        worth = self._cost.worth if self._cost else 0.0
        limits = Limits(self.tokens, logits, worth, tries=way == "packed", chosen=has_choice(self.model))
        if way == "plain":
            parts = of_equal_length(ordered.texts, wanted, limits)
            return (Step(0, [[place] for place in places]) for places in parts)
        return plan(ordered, wanted, limits, self._heads.known)

    def _pass(
        self, way: Way, step: Step, texts: Sequence[Ids], wanted: Sequence[int], *, keep: bool
    ) -> tuple[Any, dict[int, Any], dict[int, Kept]]:
        try:
            return self._read(way, step, texts, wanted, keep=keep)
        except RuntimeError as error:
            if not is_out_of_memory(error) or not self.make_room():
                raise
        # here, where the error no longer holds what the pass had
        return self._read(way, step, texts, wanted, keep=keep)

    def _read(
        self, way: Way, step: Step, texts: Sequence[Ids], wanted: Sequence[int], *, keep: bool
    ) -> tuple[Any, dict[int, Any], dict[int, Kept]]:
        reset(self.model)
        if way == "packed":
            return read_packed(self.model, step, texts, wanted, self._heads, keep=keep)
        if way == "cached":
            return read_padded(self.model, step, texts, wanted, self._heads, keep=keep)
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


def _as_borne_out(chosen: Choice) -> str:
    return str(chosen) if chosen.way == "plain" else f"{chosen}, as a check against plain passes bears out"
