"""The reader of prompts: it returns next-token logits, and the keys and values to continue from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from helmframe._core.safe_text import get_logger
from helmframe.models.engine.choice import (
    Choice,
    Cost,
    Preparation,
    Trial,
    Way,
    allowed_choice,
    checked_choice,
    cost,
    expectation,
    preparation_file,
)
from helmframe.models.engine.linear import Timed, overall, prepack
from helmframe.models.engine.memory import Heads, KeyValues, budgets, is_out_of_memory, retain_freed
from helmframe.models.engine.passes import has_choice, of_equal_length, read_packed, read_padded, read_plain
from helmframe.models.engine.planner import Ids, Limits, Sorted, Step, plan, sort_texts

__all__ = ["KeyValues", "Part", "Read", "Reader", "Wanted", "prefill"]

logger = get_logger("helmframe.models")

# The maximum of logits of a pass, tokens × vocabulary: 400 MB in float32.
LOGITS = 100_000_000


class Wanted(NamedTuple):
    """A text to read, and the first position from which on next-token logits are wanted."""

    tokens: Sequence[int]
    first: int


class Part(NamedTuple):
    """The result of one forward pass.

    The text `indices[i]` has the logits `logits[rows[i]]` at its wanted positions, and the keys and values
    `key_values[i]` if they were requested. If a single text does not fit into memory, only `error` is set.
    """

    indices: list[int]
    logits: Any
    rows: list[Any]
    key_values: list[KeyValues]
    error: MemoryError | None = None


@dataclass(frozen=True, eq=False)
class Read:
    """The result of reading rows.

    Args:
        logits: The logits at the last position of each row, [rows, vocabulary], float32.
        key_values: The keys and values of each row, in order; empty if not requested.
    """

    logits: Any
    key_values: Sequence[KeyValues]


@dataclass(eq=False)
class Reader:
    """A reader of texts with a model.

    Args:
        model: The model, which must be in evaluation mode, without gradients, during every read.
        lasting: Whether the engine owns the weights. Then linear layers may be replaced by faster ones. Else call
            `forget` before weights may change, because shared starts are cached.
        fingerprint: The hash of the model's files and options, by which checks and timings are cached on disk; "": they
            are repeated in every process.
        tokens: The maximum number of tokens of a pass; 0 until the device's memory is measured.
        linears: The speed-ups of the replaced layers.
    """

    model: Any
    lasting: bool = False
    fingerprint: str = ""
    tokens: int = 0
    linears: list[Timed] = field(default_factory=list)
    _choices: dict[Choice, Choice] = field(default_factory=dict)
    _cost: Cost | None = None
    _heads: Heads = field(default_factory=lambda: Heads(0))

    def choice(self) -> Choice:
        """Return the choice of how texts are read: the fastest way that the configuration allows and a check confirms.

        Raises:
            MemoryError: The check does not fit into memory. It is repeated next time.
        """
        allowed = allowed_choice(self.model)
        if allowed not in self._choices:
            try:
                self._prepare(allowed)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                reason = "out of memory before the first prompt: a few short texts don't fit next to the model"
                raise MemoryError(f"{reason}: {error}") from error
        return self._choices[allowed]

    def read(self, texts: Sequence[Wanted], *, keep: bool = False) -> Iterator[Part]:
        """Yield all texts, one part per forward pass; shared tokens are computed once if the model allows it.

        When memory runs out, cached starts are removed first, and then passes become smaller. No text is read twice.

        Args:
            texts: The texts; no text is empty or longer than the window.
            keep: Whether to return keys and values; texts that are read plainly have none.
        """
        chosen = self.choice()
        ways: dict[Way, list[int]] = {}
        for index, text in enumerate(texts):
            ways.setdefault(chosen.of(len(text.tokens)), []).append(index)
        for way, indices in ways.items():
            for part in self._read_in_memory(way, [texts[index] for index in indices], keep=keep):
                yield part._replace(indices=[indices[index] for index in part.indices])

    def state(self) -> str:
        """Return the choices, in order if hooks changed them, and the speed-up of replaced layers."""
        if not self._choices:
            return expectation(allowed_choice(self.model))
        speedup = ""
        if self.linears:
            speedup = f"; linear layers {overall(self.linears):.1f} times as fast with oneDNN in passes of few tokens"
        chosen = dict.fromkeys(map(_confirmed, self._choices.values()))
        return f"{', then '.join(chosen)}{speedup}"

    def forget(self) -> None:
        """Remove all cached starts."""
        self._heads.clear()

    def make_room(self) -> bool:
        """Remove cached starts when memory runs out, cache fewer from now on, and return whether memory was freed."""
        freed = self._heads.make_room()
        if freed:
            logger.info("Out of memory: removed %.1f MB of cached prefixes", freed / 1e6)
        return freed > 0

    def _prepare(self, allowed: Choice) -> None:
        if not self.tokens:
            self.tokens, room = budgets(self.model.device)
            self._heads = Heads(room)
            if self.model.device.type == "cpu":
                retain_freed()
        is_first = self.lasting and not self._choices
        file = preparation_file(self.model, self.fingerprint) if is_first and self.fingerprint else None
        saved = Preparation.load(file) if file else None
        if saved and saved.choice == allowed:
            self.linears, self._cost = prepack(self.model, saved.linears), saved.cost
            self._choices[allowed] = allowed
            logger.info("%s: %s, as an earlier process has checked", type(self.model).__name__, allowed)
            return
        trial = None if allowed.way == "plain" else Trial.of(self.model, allowed.max_length)
        if is_first:
            self.linears = prepack(self.model)
        confirmed = self._choices[allowed] = checked_choice(self.model, allowed, trial)
        logger.info("%s: %s", type(self.model).__name__, confirmed)
        if self._cost is None and confirmed.way != "plain":
            self._cost = cost(self.model, confirmed.way, confirmed.max_length)
        if file and confirmed == allowed:  # a failed check is repeated
            Preparation(allowed, self._cost, self.linears).save(file)

    def _read_in_memory(self, way: Way, texts: Sequence[Wanted], *, keep: bool) -> Iterator[Part]:
        """Yield the texts, in passes that become smaller each time that a pass does not fit into memory."""
        waiting = list(range(len(texts)))
        while waiting:
            done: set[int] = set()
            try:
                for part in self._passes(way, [texts[index] for index in waiting], keep=keep):
                    indices = [waiting[index] for index in part.indices]
                    done.update(indices)
                    yield part._replace(indices=indices)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                self.tokens = max(1, self.tokens // 2)
                logger.info("Out of memory: passes have at most %d tokens from now on", self.tokens)
            waiting = [index for index in waiting if index not in done]

    def _passes(self, way: Way, texts: Sequence[Wanted], *, keep: bool) -> Iterator[Part]:
        """Yield the texts, one part per pass.

        Raises:
            RuntimeError: A pass over several texts does not fit into memory.
        """
        ordered = sort_texts([text.tokens for text in texts])
        wanted = [len(text) for text in ordered.texts]
        users: list[list[int]] = [[] for _ in wanted]
        for index, (text, unique) in enumerate(zip(texts, ordered.indices, strict=True)):
            wanted[unique] = min(wanted[unique], text.first)
            users[unique].append(index)
        for step in self._steps(way, ordered, wanted):
            read = [index for block in step.blocks for index in block]
            pairs = [(index, unique) for unique in read for index in users[unique]]
            indices = [index for index, _ in pairs]
            try:
                logits, rows, key_values = self._pass(way, step, ordered.texts, wanted, keep=keep)
            except RuntimeError as error:
                if len(read) > 1 or not is_out_of_memory(error):
                    raise
                reason = f"a prompt of {len(ordered.texts[read[0]])} tokens doesn't fit into memory: {error}"
                yield Part(indices, None, [], [], MemoryError(reason))
                continue
            text_rows = [
                rows[unique][texts[index].first - wanted[unique] :].to(logits.device) for index, unique in pairs
            ]
            yield Part(indices, logits, text_rows, [key_values[unique] for _, unique in pairs] if keep else [])

    def _steps(self, way: Way, ordered: Sorted, wanted: Sequence[int]) -> Iterator[Step]:
        logits = max(1, LOGITS // int(self.model.config.get_text_config().vocab_size))
        worth = self._cost.worth if self._cost else 0.0
        limits = Limits(self.tokens, logits, worth, tries=way == "packed", chosen=has_choice(self.model))
        if way == "plain":
            parts = of_equal_length(ordered.texts, wanted, limits)
            return (Step(0, [[index] for index in indices]) for indices in parts)
        return plan(ordered, wanted, limits, self._heads.n_cached)

    def _pass(
        self, way: Way, step: Step, texts: Sequence[Ids], wanted: Sequence[int], *, keep: bool
    ) -> tuple[Any, dict[int, Any], dict[int, KeyValues]]:
        try:
            return self._read(way, step, texts, wanted, keep=keep)
        except RuntimeError as error:
            if not is_out_of_memory(error) or not self.make_room():
                raise
        # outside of the except block, where the error no longer references the tensors of the pass
        return self._read(way, step, texts, wanted, keep=keep)

    def _read(
        self, way: Way, step: Step, texts: Sequence[Ids], wanted: Sequence[int], *, keep: bool
    ) -> tuple[Any, dict[int, Any], dict[int, KeyValues]]:
        reset_angles(self.model)
        if way == "packed":
            return read_packed(self.model, step, texts, wanted, self._heads, keep=keep)
        if way == "cached":
            return read_padded(self.model, step, texts, wanted, self._heads, keep=keep)
        return *read_plain(self.model, [index for block in step.blocks for index in block], texts, wanted), {}


def prefill(reader: Reader, rows: Sequence[Sequence[int]], *, keep: bool) -> Read:
    """Return the logits at the end of each row; equal rows and common starts are computed once.

    The model must be in evaluation mode, without gradients, under the engine's lock.

    Args:
        reader: The reader. Its choice for these rows must be `packed` if keys and values are requested.
        rows: The token ids of the rows; no row is empty or longer than the window.
        keep: Whether to return keys and values.

    Raises:
        MemoryError: A single row does not fit into memory.
    """
    import torch

    logits: list[Any] = [None] * len(rows)
    key_values: list[Any] = [None] * len(rows)
    for part in reader.read([Wanted(row, len(row) - 1) for row in rows], keep=keep):
        if part.error is not None:
            raise part.error
        for index, text_rows in zip(part.indices, part.rows, strict=True):
            logits[index] = part.logits[text_rows[-1]]
        for index, row_values in zip(part.indices, part.key_values, strict=False):
            key_values[index] = row_values
    return Read(torch.stack(logits).float(), key_values if keep else [])


def _confirmed(chosen: Choice) -> str:
    return str(chosen) if chosen.way == "plain" else f"{chosen} (confirmed by a check)"


def reset_angles(model: Any) -> None:
    """Reset the angles of RoPE that longer texts have changed, so that the next text is read like the first."""
    import torch

    # transformers restores the first angles when it reads a text shorter than the model was trained with
    if "dynamic" in str(getattr(model.config.get_text_config(), "rope_parameters", "")):
        model(input_ids=torch.zeros((1, 1), dtype=torch.long, device=model.device))
