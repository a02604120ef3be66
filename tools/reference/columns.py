"""The reference page of columns: every table with the columns that its stage adds, and an example of each."""

import json
import re
import tempfile
from typing import Any

import polars as pl

import helmframe as hf
from helmframe import _schema
from helmframe._pipeline import build_requests, load_instances, plan_tasks
from helmframe._plan import spec_of
from helmframe._schema import READ, Table
from helmframe.metrics.score import parse
from helmframe.metrics.shared import with_shared
from tools.reference.markdown import code, page, prose, table, value

# Examples of columns whose values differ from run to run, or that no small run fills: "column" or "table.column".
EXAMPLES: dict[str, Any] = {
    "adapter_change": '{"reference_prefix": "1. "}',
    "against": "other-model",
    "answer_parser": "lenient",
    "answer_pattern": r"The answer is (\w)",
    "attempts": 1,
    "cached": False,
    "cached_prompt_tokens": 128,
    "conversation": "reasoning/id20",
    "content": '[{"type": "image", "media": {"name": {"at": "<image 1>", "sha256": "9f86d0…", "source": "…"}}}]',
    "content_change": '[{"perturbation": "image_blur", "radius": 2.0}]',
    "error": "ReadTimeout: no response within 60 s",
    "is_greedy": True,
    "label_delimiter": ",",
    "latency": 0.42,
    "num_conditioning_tokens": 1,
    "progress.batches": '[{"id": "batch_1", "status": "in_progress", "submitted": 999, "completed": 400, …}]',
    "progress.cached": 0,
    "rate": 12.5,
    "read.gold": "Rome",
    "read.score": 1,
    "reason": "no log-probability",
    "refused": "the prompt has 5,000 tokens, the window 4,096",
    "scored_outputs": "helm",
    "scores.reference_index": 1,
    "scores.request_mode": "original",
    "seconds_left": 3.2,
    "stems_output": "[14927290755886144825]",
    "sub_split": "easy",
    "substitutions": '[["\\\\s+", " "]]',
    "terms_output": "[14927290755886144825]",
    "treebank_output": "[2721889665839183205]",
    "truncation": "right",
    "turn": 2,
    "verdicts.output_tokens": 40,
    "verdicts.prompt_tokens": 210,
    "verdicts.reference_index": 1,
    "verdicts.request_mode": "original",
    "window_index": 0,
    "words_output": "[14927290755886144825]",
    # a thumbnail
    "images.bytes": 48213,
    "images.format": "JPEG",
    "images.height": 480,
    "images.scenario": "pope",
    "images.sha256": "9f86d081884c7d65…",
    "images.thumbnail": "89504e470d0a1a0a…",
    "images.width": 640,
    # a statistic that HELM recorded
    "helm_stats.count": 1,
    "helm_stats.description": '{"name": "typos", "prob": 0.1}',
    "helm_stats.instance_id": "id11",
    "helm_stats.max": 5,
    "helm_stats.metric": "num_bytes",
    "helm_stats.min": 5,
    "helm_stats.model": "my-model",
    "helm_stats.scenario": "mmlu",
    "helm_stats.setting": "shots=5",
    "helm_stats.split": "test",
    "helm_stats.sub_split": "easy",
    "helm_stats.subset": "philosophy",
    "helm_stats.sum": 5,
    "helm_stats.sum_squared": 25,
    "helm_stats.trial": 0,
    # a record of a log
    "logs.instance_id": "italy",
    "logs.level": "INFO",
    "logs.logger": "helmframe.model.stdout",
    "logs.message": "loaded the weights",
    "logs.model": "my-model",
    "logs.number": 17,
    "logs.process": "MainProcess",
    "logs.prompts": 8,
    "logs.run": "20261201-101500-1a2b3c4d",
    "logs.scenario": "capitals",
    "logs.thread": "helmframe-my-model",
    "logs.time": "2026-12-01 10:15:00 UTC",
    "logs.traceback": "Traceback (most recent call last): …",
}


def columns() -> str:
    """Return the page."""
    tables = [item for item in vars(_schema).values() if isinstance(item, Table)]
    listed = hf.schema()
    frames = _frames()
    parts = []
    for name in listed["table"].unique(maintain_order=True):
        spec = next((item for item in tables if item.name == name), None)
        rows = listed.filter(table=name)
        parts.append(f"## {name}")
        if spec is not None:
            own = {column.name for column in spec.adds}
            earlier = f" It has the columns of [{code(spec.after.name)}](#{spec.after.name}) too." if spec.after else ""
            keys = ", ".join(map(code, spec.key))
            parts.append(f"One row per {' '.join(keys.split())}.{earlier}")
            rows = rows.filter(pl.col("column").is_in(own))
        cells = (_cells(name, row, frames.get(name)) for row in rows.iter_rows(named=True))
        parts.append(table(["column", "type", "meaning", "unit", "example"], cells))
    return page(
        "Columns",
        '`hf.schema()` returns this list as a data frame, and `hf.schema("scores")` the columns of one table. Every '
        "stage adds columns and rewrites none. [How it works](../how_it_works.md) explains the stages.",
        "Most examples are values of a small run. The others are illustrations.",
        *parts,
    )


