"""A real model on a cluster of this machine: two replicas with a thread each, beside the local engine with both."""

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe._schema import COMPLETIONS
from helmframe.engines.ray.execution import connected
from tests.acceptance.figures import peak_mb, shown
from tests.acceptance.ray_scale_child import Watch
from tests.demo import demo_model

pytestmark = [pytest.mark.shared, pytest.mark.model]

INSTANCES = 24


def replicas() -> list[int]:
    """The processes on this machine that are replicas."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            if each.read_bytes().startswith(b"ray::Replica"):
                found.append(int(each.parent.name))
    return found


def answers(results: hf.Results) -> pl.DataFrame:
    rows = results.completions.collect()
    keys = [name for name in COMPLETIONS.key if name in rows.columns]
    return rows.sort(keys).select(*keys, "completion")


def test_4_two_replicas_answer_as_the_local_engine_does(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = hf.scenario("mmlu", data=str(shared / "scenarios")).where(subject="philosophy").limit(INSTANCES)
    plan = plan.generate(str(demo_model()))
    watch = Watch(replicas)
    with connected(None):  # its two CPUs are one for each replica, and so a thread
        watch.start()
        started = time.time()
        there = plan.score(engine=hf.engines.Ray(replicas=2))
        ended = time.time()
        watch.end()
    up = hf.run(hf.runs()["run"][0]).logs().filter(pl.col("message").str.contains("is ready on"))["time"]
    seconds = ended - up.dt.timestamp("ms").max() / 1000  # type: ignore[operator]
    said = f"{INSTANCES / seconds:.2f} requests/s with loading, up after {ended - seconds - started:.1f} s"
    shown("4", "SmolLM2 on two replicas, one thread each", said, "told")
    peaks = sorted(round(megabytes) for megabytes, _ in watch.seen.values())
    shown("4", "peak memory of the replicas; of the driver, this process, MB", f"{peaks}; {peak_mb()}", "told")
    monkeypatch.setenv("HELMFRAME_STORE", str(tmp_path / "another-store"))
    started = time.time()
    here = plan.score()
    seconds = time.time() - started
    said = f"{INSTANCES / seconds:.2f} requests/s with loading; peak {peak_mb()} MB"
    shown("4", "SmolLM2 in the local engine, two threads", said, "told")
    same: Any = (answers(there)["completion"] == answers(here)["completion"]).sum()
    shown("4", "completions that are the same", f"{same} of {INSTANCES}", "all")
    assert same == INSTANCES
    assert len(peaks) == 2
