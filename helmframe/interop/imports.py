"""Imports of other tools' runs: their tables, cached in the store as a whole."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any
from uuid import uuid4

import polars as pl

from helmframe._core.safe_text import get_logger
from helmframe._schema import COMPLETIONS, OF_REQUEST, ORIGINAL, SCORES
from helmframe.errors import HelmframeError, StoreError
from helmframe.metrics.protocol import manifest_entry, resolve_metrics
from helmframe.metrics.score import parse
from helmframe.models.completion_cache import store_root
from helmframe.results import Results
from helmframe.store import Address, RunFolder, below, listing

logger = get_logger("helmframe.interop.helm")

FORMAT = 1
_READER_VERSION = 2  # increase it when a reader changes its tables, so that older imports in the store aren't used
_DIGITS = 20
# The manifest entry of a metric that isn't ours.
_UNKNOWN_METRIC = {"level": "output", "unit": "", "higher_is_better": None}
ROWS = 2_000  # per frame
_EMPTY_ID = hashlib.sha256(b"").hexdigest()[:32]


class Import:
    """An import of the runs at an address.

    `cached()` returns an earlier import. If there is none, add tables to `folder`, then call `finish`.
    """

    def __init__(self, tool: str, address: Address) -> None:
        self.tool, self.address = tool, address
        self._root = below(store_root(), "imported", _key(f"{tool} {_READER_VERSION}", address))
        # numbered, not dated: a clock that was ahead must not make an earlier import the newest
        starts = {file.name[:_DIGITS] for file in listing(self._root)}
        numbers = [int(start) for start in starts if start.isdecimal()]
        name = f"{max(numbers, default=0) + 1:0{_DIGITS}d}-{uuid4().hex[:8]}"
        self.folder = RunFolder(below(self._root, name))
        self.skipped: list[dict[str, str]] = []

    def cached(self) -> Results | None:
        """Return the newest complete import of the same files; None if it is missing or damaged."""
        complete = [file.name.split("/")[0] for file in listing(self._root) if file.name.endswith("/manifest.json")]
        try:
            return Results.load(below(self._root, complete[-1])) if complete else None
        except StoreError as error:
            logger.warning("Reading %s again: its import in the store is damaged. %s", self.address, error)
            return None

    def discard(self, number: int) -> None:
        """Remove everything that was added under this number."""
        self.folder.remove_shard(number)

    def finish(self, metrics: Iterable[str], **fields: Any) -> Results:
        """Write the manifest, and return the results.

        Args:
            metrics: The names of the metrics, the main ones first.
            **fields: The plans, scenarios, models and other fields of the manifest.
        """
        manifest = {
            "format": FORMAT,
            "status": "done",
            "tool": self.tool,
            "source": str(self.address),
            "metrics": {name: metric_entry(name) for name in dict.fromkeys(metrics)},
            "counts": {},
            "skipped": self.skipped,
        }
        self.folder.write_manifest(manifest | fields)
        return Results.load(self.folder.path)


def metric_entry(name: str) -> Mapping[str, Any]:
    """Return the manifest entry of a metric, ours or not."""
    try:
        return manifest_entry(resolve_metrics([name])[0])
    except HelmframeError:
        return _UNKNOWN_METRIC


def _key(tool: str, address: Address) -> str:
    """Return a hash of the files at the address, from their listing; for a URL, of the URL."""
    if isinstance(address, str) and not address.startswith("s3://"):
        return hashlib.sha256(f"{tool}\n{address}".encode()).hexdigest()[:24]
    files = [f"{file.name} {file.size} {file.modified}" for file in listing(address)]
    return hashlib.sha256("\n".join([tool, str(address), *files]).encode()).hexdigest()[:24]


@dataclass(frozen=True)
class SampleCompletion:
    """One completion, or a `continuation` with its log-probability (nats) after the prompt."""

    prompt: str
    completion: str | None
    output_index: int = 0
    reference_index: int | None = None
    continuation: str | None = None
    logprob: float | None = None
    reasoning: str | None = None
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    latency: float | None = None
    error: str | None = None


@dataclass(frozen=True)
class Sample:
    """One instance with its completions and the tool's scores."""

    instance_id: str
    input: str
    references: list[dict[str, Any]]
    completions: list[SampleCompletion]
    scores: Mapping[str, float | None]
    choices: list[str] | None = None
    trial: int = 0


