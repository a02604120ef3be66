"""What a device has left, and how much of it passes and kept starts take."""

import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from helmframe.models.engine.memory import Head, Heads, budgets, free, is_out_of_memory

GB = 1 << 30


def test_free_memory_is_known_here() -> None:
    assert 1e8 < free(torch.device("cpu")) < 1e15


def test_a_cpu_has_tokens_by_its_threads() -> None:
    assert budgets(torch.device("cpu")) == (256 * torch.get_num_threads(), GB)


@pytest.mark.parametrize(("left", "tokens"), [(60 * GB, 8192), (4 * GB, 8192), (1 * GB, 2048), (0, 256)])
def test_the_limits_of_tokens_and_cached_prefixes_follow_free_gpu_memory(
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
def test_out_of_memory_errors_of_torch_are_recognised(said: str, expected: bool) -> None:
    assert is_out_of_memory(RuntimeError(said)) == expected


TEXT = np.arange(10)


def head(length: int) -> Head:
    return Head(length, [(torch.zeros(1, length, 4), torch.zeros(1, length, 4))])  # 32 bytes a token


def test_the_longest_start_within_the_limit_is_found() -> None:
    heads = Heads(10_000)
    heads.add(TEXT, head(3))
    heads.add(TEXT, head(6))
    heads.add(TEXT + 50, head(2))
    assert [heads.n_cached(TEXT, most) for most in (6, 7, 9)] == [6, 6, 6]
    assert heads.n_cached(TEXT + 50, 9) == 2
    assert heads.n_cached(TEXT + 1, 9) == 0


def test_a_longer_start_holds_the_shorter_ones() -> None:
    heads = Heads(10_000)
    states = torch.arange(24.0).reshape(1, 6, 4)
    heads.add(TEXT, Head(6, [(states, states + 1)]))
    assert [heads.n_cached(TEXT, most) for most in (1, 2, 3, 6)] == [0, 0, 3, 6]
    found = heads.longest(TEXT, 3)
    assert found is not None
    assert (found.length, found.size) == (3, 2 * 3 * 16)
    (layer,) = found.layers
    assert torch.equal(layer[0], states[:, :3])
    assert torch.equal(layer[1], states[:, :3] + 1)
    assert heads.longest(np.append(TEXT[:2], 99), 3) is None
    assert [heads.n_cached(np.append(TEXT[:shared], [99] * 5), 9) for shared in (2, 3, 5, 6)] == [0, 3, 5, 6]


def test_the_one_not_used_for_longest_goes_first() -> None:
    heads = Heads(32 * 8)
    heads.add(TEXT, head(4))
    heads.add(TEXT + 50, head(4))
    assert heads.n_cached(TEXT, 9) == 4
    heads.add(TEXT + 90, head(4))
    assert [heads.n_cached(text, 9) for text in (TEXT, TEXT + 50, TEXT + 90)] == [4, 0, 4]


def test_out_of_memory_drops_all_and_lowers_the_limit() -> None:
    heads = Heads(10_000)
    heads.add(TEXT, head(4))
    heads.add(TEXT + 50, head(4))
    assert (heads.make_room(), heads.room) == (32 * 8, 32 * 4)
    assert [heads.n_cached(text, 9) for text in (TEXT, TEXT + 50)] == [0, 0]
    assert (heads.make_room(), heads.room) == (0, 32 * 4)


def test_the_last_prefix_is_cached_whatever_its_size() -> None:
    heads = Heads(1)
    heads.add(TEXT, head(4))
    assert heads.n_cached(TEXT, 9) == 4


MB = 1 << 20
# Four allocations of 8 MB in each of ten layers, after a first layer.
PASSES = """
import resource, torch
from helmframe.models.engine.memory import retain_freed
retain_freed()
def layer():
    return [torch.ones(2 << 20) for _ in range(4)]
layer()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    layer()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults_of(code: str, environment: dict[str, str]) -> int:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    return int(
        subprocess.run([sys.executable, "-c", code], env=own | environment, capture_output=True, check=True).stdout
    )


def test_memory_that_a_layer_frees_is_reused() -> None:
    assert faults_of(PASSES, {"MALLOC_TRIM_THRESHOLD_": "131072", "MALLOC_MMAP_THRESHOLD_": "131072"}) > 20 * MB / 4096
    assert faults_of(PASSES, {}) < 2 * MB / 4096
