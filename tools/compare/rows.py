"""The same rows for every tool: CSV for HELM, Parquet for helmframe and buckets, JSON Lines for the other tools."""

import csv
import hashlib
import json
import random
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from tools.compare.environments import BUILD

SUBJECT = "philosophy"
QUESTIONS = 200  # rows of the stories' CSV file
_LETTERS = "ABCD"
_SPEC = """scenario: {name}
version: 1
source: {{rows: "{{data}}/{name}/{{split}}-*.parquet"}}
splits: {{dev: train, test: test}}
subsets: [subject]
instances: |
  SELECT row_index, split, subject, question AS input,
         list_transform(choices, lambda choice, i: {{'text': choice, 'correct': i = answer + 1}}) AS "references"
  FROM rows
adapter:
  method: multiple_choice_joint
  shots: {shots}
  instructions: "The following are multiple choice questions (with answers)."
decoding: {{max_tokens: 1}}
metrics: [exact_match]
main: {{metric: exact_match, split: test, mean: micro}}
"""
# the card of a folder, by which the package datasets finds the files of its splits
_CARD = """---
configs:
- config_name: default
  data_files:
{files}
---
"""


@dataclass(frozen=True)
class Sizes:
    """How many rows each case has.

    Attributes:
        mmlu: Questions of the end-to-end case.
        hellaswag: Contexts of the end-to-end case, with four endings each.
        overhead: Instances of the cases with an instant model; the last size runs in helmframe only.
        texts: Texts of perturbations, and pairs of metrics.
        table: Rows of the result table.
        inspect_table: Rows of Inspect's result table.
        questions: Requests of a run that is killed.
    """

    mmlu: int = 50
    hellaswag: int = 50
    overhead: Sequence[int] = (1_000, 10_000, 100_000)
    texts: int = 10_000
    table: int = 1_000_000
    inspect_table: int = 100_000
    questions: int = QUESTIONS


QUICK = Sizes(3, 3, (100, 200, 1_000), 200, 10_000, 1_000)


def data_folder(given: Path | None, python: Path) -> Path:
    """Return the folder with MMLU and HellaSwag in the Hub's layout; by default `helmframe mirror` downloads them.

    Args:
        given: The folder, from `--data`.
        python: helmframe's Python.

    Raises:
        SystemExit: The folder lacks rows, or the download failed.
    """
    folder = given or BUILD / "data"
    if given is None:
        command = [str(python), "-m", "helmframe", "mirror", "mmlu", "hellaswag", "--to", str(folder)]
        if subprocess.run(command, check=False).returncode:
            raise SystemExit("The rows can't be downloaded. Pass a folder in the Hub's layout: --data FOLDER")
    for pattern in (f"mmlu/{SUBJECT}/test-*.parquet", f"mmlu/{SUBJECT}/dev-*.parquet", "hellaswag/data/validation-*"):
        if not any(folder.glob(pattern)):
            raise SystemExit(f"{folder} has no {pattern}.")
    return folder.absolute()


def prepare(data: Path, parent: Path, sizes: Sizes) -> Path:
    """Write the rows of all cases into a folder, unless this version of the module wrote it, and return it.

    Args:
        data: The rows in the Hub's layout.
        parent: Where the folder is created.
        sizes: How many rows.
    """
    target = parent / hashlib.sha256(f"{data} {sizes}".encode() + Path(__file__).read_bytes()).hexdigest()[:12]
    if not target.exists():
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=parent) as work:
            _write_rows(data, Path(work) / "rows", sizes)
            (Path(work) / "rows").rename(target)
    return target