@dataclass(frozen=True)
class Task:
    """The scenario, model and setting of the samples of one log."""

    scenario: str
    model: str
    setting: str = ""
    shots: int | None = None
    decoding: str = "{}"
    description: str = ""
    names: dict[str, None] = field(default_factory=dict)


def check_row(row: Mapping[str, Any], schema: Mapping[str, pl.DataType]) -> None:
    """Check that no value has more levels of lists than its column: Polars needs much memory to convert them.

    Raises:
        TypeError: A value has.
    """
    for name, value in row.items():
        if isinstance(value, list | dict) and not _has_levels(value, _levels(schema[name])):
            raise TypeError(f"{name} is {type(value).__name__} or contains lists, and its column is {schema[name]}")


def _has_levels(value: Any, most: int) -> bool:
    """Return whether a value has at most this number of lists and mappings inside each other."""
    if not isinstance(value, list | dict):
        return True
    inner = value if isinstance(value, list) else value.values()
    return most > 0 and all(_has_levels(item, most - 1) for item in inner if isinstance(item, list | dict))


@cache
def _levels(dtype: pl.DataType) -> int:
    if isinstance(dtype, pl.List):
        return 1 + _levels(dtype.inner)
    if isinstance(dtype, pl.Struct):
        return 1 + max(_levels(field.dtype) for field in dtype.fields)
    return 0


def reference(text: object, *, correct: bool) -> dict[str, Any]:
    """Return one reference."""
    return {"text": str(text), "correct": correct, "tags": []}


def distinguish_task(task: Task, others: Sequence[Task]) -> Task:
    """Return the task, with another setting if one of the others has the same scenario, model and setting."""
    same = [other for other in others if (other.scenario, other.model) == (task.scenario, task.model)]
    if not any(other.setting == task.setting for other in same):
        return task
    return replace(task, setting=",".join(filter(None, (task.setting, f"run={len(same) + 1}"))))


def add_samples(importer: Import, number: int, task: Task, samples: Iterable[Sample]) -> None:
    """Add the samples of a log to the folder of an import, and the names of their scores to `task.names`."""
    chunk: list[Sample] = []
    for index, sample in enumerate(samples):
        chunk.append(sample)
        if len(chunk) == ROWS:
            _add_chunk(importer, number, task, chunk, index - ROWS + 1)
            chunk = []
    if chunk:
        _add_chunk(importer, number, task, chunk, 0)
    prefixes = pl.DataFrame({"prefix_id": [_EMPTY_ID], "prefix": [""]})
    importer.folder.add("prefixes", task.scenario, prefixes, number)


def _add_chunk(importer: Import, number: int, task: Task, samples: list[Sample], first: int) -> None:
    completions = _completions(task, samples, first)
    scores = _scores(samples, completions)
    task.names.update(dict.fromkeys(scores["metric"].unique(maintain_order=True)))
    importer.folder.add("completions", task.scenario, completions, number)
    importer.folder.add("scores", task.scenario, scores, number)


