"""Isolated processes: without network, with only a scratch folder, their own user, limits, and killed as a group.

Bubblewrap isolates them by namespaces for mounts, processes, network, IPC, host name and, unless we are root, users. A
filter denies system calls that programs don't need and that namespaces don't cover, above all those that hold memory
which no process seems to use. The rest of the kernel is reachable, as in any container. If a part of the sandbox is not
available, no program runs.
"""

import itertools
import json
import os
import platform
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from helmframe.errors import SandboxError
from helmframe.sandbox import CHILD

_START_SECONDS = 60.0
_TICK = 0.05
_numbers = itertools.count()


@dataclass(frozen=True)
class Limits:
    """The limits of one program.

    The kernel limits `cpu` and `memory` of each process. Every 50 ms, the total memory of all processes is checked
    against `memory` too, and the number of files against `files`, because each file takes memory of the kernel.

    Attributes:
        cpu: The CPU time, in seconds.
        wall: The time since the sandbox is ready, in seconds.
        memory: The memory, in bytes.
        processes: The number of processes and threads.
        scratch: The size of the scratch folder, in bytes.
        output: The size of the output, in bytes.
        files: The number of files, folders and links in the scratch folder.
    """

    cpu: int = 10
    wall: float = 30.0
    memory: int = 512 << 20
    processes: int = 16
    scratch: int = 16 << 20
    output: int = 1 << 20
    files: int = 4096


@dataclass
class Box:
    """A running sandbox.

    Attributes:
        process: The process of bubblewrap.
        first: The id of the sandbox's first process; -1 if it has not started.
        init: A handle of this process; -1 if it has not started.
        errors: The descriptor of its standard error.
        tail: The end of the standard error.
        memory: The memory of all processes in bytes, with their swapped memory and their page tables.
        files: The number of files, folders and links in the scratch folder.
        cpu: The longest CPU time of a process so far, in seconds.
    """

    process: subprocess.Popen[bytes]
    first: int
    init: int
    errors: int
    tail: bytes = b""
    memory: int = 0
    files: int = 0
    cpu: float = 0.0

    def read_errors(self) -> bool:
        """Read from standard error, and store the end of the text; return False once the pipe is closed."""
        chunk = os.read(self.errors, 1 << 16)
        self.tail = (self.tail + chunk)[-4096:]
        return chunk != b""

    def measure(self) -> None:
        """Update `memory`, `files` and `cpu`."""
        usage = [_usage(pid) for pid in _descendants(self.process.pid)]
        self.memory = sum(memory for memory, _ in usage)
        self.cpu = max(self.cpu, *(seconds for _, seconds in usage))
        self.files = 0
        with suppress(FileNotFoundError, ProcessLookupError):
            scratch = os.statvfs(f"/proc/{self.first}/root{SCRATCH}")
            self.files = scratch.f_files - scratch.f_ffree - 1  # without the folder itself

    def wait(self, seconds: float) -> None:
        """Wait at most this number of seconds until all processes have ended."""
        if self.init >= 0:
            select.select([self.init], [], [], seconds)

    def stop(self) -> int:
        """Kill all processes, wait until they have ended, and return the exit status of the program."""
        if self.init >= 0:
            # the first process ends after all other processes of its namespace, and bwrap ends after it
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
    """Run a function of `helmframe.sandbox.child` in a new sandbox, whose processes are killed after the block.

    Args:
        entry: The module and function, such as "candidate.module".
        job: The job that the function receives, as a JSON value.
        limits: The limits of its processes.
        ends: The descriptors of open files that it inherits.
        stdin: The descriptor of its standard input.
        stdout: The descriptor of its standard output.

    Raises:
        SandboxError: bwrap is missing, or can't start the sandbox.
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
                raise SandboxError(f"Can't start the sandbox: {error}") from error
        box = Box(process, *_init_of(info.parent), errors.parent)
        if box.init >= 0:
            stack.callback(os.close, box.init)
        stack.callback(box.stop)
        if _read(started.parent, 1) != b"1":
            box.stop()
            complaint = _read(errors.parent, 4096).decode(errors="replace").strip()
            raise SandboxError(f"Can't start the sandbox: {complaint or 'bubblewrap reports no reason'}")
        yield box


def read_to_end(pipe: int, boxes: Sequence[Box], limits: Limits) -> tuple[bytes, str]:
    """Read a pipe until it is closed or a limit is exceeded; return the content and the exceeded limit, or "".

    The limits are "time", "memory", "files" and "output".
    """
    deadline = time.monotonic() + limits.wall
    content = bytearray()
    open_errors = {box.errors: box for box in boxes}
    while True:
        readable = set(select.select([pipe, *open_errors], [], [], _TICK)[0])
        for number in readable & open_errors.keys():
            # nothing else empties this pipe, and a full pipe would block the program
            if not open_errors[number].read_errors():
                del open_errors[number]
        if pipe in readable:
            chunk = os.read(pipe, 1 << 16)
            if not chunk:
                return bytes(content), ""
            content += chunk
            if len(content) > limits.output:
                return bytes(content[: limits.output]), "output"
        if time.monotonic() > deadline:
            return bytes(content), "time"
        for box in boxes:
            box.measure()
        if any(box.memory > limits.memory for box in boxes):
            return bytes(content), "memory"
        if any(box.files > limits.files for box in boxes):
            return bytes(content), "files"


@contextmanager
def memory_file(content: bytes) -> Iterator[int]:
    """Yield the descriptor of a file in memory with this content, positioned at its start."""
    number = os.memfd_create("helmframe")
    try:
        with os.fdopen(os.dup(number), "wb") as file:
            file.write(content)
        os.lseek(number, 0, os.SEEK_SET)
        yield number
    finally:
        os.close(number)


def _free_uid() -> int:
    """Return an unused user id for each sandbox, because the kernel limits processes by user."""
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


def _init_of(info: int) -> tuple[int, int]:
    """Return the id and a handle of the sandbox's first process; -1 if bwrap did not start it."""
    report = _read(info, 1 << 16)
    try:
        first = json.loads(report)["child-pid"]
        return first, os.pidfd_open(first)
    except (ValueError, ProcessLookupError):
        return -1, -1


