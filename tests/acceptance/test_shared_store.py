"""A store that several processes share, and that faults disturb: few requests are sent twice, and tables are equal."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import polars as pl
import pytest

import helmframe as hf
from helmframe.cli.app import main
from helmframe.models import retries
from helmframe.store import ParquetCompletions, address_of, claims
from helmframe.store.files import scan
from tests.acceptance.figures import shown
from tests.acceptance.shared_store_child import Child, digest, plans, table
from tests.faults.table import Server
from tests.models.openai_server import Asked, Reply, completion, refusal, serving
from tests.s3_server import BUCKET, S3Server, start_server

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("SOAK_KILLS") or 100)
MINUTES = float(os.environ.get("SOAK_MINUTES") or 60)
FLUSH_SECONDS = 0.3
WRITE_SECONDS = 1.0  # for a write on a busy machine
LIMIT = 0.05  # the largest share of requests that are sent twice


def start(child: Child, **variables: str) -> "subprocess.Popen[str]":
    """Start a run in its own process."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.acceptance.shared_store_child", child.json],
        cwd=ROOT,
        env={**os.environ, "HELMFRAME_PROGRESS": "0", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: "subprocess.Popen[str]") -> str:
    """Return the table that a process prints."""
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return str(json.loads(out.splitlines()[-1])[0])


