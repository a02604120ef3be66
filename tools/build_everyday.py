"""Build the Parquet files of the packaged `everyday` scenario from its CSV sources.

`tools/everyday/<topic>.csv` has one sentence beginning per row, with the columns `sentence,answer,also`. `also` lists
other endings that fit, separated by `|`. They are never used as wrong options of that sentence.

Wrong options are answers of other sentences of the topic. Each answer is a wrong option three times as often as it is
the correct one, so a model that ignores the sentence scores 1/4 on average, whatever endings it prefers. A rebuild
gives the same files.

Usage:
    python -m tools.build_everyday            write specs/data/everyday/<topic>/test-00000-of-00001.parquet
    python -m tools.build_everyday --check    compare the Parquet files with the CSV files; exit status 1 if they differ
"""

import argparse
import csv
import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from tools.build_sampler import ROOT, answer_indices, compare_files, write_files

SOURCE_DIR: Final = ROOT / "tools" / "everyday"
OUTPUT_DIR: Final = ROOT / "specs" / "data" / "everyday"
N_WRONG: Final = 3
SCHEMA: Final = {
    "sentence": pl.String(),
    "topic": pl.String(),
    "choices": pl.List(pl.String()),
    "answer": pl.Int64(),
}


@dataclass(frozen=True)
class Row:
    """One sentence beginning, its ending, and the endings that fit as well."""

    sentence: str
    answer: str
    also: frozenset[str]


def read_topics() -> dict[str, list[Row]]:
    """Return the rows of every CSV file, by topic.

    Raises:
        ValueError: If a field has stray white space, or if a sentence is repeated.
    """
    topics: dict[str, list[Row]] = {}
    for path in sorted(SOURCE_DIR.glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            records = list(csv.DictReader(file, strict=True))
        for record in records:
            if any(text != " ".join(text.split()) for text in record.values()):
                raise ValueError(f"{path.name}: stray white space in {record}")
        rows = [Row(r["sentence"], r["answer"], frozenset(filter(None, r["also"].split("|")))) for r in records]
        if len({row.sentence for row in rows}) < len(rows):
            raise ValueError(f"{path.name}: a sentence is repeated")
        topics[path.stem] = rows
    return topics


def wrong_options(rows: Sequence[Row]) -> list[list[str]]:
    """Return three wrong options per row: each round hands out every answer of the topic once.

    Raises:
        ValueError: If a round has no assignment without a fitting ending.
    """
    options: list[list[str]] = [[] for _ in rows]
    for number in range(N_WRONG):
        for index, other in enumerate(_assignment(rows, options, number)):
            options[index].append(rows[other].answer)
    return options


def _assignment(rows: Sequence[Row], options: Sequence[Sequence[str]], number: int) -> list[int]:
    """Return, for each row, the row whose answer it gets: a bipartite matching by augmenting paths."""
    owner: dict[int, int] = {}

    def assign(index: int, tried: set[int]) -> bool:
        row = rows[index]
        excluded = {row.answer, *row.also, *options[index]}
        fits = [other for other in range(len(rows)) if rows[other].answer not in excluded]
        for other in sorted(fits, key=lambda other: _digest(str(number), row.sentence, rows[other].sentence)):
            if other not in tried:
                tried.add(other)
                if other not in owner or assign(owner[other], tried):
                    owner[other] = index
                    return True
        return False

    for index, row in enumerate(rows):
        if not assign(index, set()):
            raise ValueError(f"no wrong option is left for {row.sentence!r}")
    assigned = {index: other for other, index in owner.items()}
    return [assigned[index] for index in range(len(rows))]


def _digest(*parts: str) -> bytes:
    return hashlib.sha256("\x1f".join(("everyday-1", *parts)).encode()).digest()


def build_frames() -> dict[Path, pl.DataFrame]:
    """Return the table of each topic, by the path of its file."""
    frames = {}
    for topic, rows in read_topics().items():
        sentences = [row.sentence for row in rows]
        indices = answer_indices(topic, "test", sentences)
        wrong = wrong_options(rows)
        choices = [
            [*options[:index], row.answer, *options[index:]]
            for row, options, index in zip(rows, wrong, indices, strict=True)
        ]
        frames[OUTPUT_DIR / topic / "test-00000-of-00001.parquet"] = pl.DataFrame(
            {"sentence": sentences, "topic": [topic] * len(rows), "choices": choices, "answer": indices}, schema=SCHEMA
        )
    return frames


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the Parquet files, or compare them with the sources."""
    parser = argparse.ArgumentParser(description="Build the data of the `everyday` scenario.")
    parser.add_argument("--check", action="store_true", help="compare only; exit status 1 if the files differ")
    options = parser.parse_args(arguments)
    frames = build_frames()
    if options.check:
        problems = compare_files(OUTPUT_DIR, frames)
        print("\n".join(problems) or f"{len(frames)} Parquet files agree with the CSV files")
        return 1 if problems else 0
    written = write_files(frames)
    print(f"{sum(frame.height for frame in frames.values())} rows; {written} of {len(frames)} files written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
