"""The sandbox as a group of processes: all of it ends with us, many stand side by side."""

import os
import signal
import struct
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from helmframe.errors import SandboxError
from helmframe.sandbox.process import Limits, call_filter
from helmframe.sandbox.programs import run_case, run_tests


def descendants(pid: int) -> list[int]:
    """Processes that come from this one."""
    parents: dict[int, list[int]] = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            parents.setdefault(parent, []).append(int(process.name))
    found = list(parents.get(pid, []))
    for each in found:
        found += parents.get(each, [])
    return found


def test_many_sandboxes_side_by_side_do_not_share_anything() -> None:
    def one(number: int) -> bool:
        program = f"open('/tmp/x', 'w').write('{number}')\ndef read():\n    import os\n    return os.listdir('/tmp')\n"
        return run_tests(program, "assert read() == ['x']").passed

    before = set(descendants(os.getpid()))
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(one, range(12))) == [True] * 12
    assert set(descendants(os.getpid())) <= before


def test_a_limit_of_processes_is_that_of_one_program() -> None:
    start = "threading.Thread(target=time.sleep, args=(0.3,)).start()"
    program = f"import threading, time\nfor _ in range(6):\n    {start}\nprint(1)"
    limits = Limits(processes=10)
    with ThreadPoolExecutor(4) as pool:
        verdicts = list(pool.map(lambda _: run_case(program, "", "1", limits), range(8)))
    assert [each.reason for each in verdicts] == [""] * 8


def test_a_sandbox_ends_when_we_are_killed() -> None:
    code = (
        "from helmframe.sandbox.programs import run_case\nprint('started', flush=True)\n"
        "run_case('import os, time\\nos.fork()\\nos.setsid()\\ntime.sleep(600)', '', '')"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    deadline = time.monotonic() + 30
    while len(sandboxed := descendants(child.pid)) < 4 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(sandboxed) >= 4
    child.send_signal(signal.SIGKILL)
    child.communicate()
    while any(Path(f"/proc/{pid}").exists() for pid in sandboxed) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in sandboxed if Path(f"/proc/{pid}").exists()]


def test_our_variables_and_open_files_stay_outside() -> None:
    program = """
import os
def is_open(number):
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
print(sorted(set(os.environ) - {"PWD", "LC_CTYPE"}))
print([number for number in range(3, 64) if is_open(number)])
"""
    names = ["HOME", "LANG", "MALLOC_ARENA_MAX", "OMP_NUM_THREADS", "PATH", "PYTHONHASHSEED"]
    with Path(__file__).open() as file:
        os.set_inheritable(file.fileno(), True)  # noqa: FBT003
        assert run_case(program, "", f"{names}\n[]").reason == ""


X86, ARM = 0xC000003E, 0xC00000B7
ALLOWED, REFUSED, NOT_THERE, NO_FAMILY, KILLED = 0x7FFF0000, 0x00050001, 0x00050026, 0x00050061, 0x80000000


def verdict(machine: str, arch: int, number: int, first_argument: int = 0) -> int:
    data = {0: number, 4: arch, 16: first_argument}
    steps = list(struct.iter_unpack("=HBBI", call_filter(machine)))
    at = value = 0
    while True:
        code, on_true, on_false, operand = steps[at]
        if code == 0x06:
            return int(operand)
        if code == 0x20:
            value = data[operand]
            at += 1
        else:
            holds = {0x15: value == operand, 0x35: value >= operand, 0x45: bool(value & operand)}[code]
            at += 1 + (on_true if holds else on_false)


@pytest.mark.parametrize(
    ("machine", "arch", "calls"),
    [
        (
            "x86_64",
            X86,
            {"read": 0, "ptrace": 101, "mount": 165, "unshare": 272, "memfd_create": 319, "clone": 56, "socket": 41},
        ),
        (
            "aarch64",
            ARM,
            {"read": 63, "ptrace": 117, "mount": 40, "unshare": 97, "memfd_create": 279, "clone": 220, "socket": 198},
        ),
    ],
)
def test_calls(machine: str, arch: int, calls: dict[str, int]) -> None:
    assert verdict(machine, arch, calls["read"]) == ALLOWED
    for name in ("ptrace", "mount", "unshare", "memfd_create"):
        assert verdict(machine, arch, calls[name]) == REFUSED
    assert verdict(machine, arch, 425) == REFUSED  # io_uring_setup
    assert verdict(machine, arch, 435) == NOT_THERE  # clone3
    assert verdict(machine, arch, calls["clone"], 0x003D0F00) == ALLOWED  # a thread
    assert verdict(machine, arch, calls["clone"], 0x10000011) == REFUSED  # a user namespace
    assert verdict(machine, arch, calls["socket"], 1) == ALLOWED  # AF_UNIX
    assert verdict(machine, arch, calls["socket"], 2) == NO_FAMILY  # AF_INET
    assert verdict(machine, arch, calls["socket"], 40) == NO_FAMILY  # AF_VSOCK


def test_calls_of_another_processor_end_the_program() -> None:
    assert verdict("x86_64", 0x40000003, 4) == KILLED  # 32-bit calls


def test_calls_by_their_other_numbers_are_refused() -> None:
    assert verdict("x86_64", X86, 0x40000000) == REFUSED  # x32


def test_a_processor_we_do_not_know_is_refused() -> None:
    with pytest.raises(SandboxError, match="'riscv64'"):
        call_filter("riscv64")