def lines(log: Path) -> list[tuple[float, str]]:
    """Return the time and the prompt of each completion in a log."""
    pairs = (line.split() for line in log.read_text().splitlines()) if log.exists() else iter(())
    return [(float(at), prompt) for at, prompt in pairs]


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.shared)])
def store(request: pytest.FixtureRequest, tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The start of the addresses of empty stores, in a folder and then in a bucket."""
    monkeypatch.setenv("HELMFRAME_DATA", str(shared / "scenarios"))
    if request.param == "folder":
        return str(tmp_path / "stores")
    server: S3Server = request.getfixturevalue("s3_server")
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/stores/{uuid4().hex}"


@pytest.mark.shared
@pytest.mark.parametrize("plan", ["philosophy", "mmlu", "suite"])
@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize("seconds", [0.0, 0.02])
def test_4_processes_that_share_a_store_send_each_request_once(
    plan: str, processes: int, seconds: float, store: str, tmp_path: Path
) -> None:
    def child(number: int) -> Child:
        files = {"log": str(tmp_path / f"log {number}"), "ready": str(tmp_path / f"ready {number}")}
        return Child(plan=plan, seconds=seconds, batch=8, go=str(tmp_path / "go"), **files)

    address = f"{store}/{plan}{processes}{seconds}"
    running = [start(child(number), HELMFRAME_STORE=address) for number in range(processes)]
    while not all((tmp_path / f"ready {number}").exists() for number in range(processes)):
        assert all(process.poll() is None for process in running)
        time.sleep(0.01)
    started = time.monotonic()
    (tmp_path / "go").touch()
    tables = [finish(process) for process in running]
    took = time.monotonic() - started
    sent = [prompt for number in range(processes) for _, prompt in lines(tmp_path / f"log {number}")]
    counts = [len(lines(tmp_path / f"log {number}")) for number in range(processes)]
    excess = len(sent) / len({*sent}) - 1
    where = "bucket" if address.startswith("s3") else "folder"
    what = f"{plan}, {processes} processes, {seconds} s per call, {where}: {counts} of {len({*sent})} in {took:.1f} s"
    shown("4", f"{what}, excess", f"{excess:.1%}", f"{LIMIT:.0%}")
    assert len({*tables}) == 1
    assert excess < LIMIT
    if where == "folder":
        assert scan(Path(address))[1] == []


def test_4_claims_cost_a_lone_process_little(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """CPU seconds of a run of 100,000 requests, and of the division of its shards alone."""
    monkeypatch.setenv("HELMFRAME_STORE", f"{store}/lone")
    ids = [f"{number:016}".encode() for number in range(20_000)]
    rows = pl.DataFrame({"request_id": ids, "row_index": range(20_000)}, schema_overrides={"row_index": pl.Int64})
    created: list[object] = []
    create = claims.create  # type: ignore[attr-defined]

    def counted(data: bytes, address: Path | str) -> object:
        created.append(address)
        return create(data, address)

    monkeypatch.setattr(claims, "create", counted)
    started, looks = time.process_time(), 0
    for shard in range(6):
        if shard == 1:  # the first warms up
            created.clear()
            started, looks = time.process_time(), 0
        stored = ParquetCompletions(address_of(f"{store}/divided"), f"{shard}" * 64, "mmlu")
        mine = claims.Claims(stored.folder, "run")
        rest = claims.SharedRequests(rows, rows, stored, mine, batch=256)
        while rest.height:
            _, _, names = rest.take(8192, threading.Event())
            mine.release(names)
            looks += 1
        mine.close()
    divided = time.process_time() - started
    n_claims = len(created)
    questions = pl.DataFrame({"q": [f"Question {number}?" for number in range(100_000)], "a": ["A"] * 100_000})
    model = hf.model(lambda prompts: ["A"] * len(prompts), name="instant", version="1", batch=256)
    started = time.process_time()
    hf.scenario(questions, input="q", references="a").generate(model).score()
    whole = time.process_time() - started
    where = "bucket" if store.startswith("s3") else "folder"
    what = f"claims of 100,000 requests, one process, {where}: {n_claims} claims, {looks} looks, CPU {divided:.2f} s of"
    shown("4", what, f"{whole:.2f} s, {divided / whole:.1%}", "6% on disk, 30% in a bucket")
    assert n_claims == 5 * 40
    assert divided / whole <= (0.06 if where == "folder" else 0.3)


# -- kills -----------------------------------------------------------------------------------------------------------


@dataclass
class Kills:
    """The figures of the kill table of one store."""

    kills: int = 0
    tables: int = 0
    different: int = 0
    unique: int = 0
    repeated: int = 0
    most_repeated: int = 0
    oldest: float = 0.0  # seconds between a completion that was lost and the kill
    orphans: int = 0
    by_moment: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        moments = ", ".join(f"{count} {moment}" for moment, count in sorted(self.by_moment.items()))
        return (
            f"{self.kills} kills ({moments}), "
            f"{self.tables} tables, {self.different} different, {self.repeated} of {self.unique} requests repeated "
            f"(at most {self.most_repeated} by one kill, up to {self.oldest:.2f} s before it), "
            f"{self.orphans} unfinished files left"
        )


class Forks:
    """Runs that are forked from a process that has imported helmframe."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.acceptance.shared_store_child"],
            cwd=ROOT,
            env={**os.environ, "HELMFRAME_PROGRESS": "0"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, child: Child, **variables: str) -> "Fork":
        """Start a run."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        out = self._folder / f"out {uuid4().hex}"
        self._process.stdin.write(json.dumps([asdict(child), variables, str(out)]) + "\n")
        self._process.stdin.flush()
        return Fork(int(self._process.stdout.readline()), out)

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


@dataclass(frozen=True)
class Fork:
    """A forked run."""

    pid: int
    out: Path

    @property
    def runs(self) -> bool:
        """Return whether the process exists."""
        return Path(f"/proc/{self.pid}").exists()

    def kill(self) -> None:
        """Kill the process, and wait until it has ended."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def wait(self) -> None:
        """Wait until the process has ended."""
        while self.runs:
            time.sleep(0.005)

    def table(self) -> str:
        """Return the table that the run prints."""
        self.wait()
        return str(json.loads(self.out.read_text().splitlines()[-1])[0])


@pytest.fixture
def forks(store: str, tmp_path: Path) -> Iterator[Forks]:
    """Runs with the variables of the store."""
    forks = Forks(tmp_path)
    yield forks
    forks.close()


