"""A filter of system calls for the sandbox: what no program under test needs, and what namespaces don't cover.

The rest of the kernel stays within reach, as in any container.
"""

import platform
import struct

from helmframe.errors import SandboxError

_ERRNO, _ALLOW, _KILL = 0x00050000, 0x7FFF0000, 0x80000000
_EPERM, _ENOSYS, _EAFNOSUPPORT = 1, 38, 97
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCH, _FIRST_ARGUMENT = 0, 4, 16
_AF_UNIX = 1
# CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}
_NEW_NAMESPACES = 0x7E020000

# Newer calls have one number on every processor.
_DENIED_EVERYWHERE = {
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428, "move_mount": 429,
    "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433, "pidfd_getfd": 438, "mount_setattr": 442,
    "memfd_secret": 447,
}  # fmt: skip
# Memory that no limit of a process counts (memfd, System V), other processes, namespaces, mounts, keys, the kernel.
_DENIED = {
    "x86_64": {
        "memfd_create": 319, "shmget": 29, "shmat": 30, "semget": 64, "msgget": 68, "mq_open": 240,
        "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311,
        "unshare": 272, "setns": 308, "mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161,
        "name_to_handle_at": 303, "open_by_handle_at": 304, "fanotify_init": 300, "quotactl": 179, "acct": 163,
        "add_key": 248, "request_key": 249, "keyctl": 250,
        "bpf": 321, "perf_event_open": 298, "userfaultfd": 323, "kexec_load": 246, "init_module": 175,
        "finit_module": 313, "delete_module": 176, "swapon": 167, "reboot": 169, "syslog": 103,
    },
    "aarch64": {
        "memfd_create": 279, "shmget": 194, "shmat": 196, "semget": 190, "msgget": 186, "mq_open": 180,
        "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271,
        "unshare": 97, "setns": 268, "mount": 40, "umount2": 39, "pivot_root": 41, "chroot": 51,
        "name_to_handle_at": 264, "open_by_handle_at": 265, "fanotify_init": 262, "quotactl": 60, "acct": 89,
        "add_key": 217, "request_key": 218, "keyctl": 219,
        "bpf": 280, "perf_event_open": 241, "userfaultfd": 282, "kexec_load": 104, "init_module": 105,
        "finit_module": 273, "delete_module": 106, "swapon": 224, "reboot": 142, "syslog": 116,
    },
}  # fmt: skip
_CLONE = {"x86_64": 56, "aarch64": 220}
_SOCKET = {"x86_64": 41, "aarch64": 198}
_CLONE3 = 435
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# On x86_64 these numbers are the x32 ABI: the same calls by other numbers.
_X32 = 0x40000000


def call_filter(machine: str = "") -> bytes:
    """The filter as the kernel's BPF, for this processor.

    Raises:
        SandboxError: a processor whose call numbers we don't have.
    """
    machine = machine or platform.machine()
    if machine not in _DENIED:
        raise SandboxError(f"no list of system calls for the processor {machine!r}; there is: {', '.join(_DENIED)}.")
    program = [
        _step(_LOAD, _ARCH),
        _step(_EQUAL, _AUDIT_ARCH[machine], on_true=1),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NUMBER),
        _step(_AT_LEAST, _X32, on_false=1),
        _step(_RETURN, _ERRNO | _EPERM),
    ]
    # the C library falls back to clone, whose flags can be read
    refused = {_CLONE3: _ENOSYS} | dict.fromkeys((*_DENIED_EVERYWHERE.values(), *_DENIED[machine].values()), _EPERM)
    for number, errno in refused.items():
        program += [_step(_EQUAL, number, on_false=1), _step(_RETURN, _ERRNO | errno)]
    program += [
        _step(_EQUAL, _CLONE[machine], on_false=4),
        _step(_LOAD, _FIRST_ARGUMENT),
        _step(_ANY_BIT, _NEW_NAMESPACES, on_false=1),
        _step(_RETURN, _ERRNO | _EPERM),
        _step(_RETURN, _ALLOW),
        # a namespace of its own takes the network away, but not vsock and the kernel's ciphers
        _step(_EQUAL, _SOCKET[machine], on_false=4),
        _step(_LOAD, _FIRST_ARGUMENT),
        _step(_EQUAL, _AF_UNIX, on_true=1),
        _step(_RETURN, _ERRNO | _EAFNOSUPPORT),
        _step(_RETURN, _ALLOW),
        _step(_RETURN, _ALLOW),
    ]
    return b"".join(program)


def _step(code: int, value: int, on_true: int = 0, on_false: int = 0) -> bytes:
    """One `struct sock_filter`; the jumps are relative."""
    return struct.pack("=HBBI", code, on_true, on_false, value)
