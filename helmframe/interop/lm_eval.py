"""lm-evaluation-harness's per-sample logs as our tables: `hf.read_lm_eval`."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from helmframe.config import from_home
from helmframe.errors import SourceBrokenError, SourceMissingError
from helmframe.interop.helm.samples import Answered, Sample, Task, add, apart, reference
from helmframe.interop.imported import Import
from helmframe.metrics.protocol import METRICS
from helmframe.results import Results, register_loader

# What tasks call the text to answer, in this order.
_INPUTS = (
    *("question", "query", "input", "problem", "Problem", "ctx", "goal", "sentence", "prompt", "text", "passage"),
    *("document", "article", "premise"),
)
_OPTIONS = ("choices", "options", "endings")
# What a line holds besides its metrics; until lm-eval 0.4.5 no "metrics" lists these.
_SAMPLE = {
    *("doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics"),
    *("doc_hash", "prompt_hash", "target_hash"),
}


@register_loader
def read_lm_eval(path: str | Path, *, fresh: bool = False) -> Results:
    """The samples that lm-eval logged (`--log_samples`) as results.

    Scores have our names where the definitions are the same (acc of options is option_accuracy), else lm-eval's. What
    was scored option by option is so in our tables too: `rescore("exact_match")` reads the likeliest as the answer.

    Args:
        path: a `samples_….jsonl`, or a folder with some; `results_….json` beside them tells model and settings.
        fresh: read again what was read before; it is kept in the store.

    Raises:
        SourceMissingError: no samples are there.
        SourceBrokenError: a line is not as lm-eval writes it.
    """
    path = from_home(path)
    files = [path] if path.is_file() else sorted(path.rglob("samples_*.jsonl"))
    if not files:
        raise SourceMissingError(f"no samples_….jsonl is at {path}. Run lm-eval with --log_samples --output_path.")
    reading = Import("lm-eval", path if path.is_dir() else path.parent)
    if not fresh and path.is_dir() and (kept := reading.kept()) is not None:
        return kept
    tasks: list[tuple[Task, dict[str, Any]]] = []
    for number, file in enumerate(files):
        task, config = _task(file)
        task = apart(task, [each for each, _ in tasks])
        add(reading, number, task, _samples(file, config))
        tasks.append((task, config))
    names = [name for task, _ in tasks for name in task.names]
    return reading.finish(
        names,
        plans=[str(file) for file in files],
        scenarios={task.scenario: _scenario(task) for task, _ in tasks},
        models={task.model: {"fingerprint": "", "durable": False, "note": "as lm-eval asked it"} for task, _ in tasks},
    )


def _task(file: Path) -> tuple[Task, dict[str, Any]]:
    """What the file is of: its name, and the results beside it."""
    found = re.fullmatch(r"samples_(.+)_(\d{4}-\d\d-\d\dT[\d\-.:]+)\.jsonl", file.name)
    name, stamp = found.groups() if found else (file.stem.removeprefix("samples_"), "")
    about: dict[str, Any] = {}
    for beside in (file.with_name(f"results_{stamp}.json"), *sorted(file.parent.glob("results_*.json"))):
        if beside.is_file():
            about = json.loads(beside.read_text(encoding="utf-8"))
            break
    config = dict(about.get("configs", {}).get(name, {}))
    shots = about.get("n-shot", {}).get(name, config.get("num_fewshot"))
    model = about.get("model_name") or about.get("config", {}).get("model_args") or file.parent.name
    decoding = json.dumps(config.get("generation_kwargs") or {}, sort_keys=True, ensure_ascii=False)
    return Task(
        name, str(model), shots=shots, decoding=decoding, description=str(config.get("description") or "")
    ), config


def _samples(file: Path, config: Mapping[str, Any]) -> Iterator[Sample]:
    """One sample per document: lm-eval writes all documents once per filter, over the same answers."""
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
    return SourceBrokenError(f"{file}, line {number}, is not as lm-eval writes it: {type(error).__name__} {error}.")


def _is_scored(line: Mapping[str, Any]) -> bool:
    """Whether log-probabilities of texts were asked for."""
    (first, *_) = _values(line["arguments"])
    asked = _values(first)
    return len(asked) > 1 and isinstance(asked[1], str)


def _scores(line: Mapping[str, Any]) -> dict[str, float | None]:
    """By our names, where there are some; those of other filters than "none" say which."""
    end = "" if line.get("filter", "none") == "none" else f",{line['filter']}"
    listed = line.get("metrics", [name for name in line if name not in _SAMPLE])
    names = [name for name in listed if isinstance(line.get(name), int | float)]
    scored = bool(names) and _is_scored(line)
    return {_metric(name + end, scored=scored): float(line[name]) for name in names}


def _sample(line: Mapping[str, Any], config: Mapping[str, Any], scores: Mapping[str, float | None]) -> Sample:
    document = line["doc"] if isinstance(line["doc"], Mapping) else {"text": line["doc"]}
    asked = [_values(arguments) for arguments in _values(line["arguments"])]
    prompts = [str(arguments[0]) for arguments in asked]
    if _is_scored(line):
        texts = _options(document, [str(arguments[1]).strip() for arguments in asked])
        right = _right(line["target"], texts)
        answers = [
            Answered(
                prompts[option], str(continuation), 0, option, str(continuation), float(line["resps"][option][0][0])
            )
            for option, (_, continuation, *_) in enumerate(asked)
        ]
        references = [reference(text, correct=option == right) for option, text in enumerate(texts)]
    else:
        outputs = [text for response in line["resps"] for text in response]
        answers = [Answered(prompts[0], str(text), output_index) for output_index, text in enumerate(outputs)]
        references = [reference(line["target"], correct=True)]
    return Sample(
        instance_id=str(line["doc_id"]),
        input=_input(document, prompts[0], config),
        references=references,
        answers=answers,
        scores=scores,
    )


def _values(said: Any) -> list[Any]:
    """lm-eval writes its lists as mappings: gen_args_0, gen_args_1, …"""
    if not isinstance(said, Mapping):
        return list(said)
    return [said[key] for key in sorted(said, key=lambda key: int(str(key).rpartition("_")[2]))]


def _options(document: Mapping[str, Any], said: list[str]) -> list[str]:
    """The texts of the options, where the document has as many as were asked about: else what was asked about."""
    for name in _OPTIONS:
        found = document.get(name)
        if isinstance(found, Mapping):
            found = found.get("text")
        if isinstance(found, list) and len(found) == len(said):
            return [str(each) for each in found]
    return said


def _right(target: Any, texts: list[str]) -> int | None:
    """Which option is the target, said by number, letter or text."""
    text = str(target).strip()
    if text.isdigit() and int(text) < len(texts):
        return int(text)
    if text in texts:
        return texts.index(text)
    letter = text.strip("(). ").upper()
    return ord(letter) - 65 if len(letter) == 1 and 0 <= ord(letter) - 65 < len(texts) else None


def _input(document: Mapping[str, Any], prompt: str, config: Mapping[str, Any]) -> str:
    """The text to answer: the field that the task's template is, or the first usual one; else the prompt."""
    template = re.fullmatch(r"\s*\{\{\s*(\w+)\s*\}\}\s*", str(config.get("doc_to_text") or ""))
    for name in ((template[1],) if template else ()) + _INPUTS:
        if isinstance(document.get(name), str):
            return str(document[name])
    return prompt


def _metric(name: str, *, scored: bool) -> str:
    """Our name of a metric of theirs that is the same; of options scored one by one those of level instance."""
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
