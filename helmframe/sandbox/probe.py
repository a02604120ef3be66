"""Whether a sandbox stands here as it should, seen from inside; asked before the first program runs."""

import json
from functools import cache
from pathlib import Path

from helmframe import config
from helmframe.errors import SandboxError
from helmframe.sandbox.process import Limits
from helmframe.sandbox.programs import Output, output_of


def may_run_programs() -> None:
    """Nothing, where programs may run and a whole sandbox stands.

    Raises:
        SandboxError: nobody allowed it; or bwrap, the kernel or this machine refuses part of it, and which.
    """
    if not config.code_allowed():
        raise SandboxError(
            "this metric runs programs that a model wrote, in a sandbox of bubblewrap, and nobody has allowed it. "
            "Write hf.configure(allow_code=True), or set HELMFRAME_ALLOW_CODE=1."
        )
    _probed()


# a refusal is not remembered: it may be mended and tried again
@cache
def _probed() -> None:
    if not Path("/proc/thread-self/children").exists():
        raise SandboxError("the kernel does not list the children of a process (CONFIG_PROC_CHILDREN).")
    limits = Limits(wall=20.0)
    try:
        output = output_of(_SELF_REPORT, "", limits)
    except SandboxError as error:
        raise SandboxError(f"{error}\n{_HINT}") from None
    missing = _missing(output, limits)
    if missing:
        raise SandboxError(f"the sandbox is not whole, so nothing is run in it: {', '.join(missing)}.\n{_HINT}")


def _missing(output: Output, limits: Limits) -> list[str]:
    try:
        report = json.loads(output.text)
    except ValueError:
        return [f"no report of it ({output.reason or output.text[:200]!r})"]
    wanted = {
        "user": True, "group": True, "processes": True, "network": True, "files": True, "proc": True,
        "namespaces": True, "environment": True,
        "limits": [limits.cpu, limits.memory, limits.scratch, limits.processes],
    }  # fmt: skip
    return [name for name, value in wanted.items() if report.get(name) != value]


_HINT = (
    "Needed: bubblewrap 0.7 or later, and either root with CAP_SYS_ADMIN or user namespaces for everyone. In a "
    "container: run it with --cap-add SYS_ADMIN and without the default seccomp and AppArmor profiles. On Ubuntu 24.04 "
    "and later: an AppArmor profile for bwrap, or sysctl kernel.apparmor_restrict_unprivileged_userns=0."
)

_SELF_REPORT = """
import ctypes, json, os, resource, socket, sys

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
    "limits": [resource.getrlimit(each)[1] for each in most],
}))
"""
