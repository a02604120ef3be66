"""Random damage is detected or healed: 40 of them; tests/acceptance/test_wrong_results_store.py has a thousand."""

from pathlib import Path

import pytest

from tests.store.damages import count, damaged_answers, damaged_runs, plan


def test_15_damages_of_a_run_are_detected(tmp_path: Path) -> None:
    results = plan().score()
    assert results.path is not None
    assert count("runs", damaged_runs(results.path, tmp_path / "copies", 15, seed=1)) == {"typed": 15}


def test_10_damages_of_an_export_are_detected(tmp_path: Path) -> None:
    folder = plan().score().to_parquet(tmp_path / "out")
    assert count("exports", damaged_runs(folder, tmp_path / "copies", 10, seed=2)) == {"typed": 10}


def test_15_damages_of_the_store_are_detected_or_healed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan(first=True).score()
    plan().score(fresh=True)
    counts = count("store", damaged_answers(tmp_path / "store", tmp_path / "copies", 15, 3, monkeypatch))
    assert counts.keys() <= {"healed", "typed"}
    assert sum(counts.values()) == 15
