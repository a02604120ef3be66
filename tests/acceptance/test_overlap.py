"""Acceptance check 5: planted 13-grams in a million rows of a corpus, on disk and in a bucket."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.acceptance.figures import shown
from tests.s3_server import BUCKET, S3Server, start_server

ROWS, ROW_WORDS, PLANTED, CLEAN = 1_000_000, 60, 100, 900
N, QUESTION_WORDS = 13, 40
FILES = 5
MOST_MB = 1_000  # over the memory of a process that has imported helmframe
CHILD = """\
import json, re, sys, time
from pathlib import Path
import polars as pl
import helmframe as hf
import duckdb, numpy, pyarrow

def most():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1000

questions = pl.read_parquet(sys.argv[1])
plan = hf.scenario(questions, input="input", references="references", id="id")
before, started, cpu = most(), time.monotonic(), time.process_time()
table = plan.overlap(sys.argv[2], n=13)
seconds, cpu = time.monotonic() - started, time.process_time() - cpu
table.write_parquet(sys.argv[3])
print(json.dumps({"mb": most() - before, "seconds": seconds, "cpu": cpu}))
"""


@pytest.fixture(scope="module")
def vocabulary() -> np.ndarray:
    """Return 30,000 words of different lengths."""
    letters = np.array(list("etaoinshrdlu"))
    generator = np.random.default_rng(1)
    lengths = generator.integers(2, 10, 30_000)
    return np.array(["".join(generator.choice(letters, length)) + str(i % 7) for i, length in enumerate(lengths)])


def texts(vocabulary: np.ndarray, seed: int, rows: int, words: int) -> list[str]:
    """Return texts whose words have frequencies like those of a language."""
    chosen = np.random.default_rng(seed).zipf(1.2, size=(rows, words)) % len(vocabulary)
    return [" ".join(row) for row in vocabulary[chosen].tolist()]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, vocabulary: np.ndarray) -> Path:
    """Write questions, and a corpus with a 13-gram of each of the first 100 questions; near misses of the others."""
    folder = tmp_path_factory.mktemp("overlap")
    questions = texts(vocabulary, 0, PLANTED + CLEAN, QUESTION_WORDS)
    ids = [f"q{number}" for number in range(len(questions))]
    pl.DataFrame({"id": ids, "input": questions, "references": "unknown"}).write_parquet(folder / "questions.parquet")
    generator = np.random.default_rng(2)
    lines = dict.fromkeys(generator.choice(ROWS, len(questions), replace=False).tolist(), "")
    for row, question in zip(lines, questions, strict=True):
        start = int(generator.integers(0, QUESTION_WORDS - N))
        # one word fewer is no 13-gram; another case and other punctuation are the same tokens
        count = N if len([line for line in lines.values() if line]) < PLANTED else N - 1
        words = question.split()[start : start + count]
        lines[row] = f"Before, {', '.join(words).upper()}! after"
    (folder / "corpus").mkdir()
    for file in range(FILES):
        start = file * ROWS // FILES
        rows = texts(vocabulary, 10 + file, ROWS // FILES, ROW_WORDS)
        for row, line in lines.items():
            if start <= row < start + len(rows):
                rows[row - start] = f"{rows[row - start]} {line}"
        pq.write_table(pa.table({"text": rows}), folder / "corpus" / f"{file}.parquet", row_group_size=20_000)
    return folder


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    server = start_server()
    yield server
    server.stop()


def check(data: Path, corpus: str, source: str) -> pl.DataFrame:
    """Run the overlap in a process of its own; print and check its figures."""
    table_file = data / "table.parquet"
    command = [sys.executable, "-c", CHILD, str(data / "questions.parquet"), corpus, str(table_file)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    figures = json.loads(output.splitlines()[-1])
    table = pl.read_parquet(table_file)
    contaminated = table.filter((pl.col("n_overlapping") > 0) & (pl.col("field") == "input"))["instance_id"]
    planted = {f"q{number}" for number in range(PLANTED)}
    hits, false = len(planted & {*contaminated}), len({*contaminated} - planted)
    shown("5", f"planted 13-grams that are detected, {source}", f"{hits}/{PLANTED}", "100 %")
    shown("5", f"instances that are wrongly detected, {source}", f"{false}/{CLEAN}", 0)
    shown("5", f"peak memory, {source}", f"{figures['mb']:.0f} MB", f"{MOST_MB} MB")
    rate = f"{ROWS / figures['seconds']:,.0f} ({ROWS / figures['cpu']:,.0f} per second of CPU)"
    shown("5", f"rows per second, {source}", rate, "–")
    assert (hits, false) == (PLANTED, 0)
    assert table.filter(field="input", n_overlapping=1)["longest_span"].unique().to_list() == [N]
    assert figures["mb"] <= MOST_MB
    return table


def test_5_planted_13_grams_of_a_million_rows_are_detected(data: Path) -> None:
    check(data, str(data / "corpus" / "*.parquet"), "on disk")


def test_5_planted_13_grams_are_detected_in_a_bucket(
    data: Path, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    server.filesystem().put(f"{data}/corpus/", f"{BUCKET}/corpus/", recursive=True)
    check(data, f"s3://{BUCKET}/corpus/*.parquet", "in a bucket")
