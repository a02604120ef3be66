"""Inspect's logs as tables."""

import json
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import helmframe as hf
from helmframe.errors import SourceBrokenError, SourceMissingError

HEADER: dict[str, Any] = {
    "version": 2,
    "status": "success",
    "eval": {
        "task": "tests/adds",
        "model": "openai/three",
        "task_args": {"shots": 2},
        "model_generate_config": {"temperature": 0.5, "seed": None},
        "scorers": [{"name": "choice"}],
    },
}


def sample(number: int, epoch: int, said: str | None, value: Any = "C") -> dict[str, Any]:
    """As Inspect 0.3.285 logs it."""
    question = {"role": "user", "content": f"What is {number}+1?\n\nA) 1\nB) 2"}
    output: dict[str, Any] = {"model": "openai/three", "choices": [], "completion": ""}
    if said is not None:
        content = [{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": said}]
        message = {"role": "assistant", "content": content}
        output["choices"] = [{"message": message, "stop_reason": "max_tokens"}]
        output |= {"usage": {"input_tokens": 10, "output_tokens": 3}, "time": 0.5}
    return {
        "id": number,
        "epoch": epoch,
        "input": f"What is {number}+1?",
        "choices": ["1", "2"],
        "target": "A" if number == 0 else "B",
        "messages": [question, *([output["choices"][0]["message"]] if said is not None else [])],
        "output": output,
        "scores": {"choice": {"value": value, "answer": "A"}} if said is not None else {},
        "error": None if said is not None else {"message": "timed out"},
    }


SAMPLES = [
    sample(0, 1, "ANSWER: A"),
    sample(1, 1, "ANSWER: A", "I"),
    sample(0, 2, "ANSWER: B", "I"),
    sample(1, 2, None),
]


def json_log(folder: Path, samples: list[dict[str, Any]]) -> Path:
    file = folder / "2026-11-24_adds.json"
    file.write_text(json.dumps({**HEADER, "samples": samples}))
    return file


def eval_log(folder: Path, samples: list[dict[str, Any]]) -> Path:
    file = folder / "2026-11-24_adds.eval"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("header.json", json.dumps(HEADER))
        archive.writestr("summaries.json", "[]")
        for each in samples:
            archive.writestr(f"samples/{each['id']}_epoch_{each['epoch']}.json", json.dumps(each))
    return file


@pytest.mark.parametrize("write", [json_log, eval_log])
def test_a_log_is_rows_and_scores(tmp_path: Path, write: Any) -> None:
    write(tmp_path, SAMPLES)
    results = hf.read_inspect(tmp_path)
    rows = results.completions.collect()
    assert rows.select("scenario", "model", "setting", "decoding").unique().row(0) == (
        *("adds", "openai/three"),
        *("shots=2", '{"temperature": 0.5}'),
    )
    shown = ("instance_id", "trial", "completion", "reasoning", "finish_reason", "prompt_tokens", "latency", "error")
    assert rows.select(shown).rows()[2:] == [
        ("0", 1, "ANSWER: B", "hm", "length", 10, 0.5, None),
        ("1", 1, None, None, None, None, None, "InspectError: timed out"),
    ]
    assert rows["suffix"][0] == "What is 0+1?\n\nA) 1\nB) 2"
    assert rows["references"].to_list()[1] == [
        {"text": "1", "correct": False, "tags": []},
        {"text": "2", "correct": True, "tags": []},
    ]
    scores = results.scores.select("instance_id", "trial", "metric", "score").collect()
    assert scores.rows() == [
        ("0", 0, "choice", 1.0),
        ("1", 0, "choice", 0.0),
        ("0", 1, "choice", 0.0),
        ("1", 1, "choice", None),
    ]


@pytest.mark.parametrize(
    ("value", "scores"),
    [
        ("P", {"choice": 0.5}),
        (True, {"choice": 1.0}),
        (0.25, {"choice": 0.25}),
        ({"strict": 1, "loose": 0}, {"choice/strict": 1.0, "choice/loose": 0.0}),
        ("refused", {"choice": None}),
    ],
)
def test_grades_numbers_and_parts_are_scores(tmp_path: Path, value: Any, scores: dict[str, float | None]) -> None:
    results = hf.read_inspect(json_log(tmp_path, [sample(0, 1, "x", value)]))
    assert dict(results.scores.select("metric", "score").collect().iter_rows()) == scores


def test_a_log_packed_with_zstandard_is_read(tmp_path: Path) -> None:
    file = tmp_path / "packed.eval"
    members = {"header.json": HEADER, "samples/0_epoch_1.json": SAMPLES[0]}
    packed_with_zstandard(file, {name: json.dumps(each).encode() for name, each in members.items()})
    assert hf.read_inspect(file).completions.collect()["completion"].to_list() == ["ANSWER: A"]
    data = bytearray(file.read_bytes())
    data[60] ^= 255
    file.write_bytes(bytes(data))
    with pytest.raises(SourceBrokenError, match=r"packed\.eval isn't in Inspect's format"):
        hf.read_inspect(file)


def packed_with_zstandard(file: Path, members: dict[str, bytes]) -> None:
    """A zip as APPNOTE.TXT has it, method 93: zipfile can't write it."""
    body, directory = b"", b""
    for name, data in members.items():
        packed = pa.Codec("zstd").compress(data, asbytes=True)
        common = struct.pack(
            "<HHHHHIIIHH", 20, 0, 93, 0, 0, zlib.crc32(data), len(packed), len(data), len(name.encode()), 0
        )
        directory += b"PK\x01\x02" + struct.pack("<H", 20) + common
        directory += struct.pack("<HHHII", 0, 0, 0, 0, len(body)) + name.encode()
        body += b"PK\x03\x04" + common + name.encode() + packed
    ending = struct.pack("<HHHHIIH", 0, 0, len(members), len(members), len(directory), len(body), 0)
    file.write_bytes(body + directory + b"PK\x05\x06" + ending)


def test_an_invalid_log_raises(tmp_path: Path) -> None:
    with pytest.raises(SourceMissingError, match="No Inspect log"):
        hf.read_inspect(tmp_path)
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(SourceBrokenError, match="isn't in Inspect's format"):
        hf.read_inspect(tmp_path / "other.json")
