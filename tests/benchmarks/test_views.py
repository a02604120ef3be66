"""CPU seconds of views: the table of a million instances beside one pass of Polars, and the report of a large grid."""

import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

import helmframe as hf
from helmframe.store.runs import RunFolder

SHARDS, SHARD_ROWS = 50, 20_000
CELLS, CELL_ROWS = 100, 100


def cpu_seconds(action: Callable[[], object]) -> float:
    """Return the least CPU seconds of three calls."""
    times = []
    for _ in range(3):
        start = time.process_time()
        action()
        times.append(time.process_time() - start)
    return min(times)


def frame_of(rows: int) -> pl.DataFrame:
    return pl.DataFrame({"input": [f"What is {row} + 1?" for row in range(rows)], "reference": ["yes"] * rows})


def million(folder: Path) -> Path:
    """Return the folder of a run of a million instances: a run of one shard, with other ids in each copy."""
    plan = hf.scenario(frame_of(SHARD_ROWS), input="input", references="reference").metrics("exact_match")
    one = plan.generate(hf.model(lambda prompts: ["yes"] * len(prompts), name="m", version="1", batch=512)).score()
    tables = {"completions": one.completions.collect(), "scores": one.scores.collect()}
    run = RunFolder(folder / "million")
    for shard in range(SHARDS):
        start = shard * SHARD_ROWS
        for name, table in tables.items():
            ids = pl.format("{}-{}", "instance_id", pl.lit(shard))
            new: dict[str, pl.Expr] = {"instance_id": ids, "cluster": ids}
            if "row_index" in table.columns:
                new["row_index"] = pl.col("row_index") + start
                new["input"] = pl.format("{} {}", "input", pl.lit(shard))  # otherwise all are duplicates
            scenario = str(table["scenario"][0])
            run.add(name, scenario, table.with_columns(**new), shard)
    run.write_manifest(dict(one.manifest))
    return folder / "million"


def test_the_table_of_a_million_instances(tmp_path: Path) -> None:
    folder = million(tmp_path)
    one_pass = cpu_seconds(
        lambda: (
            pl.scan_parquet(folder / "scores" / "*" / "*.parquet")
            .group_by("model", "metric", "perturbation")
            .agg(pl.col("score").mean(), pl.col("instance_id").n_unique())
            .collect()
        )
    )
    tables: list[pl.DataFrame] = []
    cpu = cpu_seconds(lambda: tables.append(hf.Results.load(folder).table()))
    assert tables[0]["n"][0] == SHARDS * SHARD_ROWS
    print(f"\ntable of {SHARDS * SHARD_ROWS:,} instances: {cpu:.2f} CPU s; one pass of Polars: {one_pass:.2f} CPU s")
    assert cpu < 10 * one_pass + 1


@pytest.mark.parametrize("cells", [CELLS])
def test_the_report_of_a_grid(tmp_path: Path, cells: int) -> None:
    models = {f"m{number:02}": hf.models.noisy(0.5 + number / 50) for number in range(cells // 10)}
    perturbations = ["typos", "lowercase", "extra_space", "contraction"]
    plan = hf.scenario("sampler").limit(CELL_ROWS).perturb(perturbations).adapt(shots=[0, 1])
    results = plan.generate(models).score()
    assert results.table()["n"].len() >= cells
    cpu = cpu_seconds(lambda: results.report(tmp_path / "report.html"))
    n = results.completions.select(pl.len()).collect().item()
    print(f"\nreport of {cells} cells, {n:,} completions: {cpu:.2f} CPU s")
    assert cpu < 20
