"""The sdist in an empty environment, with the README's finding pasted there; test_install.py has the wheel."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.acceptance.figures import shown
from tests.acceptance.test_install import check, installed
from tests.demo import ROOT, demo_model
from tests.test_readme import FINDING


@pytest.mark.model
def test_5_the_finding_of_the_readme_from_the_sdist(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (sdist,) = tmp_path.glob("*.tar.gz")
    started = time.perf_counter()
    python = installed(f"{sdist}[local]", tmp_path / "venv")
    shown("5", "sdist with [local] into an empty venv, s", f"{time.perf_counter() - started:.0f}", "printed")
    (tmp_path / "models").symlink_to(demo_model().parent)
    check(python, FINDING, tmp_path, {"HF_HUB_OFFLINE": "1"})
