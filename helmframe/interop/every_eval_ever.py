"""Results in public formats: records of Every Eval Ever, written and read, and the Hub's model pages.

Source: github.com/evaleval/every_eval_ever, schema 0.3.0 (`eval.schema.json`, `instance_level_eval.schema.json`).
"""

import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import polars as pl

from helmframe._core.registry import view
from helmframe._core.yaml import iter_json_lines, read_json, reading
from helmframe._schema import COMPLETIONS, CONVERSATION, OF_REQUEST, ORIGINAL, TURN
from helmframe.config import from_home
from helmframe.errors import ArgumentError, SourceBrokenError, SourceMissingError, StoreError, UnknownNameError
from helmframe.interop.imports import Import, Sample, SampleCompletion, Task, add_samples, distinguish_task, reference
from helmframe.metrics.score import parse
from helmframe.results import Results, register_loader
from helmframe.results._data import reader_of, with_scores
from helmframe.store import Address, address_of, below, listing
from helmframe.store.files import write

SCHEMA = "0.3.0"
RELATIONSHIPS = ("first_party", "third_party", "collaborative", "other")
# Characters that a folder of the format can't have.
_UNSAFE = re.compile(r'[<>:"/\\|?*\x00-\x1f]|^\.+$|[. ]+$|^(?i:data|con|prn|aux|nul)$')
_AXES = ("setting", "perturbation", "split")
_UNITS = {"fraction": "proportion", "s": "seconds"}


@view("Results.every_eval_ever")
def write_every_eval_ever(
    results: Results,
    folder: str | Path,
    *,
    organization: str,
    relationship: str,
    metrics: str | Sequence[str] | None,
) -> Address:
    """Write one record for each scenario and model, and the samples of its main metrics.

    The arguments are those of `Results.to_every_eval_ever`.
    """
    if relationship not in RELATIONSHIPS:
        where = f"to_every_eval_ever(relationship={relationship!r})"
        raise ArgumentError.unknown_value(where, relationship, RELATIONSHIPS)
    target = address_of(folder)
    if listing(below(target, "data")):
        raise StoreError(f"to_every_eval_ever(): folder {target}/data isn't empty. Write another folder.")
    table = results.table(metrics=metrics) if metrics is not None else results.table()
    for (scenario, model), rows in table.filter(pl.col("value").is_finite()).group_by(
        ["scenario", "model"], maintain_order=True
    ):
        _write_record(results, target, str(scenario), str(model), rows, organization, relationship)
    return target


def _write_record(
    results: Results,
    target: Address,
    scenario: str,
    model: str,
    rows: pl.DataFrame,
    organization: str,
    relationship: str,
) -> None:
    manifest = results.manifest
    model_id = model if re.fullmatch(r"[^/]+/.+", model) else f"local/{model.strip('/') or 'model'}"
    collected = float(manifest.get("ended") or manifest.get("started") or 0)
    evaluation_id = f"{scenario}/{model_id}/{collected}"
    developer, name = (_folder_name(part) for part in model_id.split("/", 1))
    parts = ("data", _folder_name(scenario), developer, name)
    stem = str(UUID(bytes=hashlib.sha256(evaluation_id.encode()).digest()[:16], version=4))
    record = {
        "schema_version": SCHEMA,
        "evaluation_id": evaluation_id,
        **({"evaluation_timestamp": str(manifest["started"])} if manifest.get("started") else {}),
        "retrieved_timestamp": str(collected),
        "source_metadata": {
            "source_name": "helmframe",
            "source_type": "evaluation_run",
            "source_organization_name": organization,
            "evaluator_relationship": relationship,
        },
        "eval_library": {"name": "helmframe", "version": str(manifest.get("versions", {}).get("helmframe", "unknown"))},
        "model_info": {
            "name": model,
            "id": model_id,
            "developer": model_id.partition("/")[0],
            "additional_details": {"deployment_type": "unknown", "model_availability": "unknown"},
        },
        "evaluation_results": [_result(results, row) for row in rows.iter_rows(named=True)],
    }
    lines = "".join(
        json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n"
        for line in _samples(results, scenario, model, evaluation_id, model_id, rows)
    ).encode()
    if lines:
        samples = f"{stem}_samples.jsonl"
        write(lines, below(target, *parts, samples))
        record["detailed_evaluation_results"] = {
            "format": "jsonl",
            "file_path": "/".join((*parts, samples)),
            "hash_algorithm": "sha256",
            "checksum": hashlib.sha256(lines).hexdigest(),
            "total_rows": lines.count(b"\n"),
        }
    text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write(text.encode(), below(target, *parts, f"{stem}.json"))