def _read(pipe: int, size: int) -> bytes:
    """Return at most `size` bytes, read until the pipe ends or the time for a start is over."""
    deadline = time.monotonic() + _START_SECONDS
    content = b""
    while len(content) < size and select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
        chunk = os.read(pipe, size - len(content))
        if not chunk:
            break
        content += chunk
    return content


def _descendants(pid: int) -> Iterator[int]:
    """Yield the ids of a process and its descendants, without those that have ended."""
    yield pid
    for child in _children(pid):
        yield from _descendants(child)


def _children(pid: int) -> list[int]:
    children: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            children += map(int, (task / "children").read_text().split())
    return children


def _usage(pid: int) -> tuple[int, float]:
    """Return the memory of a process in bytes, and its CPU time in seconds; 0 if it has ended."""
    with suppress(OSError):
        memory = sum(int(number) << 10 for number in _MEMORY.findall(Path(f"/proc/{pid}/status").read_text()))
        # the name of the process, in brackets, may contain anything
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return memory, sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")
    return 0, 0.0


_MEMORY = re.compile(r"^Vm(?:RSS|Swap|PTE):\s*(\d+) kB", re.MULTILINE)


TRUSTED = "/trusted"
SCRATCH = "/tmp"  # noqa: S108 - inside the sandbox


def bwrap() -> str:
    """Return the path of bubblewrap.

    Raises:
        SandboxError: bubblewrap is not installed.
    """
    path = shutil.which("bwrap") if sys.platform == "linux" else None
    if path is None:
        raise SandboxError(
            "Programs run in a sandbox of bubblewrap, on Linux only, and the command bwrap was not found. "
            "Install bubblewrap 0.7 or later: apt install bubblewrap, or dnf install bubblewrap."
        )
    return path


def sandbox_args(scratch: int, root: bool) -> list[str]:
    """Return bubblewrap's arguments for namespaces and mounts.

    The sandbox contains the interpreter, its standard library, the C libraries, three devices and a scratch folder. It
    has no /proc, no /etc, no home and no packages. Everything except the scratch folder is read-only. /dev/zero is
    missing, because its mappings hold memory that no process seems to use.

    Args:
        scratch: The size of the scratch folder in bytes. The folder is in memory.
        root: Whether we are root. Then there is no user namespace, which would own our files; the sandbox changes to
            another user instead.
    """
    args = ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    args += ["--die-with-parent", "--new-session", "--hostname", "sandbox"]
    if root:
        args += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        args += ["--unshare-user", "--uid", "65534", "--gid", "65534"]
    interpreter = Path(sys.executable).resolve()
    args += _read_only(interpreter, interpreter)
    for library in _library_folders():
        args += _read_only(library, library)
        for hidden in map(str, _package_folders(library)):
            args += ["--perms", "0755", "--tmpfs", hidden, "--remount-ro", hidden]
    for name in ("lib", "lib64", "lib32"):
        path = Path("/") / name
        if path.is_symlink():
            args += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            args += ["--ro-bind", str(path), str(path)]
    for folder in ("/etc", "/dev"):
        args += ["--perms", "0755", "--dir", folder]
    args += ["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"]
    for name in ("null", "random", "urandom"):
        args += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
    args += _read_only(CHILD, Path(TRUSTED, "helmframe", "sandbox", "child"))
    args += ["--perms", "1777", "--size", str(scratch), "--tmpfs", SCRATCH]
    return [*args, "--remount-ro", "/", "--chdir", SCRATCH]


