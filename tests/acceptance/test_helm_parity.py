"""Random run entries of HELM's .conf files: requests and statistics equal those of a real `helm-run`."""

import os
from pathlib import Path

import pytest

from tests.acceptance.figures import shown
from tests.acceptance.helm_parity import KINDS, SEED, Parity, run

pytestmark = pytest.mark.shared

ENTRIES = 10


def test_2_ten_random_entries_equal_helm_run(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELMFRAME_PROGRESS", "0")
    monkeypatch.setenv("HELMFRAME_DATA", os.devnull)  # each entry sets its own
    parity = run(SEED, ENTRIES, shared, tmp_path, Parity())
    for line in parity.lines():
        shown("2", f"seed {SEED}, {ENTRIES} entries", line, "99.5 %")
    for difference in parity.differences[:20]:
        print(difference)
    assert parity.entries == ENTRIES
    assert all(parity.share(kind) >= 0.995 for kind in KINDS)
