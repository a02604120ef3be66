"""Claims: one process per block of requests, and none is waited for that has ended."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest

from helmframe.store import Address, ParquetCompletions, below
from helmframe.store import claims as module
from helmframe.store.claims import SUFFIX, Claims, SharedRequests, block_names, remove_orphans
from helmframe.store.files import create, has_ended, process_token, read, scan, temporary_name, touch, write
from tests.store.rows import FINGERPRINT, NO_PREFIXES, answers

ROOT = Path(__file__).parents[2]
ELSEWHERE = "0123abcd" + "0" * 7 + "1" + "0" * 7 + "2"  # a process on another machine
HOLDS = """
import sys
from helmframe.store import address_of
from helmframe.store.claims import Claims
claims = Claims(address_of(sys.argv[1]), sys.argv[2])
print(*sorted(claims.acquire({name: [b"0" * 16] for name in sys.argv[3:]})), flush=True)
sys.stdin.readline()
claims.close()
"""


def ids(start: int, stop: int) -> list[bytes]:
    return [str(number).encode().rjust(16) for number in range(start, stop)]


def requests(start: int, stop: int) -> pl.DataFrame:
    return pl.DataFrame(
        {"request_id": ids(start, stop), "row_index": range(start, stop)},
        schema={"request_id": pl.Binary, "row_index": pl.Int64},
    )


def names(*letters: str) -> list[str]:
    return [f".{letter}{SUFFIX}" for letter in letters]


@contextmanager
def holder(folder: Address, *blocks: str, run: str = "other") -> Iterator["subprocess.Popen[str]"]:
    """Another process that has claimed blocks, until a line is written to it."""
    command = [sys.executable, "-c", HOLDS, str(folder), run, *blocks]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().split() == sorted(blocks)
        yield process
        process.kill()


def others(claims: Claims, folder: Address, wanted: list[str] | None = None) -> list[str]:
    return sorted(claims.foreign(scan(folder)[1], wanted or []))


def write_claim(folder: Address, name: str, owner: str, run: str = "other", content: bytes = b"") -> Address:
    address = below(folder, name)
    write(content or json.dumps({"owner": owner, "run": run}).encode() + b"\n", address)
    return address


def test_a_file_is_created_once(root: Address) -> None:
    address = below(root, "folder", "file")
    assert create(b"first", address)
    assert not create(b"second", address)
    assert read(address) == b"first"


def test_only_one_process_claims_a_block(root: Address) -> None:
    claims = Claims(root, "mine")
    with holder(root, *names("a", "b")) as process:
        assert claims.acquire(dict.fromkeys(names("a", "b", "c"), ids(0, 1))) == {*names("c")}
        assert others(claims, root) == names("a", "b")
        process.communicate("\n")
    assert others(claims, root) == []
    assert claims.acquire(dict.fromkeys(names("a", "b"), ids(0, 1))) == {*names("a", "b")}
    claims.close()
    assert scan(root)[1] == []


def test_the_claims_of_a_killed_process_are_removed_at_once(root: Address) -> None:
    claims = Claims(root, "mine")
    with holder(root, *names("a")) as process:
        process.kill()
    assert others(claims, root) == []
    assert claims.acquire({names("a")[0]: ids(0, 1)}) == {*names("a")}
    claims.close()


def test_a_claim_that_is_not_renewed_expires(root: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    claims = Claims(root, "mine")
    write_claim(root, names("a")[0], owner=ELSEWHERE)
    assert others(claims, root) == names("a")
    monkeypatch.setattr(module, "LEASE_SECONDS", 0.0)
    assert others(claims, root) == []
    assert scan(root)[1] == []


def test_a_claim_much_older_than_another_expires_at_once(tmp_path: Path) -> None:
    claims = Claims(tmp_path, "mine")
    old = write_claim(tmp_path, names("old")[0], owner=ELSEWHERE)
    assert isinstance(old, Path)
    os.utime(old, (time.time() - 60, time.time() - 60))
    assert others(claims, tmp_path) == names("old")
    assert claims.acquire({names("new")[0]: ids(0, 1)})
    assert others(claims, tmp_path) == []
    claims.close()


def test_a_claim_is_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    renewed = threading.Event()
    monkeypatch.setattr(module, "RENEW_SECONDS", 0.02)

    def noted(data: bytes, address: Address) -> None:
        touch(data, address)
        renewed.set()

    monkeypatch.setattr(module, "touch", noted)
    claims = Claims(tmp_path, "mine")
    claims.acquire({names("a")[0]: ids(0, 1)})
    (before,) = scan(tmp_path)[1]
    os.utime(str(before.address), (0, 0))
    assert renewed.wait(10)
    (after,) = scan(tmp_path)[1]
    assert after.modified >= before.modified
    claims.close()


def test_a_claim_is_not_renewed_without_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROGRESS_SECONDS", 0.0)
    claims = Claims(tmp_path, "mine")
    claims.acquire({names("a")[0]: ids(0, 1)})
    (claim,) = scan(tmp_path)[1]
    os.utime(str(claim.address), (0, 0))
    claims._renew()
    assert scan(tmp_path)[1][0].modified == 0
    claims.close()


def test_processes_of_one_run_do_not_wait_for_one_another(root: Address) -> None:
    claims = Claims(root, "mine")
    with holder(root, *names("a", "b"), run="mine"):
        assert others(claims, root) == []
        # a worker that the run has lost; this one runs its requests
        assert others(claims, root, names("a")) == []
        assert claims.acquire(dict.fromkeys(names("a", "b"), ids(0, 1))) == {*names("a")}
    claims.close()


@pytest.mark.parametrize(
    "content", [b"\xff\x00", b"[" * 100_000, b"{}\n", b'{"owner": 1, "run": []}\n', b'{"owner": "../..", "run": ""}\n']
)
def test_a_damaged_claim_expires(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claims = Claims(tmp_path, "mine")
    write_claim(tmp_path, names("a")[0], owner="", content=content)
    assert others(claims, tmp_path) == names("a")
    monkeypatch.setattr(module, "LEASE_SECONDS", 0.0)
    assert others(claims, tmp_path) == []


def shared(root: Address, missing: pl.DataFrame, planned: pl.DataFrame) -> tuple[SharedRequests, Claims]:
    stored = ParquetCompletions(root, FINGERPRINT, "mmlu")
    claims = Claims(stored.folder, "mine")
    return SharedRequests(missing, planned, stored, claims, batch=1), claims


def test_a_lone_process_takes_every_request_once(root: Address) -> None:
    rest, claims = shared(root, requests(0, 100), requests(0, 100))
    taken: list[bytes] = []
    while rest.height:
        block, new, held = rest.take(30, threading.Event())
        assert new.is_empty()
        taken += block["request_id"].to_list()
        claims.release_soon(held)
    claims.close()
    assert sorted(taken) == sorted(ids(0, 100))
    assert scan(root)[1] == []


def test_the_next_block_is_claimed_in_advance_in_a_bucket(root: Address) -> None:
    rest, claims = shared(root, requests(0, 96), requests(0, 96))
    _, _, held = rest.take(16, threading.Event())
    expected = 2 if isinstance(root, str) else 1
    deadline = time.monotonic() + 10
    while len(scan(root)[1]) < expected and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(scan(root)[1]) == expected
    block, _, following = rest.take(16, threading.Event())
    assert block.height == 16
    assert not set(following) & set(held)
    claims.close()
    assert scan(root)[1] == []


def test_a_writer_that_is_late_releases_its_claims(root: Address) -> None:
    rest, claims = shared(root, requests(0, 16), requests(0, 16))
    _, _, held = rest.take(16, threading.Event())
    claims.close()
    claims.release_soon(held)
    assert scan(root)[1] == []


def test_blocks_of_other_processes_are_sent_last(root: Address) -> None:
    planned = requests(0, 64)
    rest, claims = shared(root, planned, planned)
    folder = ParquetCompletions(root, FINGERPRINT, "mmlu").folder
    first, *_ = block_names(ids(0, 64), 1)
    with holder(folder, first) as process:
        block, _, _ = rest.take(64, threading.Event())
        assert sorted(block["request_id"]) == sorted(ids(16, 64))
        stopped = threading.Event()
        stopped.set()
        assert rest.take(64, stopped)[0].is_empty()
        ParquetCompletions(root, FINGERPRINT, "mmlu").append(answers(ids(0, 10), list(range(10))), NO_PREFIXES)
        _, new, _ = rest.take(64, threading.Event())
        assert sorted(new["request_id"]) == sorted(ids(0, 10))
        process.communicate("\n")
    # the other process has released the block; its last requests have failed
    block, _, _ = rest.take(64, threading.Event())
    assert sorted(block["request_id"]) == sorted(ids(10, 16))
    assert not rest.height
    claims.close()


def test_requests_that_another_plan_has_claimed_are_not_sent(root: Address) -> None:
    rest, claims = shared(root, requests(0, 40), requests(0, 40))
    theirs, their_claims = shared(root, requests(20, 60), requests(20, 60))
    first, _, _ = theirs.take(60, threading.Event())
    second, _, _ = rest.take(60, threading.Event())
    assert sorted(first["request_id"]) == sorted(ids(20, 60))
    assert sorted(second["request_id"]) == sorted(ids(0, 20))
    claims.close()
    their_claims.close()


def test_completions_stored_before_the_claim_are_not_requested(root: Address) -> None:
    rest, claims = shared(root, requests(0, 16), requests(0, 16))
    ParquetCompletions(root, FINGERPRINT, "mmlu").append(answers(ids(0, 16), list(range(16))), NO_PREFIXES)
    block, new, _ = rest.take(64, threading.Event())
    assert block.is_empty()
    assert new.height == 16
    assert not rest.height
    claims.close()
    assert scan(root)[1] == []


def test_this_process_has_not_ended() -> None:
    assert len(process_token()) == 24
    assert not has_ended(process_token())
    assert not has_ended(ELSEWHERE)
    other = subprocess.run(
        [sys.executable, "-c", "from helmframe.store.files import process_token; print(process_token())"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    assert other[:8] == process_token()[:8]
    assert has_ended(other)


def test_unfinished_files_of_ended_processes_are_removed(tmp_path: Path) -> None:
    def named(owner: str, name: str) -> Path:
        return tmp_path / temporary_name(name).replace(process_token(), owner)

    other = subprocess.run(
        [sys.executable, "-c", "from helmframe.store.files import process_token; print(process_token())"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    dead, alive = named(other, "1"), named(process_token(), "2")
    young, old = named(ELSEWHERE, "3"), named(ELSEWHERE, "4")
    for path in (dead, alive, young, old):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 7200, time.time() - 7200))
    write_claim(tmp_path, names("dead")[0], owner=other)
    write_claim(tmp_path, names("alive")[0], owner=process_token())
    removed = remove_orphans(tmp_path)
    assert {file.address for file in removed} == {dead, old, tmp_path / names("dead")[0]}
    assert {*tmp_path.iterdir()} == {alive, young, tmp_path / names("alive")[0]}
