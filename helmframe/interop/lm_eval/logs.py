"""lm-evaluation-harness's per-sample logs, read as our tables and written: `hf.read_lm_eval`, `Results.to_lm_eval`."""

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from helmframe._core.checks import is_integer
from helmframe._core.registry import view
from helmframe._core.yaml import iter_json_lines, read_json, reading
from helmframe._schema import COMPLETIONS, OF_REQUEST
from helmframe.config import from_home
from helmframe.errors import SourceMissingError, StoreError
from helmframe.interop.imports import Import, Sample, SampleCompletion, Task, add_samples, distinguish_task, reference
from helmframe.metrics.protocol import METRICS
from helmframe.metrics.score import parse
from helmframe.results import Results, register_loader
from helmframe.results._data import reader_of, with_scores

# The names of the input text in the tasks' documents, in this order.
_INPUT_FIELDS = (
    *("question", "query", "input", "problem", "Problem", "ctx", "goal", "sentence", "prompt", "text", "passage"),
    *("document", "article", "premise"),
)
_FORM = "in lm-eval's format"
_OPTION_FIELDS = ("choices", "options", "endings")
# The fields of a line besides its metrics; lm-eval before 0.4.5 doesn't list those in "metrics".
_SAMPLE_FIELDS = {
    *("doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics"),
    *("doc_hash", "prompt_hash", "target_hash"),
}


@register_loader("lm_eval")
def read_lm_eval(path: str | Path, *, fresh: bool = False) -> Results:
    """Return the samples that lm-eval logged (`--log_samples`) as results.

    Scores have our names if the definitions are equal (acc of options is option_accuracy), else lm-eval's. Options that
    were scored separately have separate rows: `rescore("exact_match")` takes the option of highest log-probability as
    the output.

        hf.read_lm_eval("lm_eval_output").leaderboard()

    The example reads a log with one document:

    >>> import json, tempfile
    >>> import helmframe as hf
    >>> document = {"doc_id": 0, "doc": {"question": "The capital of France?"}, "target": "Paris"}
    >>> request = {"arguments": {"gen_args_0": {"arg_0": "The capital of France?", "arg_1": {"until": ["."]}}}}
    >>> reply = {"resps": [["Paris"]], "filter": "none", "metrics": ["exact_match"], "exact_match": 1.0}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "samples_capitals.jsonl").write_text(json.dumps({**document, **request, **reply}))
    ...     hf.read_lm_eval(folder).value("exact_match")
    1.0

    Args:
        path: A file `samples_….jsonl`, or a folder with such files. `results_….json` in the same folder has model and
            settings.
        fresh: Whether to read the files again; the tables of an earlier call are cached in the store.

    Raises:
        SourceMissingError: The path has no samples.
        SourceBrokenError: A line isn't in lm-eval's format.
    """
    path = from_home(path)
    files = [path] if path.is_file() else sorted(path.rglob("samples_*.jsonl"))
    if not files:
        raise SourceMissingError(f"No samples_….jsonl found at {path}. Run lm-eval with --log_samples --output_path.")
    importer = Import("lm-eval", path if path.is_dir() else path.parent)
    if not fresh and path.is_dir() and (cached := importer.cached()) is not None:
        return cached
    tasks: list[tuple[Task, dict[str, Any]]] = []
    for number, file in enumerate(files):
        with reading(file, _FORM):
            task, config = _task(file)
            task = distinguish_task(task, [other for other, _ in tasks])
            add_samples(importer, number, task, _samples(file, config))
        tasks.append((task, config))
    names = [name for task, _ in tasks for name in task.names]
    return importer.finish(
        names,
        plans=[str(file) for file in files],
        scenarios={task.scenario: _scenario(task) for task, _ in tasks},
        models={task.model: {"fingerprint": "", "durable": False, "note": "as lm-eval asked it"} for task, _ in tasks},
    )


