"""Attacks on the sandbox's memory and on its verdicts; the benchmarks' own solutions still pass."""

import json
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from helmframe.sandbox.process import Limits
from helmframe.sandbox.programs import Verdict, run_tests
from tests.acceptance.figures import shown
from tests.metrics.attacks import ATTACKS

TESTS = "def check(candidate):\n    assert candidate(2, 3) == 5\n"
LIMITS = Limits(cpu=3, wall=6.0)
# The most growth of the kernel's memory during an attack, in MB: pipes, sockets, files and structures of processes.
GROWTH = 300
MEMORY = [
    "memory that no process holds", "shared memory", "endless files", "pages of a process in pipes",
    "pages of files in pipes", "shared memory that no process uses", "shared memory of a device",
    "a million empty files", "a million directories", "deep directories", "a million links",
    "files that are open and removed", "attributes of a file", "a queue of connections", "datagrams of closed sockets",
    "large buffers of sockets", "sockets in flight", "large pipes", "locks of files", "areas of memory",
    "watches of files", "queues of requests",
    "rules of a sandbox of its own", "keys of the kernel", "queues of messages", "timers without end",
    "signals without end", "fork bomb", "thread bomb",
]  # fmt: skip


def kernel_mb() -> float:
    """Return the memory that is neither free, nor a cache, nor private memory of a process, in MB."""
    text = Path("/proc/meminfo").read_text(encoding="utf-8")
    kb = {name: int(number) for name, number in re.findall(r"^(\w+):\s*(\d+) kB", text, re.MULTILINE)}
    caches = kb["Buffers"] + kb["Cached"] - kb["Shmem"] + kb["SReclaimable"] + kb.get("SwapCached", 0)
    return (kb["MemTotal"] - kb["MemFree"] - kb["AnonPages"] - caches) / 1024


@contextmanager
def growth() -> Iterator[list[float]]:
    """Yield a list that receives the largest growth of the kernel's memory during the block."""
    ended, largest = threading.Event(), [0.0]
    before = kernel_mb()

    def watch() -> None:
        while not ended.wait(0.02):
            largest[0] = max(largest[0], kernel_mb() - before)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield largest
    finally:
        ended.set()
        thread.join()


def test_2_attacks_on_the_memory_of_the_host_are_bounded() -> None:
    grown: dict[str, float] = {}
    passed: list[str] = []
    for name in MEMORY:
        with growth() as largest:
            if attack(name).passed:
                passed.append(name)
        grown[name] = round(largest[0])
    worst = max(grown, key=grown.__getitem__)
    shown("2", "growth of the host's memory in MB by attack", grown, "printed")
    shown("2", f"attacks on memory, cheats, largest growth ({worst})",
          f"{len(grown)}, {len(passed)}, {grown[worst]} MB", f"0 cheats, {GROWTH} MB")  # fmt: skip
    assert passed == []
    assert grown[worst] < GROWTH


def test_2_no_attack_changes_the_verdict() -> None:
    start = time.perf_counter()
    outside = {"marker", "secret", "port", "pid"}
    names = [name for name, text in ATTACKS.items() if not any(f"@{word}" in text for word in outside)]
    with ThreadPoolExecutor(2) as pool:
        verdicts = dict(zip(names, pool.map(attack, names), strict=True))
    cheats = [name for name, verdict in verdicts.items() if verdict.passed]
    limited = sum(verdict.reason.startswith("limit exceeded") for verdict in verdicts.values())
    shown("2", "attacks on the verdict, cheats", f"{len(names)}, {len(cheats)}", "0 cheats")
    shown("2", "ended by a limit, seconds", f"{limited}, {time.perf_counter() - start:.0f} s", "printed")
    assert cheats == []


@pytest.mark.shared
def test_2_the_own_solutions_of_mbpp_pass(shared: Path) -> None:
    lines = (shared / "raw" / "mbpp" / "mbpp" / "mbpp.jsonl").read_text(encoding="utf-8").splitlines()
    tasks = [json.loads(line) for line in lines]

    def passes(task: dict[str, object]) -> Verdict:
        tests = [*task["test_list"], *task["challenge_test_list"]]  # type: ignore[misc]
        # the code of the setup creates objects of the program's classes
        return run_tests(f"{task['code']}\n{task['test_setup_code']}", "\n".join(tests))

    start = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        verdicts = list(pool.map(passes, tasks))
    failed = {task["task_id"]: verdict.reason for task, verdict in zip(tasks, verdicts, strict=True)
              if not verdict.passed}  # fmt: skip
    seconds = time.perf_counter() - start
    shown("2", "MBPP's own solutions that pass", f"{len(tasks) - len(failed)} of {len(tasks)}, {seconds:.0f} s", "all")
    assert failed == {}


def attack(name: str) -> Verdict:
    return run_tests(ATTACKS[name], TESTS, entry_point="add", limits=LIMITS)
