"""The filter of system calls, read as the kernel reads it."""

import struct

import pytest

from helmframe.errors import SandboxError
from helmframe.sandbox.seccomp import call_filter

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
