"""Inspect's logs (.eval, .json) as our tables: `hf.read_inspect`."""

import json
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from helmframe.config import from_home
from helmframe.errors import SourceBrokenError, SourceMissingError
from helmframe.interop.helm.samples import Answered, Sample, Task, add, apart, reference
from helmframe.interop.helm.state_reader import items
from helmframe.interop.imported import Import
from helmframe.results import Results, register_loader

# Inspect's grades as numbers: correct, partly, incorrect, no answer.
_GRADES = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}
_ZSTANDARD = 93  # as a method of compression
_FINISH = {"max_tokens": "length", "model_length": "length", "stop": "stop"}


@register_loader
def read_inspect(path: str | Path, *, fresh: bool = False) -> Results:
    """The samples of Inspect's logs as results; each scorer is a metric, each epoch a trial.

    Args:
        path: a log (.eval or .json), or a folder with some.
        fresh: read again what was read before; it is kept in the store.

    Raises:
        SourceMissingError: no log is there.
        SourceBrokenError: a log is not as Inspect writes it.
    """
    path = from_home(path)
    found = [path] if path.is_file() else sorted([*path.rglob("*.eval"), *path.rglob("*.json")])
    logs = [file for file in found if file.suffix == ".eval" or path.is_file() or _is_log(file)]
    if not logs:
        raise SourceMissingError(f"no log of Inspect's (.eval, .json) is at {path}.")
    reading = Import("Inspect", path if path.is_dir() else path.parent)
    if not fresh and path.is_dir() and (kept := reading.kept()) is not None:
        return kept
    tasks: list[Task] = []
    for number, file in enumerate(logs):
        try:
            header, samples = _opened(file)
            task = apart(_task(header), tasks)
            scorers = [str(each["name"]) for each in header["eval"].get("scorers") or ()]
            add(reading, number, task, (_sample(each, scorers) for each in samples))
        except (zipfile.BadZipFile, ValueError, LookupError, TypeError, AttributeError) as error:
            raise SourceBrokenError(f"{file} is not as Inspect writes it: {type(error).__name__} {error}.") from None
        tasks.append(task)
    return reading.finish(
        [name for task in tasks for name in task.names],
        plans=[str(file) for file in logs],
        scenarios={task.scenario: _scenario(task) for task in tasks},
        models={task.model: {"fingerprint": "", "durable": False, "note": "as Inspect asked it"} for task in tasks},
    )


def _is_log(file: Path) -> bool:
    with file.open(encoding="utf-8", errors="replace") as text:
        return '"eval"' in text.read(2_000)


def _opened(file: Path) -> tuple[Mapping[str, Any], Iterator[Any]]:
    """What the log says of its task, and its samples, one at a time."""
    if file.suffix == ".eval":
        with zipfile.ZipFile(file) as archive:
            name = "header.json" if "header.json" in archive.namelist() else "_journal/start.json"
            return json.loads(_member(archive, file, archive.getinfo(name))), _zipped(file)
    with file.open("rb") as log:
        header = {"eval": next(items(log, "eval"), None)}
    return header, _listed(file)


def _zipped(file: Path) -> Iterator[Any]:
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            if info.filename.startswith("samples/") and info.filename.endswith(".json"):
                yield json.loads(_member(archive, file, info))


def _member(archive: zipfile.ZipFile, file: Path, info: zipfile.ZipInfo) -> bytes:
    """A file of the archive; Inspect packs with Zstandard, which zipfile knows from Python 3.14 on only."""
    if info.compress_type != _ZSTANDARD:
        return archive.read(info)
    import pyarrow as pa

    with file.open("rb") as raw:
        raw.seek(info.header_offset)
        # APPNOTE.TXT 4.3.7: 30 bytes, the last four of which are the lengths of a name and of something extra
        name, extra = struct.unpack("<HH", raw.read(30)[26:])
        raw.seek(name + extra, 1)
        packed = raw.read(info.compress_size)
    try:
        data: bytes = pa.Codec("zstd").decompress(packed, info.file_size, asbytes=True)
    except OSError as error:  # what Arrow says of bytes that are no Zstandard
        raise zipfile.BadZipFile(f"{info.filename}: {error}") from None
    if zlib.crc32(data) != info.CRC:
        raise zipfile.BadZipFile(f"{info.filename}: another checksum than it should have")
    return data


def _listed(file: Path) -> Iterator[Any]:
    with file.open("rb") as log:
        yield from items(log, "samples.item")


def _task(header: Mapping[str, Any]) -> Task:
    about = header["eval"]
    said = about.get("model_generate_config") or {}
    decoding = json.dumps({key: value for key, value in said.items() if value is not None}, sort_keys=True)
    name = str(about["task"]).rpartition("/")[2]
    words = [f"{key}={value}" for key, value in (about.get("task_args_passed") or about.get("task_args") or {}).items()]
    return Task(name, str(about["model"]), setting=",".join(words), decoding=decoding)


def _sample(sample: Mapping[str, Any], scorers: Sequence[str]) -> Sample:
    targets = [sample["target"]] if isinstance(sample["target"], str) else list(sample["target"])
    options = sample.get("choices")
    if options:
        right = {place for place, _ in enumerate(options) if chr(65 + place) in targets}
        references = [reference(text, correct=place in right) for place, text in enumerate(options)]
    else:
        references = [reference(text, correct=True) for text in targets]
    return Sample(
        instance_id=str(sample["id"]),
        input=_text(sample["input"]),
        references=references,
        answers=_answers(sample),
        # what failed has no scores: they are null, as those of our own failures are
        scores=dict(_scores(sample["scores"])) if sample.get("scores") else dict.fromkeys(scorers),
        trial=int(sample.get("epoch") or 1) - 1,
    )


def _answers(sample: Mapping[str, Any]) -> list[Answered]:
    output = sample.get("output") or {}
    failed = sample.get("error") or output.get("error")
    prompt = _prompt(sample)
    usage = output.get("usage") or {}
    common: dict[str, Any] = {
        "prompt": prompt,
        "prompt_tokens": usage.get("input_tokens"),
        "output_tokens": usage.get("output_tokens"),
        "latency": output.get("time"),
    }
    answers = output.get("choices") or []
    if failed or not answers:
        text = failed.get("message") if isinstance(failed, Mapping) else failed
        return [Answered(**common, completion=None, error=f"InspectError: {text or 'no output'}")]
    return [
        Answered(
            **common,
            completion=_content(each["message"]["content"]),
            reasoning=_reasoning(each["message"]["content"]),
            output_index=place,
            finish_reason=_FINISH.get(str(each.get("stop_reason"))),
        )
        for place, each in enumerate(answers)
    ]


def _prompt(sample: Mapping[str, Any]) -> str:
    """The conversation up to the last answer."""
    messages = list(sample.get("messages") or [])
    while messages and messages[-1].get("role") == "assistant":
        messages.pop()
    if not messages:
        return _text(sample["input"])
    if len(messages) == 1:
        return _content(messages[0]["content"])
    return "\n\n".join(f"{each['role']}: {_content(each['content'])}" for each in messages)


def _text(said: Any) -> str:
    """The input: a text, or the last turn of the user's."""
    if isinstance(said, str):
        return said
    turns = [each for each in said if each.get("role") == "user"] or list(said)
    return _content(turns[-1]["content"])


def _content(said: Any) -> str:
    if isinstance(said, str):
        return said
    return "".join(str(part.get("text", "")) for part in said if part.get("type") == "text")


def _reasoning(said: Any) -> str | None:
    if isinstance(said, str):
        return None
    return "".join(str(part.get("reasoning", "")) for part in said if part.get("type") == "reasoning") or None


def _scores(scores: Mapping[str, Any]) -> Iterator[tuple[str, float | None]]:
    for scorer, score in scores.items():
        value = score["value"]
        parts = value.items() if isinstance(value, Mapping) else [("", value)]
        for name, each in parts:
            yield f"{scorer}/{name}" if name else scorer, _number(each)


def _number(value: Any) -> float | None:
    if isinstance(value, str) and value in _GRADES:
        return _GRADES[value]
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _scenario(task: Task) -> dict[str, Any]:
    main = next(iter(task.names), "")
    return {"version": "", "main": {"metric": main, "split": "test", "mean": "micro"}, "subsets": [], "description": ""}
