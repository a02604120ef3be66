"""Programs that models write, and their tests, in sandboxes.

The tests run in their own sandbox, that of the referee, and call the program over two pipes, which transfer plain
values. So a trick inside the program's process (exit codes, patched asserts, frames, files) can't change the verdict.
"""

import json
import os
import re
import signal
import sys
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from helmframe import config
from helmframe.errors import SandboxError
from helmframe.sandbox.process import Box, Limits, memory_file, read_to_end, sandbox

# The imports that APPS adds to every program, without NumPy, which the sandbox does not contain.
_APPS_IMPORTS = """
import collections, fractions, heapq, itertools, math, random, sys, time
from collections import ChainMap, Counter, OrderedDict, defaultdict, deque
from functools import lru_cache
from heapq import *
from itertools import accumulate, combinations, permutations, product
from math import ceil, cos, exp, fabs, floor, gcd, log, log2, sin, sqrt, tan
from typing import List, Tuple
"""


@dataclass(frozen=True)
class Verdict:
    """The verdict on a program: whether it passed, and the reason if it did not."""

    passed: bool
    reason: str = ""


@dataclass(frozen=True)
class Output:
    """The output of a script, and the reason why it failed; "" if it succeeded."""

    text: str
    reason: str = ""


def run_tests(
    program: str, tests: str, *, entry_point: str = "", setup: str = "", limits: Limits | None = None
) -> Verdict:
    """Return the verdict of tests that call the program's functions, as HumanEval's and MBPP's do.

    Arguments and results are passed by value. So tests don't see changes of arguments, and can't pass functions. They
    can pass Python's own types, and use modules of the standard library that the program imports.

    Builtin names in tests are Python's, even if the program defines them too. There is one exception: if the tests use
    no other name of the program, a builtin that every assert calls is the function under test, as in
    `assert sum(10, 15) == 25`. A StopIteration of the program becomes a RuntimeError, unless the tests contain that
    name. Otherwise loops such as `all(map(f, …))` would end early without an error.

    Args:
        program: The Python source of the program, which is loaded as a module.
        tests: The Python source of the tests, which defines `check(candidate)`, or asserts.
        entry_point: The function that is passed to `check`; "": the tests call the program's functions by name.
        setup: The Python source of helpers in the prompt. In the tests, its names take precedence over the program's.
        limits: The limits of the program and of the tests.

    Raises:
        SandboxError: The sandbox doesn't start.
    """
    job = {"tests": tests, "entry_point": entry_point, "setup": setup}
    return _judged(program, job, limits or Limits())


def run_call(program: str, name: str, arguments: Any, expected: Any, limits: Limits | None = None) -> Verdict:
    """Return the verdict of one call of a program's function, as in APPS. The program can use APPS's imports.

    Values are compared with Python's `==`, so 1 equals 1.0 and true, and with the rules of APPS. Tuples equal lists,
    and a value equals a list of only this value. Text keys become integer keys in a dict that is the first argument or
    the expected value. In addition, NaN equals NaN.

    Args:
        program: The Python source of the program, which is loaded as a module.
        name: The function.
        arguments: The arguments, as a list of JSON values.
        expected: The expected JSON value.
        limits: The limits of the program and of the referee.

    Raises:
        SandboxError: The sandbox doesn't start.
    """
    job = {"call": name, "arguments": arguments, "expected": expected}
    return _judged(program, job, limits or Limits(), imports=_APPS_IMPORTS)


def run_case(program: str, stdin: str, expected: str, limits: Limits | None = None) -> Verdict:
    """Return the verdict of one case of a script that reads standard input and writes standard output, as in APPS.

    The script can use APPS's imports, and must exit with status 0. Lines are compared without white space at their
    ends. Empty lines at the start and at the end are ignored. APPS compares numbers approximately; this function does
    not.

    Raises:
        SandboxError: The sandbox doesn't start.
    """
    output = output_of(program, stdin, limits or Limits(), imports=_APPS_IMPORTS)
    if output.reason:
        return Verdict(passed=False, reason=output.reason)
    is_equal = _lines(output.text) == _lines(expected)
    return Verdict(is_equal, "" if is_equal else "the output differs from the expected output")


