"""Tasks of Inspect and of the Hub as plans have Inspect's prompts and scores.

1. Of 15 tasks of inspect_evals, 16 of a task file and 4 files eval.yaml, every prompt, score and aggregate is that of
   Inspect's own run with its mock model. Completions are right, wrong and malformed.
2. The prompts of model_graded_qa and model_graded_fact, and the grades that are read from replies, are Inspect's.
3. A log of Inspect has the rows of a plan of the same task, and compares with it instance by instance.
4. Parts that plans lack are named, files need trust, and 200 tasks are listed in less than 2 seconds.
"""

import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.eval_peers import asked, benchmarks_folder
from tests.demo import ROOT


def variables(folder: Path) -> dict[str, str]:
    """Return the environment of a script that finds Inspect's evals."""
    packages = folder / "site-packages"  # Inspect registers the tasks of packages in folders of this name
    packages.symlink_to(benchmarks_folder())
    paths = os.pathsep.join([str(ROOT), str(packages)])
    return {"PYTHONPATH": paths, "XDG_CACHE_HOME": str(folder / "cache")}


@pytest.mark.shared
def test_1_prompts_and_scores_are_those_of_inspect(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables: list[dict[str, Any]] = asked(
        "inspect_tasks_run.py", str(tmp_path), str(shared / "raw" / "hub_eval_yaml"), said=variables(tmp_path)
    )
    with capsys.disabled():
        print(f"\n{'task':<28} {'prompts':>9} {'scores':>11} {'aggregates':>11}")
        for row in tables:
            cells = [f"{row[f'{key}_equal']}/{row[key]}" for key in ("prompts", "scores", "aggregates")]
            print(f"{row['task']:<28} {cells[0]:>9} {cells[1]:>11} {cells[2]:>11}")
    assert len(tables) >= 15 + 3
    for row in tables:
        for key in ("prompts", "scores", "aggregates"):
            assert row[f"{key}_equal"] == row[key] > 0, row


@pytest.fixture(scope="module")
def checks(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return the figures of checks 2 to 4."""
    folder = tmp_path_factory.mktemp("inspect")
    return asked("inspect_tasks_checks.py", str(folder), said=variables(folder))


def test_2_judged_tasks_have_the_prompts_and_grades_of_inspect(
    checks: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    for row in checks["judged"]:
        with capsys.disabled():
            print(f"\n{row['task']}: prompts {row['prompts_equal']}/{row['prompts']}", end="")
            print(f", scores {row['scores_equal']}/{row['scores']}")
        assert row["prompts_equal"] == row["prompts"] > 0
        assert row["scores_equal"] == row["scores"] > 0


def test_3_a_log_compares_with_a_plan_row_by_row(checks: dict[str, Any]) -> None:
    compared = checks["compared"]
    assert compared["equal_rows"]
    assert (compared["n"], compared["rows"], compared["difference"]) == (12, 12, 0.0)
    assert compared["scores"] == [0.5, 0.5, 0.5]


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("with_own_solver", "CapabilityError: .*solver 'own_solver' is unsupported"),
        ("with_own_scorer", "CapabilityError: .*scorer 'own_scorer' is unsupported"),
        ("with_sandbox", "CapabilityError: .*a sandbox is unsupported"),
        ("with_two_calls", "CapabilityError: .*solver 'self_critique' is unsupported"),
        ("missing", "CapabilityError: .*'missing' not found"),
        (r"match_numeric(n=1)", "ArgumentError: .*no argument 'n'"),
        ("inspect_evals/arc_esay", "UnknownNameError: .*Did you mean 'inspect_evals/arc_easy'"),
        ("task", "SourceMissingError: .*file not found"),
        ("untrusted", "ArgumentError: .*trust_remote_code=True"),
    ],
)
def test_4_unsupported_parts_are_named(checks: dict[str, Any], task: str, message: str) -> None:
    assert re.match(message, checks["refused"][task], re.DOTALL), checks["refused"][task]


def test_4_tasks_are_listed_quickly(checks: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\n{checks['listed']} tasks are listed in {checks['seconds']:.2f} s")
    assert checks["listed"] > 200
    assert checks["seconds"] < 2
