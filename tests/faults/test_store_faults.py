"""A store that misbehaves: a full disk, a damaged part, a clock that jumps, two writers."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from polars.testing import assert_frame_equal

import helmframe as hf
from helmframe.errors import StoreError
from helmframe.store.maintenance import compact, verify

pytestmark = pytest.mark.slow

PLAN = hf.scenario("sampler").where(subject="music").perturb("typos")


class Counting:
    def __init__(self) -> None:
        self.asked = 0

    def generate(self, prompts: list[str]) -> list[str]:
        self.asked += len(prompts)
        return ["ABCD"[len(prompt) % 4] for prompt in prompts]


def counted(name: str) -> tuple[hf.Plan, Counting]:
    counting = Counting()
    return PLAN.generate(hf.model(counting, name=name, version="1")), counting


def parts(store: Path) -> list[Path]:
    return [path for path in store.glob("completions/*/*/*.parquet") if path.name[0].isdigit()]


@pytest.mark.smoke
def test_a_damaged_part_is_set_aside_and_its_requests_are_sent_again(tmp_path: Path) -> None:
    plan, counting = counted("damaged")
    first = plan.score()
    asked = counting.asked
    (part,) = parts(tmp_path / "store")
    part.write_bytes(part.read_bytes()[: part.stat().st_size // 2])
    again = plan.score()
    assert counting.asked == 2 * asked
    assert_frame_equal(again.table(), first.table())


@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
def test_a_clock_that_jumps_changes_nothing(jump: float, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, counting = counted(f"clock {jump}")
    first = plan.score()
    now, nanoseconds = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: now() + jump)
    monkeypatch.setattr(time, "time_ns", lambda: nanoseconds() + int(jump * 1e9))
    asked = counting.asked
    assert_frame_equal(plan.score().table(), first.table())
    assert counting.asked == asked


AHEAD = """
import time
now, nanoseconds = time.time, time.time_ns
time.time, time.time_ns = lambda: now() + 86_400, lambda: nanoseconds() + 86_400 * 10**9
import helmframe as hf
model = hf.model(lambda prompt: "A", name="skewed", version="1")
hf.scenario("sampler").where(subject="music").perturb("typos").generate(model).score()
"""


def test_a_fresh_run_replaces_the_completions_of_a_run_whose_clock_was_ahead() -> None:
    subprocess.run([sys.executable, "-c", AHEAD], check=True)
    plan = PLAN.generate(hf.model(lambda prompt: "B", name="skewed", version="1"))
    assert set(plan.score().completions.collect()["completion"]) == {"A"}
    for results in (plan.score(fresh=True), plan.score()):
        assert set(results.completions.collect()["completion"]) == {"B"}


def test_two_runs_that_write_the_same_answers_count_them_once() -> None:
    plan, _ = counted("twice")
    first = plan.score()
    plan.score(fresh=True)
    third = plan.score()
    assert_frame_equal(third.table(), first.table())


def test_a_store_that_can_not_be_written_ends_the_run_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the store should be")
    monkeypatch.setenv("HELMFRAME_STORE", str(blocked / "store"))
    plan, _ = counted("blocked")
    with pytest.raises(StoreError, match="HELMFRAME_STORE"):
        plan.score()


FULL = """
import resource, signal, sys
import helmframe as hf

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
if sys.argv[1] == "full":
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))  # as on a full disk, no file grows beyond this

def model(prompts: list[str]) -> list[str]:
    return ["ABCD"[len(prompt) % 4] for prompt in prompts]

plan = hf.scenario("sampler").where(subject="music").generate(hf.model(model, name="m", version="1"))
print(plan.score().table().write_csv())
"""


def test_a_full_disk_ends_the_run_with_an_error_and_later_it_goes_on(tmp_path: Path) -> None:
    def run(how: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([sys.executable, "-c", FULL, how], capture_output=True, text=True, check=False)

    full = run("full")
    assert full.returncode == 1
    assert "StoreError" in full.stderr
    assert not list((tmp_path / "store").rglob("*.part"))
    resumed = run("free")
    assert resumed.returncode == 0, resumed.stderr
    assert "exact_match" in resumed.stdout


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("deleted", [False, True])
def test_an_earlier_version_does_not_count_again_where_the_newest_is_damaged(
    tmp_path: Path, merged: bool, deleted: bool
) -> None:
    prompts: list[str] = []
    completion = "A"

    def model(prompt: str) -> str:
        prompts.append(prompt)
        return completion

    plan = PLAN.generate(hf.model(model, name="replaced", version="1"))
    plan.score()
    (old,) = parts(tmp_path / "store")
    data_of_old = old.read_bytes()
    completion = "B"
    plan.score(fresh=True)
    if merged:
        list(compact(tmp_path / "store"))
        old.write_bytes(data_of_old)  # as if the compaction was killed before it removed the part
    (newest,) = {*parts(tmp_path / "store")} - {old}
    if deleted:
        newest.unlink()
        assert [found.file.address for found in verify(tmp_path / "store") if found.missing] == [newest]
    else:
        data = bytearray(newest.read_bytes())
        data[len(data) // 2] ^= 1
        newest.write_bytes(data)
    n = len(prompts)
    for _ in range(3):
        assert set(plan.score().completions.collect()["completion"]) == {"B"}
    assert len(prompts) == n + n // 2
