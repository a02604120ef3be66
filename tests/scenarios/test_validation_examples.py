"""Rows made from a spec's columns."""

from pathlib import Path

import polars as pl

from helmframe._core.specs import ScenarioSpec
from helmframe.scenarios.spec_file import load_scenario
from helmframe.scenarios.validation import write_examples

SPEC = """\
scenario: mine
version: 1
source: {rows: "{data}/mine/{topic}/{split}-*.parquet"}
columns:
  topic: "ENUM('sky', 'sea')"
  question: VARCHAR
  options: "VARCHAR[]"
  place: BIGINT
  sure: BOOLEAN
  share: DOUBLE
  letter: "ENUM('A', 'B')"
  inside: 'STRUCT("text" VARCHAR)'
example: {question: [why, how]}
splits: {dev: train, test: test}
subsets: [topic]
instances: SELECT 1
metrics: [exact_match]
main: {metric: exact_match}
"""


def spec(folder: Path, text: str = SPEC) -> ScenarioSpec:
    file = folder / "mine.yaml"
    file.write_text(text)
    return load_scenario(file)


def test_a_file_for_each_subset_and_split(tmp_path: Path) -> None:
    write_examples(spec(tmp_path), tmp_path)
    files = sorted(str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*.parquet"))
    assert files == [f"mine/{topic}/{split}-0.parquet" for topic in ("sea", "sky") for split in ("dev", "test")]


def test_values_are_of_the_types_that_the_spec_says(tmp_path: Path) -> None:
    write_examples(spec(tmp_path), tmp_path, rows=2)
    assert pl.read_parquet(tmp_path / "mine/sky/dev-0.parquet").to_dicts() == [
        {
            "question": "why", "options": ["options 0", "options 1", "options 2", "options 3"], "place": 0,
            "sure": True, "share": 0.0, "letter": "A", "inside": {"text": "text 0"},
        },
        {
            "question": "how", "options": ["options 4", "options 5", "options 6", "options 7"], "place": 1,
            "sure": False, "share": 0.25, "letter": "B", "inside": {"text": "text 1"},
        },
    ]  # fmt: skip


def test_a_path_without_known_values_gets_two(tmp_path: Path) -> None:
    write_examples(spec(tmp_path, SPEC.replace("  topic: \"ENUM('sky', 'sea')\"\n", "")), tmp_path)
    assert sorted(file.name for file in (tmp_path / "mine").iterdir()) == ["one", "two"]