def _completions(task: Task, samples: list[Sample], first: int) -> pl.DataFrame:
    schema = {name: COMPLETIONS.schema[name] for name in _ROW_COLUMNS}
    rows = pl.DataFrame(list(_rows(samples, first)), schema=schema, orient="row")
    same = {
        "scenario": task.scenario,
        "scenario_version": "",
        "subset": "",
        "split": "test",
        "perturbation": ORIGINAL,
        "perturbation_seed": 0,
        "changed": False,
        "repeat": 0,
        "setting": task.setting,
        "head_id": _EMPTY_ID,
        "prefix_id": _EMPTY_ID,
        "decoding": task.decoding,
        "adapter_id": "",
        "model": task.model,
        "shots_used": task.shots,
        "prompt_truncated": False,
        "cached": False,
        "attempts": 1,
    }
    frame = rows.with_columns(
        **{name: pl.lit(value, dtype=COMPLETIONS.schema[name]) for name, value in same.items()},
        cluster=pl.col("instance_id"),
        perturbed_input=pl.col("input"),
        perturbed_references=pl.col("references"),
        shot_ids=pl.lit([], dtype=pl.List(pl.String)),
    )
    return frame.select(
        pl.col(name) if name in frame.columns else pl.lit(None, dtype=dtype).alias(name)
        for name, dtype in COMPLETIONS.schema.items()
    )


_ROW_COLUMNS = (
    *("instance_id", "row_index", "input", "references", "choices", "trial", "suffix", "completion", "output_index"),
    *("reference_index", "continuation", "logprob", "reasoning", "finish_reason", "prompt_tokens", "output_tokens"),
    *("reasoning_tokens", "latency", "error", "request_id", "request_mode"),
)


_CONTAINERS = frozenset((list, dict))


def _rows(samples: list[Sample], first: int) -> Iterator[dict[str, Any]]:
    for index, sample in enumerate(samples):
        for completion in sample.completions:
            raw = (
                completion.completion, completion.logprob, completion.reasoning, completion.finish_reason,
                completion.prompt_tokens, completion.output_tokens, completion.reasoning_tokens, completion.latency,
                completion.error,
            )  # fmt: skip
            if not _CONTAINERS.isdisjoint(map(type, raw)):
                raise TypeError(f"sample {sample.instance_id!r} has a list or mapping in place of a text or number")
            request = f"{completion.output_index}\n{completion.prompt}\n{completion.continuation or ''}".encode()
            yield {
                "instance_id": sample.instance_id,
                "row_index": first + index,
                "input": sample.input,
                "references": sample.references,
                "choices": sample.choices,
                "trial": sample.trial,
                "suffix": completion.prompt,
                "completion": completion.completion,
                "output_index": completion.output_index,
                "reference_index": completion.reference_index,
                "continuation": completion.continuation,
                "logprob": completion.logprob,
                "reasoning": completion.reasoning,
                "finish_reason": completion.finish_reason,
                "prompt_tokens": completion.prompt_tokens,
                "output_tokens": completion.output_tokens,
                "reasoning_tokens": completion.reasoning_tokens,
                "latency": completion.latency,
                "error": completion.error,
                "request_id": hashlib.sha256(request).digest()[:16],
                "request_mode": None if completion.reference_index is None else "original",
            }


def _scores(samples: list[Sample], completions: pl.DataFrame) -> pl.DataFrame:
    rows = [
        {"instance_id": sample.instance_id, "trial": sample.trial, "metric": name, "score": value}
        for sample in samples
        for name, value in sample.scores.items()
    ]
    schema = {name: SCORES.schema[name] for name in ("instance_id", "trial", "metric", "score")}
    key = ["instance_id", "trial"]
    generated = pl.col("reference_index").is_null()
    completion_rows = (
        parse(completions.lazy())
        .unique(key, keep="first", maintain_order=True)
        .with_columns(
            output=pl.when(generated).then("output"),
            parsed=pl.when(generated).then("parsed"),
            output_index=pl.when(generated).then("output_index"),
            **{name: pl.lit(None) for name in ("reason", *OF_REQUEST)},
        )
    )
    joined = completion_rows.join(
        pl.LazyFrame(rows, schema=schema, orient="row"), on=key, how="inner", maintain_order="left_right"
    )
    return joined.select(pl.col(name).cast(dtype) for name, dtype in SCORES.schema.items()).collect()
