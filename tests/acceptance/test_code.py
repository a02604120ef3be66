"""Programs in the sandbox: HumanEval's own solutions pass, empty ones fail, and no attack gets out."""

import os
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from uuid import uuid4

import polars as pl
import pytest

import helmframe as hf
from helmframe.sandbox.process import Limits
from helmframe.sandbox.programs import run_tests
from tests.acceptance.figures import shown
from tests.metrics.attacks import ATTACKS

TESTS = "def check(candidate):\n    assert candidate(2, 3) == 5\n"
LIMITS = Limits(cpu=3, wall=6.0)


@pytest.mark.shared
@pytest.mark.parametrize(("what", "body", "passing"), [("canonical solutions", None, 164), ("pass", "    pass\n", 0)])
def test_4_humaneval(shared: Path, what: str, body: str | None, passing: int) -> None:
    hf.configure(allow_code=True)
    file = shared / "scenarios" / "openai_humaneval" / "openai_humaneval" / "test-00000-of-00001.parquet"
    problems = pl.read_parquet(file)
    bodies = dict(problems.select("prompt", "canonical_solution").iter_rows())
    scenario = hf.scenario(problems, input="prompt", references="canonical_solution")

    def model(prompt: str) -> str:
        return bodies[prompt] if body is None else body

    plan = scenario.adapt(method="generation", shots=0, input_prefix="", input_suffix="", output_prefix="")
    start = time.perf_counter()
    results = plan.metrics("pass", "pass@1").generate(model, stop=["\ndef", "\nprint"]).score()
    seconds = time.perf_counter() - start
    scores = results.scores.collect()
    passed = scores.filter(pl.col("metric") == "pass")["score"].to_list()
    shown("4", f"HumanEval's {what}: passed of {len(passed)}, seconds on {os.cpu_count()} cores",
          f"{sum(passed):.0f} of {len(passed)}, {seconds:.1f} s", f"{passing} of 164")  # fmt: skip
    assert len(passed) == 164
    assert sum(passed) == passing
    assert scores.filter(pl.col("metric") == "pass@1")["score"].to_list() == passed


def test_4_the_attack_set(outside: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    marker = outside["marker"]
    monkeypatch.setenv("HELMFRAME_MARK", marker)
    assert run_tests("def add(a, b):\n    return a + b\n", TESTS, entry_point="add").passed
    processes, mounts, open_files = elsewhere(), mounted(), opened()
    passed, seconds = [], {}
    for name, attack in ATTACKS.items():
        start = time.perf_counter()
        for word, value in outside.items():
            attack = attack.replace(f"@{word}@", value)
        if run_tests(attack, TESTS, entry_point="add", limits=LIMITS).passed:
            passed.append(name)
        seconds[name] = time.perf_counter() - start
    # what died as a group is the system's to bury, which a busy one does a moment later
    patience = time.monotonic() + 5
    while elsewhere() - processes and time.monotonic() < patience:
        time.sleep(0.1)
    left = {
        "processes": len(elsewhere() - processes),
        "mounts": len(mounted() - mounts),
        "open files": max(0, opened() - open_files),
        "files": len(files_named(marker)),
    }
    slowest = max(seconds, key=seconds.__getitem__)
    total = f"{sum(seconds.values()):.1f}, {seconds[slowest]:.1f} ({slowest})"
    shown("4", "attacks tried, escaped", f"{len(ATTACKS)}, {len(passed)}", "0 escaped")
    shown("4", "left behind", left, "0 each")
    shown("4", "seconds for all of them, for the slowest", total, "printed")
    assert passed == []
    assert left == {"processes": 0, "mounts": 0, "open files": 0, "files": 0}


@pytest.fixture
def outside() -> Iterator[dict[str, str]]:
    """What attacks reach for: a file and two sockets of ours that all may use, a port, and a word to look for."""
    marker = f"helmframe{uuid4().hex[:8]}"
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)
        secret = folder / "secret"
        secret.write_text(f"{marker} text")
        port = opened.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
        for address in (f"{secret}.sock", f"\0{marker}"):
            listening = opened.enter_context(socket.socket(socket.AF_UNIX))
            listening.bind(address)
            listening.listen()
        Path(f"{secret}.sock").chmod(0o777)
        yield {
            "marker": marker, "secret_text": f"{marker} text", "secret": str(secret), "port": str(port),
            "pid": str(os.getpid()),
        }  # fmt: skip


def elsewhere() -> set[str]:
    """Processes in another process namespace than ours: those of sandboxes."""
    ours = Path("/proc/self/ns/pid").readlink()
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "ns" / "pid").readlink() != ours:
                found.add(process.name)
    return found


def mounted() -> set[str]:
    return set(Path("/proc/self/mountinfo").read_text().splitlines())


def opened() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def files_named(marker: str) -> list[str]:
    """Files with this word in their name wherever everyone may write, and where we are."""
    places = ["/", "/tmp", "/var/tmp", "/dev", "/dev/shm", "/usr", "/usr/lib", "/etc", ".", "..", sys.prefix, *sys.path]
    found = [file for place in places if Path(place).is_dir() for file in Path(place).glob(f"*{marker}*")]
    return [str(file) for file in (*found, *Path(__file__).parents[2].glob(f"helmframe/**/*{marker}*"))]
