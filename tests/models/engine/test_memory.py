"""What a device has left, and how much of it passes and kept starts take."""

from types import SimpleNamespace

import pytest
import torch

from helmframe.models.engine.memory import budgets, free, is_out_of_memory

GB = 1 << 30


def test_free_memory_is_known_here() -> None:
    assert 1e8 < free(torch.device("cpu")) < 1e15


def test_a_cpu_has_tokens_by_its_threads() -> None:
    assert budgets(torch.device("cpu")) == (256 * torch.get_num_threads(), GB)


@pytest.mark.parametrize(("left", "tokens"), [(60 * GB, 8192), (4 * GB, 8192), (1 * GB, 2048), (0, 256)])
def test_a_gpu_has_tokens_and_kept_starts_by_what_is_free(
    left: int, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (left - left // 4, 80 * GB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: left // 2)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: left // 4)
    assert budgets(SimpleNamespace(type="cuda")) == (tokens, left // 8)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("CUDA out of memory. Tried to allocate 2.00 GiB", True),
        ("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to allocate", True),
        ("a kernel is missing", False),
    ],
)
def test_what_torch_says_of_no_memory_is_known(said: str, expected: bool) -> None:
    assert is_out_of_memory(RuntimeError(said)) == expected
