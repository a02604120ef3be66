"""Ten million instances on Ray: `pytest -s tests/benchmarks/ten_million_on_ray.py`, by its name alone.

It takes a quarter of an hour on two cores, and 10 GB of disk (`--basetemp` says where).
"""

from pathlib import Path

import pytest

from tests.acceptance.figures import shown
from tests.acceptance.test_ray_scale import FLAT_MB, running, told

pytestmark = pytest.mark.shared

TEN_THOUSAND, TEN_MILLION = 10_000, 10_000_000


def test_5_the_memory_of_the_driver_at_ten_million_instances(shared: Path, tmp_path: Path) -> None:
    driver = {}
    with running() as place:
        for instances in (TEN_THOUSAND, TEN_MILLION):
            folder = tmp_path / str(instances)
            folder.mkdir()
            driver[instances] = told(place.measured(shared, folder, instances, 1, "ray"))["driver_mb"]
    grown = driver[TEN_MILLION] - driver[TEN_THOUSAND]
    shown("5", f"Ray: driver's memory between {TEN_THOUSAND:,} and {TEN_MILLION:,}, MB", f"{grown:.0f}", FLAT_MB)
    assert grown < FLAT_MB
