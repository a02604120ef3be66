"""A small scenario of two topics in Parquet files."""

from pathlib import Path

import polars as pl

from helmframe._core.specs import ScenarioSpec
from helmframe.scenarios.spec_file import load_scenario

OWN = """\
scenario: own
version: 1
source: {rows: "{data}/own/{topic}/{split}-*.parquet"}
columns: {q: VARCHAR, a: BIGINT}
splits: {dev: train, test: test}
subsets: [topic]
instances: |
  SELECT row_index, split, topic, q AS input, a, [{'text': a::VARCHAR, 'correct': true}] AS "references" FROM rows
metrics: [exact_match]
main: {metric: exact_match}
"""


def write(folder: Path, name: str, questions: list[str]) -> None:
    file = folder / "own" / f"{name}.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame({"q": questions, "a": range(len(questions)), "topic": "said by the file"}).write_parquet(file)


def spec(folder: Path, text: str) -> ScenarioSpec:
    file = folder / "own.yaml"
    file.write_text(text)
    return load_scenario(file)
