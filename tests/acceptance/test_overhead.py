"""What helmframe itself costs: instances per second and peak memory with a model that answers at once."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.acceptance.eval_peers import peers_python
from tests.acceptance.figures import shown
from tests.acceptance.overhead_child import repeated

pytestmark = pytest.mark.shared

ROOT = Path(__file__).parents[2]
HUNDRED_THOUSAND, MILLION = 100_000, 1_000_000
MOST_MB = 1_500
# The limit was set where lm-eval makes 219 instances a second of its own. Elsewhere it holds in shares of lm-eval's.
LEAST_PER_SECOND, OF_LM_EVAL = 20_000, 219
MOST_AGAIN = 0.6
LM_EVAL_INSTANCES = 10_000
LM_EVAL_TASK = """\
task: mmlu_big
dataset_path: json
dataset_kwargs: {{data_files: {{test: "{folder}/test.jsonl", dev: "{folder}/dev.jsonl"}}}}
test_split: test
fewshot_split: dev
fewshot_config: {{sampler: first_n}}
output_type: multiple_choice
description: "The following are multiple choice questions (with answers).\\n\\n"
doc_to_text: "{{{{question.strip()}}}}\\nA. {{{{choices[0]}}}}\\nB. {{{{choices[1]}}}}\\nC. {{{{choices[2]}}}}\\nD. \
{{{{choices[3]}}}}\\nAnswer:"
doc_to_choice: ["A", "B", "C", "D"]
doc_to_target: answer
metric_list: [{{metric: acc}}]
"""


@pytest.mark.parametrize("kind", ["list", "str"])
def test_2_overhead_at_a_hundred_thousand_instances(shared: Path, tmp_path: Path, kind: str) -> None:
    figures = measured(shared, tmp_path, HUNDRED_THOUSAND, kind)
    rate = HUNDRED_THOUSAND / figures["seconds"]
    again = figures["again_seconds"] / figures["seconds"]
    called = f"{kind} -> {kind}"
    shown("2", f"{called}: instances/s with three variants, four metrics, table, robustness", f"{rate:,.0f}", "printed")
    shown("2", f"{called}: the same per CPU second", f"{HUNDRED_THOUSAND / figures['cpu']:,.0f}", "printed")
    shown("2", f"{called}: a second run, which asks nothing, in shares of the first", f"{again:.2f}", MOST_AGAIN)
    shown("2", f"{called}: peak memory, MB, at {HUNDRED_THOUSAND:,}", figures["peak_mb"], MOST_MB)
    assert figures["n"] == HUNDRED_THOUSAND
    assert figures["rows"] == 3 * 4
    assert figures["peak_mb"] < MOST_MB
    assert again <= MOST_AGAIN
    if kind == "list":
        peer = lm_eval_rate(shared, tmp_path / "lm_eval")
        shown("2", f"lm-eval's dummy model: instances/s, one variant, {LM_EVAL_INSTANCES:,}", f"{peer:,.0f}", "printed")
        least = LEAST_PER_SECOND / OF_LM_EVAL
        shown("2", f"{called}: instances/s, times lm-eval's", f"{rate / peer:.0f}", f"at least {least:.0f}")
        assert rate >= LEAST_PER_SECOND or rate / peer >= least


def test_2_peak_memory_at_a_million_instances(shared: Path, tmp_path: Path) -> None:
    figures = measured(shared, tmp_path, MILLION, "list")
    shown("2", f"peak memory, MB, at {MILLION:,}", figures["peak_mb"], MOST_MB)
    shown("2", f"instances/s at {MILLION:,}", f"{MILLION / figures['seconds']:,.0f}", "printed")
    assert figures["n"] == MILLION
    assert figures["peak_mb"] < MOST_MB


def lm_eval_rate(shared: Path, folder: Path) -> float:
    """MMLU's instances a second, 5 shots, of lm-eval with a model that answers at once: its whole process."""
    (folder / "task").mkdir(parents=True)
    for split, pattern in (("test", "*/test-*"), ("dev", "philosophy/dev-*")):
        rows = pl.scan_parquet(shared / "scenarios" / "mmlu" / f"{pattern}.parquet").drop("subject")
        rows.head(LM_EVAL_INSTANCES).collect().write_ndjson(folder / f"{split}.jsonl")
    (folder / "task" / "task.yaml").write_text(LM_EVAL_TASK.format(folder=folder), encoding="utf-8")
    command = [peers_python(), "-m", "lm_eval", "--model", "dummy", "--tasks", "mmlu_big", "--num_fewshot", "5"]
    command += ["--include_path", str(folder / "task"), "--output_path", str(folder / "out"), "--log_samples"]
    started = time.perf_counter()
    subprocess.run(command, env=os.environ | {"HF_HUB_OFFLINE": "1"}, capture_output=True, check=True)
    return LM_EVAL_INSTANCES / (time.perf_counter() - started)


def measured(shared: Path, folder: Path, n: int, kind: str) -> dict[str, Any]:
    """What `overhead_child` says of n instances."""
    repeated(shared, folder, n)
    done = subprocess.run(
        [sys.executable, "-m", "tests.acceptance.overhead_child", str(folder), kind],
        cwd=ROOT,
        env=os.environ | {"HELMFRAME_STORE": str(folder / "store"), "HELMFRAME_PROGRESS": "0"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures
