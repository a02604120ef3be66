"""Notes about the models of a run: cached completions, empty completions, and utilization."""

import json
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from helmframe._core.expressions import is_starved
from helmframe._core.safe_text import get_logger
from helmframe._core.specs import Call
from helmframe.metrics.score import UNPARSED, count_unparsed
from helmframe.models.generate import Report
from helmframe.models.model import Model
from helmframe.models.reasoning import HEAD_ROOM, head_room
from helmframe.models.scheduler import busy_of

# The number of characters of a prompt's end in a note.
PROMPT_END = 40
# Unparsed completions that no parser reads are reported from this share on.
UNPARSED_FROM = 0.01


class EmptyCount(NamedTuple):
    """The numbers of all and of empty completions of one scenario and model, and of those without an option.

    Completions that are empty because reasoning used all tokens are counted as `starved`, not as `empty`. `first`
    describes the first empty completion: its shard, the end of its prompt, and its finish reason. `rerun` is the number
    of completions that were generated again with more head-room, and `room` the largest head-room of starved ones. The
    other fields are those of `count_unparsed`.
    """

    completions: int
    empty: int
    first: tuple[int, str, str] | None
    starved: int = 0
    rerun: int = 0
    room: int = 0
    labelled: int = 0
    unparsed: int = 0
    lenient: int = 0
    readable: int = 0
    limited: int = 0

    def plus(self, other: "EmptyCount") -> "EmptyCount":
        """Return the sum of two counts; `first` is that of the lower shard."""
        firsts = [count.first for count in (self, other) if count.first is not None]
        first = min(firsts, key=lambda pair: pair[0], default=None)
        names = [name for name in self._fields if name not in ("first", "room")]
        sums = {name: getattr(self, name) + getattr(other, name) for name in names}
        return EmptyCount(**sums, first=first, room=max(self.room, other.room))


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

    def reasoning_entries(self) -> list[dict[str, Any]]:
        """Return the manifest's entries: one per scenario and model with starved or regenerated completions."""
        names = ("completions", "starved", "rerun", "room")
        return [
            {"scenario": scenario, "model": model, **{name: getattr(count, name) for name in names}}
            for (scenario, model), count in sorted(self.counts().items())
            if count.starved or count.rerun
        ]

    def unparsed_entries(self) -> list[dict[str, Any]]:
        """Return the manifest's entries: one per scenario and model with completions that state no option."""
        rows = [
            {"scenario": scenario, "model": model, **count._asdict()}
            for (scenario, model), count in sorted(self.counts().items())
        ]
        return unparsed_entries(rows)


