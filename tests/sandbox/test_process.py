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


def verdict(machine: str, arch: int, number: int, *arguments: int) -> int:
    data = {0: number, 4: arch} | {16 + 8 * place: (*arguments, 0, 0, 0, 0)[place] for place in range(4)}
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
            {
                "read": 0, "clone": 56, "socket": 41, "socketpair": 53, "mmap": 9, "fcntl": 72,
                "ptrace": 101, "mount": 165, "unshare": 272, "memfd_create": 319, "vmsplice": 278, "splice": 275,
                "tee": 276, "sendfile": 40, "userfaultfd": 323, "io_setup": 206, "setxattr": 188, "inotify_init1": 294,
                "setsockopt": 54,
            },
        ),
        (
            "aarch64",
            ARM,
            {
                "read": 63, "clone": 220, "socket": 198, "socketpair": 199, "mmap": 222, "fcntl": 25,
                "ptrace": 117, "mount": 40, "unshare": 97, "memfd_create": 279, "vmsplice": 75, "splice": 76,
                "tee": 77, "sendfile": 71, "userfaultfd": 282, "io_setup": 0, "setxattr": 5, "inotify_init1": 26,
                "setsockopt": 208,
            },
        ),
    ],
)  # fmt: skip
def test_calls(machine: str, arch: int, calls: dict[str, int]) -> None:
    assert verdict(machine, arch, calls["read"]) == ALLOWED
    for name in list(calls)[6:]:
        assert verdict(machine, arch, calls[name]) == REFUSED, name
    for number in (425, 426, 427, 444, 463):  # io_uring_*, landlock_create_ruleset, setxattrat
        assert verdict(machine, arch, number) == REFUSED
    assert verdict(machine, arch, 435) == NOT_THERE  # clone3
    assert verdict(machine, arch, calls["clone"], 0x003D0F00) == ALLOWED  # a thread
    assert verdict(machine, arch, calls["clone"], 0x10000011) == REFUSED  # a user namespace
    for family in (1, 2, 38, 40):  # AF_UNIX, AF_INET, AF_ALG, AF_VSOCK
        assert verdict(machine, arch, calls["socket"], family) == NO_FAMILY
    assert verdict(machine, arch, calls["socketpair"], 1, 0x80801) == ALLOWED  # a stream, as asyncio needs
    for family, kind in ((1, 2), (1, 5), (1, 0x80002), (2, 1)):  # datagrams, packets, AF_INET
        assert verdict(machine, arch, calls["socketpair"], family, kind) == NO_FAMILY
    assert verdict(machine, arch, calls["mmap"], 0, 4096, 3, 0x22) == ALLOWED  # private memory
    assert verdict(machine, arch, calls["mmap"], 0, 4096, 3, 0x01) == ALLOWED  # a shared file
    assert verdict(machine, arch, calls["fcntl"], 3, 1031) == REFUSED  # F_SETPIPE_SZ
    assert verdict(machine, arch, calls["fcntl"], 3, 3) == ALLOWED  # F_GETFL
    for flags in (0x21, 0x23):  # shared memory without a file
        assert verdict(machine, arch, calls["mmap"], 0, 4096, 3, flags) == REFUSED


def test_calls_of_another_processor_end_the_program() -> None:
    assert verdict("x86_64", 0x40000003, 4) == KILLED  # 32-bit calls


def test_calls_by_their_other_numbers_are_refused() -> None:
    assert verdict("x86_64", X86, 0x40000000) == REFUSED  # x32


def test_a_processor_we_do_not_know_is_refused() -> None:
    with pytest.raises(SandboxError, match="'riscv64'"):
        call_filter("riscv64")


def test_a_program_sees_the_standard_library_and_no_packages() -> None:
    program = """
import asyncio, ctypes, glob, json, sqlite3, ssl, sys, tempfile, unittest, zoneinfo
packages = [*glob.glob(sys.base_prefix + "/lib*/python*/*-packages/*"), *glob.glob("/usr/**/*-packages/*")]
loaded = []
for name in ("pip", "setuptools", "polars", "helmframe.errors"):
    sys.path[1:] = glob.glob(sys.base_prefix + "/lib/python*/*-packages")
    try:
        __import__(name)
        loaded.append(name)
    except ImportError:
        pass
async def one():
    return 1
print(packages, loaded, asyncio.run(one()))
with tempfile.TemporaryDirectory() as folder, sqlite3.connect(folder + "/x.db") as base:
    print(base.execute("select 1").fetchall())
"""
    assert run_case(program, "", "[] [] 1\n[(1,)]").reason == ""


@pytest.mark.parametrize(
    ("program", "limit"),
    [
        ("while True: pass", "time"),
                ("hoard = []\nwhile True: hoard.append(bytearray(1 << 24))", "memory"),
        ("import os, time\nfor _ in range(99):\n    if os.fork() == 0: time.sleep(60)", "processes"),
        ("import os, time\nfor _ in range(3): os.fork()\nhoard = b'x' * (1 << 27)\ntime.sleep(60)", "memory"),
        ("import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(9,), daemon=True).start()",
         "processes"),
        ("import time\nfor n in range(9999): open(f'/tmp/{n}', 'w').close()\ntime.sleep(60)", "files"),
        ("for n in range(99): open(f'/tmp/{n}', 'wb').write(bytes(1 << 20))", "files"),
        ("hoard = [open('/dev/null') for _ in range(99)]", "files"),
        ("with open('/tmp/x', 'wb') as file:\n    file.seek(1 << 30)\n    file.write(b'x')", "files"),
    ],
)  # fmt: skip
def test_the_limit_that_ended_a_program_is_reported(program: str, limit: str) -> None:
    limits = Limits(cpu=1 if limit == "time" else 10, wall=20.0)
    assert run_case(program, "", "", limits).reason.startswith(f"limit exceeded: {limit}")
    body = "\n".join(f"    {line}" for line in program.splitlines())
    verdict = run_tests(f"def f():\n{body}\n", "f()\nassert False", limits=limits)
    assert verdict.reason.startswith(f"limit exceeded: {limit}")


def test_a_limit_of_the_output_of_a_module_is_reported() -> None:
    reason = run_tests("def f():\n    return 'x' * (1 << 25)\n", "assert f() == 1").reason
    assert reason == "limit exceeded: output (the program sent a message over 16 MiB)"
    script = "while True: print('x' * 1000)"
    assert run_case(script, "", "").reason == "limit exceeded: output"


def test_a_program_that_kills_itself_exceeds_no_limit() -> None:
    assert run_case("import os\nos.kill(os.getpid(), 9)", "", "").reason == "exited with status 137: "
    reason = run_tests("import os\ndef f():\n    os.kill(os.getpid(), 9)\n", "f()").reason
    assert reason == "the program ended early"
