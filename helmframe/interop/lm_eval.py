"""lm-evaluation-harness's per-sample logs as our tables: `hf.read_lm_eval`."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from helmframe.config import from_home
from helmframe.errors import SourceBrokenError, SourceMissingError
from helmframe.interop.imports import Import, Sample, SampleCompletion, Task, add_samples, distinguish_task, reference
from helmframe.metrics.protocol import METRICS
from helmframe.results import Results, register_loader

# The names of the input text in the tasks' documents, in this order.
_INPUT_FIELDS = (
    *("question", "query", "input", "problem", "Problem", "ctx", "goal", "sentence", "prompt", "text", "passage"),
    *("document", "article", "premise"),
)
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
            results = json.loads(path.read_text(encoding="utf-8"))
            break
    config = dict(results.get("configs", {}).get(name, {}))
    shots = results.get("n-shot", {}).get(name, config.get("num_fewshot"))
    model = results.get("model_name") or results.get("config", {}).get("model_args") or file.parent.name
    decoding = json.dumps(config.get("generation_kwargs") or {}, sort_keys=True, ensure_ascii=False)
    return Task(
        name, str(model), shots=shots, decoding=decoding, description=str(config.get("description") or "")
    ), config


def _samples(file: Path, config: Mapping[str, Any]) -> Iterator[Sample]:
    """Yield one sample per document: lm-eval writes the documents once per filter, with the same completions."""
    scores: dict[str, dict[str, float | None]] = {}
    for line in _lines(file):
        scores.setdefault(str(line.get("doc_id")), {}).update(_scores(line))
    first = None
    for number, line in enumerate(_lines(file), 1):
        first = line.get("filter") if number == 1 else first
        if line.get("filter") != first:
            return
        try:
            yield _sample(line, config, scores[str(line["doc_id"])])
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise _broken(file, number, error) from None


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield dict(json.loads(line))
            except (ValueError, TypeError) as error:
                raise _broken(file, number, error) from None


def _broken(file: Path, number: int, error: Exception) -> SourceBrokenError:
    return SourceBrokenError(f"{file}: line {number} isn't in lm-eval's format: {type(error).__name__}: {error}.")


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
