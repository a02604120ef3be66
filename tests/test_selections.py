"""`make test` and `make test-slow` select every test, and a shared test that neither selects fails CI."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import SELECTIONS
from tests.demo import ROOT

MARKERS = ("slow", "smoke", "serial", "hypothesis")
SUBSETS = [subset for size in range(len(MARKERS) + 1) for subset in itertools.combinations(MARKERS, size)]


def selects(selection: str, markers: tuple[str, ...]) -> bool:
    return bool(eval(selection, {}, {marker: marker in markers for marker in MARKERS}))


@pytest.mark.parametrize("markers", SUBSETS, ids="-".join)
def test_a_selection_holds_every_test(markers: tuple[str, ...]) -> None:
    assert any(selects(selection, markers) for selection in SELECTIONS)


def test_only_properties_are_in_two_selections() -> None:
    subsets = [subset for subset in SUBSETS if not {"smoke", "serial"} <= {*subset}]
    twice = [subset for subset in subsets if sum(selects(selection, subset) for selection in SELECTIONS) > 1]
    assert twice == [("hypothesis",)]


def test_make_and_ci_run_the_selections() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(f"-m {selection}" in makefile.replace('"', "") for selection in SELECTIONS)
    assert (ROOT / ".ci" / "run").read_text(encoding="utf-8").endswith("\nmake test\nmake test-slow\n")


def run(*options: str, data: str | None = None) -> tuple[int, str]:
    """Return the exit status and output of pytest over a file that needs the shared data and one that doesn't."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment |= {"CI_REQUIRES_SHARED": "1"} | ({"HELMFRAME_TEST_DATA": data} if data else {})
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    done = subprocess.run(
        [*command, "tests/parity/test_perturbations.py", "tests/_core/test_yaml.py"],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


@pytest.mark.smoke
@pytest.mark.slow
def test_without_the_shared_data_ci_fails_and_names_each_test_once(tmp_path: Path) -> None:
    status, output = run("-n", "2", data=str(tmp_path))
    assert status == pytest.ExitCode.TESTS_FAILED
    assert "deselected for want of shared data: 4: " in output
    assert output.count("test_the_keyboard_is_helms") == 1


@pytest.mark.slow
def test_without_the_shared_data_ci_fails_in_one_process_too(tmp_path: Path) -> None:
    status, output = run(data=str(tmp_path))
    assert status == pytest.ExitCode.TESTS_FAILED
    assert "deselected for want of shared data: 4: " in output


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize("options", [("-m", "not shared"), ("-k", "not helms", "-m", SELECTIONS[0])], ids=["-m", "-k"])
def test_a_shared_test_that_an_option_deselects_fails_ci(options: tuple[str, ...]) -> None:
    assert run("-n", "1", *options)[0] == pytest.ExitCode.TESTS_FAILED


@pytest.mark.slow
@pytest.mark.shared
def test_a_shared_test_that_another_selection_holds_passes_ci() -> None:
    assert run("-n", "1", "-m", SELECTIONS[0])[0] == pytest.ExitCode.OK
