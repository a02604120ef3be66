"""Samples of other tools as our tables."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from helmframe._schema import COMPLETIONS, OF_REQUEST, ORIGINAL, SCORES
from helmframe.interop.imported import Import
from helmframe.metrics.score import parse

ROWS = 2_000  # of one frame
_NONE = hashlib.sha256(b"").hexdigest()[:32]


@dataclass(frozen=True)
class Answered:
    """One answer; with a `continuation`, its log-probability (nats) after the prompt."""

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
    latency: float | None = None
    error: str | None = None


@dataclass(frozen=True)
class Sample:
    """One instance with its answers, and what the tool scored them by."""

    instance_id: str
    input: str
    references: list[dict[str, Any]]
    answers: list[Answered]
    scores: Mapping[str, float | None]
    choices: list[str] | None = None
    trial: int = 0


@dataclass(frozen=True)
class Task:
    """What the samples of one log are of."""

    scenario: str
    model: str
    setting: str = ""
    shots: int | None = None
    decoding: str = "{}"
    description: str = ""
    names: dict[str, None] = field(default_factory=dict)


def reference(text: object, *, correct: bool) -> dict[str, Any]:
    """One possible output."""
    return {"text": str(text), "correct": correct, "tags": []}


def apart(task: Task, others: Sequence[Task]) -> Task:
    """The task, with a setting of its own where another is of the same scenario, model and setting."""
    same = [each for each in others if (each.scenario, each.model) == (task.scenario, task.model)]
    if not any(each.setting == task.setting for each in same):
        return task
    return replace(task, setting=",".join(filter(None, (task.setting, f"run={len(same) + 1}"))))


def add(reading: Import, number: int, task: Task, samples: Iterable[Sample]) -> None:
    """Put the samples of a log into the folder of a reading; the names of their scores into `task.names`."""
    held: list[Sample] = []
    for place, sample in enumerate(samples):
        held.append(sample)
        if len(held) == ROWS:
            _add(reading, number, task, held, place - ROWS + 1)
            held = []
    if held:
        _add(reading, number, task, held, 0)
    prefixes = pl.DataFrame({"prefix_id": [_NONE], "prefix": [""]})
    reading.folder.add("prefixes", task.scenario, prefixes, number)


def _add(reading: Import, number: int, task: Task, samples: list[Sample], first: int) -> None:
    completions = _completions(task, samples, first)
    scores = _scores(samples, completions)
    task.names.update(dict.fromkeys(scores["metric"].unique(maintain_order=True)))
    reading.folder.add("completions", task.scenario, completions, number)
    reading.folder.add("scores", task.scenario, scores, number)


def _completions(task: Task, samples: list[Sample], first: int) -> pl.DataFrame:
    schema = {name: COMPLETIONS.schema[name] for name in _ROW}
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
        "head_id": _NONE,
        "prefix_id": _NONE,
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


_ROW = (
    *("instance_id", "row_index", "input", "references", "choices", "trial", "suffix", "completion", "output_index"),
    *("reference_index", "continuation", "logprob", "reasoning", "finish_reason", "prompt_tokens", "output_tokens"),
    *("latency", "error", "request_id", "request_mode"),
)


def _rows(samples: list[Sample], first: int) -> Iterator[dict[str, Any]]:
    for place, sample in enumerate(samples):
        for each in sample.answers:
            sent = f"{each.output_index}\n{each.prompt}\n{each.continuation or ''}".encode()
            yield {
                "instance_id": sample.instance_id,
                "row_index": first + place,
                "input": sample.input,
                "references": sample.references,
                "choices": sample.choices,
                "trial": sample.trial,
                "suffix": each.prompt,
                "completion": each.completion,
                "output_index": each.output_index,
                "reference_index": each.reference_index,
                "continuation": each.continuation,
                "logprob": each.logprob,
                "reasoning": each.reasoning,
                "finish_reason": each.finish_reason,
                "prompt_tokens": each.prompt_tokens,
                "output_tokens": each.output_tokens,
                "latency": each.latency,
                "error": each.error,
                "request_id": hashlib.sha256(sent).digest()[:16],
                "request_mode": None if each.reference_index is None else "original",
            }


def _scores(samples: list[Sample], completions: pl.DataFrame) -> pl.DataFrame:
    said = [
        {"instance_id": sample.instance_id, "trial": sample.trial, "metric": name, "score": value}
        for sample in samples
        for name, value in sample.scores.items()
    ]
    schema = {name: SCORES.schema[name] for name in ("instance_id", "trial", "metric", "score")}
    key = ["instance_id", "trial"]
    alone = pl.col("reference_index").is_null()
    asked = (
        parse(completions.lazy())
        .unique(key, keep="first", maintain_order=True)
        .with_columns(
            output=pl.when(alone).then("output"),
            parsed=pl.when(alone).then("parsed"),
            output_index=pl.when(alone).then("output_index"),
            **{name: pl.lit(None) for name in ("reason", *OF_REQUEST)},
        )
    )
    joined = asked.join(
        pl.LazyFrame(said, schema=schema, orient="row"), on=key, how="inner", maintain_order="left_right"
    )
    return joined.select(pl.col(name).cast(dtype) for name, dtype in SCORES.schema.items()).collect()