def _folder_name(name: str) -> str:
    return _UNSAFE.sub("_", name) or "_"


def _result(results: Results, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entry of one row of the table of scores."""
    manifest = results.manifest
    metric = row["metric"]
    entry = manifest["metrics"][metric]
    low, high = entry.get("range") or (None, None)
    interval = {"lower": row["ci_low"], "upper": row["ci_high"]}
    uncertainty: dict[str, Any] = {"num_samples": row["n"]}
    if row["stderr"] is not None:
        uncertainty["standard_error"] = {"value": row["stderr"]}
    if None not in interval.values():
        uncertainty["confidence_interval"] = interval | {"confidence_level": 0.95, "method": row["interval"]}
    details = {name: str(row[name]) for name in row if name.startswith("n_") or name in ("chance", "majority", *_AXES)}
    if uncertainty.keys() == {"num_samples"} and row["interval"]:
        details["interval"] = str(row["interval"])
    return {
        "evaluation_result_id": _result_id(row),
        "evaluation_name": ", ".join([row["scenario"], *_conditions(row)]),
        "source_data": _source(manifest, row["scenario"], row.get("split")),
        "metric_config": {
            "evaluation_description": str(manifest["scenarios"].get(row["scenario"], {}).get("description", "")),
            "metric_id": metric,
            "metric_name": metric,
            **({"metric_unit": _UNITS.get(entry["unit"], entry["unit"])} if entry.get("unit") else {}),
            "lower_is_better": entry.get("higher_is_better") is False,
            "score_type": "continuous",
            "min_score": "-Infinity" if low is None else low,
            "max_score": "Infinity" if high is None else high,
        },
        "score_details": {
            "score": row["value"],
            "uncertainty": uncertainty,
            "details": {name: value for name, value in details.items() if value != "None"},
        },
        **_generation(results, row),
    }


def _conditions(row: Mapping[str, Any]) -> list[str]:
    """Return the values of the axes that the name of an evaluation shows: none for original texts."""
    values = [str(row[axis]) for axis in _AXES if row.get(axis)]
    return [value for value in values if value not in ("original", "test")]


def _result_id(row: Mapping[str, Any]) -> str:
    return "/".join([row["scenario"], *_conditions(row), row["metric"]])


def _source(manifest: Mapping[str, Any], scenario: str, split: str | None) -> dict[str, Any]:
    """Return the source of the rows: a data set on the Hub; a private address isn't named."""
    addresses = [entry.get("address", "") for entry in (manifest.get("data") or {}).get(scenario, ())]
    hub = re.match(r"hf://datasets/([^/@]+/[^/@]+)", addresses[0]) if addresses else None
    if hub is None:
        return {"dataset_name": scenario, "source_type": "other"}
    named = {"hf_split": split} if split else {}
    return {"dataset_name": scenario, "source_type": "hf_dataset", "hf_repo": hub[1], **named}


def _generation(results: Results, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the decoding parameters of a row, if its completions share them."""
    rows = results.completions.filter(scenario=row["scenario"], model=row["model"])
    if row.get("setting"):
        rows = rows.filter(setting=row["setting"])
    distinct = rows.select(pl.col("decoding").unique()).head(2).collect()["decoding"].drop_nulls()
    if distinct.len() != 1:
        return {}
    decoding = json.loads(distinct[0])
    known = {name: decoding[name] for name in ("temperature", "top_p", "top_k", "max_tokens") if name in decoding}
    others = {name: json.dumps(value) for name, value in decoding.items() if name not in known}
    return {"generation_config": {"generation_args": known, **({"additional_details": others} if others else {})}}


def _samples(
    results: Results, scenario: str, model: str, evaluation_id: str, model_id: str, rows: pl.DataFrame
) -> Iterator[dict[str, Any]]:
    """Yield a line for each completion and main metric, in shards."""
    main = [name for name in results.main_metrics if name in rows["metric"].unique()]
    prefixes = results.prefixes.unique("prefix_id").collect()
    for chunk in reader_of(results).chunks:
        completions = parse(chunk.completions.filter(scenario=scenario, model=model))
        texts = completions.join(prefixes.lazy(), on="prefix_id", how="left", maintain_order="left").collect()
        texts = _chosen_options(texts)
        scores = chunk.scores.filter(pl.col("metric").is_in(main), scenario=scenario, model=model).collect()
        for row in with_scores(texts, scores).iter_rows(named=True) if texts.height else ():
            for metric in main:
                score = row.get(metric)
                if score is not None and math.isfinite(score):
                    yield _line(row | {"metric": metric, "score": score}, evaluation_id, model_id)


def _chosen_options(rows: pl.DataFrame) -> pl.DataFrame:
    """Return one row for each instance whose options were scored: the option of highest log-probability."""
    options = rows.filter(pl.col("reference_index").is_not_null() & (pl.col("request_mode") == "original"))
    if options.is_empty():
        return rows
    key = [name for name in COMPLETIONS.key if name not in ("output_index", *OF_REQUEST)]
    best = options.sort("logprob", descending=True, nulls_last=True, maintain_order=True)
    best = best.unique(key, keep="first", maintain_order=True).with_columns(
        output=pl.col("continuation").str.strip_chars()
    )
    return pl.concat([rows.filter(pl.col("reference_index").is_null()), best])


def _line(row: Mapping[str, Any], evaluation_id: str, model_id: str) -> dict[str, Any]:
    references = row["perturbed_references"] or []
    gold = [option["text"] for option in references if option["correct"]]
    conversation = row.get(CONVERSATION) is not None
    completion = row["continuation"] if row["completion"] is None else row["completion"]
    prompt = (row["prefix"] or "") + (row["suffix"] or "")
    source = "messages[1].content" if conversation else "output.raw"
    reply: dict[str, Any]
    if conversation:
        messages = [
            {"turn_idx": 0, "role": "user", "content": prompt},
            {"turn_idx": 1, "role": "assistant", "content": completion, "reasoning_trace": row["reasoning"]},
        ]
        reply = {"output": None, "messages": messages}
    else:
        trace = [row["reasoning"]] if row["reasoning"] else None
        reply = {"output": {"raw": [completion or ""], "reasoning_trace": trace}, "messages": None}
    usage = None
    if row["prompt_tokens"] is not None and row["output_tokens"] is not None:
        usage = {
            "input_tokens": row["prompt_tokens"],
            "output_tokens": row["output_tokens"],
            "total_tokens": row["prompt_tokens"] + row["output_tokens"],
            "input_tokens_cache_read": row["cached_prompt_tokens"],
            "reasoning_tokens": row["reasoning_tokens"],
        }
    number = f"/output{row['output_index']}" if row["output_index"] else ""
    turn = {} if row.get(TURN) is None else {"turn": str(row[TURN])}
    return {
        "schema_version": SCHEMA,
        "evaluation_id": evaluation_id,
        "model_id": model_id,
        "evaluation_name": ", ".join([row["scenario"], *_conditions(row)]),
        "evaluation_result_id": _result_id(row),
        "sample_id": f"{row['instance_id']}{number}",
        "sample_hash": hashlib.sha256((row["perturbed_input"] + "".join(gold)).encode()).hexdigest(),
        "interaction_type": "multi_turn" if conversation else "single_turn",
        "input": {
            "raw": row["perturbed_input"],
            "formatted": prompt,
            "reference": gold,
            "choices": [option["text"] for option in references] if len(references) > len(gold) else None,
        },
        **reply,
        "answer_attribution": [
            {
                "turn_idx": 1 if conversation else 0,
                "source": source,
                "extracted_value": row["output"] or "",
                "extraction_method": row["metric"],
                "is_terminal": True,
            }
        ],
        "evaluation": {"score": row["score"], "is_correct": row["score"] == 1.0},
        "token_usage": usage,
        "performance": None if row["latency"] is None else {"latency_ms": row["latency"] * 1000},
        "error": row["error"],
        "metadata": {"subset": row["subset"], "split": row["split"], "perturbation": row["perturbation"], **turn},
    }


@view("Results.eval_results")
def eval_results(
    results: Results,
    *,
    model: str | None,
    datasets: Mapping[str, str | tuple[str, str]] | None,
    source: str | None,
    path: str | Path | None,
) -> str:
    """Return the main scores of one model in the form of the Hub's model pages, and write them to `path`.

    The arguments are those of `Results.to_eval_results`.

    Source: github.com/huggingface/hub-docs, `eval_results.yaml`.
    """
    import yaml

    table = results.table(metrics=results.main_metrics)
    names = table["model"].unique(maintain_order=True).to_list()
    if model is None and len(names) > 1:
        raise ArgumentError(f"to_eval_results(): the results have {len(names)} models. Write model={names[0]!r}.")
    chosen = names[0] if model is None else model
    if chosen not in names:
        raise UnknownNameError.among("model of these results", chosen, names)
    rows = table.filter(pl.col("value").is_finite(), model=chosen, perturbation=ORIGINAL)
    entries = [_eval_result(results, row, datasets or {}, source) for row in _main_rows(results, rows)]
    text: str = yaml.safe_dump(entries, sort_keys=False, allow_unicode=True, width=1000)
    if path is not None:
        write(text.encode(), address_of(path))
    return text


def _main_rows(results: Results, rows: pl.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield the row of the main metric and split of each scenario; the rows of several settings are ambiguous."""
    for (scenario,), of_scenario in rows.group_by(["scenario"], maintain_order=True):
        main = results.manifest["scenarios"][scenario]["main"]
        main_rows = of_scenario.filter(metric=main["metric"])
        if "split" in main_rows.columns:
            main_rows = main_rows.filter(split=main["split"])
        if main_rows.height > 1:
            settings = ", ".join(map(str, main_rows["setting"]))
            raise ArgumentError(
                f"to_eval_results(): scenario {scenario!r} has several settings ({settings}), and a model page has one "
                "value. Run the plan with one setting."
            )
        yield from main_rows.iter_rows(named=True)


def _eval_result(
    results: Results, row: Mapping[str, Any], datasets: Mapping[str, str | tuple[str, str]], source: str | None
) -> dict[str, Any]:
    scenario = row["scenario"]
    address = _source(results.manifest, scenario, None).get("hf_repo")
    named = datasets.get(scenario, address)
    if named is None:
        raise ArgumentError(
            f"to_eval_results(): the Hub's data set of scenario {scenario!r} is unknown. Write "
            f"datasets={{{scenario!r}: ('OWNER/NAME', 'TASK_ID')}}."
        )
    dataset, task = (named, "default") if isinstance(named, str) else named
    interval = ""
    if row["ci_low"] is not None:
        interval = f", 95% interval [{row['ci_low']:.4g}, {row['ci_high']:.4g}]"
    started = results.manifest.get("started")
    return {
        "dataset": {"id": dataset, "task_id": task},
        "value": round(row["value"], 6),
        **({"date": f"{datetime.fromtimestamp(started, UTC):%Y-%m-%d}"} if started else {}),
        **({"source": {"url": source, "name": "helmframe results"}} if source else {}),
        "notes": f"helmframe, {row['metric']}, n = {row['n']:,}{interval}",
    }


@register_loader("every_eval_ever")
def read_every_eval_ever(path: str | Path, *, fresh: bool = False) -> Results:
    """Return the samples of records of Every Eval Ever as results.

    Each evaluation of a record is a scenario. Scores have the record's metric names, which are ours if helmframe wrote
    the record. Records without samples have only aggregated scores; they are skipped, and the results list them.

        hf.read_every_eval_ever("data/gsm8k").leaderboard()

    The example writes records and reads them:

    >>> import tempfile
    >>> import helmframe as hf
    >>> results = hf.scenario("sampler").where(subject="music").limit(4).generate(hf.models.oracle()).score()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = results.to_every_eval_ever(folder)
    ...     hf.read_every_eval_ever(folder).value("exact_match")
    1.0

    Args:
        path: A record (`UUID.json`), or a folder with records.
        fresh: Whether to read the files again; the tables of an earlier call are cached in the store.

    Raises:
        SourceMissingError: The path has no record with samples.
        SourceBrokenError: A record or a sample isn't in the format.
    """
    path = from_home(path)
    files = [path] if path.is_file() else sorted(path.rglob("*.json"))
    records = [(file, record) for file in files if (record := _record(file)) is not None]
    if not records:
        raise SourceMissingError(f"No record of Every Eval Ever found at {path}. Write a folder with UUID.json files.")
    importer = Import("every-eval-ever", path if path.is_dir() else path.parent)
    if not fresh and path.is_dir() and (cached := importer.cached()) is not None:
        return cached
    tasks: list[Task] = []
    for file, record in records:
        samples = file.with_name(f"{file.stem}_samples.jsonl")
        with reading(file, "a record of Every Eval Ever"):
            model = str(record["model_info"]["name"])
            if not samples.is_file():
                reason = "The record has aggregated scores only. Samples are needed."
                importer.skipped += [
                    {"scenario": str(result["evaluation_name"]), "model": model, "reason": reason}
                    for result in record["evaluation_results"]
                ]
                continue
            for name, rows in _by_evaluation(samples, record).items():
                task = distinguish_task(Task(name, model), tasks)
                add_samples(importer, len(tasks), task, rows)
                tasks.append(task)
    if not tasks:
        raise SourceMissingError(f"The records at {path} have no samples (UUID_samples.jsonl), only aggregated scores.")
    return importer.finish(
        [name for task in tasks for name in task.names],
        plans=[str(file) for file, _ in records],
        scenarios={
            task.scenario: {
                "version": "",
                "main": {"metric": next(iter(task.names), ""), "split": "test", "mean": "micro"},
                "subsets": [],
                "description": "",
            }
            for task in tasks
        },
        models={task.model: {"fingerprint": "", "durable": False, "note": "as the record states"} for task in tasks},
    )


def _record(file: Path) -> dict[str, Any] | None:
    """Return the record in a file; None if the file is another kind of JSON."""
    try:
        content = read_json(file)
    except SourceBrokenError:
        return None
    if not isinstance(content, dict) or not {"evaluation_results", "model_info", "schema_version"} <= content.keys():
        return None
    return content


def _by_evaluation(file: Path, record: Mapping[str, Any]) -> dict[str, list[Sample]]:
    """Return the samples of each evaluation; lines of one sample differ in the metric."""
    metrics = {result.get("evaluation_result_id"): _metric_name(result) for result in record["evaluation_results"]}
    samples: dict[str, dict[str, Sample]] = {}
    for number, line in iter_json_lines(file):
        with reading(f"{file}: line {number}", "a sample of Every Eval Ever"):
            name, key = str(line["evaluation_name"]), str(line["sample_id"])
            metric = metrics.get(line.get("evaluation_result_id")) or _only(metrics.values()) or "score"
            score = line["evaluation"]["score"]
            scores = {metric: None if score is None else float(score)}
            earlier = samples.setdefault(name, {}).get(key)
            samples[name][key] = _sample(line, scores if earlier is None else {**earlier.scores, **scores})
    return {name: list(by_id.values()) for name, by_id in samples.items()}


def _metric_name(result: Mapping[str, Any]) -> str:
    config = result.get("metric_config") or {}
    return str(config.get("metric_id") or config.get("metric_name") or "score")


def _only(names: Iterable[str]) -> str | None:
    distinct = set(names)
    return distinct.pop() if len(distinct) == 1 else None


def _sample(line: Mapping[str, Any], scores: Mapping[str, float | None]) -> Sample:
    question = line["input"]
    gold = [str(text) for text in question["reference"]]
    options = question.get("choices")
    references = [reference(text, correct=text in gold) for text in map(str, options or gold)]
    messages = line.get("messages") or []
    texts = [message["content"] for message in messages if message["role"] == "assistant"][-1:]
    output = line.get("output") or {"raw": texts, "reasoning_trace": None}
    usage, trace = line.get("token_usage") or {}, output.get("reasoning_trace") or []
    latency = (line.get("performance") or {}).get("latency_ms")
    completions = [
        SampleCompletion(
            str(question.get("formatted") or question["raw"]),
            None if text is None else str(text),
            index,
            reasoning=str(trace[0]) if trace else None,
            prompt_tokens=usage.get("input_tokens"),
            output_tokens=usage.get("output_tokens"),
            reasoning_tokens=usage.get("reasoning_tokens"),
            latency=None if latency is None else float(latency) / 1000,
            error=line.get("error"),
        )
        for index, text in enumerate(output["raw"])
    ]
    return Sample(str(line["sample_id"]), str(question["raw"]), references, completions, scores)
