"""What tables cost: 100,000 instances, the original and three variants, four metrics: 1.6 million scores."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from helmframe.stats import aggregate, robustness, worst_case

METRICS = ("exact_match", "quasi_exact_match", "prefix_exact_match", "f1_score")
VARIANTS = ("original", "typos", "lowercase", "extra_space")


@pytest.mark.parametrize("pieces", ["one frame", "chunks of 20,000 instances"])
def test_tables_of_a_million_scores(tmp_path: Path, pieces: str) -> None:
    whole = scores(100_000).with_columns(place=pl.col("instance_id").str.split("id").list.last().cast(pl.Int64))
    for shard in range(5):
        part = whole.filter(pl.col("place") // 20_000 == shard).drop("place")
        part.write_parquet(tmp_path / f"{shard}.parquet")
    files = sorted(tmp_path.glob("*.parquet"))
    lazy = pl.scan_parquet(files) if pieces == "one frame" else [pl.scan_parquet(file) for file in files]
    higher = dict.fromkeys(METRICS, True)
    by = ["scenario", "model"]
    work: dict[str, Callable[[], pl.DataFrame]] = {
        "aggregate": lambda: aggregate(lazy, [*by, "perturbation"], fractions=METRICS),
        "robustness": lambda: robustness(lazy, by, higher_is_better=higher, fractions=METRICS),
        "worst case": lambda: worst_case(lazy, by, higher_is_better=higher, fractions=METRICS),
    }
    for name, run in work.items():
        times = []
        for _ in range(3):
            start = time.perf_counter(), time.process_time()
            table = run()
            times.append((time.perf_counter() - start[0], time.process_time() - start[1]))
        wall, cpu = min(times)
        print(f"\n{name}, {pieces}: {wall:.2f} s ({cpu:.2f} CPU s), {table.height} rows from 1.6 million scores")
        assert table.height == (4 if name == "worst case" else 16)


def scores(instances: int) -> pl.DataFrame:
    random = np.random.default_rng(0)
    ids = pl.Series("instance_id", [f"part{place % 3}/id{place}" for place in range(instances)])
    base = pl.DataFrame([ids]).with_columns(
        subset=ids.str.head(5), cluster=ids, scenario=pl.lit("s"), split=pl.lit("test")
    )
    asked = {"perturbation_seed": 0, "setting": "", "trial": 0, "model": "m", "output_index": 0, "output": "an answer"}
    flags = {"parsed": True, "truncated": False}
    frames = [
        base.with_columns(
            metric=pl.lit(metric),
            perturbation=pl.lit(variant),
            changed=pl.lit(variant != "original"),
            score=pl.Series(
                random.random(instances).round(3) if metric == "f1_score" else random.integers(0, 2, instances) * 1.0
            ),
            **{name: pl.lit(value) for name, value in {**asked, **flags}.items()},
        )
        for metric in METRICS
        for variant in VARIANTS
    ]
    return pl.concat(frames)