def _task(file: Path) -> tuple[Task, dict[str, Any]]:
    """Return the task and configuration of a file, from its name and the results in the same folder."""
    match = re.fullmatch(r"samples_(.+)_(\d{4}-\d\d-\d\dT[\d\-.:]+)\.jsonl", file.name)
    name, stamp = match.groups() if match else (file.stem.removeprefix("samples_"), "")
    results: dict[str, Any] = {}
    for path in (file.with_name(f"results_{stamp}.json"), *sorted(file.parent.glob("results_*.json"))):
        if path.is_file():
            results = read_json(path)
            break
    config = dict(results.get("configs", {}).get(name, {}))
    shots = results.get("n-shot", {}).get(name, config.get("num_fewshot"))
    if not is_integer(shots):
        shots = None
    model = results.get("model_name") or results.get("config", {}).get("model_args") or file.parent.name
    decoding = json.dumps(config.get("generation_kwargs") or {}, sort_keys=True, ensure_ascii=False)
    return Task(
        name, str(model), shots=shots, decoding=decoding, description=str(config.get("description") or "")
    ), config


def _samples(file: Path, config: Mapping[str, Any]) -> Iterator[Sample]:
    """Yield one sample per document: lm-eval writes the documents once per filter, with the same completions."""
    scores: dict[str, dict[str, float | None]] = {}
    for number, line in iter_json_lines(file):
        with reading(f"{file}: line {number}", _FORM):
            scores.setdefault(str(line.get("doc_id")), {}).update(_scores(line))
    filters = set()
    for number, line in iter_json_lines(file):
        with reading(f"{file}: line {number}", _FORM):
            filters.add(str(line.get("filter")))
            if len(filters) > 1:
                return
            sample = _sample(line, config, scores[str(line["doc_id"])])
        yield sample


def _is_scored(line: Mapping[str, Any]) -> bool:
    """Return whether the request was for log-probabilities of texts."""
    (first, *_) = _values(line["arguments"])
    request = _values(first)
    return len(request) > 1 and isinstance(request[1], str)


