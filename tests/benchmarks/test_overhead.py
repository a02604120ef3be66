"""The cost of helmframe itself with mock models: rate, memory, a second run, the time after the last completion."""

from pathlib import Path

import pytest

from tests.acceptance.figures import shown
from tests.acceptance.test_overhead import measured

pytestmark = pytest.mark.shared

SMALL, LARGE = 10_000, 100_000
MOST_MB = 1_200
# The share of the first run's CPU seconds that a second run takes.
MOST_AGAIN = 0.9
# The share of `score()` after the last call, of the large case: a small run has a larger share of fixed costs.
MOST_TAIL = 0.2


@pytest.mark.parametrize("kind", ["list", "str", "wait"])
@pytest.mark.parametrize("n", [SMALL, LARGE])
def test_overhead(shared: Path, tmp_path: Path, n: int, kind: str) -> None:
    figures = measured(shared, tmp_path, n, kind)
    again = figures["again_cpu"] / figures["cpu"]
    wall_again = figures["again_seconds"] / figures["seconds"]
    case = f"{kind}, {n:,} instances, three variants"
    shown("overhead", f"{case}: instances/s", f"{n / figures['seconds']:,.0f}", "printed")
    shown("overhead", f"{case}: instances per CPU second", f"{n / figures['cpu']:,.0f}", "printed")
    shown("overhead", f"{case}: second run / first, seconds", f"{wall_again:.2f}", "printed")
    shown("overhead", f"{case}: second run / first, CPU seconds", f"{again:.2f}", f"at most {MOST_AGAIN}")
    shown("overhead", f"{case}: peak memory, MB", figures["peak_mb"], f"below {MOST_MB}")
    limit = f"at most {MOST_TAIL}" if n == LARGE else "printed"
    shown("overhead", f"{case}: share of score() after the last call", f"{figures['tail']:.3f}", limit)
    assert figures["n"] == n
    assert figures["peak_mb"] < MOST_MB
    assert again <= MOST_AGAIN
    assert n != LARGE or figures["tail"] <= MOST_TAIL
