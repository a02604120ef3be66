"""Inspect's logs (.eval, .json) as our tables: `hf.read_inspect`."""

import json
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from helmframe._core.safe_text import error_text
from helmframe._core.yaml import LONGEST_JSON, decode_json, iter_json_items, reading
from helmframe.config import from_home
from helmframe.errors import HelmframeError, SourceMissingError
from helmframe.interop.imports import Import, Sample, SampleCompletion, Task, add_samples, distinguish_task, reference
from helmframe.results import Results, register_loader

# Inspect's grades as numbers: correct, partially correct, incorrect, no answer.
_GRADE_VALUES = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}
_ZSTANDARD = 93  # the compression method in ZIP files
_FINISH_REASONS = {"max_tokens": "length", "model_length": "length", "stop": "stop"}


@register_loader("inspect")
def read_inspect(path: str | Path, *, fresh: bool = False) -> Results:
    """Return the samples of Inspect's logs as results; scorers become metrics, epochs become trials.

        hf.read_inspect("logs").leaderboard()

    The example reads a log with one sample:

    >>> import json, tempfile
    >>> import helmframe as hf
    >>> output = {"choices": [{"message": {"role": "assistant", "content": "Paris"}, "stop_reason": "stop"}]}
    >>> sample = {"id": 1, "epoch": 1, "input": "The capital of France?", "target": "Paris", "output": output}
    >>> samples = [{**sample, "scores": {"match": {"value": "C"}}}]
    >>> header = {"task": "capitals", "model": "openai/gpt", "scorers": [{"name": "match"}]}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "log.json").write_text(json.dumps({"eval": header, "samples": samples}))
    ...     hf.read_inspect(folder).value("match")
    1.0

    Args:
        path: A log (.eval or .json), or a folder with logs.
        fresh: Whether to read the logs again; the tables of an earlier call are cached in the store.

    Raises:
        SourceMissingError: The path has no log.
        SourceBrokenError: A log isn't in Inspect's format.
    """
    path = from_home(path)
    candidates = [path] if path.is_file() else sorted([*path.rglob("*.eval"), *path.rglob("*.json")])
    logs = [log for log in candidates if log.suffix == ".eval" or path.is_file() or _is_log(log)]
    if not logs:
        raise SourceMissingError(
            f"No Inspect log (.eval, .json) found at {path}. Write the path of a log, or of a folder with logs."
        )
    importer = Import("Inspect", path if path.is_dir() else path.parent)
    if not fresh and path.is_dir() and (cached := importer.cached()) is not None:
        return cached
    tasks: list[Task] = []
    for number, log in enumerate(logs):
        with reading(log, "in Inspect's format"):
            header, samples = _open_log(log)
            task = distinguish_task(_task(header), tasks)
            scorers = [str(scorer["name"]) for scorer in header["eval"].get("scorers") or ()]
            add_samples(importer, number, task, (_sample(sample, scorers) for sample in samples))
        tasks.append(task)
    return importer.finish(
        [name for task in tasks for name in task.names],
        plans=[str(log) for log in logs],
        scenarios={task.scenario: _scenario(task) for task in tasks},
        models={task.model: {"fingerprint": "", "durable": False, "note": "as Inspect asked it"} for task in tasks},
    )


def _is_log(file: Path) -> bool:
    with file.open(encoding="utf-8", errors="replace") as text:
        return '"eval"' in text.read(2_000)


def _open_log(file: Path) -> tuple[Mapping[str, Any], Iterator[Any]]:
    """Return the header of a log, and an iterator over its samples."""
    if file.suffix == ".eval":
        with _open_zip(file) as archive:
            name = "header.json" if "header.json" in archive.namelist() else "_journal/start.json"
            return decode_json(_member(archive, file, archive.getinfo(name))), _zip_samples(file)
    with file.open("rb") as log:
        header = {"eval": next(iter_json_items(log, "eval"), None)}
    return header, _json_samples(file)


def _zip_samples(file: Path) -> Iterator[Any]:
    with _open_zip(file) as archive:
        for info in archive.infolist():
            if info.filename.startswith("samples/") and info.filename.endswith(".json"):
                yield decode_json(_member(archive, file, info))


@contextmanager
def _open_zip(file: Path) -> Iterator[zipfile.ZipFile]:
    """Open a ZIP file; the errors of damaged and unsupported files are values errors."""
    try:
        with zipfile.ZipFile(file) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, struct.error, NotImplementedError, RuntimeError, EOFError) as error:
        raise ValueError(error_text(error)) from None
    except OSError as error:
        if isinstance(error, HelmframeError):
            raise
        raise ValueError(error_text(error)) from None


