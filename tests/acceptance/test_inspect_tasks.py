"""Tasks of Inspect and of the Hub as plans have Inspect's prompts and scores.

1. Of 15 tasks of inspect_evals, 16 of a task file and 4 files eval.yaml, every prompt, score and aggregate is that of
   Inspect's own run with its mock model. Completions are right, wrong and malformed.
"""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.eval_peers import asked, benchmarks_folder
from tests.demo import ROOT

SHARED = Path(os.environ.get("HELMFRAME_SHARED", ROOT.parent / "shared"))


def test_1_prompts_and_scores_are_those_of_inspect(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packages = tmp_path / "site-packages"  # Inspect registers the tasks of packages in folders of this name
    packages.symlink_to(benchmarks_folder())
    variables = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(packages)]), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    tables: list[dict[str, Any]] = asked(
        "inspect_tasks_run.py", str(tmp_path), str(SHARED / "data" / "raw" / "hub_eval_yaml"), said=variables
    )
    with capsys.disabled():
        print(f"\n{'task':<28} {'prompts':>9} {'scores':>11} {'aggregates':>11}")
        for row in tables:
            cells = [f"{row[f'{key}_equal']}/{row[key]}" for key in ("prompts", "scores", "aggregates")]
            print(f"{row['task']:<28} {cells[0]:>9} {cells[1]:>11} {cells[2]:>11}")
    assert len(tables) >= 15 + 3
    for row in tables:
        for key in ("prompts", "scores", "aggregates"):
            assert row[f"{key}_equal"] == row[key] > 0, (row, sys.version)
