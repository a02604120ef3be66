"""Processes apart from this machine: no network, no files but a scratch folder, own user, limits, killed as a group.

Made by bubblewrap: namespaces for mounts, processes, network, IPC, host name and, where we are not root, users; and a
filter of system calls. Where one of these can't be had, nothing runs.
"""

import itertools
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from helmframe.errors import SandboxError
from helmframe.sandbox.bwrap_args import bwrap, environment, python, sandbox_args
from helmframe.sandbox.seccomp import call_filter

_START_SECONDS = 60.0
_TICK = 0.05
_numbers = itertools.count()


@dataclass(frozen=True)
class Limits:
    """What one program may use.

    `cpu` (s) and `memory` (bytes) hold for each of its processes by the kernel, and `memory` for all of them together
    by our look every 50 ms; `wall` (s) starts when the sandbox stands; `processes` counts threads too; `scratch` and
    `output` are bytes.
    """

    cpu: int = 10
    wall: float = 30.0
    memory: int = 512 << 20
    processes: int = 16
    scratch: int = 16 << 20
    output: int = 1 << 20


@dataclass
class Box:
    """One running sandbox: its first process by handle (-1: it never was), and our end of its standard error."""

    process: subprocess.Popen[bytes]
    init: int
    errors: int
    tail: bytes = b""

    def hear(self) -> bool:
        """Take in what it wrote to standard error, of which the end is kept; False where nothing more can come."""
        more = os.read(self.errors, 1 << 16)
        self.tail = (self.tail + more)[-4096:]
        return more != b""

    def memory(self) -> int:
        """Bytes of memory that its processes hold together."""
        return sum(_resident(pid) for pid in _descendants(self.process.pid)) * os.sysconf("SC_PAGE_SIZE")

    def stop(self) -> int:
        """Kill every process in it, wait until none is left, and give the status of the program."""
        if self.init >= 0:
            # it ends after all others of its namespace, and bwrap itself after it
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.init, signal.SIGKILL)
        else:
            self.process.kill()
        return self.process.wait()


@contextmanager
def sandbox(
    entry: str,
    job: object,
    limits: Limits,
    *,
    ends: Sequence[int] = (),
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.DEVNULL,
) -> Iterator[Box]:
    """A function of `helmframe.sandbox.child` in a sandbox of its own; at the end nothing of it is left.

    Args:
        entry: "candidate.module": module and function.
        job: what it reads first, as JSON.
        limits: what it may use.
        ends: open files it is given, by number.
        stdin: its standard input.
        stdout: its standard output.

    Raises:
        SandboxError: bwrap is not there, or could not set the sandbox up.
    """
    root = os.geteuid() == 0
    confinement = {"uid": _free_uid() if root else None, "limits": asdict(limits)}
    with ExitStack() as stack:
        with ExitStack() as child_stack:
            started, info, errors = (_pipe(stack, child_stack) for _ in range(3))
            work, calls = (_file(child_stack, content) for content in (json.dumps(job).encode(), call_filter()))
            descriptors = [work, started.child, *ends]
            command = [
                bwrap(),
                *sandbox_args(limits.scratch, root),
                "--seccomp",
                str(calls),
                "--info-fd",
                str(info.child),
            ]
            command += ["--", *python(entry), json.dumps(confinement), *map(str, descriptors)]
            try:
                process = subprocess.Popen(
                    command, stdin=stdin, stdout=stdout, stderr=errors.child,
                    env=environment(), pass_fds=[*descriptors, calls, info.child],
                )  # fmt: skip
            except OSError as error:
                raise SandboxError(f"a sandbox did not start: {error}") from error
        box = Box(process, _init_of(info.parent), errors.parent)
        if box.init >= 0:
            stack.callback(os.close, box.init)
        stack.callback(box.stop)
        if _read(started.parent, 1) != b"1":
            box.stop()
            complaint = _read(errors.parent, 4096).decode(errors="replace").strip()
            raise SandboxError(f"a sandbox did not start: {complaint or 'it said nothing'}")
        yield box


def read_to_end(pipe: int, boxes: Sequence[Box], limits: Limits) -> tuple[bytes, str]:
    """What comes through the pipe until it is closed, and which limit was met before: "time", "memory", "output"."""
    deadline = time.monotonic() + limits.wall
    content = bytearray()
    heard = {box.errors: box for box in boxes}
    while True:
        readable = set(select.select([pipe, *heard], [], [], _TICK)[0])
        for number in readable & heard.keys():
            # nobody else empties this pipe, and a full one would hold the program up
            if not heard[number].hear():
                del heard[number]
        if pipe in readable:
            more = os.read(pipe, 1 << 16)
            if not more:
                return bytes(content), ""
            content += more
            if len(content) > limits.output:
                return bytes(content[: limits.output]), "output"
        if time.monotonic() > deadline:
            return bytes(content), "time"
        if any(box.memory() > limits.memory for box in boxes):
            return bytes(content), "memory"


@contextmanager
def memory_file(content: bytes) -> Iterator[int]:
    """An open file with this content, read from its start, that is in no folder."""
    number = os.memfd_create("helmframe")
    try:
        with os.fdopen(os.dup(number), "wb") as file:
            file.write(content)
        os.lseek(number, 0, os.SEEK_SET)
        yield number
    finally:
        os.close(number)


def _free_uid() -> int:
    """A user that nobody is, another for each sandbox: the kernel's limit of processes counts per user."""
    spans = [[int(number) for number in line.split()] for line in Path("/proc/self/uid_map").read_text().splitlines()]
    last = min(max(first + length for first, _, length in spans), 1 << 31) - 3
    return last - (os.getpid() * 64 + next(_numbers)) % (last // 2)


class _Pipe(NamedTuple):
    parent: int
    child: int


def _pipe(stack: ExitStack, child_stack: ExitStack) -> _Pipe:
    pipe = _Pipe(*os.pipe())
    stack.callback(os.close, pipe.parent)
    child_stack.callback(os.close, pipe.child)
    return pipe


def _file(opened: ExitStack, content: bytes) -> int:
    return opened.enter_context(memory_file(content))


def _init_of(info: int) -> int:
    """A handle of the sandbox's first process, or -1 where bwrap did not get that far."""
    report = _read(info, 1 << 16)
    try:
        return os.pidfd_open(json.loads(report)["child-pid"])
    except (ValueError, ProcessLookupError):
        return -1


def _read(pipe: int, most: int) -> bytes:
    """Up to `most` bytes until the pipe ends or the time for a start is up."""
    deadline = time.monotonic() + _START_SECONDS
    content = b""
    while len(content) < most and select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
        more = os.read(pipe, most - len(content))
        if not more:
            break
        content += more
    return content


def _descendants(pid: int) -> Iterator[int]:
    """This process and those that come from it; what has ended meanwhile is left out."""
    yield pid
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from _descendants(int(child))


def _resident(pid: int) -> int:
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return 0
