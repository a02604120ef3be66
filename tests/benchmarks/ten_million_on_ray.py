"""Ten million instances on Ray and by the local engine: `pytest -s tests/benchmarks/ten_million_on_ray.py`, by its name
alone.

It takes half an hour on two cores, and 20 GB of disk (`--basetemp` says where). The figures stay there as CSV.
"""

from pathlib import Path

import polars as pl
import pytest

from tests.acceptance.figures import shown
from tests.acceptance.ray_scale_child import ENGINES
from tests.acceptance.test_ray_scale import FLAT_MB, check_equal, running, told

pytestmark = pytest.mark.shared

TEN_THOUSAND, TEN_MILLION = 10_000, 10_000_000


def test_5_ten_million_instances(shared: Path, tmp_path: Path) -> None:
    rows = []
    with running() as place:
        for instances in (TEN_THOUSAND, TEN_MILLION):
            folder = tmp_path / str(instances)
            folder.mkdir()
            rows += [told(place.measured(shared, folder, instances, 1, engine)) for engine in ENGINES]
            check_equal(folder, instances, 1)
    figures = pl.DataFrame(rows)
    figures.filter(pl.col("instances") == TEN_MILLION).write_csv(tmp_path / "ten_million.csv")
    driver = figures.filter(pl.col("engine") == "ray")["driver_mb"]
    shown(
        "5",
        f"Ray: driver's memory between {TEN_THOUSAND:,} and {TEN_MILLION:,}, MB",
        f"{driver[1] - driver[0]:.0f}",
        FLAT_MB,
    )
    assert driver[1] - driver[0] < FLAT_MB
