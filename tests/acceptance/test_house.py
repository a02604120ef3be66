"""The wheel and the sdist in empty venvs, and what the README says pasted there."""

import json
import os
import subprocess
import sys
import time
import venv
from pathlib import Path

import pytest

from tests.acceptance.figures import shown
from tests.demo import ROOT, demo_model
from tests.s3_server import S3Server
from tests.test_readme import SNIPPETS

OF_THE_CORE = [heading for heading in SNIPPETS if heading != "Your model"]
# Isolated, so that neither the checkout nor what is installed elsewhere is found.
PASTED = """
import json, sys
import helmframe
assert helmframe.__file__.startswith(sys.prefix), helmframe.__file__
for heading, snippet in json.loads(sys.argv[1]).items():
    *lines, last = snippet.rstrip().split("\\n")
    names = {}
    exec("\\n".join(lines), names)
    print(heading, "->", type(eval(last, names)).__name__)
"""


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-d", str(out)], cwd=ROOT, check=True)
    return out


def installed(what: str, folder: Path) -> tuple[Path, float]:
    """The Python of a new venv with this in it, and how many seconds that took."""
    started = time.perf_counter()
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", what], check=True)
    return python, time.perf_counter() - started


def pasted(python: Path, headings: list[str], cwd: Path, store: Path) -> list[str]:
    """What each snippet gives, by its type."""
    snippets = json.dumps({heading: SNIPPETS[heading] for heading in headings})
    environment = os.environ | {"HELMFRAME_STORE": str(store), "HELMFRAME_PROGRESS": "0"}
    command = [str(python), "-I", "-c", PASTED, snippets]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.splitlines() if line.partition(" -> ")[0] in headings]


@pytest.mark.shared
def test_5_the_readme_from_the_wheel(
    dist: Path, tmp_path: Path, shared: Path, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    (wheel,) = dist.glob("*.whl")
    python, seconds = installed(str(wheel), tmp_path / "core")
    shown("5", "wheel into an empty venv, s", f"{seconds:.0f}", "printed")
    monkeypatch.setenv("HELMFRAME_DATA", str(shared / "scenarios"))
    said = pasted(python, OF_THE_CORE, tmp_path, tmp_path / "store")
    shown("5", "snippets of the README that ran from the wheel alone", len(said), len(OF_THE_CORE))
    assert len(said) == len(OF_THE_CORE)


@pytest.mark.model
def test_5_a_model_of_ones_own_from_the_sdist(dist: Path, tmp_path: Path) -> None:
    demo_model()
    (sdist,) = dist.glob("*.tar.gz")
    python, seconds = installed(f"{sdist}[local]", tmp_path / "local")
    shown("5", "sdist with [local] into an empty venv, s", f"{seconds:.0f}", "printed")
    assert pasted(python, ["Your model"], ROOT, tmp_path / "store") == ["Your model -> Results"]