def _member(archive: zipfile.ZipFile, file: Path, info: zipfile.ZipInfo) -> bytes:
    """Return a file of the archive; Inspect uses Zstandard, which zipfile supports since Python 3.14 only."""
    if info.file_size > LONGEST_JSON:
        raise ValueError(f"{info.filename} is longer than {LONGEST_JSON >> 20} MB")
    if info.compress_type != _ZSTANDARD:
        return archive.read(info)
    import pyarrow as pa

    with file.open("rb") as raw:
        raw.seek(info.header_offset)
        # APPNOTE.TXT 4.3.7: 30 bytes, the last four of which are the lengths of the name and the extra field
        name, extra = struct.unpack("<HH", raw.read(30)[26:])
        raw.seek(name + extra, 1)
        packed = raw.read(info.compress_size)
    try:
        content: bytes = pa.Codec("zstd").decompress(packed, info.file_size, asbytes=True)
    except OSError as error:  # Arrow raises it for bytes that aren't Zstandard
        raise zipfile.BadZipFile(f"{info.filename}: {error}") from None
    if zlib.crc32(content) != info.CRC:
        raise zipfile.BadZipFile(f"{info.filename}: another checksum than it should have")
    return content


def _json_samples(file: Path) -> Iterator[Any]:
    with file.open("rb") as log:
        yield from iter_json_items(log, "samples")


def _task(header: Mapping[str, Any]) -> Task:
    evaluation = header["eval"]
    config = evaluation.get("model_generate_config") or {}
    decoding = json.dumps({key: value for key, value in config.items() if value is not None}, sort_keys=True)
    name = str(evaluation["task"]).rpartition("/")[2]
    arguments = [
        f"{key}={value}"
        for key, value in (evaluation.get("task_args_passed") or evaluation.get("task_args") or {}).items()
    ]
    return Task(name, str(evaluation["model"]), setting=",".join(arguments), decoding=decoding)


def _sample(sample: Mapping[str, Any], scorers: Sequence[str]) -> Sample:
    targets = [sample["target"]] if isinstance(sample["target"], str) else list(sample["target"])
    options = sample.get("choices")
    if options:
        correct = {index for index, _ in enumerate(options) if chr(65 + index) in targets}
        references = [reference(text, correct=index in correct) for index, text in enumerate(options)]
    else:
        references = [reference(text, correct=True) for text in targets]
    return Sample(
        instance_id=str(sample["id"]),
        input=_text(sample["input"]),
        references=references,
        completions=_completions(sample),
        # failed samples have no scores: they become null, as for failures of our runs
        scores=dict(_scores(sample["scores"])) if sample.get("scores") else dict.fromkeys(scorers),
        trial=int(sample.get("epoch") or 1) - 1,
    )


def _completions(sample: Mapping[str, Any]) -> list[SampleCompletion]:
    output = sample.get("output") or {}
    failure = sample.get("error") or output.get("error")
    prompt = _prompt(sample)
    usage = output.get("usage") or {}
    common: dict[str, Any] = {
        "prompt": prompt,
        "prompt_tokens": usage.get("input_tokens"),
        "output_tokens": usage.get("output_tokens"),
        "reasoning_tokens": usage.get("reasoning_tokens"),
        "latency": output.get("time"),
    }
    choices = output.get("choices") or []
    if failure or not choices:
        text = failure.get("message") if isinstance(failure, Mapping) else failure
        return [SampleCompletion(**common, completion=None, error=f"InspectError: {text or 'no output'}")]
    return [
        SampleCompletion(
            **common,
            completion=_content(choice["message"]["content"]),
            reasoning=_reasoning(choice["message"]["content"]),
            output_index=index,
            finish_reason=_FINISH_REASONS.get(str(choice.get("stop_reason"))),
        )
        for index, choice in enumerate(choices)
    ]


def _prompt(sample: Mapping[str, Any]) -> str:
    """Return the conversation before the last completion."""
    messages = list(sample.get("messages") or [])
    while messages and messages[-1].get("role") == "assistant":
        messages.pop()
    if not messages:
        return _text(sample["input"])
    if len(messages) == 1:
        return _content(messages[0]["content"])
    return "\n\n".join(f"{message['role']}: {_content(message['content'])}" for message in messages)


def _text(messages: Any) -> str:
    """Return the input: a text, or the user's last turn."""
    if isinstance(messages, str):
        return messages
    turns = [message for message in messages if message.get("role") == "user"] or list(messages)
    return _content(turns[-1]["content"])


def _content(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(str(part.get("text", "")) for part in content if part.get("type") == "text")


def _reasoning(content: Any) -> str | None:
    if isinstance(content, str):
        return None
    return "".join(str(part.get("reasoning", "")) for part in content if part.get("type") == "reasoning") or None


def _scores(scores: Mapping[str, Any]) -> Iterator[tuple[str, float | None]]:
    for scorer, score in scores.items():
        value = score["value"]
        parts = value.items() if isinstance(value, Mapping) else [("", value)]
        for name, part in parts:
            yield f"{scorer}/{name}" if name else scorer, _number(part)


def _number(value: Any) -> float | None:
    if isinstance(value, str) and value in _GRADE_VALUES:
        return _GRADE_VALUES[value]
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _scenario(task: Task) -> dict[str, Any]:
    main = next(iter(task.names), "")
    return {"version": "", "main": {"metric": main, "split": "test", "mean": "micro"}, "subsets": [], "description": ""}
