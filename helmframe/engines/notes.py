"""Notes about the models of a run: cached completions, empty completions, and utilization."""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from helmframe._core.specs import Call
from helmframe.models.generate import Report
from helmframe.models.model import Model
from helmframe.models.scheduler import busy_of

# The number of characters of a prompt's end in a note.
PROMPT_END = 40


class EmptyCount(NamedTuple):
    """The numbers of all and of empty completions of one scenario and model.

    `first` describes the first empty completion: its shard, the end of its prompt, and its finish reason.
    """

    completions: int
    empty: int
    first: tuple[int, str, str] | None

    def plus(self, other: "EmptyCount") -> "EmptyCount":
        """Return the sum of two counts; `first` is that of the lower shard."""
        firsts = [count.first for count in (self, other) if count.first is not None]
        first = min(firsts, key=lambda pair: pair[0], default=None)
        return EmptyCount(self.completions + other.completions, self.empty + other.empty, first)


EmptyCounts = Mapping[tuple[str, str], EmptyCount]


class EmptyCompletions:
    """The empty completions of a run, counted by scenario and model; thread-safe."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], EmptyCount] = {}
        self._lock = threading.Lock()

    def add(self, counts: EmptyCounts) -> None:
        """Add the counts of a shard or of another process."""
        with self._lock:
            for key, count in counts.items():
                self._counts[key] = self._counts[key].plus(count) if key in self._counts else count

    def counts(self) -> EmptyCounts:
        """Return the counts so far."""
        with self._lock:
            return dict(self._counts)

    def manifest_entries(self) -> list[dict[str, Any]]:
        """Return the manifest's entries: one per scenario and model with more than half empty completions."""
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
    """Return the counts of empty completions in one shard, which has one scenario and one model.

    A completion of white space is empty. Failed requests and scored continuations are not counted.

    Args:
        completions: `COMPLETIONS`.
        prefixes: `PREFIXES`.
        shard: The number of the shard.
    """
    generated = pl.col("completion").is_not_null() & pl.col("continuation").is_null()
    is_empty = generated & ~pl.col("completion").str.contains(r"\S")
    n, n_empty = completions.select(generated.sum(), is_empty.sum().alias("empty")).row(0)
    if not n:
        return {}
    empty = completions.filter(is_empty) if n_empty else completions.clear()
    first = None
    if empty.height:
        row = empty.head(1).join(prefixes, on="prefix_id", how="left").row(0, named=True)
        end = "".join(filter(None, (row["prefix"], row["suffix"])))[-PROMPT_END:]
        first = shard, end, row["finish_reason"] or ""
    return {(completions["scenario"][0], completions["model"][0]): EmptyCount(n, empty.height, first)}


def empty_notes(manifest: Mapping[str, Any]) -> list[str]:
    """Return a line for each scenario and model with more than half empty completions, with advice."""
    entries: Iterable[Mapping[str, Any]] = manifest.get("empty_completions") or ()
    return [
        f"{entry['scenario']} × {entry['model']}: {entry['empty']:,} of {entry['completions']:,} completions are "
        f"empty. The first of their prompts ends in {entry['prompt_end']!r}. {_advice(entry)}"
        for entry in entries
    ]


def _advice(entry: Mapping[str, Any]) -> str:
    if entry["finish_reason"] == "length":
        return "The model reached max_tokens before its answer. Set a larger limit: .generate(…, max_tokens=…)."
    if entry["prompt_end"][-1:].isspace():
        return (
            "If completions should continue the input, write .adapt(input_suffix=''), or input_suffix: '' under "
            "adapter: in the spec."
        )
    return "A stop sequence may end the completion at its first character. Try .generate(…, stop=[])."


def cache_note(
    model: Model,
    cached: int | None = None,
    planned: int | None = None,
    *,
    run: str,
    resumed: Sequence[str] = (),
    fresh: bool = False,
    whole: bool = True,
) -> str:
    """Return one line about the cached completions of a model.

    Args:
        model: The model.
        cached: The number of cached completions.
        planned: The number of planned completions; None: unknown.
        run: The id of the current run.
        resumed: The ids of the runs whose completions are reused.
        fresh: Whether cached completions are generated again.
        whole: Whether the counts include all completions of the run, not only those of the first shard.
    """
    source = f" from run {', '.join(resumed)}" if cached and resumed and not model.durable else ""
    part = "" if whole else "the first "
    counts = "" if planned is None else f"{cached:,} of {part}{planned:,} completions cached{source}"
    note = "fresh=True generates all of them again" if fresh else ""
    if model.durable:
        counts = counts.replace("completions", f"completions of {model.name!r}")
        return ": ".join(filter(None, (counts, note))) + "."
    reason = (
        f"{model.name!r} is {_kind(model)} without a version, so its completions are stored with this run only. "
        f"Reuse them with score(resume={run!r})."
    )
    return ": ".join(filter(None, (counts, f"{note}; {reason}" if note else reason)))


def with_cache_note(report: Report, note: Callable[[int, int], None]) -> Report:
    """Return a report that also passes the first counts of cached and planned completions to `note`."""
    planned: list[int] = []

    def report_and_note(event: str, count: int) -> None:
        report(event, count)
        if event == "planned" and not planned:
            planned.append(count)
        elif event == "cached" and len(planned) == 1:
            note(count, planned[0])
            planned.append(count)

    return report_and_note


def _kind(model: Model) -> str:
    if isinstance(model.source, Call):
        return "a mock model"
    return "a function" if hasattr(model.source, "__name__") else "an object"


logger = logging.getLogger("helmframe.engines")


class Utilization:
    """The utilization of models, by their fingerprints, since the object was created."""

    def __init__(self, fingerprints: Mapping[Model, str]) -> None:
        self._busy = {model: busy_of(fingerprint) for model, fingerprint in fingerprints.items()}
        self._before = {model: busy.seconds for model, busy in self._busy.items()}

    def manifest_entries(self) -> dict[str, dict[str, Any]]:
        """Return the utilization of each model that generated since, by name.

        Returns:
            By name: `busy`, the share of the waiting time in which the model generated; `waited`, the waiting time in
            seconds; `state`, how the model runs prompts, if known; and `refused`, the decoding parameters that its
            server rejected, each with what is sent instead.
        """
        entries = {}
        for model, busy in self._busy.items():
            seconds = busy.seconds.since(self._before[model])
            if not seconds.share:
                continue
            logger.info("%s was busy %.0f %% of %.1f s", model.name, 100 * seconds.share, seconds.waited)
            state = {} if model.state is None else {"state": model.state()}
            refused = {} if model.refused is None else {"refused": dict(model.refused())}
            entries[model.name] = {
                "busy": round(seconds.share, 3),
                "waited": round(seconds.waited, 1),
                **state,
                **{name: value for name, value in refused.items() if value},
            }
        return entries


def refusal_notes(manifest: Mapping[str, Any]) -> list[str]:
    """Return a line for each model and decoding parameter that its server rejected, with the replacement."""
    models = {**manifest.get("judges", {}), **manifest.get("models", {})}
    return [f"{name}: {text}" for name, entry in models.items() for text in entry.get("refused", {}).values()]


def utilization_notes(manifest: Mapping[str, Any]) -> list[str]:
    """Return a line for each model and judge whose manifest entry has a state."""
    models = {**manifest.get("judges", {}), **manifest.get("models", {})}
    return [
        f"{name}: busy for {entry['busy']:.0%} of the {entry['waited']:,.1f} s spent waiting for completions; "
        f"{entry['state']}"
        for name, entry in models.items()
        if "state" in entry
    ]
