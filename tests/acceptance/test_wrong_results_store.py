"""A thousand random damages of run folders, exports and stored completions, on disk and in a bucket: none is silent.

Each is detected with an error of ours, or healed: the tables are as before.
"""

from collections import Counter
from pathlib import Path
from uuid import uuid4

import pytest

from tests.acceptance.figures import shown
from tests.s3_server import BUCKET
from tests.store.damages import counted, damaged_answers, damaged_runs, plan

RUNS, EXPORTS, STORES = 350, 150, 220
BUCKET_RUNS, BUCKET_STORES = 180, 100


def told(what: str, found: Counter[str], expected: int) -> None:
    wrong = expected - found["typed"] - found["healed"]
    shown("4", f"{what}: {dict(sorted(found.items()))}; neither detected nor healed", wrong, 0)
    assert sum(found.values()) == expected
    assert found.keys() <= {"typed", "healed"}


def test_4_there_are_a_thousand() -> None:
    assert RUNS + EXPORTS + STORES + BUCKET_RUNS + BUCKET_STORES == 1000


def test_4_run_folders_on_disk(tmp_path: Path) -> None:
    results = plan().score()
    assert results.path is not None
    told("runs on disk", counted("runs on disk", damaged_runs(results.path, tmp_path / "runs", RUNS, 11)), RUNS)
    folder = results.to_parquet(tmp_path / "export")
    told("exports", counted("exports", damaged_runs(folder, tmp_path / "exports", EXPORTS, 12)), EXPORTS)


def test_4_completions_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan().score()
    found = counted("store on disk", damaged_answers(tmp_path / "store", tmp_path / "stores", STORES, 13, monkeypatch))
    told("completions on disk", found, STORES)


@pytest.mark.shared
def test_4_runs_and_completions_in_a_bucket(s3: object, monkeypatch: pytest.MonkeyPatch) -> None:
    root = f"s3://{BUCKET}/damages/{uuid4().hex}"
    monkeypatch.setenv("HELMFRAME_STORE", f"{root}/store")
    results = plan().score()
    assert results.path is not None
    found = counted("runs in a bucket", damaged_runs(results.path, f"{root}/runs", BUCKET_RUNS, 14))
    told("runs in a bucket", found, BUCKET_RUNS)
    found = counted(
        "store in a bucket", damaged_answers(f"{root}/store", f"{root}/stores", BUCKET_STORES, 15, monkeypatch)
    )
    told("completions in a bucket", found, BUCKET_STORES)
