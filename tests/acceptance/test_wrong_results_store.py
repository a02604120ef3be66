"""A thousand random damages of run folders, exports and stored completions, on disk and in a bucket: none is silent.

Each is detected with an error of ours, or healed: the tables are as before.
"""

from collections import Counter
from pathlib import Path
from uuid import uuid4

import pytest

from tests.acceptance.figures import shown
from tests.s3_server import BUCKET
from tests.store.damages import count, damaged_answers, damaged_runs, plan

pytestmark = pytest.mark.soak

# 1,000 in all
RUNS, EXPORTS, STORES = 450, 200, 140
BUCKET_RUNS, BUCKET_STORES = 150, 60


def report(what: str, counts: Counter[str], expected: int) -> None:
    wrong = expected - counts["typed"] - counts["healed"]
    shown("4", f"{what}: {dict(sorted(counts.items()))}; neither detected nor healed", wrong, 0)
    assert sum(counts.values()) == expected
    assert counts.keys() <= {"typed", "healed"}


def test_4_run_folders_on_disk(tmp_path: Path) -> None:
    results = plan().score()
    assert results.path is not None
    report("runs on disk", count("runs on disk", damaged_runs(results.path, tmp_path / "runs", RUNS, 11)), RUNS)
    folder = results.to_parquet(tmp_path / "export")
    report("exports", count("exports", damaged_runs(folder, tmp_path / "exports", EXPORTS, 12)), EXPORTS)


def test_4_completions_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan(first=True).score()
    plan().score(fresh=True)
    counts = count("store on disk", damaged_answers(tmp_path / "store", tmp_path / "stores", STORES, 13, monkeypatch))
    report("completions on disk", counts, STORES)


@pytest.mark.shared
def test_4_runs_and_completions_in_a_bucket(s3: object, monkeypatch: pytest.MonkeyPatch) -> None:
    root = f"s3://{BUCKET}/damages/{uuid4().hex}"
    monkeypatch.setenv("HELMFRAME_STORE", f"{root}/store")
    plan(first=True).score()
    results = plan().score(fresh=True)
    assert results.path is not None
    counts = count("runs in a bucket", damaged_runs(results.path, f"{root}/runs", BUCKET_RUNS, 14))
    report("runs in a bucket", counts, BUCKET_RUNS)
    counts = count(
        "store in a bucket", damaged_answers(f"{root}/store", f"{root}/stores", BUCKET_STORES, 15, monkeypatch)
    )
    report("completions in a bucket", counts, BUCKET_STORES)
