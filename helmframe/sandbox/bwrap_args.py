"""What there is in a sandbox and what is not: the arguments of bubblewrap."""

import os
import shutil
import sys
from pathlib import Path

from helmframe.errors import SandboxError
from helmframe.sandbox import CHILD

TRUSTED = "/trusted"
SCRATCH = "/tmp"  # noqa: S108 - inside the sandbox


def bwrap() -> str:
    """The path of bubblewrap.

    Raises:
        SandboxError: it is not there.
    """
    path = shutil.which("bwrap") if sys.platform == "linux" else None
    if path is None:
        raise SandboxError(
            "programs are run by bubblewrap, on Linux, and there is no `bwrap` here. "
            "Install the package bubblewrap (apt install bubblewrap, dnf install bubblewrap, …), 0.7 or later."
        )
    return path


def sandbox_args(scratch: int, root: bool) -> list[str]:
    """Namespaces and mounts: the interpreter, the C libraries, four devices, a scratch folder of `scratch` bytes.

    No /proc, no /etc, no home, no packages. All but the scratch folder is read-only.

    Args:
        scratch: bytes of the scratch folder, which is memory.
        root: whether we are root: then without a user namespace, in which our files would be its own; the sandbox
            becomes another user as its first step.
    """
    args = ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    args += ["--die-with-parent", "--new-session", "--hostname", "sandbox"]
    if root:
        args += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        args += ["--unshare-user", "--uid", "65534", "--gid", "65534"]
    for path in _python_folders():
        args += _read_only(path, path)
    for name in ("lib", "lib64", "lib32"):
        path = Path("/") / name
        if path.is_symlink():
            args += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            args += ["--ro-bind", str(path), str(path)]
    for folder in ("/etc", "/dev"):
        args += ["--perms", "0755", "--dir", folder]
    args += ["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"]
    for name in ("null", "zero", "random", "urandom"):
        args += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
    args += _read_only(CHILD, Path(TRUSTED, "helmframe", "sandbox", "child"))
    args += ["--perms", "1777", "--size", str(scratch), "--tmpfs", SCRATCH]
    return [*args, "--remount-ro", "/", "--chdir", SCRATCH]


def python(entry: str) -> list[str]:
    """The command that calls "module.function" of `helmframe.sandbox.child`, with the arguments that follow it.

    Plain Python, without packages, and with no folder of the program's on its path.
    """
    module, _, function = entry.partition(".")
    code = (
        f"import sys; sys.path.insert(0, {TRUSTED!r}); "
        f"from helmframe.sandbox.child.{module} import {function}; {function}(*sys.argv[1:])"
    )
    return [os.path.realpath(sys.executable), "-B", "-S", "-s", "-P", "-c", code]


def environment() -> dict[str, str]:
    """The variables in the sandbox: none of the caller's, and the same for every program.

    A score must not hang on the order of a set.
    """
    paths = {"HOME": SCRATCH, "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
    return paths | {"PYTHONHASHSEED": "0", "MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1"}


def _read_only(source: Path, target: Path) -> list[str]:
    # the folders above it would be closed to another user as those of the source are: a home, often
    above = [folder for folder in reversed(target.parents) if folder != Path("/")]
    return [word for folder in above for word in ("--perms", "0755", "--dir", str(folder))] + [
        "--ro-bind", str(source), str(target)
    ]  # fmt: skip


def _python_folders() -> list[Path]:
    base, usr = Path(sys.base_prefix).resolve(), Path("/usr")
    if base.is_relative_to(usr):
        return [usr]
    return [base, *(path for path in (usr / "lib", usr / "lib64") if path.is_dir() and not path.is_symlink())]
