"""What helmframe itself costs: instances per second and peak memory with a model that answers at once."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.figures import shown
from tests.acceptance.overhead_child import repeated

pytestmark = pytest.mark.shared

ROOT = Path(__file__).parents[2]
HUNDRED_THOUSAND, MILLION = 100_000, 1_000_000
MOST_MB = 1_500
LEAST_PER_SECOND = 20_000
MOST_AGAIN = 0.6


@pytest.mark.parametrize("kind", ["list", "str"])
def test_2_overhead_at_a_hundred_thousand_instances(shared: Path, tmp_path: Path, kind: str) -> None:
    figures = measured(shared, tmp_path, HUNDRED_THOUSAND, kind)
    rate = HUNDRED_THOUSAND / figures["seconds"]
    again = figures["again_seconds"] / figures["seconds"]
    called = f"{kind} -> {kind}"
    limit = f"at least {LEAST_PER_SECOND:,}" if kind == "list" else "printed"
    shown("2", f"{called}: instances/s with three variants, four metrics, table, robustness", f"{rate:,.0f}", limit)
    shown("2", f"{called}: the same per CPU second", f"{HUNDRED_THOUSAND / figures['cpu']:,.0f}", "printed")
    shown("2", f"{called}: a second run, which asks nothing, in shares of the first", f"{again:.2f}", MOST_AGAIN)
    shown("2", f"{called}: peak memory, MB, at {HUNDRED_THOUSAND:,}", figures["peak_mb"], MOST_MB)
    assert figures["n"] == HUNDRED_THOUSAND
    assert figures["rows"] == 3 * 4
    assert figures["peak_mb"] < MOST_MB
    assert again <= MOST_AGAIN
    if kind == "list":
        assert rate >= LEAST_PER_SECOND


def test_2_peak_memory_at_a_million_instances(shared: Path, tmp_path: Path) -> None:
    figures = measured(shared, tmp_path, MILLION, "list")
    shown("2", f"peak memory, MB, at {MILLION:,}", figures["peak_mb"], MOST_MB)
    shown("2", f"instances/s at {MILLION:,}", f"{MILLION / figures['seconds']:,.0f}", "printed")
    assert figures["n"] == MILLION
    assert figures["peak_mb"] < MOST_MB


def measured(shared: Path, folder: Path, n: int, kind: str) -> dict[str, Any]:
    """What `overhead_child` says of n instances."""
    repeated(shared, folder, n)
    done = subprocess.run(
        [sys.executable, "-m", "tests.acceptance.overhead_child", str(folder), kind],
        cwd=ROOT,
        env=os.environ | {"HELMFRAME_STORE": str(folder / "store"), "HELMFRAME_PROGRESS": "0"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures
