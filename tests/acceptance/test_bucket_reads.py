"""What a small selection of 1.5 GB in a bucket costs: bytes and requests beside those of all rows."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import helmframe as hf
from helmframe._pipeline import load_instances
from helmframe._plan import spec_of
from tests.acceptance.figures import shown
from tests.counting_proxy import CountingProxy, counting_proxy
from tests.s3_server import BUCKET, S3Server, start_server
from tests.scenarios.test_bucket_reads import CALLS, SPEC, read

GROUPS, GROUP_ROWS, TEXT = 100, 1_000, 15_000
FILES = 5_000
GROUP_BYTES = GROUP_ROWS * TEXT
METADATA = 3_000_000  # bytes of footers and listings


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    server = start_server()
    yield server
    server.stop()


@pytest.fixture
def proxy(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[CountingProxy]:
    with counting_proxy(server.endpoint) as proxy:
        variables = {**server.environment, "AWS_ENDPOINT_URL": proxy.endpoint, "HELMFRAME_DATA": f"s3://{BUCKET}"}
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        yield proxy


def table(start: int, rows: int, length: int) -> pa.Table:
    letters = np.random.default_rng(start).bytes(rows * length // 2).hex()
    return pa.table(
        {
            "q": [letters[row * length : (row + 1) * length] for row in range(rows)],
            "topic": [f"topic {number * 20 // (GROUPS * GROUP_ROWS)}" for number in range(start, start + rows)],
            "options": [["yes", "no"]] * rows,
            "a": [0] * rows,
            "row_index": range(start, start + rows),
        }
    )


def plan_of(folder: Path, name: str) -> hf.Plan:
    file = folder / f"{name}.yaml"
    file.write_text(SPEC.replace("NAME", name))
    return hf.scenario(str(file))


def read_all(plan: hf.Plan) -> int:
    return sum(frame.height for frame in load_instances(spec_of(plan), spec_of(plan).scenarios[0]))


def test_a_small_selection_of_1500_mb_reads_at_most_two_row_groups(
    server: S3Server, proxy: CountingProxy, tmp_path: Path
) -> None:
    file = tmp_path / "large.parquet"
    with pq.ParquetWriter(file, table(0, 1, 2).schema, compression="none", use_dictionary=["topic"]) as writer:
        for group in range(GROUPS):
            writer.write_table(table(group * GROUP_ROWS, GROUP_ROWS, TEXT))
    server.filesystem().put(str(file), f"{BUCKET}/large/test-0.parquet")
    size = file.stat().st_size
    file.unlink()
    plan = plan_of(tmp_path, "large")
    with proxy.counted() as traffic:
        assert read_all(plan) == GROUPS * GROUP_ROWS
    shown("buckets", f"all {GROUPS} row groups of {size / 1e6:,.0f} MB", traffic, "–")
    for name, call in CALLS.items():
        with proxy.counted() as traffic:
            call(plan)
        shown("buckets", name, traffic, f"{2 * GROUP_BYTES / 1e6:.0f} MB and metadata, 0 HEAD")
        assert sum(traffic.sent.values()) <= 2 * GROUP_BYTES + METADATA
        assert traffic.requests["HEAD"] == 0


def test_5000_files_are_opened_without_a_request_for_their_size(
    server: S3Server, proxy: CountingProxy, tmp_path: Path
) -> None:
    filesystem = server.filesystem()
    for start in range(0, FILES, 500):
        numbers = range(start, start + 500)
        files = {f"{BUCKET}/many/test-{number:05}.parquet": encoded(number) for number in numbers}
        filesystem.pipe(files)
    plan = plan_of(tmp_path, "many")
    calls: dict[str, Callable[[], object]] = {
        "all rows": lambda: read_all(plan),
        "limit(1)": lambda: read(plan.limit(1)),
        "sample(1)": lambda: read(plan.sample(1)),
    }
    for name, call in calls.items():
        with proxy.counted() as traffic:
            call()
        shown("buckets", f"{FILES:,} files, {name}", traffic, "0 HEAD, at most 6 LIST per 1,000 files")
        assert traffic.requests["HEAD"] == 0
        assert traffic.requests["LIST"] <= 6 * FILES / 1_000


def encoded(number: int) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table(2 * number, 2, 100), sink)
    return bytes(sink.getvalue().to_pybytes())