def python(entry: str) -> list[str]:
    """Return the command that calls "module.function" of `helmframe.sandbox.child`; arguments are appended.

    The command runs plain Python without packages, and without a folder of the program on its path.
    """
    module, _, function = entry.partition(".")
    code = (
        f"import sys; sys.path.insert(0, {TRUSTED!r}); "
        f"from helmframe.sandbox.child.{module} import {function}; {function}(*sys.argv[1:])"
    )
    return [os.path.realpath(sys.executable), "-B", "-S", "-s", "-P", "-c", code]


def environment() -> dict[str, str]:
    """Return the environment variables of the sandbox, without those of the caller.

    The hash seed is fixed, because a score must not depend on the order of a set.
    """
    paths = {"HOME": SCRATCH, "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
    return paths | {"PYTHONHASHSEED": "0", "MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1"}


def _read_only(source: Path, target: Path) -> list[str]:
    # parents with their own modes, because those of the source, such as a home, may exclude other users
    parents = [folder for folder in reversed(target.parents) if folder != Path("/")]
    return [word for folder in parents for word in ("--perms", "0755", "--dir", str(folder))] + [
        "--ro-bind", str(source), str(target)
    ]  # fmt: skip


def _library_folders() -> list[Path]:
    """Return the folders of the standard library and of the C libraries."""
    base, usr = Path(sys.base_prefix).resolve(), Path("/usr")
    folders = [root / name for root in (base, usr) for name in ("lib", "lib64", "lib32")]
    return [path for path in dict.fromkeys(folders) if path.is_dir() and not path.is_symlink()]


def _package_folders(library: Path) -> list[Path]:
    """Return the folders of installed packages below a folder of libraries, which are hidden."""
    folders = [*library.glob("python*/site-packages"), *library.glob("python*/dist-packages")]
    return [folder for folder in folders if folder.is_dir() and not folder.is_symlink()]


_ERRNO, _ALLOW, _KILL = 0x00050000, 0x7FFF0000, 0x80000000
_EPERM, _ENOSYS, _EAFNOSUPPORT = 1, 38, 97
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
# The offsets of the fields of `struct seccomp_data`.
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, (16, 24, 32, 40)
_AF_UNIX = 1
# The bits of all types of sockets other than SOCK_STREAM.
_OTHER_TYPES = 0x0E
_MAP_SHARED, _MAP_ANONYMOUS = 0x01, 0x20
_F_SETPIPE_SZ = 1031
# CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}
_NEW_NAMESPACES = 0x7E020000

# Newer system calls have the same number on every processor.
_DENIED_EVERYWHERE = {
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428, "move_mount": 429,
    "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433, "pidfd_getfd": 438, "mount_setattr": 442,
    "quotactl_fd": 443, "landlock_create_ruleset": 444, "landlock_add_rule": 445, "landlock_restrict_self": 446,
    "memfd_secret": 447, "setxattrat": 463, "open_tree_attr": 467,
}  # fmt: skip
# Calls that hold memory beyond the limits (memfd, System V, pages in pipes, attributes of files, watches, queues), and
# calls for other processes, namespaces, mounts, keys and the kernel.
_DENIED = {
    "x86_64": {
        "memfd_create": 319, "shmget": 29, "shmat": 30, "semget": 64, "msgget": 68, "mq_open": 240, "io_setup": 206,
        "vmsplice": 278, "splice": 275, "tee": 276, "sendfile": 40, "setxattr": 188, "lsetxattr": 189, "fsetxattr": 190,
        "inotify_init": 253, "inotify_init1": 294, "setsockopt": 54,
        "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311,
        "unshare": 272, "setns": 308, "mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161,
        "name_to_handle_at": 303, "open_by_handle_at": 304, "fanotify_init": 300, "quotactl": 179, "acct": 163,
        "add_key": 248, "request_key": 249, "keyctl": 250,
        "bpf": 321, "perf_event_open": 298, "userfaultfd": 323, "kexec_load": 246, "init_module": 175,
        "finit_module": 313, "delete_module": 176, "swapon": 167, "reboot": 169, "syslog": 103,
    },
    "aarch64": {
        "memfd_create": 279, "shmget": 194, "shmat": 196, "semget": 190, "msgget": 186, "mq_open": 180, "io_setup": 0,
        "vmsplice": 75, "splice": 76, "tee": 77, "sendfile": 71, "setxattr": 5, "lsetxattr": 6, "fsetxattr": 7,
        "inotify_init1": 26, "setsockopt": 208,
        "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271,
        "unshare": 97, "setns": 268, "mount": 40, "umount2": 39, "pivot_root": 41, "chroot": 51,
        "name_to_handle_at": 264, "open_by_handle_at": 265, "fanotify_init": 262, "quotactl": 60, "acct": 89,
        "add_key": 217, "request_key": 218, "keyctl": 219,
        "bpf": 280, "perf_event_open": 241, "userfaultfd": 282, "kexec_load": 104, "init_module": 105,
        "finit_module": 273, "delete_module": 106, "swapon": 224, "reboot": 142, "syslog": 116,
    },
}  # fmt: skip
_CLONE = {"x86_64": 56, "aarch64": 220}
_CLONE3 = 435
_SOCKET = {"x86_64": 41, "aarch64": 198}
_SOCKETPAIR = {"x86_64": 53, "aarch64": 199}
_MMAP = {"x86_64": 9, "aarch64": 222}
_FCNTL = {"x86_64": 72, "aarch64": 25}
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# From this number on, x86_64 has the x32 ABI: the same calls with other numbers.
_X32 = 0x40000000


def call_filter(machine: str = "") -> bytes:
    """Return the filter of system calls for a processor, as BPF of the kernel.

    Raises:
        SandboxError: The processor is unsupported.
    """
    machine = machine or platform.machine()
    if machine not in _DENIED:
        supported = " and ".join(_DENIED)
        raise SandboxError(f"The sandbox doesn't support the processor {machine!r}, only {supported}.")
    program = [
        _step(_LOAD, _ARCH),
        _step(_EQUAL, _AUDIT_ARCH[machine], on_true=1),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NUMBER),
        _step(_AT_LEAST, _X32, on_false=1),
        _step(_RETURN, _ERRNO | _EPERM),
    ]
    # clone3 is missing, so the C library falls back to clone, whose flags a filter can read. The queues of sockets that
    # accept connections or datagrams hold memory of processes that have ended; asyncio needs pairs of streams only.
    denied = {_CLONE3: _ENOSYS, _SOCKET[machine]: _EAFNOSUPPORT}
    denied |= dict.fromkeys((*_DENIED_EVERYWHERE.values(), *_DENIED[machine].values()), _EPERM)
    for number, errno in denied.items():
        program += [_step(_EQUAL, number, on_false=1), _step(_RETURN, _ERRNO | errno)]
    program += [
        _step(_EQUAL, _CLONE[machine], on_false=4),
        _step(_LOAD, _ARGUMENTS[0]),
        _step(_ANY_BIT, _NEW_NAMESPACES, on_false=1),
        _step(_RETURN, _ERRNO | _EPERM),
        _step(_RETURN, _ALLOW),
        _step(_EQUAL, _SOCKETPAIR[machine], on_false=6),
        _step(_LOAD, _ARGUMENTS[0]),
        _step(_EQUAL, _AF_UNIX, on_false=2),
        _step(_LOAD, _ARGUMENTS[1]),
        _step(_ANY_BIT, _OTHER_TYPES, on_false=1),
        _step(_RETURN, _ERRNO | _EAFNOSUPPORT),
        _step(_RETURN, _ALLOW),
        # larger pipes
        _step(_EQUAL, _FCNTL[machine], on_false=4),
        _step(_LOAD, _ARGUMENTS[1]),
        _step(_EQUAL, _F_SETPIPE_SZ, on_false=1),
        _step(_RETURN, _ERRNO | _EPERM),
        _step(_RETURN, _ALLOW),
        # shared memory without a file: its pages remain while no process has them
        _step(_EQUAL, _MMAP[machine], on_false=5),
        _step(_LOAD, _ARGUMENTS[3]),
        _step(_ANY_BIT, _MAP_ANONYMOUS, on_false=2),
        _step(_ANY_BIT, _MAP_SHARED, on_false=1),
        _step(_RETURN, _ERRNO | _EPERM),
        _step(_RETURN, _ALLOW),
        _step(_RETURN, _ALLOW),
    ]
    return b"".join(program)


def _step(code: int, value: int, on_true: int = 0, on_false: int = 0) -> bytes:
    """Return one `struct sock_filter`; the jumps are relative."""
    return struct.pack("=HBBI", code, on_true, on_false, value)
