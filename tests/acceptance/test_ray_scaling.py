"""What replicas, spans and the driver cost, on a real Ray of this machine."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import polars as pl
import pytest

from tests.acceptance.figures import shown
from tests.faults.disturbed import ROOT
from tests.s3_server import BUCKET, S3Server


def child(*said: object) -> dict[str, Any]:
    """What `ray_scaling` measures, in a process of its own."""
    words = [sys.executable, "-m", "tests.acceptance.ray_scaling", *map(str, said)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("replicas", [1, 2, 4, 8, 16])
def test_2_replicas_that_take_a_fixed_time_are_busy(replicas: int, tmp_path: Path) -> None:
    found = child("scaling", replicas, tmp_path / "notes", 0.1, 300)
    shown(
        "2",
        f"{replicas} replicas of 0.1 s a request: share of their time in which they answered",
        f"{found['efficiency']:.3f} over {found['seconds']:.1f} s; {found['requests']} requests, the last replica up "
        f"after {found['up']:.1f} s, all in all {found['whole']:.1f} s",
        "0.85 at 8",
    )
    assert found["replicas"] == replicas
    assert found["requests"] == 300 * replicas
    if replicas == 8:
        assert found["efficiency"] >= 0.85


@pytest.mark.shared
def test_2_what_a_span_costs(s3: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for rows in (8, 1_000, 20_000):
        spec = written(tmp_path, rows)
        monkeypatch.setenv("HELMFRAME_STORE", f"s3://{BUCKET}/stores/{uuid4().hex}")
        before = s3.traffic()
        found = child("span", spec, rows)
        requests = (s3.traffic() - before).requests
        shown(
            "2",
            f"a span of {rows:,} instances, a model that answers at once, store on S3",
            f"{found['cpu']:.3f} CPU s, {found['seconds']:.2f} s, {found['parts']} parts, {found['bytes'] / rows:.0f} "
            f"bytes an instance; {requests} S3 requests, with those of a first span and of looking; "
            f"peak {found['mb']} MB",
            "told",
        )


def test_2_the_drivers_memory_is_flat(tmp_path: Path) -> None:
    found = {}
    for rows in (100_000, 1_000_000, 10_000_000):
        found[rows] = child("cutting", written(tmp_path, rows))
        shown(
            "2",
            f"the driver's part for {rows:,} instances",
            f"{found[rows]['spans']} spans in {found[rows]['seconds']:.2f} s, {found[rows]['mb']} MB more",
            "flat",
        )
        assert found[rows]["rows"] == rows
    assert found[10_000_000]["mb"] < found[100_000]["mb"] + 200


def written(folder: Path, rows: int) -> Path:
    """A scenario of so many instances, as a spec file; as a mirror would have written it."""
    spec, file = folder / f"counted_{rows}.yaml", folder / f"counted_{rows}.parquet"
    if not spec.exists():
        numbers = pl.LazyFrame().select(row_index=pl.int_range(rows, dtype=pl.Int64))
        question = pl.format("What is the {}th number?", "row_index")
        numbers.with_columns(split=pl.lit("test"), input=question, answer=pl.lit("four")).sink_parquet(
            file, row_group_size=20_000
        )
        spec.write_text(
            f"""
scenario: counted_{rows}
version: 1
description: Numbers.
source: {{rows: "{file}"}}
columns: {{row_index: BIGINT, input: VARCHAR, answer: VARCHAR}}
splits: {{test: test}}
instances: |
  SELECT row_index, split, input, [{{'text': answer, 'correct': true}}] AS "references" FROM rows
adapter: {{method: generation}}
metrics: [exact_match]
main: {{metric: exact_match, split: test}}
"""
        )
    return spec