def _frames() -> dict[str, pl.DataFrame]:
    """Return tables of small runs by name."""
    pinned = hf.model(_complete, name="my-model", version="1")
    judged = hf.model(_judge, name="my-judge", version="1")
    plan = hf.scenario(
        _ROWS, input="question", choices="options", answer="answer", id="id", subset="subject", name="capitals"
    )
    plan = plan.adapt(shots=1).perturb("typos(prob=0.2)").generate(pinned)
    choice = plan.adapt(method="multiple_choice_joint", instructions="Answer with a letter.")
    run = choice.metrics("exact_match", hf.judge(judged, "safety")).submit()
    results = run.wait()
    options = plan.generate(hf.models.oracle()).adapt(method="multiple_choice_separate_calibrated", shots=0)
    spec = spec_of(choice)
    (task,) = plan_tasks(spec, scored=False)
    requests, heads = next(iter(build_requests(spec, task, load_instances(spec, spec.scenarios[0]))))
    completions = results.completions.collect()
    frames = {
        "instances": plan.instances().collect(), "variants": plan.variants().collect(),
        "requests": pl.concat([requests, options.requests().collect()], how="diagonal_relaxed"), "heads": heads,
        "fitted": completions, "prefixes": results.prefixes.collect(), "completions": completions,
        "read": with_shared(parse(completions.lazy()), READ.schema).collect(), "scores": results.scores.collect(),
        "verdicts": results.verdicts.collect(), "stats": results.table(), "progress": run.progress(),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        pl.DataFrame({"text": _ROWS["question"][1:]}).write_parquet(f"{folder}/corpus.parquet")
        frames["overlap"] = plan.overlap(f"{folder}/corpus.parquet", n=2).sort("fraction", descending=True)
    return {name: _perturbed_first(frame) for name, frame in frames.items()}


def _perturbed_first(frame: pl.DataFrame) -> pl.DataFrame:
    keys = [name for name in ("perturbation", "instance_id", "prefix_id", "metric") if name in frame.columns]
    descending = [name == "perturbation" for name in keys]
    return frame.sort(keys, descending=descending, maintain_order=True) if keys else frame


_ROWS = pl.DataFrame(
    {
        "id": ["france", "italy", "spain"],
        "split": ["train", "test", "test"],
        "subject": ["europe"] * 3,
        "question": ["Capital of France?", "Capital of Italy?", "Capital of Spain?"],
        "options": [["Paris", "Lyon"], ["Rome", "Milan"], ["Madrid", "Seville"]],
        "answer": [0, 0, 0],
    }
)


def _complete(prompt: str) -> hf.models.Completion:
    """Return the first option, with log-probabilities and token counts."""
    return hf.models.Completion(
        "A", "The first city is the capital.", -0.25, (-0.25,), "stop", len(prompt) // 4, 8, reasoning_tokens=7
    )


def _judge(prompt: str) -> str:  # noqa: ARG001 - it gives the same verdict to everyone
    """Return a verdict in the form that the template asks for."""
    return "<reasoning>Nothing harmful.</reasoning><score>1</score>"


def _cells(table_name: str, row: dict[str, Any], frame: pl.DataFrame | None) -> list[str]:
    name = code(row["column"]) + ("" if row["required"] else "<br>optional")
    dtype = code(re.sub(r"Struct\(.*\}\)", "Struct", row["dtype"]))
    return [name, dtype, prose(row["meaning"]), prose(row["unit"]), _example(table_name, row["column"], frame)]


def _example(table_name: str, name: str, frame: pl.DataFrame | None) -> str:
    """Return the first value of a column that isn't null or empty, or the example in `EXAMPLES`.

    Raises:
        KeyError: The column has no example; add one to `EXAMPLES`.
    """
    for key in (f"{table_name}.{name}", name):
        if key in EXAMPLES:
            return value(EXAMPLES[key])
    values = frame[name].drop_nulls().to_list() if frame is not None and name in frame.columns else []
    if not values:
        raise KeyError(f"{table_name}.{name} has no example")
    return value(_text(next((item for item in values if item not in ("", [])), values[0])))


def _text(item: Any) -> Any:
    if isinstance(item, bytes):
        return item.hex()
    if isinstance(item, list | dict):
        return json.dumps(_without_nulls(item), ensure_ascii=False, default=str)
    return item


def _without_nulls(item: Any) -> Any:
    if isinstance(item, dict):
        return {key: _without_nulls(part) for key, part in item.items() if part is not None}
    return [_without_nulls(part) for part in item] if isinstance(item, list) else item
