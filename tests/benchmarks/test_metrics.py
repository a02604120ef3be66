"""What the text metrics of one shard cost together, and each alone."""

import time
from pathlib import Path

import polars as pl
import pytest

from helmframe.metrics.protocol import resolve_metrics
from helmframe.metrics.shared import score_pairs
from tests.acceptance.figures import shown

pytestmark = pytest.mark.shared

NAMES = (
    "exact_match", "prefix_exact_match", "quasi_exact_match", "quasi_prefix_exact_match", "f1_score", "f1_bag",
    "rouge_1", "rouge_2", "rouge_l", "bleu_1", "bleu_4", "iou_set_match", "final_number_exact_match",
)  # fmt: skip


def test_together_they_cost_less_than_each_alone(shared: Path) -> None:
    helm = pl.read_parquet(shared / "helm_metrics.parquet").select(gold="reference", output="prediction")
    pairs = pl.concat([helm] * 4)
    seconds(pairs.head(50), *NAMES)
    alone = {name: seconds(pairs, name) for name in NAMES}
    together = seconds(pairs, *NAMES)
    for name, each in alone.items():
        shown("benchmark", f"{name} of {pairs.height:,} pairs, pairs/s", f"{pairs.height / each:,.0f}", "printed")
    shown("benchmark", "all of them together, seconds", f"{together:.3f}", f"{sum(alone.values()):.3f}")
    assert together < sum(alone.values())


def seconds(pairs: pl.DataFrame, *names: str) -> float:
    metrics = {each.name: each.expression() for each in resolve_metrics(names)}
    times = []
    for _ in range(3):
        start = time.perf_counter()
        score_pairs(pairs, metrics)
        times.append(time.perf_counter() - start)
    return min(times)
