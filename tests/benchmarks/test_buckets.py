"""Seconds with a bucket 50 ms away each way: reading the 57 subjects of MMLU, and a run whose store is the bucket."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import helmframe as hf
from tests.acceptance.shared_store_child import model
from tests.s3_server import BUCKET, S3Server, start_server
from tests.scenarios.readers import READERS
from tests.slow_link import slow_link

pytestmark = pytest.mark.shared
DELAY = 0.05  # seconds, in each direction
SUBJECTS = 57


@pytest.fixture(scope="module")
def server(shared: Path) -> Iterator[S3Server]:
    server = start_server()
    try:
        server.filesystem().put(f"{shared}/scenarios/mmlu/", f"{BUCKET}/mmlu/", recursive=True)
        yield server
    finally:
        server.stop()


@pytest.fixture
def distant(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    with slow_link(server.endpoint, DELAY) as endpoint:
        for name, value in {**server.environment, "AWS_ENDPOINT_URL": endpoint}.items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.mark.parametrize("reader", READERS)
def test_all_subjects_of_mmlu_are_read(distant: S3Server, monkeypatch: pytest.MonkeyPatch, reader: str) -> None:
    monkeypatch.setenv("HELMFRAME_DATA", f"s3://{BUCKET}")
    monkeypatch.setenv("HELMFRAME_S3_READER", reader)
    before, start, cpu = distant.traffic(), time.perf_counter(), time.process_time()
    instances = hf.scenario("mmlu").instances().collect()
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    requests = (distant.traffic() - before).requests
    one_by_one = requests * 2 * DELAY
    print(
        f"\n{reader}: {SUBJECTS} subjects, {instances.height:,} instances in {seconds:.1f} s ({cpu:.1f} CPU s), "
        f"{requests} requests; one after the other they wait {one_by_one:.1f} s"
    )
    assert instances["subset"].n_unique() == SUBJECTS
    assert requests < 4 * SUBJECTS


def test_a_run_whose_store_is_distant(
    distant: S3Server, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELMFRAME_DATA", str(shared / "scenarios"))
    seconds = {}
    for name, store in (("local", str(tmp_path / "local")), ("distant", f"s3://{BUCKET}/store")):
        monkeypatch.setenv("HELMFRAME_STORE", store)
        # 16 prompts in a call of 50 ms
        plan = hf.scenario("mmlu").where(subject=["philosophy", "anatomy"]).limit(125).perturb(["typos", "lowercase"])
        before, start = distant.traffic(), time.perf_counter()
        plan.generate(model(tmp_path / f"log {name}", 0.05, 16)).score().table()
        seconds[name] = time.perf_counter() - start
        print(f"\n{name} store: {seconds[name]:.1f} s, {(distant.traffic() - before).requests} requests to the bucket")
    print(f"distant / local: {seconds['distant'] / seconds['local']:.2f}")
    assert seconds["distant"] < 5 * seconds["local"] + 5
