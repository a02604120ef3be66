"""What the tests of scenarios share."""

from pathlib import Path

import pytest

from helmframe._core.specs import ScenarioSpec
from tests.scenarios.own_scenario import OWN, spec, write


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ScenarioSpec:
    """Two topics; `sums` has two dev rows and five test rows in two files."""
    monkeypatch.setenv("HELMFRAME_DATA", str(tmp_path))
    write(tmp_path, "sums/dev-0", ["d0", "d1"])
    write(tmp_path, "sums/test-0", ["t0", "t1", "t2"])
    write(tmp_path, "sums/test-1", ["t3", "t4"])
    write(tmp_path, "sky/test-0", ["s0"])
    write(tmp_path, "sky/other-0", ["no split of ours"])
    return spec(tmp_path, OWN)