def output_of(program: str, text: str, limits: Limits, imports: str = "") -> Output:
    """Return the standard output of a script, with `text` as its standard input.

    Raises:
        SandboxError: The sandbox doesn't start.
    """
    with ExitStack() as stack:
        stdin = stack.enter_context(memory_file(text.encode(errors="replace")))
        with ExitStack() as child_stack:
            output, written = _pipe(stack, child_stack)
            job = {"program": program, "imports": imports}
            box = stack.enter_context(sandbox("candidate.script", job, limits, stdin=stdin, stdout=written))
        content, exceeded = read_to_end(output, [box], limits)
        # bwrap has standard output open too, so the program has ended once it is closed
        status = box.stop()
    if exceeded or (status != 0 and _used_up(box, limits)):
        reason = f"limit exceeded: {exceeded or 'time'}"
    elif status != 0:
        last_line = box.tail.decode(errors="replace").strip().rpartition("\n")[2]
        reason = _limit_reason(last_line) or f"exited with status {status}: {last_line}"
    else:
        reason = ""
    return Output(content.decode(errors="replace"), reason)


def _judged(program: str, job: dict[str, Any], limits: Limits, imports: str = "") -> Verdict:
    """Run the program and the referee's job, and return the verdict."""
    with ExitStack() as stack:
        with ExitStack() as child_stack:
            requests, request_input = _pipe(child_stack, child_stack)
            replies, reply_output = _pipe(child_stack, child_stack)
            verdict, written = _pipe(stack, child_stack)
            boxes = [
                stack.enter_context(
                    sandbox(
                        "candidate.module",
                        {"program": program, "imports": imports},
                        limits,
                        ends=(requests, reply_output),
                    )
                ),
                stack.enter_context(sandbox("referee.main", job, limits, ends=(request_input, replies, written))),
            ]
        content, exceeded = read_to_end(verdict, boxes, limits)
        if not exceeded:
            result = _verdict(content)
            if result.reason in (_ENDED_EARLY, _NO_VERDICT):
                # killed for its CPU time? That is known once the process has ended
                box = boxes[result.reason == _NO_VERDICT]
                box.wait(_END_SECONDS)
                box.stop()
                exceeded = "time" if _used_up(box, limits) else ""
    if exceeded:
        return Verdict(passed=False, reason=f"limit exceeded: {exceeded}")
    return result if result.passed else Verdict(passed=False, reason=_limit_reason(result.reason) or result.reason)


# The reasons of processes that ended without a reply, and the seconds in which such a process ends.
_ENDED_EARLY, _NO_VERDICT = "the program ended early", "the tests ended without a verdict"
_END_SECONDS = 1.0
# The errors of a limit of the kernel: no memory; no process or thread; too many, too large or too much in files.
_LIMIT_ERRORS = {
    "memory": re.compile(r"MemoryError\b|OSError: \[Errno 12\]"),
    "processes": re.compile(r"BlockingIOError: \[Errno 11\]|RuntimeError: can't start new thread"),
    "files": re.compile(r"OSError: \[Errno (24|27|28)\]"),
    "output": re.compile(r"the program sent a message over "),
}


def _limit_reason(error: str) -> str:
    """Return the limit that an error of a program shows, with the error; "" if it shows none."""
    names = (name for name, pattern in _LIMIT_ERRORS.items() if pattern.match(error))
    return next((f"limit exceeded: {name} ({error.removesuffix(': ')})" for name in names), "")


def _used_up(box: Box, limits: Limits) -> bool:
    """Return whether a stopped program was killed for its CPU time, as far as the last measurement shows."""
    return box.process.returncode == 128 + signal.SIGKILL and box.cpu > limits.cpu / 2


def _pipe(reading: ExitStack, writing: ExitStack) -> tuple[int, int]:
    read_end, write_end = os.pipe()
    reading.callback(os.close, read_end)
    writing.callback(os.close, write_end)
    return read_end, write_end


def _verdict(content: bytes) -> Verdict:
    try:
        verdict = json.loads(content)
    except ValueError:
        return Verdict(passed=False, reason=_NO_VERDICT)
    return Verdict(verdict["passed"] is True, str(verdict["reason"]))


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().split("\n")]


