"""Batch APIs: a process that is killed at any stage resubmits nothing, and the table equals that of the live run."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.figures import shown
from tests.models.batch_server import BatchServer, RefusedError, serving_batches

ROOT = Path(__file__).parents[2]
N = 1_000
CHILD = """
import json, sys
import polars as pl
import helmframe as hf
from helmframe.models import batch_runs

url, api, n = sys.argv[1:]
batch_runs.POLL_SECONDS = (0.05, 0.2)
rows = [f"Question {number}{'.' * (number % 7)}" for number in range(int(n))]
frame = pl.DataFrame({"q": rows, "a": ["ABCD"[len(text) % 4] for text in rows]})
live = hf.models.http(url, "m", chat=True)
model = live if api == "live" else hf.models.batch(live, api=api)
results = hf.scenario(frame, input="q", references="a", name="letters").generate(model).score()
completions = results.completions.collect().sort("instance_id")
columns = ["instance_id", "completion", "finish_reason", "prompt_tokens", "output_tokens", "error"]
print(json.dumps([results.table().write_csv(), completions.select(columns).write_csv(), results.manifest["counts"]]))
"""


@pytest.fixture
def server() -> Iterator[BatchServer]:
    with serving_batches() as server:
        server.open.set()
        yield server


def start(server: BatchServer, store: Path, api: str, **variables: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "HELMFRAME_STORE": str(store), "HELMFRAME_PROGRESS": "0", **variables}
    command = [sys.executable, "-c", CHILD, server.url, api, str(N)]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finished(server: BatchServer, store: Path, api: str) -> tuple[str, str, dict[str, int]]:
    """Return the table, the completions and the counts of a run."""
    process = start(server, store, api)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    table, completions, counts = json.loads(output.splitlines()[-1])
    return table, completions, counts


def killed(server: BatchServer, store: Path, api: str, stage: str) -> None:
    """Kill a run at a stage of its submission."""
    reached, ended = threading.Event(), threading.Event()

    def pause(current: str) -> None:
        if current == stage:
            reached.set()
            ended.wait(60)
            if stage == "batch":  # the process was killed before its request arrived
                raise RefusedError(503, "the client has left")

    server.pause = pause
    process = start(server, store, api)
    assert reached.wait(60)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    server.pause = lambda current: None
    ended.set()
    time.sleep(0.2)


def live(server: BatchServer, store: Path) -> tuple[str, str]:
    table, completions, _ = finished(server, store, "live")
    return table, completions


@pytest.mark.parametrize("stage", ["upload", "batch", "created", "poll"])
def test_a_killed_run_resubmits_nothing(server: BatchServer, tmp_path: Path, stage: str) -> None:
    server.open.clear()
    killed(server, tmp_path / "store", "openai", stage)
    server.open.set()
    sent = len(server.live)
    table, completions, counts = finished(server, tmp_path / "store", "openai")
    files = server.count("POST", "/files")
    resubmitted = len(server.live) - sent + len(server.submitted) - len(set(server.submitted))
    shown("5", f"requests resubmitted after kill -9 at stage {stage!r}", resubmitted, 0)
    shown("5", f"uploads and batches, stage {stage!r}", (files, len(server.batches)), (1, 1))
    assert (resubmitted, files, len(server.batches)) == (0, 1, 1)
    assert len(server.submitted) == N - 1  # the first request is sent live
    assert (counts["planned"], counts["failed"]) == (N, 0)
    assert (table, completions) == live(server, tmp_path / "live")


@pytest.mark.parametrize("stage", ["created", "poll"])
def test_a_killed_run_resubmits_nothing_to_anthropic(server: BatchServer, tmp_path: Path, stage: str) -> None:
    server.open.clear()
    killed(server, tmp_path / "store", "anthropic", stage)
    sent = len(server.live)
    opened = threading.Timer(2.0, server.open.set)
    opened.start()
    _, completions, counts = finished(server, tmp_path / "store", "anthropic")
    opened.join()
    resubmitted = len(server.live) - sent + len(server.submitted) - len(set(server.submitted))
    shown("5", f"requests resubmitted to Anthropic's API after kill -9 at stage {stage!r}", resubmitted, 0)
    assert (resubmitted, len(server.batches), counts["failed"]) == (0, 1, 0)
    assert texts(completions) == texts(live(server, tmp_path / "live")[1])


@pytest.mark.parametrize("api", ["openai", "anthropic"])
def test_an_expired_batch_resubmits_only_the_missing_requests(server: BatchServer, tmp_path: Path, api: str) -> None:
    server.most = 600
    _, _, counts = finished(server, tmp_path / "store", api)
    missing, sent = N - 1 - 600, len(server.live)
    assert counts["failed"] == missing
    server.most = None
    _, completions, counts = finished(server, tmp_path / "store", api)
    resubmitted = len(server.live) - sent + len(server.submitted) - (N - 1)
    shown("5", f"requests resubmitted after a batch expired ({api})", resubmitted, missing)
    assert (resubmitted, counts["failed"]) == (missing, 0)
    assert texts(completions) == texts(live(server, tmp_path / "live")[1])


def test_ctrl_c_leaves_the_batch_and_states_how_to_resume(server: BatchServer, tmp_path: Path) -> None:
    server.open.clear()
    polled = threading.Event()
    server.pause = lambda stage: polled.set() if stage == "poll" else None
    process = start(server, tmp_path / "store", "openai", HELMFRAME_PROGRESS="1")
    assert polled.wait(60)
    process.send_signal(signal.SIGINT)
    _, notes = process.communicate(timeout=60)
    assert process.returncode != 0
    left = f"m: batch batch_1 with {N - 1} requests is in progress at {server.url}. Rerun the plan to resume"
    shown("5", "notes after Ctrl-C", notes.count(left), "2, at the start and at the end")
    assert (notes.count(left), "model.cancel()" in notes) == (2, True)
    assert server.count("POST", "/batches/batch_1/cancel") == 0
    server.open.set()
    assert finished(server, tmp_path / "store", "openai")[2]["failed"] == 0
    assert len(server.batches) == 1


def texts(completions: str) -> list[Any]:
    """Return the instances and completions, without token counts, which the two protocols count differently."""
    return [line.split(",")[:3] for line in completions.splitlines()]
