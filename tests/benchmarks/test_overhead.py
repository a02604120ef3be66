"""What helmframe itself costs: 100,000 instances of MMLU, 5 shots, two perturbations, a model that answers at once."""

import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from tests.acceptance.figures import peak_mb

pytestmark = pytest.mark.shared

SPEC = """scenario: repeated
version: 1
source: {rows: "{data}/repeated/{split}-*.parquet"}
splits: {dev: train, test: test}
instances: |
  SELECT row_index, split, question AS input,
         list_transform(choices, lambda choice, i: {'text': choice, 'correct': i = answer + 1}) AS "references"
  FROM rows
adapter:
  method: multiple_choice_joint
  shots: 5
  instructions: "The following are multiple choice questions (with answers)."
metrics: [exact_match, quasi_exact_match, prefix_exact_match, quasi_prefix_exact_match]
main: {metric: exact_match}
"""


def repeated(shared: Path, folder: Path, n: int) -> hf.Plan:
    """MMLU's test rows, repeated with distinct text up to n; two perturbations."""
    rows = pl.scan_parquet(shared / "scenarios" / "mmlu" / "*" / "test-*.parquet").drop("subject").collect()
    copies = -(-n // rows.height)
    (folder / "repeated").mkdir(parents=True, exist_ok=True)
    frames = [rows.with_columns(question=pl.col("question") + f" [item {copy}]") for copy in range(copies)]
    pl.concat(frames).head(n).write_parquet(folder / "repeated" / "test-0.parquet", row_group_size=20_000)
    dev = pl.read_parquet(shared / "scenarios" / "mmlu" / "philosophy" / "dev-*.parquet").drop("subject")
    dev.write_parquet(folder / "repeated" / "dev-0.parquet")
    (folder / "repeated.yaml").write_text(SPEC)
    return hf.scenario(folder / "repeated.yaml", data=folder).perturb(["typos", "lowercase"])


@pytest.mark.parametrize("kind", ["list -> list", "str -> str"])
def test_overhead_at_a_hundred_thousand_instances(shared: Path, tmp_path: Path, kind: str) -> None:
    def many(prompts: list[str]) -> list[str]:
        return ["A"] * len(prompts)

    def one(prompt: str) -> str:
        return "A"

    model = hf.model(many, name="many", version="1", batch=512) if kind == "list -> list" else None
    plan = repeated(shared, tmp_path, 100_000).generate(model or hf.model(one, name="one", version="1"))

    def scored() -> None:
        results = plan.score()
        results.table()
        results.robustness()

    first, again = seconds(scored), seconds(scored)
    print(f"\n{kind}: {100_000 / first:,.0f} instances/s with three variants, four metrics, table and robustness")
    print(
        f"{kind}: a second run, which asks nothing, takes {again / first:.2f} of the first; peak memory {peak_mb()} MB"
    )


def seconds(work: Any) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