def may_run_programs() -> None:
    """Check that programs may run, and that every part of the sandbox works on this machine.

    Raises:
        SandboxError: Programs are not allowed to run, or a part of the sandbox, which the message names, doesn't work.
    """
    if not config.code_allowed():
        raise SandboxError(
            "This metric runs programs that a model wrote, in a sandbox of bubblewrap. This isn't allowed by default. "
            "To allow it, call hf.configure(allow_code=True), or set HELMFRAME_ALLOW_CODE=1."
        )
    _probe()


# errors are not cached, so the user can fix the machine and try again
@cache
def _probe() -> None:
    if not Path("/proc/thread-self/children").exists():
        raise SandboxError(
            "The sandbox needs a kernel that lists the children of a process (built with CONFIG_PROC_CHILDREN)."
        )
    limits = Limits(wall=20.0)
    try:
        # a sandbox without walls has the machine's own scratch folder, whose files must not end the report
        missing = _missing(output_of(_SELF_REPORT, "", replace(limits, files=sys.maxsize)), limits)
        if not missing and output_of(_MANY_FILES, "", replace(limits, files=8)).reason != "limit exceeded: files":
            missing = ["number of files"]
    except SandboxError as error:
        raise SandboxError(f"{error}\n{_HINT}") from None
    if missing:
        raise SandboxError(
            f"The sandbox is incomplete, so no program runs. Not isolated: {', '.join(missing)}.\n{_HINT}"
        )


def _missing(output: Output, limits: Limits) -> list[str]:
    try:
        report = json.loads(output.text)
    except ValueError:
        return [f"the self-report is missing ({output.reason or output.text[:200]!r})"]
    wanted = {
        "user": True, "group": True, "processes": True, "network": True, "files": True, "proc": True,
        "namespaces": True, "environment": True, "packages": True, "memory": True,
        "limits": [limits.cpu, limits.memory, limits.scratch, limits.processes],
    }  # fmt: skip
    return [name for name, value in wanted.items() if report.get(name) != value]


_HINT = (
    "The sandbox needs bubblewrap 0.7 or later, and either root with CAP_SYS_ADMIN or user namespaces for all users. "
    "In a container, add --cap-add SYS_ADMIN and disable the default seccomp and AppArmor profiles. On Ubuntu 24.04 "
    "and later, add an AppArmor profile for bwrap, or set sysctl kernel.apparmor_restrict_unprivileged_userns=0."
)

_MANY_FILES = """
import time
for number in range(16):
    open(str(number), "w").close()
time.sleep(60)
"""

_SELF_REPORT = """
import ctypes, glob, json, mmap, os, resource, socket, sys

def refused(work):
    try:
        work()
    except OSError:
        return True
    return False

most = [getattr(resource, "RLIMIT_" + name) for name in ("CPU", "AS", "FSIZE", "NPROC")]
print(json.dumps({
    "user": 0 not in os.getresuid() and refused(lambda: os.setuid(0)),
    "group": 0 not in os.getresgid() and os.getgroups() in ([], [os.getgid()]),
    "processes": os.getpid() < 10 and os.getppid() < 10,
    "network": refused(socket.socket) and refused(lambda: socket.create_connection(("1.1.1.1", 53), 1)),
    "files": all(refused(lambda: open(folder + "/x", "w")) for folder in ("", "/trusted", "/dev", "/usr", sys.prefix)),
    "proc": not os.path.exists("/proc/self"),
    "namespaces": ctypes.CDLL(None).unshare(0x10000000) == -1,
    "environment": set(os.environ) <= {
        "HOME", "PATH", "LANG", "PWD", "PYTHONHASHSEED", "MALLOC_ARENA_MAX", "OMP_NUM_THREADS", "LC_CTYPE"
    },
    "packages": not any(glob.glob(base + "/lib*/python*/*-packages/*") for base in (sys.base_prefix, "/usr")),
    "memory": refused(lambda: mmap.mmap(-1, 4096)) and refused(lambda: os.memfd_create("x")),
    "limits": [resource.getrlimit(each)[1] for each in most],
}))
"""