def _scores(line: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the scores, by our names if they exist; a filter other than "none" is appended to the name."""
    suffix = "" if line.get("filter", "none") == "none" else f",{line['filter']}"
    listed = line.get("metrics", [name for name in line if name not in _SAMPLE_FIELDS])
    names = [name for name in listed if isinstance(line.get(name), int | float)]
    scored = bool(names) and _is_scored(line)
    return {_metric(name + suffix, scored=scored): float(line[name]) for name in names}


def _sample(line: Mapping[str, Any], config: Mapping[str, Any], scores: Mapping[str, float | None]) -> Sample:
    document = line["doc"] if isinstance(line["doc"], Mapping) else {"text": line["doc"]}
    requests = [_values(arguments) for arguments in _values(line["arguments"])]
    prompts = [str(arguments[0]) for arguments in requests]
    if _is_scored(line):
        texts = _options(document, [str(arguments[1]).strip() for arguments in requests])
        correct = _target_index(line["target"], texts)
        completions = [
            SampleCompletion(
                prompts[option], str(continuation), 0, option, str(continuation), float(line["resps"][option][0][0])
            )
            for option, (_, continuation, *_) in enumerate(requests)
        ]
        references = [reference(text, correct=option == correct) for option, text in enumerate(texts)]
    else:
        outputs = [text for response in line["resps"] for text in response]
        completions = [
            SampleCompletion(prompts[0], str(text), output_index) for output_index, text in enumerate(outputs)
        ]
        references = [reference(line["target"], correct=True)]
    return Sample(
        instance_id=str(line["doc_id"]),
        input=_input(document, prompts[0], config),
        references=references,
        completions=completions,
        scores=scores,
    )


def _values(values: Any) -> list[Any]:
    """Return a list of lm-eval's, which it writes as a mapping: gen_args_0, gen_args_1, …"""
    if not isinstance(values, Mapping):
        return list(values)
    return [values[key] for key in sorted(values, key=lambda key: int(str(key).rpartition("_")[2]))]


def _options(document: Mapping[str, Any], requested: list[str]) -> list[str]:
    """Return the document's options if their number equals the number of requests; else the requested texts."""
    for name in _OPTION_FIELDS:
        options = document.get(name)
        if isinstance(options, Mapping):
            options = options.get("text")
        if isinstance(options, list) and len(options) == len(requested):
            return [str(option) for option in options]
    return requested


def _target_index(target: Any, texts: list[str]) -> int | None:
    """Return the index of the option that is the target: a number, letter or text."""
    text = str(target).strip()
    if text.isdigit() and int(text) < len(texts):
        return int(text)
    if text in texts:
        return texts.index(text)
    letter = text.strip("(). ").upper()
    return ord(letter) - 65 if len(letter) == 1 and 0 <= ord(letter) - 65 < len(texts) else None


def _input(document: Mapping[str, Any], prompt: str, config: Mapping[str, Any]) -> str:
    """Return the input: the field in the task's template, or the first usual field; else the prompt."""
    template = re.fullmatch(r"\s*\{\{\s*(\w+)\s*\}\}\s*", str(config.get("doc_to_text") or ""))
    for name in ((template[1],) if template else ()) + _INPUT_FIELDS:
        if isinstance(document.get(name), str):
            return str(document[name])
    return prompt


def _metric(name: str, *, scored: bool) -> str:
    """Return our name of an equal metric; for options scored separately, only metrics of level instance."""
    for ours in METRICS:
        entry = METRICS[ours]
        if name in entry.lm_eval and (entry.level == "instance") == scored:
            return ours
    return name


def _scenario(task: Task) -> dict[str, Any]:
    main = next(iter(task.names), "")
    return {
        "version": "",
        "main": {"metric": main, "split": "test", "mean": "micro"},
        "subsets": [],
        "description": task.description,
    }


# -- out -------------------------------------------------------------------------------------------------------------

_INSTANCE = [name for name in COMPLETIONS.key if name not in ("output_index", *OF_REQUEST)]
_TASK = ("scenario", "setting", "perturbation")


@view("Results.lm_eval")
def write_lm_eval(results: Results, folder: str | Path) -> Path:
    """Write a folder of lm-eval for each model: the scores, and the samples of each task.

    A task is a scenario with its setting and perturbation. The names of metrics are lm-eval's if the definitions are
    equal, else ours.

    Source: lm-eval 0.4 `loggers/evaluation_tracker.py`.
    """
    target = from_home(folder)
    if target.exists() and any(target.iterdir()):
        raise StoreError(f"to_lm_eval(): folder {target} isn't empty. Write another folder.")
    table = results.table()
    started = float(results.manifest.get("started") or 0)
    stamp = f"{datetime.fromtimestamp(started, UTC):%Y-%m-%dT%H-%M-%S.%f}"
    for (model,), rows in table.group_by(["model"], maintain_order=True):
        part = target / re.sub(r"[^\w.\-]+", "__", str(model)).strip(".")
        part.mkdir(parents=True, exist_ok=True)
        counts, shots = _write_samples(results, str(model), part, stamp)
        content = {**_scores_content(results, rows, counts, shots), **_run_content(results, str(model), started)}
        (part / f"results_{stamp}.json").write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")
    return target


def _task_name(row: Mapping[str, Any]) -> str:
    values = [str(row[name]) for name in _TASK if row.get(name) and row[name] != "original"]
    return re.sub(r"[^\w.\-]+", "_", "_".join(values)).strip("_.")


def _scores_content(
    results: Results, rows: pl.DataFrame, counts: Mapping[str, int], shots: Mapping[str, int]
) -> dict[str, Any]:
    scores: dict[str, dict[str, Any]] = {}
    directions: dict[str, dict[str, bool]] = {}
    for row in rows.iter_rows(named=True):
        task, name = _task_name(row), _lm_eval_name(row["metric"])
        if row["value"] is None or not math.isfinite(row["value"]):
            continue
        entry = scores.setdefault(task, {"alias": task})
        entry[f"{name},none"] = row["value"]
        entry[f"{name}_stderr,none"] = "N/A" if row["stderr"] is None else row["stderr"]
        higher = results.manifest["metrics"][row["metric"]].get("higher_is_better")
        directions.setdefault(task, {})[name] = higher is not False
    return {
        "results": scores,
        "group_subtasks": {task: [] for task in scores},
        "configs": {
            task: {"task": task, "dataset_path": task, "num_fewshot": shots.get(task, 0), "metadata": {"version": 1.0}}
            for task in scores
        },
        "versions": dict.fromkeys(scores, 1.0),
        "n-shot": {task: shots.get(task, 0) for task in scores},
        "higher_is_better": directions,
        "n-samples": {task: {"original": counts.get(task, 0), "effective": counts.get(task, 0)} for task in scores},
    }


def _run_content(results: Results, model: str, started: float) -> dict[str, Any]:
    return {
        "config": {"model": "helmframe", "model_args": model},
        "date": started,
        "helmframe_version": str(results.manifest.get("versions", {}).get("helmframe", "unknown")),
        "model_source": "helmframe",
        "model_name": model,
        "model_name_sanitized": re.sub(r"[^\w.\-]+", "__", model),
    }


def _lm_eval_name(metric: str) -> str:
    """Return lm-eval's name of a metric with the same definition, else the name."""
    return METRICS[metric].lm_eval[0] if metric in METRICS and METRICS[metric].lm_eval else metric


def _write_samples(results: Results, model: str, folder: Path, stamp: str) -> tuple[dict[str, int], dict[str, int]]:
    """Write the samples of each task, in shards; return the number of samples and of few-shot examples by task."""
    prefixes = results.prefixes.unique("prefix_id").collect().lazy()
    counts: dict[str, int] = {}
    shots: dict[str, int] = {}
    for chunk in reader_of(results).chunks:
        completions = parse(chunk.completions.filter(model=model))
        texts = completions.join(prefixes, on="prefix_id", how="left", maintain_order="left").collect()
        if texts.is_empty():
            continue
        scored = with_scores(texts, chunk.scores.filter(model=model).collect())
        metrics = [name for name in results.metric_names if name in scored.columns]
        for instance in scored.partition_by(_INSTANCE, maintain_order=True):
            rows = instance.rows(named=True)
            task = _task_name(rows[0])
            line = _sample_line(rows, metrics, counts.get(task, 0))
            with (folder / f"samples_{task}_{stamp}.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
            counts[task] = counts.get(task, 0) + 1
            shots[task] = max(shots.get(task, 0), rows[0]["shots_used"] or 0)
    return counts, shots


def _sample_line(rows: Sequence[Mapping[str, Any]], metrics: Sequence[str], number: int) -> dict[str, Any]:
    first = rows[0]
    references = first["perturbed_references"] or []
    options = [row for row in rows if row["continuation"] is not None and row["request_mode"] != "calibration"]
    document = {
        "question": first["perturbed_input"],
        "choices": [option["text"] for option in references],
        "instance_id": first["instance_id"],
        "subset": first["subset"],
    }
    gold = [index for index, option in enumerate(references) if option["correct"]]
    arguments: dict[str, Any]
    if options:
        arguments = {
            f"gen_args_{index}": {"arg_0": _prompt(row), "arg_1": row["continuation"]}
            for index, row in enumerate(options)
        }
        responses: list[Any] = [[[row["logprob"], False]] for row in options]
        filtered: list[Any] = [response[0] for response in responses]
        target: Any = gold[0] if gold else None
    else:
        decoding = json.loads(first["decoding"] or "{}")
        arguments = {"gen_args_0": {"arg_0": _prompt(first), "arg_1": decoding}}
        responses = [[row["completion"] or "" for row in rows]]
        filtered = [row["output"] or "" for row in rows]
        target = references[gold[0]]["text"] if gold else ""
    values = {name: [row[name] for row in rows if row[name] is not None] for name in metrics}
    scores = {_lm_eval_name(name): sum(values[name]) / len(values[name]) for name in metrics if values[name]}
    return {
        "doc_id": number,
        "doc": document,
        "target": target,
        "arguments": arguments,
        "resps": responses,
        "filtered_resps": filtered,
        "filter": "none",
        "metrics": list(scores),
        "doc_hash": _hash(json.dumps(document, ensure_ascii=False)),
        "prompt_hash": _hash(_prompt(first)),
        "target_hash": _hash(str(target)),
        **scores,
    }


def _prompt(row: Mapping[str, Any]) -> str:
    return (row["prefix"] or "") + (row["suffix"] or "")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