@pytest.mark.soak
def test_4_random_kills_change_no_table(
    store: str, forks: Forks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kill runs at random moments, until each store has a finished run; in half of them a second process goes on."""
    monkeypatch.setenv("HELMFRAME_PROGRESS", "0")
    draws, figures = random.Random(26), Kills()
    expected = forks.start(Child(str(tmp_path / "undisturbed")), HELMFRAME_STORE=f"{store}/undisturbed").table()
    prompts = {prompt for _, prompt in lines(tmp_path / "undisturbed")}
    chain = 0
    while figures.kills < KILLS:
        chain += 1
        address = f"{store}/{chain}"
        logs: list[Path] = []
        ends: dict[Path, float] = {}

        def child(seconds: float) -> Fork:
            logs.append(tmp_path / f"log {chain} {len(logs)}")  # noqa: B023 - called in this turn of the loop
            variables = {"HELMFRAME_STORE": address, "HELMFRAME_FLUSH_SECONDS": str(FLUSH_SECONDS)}  # noqa: B023
            return forks.start(Child(str(logs[-1]), seconds=seconds), **variables)  # noqa: B023

        for _ in range(min(draws.randint(1, 6), KILLS - figures.kills)):
            seconds = draws.choice([0.001, 0.005, 0.02])
            survivor = child(seconds) if draws.random() < 0.25 else None
            victim = child(seconds)
            begins = draws.random() < 0.85  # else it may be killed before its first completion
            while victim.runs and not (lines(logs[-1]) if begins else logs[-1].exists()):
                time.sleep(0.005)
            time.sleep(draws.uniform(0.0, seconds * len(prompts) / 4 + 0.1))
            ends[logs[-1]] = time.monotonic()
            was_running = victim.runs
            victim.kill()
            figures.kills += was_running
            figures.by_moment["while it ran" if lines(logs[-1]) else "before its first completion"] += was_running
            if survivor is not None:
                figures.tables += 1
                figures.different += survivor.table() != expected
        figures.tables += 1
        figures.different += child(0.0).table() != expected
        shared_lines = [(at, prompt, log) for log in logs for at, prompt in lines(log)]
        sent = Counter(prompt for _, prompt, _ in shared_lines)
        assert {*sent} == prompts
        figures.unique += len(sent)
        figures.repeated += sent.total() - len(sent)
        for log, end in ends.items():
            later = {prompt for other in logs for at, prompt in lines(other) if at > end}
            lost = {prompt: end - at for at, prompt in lines(log) if prompt in later}
            figures.most_repeated = max(figures.most_repeated, len(lost))
            figures.oldest = max([figures.oldest, *lost.values()])
        if not address.startswith("s3"):
            assert main(["store", "verify", "--store", address]) == 0
            figures.orphans += len(scan(Path(address))[1])
        print(f"chain {chain}: {figures}", flush=True)
    shown("4", f"kill -9 at random, {'bucket' if store.startswith('s3') else 'folder'}", figures, "different 0")
    assert figures.different == 0
    assert figures.oldest < FLUSH_SECONDS + WRITE_SECONDS
    assert figures.orphans == 0


# -- other faults ----------------------------------------------------------------------------------------------------


@pytest.mark.soak
@pytest.mark.shared
def test_4_restarts_of_the_s3_server_change_no_table(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELMFRAME_DATA", str(shared / "scenarios"))
    expected, _ = table("sampler", Child(str(tmp_path / "undisturbed")))
    server, restarts = Server(start_server()), 0
    try:
        address = {"HELMFRAME_STORE": f"s3://{BUCKET}/restarts", **server.running.environment}
        logs = [tmp_path / f"log {number}" for number in range(2)]
        running = [start(Child(str(log), seconds=0.1), **address) for log in logs]
        while not logs[0].exists():
            time.sleep(0.01)
        while any(process.poll() is None for process in running) and restarts < 4:
            time.sleep(1.0)
            server.kill()
            time.sleep(0.5)
            server.again()
            restarts += 1
        tables = [finish(process) for process in running]
    finally:
        server.running.stop()
    sent = [prompt for log in logs for _, prompt in lines(log)]
    what = f"{restarts} restarts of the S3 server, 2 processes: {len(sent)} sent of {len({*sent})}"
    shown("4", f"{what}; tables equal", sum(found == expected for found in tables), len(tables))
    assert tables == [expected, expected]


FULL = """
set -e
mount -t tmpfs -o size=220k none "$1"
"$2" -m tests.acceptance.shared_store_child "$3" > "$4/full" 2> "$4/error" && exit 3
mount -o remount,size=64m "$1"
"$2" -m tests.acceptance.shared_store_child "$3" > "$4/resumed"
"""


@pytest.mark.soak
def test_4_a_full_disk_ends_the_run_and_a_larger_one_resumes_it(
    tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store is a small tmpfs in a mount namespace of its own."""
    monkeypatch.setenv("HELMFRAME_DATA", str(shared / "scenarios"))
    expected = finish(start(Child(str(tmp_path / "undisturbed"), plan="mmlu", batch=64)))
    disk = tmp_path / "disk"
    disk.mkdir()
    child = Child(str(tmp_path / "log"), plan="mmlu", batch=64, seconds=0.01)
    monkeypatch.setenv("HELMFRAME_STORE", str(disk))
    monkeypatch.setenv("HELMFRAME_FLUSH_SECONDS", "0.1")
    arguments = [str(disk), sys.executable, child.json, str(tmp_path)]
    namespace = [] if os.geteuid() == 0 else ["--map-root-user"]
    done = subprocess.run(
        ["unshare", "--mount", *namespace, "sh", "-c", FULL, "sh", *arguments],
        cwd=ROOT, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    errors = (tmp_path / "error").read_text()
    assert "StoreError: can't write to " in errors
    prompts = Counter(prompt for _, prompt in lines(tmp_path / "log"))
    resumed = str(json.loads((tmp_path / "resumed").read_text().splitlines()[-1])[0])
    repeated = prompts.total() - len(prompts)
    shown("4", "full disk (tmpfs): requests sent twice", f"{repeated} of {len(prompts)}", "printed")
    assert resumed == expected


@pytest.mark.soak
def test_4_a_storm_of_429_500_and_resets_changes_no_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setattr(retries, "FIRST_PAUSE", 0.01)
    draws, met = random.Random(4), Counter[str]()
    lock = threading.Lock()

    def reply(asked: Asked) -> Reply:
        with lock:
            kind = draws.choices(["", "429", "500", "reset"], [60, 20, 10, 10])[0]
            met[kind or "sound"] += 1
        if kind == "reset":
            return Reply({}, 0)
        if kind:
            return refusal(int(kind), "storm", **({"Retry_After": "0"} if kind == "429" else {}))
        return completion("ABCD"[int(digest(str(asked.body["prompt"])), 16) % 4])

    with serving() as server:
        server.models = ["m"]
        plan = plans("sampler")[0]
        server.reply = lambda asked: completion("ABCD"[int(digest(str(asked.body["prompt"])), 16) % 4])
        calm = plan.generate(hf.model(f"{server.url}#m", name="m", version="calm")).score().table()
        server.reply = reply
        stormy = plan.generate(hf.model(f"{server.url}#m", name="m", version="storm"))
        results, runs = stormy.score(), 1
        while results.errors().height and runs < 20:
            results, runs = stormy.score(), runs + 1
    shown("4", f"storm: {dict(met)}, runs until no error", runs, "at most 20")
    assert results.errors().height == 0
    assert results.table().equals(calm)


# -- soak ------------------------------------------------------------------------------------------------------------


@pytest.mark.soak
def test_5_soak(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "tests.acceptance.soak_child",
        str(tmp_path / "store"),
        str(MINUTES),
    ]
    environment = {**os.environ, "HELMFRAME_PROGRESS": "0"}
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    (before, opened), (after, open_at_end) = figures["first"], figures["last"]
    what = f"{figures['plans']} plans, {figures['reruns']} reruns after errors"
    shown("5", f"soak of {MINUTES:g} min: {what}", f"memory {before:.0f} MB, then {after:.0f} MB", "× 1.2 + 50 MB")
    shown("5", "descriptors after 60 plans, at the end", f"{opened}, {open_at_end}", f"{opened + 8}")
    shown("5", f"tables that differ, of {figures['kinds']} kinds of plan", figures["different"], 0)
    assert figures["different"] == 0
    assert after <= 1.2 * before + 50
    assert open_at_end <= opened + 8
