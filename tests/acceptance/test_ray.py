"""The cluster's acceptance checks, on a real Ray: several raylets as nodes, a real S3 server as bucket and store."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import polars as pl
import pytest

import helmframe as hf
from helmframe._schema import COMPLETIONS
from tests.acceptance.figures import shown
from tests.acceptance.ray_child import model, notes_of, plan
from tests.faults.disturbed import ROOT, doubled, same_tables, scores_of
from tests.faults.table import Server
from tests.s3_server import BUCKET, SECRET, start_server

pytestmark = pytest.mark.shared

CANARY = "sk-proj-canary0123456789abcdefghij"
SECONDS = 0.004  # of an answer, where a run must last
ENGINE = hf.engines.Ray(replicas=2, num_cpus=0.5)


def at_last(start: Callable[[], Any], tries: int = 4) -> Any:
    """What comes of it: Ray's patience with its own processes is short on a machine that is busy."""
    for _ in range(tries - 1):
        try:
            return start()
        except Exception as error:
            print(f"Ray has not started: {error}")
    return start()


@dataclass
class Place:
    """A cluster of three nodes, and the S3 server that it reads and writes."""

    cluster: Any
    nodes: list[Any]
    server: Server

    def add_node(self) -> None:
        how = {"num_cpus": 4, "object_store_memory": 100 << 20}
        self.nodes.append(at_last(lambda: self.cluster.add_node(**how)))

    def lose_node(self) -> None:
        self.cluster.remove_node(self.nodes.pop(), allow_graceful=False)


@pytest.fixture(scope="module")
def place(shared: Path) -> Iterator[Place]:
    with pytest.MonkeyPatch.context() as patch:
        server = Server(start_server())
        for name, value in {
            **server.running.environment,
            "HELMFRAME_DATA": f"s3://{BUCKET}",
            "HELMFRAME_PROGRESS": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
            "OPENAI_API_KEY": CANARY,
            "PYTHONPATH": str(ROOT),
        }.items():
            patch.setenv(name, value)
        for folder in ("mmlu/philosophy", "boolq"):
            server.running.filesystem().put(f"{shared}/scenarios/{folder}/", f"{BUCKET}/{folder}/", recursive=True)
        import ray
        from ray.cluster_utils import Cluster

        cluster = Cluster()
        head = {"num_cpus": 0, "object_store_memory": 100 << 20, "include_dashboard": False}
        at_last(lambda: cluster.add_node(**head))
        found = Place(cluster, [], server)
        found.add_node()
        found.add_node()
        ray.init(address=cluster.address, log_to_driver=False)
        yield found
        ray.shutdown()
        cluster.shutdown()
        server.running.stop()


@pytest.fixture(autouse=True)
def own_store(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**place.server.running.environment, "HELMFRAME_DATA": f"s3://{BUCKET}"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HELMFRAME_PROGRESS", "0")
    another_store(monkeypatch)


def another_store(patch: pytest.MonkeyPatch) -> None:
    patch.setenv("HELMFRAME_STORE", f"s3://{BUCKET}/stores/{uuid4().hex}")


def equal(one: hf.Results, other: hf.Results) -> bool:
    """Every score of every request is the same; the tables are but for the order in which floats are summed."""
    return scores_of(one).equals(scores_of(other)) and same_tables(one, other)


def test_1_the_same_tables_whatever_the_number_of_workers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def models(notes: Path) -> list[hf.Model]:
        return [model(notes, name="one"), model(notes, name="two")]

    here = plan().generate(models(tmp_path / "local")).score()
    distinct = here.completions.select(pl.col("request_id").n_unique()).collect().item()
    shown("1", "local: requests asked in total / distinct", f"{len(notes_of(tmp_path / 'local')) / distinct:.4f}", "1")
    for workers in (1, 2, 4):
        another_store(monkeypatch)
        notes = tmp_path / str(workers)
        there = plan().generate(models(notes)).score(engine=hf.engines.Ray(replicas=workers, num_cpus=0.5))
        asked = len(notes_of(notes))
        is_equal = equal(there, here)
        shown(
            "1",
            f"Ray, {workers} workers for each of two models",
            f"equal row for row: {'yes' if is_equal else 'NO'}; asked / distinct: {asked} / {distinct} = "
            f"{asked / distinct:.4f}",
            "yes; 1 + in flight",
        )
        assert is_equal
        assert not doubled(there)
        assert distinct <= asked <= 1.1 * distinct


def _kill_one(place: Place, notes: Path) -> None:
    os.kill(int(next(notes.iterdir()).name), signal.SIGKILL)


def _kill_all(place: Place, notes: Path) -> None:
    for each in notes.iterdir():
        os.kill(int(each.name), signal.SIGKILL)


def _lose_node(place: Place, notes: Path) -> None:
    place.lose_node()


def _restart_s3(place: Place, notes: Path) -> None:
    place.server.kill()
    time.sleep(2)
    place.server.again()


@pytest.fixture
def undisturbed(place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> hf.Results:
    results = plan().generate(model(tmp_path / "undisturbed")).score()
    another_store(monkeypatch)
    return results


@pytest.mark.soak
@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("one worker killed", _kill_one),
        ("all replicas killed", _kill_all),
        ("a node killed", _lose_node),
        ("S3 server killed and restarted", _restart_s3),
    ],
)
def test_3_a_fault_while_it_runs_loses_and_doubles_nothing(
    name: str, fault: Callable[[Place, Path], None], place: Place, undisturbed: hf.Results, tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    run = plan().generate(model(notes, SECONDS)).submit(engine=ENGINE)
    wait_for(notes, 100)
    fault(place, notes)
    results = run.wait(180)
    if len(place.nodes) < 2:
        place.add_node()
    report(name, results, undisturbed, notes)


@pytest.mark.soak
def test_3_a_driver_that_is_killed_is_taken_over(place: Place, undisturbed: hf.Results, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    said = [sys.executable, "-m", "tests.acceptance.ray_child", place.cluster.address, str(notes), str(SECONDS)]
    with subprocess.Popen(said, cwd=ROOT, start_new_session=True) as driver:
        wait_for(notes, 200)
        driver.kill()
        driver.wait()
    before = len(notes_of(notes))
    results = plan().generate(model(notes, SECONDS)).score(engine=ENGINE)
    shown("3", "driver killed: asked before / kept by the second run", f"{before} / {kept(results)}", "most of them")
    assert kept(results) > 0
    report("driver killed and taken over", results, undisturbed, notes)


@pytest.mark.soak
def test_3_ctrl_c_leaves_a_store_to_go_on_from(place: Place, undisturbed: hf.Results, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    said = [sys.executable, "-m", "tests.acceptance.ray_child", place.cluster.address, str(notes), str(SECONDS)]
    with subprocess.Popen(said, cwd=ROOT, start_new_session=True, stderr=subprocess.PIPE, text=True) as driver:
        wait_for(notes, 100)
        os.killpg(driver.pid, signal.SIGINT)  # as a terminal does
        _, told = driver.communicate(timeout=120)
    assert "KeyboardInterrupt" in told
    assert hf.runs()["status"].to_list()[0] == "stopped"
    before = len(notes_of(notes))
    results = plan().generate(model(notes, SECONDS)).score(engine=ENGINE)
    shown("3", "Ctrl-C: asked before / kept by the second run", f"{before} / {kept(results)}", "all but shared ones")
    report("Ctrl-C and gone on", results, undisturbed, notes)
    assert len(notes_of(notes)) <= before + results.manifest["counts"]["generated"]


def test_no_credential_is_in_the_store_or_in_a_log(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)

    def careless(prompt: str) -> str:
        logging.getLogger("mine").error("the key is %s", os.environ["OPENAI_API_KEY"])
        if len(prompt) % 2:
            raise ValueError(f"401: no such key: {os.environ['OPENAI_API_KEY']}")
        return "A"

    run = hf.scenario("boolq").limit(20).generate({"careless": careless}).submit(engine=ENGINE)
    results = run.wait(120)
    assert results.errors().height
    assert "the key is ***" in run.logs()["message"].to_list()
    files = place.server.running.filesystem()
    store = [files.cat_file(each) for each in files.find(os.environ["HELMFRAME_STORE"])]
    tables = [str(pl.read_parquet(each).rows()).encode() for each in store if each[:4] == b"PAR1"]
    logs = [each.read_bytes() for each in Path(place.cluster.head_node.get_logs_dir_path()).rglob("*.*")]
    secrets = (CANARY.encode(), SECRET.encode())
    found = sum(secret in each for each in [*store, *tables, *logs] for secret in secrets)
    said = f"{found} of {len(store)} files in the store and {len(logs)} logs of Ray hold one"
    shown("3", "credentials that a careless model logs and raises", said, "0")
    assert store
    assert logs
    assert not found


@pytest.mark.soak
def test_3_a_poison_row_is_isolated(place: Place, undisturbed: hf.Results, tmp_path: Path) -> None:
    instances = hf.scenario("boolq").limit(50).instances().collect()
    poison = instances["input"][17]
    notes = tmp_path / "notes"
    results = plan().generate(model(notes, poison=poison)).score(engine=ENGINE)
    failed = results.errors()
    keys = [name for name in COMPLETIONS.key if name in failed.columns]
    answered = completions(results).filter(pl.col("error").is_null())
    expected = completions(undisturbed).join(failed, on=keys, how="anti")
    is_equal = answered.select(*keys, "completion").equals(expected.select(*keys, "completion"))
    shown(
        "3",
        "poison row",
        f"{failed.height} rows with an error, of instance {set(failed['instance_id'])}; all others equal: "
        f"{'yes' if is_equal else 'NO'}; doubled {doubled(results)}",
        "its rows alone",
    )
    assert set(failed["instance_id"]) == {instances["instance_id"][17]}
    assert is_equal
    assert not doubled(results)


def completions(results: hf.Results) -> pl.DataFrame:
    rows = results.completions.collect()
    return rows.sort([name for name in COMPLETIONS.key if name in rows.columns])


def kept(results: hf.Results) -> int:
    return int(results.manifest["counts"]["cached"])


def wait_for(notes: Path, count: int) -> None:
    until = time.monotonic() + 120
    while not notes.exists() or len(notes_of(notes)) < count:
        assert time.monotonic() < until
        time.sleep(0.02)


def report(name: str, results: hf.Results, undisturbed: hf.Results, notes: Path) -> None:
    """Print and check: nothing lost, nothing doubled, the tables of the undisturbed run."""
    distinct = undisturbed.completions.select(pl.col("request_id").n_unique()).collect().item()
    lost = undisturbed.completions.collect().height - results.completions.collect().height
    asked = len(notes_of(notes))
    is_equal = equal(results, undisturbed)
    shown(
        "3",
        name,
        f"lost {lost}, doubled {doubled(results)}, errors {results.errors().height}; {asked - distinct} of {distinct} "
        f"asked again; equal to undisturbed: {'yes' if is_equal else 'NO'}",
        "equal, lost 0, doubled 0",
    )
    assert lost == 0
    assert doubled(results) == 0
    assert is_equal
