"""The specs and the embedded sample travel in wheel and sdist."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.demo import ROOT

pytestmark = pytest.mark.slow

USE = (
    "import helmframe as hf; results = hf.scenario('sampler').limit(1).generate(hf.models.oracle()).score(); "
    "results.report('report.html'); print(results.value())"
)


def used(folder: Path, tmp_path: Path) -> str:
    """What a program says that has this folder, and not the checkout, before everything else on its path."""
    # the path file of the editable install would put the checkout first; -S leaves path files out
    code = f"import sys; sys.path[:0] = [{str(folder)!r}]; sys.path += {sys.path!r}; import helmframe; "
    code += f"assert helmframe.__file__.startswith({str(folder)!r}), helmframe.__file__; {USE}"
    environment = {"HELMFRAME_STORE": str(tmp_path / "store"), "HELMFRAME_PROGRESS": "0", "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    repository = {"HELMFRAME_REPOSITORY": "https://github.com/Owner/project"}
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(out)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        env=os.environ | repository,
    )
    return out


def metadata(dist: Path) -> list[str]:
    """The lines of the wheel's metadata."""
    with zipfile.ZipFile(next(dist.glob("*.whl"))) as wheel:
        name = next(each for each in wheel.namelist() if each.endswith("METADATA"))
        return wheel.read(name).decode().splitlines()


@pytest.mark.smoke
def test_the_wheel_holds_specs_and_sample(dist: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(next(dist.glob("*.whl"))) as wheel:
        wheel.extractall(tmp_path / "wheel")
    assert used(tmp_path / "wheel", tmp_path) == "1.0"


def test_the_sdist_holds_specs_and_sample(dist: Path, tmp_path: Path) -> None:
    with tarfile.open(next(dist.glob("*.tar.gz"))) as sdist:
        sdist.extractall(tmp_path / "sdist", filter="data")
    assert used(next((tmp_path / "sdist").iterdir()), tmp_path) == "1.0"


def test_the_core_needs_neither_torch_nor_pandas_nor_jupyter(dist: Path) -> None:
    core = [
        line.removeprefix("Requires-Dist: ")
        for line in metadata(dist)
        if line.startswith("Requires-Dist") and "extra" not in line
    ]
    assert core
    assert not [each for each in core if each.startswith(("torch", "transformers", "pandas", "jupyter", "ipywidgets"))]


def test_a_build_of_the_release_workflow_has_the_urls_of_its_repository(dist: Path) -> None:
    urls = [line.removeprefix("Project-URL: ") for line in metadata(dist) if line.startswith("Project-URL")]
    assert urls == [
        "Homepage, https://github.com/Owner/project",
        "Documentation, https://owner.github.io/project/",
        "Changelog, https://github.com/Owner/project/blob/main/CHANGELOG.md",
        "Issues, https://github.com/Owner/project/issues",
    ]
