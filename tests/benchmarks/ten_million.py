"""Peak memory at ten million instances: `pytest -s tests/benchmarks/ten_million.py`, by its name alone.

It takes a quarter of an hour on two cores, and 15 GB of disk (`--basetemp` says where).
"""

from pathlib import Path

import pytest

from tests.acceptance.figures import shown
from tests.acceptance.test_overhead import MOST_MB, measured

pytestmark = pytest.mark.shared

TEN_MILLION = 10_000_000


def test_2_peak_memory_at_ten_million_instances(shared: Path, tmp_path: Path) -> None:
    figures = measured(shared, tmp_path, TEN_MILLION, "list")
    shown("2", f"peak memory, MB, at {TEN_MILLION:,}", figures["peak_mb"], MOST_MB)
    shown("2", f"instances/s at {TEN_MILLION:,}", f"{TEN_MILLION / figures['seconds']:,.0f}", "printed")
    assert figures["n"] == TEN_MILLION
    assert figures["peak_mb"] < MOST_MB
