"""A store whose writer or compactor is killed holds all that was kept, and nothing half written."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from helmframe.store import ParquetCompletions
from helmframe.store.maintenance import compact, verify
from tests.store.rows import FINGERPRINT, filled

pytestmark = pytest.mark.slow

COMPACTS = """
import sys
from pathlib import Path
from helmframe.store.maintenance import compact
print("ready", flush=True)
for rows in (20, 40, 80, 160, 10_000):
    list(compact(Path(sys.argv[1]), rows=rows))
"""
WRITES = """
import sys
from pathlib import Path
from tests.store.rows import filled
print("ready", flush=True)
while True:
    filled(Path(sys.argv[1]), parts=100, rows=1)
"""


def killed_after(script: str, root: Path, seconds: float) -> None:
    """Start the script and, so long after it is ready, kill it where it stands."""
    command = [sys.executable, "-c", script, str(root)]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(seconds)
        process.kill()


@pytest.mark.parametrize("seconds", [0.01, 0.05, 0.15])
def test_a_killed_compaction_loses_and_doubles_nothing(tmp_path: Path, seconds: float) -> None:
    store = filled(tmp_path, parts=60, rows=5)
    before = store.read(0, 999).sort("request_id")
    killed_after(COMPACTS, tmp_path, seconds)
    assert store.read(0, 999).sort("request_id").equals(before)
    list(compact(tmp_path))
    assert store.read(0, 999).sort("request_id").equals(before)
    assert [each.why for each in verify(tmp_path) if each.why] == []


@pytest.mark.smoke
def test_a_killed_writer_leaves_whole_parts_only(tmp_path: Path) -> None:
    killed_after(WRITES, tmp_path, 0.2)
    found = list(verify(tmp_path))
    assert len(found) > 1
    assert [each.why for each in found if each.why] == []
    assert ParquetCompletions(tmp_path, FINGERPRINT, "mmlu").read(0, 999).height == min(len(found) - 1, 100)
