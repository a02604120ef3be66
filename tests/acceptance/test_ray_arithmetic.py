"""What the page of arithmetic for very large runs on Ray (docs/ray_arithmetic.md) reckons with, measured.

What a run reads, writes and holds by its size is measured by test_ray_scale.py.
"""

import os
import pickle
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import polars as pl
import pytest

import helmframe as hf
from helmframe._pipeline import load_instances, split_spans
from helmframe._plan import spec_of
from helmframe.engines.ray.replica import Done
from helmframe.engines.ray.replica_state import Job
from helmframe.scenarios.spans import Span
from helmframe.store import ParquetCompletions, below
from helmframe.store.maintenance import compact
from helmframe.store.parts import encode, part_path
from tests.acceptance.figures import shown
from tests.acceptance.overhead_child import repeated
from tests.acceptance.ray_scale_child import made
from tests.acceptance.test_store import batch
from tests.s3_server import BUCKET, S3Server
from tests.store.rows import FINGERPRINT, FOLDER, NO_PREFIXES

pytestmark = pytest.mark.shared

T = TypeVar("T")
SPAN = 20_000


def measured(work: Callable[[], T]) -> tuple[T, float, float]:
    """What it gives, seconds of the clock, and CPU seconds."""
    started = time.perf_counter(), time.process_time()
    given = work()
    return given, time.perf_counter() - started[0], time.process_time() - started[1]


def told(what: str, figure: object) -> None:
    shown("6", what, f"{figure}; load {os.getloadavg()[0]:.1f}", "none")


def plan(data: Path | str, folder: Path) -> hf.Plan:
    return hf.scenario(folder / "repeated.yaml", data=str(data))


def test_6_the_driver_cuts_spans(shared: Path, tmp_path: Path) -> None:
    instances = 1_000_000
    repeated(shared, tmp_path, instances)
    asked = plan(tmp_path, tmp_path)
    spans, _, cpu = measured(lambda: split_spans(spec_of(asked), spec_of(asked).scenarios[0], 1))
    assert [span.rows for span in spans] == [SPAN] * (instances // SPAN)
    told(f"{instances:,} instances cut into {len(spans)} spans, instances per CPU second", f"{instances / cpu:,.0f}")


def test_6_the_driver_remembers_spans() -> None:
    number = 10_000
    counts = {
        ("model", "scenario", "model", what): SPAN
        for what in ("planned", "cached", "refused", "shared", "generated", "failed", "prompt_tokens", "output_tokens")
    }
    sent = pickle.dumps(Done(counts, 0.0))
    tracemalloc.start()
    jobs = [
        Job(0, Span(SPAN, (("part", place * SPAN, place * SPAN + SPAN - 1),)), place, seen=pickle.loads(sent))
        for place in range(number)
    ]
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(jobs) == number
    told("bytes that the driver holds of a span that is done", f"{held / number:,.0f}")


@pytest.mark.parametrize("files", [1, 8])
def test_6_a_span_is_read_from_a_bucket(shared: Path, tmp_path: Path, s3: S3Server, files: int) -> None:
    repeated(shared, tmp_path, 2 * SPAN)
    address = f"{BUCKET}/spans-{files}"
    rows = tmp_path / "repeated" / "test-000000000.parquet"
    for file in range(files):
        s3.filesystem().put(str(rows), f"{address}/repeated/test-{file}.parquet")
    asked = plan(f"s3://{address}", tmp_path)
    spans = split_spans(spec_of(asked), spec_of(asked).scenarios[0], 1)
    before = s3.traffic()
    spec = replace(spec_of(asked), span=spans[0])
    height = sum(frame.height for frame in load_instances(spec, spec.scenarios[0]))
    traffic = s3.traffic() - before
    assert height == SPAN
    size = rows.stat().st_size * files
    told(
        f"a span of {SPAN:,} instances of {2 * SPAN * files:,} in {files} files: requests; MB of {size / 1e6:.1f}",
        f"{traffic.requests}; {traffic.sent / 1e6:.2f}",
    )


class Paced:
    """A model that answers so many requests a second, in batches."""

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def generate(self, prompts: list[str]) -> list[str]:
        time.sleep(len(prompts) / self.rate)
        return ["A"] * len(prompts)


@pytest.mark.parametrize("at_once", [1, 2])
def test_6_a_model_at_work_writes_parts_and_asks_the_bucket(
    shared: Path, tmp_path: Path, s3: S3Server, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    rate, instances = 50, 1_000
    made(shared, tmp_path, instances, at_once)
    root = f"s3://{BUCKET}/stores/paced-{at_once}"
    monkeypatch.setenv("HELMFRAME_STORE", root)
    monkeypatch.setenv("HELMFRAME_DATA", str(tmp_path))
    model = hf.model(Paced(rate), name="paced", version="1", batch=16)
    asked = hf.suite(*map(hf.scenario, sorted(tmp_path.glob("eval*.yaml")))).generate(model)
    before = s3.traffic()
    results, seconds, _ = measured(asked.score)
    traffic = s3.traffic() - before
    assert results.manifest["counts"]["generated"] >= 0.9 * instances
    files = s3.filesystem().find(f"{root.removeprefix('s3://')}/completions")
    answers = [each for each in files if "prefixes-" not in each]
    told(
        f"one model at {rate} requests/s for {seconds:.0f} s, {at_once} shards at once, store in a bucket: parts of "
        "answers a second; S3 requests a second",
        f"{len(answers) / seconds:.2f}; {traffic.requests / seconds:.1f}",
    )


@pytest.mark.parametrize("parts", [1_000, 4_000])
def test_6_a_look_at_a_shelf_of_many_parts(s3: S3Server, parts: int) -> None:
    store = ParquetCompletions(f"s3://{BUCKET}/stores/shelf-{parts}", FINGERPRINT, "mmlu")
    data = encode(batch(0, 1), {})
    completions = below(store.root, "completions")
    paths = [part_path(FOLDER, place, place, 1, place, 1, data) for place in range(parts)]
    made = {f"{completions}/{path}".removeprefix("s3://"): data for path in paths}
    s3.filesystem().pipe(made)
    before = s3.traffic()
    found, seconds, cpu = measured(lambda: store.read_new(parts, parts + SPAN))
    traffic = s3.traffic() - before
    assert found.is_empty()
    told(
        f"a look whether a shelf of {parts:,} parts has news: requests; seconds; CPU seconds of ours",
        f"{traffic.requests}; {seconds:.2f}; {cpu:.2f}",
    )


@pytest.mark.parametrize("each", [30, 2_000])
def test_6_parts_are_merged(tmp_path: Path, each: int) -> None:
    parts = 500
    store = ParquetCompletions(tmp_path, FINGERPRINT, "mmlu")
    numbers = [pl.lit(0, dtype=pl.Int64).alias(name) for name in ("perturbation_seed", "trial", "output_index")]
    for start in range(0, parts * each, each):
        store.append(batch(start, each).with_columns(numbers), NO_PREFIXES)
    size = sum(path.stat().st_size for path in tmp_path.rglob("*.parquet"))
    (merged,), _, cpu = measured(lambda: list(compact(tmp_path)))
    now = sum(path.stat().st_size for path in tmp_path.rglob("*.parquet"))
    assert merged.before == parts
    told(
        f"{parts} parts of {each:,} answers merged into {merged.after}: parts and answers per CPU second; bytes an "
        "answer, before and after",
        f"{parts / cpu:,.0f} and {parts * each / cpu:,.0f}; {size / parts / each:.0f} and {now / parts / each:.0f}",
    )
