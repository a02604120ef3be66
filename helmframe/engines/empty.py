"""Empty completions: counted shard by shard, and reported where most of a model's completions are empty."""

import threading
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import polars as pl

# Characters of a prompt's end that a note shows.
PROMPT_END = 40


class EmptyCount(NamedTuple):
    """Completions generated for one scenario by one model, and how many of them are empty.

    `first` is the first empty completion: its shard, the last characters of its prompt, and its finish reason.
    """

    completions: int
    empty: int
    first: tuple[int, str, str] | None

    def plus(self, other: "EmptyCount") -> "EmptyCount":
        """Return the sum, with the first empty completion of the lower shard."""
        firsts = [count.first for count in (self, other) if count.first is not None]
        first = min(firsts, key=lambda pair: pair[0], default=None)
        return EmptyCount(self.completions + other.completions, self.empty + other.empty, first)


EmptyCounts = Mapping[tuple[str, str], EmptyCount]


class EmptyCompletions:
    """The counts of a run by scenario and model; safe to use from several threads."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], EmptyCount] = {}
        self._lock = threading.Lock()

    def add(self, counts: EmptyCounts) -> None:
        """Add counts of a shard, or of another process."""
        with self._lock:
            for key, count in counts.items():
                self._counts[key] = self._counts[key].plus(count) if key in self._counts else count

    def counts(self) -> EmptyCounts:
        """Return the counts so far."""
        with self._lock:
            return dict(self._counts)

    def noted(self) -> list[dict[str, Any]]:
        """Return what the manifest stores: an entry per scenario and model with more than half empty completions."""
        return [
            {
                "scenario": scenario,
                "model": model,
                "completions": count.completions,
                "empty": count.empty,
                "prompt_end": count.first[1],
                "finish_reason": count.first[2],
            }
            for (scenario, model), count in sorted(self.counts().items())
            if count.first is not None and 2 * count.empty > count.completions
        ]


def count_empty(completions: pl.DataFrame, prefixes: pl.DataFrame, shard: int) -> EmptyCounts:
    """Count the empty completions of one shard by scenario and model; white space alone counts as empty.

    Failed requests are not counted, nor are continuations that were scored, which no model generated.

    Args:
        completions: `COMPLETIONS`.
        prefixes: `PREFIXES`.
        shard: The number of the shard.
    """
    generated = completions.filter(pl.col("completion").is_not_null() & pl.col("continuation").is_null())
    empty = generated.filter(pl.col("completion").str.strip_chars() == "")
    by = ["scenario", "model"]
    sizes = generated.group_by(by, maintain_order=True).len()
    firsts = empty.join(prefixes, on="prefix_id", how="left", maintain_order="left").group_by(by).agg(
        empty=pl.len(),
        end=pl.concat_str(pl.col("prefix", "suffix").first(), ignore_nulls=True).str.tail(PROMPT_END),
        reason=pl.col("finish_reason").first().fill_null(""),
    )  # fmt: skip
    return {
        (scenario, model): EmptyCount(size, empty or 0, (shard, end, reason) if empty else None)
        for scenario, model, size, empty, end, reason in sizes.join(firsts, on=by, how="left").iter_rows()
    }


def empty_notes(manifest: Mapping[str, Any]) -> list[str]:
    """Return a line per scenario and model with more than half empty completions: what is wrong and what to write."""
    entries: Iterable[Mapping[str, Any]] = manifest.get("empty_completions") or ()
    return [
        f"{entry['scenario']} × {entry['model']}: {entry['empty']:,} of {entry['completions']:,} completions are "
        f"empty; the first of their prompts ends in {entry['prompt_end']!r}. {_advice(entry)}"
        for entry in entries
    ]


def _advice(entry: Mapping[str, Any]) -> str:
    if entry["finish_reason"] == "length":
        return "The model reached max_tokens before its answer: write .generate(…, max_tokens=…) with a larger number."
    if entry["prompt_end"][-1:].isspace():
        return (
            "If the completion should continue the input, write .adapt(input_suffix=''), or input_suffix: '' under "
            "adapter: in the spec."
        )
    return "Look at the stop sequences, which may end a completion at its first character: .generate(…, stop=[])."
