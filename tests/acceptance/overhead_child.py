"""What helmframe itself costs, in a process of its own: N instances of MMLU, 5 shots, three variants, four metrics.

`python -m tests.acceptance.overhead_child FOLDER KIND`: the scenario that `repeated` made in the folder, a mock model
(KIND: list or str; or wait, a list model that takes 20 ms per batch), table, robustness and repr; then all of it again
from the cache. Prints a line of JSON: seconds and CPU seconds of both, peak_mb (before the second), n (instances in the
table), rows (of robustness), and `tail`, the share of the first `score()` after the last completion.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

import helmframe as hf

WAIT_SECONDS = 0.02
# Rows per file: so many are made at once.
FILE_ROWS = 500_000
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


def repeated(shared: Path, folder: Path, n: int) -> None:
    """MMLU's test rows, repeated with distinct text up to n, as a scenario in the folder."""
    rows = pl.scan_parquet(shared / "scenarios" / "mmlu" / "*" / "test-*.parquet").drop("subject").collect()
    (folder / "repeated").mkdir(parents=True, exist_ok=True)
    for start in range(0, n, FILE_ROWS):
        places = pl.select(place=pl.int_range(start, min(start + FILE_ROWS, n), dtype=pl.Int64))["place"]
        item = pl.format(" [item {}]", pl.Series(places // rows.height))
        made = rows[(places % rows.height).to_numpy()].with_columns(question=pl.col("question") + item)
        made.write_parquet(folder / "repeated" / f"test-{start:09d}.parquet", row_group_size=20_000)
    dev = pl.read_parquet(shared / "scenarios" / "mmlu" / "philosophy" / "dev-*.parquet").drop("subject")
    dev.write_parquet(folder / "repeated" / "dev-0.parquet")
    (folder / "repeated.yaml").write_text(SPEC)


def main(folder: Path, kind: str) -> dict[str, Any]:
    calls = Calls()
    mock = model(kind, calls)
    plan = hf.scenario(folder / "repeated.yaml", data=folder).perturb(["typos", "lowercase"]).generate(mock)
    first = seconds(lambda: read(plan, calls))
    figures: dict[str, Any] = {"seconds": first[0], "cpu": first[1], "peak_mb": peak_mb(), "tail": calls.tail}
    again = seconds(lambda: figures.update(read(plan, Calls())))
    return {**figures, "again_seconds": again[0], "again_cpu": again[1]}


@dataclass
class Calls:
    """When the model was called last, and the share of the time of `score()` after that call."""

    last: float = 0.0
    tail: float = 0.0


def read(plan: hf.Plan, calls: Calls) -> dict[str, Any]:
    started = time.perf_counter()
    results = plan.score()
    ended = time.perf_counter()
    calls.tail = (ended - calls.last) / (ended - started)
    table, robustness = results.table(), results.robustness()
    repr(results)
    return {"n": int(table["n"].max() or 0), "rows": robustness.height}  # type: ignore[arg-type]


def model(kind: str, calls: Calls) -> hf.Model:
    def many(prompts: list[str]) -> list[str]:
        if kind == "wait":
            time.sleep(WAIT_SECONDS)
        calls.last = time.perf_counter()
        return ["A"] * len(prompts)

    def one(prompt: str) -> str:
        calls.last = time.perf_counter()
        return "A"

    if kind != "str":
        return hf.model(many, name="many", version="1", batch=512)
    return hf.model(one, name="one", version="1")


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of the clock, and of the cores."""
    start = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start[0], time.process_time() - start[1]


def peak_mb() -> int:
    """The peak of this process alone: `ru_maxrss` may be what its parent had when it started this one."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) // 1024


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2])))