def _write_rows(data: Path, target: Path, sizes: Sizes) -> None:
    dev = _read(data, f"mmlu/{SUBJECT}/dev-*.parquet")
    test = _read(data, f"mmlu/{SUBJECT}/test-*.parquet").head(sizes.mmlu)
    _write_mmlu(target / "mmlu", dev, test)
    subjects = _read(data, "mmlu/*/test-*.parquet")
    for n in sorted({5, *sizes.overhead}):
        _write_mmlu(target / f"overhead_{n}", dev, _repeat(subjects, n))
    _write_hellaswag(target / "hellaswag", _read(data, "hellaswag/data/validation-*.parquet").head(sizes.hellaswag))
    questions = _repeat(subjects, sizes.texts)["question"].to_list()
    _write_lines(target / "texts.jsonl", [{"text": question} for question in questions])
    _write_lines(target / "pairs.jsonl", _pairs(questions))
    mixed = subjects.sample(fraction=1, shuffle=True, seed=0)
    rows = _repeat(mixed, sizes.overhead[-1]).sort("subject")
    file = target / "bucket" / "all" / "test-00000-of-00001.parquet"
    file.parent.mkdir(parents=True)
    rows.write_parquet(file, row_group_size=max(100, rows.height // 20))
    (target / "all.yaml").write_text(_SPEC.format(name="all", shots=0), encoding="utf-8")


def write_questions(file: Path, n: int = QUESTIONS) -> None:
    """Write the CSV file of the stories: sums of two numbers."""
    generator = random.Random(0)  # noqa: S311 for data, not for secrets
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["question", "answer"])
        for number in range(1, n + 1):
            other = generator.randrange(1_000)
            writer.writerow([f"What is {number} + {other}?", number + other])


def _read(data: Path, pattern: str) -> pl.DataFrame:
    frames = []
    for file in sorted(data.glob(pattern)):
        frame = pl.read_parquet(file)
        if file.parts[-3] == "mmlu":
            frame = frame.with_columns(subject=pl.lit(file.parent.name))
        frames.append(frame)
    return pl.concat(frames, how="diagonal_relaxed")


def _repeat(rows: pl.DataFrame, n: int) -> pl.DataFrame:
    """Return n rows with distinct questions."""
    index = pl.int_range(n, eager=True)
    repeated = rows[(index % rows.height).to_numpy()]
    suffix = pl.when(index >= rows.height).then(pl.format(" [item {}]", index // rows.height)).otherwise(pl.lit(""))
    return repeated.with_columns(question=pl.col("question") + pl.select(suffix).to_series())


def _write_mmlu(folder: Path, dev: pl.DataFrame, test: pl.DataFrame) -> None:
    for split, frame in (("dev", dev), ("test", test)):
        lines = frame.select("question", "choices", "answer").to_dicts()
        _write_lines(folder / f"{split}.jsonl", lines)
        table = folder / "helm" / "data" / split / f"{SUBJECT}_{split}.csv"
        table.parent.mkdir(parents=True)
        with table.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerows([row["question"], *row["choices"], _LETTERS[row["answer"]]] for row in lines)
        parquet = folder / "rows" / f"{split}-00000-of-00001.parquet"
        parquet.parent.mkdir(exist_ok=True)
        frame.with_columns(subject=pl.lit(SUBJECT)).write_parquet(parquet, row_group_size=20_000)
    _write_card(folder, "dev", "test")
    (folder / "rows.yaml").write_text(_SPEC.format(name="rows", shots=5), encoding="utf-8")


def _write_hellaswag(folder: Path, rows: pl.DataFrame) -> None:
    lines = []
    for row in rows.iter_rows(named=True):
        start = row["ctx_b"][:1].upper() + row["ctx_b"][1:]
        context = f"{row['activity_label']}: {row['ctx_a']} {start}"
        lines.append({**row, "label": int(row["label"]), "context": context})
    _write_lines(folder / "validation.jsonl", lines)
    _write_card(folder, "validation")
    for split in ("train", "val"):
        _write_lines(folder / "helm" / "data" / f"hellaswag_{split}.jsonl", lines if split == "val" else [])
    parquet = folder / "data" / "hellaswag" / "data" / "validation-00000-of-00001.parquet"
    parquet.parent.mkdir(parents=True)
    rows.write_parquet(parquet)


def _write_lines(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _write_card(folder: Path, *splits: str) -> None:
    files = "\n".join(f"  - {{split: {split}, path: {split}.jsonl}}" for split in splits)
    (folder / "README.md").write_text(_CARD.format(files=files), encoding="utf-8")


def _pairs(questions: Sequence[str]) -> list[dict[str, str]]:
    """Return pairs of a text and the same text with changed words and a shorter end."""
    generator = random.Random(0)  # noqa: S311 for data, not for secrets
    pairs = []
    for question in questions:
        words = question.split() or ["x"]
        changed = [word if generator.random() > 0.25 else generator.choice(words) for word in words]
        output = " ".join(changed[: generator.randint(max(1, len(words) // 2), len(words))])
        pairs.append({"gold": question, "output": output})
    return pairs