def unparsed_entries(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the manifest's entries of unparsed completions, from rows of `count_unparsed`."""
    names = ("scenario", "model", "labelled", *UNPARSED)
    return [{name: row[name] for name in names} for row in rows if row["unparsed"]]


def count_empty(
    completions: pl.DataFrame, prefixes: pl.DataFrame, shard: int, requests: pl.DataFrame | None = None
) -> EmptyCounts:
    """Return the counts of empty and unparsed completions in one shard, which has one scenario and one model.

    A completion of white space is empty. Failed requests and scored continuations are not counted.

    Args:
        completions: `COMPLETIONS`.
        prefixes: `PREFIXES`.
        shard: The number of the shard.
        requests: The requests of the plan; completions of other requests were generated again with more head-room.
    """
    generated = pl.col("completion").is_not_null() & pl.col("continuation").is_null()
    is_empty = generated & ~pl.col("completion").str.contains(r"\S")
    n, n_empty = completions.select(generated.sum(), is_empty.sum().alias("empty")).row(0)
    if not n:
        return {}
    blank = completions.filter(is_empty) if n_empty else completions.clear()
    starved, empty = blank.filter(is_starved(blank.columns)), blank.filter(~is_starved(blank.columns))
    room = max((head_room(json.loads(text)) for text in starved["decoding"].unique()), default=0)
    with_room = completions.filter(pl.col("decoding").str.contains(f'"{HEAD_ROOM}": ', literal=True))
    rerun = 0 if requests is None else with_room.join(requests, on="request_id", how="anti").height
    first = None
    if empty.height:
        row = empty.head(1).join(prefixes, on="prefix_id", how="left").row(0, named=True)
        end = "".join(filter(None, (row["prefix"], row["suffix"])))[-PROMPT_END:]
        first = shard, end, row["finish_reason"] or ""
    count = EmptyCount(n, empty.height, first, starved.height, rerun, room)
    for row in count_unparsed(completions.lazy()).iter_rows(named=True):
        count = count._replace(**{name: row[name] for name in ("labelled", *UNPARSED)})
    return {(completions["scenario"][0], completions["model"][0]): count}


def empty_notes(manifest: Mapping[str, Any]) -> list[str]:
    """Return a line for each scenario and model with starved or more than half empty completions, with advice."""
    entries: Iterable[Mapping[str, Any]] = manifest.get("empty_completions") or ()
    starved = [entry for entry in manifest.get("reasoning") or () if entry["starved"]]
    return [*map(_starved_note, starved)] + [
        f"{entry['scenario']} × {entry['model']}: {entry['empty']:,} of {entry['completions']:,} completions are "
        f"empty. The first of their prompts ends in {entry['prompt_end']!r}. {_advice(entry)}"
        for entry in entries
    ]


def _starved_note(entry: Mapping[str, Any]) -> str:
    counts = f"{entry['starved']:,} of {entry['completions']:,} completions are empty because"
    used, line = (
        (f"reasoning used max_tokens and {entry['room']:,} tokens of head-room", f"reasoning={2 * entry['room']}")
        if entry["room"]
        else ("the model used max_tokens for reasoning", "reasoning='low'")
    )
    return (
        f"{entry['scenario']} × {entry['model']}: {counts} {used}. Add head-room: .generate(model, {line})"
        f"{'' if entry['room'] else ', or reasoning=4096 for 4,096 tokens'}."
    )


def rerun_notes(manifest: Mapping[str, Any]) -> list[str]:
    """Return a line for each scenario and model with completions that were generated again with more head-room."""
    return [
        f"{entry['scenario']} × {entry['model']}: {entry['rerun']:,} of {entry['completions']:,} completions were "
        f"empty after reasoning. They were generated again with twice the head-room; {entry['starved']:,} are still "
        "empty"
        for entry in manifest.get("reasoning") or ()
        if entry["rerun"]
    ]


def unparsed_notes(manifest: Mapping[str, Any]) -> list[str]:
    """Return a line for each scenario and model whose completions state no option, with the lenient parser's count.

    If the lenient parser reads none of them, there is a line only if it is the parser of the run and they are at least
    1 % of the completions. Empty completions have a line of their own.
    """
    empty = {
        (entry["scenario"], entry["model"])
        for name in ("empty_completions", "reasoning")
        for entry in manifest.get(name) or ()
    }
    entries: Iterable[Mapping[str, Any]] = manifest.get("unparsed_completions") or ()
    return [
        f"{entry['scenario']} × {entry['model']}: {entry['unparsed']:,} of {entry['labelled']:,} completions name no "
        f"option; {_parser_advice(entry)}"
        for entry in entries
        if entry["readable"]
        or (
            entry["lenient"] >= max(1, UNPARSED_FROM * entry["labelled"])
            and (entry["scenario"], entry["model"]) not in empty
        )
    ]


def _parser_advice(entry: Mapping[str, Any]) -> str:
    advice = "the lenient parser reads none of them."
    if entry["readable"]:
        advice = f"answer_parser='lenient' would read {entry['readable']:,}: results.rescore(answer_parser='lenient')."
    if entry["limited"]:
        return f"{advice} {entry['limited']:,} end at max_tokens: set a larger limit, .generate(…, max_tokens=…)."
    return advice if entry["readable"] else f"{advice} Try .adapt(format_instructions=True)."


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


logger = get_logger("helmframe.engines")


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
            # those of this model, and of an equal one whose queue the run used
            functions = filter(None, (model.refused, busy.refused))
            refused = {name: text for function in functions for name, text in function().items()}
            entries[model.name] = {
                "busy": round(seconds.share, 3),
                "waited": round(seconds.waited, 1),
                **state,
                **({"refused": refused} if refused else {}),
            }
        return entries


def refusal_notes(manifest: Mapping[str, Any]) -> list[str]:
    """Return a line for each model and decoding parameter that its server rejected, with the replacement."""
    entries = _entries(manifest).items()
    return [f"{name}: {text}" for name, entry in entries for text in entry.get("refused", {}).values()]


def cost_notes(manifest: Mapping[str, Any]) -> list[str]:
    """Return a line with the cost of the run, and a line with the models of providers whose price is unknown."""
    notes, prices, unpriced = [], manifest.get("prices", {}), manifest.get("unpriced", ())
    if prices and manifest.get("cost"):
        sources = ", ".join(dict.fromkeys(entry["source"] for entry in prices.values()))
        notes.append(f"cost of this run: {dollars(manifest['cost'])} ({', '.join(prices)}; prices: {sources})")
    if unpriced:
        example = f"prices={{{unpriced[0]!r}: (2.5, 10)}}"
        notes.append(f"price unknown, cost not counted: {', '.join(unpriced)}. Set {example}.")
    return notes


def dollars(amount: float) -> str:
    """Return an amount of US dollars as text, with at least two digits of small amounts.

    >>> dollars(12.345), dollars(0.00123), dollars(0)
    ('$12.35', '$0.0012', '$0.00')
    """
    return (
        f"${amount:,.2f}"
        if amount >= 0.1 or not amount
        else f"${amount:.2g}"
        if amount >= 1e-4
        else "less than $0.0001"
    )


def _entries(manifest: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the entries of models, judges and models of perturbations, by name."""
    names = ("perturbation_models", "judges", "models")
    return {name: entry for key in names for name, entry in manifest.get(key, {}).items()}


def utilization_notes(manifest: Mapping[str, Any]) -> list[str]:
    """Return a line for each model and judge whose manifest entry has a state."""
    return [
        f"{name}: busy for {entry['busy']:.0%} of the {entry['waited']:,.1f} s spent waiting for completions; "
        f"{entry['state']}"
        for name, entry in _entries(manifest).items()
        if "state" in entry
    ]
