"""From a thousand to a million instances, and from one to eight evals, by the local engine and on Ray.

The rows are in a bucket of an S3 server on this machine, whose own counters say what was read of them; the store is a
folder. The cluster is up before: what it takes to start one is not in the seconds. Ten million: tests/benchmarks.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tests.acceptance.figures import shown
from tests.acceptance.ray_scale_chart import FIGURES, drawn
from tests.acceptance.ray_scale_child import ENGINES, made
from tests.demo import ROOT
from tests.s3_server import BUCKET, S3Server, start_server

pytestmark = [pytest.mark.shared, pytest.mark.soak]

INSTANCES = (1_000, 10_000, 100_000, 1_000_000)
# Evals at once, of so many instances in all.
EVALS, ALL = (1, 2, 4, 8), 100_000
FLAT_FROM, FLAT_MB = 10_000, 100
METRICS = 4


@dataclass
class Place:
    """A cluster of one node, and the S3 server that holds the rows."""

    cluster: Any
    server: S3Server

    def measured(self, shared: Path, folder: Path, instances: int, evals: int, engine: str) -> dict[str, Any]:
        """What `ray_scale_child` says of one engine, and what was read; the rows are made where they are not there."""
        address = f"{BUCKET}/{folder.name}"
        if not list(folder.glob("eval*.yaml")):
            made(shared, folder, instances, evals)
            self.server.filesystem().put(f"{folder}/repeated/", f"{address}/repeated/", recursive=True)
        own = {
            "HELMFRAME_DATA": f"s3://{address}",
            "HELMFRAME_PROGRESS": "0",
            "RAY_ADDRESS": self.cluster.address,
        }
        command = [sys.executable, "-m", "tests.acceptance.ray_scale_child", str(folder), engine]
        said = {**os.environ, **self.server.environment, **own}
        before = self.server.traffic()
        done = subprocess.run(command, cwd=ROOT, env=said, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        traffic = self.server.traffic() - before
        assert found.pop("counts")["planned"] == instances
        read = {"read_mb": traffic.sent / 1e6, "requests": traffic.requests}
        return {"engine": engine, "instances": instances, "evals": evals, **found, **read}


@contextmanager
def running() -> Iterator[Place]:
    """Such a place; the cluster's processes know the way to the server."""
    with pytest.MonkeyPatch.context() as patch:
        server = start_server()
        said = {**server.environment, "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(ROOT)}
        for name, value in said.items():
            patch.setenv(name, value)
        from ray.cluster_utils import Cluster

        node = {"num_cpus": 2, "object_store_memory": 100 << 20, "include_dashboard": False}
        cluster = Cluster()
        try:
            cluster.add_node(**node)
            yield Place(cluster, server)
        finally:
            cluster.shutdown()
            server.stop()


@pytest.fixture(scope="module")
def figures(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    """A row for each size and engine, whose tables and scores are those of the other."""
    rows: list[dict[str, Any]] = []
    with running() as place:
        for instances, evals in [*((each, 1) for each in INSTANCES), *((ALL, each) for each in EVALS if each > 1)]:
            folder = tmp_path_factory.mktemp("scale")
            both = [place.measured(shared, folder, instances, evals, engine) for engine in ENGINES]
            rows += map(told, both)
            check_equal(folder, instances, evals)
    return pl.DataFrame(rows)


def test_5_the_memory_of_the_driver_does_not_grow_with_the_instances(figures: pl.DataFrame) -> None:
    rows = figures.filter(pl.col("engine") == "ray", pl.col("evals") == 1, pl.col("instances") >= FLAT_FROM)
    driver = rows["driver_mb"].to_list()
    grown = max(driver) - min(driver)
    shown("5", f"Ray: driver's memory between {FLAT_FROM:,} and {max(INSTANCES):,}, MB", f"{grown:.0f}", FLAT_MB)
    assert grown < FLAT_MB


def test_5_chart(figures: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp()
    image = folder / "ray_scale.png"
    drawn(figures, "light").save(image, scale_factor=2)
    figures.write_csv(folder / "ray_scale.csv")
    shown("5", "chart; beside it the figures as CSV, for tests.acceptance.ray_scale_chart", image, "looked at")
    assert image.read_bytes().startswith(b"\x89PNG")


def check_equal(folder: Path, instances: int, evals: int) -> None:
    """That both engines gave the same scores, row for row, and the same table."""
    here, there = (pl.read_parquet(folder / f"table-{engine}.parquet") for engine in ENGINES)
    assert here.height == evals * METRICS
    # variances are summed shard by shard, and the spans of Ray are other shards: the last bit may differ
    assert_frame_equal(here, there, rel_tol=1e-12, abs_tol=0)
    here, there = (all_scores(folder / f"store-{engine}") for engine in ENGINES)
    assert here.item(0, "n") == instances * METRICS
    assert here.equals(there)


def all_scores(store: Path) -> pl.DataFrame:
    """How many, and a sum that is the same for the same rows in whatever order."""
    scores = pl.scan_parquet(store / "runs" / "*" / "scores" / "**" / "*.parquet")
    return scores.select(n=pl.len(), rows=pl.struct(pl.all()).hash().sum()).collect(engine="streaming")


def told(row: dict[str, Any]) -> dict[str, Any]:
    """Print each figure of one engine."""
    what = f"{row['engine']}: {row['instances']:,} instances in {row['evals']} evals"
    said = "; ".join(f"{title} {row[name]:,.1f}" for name, title in FIGURES.items())
    beside = f"of these answers {row['answers']} and {row['answers_mb']:,.1f} MB; CPU seconds {row['cpu']:.1f}"
    table = f"table {row['table_seconds']:.1f} s, {row['table_mb']:.0f} MB"
    shown("5", what, f"{said}; {beside}; {table}; load {os.getloadavg()[0]:.1f}", "as the other engine's")
    return row
