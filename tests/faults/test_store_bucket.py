"""A store in a bucket: what a run keeps there, and what is said when the server refuses, goes, or comes back."""

import logging
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest

import helmframe as hf
from helmframe.errors import StoreError
from helmframe.store import ParquetCompletions, files
from helmframe.store.files import read
from helmframe.views.viewer import Viewer
from tests.s3_server import ACCESS, BUCKET, SECRET, S3Server, start_server
from tests.store.rows import FINGERPRINT, NO_PREFIXES, answers, filled

pytestmark = [pytest.mark.shared, pytest.mark.slow]
LIMIT = 60.0  # seconds within which every failure must be said


@pytest.fixture
def address(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty store in the bucket, the one that is set."""
    found = f"s3://{BUCKET}/stores/{uuid4().hex}"
    monkeypatch.setenv("HELMFRAME_STORE", found)
    return found


@pytest.fixture
def own_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """A server that the test may harm."""
    server = start_server()
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    yield server
    server.stop()


def failure(action: Callable[[], object]) -> str:
    """The message of the failure, which must be said in time, and hold no credential anywhere."""
    started = time.monotonic()
    with pytest.raises(StoreError) as caught:
        action()
    assert time.monotonic() - started < LIMIT
    everything = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert SECRET not in everything
    assert ACCESS not in everything
    assert caught.value.__context__ is None
    return str(caught.value)


@pytest.mark.smoke
def test_a_run_in_a_bucket_sends_each_request_once(address: str) -> None:
    asked: list[str] = []

    def first_choice(prompts: list[str]) -> list[str]:
        asked.extend(prompts)
        return ["A"] * len(prompts)

    plan = hf.scenario("sampler").where(subject="music").generate(hf.model(first_choice, name="first", version="1"))
    results = plan.score()
    again = plan.score()
    assert len(asked) == len(set(asked)) == results.completions.collect().height
    assert again.table().drop("interval").equals(results.table().drop("interval"))
    assert str(results.path).startswith(f"{address}/runs/")
    loaded = hf.load(str(results.path))
    assert loaded.table().equals(results.table())
    assert str(results.path) in repr(results)
    assert plan.results().table().equals(results.table())


def test_results_can_be_copied_to_a_bucket(address: str) -> None:
    results = hf.scenario("sampler").where(subject="music").generate("oracle()").score()
    results.to_parquet(f"{address}/copy")
    assert hf.load(f"{address}/copy").table().equals(results.table())
    request = {"method": "page", "params": {"run": "copy"}}
    assert Viewer.of(f"{address}/copy").respond(request)["result"]["total"] == 32
    assert read(results.report(f"{address}/report.html")).startswith(b"<!doctype html>")
    with pytest.raises(StoreError, match="isn't empty"):
        results.to_parquet(f"{address}/copy/")


def test_a_wrong_key_raises_at_once(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    started = time.monotonic()
    assert "AWS_ACCESS_KEY_ID" in failure(lambda: filled(f"s3://{BUCKET}/stores/denied"))
    assert time.monotonic() - started < 5


def test_a_stopped_server_raises(own_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "WAITS", (0.1, 0.1))
    store = filled(f"s3://{BUCKET}/store", parts=1)
    own_server.process.kill()
    own_server.process.wait()
    assert "AWS_ENDPOINT_URL" in failure(lambda: store.append(answers([b"new"], [1]), NO_PREFIXES))
    assert "can't read s3://" in failure(lambda: ParquetCompletions(store.root, FINGERPRINT, "mmlu").read(0, 9))


def test_a_server_that_stands_still_for_a_moment_loses_nothing(
    own_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_TIMEOUT", 1)
    files._filesystem.cache_clear()
    store = filled(f"s3://{BUCKET}/store", parts=1)
    os.kill(own_server.process.pid, signal.SIGSTOP)
    threading.Timer(3, os.kill, (own_server.process.pid, signal.SIGCONT)).start()
    store.append(answers([b"new"], [1]), NO_PREFIXES)
    assert ParquetCompletions(store.root, FINGERPRINT, "mmlu").read(0, 99).height == 11


def test_a_torn_upload_is_set_aside(address: str, caplog: pytest.LogCaptureFixture) -> None:
    store = filled(address, parts=2)
    part = next(file for file in files.listing(store.folder) if file.name.startswith("0"))
    files.write(files.read(part.address)[:500], part.address)
    with caplog.at_level(logging.WARNING, "helmframe.store"):
        assert store.read(0, 99).height == 10
    assert part.name in caplog.text
    assert SECRET not in caplog.text


def test_no_stored_file_contains_a_credential(address: str) -> None:
    hf.scenario("sampler").where(subject="music").generate("oracle()").score()
    filled(address)
    for data in files.read_all([file.address for file in files.listing(address)]):
        assert data is not None
        assert SECRET.encode() not in data
