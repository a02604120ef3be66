"""The oldest and the newest versions that pyproject.toml allows, each against the tests that lean on it most.

usage: python tools/versions.py [polars|duckdb|altair|transformers …] [--python python3.13 …]

A version goes into a folder of its own, before the packages of the Python that runs this, and nothing here is changed.
Another Python gets an environment of its own, with the newest of all but torch and transformers. All are thrown away.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
CORE = ("tests/test_plan.py", "tests/test_schema.py", "tests/results", "tests/metrics/test_match.py")
TESTS = {
    "polars": (*CORE, "tests/stats", "tests/perturbations/test_noise.py", "tests/adapters"),
    "duckdb": ("tests/test_plan.py", "tests/scenarios", "tests/results/test_results.py"),
    "huggingface_hub": ("tests/scenarios/test_hub.py", "tests/scenarios/test_hub_access.py"),
    "altair": ("tests/views/charts", "tests/views/test_report.py", "tests/views/test_viewer.py"),
    "transformers": ("tests/models/test_local_model.py", "tests/models/test_encoder_decoder.py", "tests/models/engine"),
}
OTHER_PYTHON = (*CORE, "tests/test_exports.py", "tests/scenarios/test_load.py", "tests/stats/test_table.py")
# What the tests of another Python need besides helmframe itself.
BESIDES = ("pytest>=8.3", "hypothesis>=6.100", "hatchling>=1.27")


class Outcome(NamedTuple):
    """What one version did: its name, whether its tests passed, their last line, seconds."""

    what: str
    passed: bool
    said: str
    seconds: float

    def __str__(self) -> str:
        return f"{'ok    ' if self.passed else 'FAILED'} {self.what:28} {self.seconds:5.0f} s  {self.said}"


def main(arguments: list[str]) -> int:
    """Try all that is asked for, and say how each went; 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", nargs="*", metavar="PACKAGE", help=f"of {', '.join(TESTS)}; default all")
    parser.add_argument("--python", nargs="*", default=[], metavar="PYTHON", help="other Pythons, such as python3.13")
    said = parser.parse_args(arguments)
    unknown = sorted(set(said.packages) - set(TESTS))
    if unknown:
        parser.error(f"{unknown[0]!r} is none of {', '.join(TESTS)}")
    outcomes = []
    for outcome in tried(said.packages or ([] if said.python else list(TESTS)), said.python):
        print(outcome, flush=True)
        outcomes.append(outcome)
    return 0 if all(each.passed for each in outcomes) else 1


def tried(packages: list[str], pythons: list[str]) -> Iterator[Outcome]:
    """Of each package its oldest and its newest version; each of the other Pythons."""
    for package in packages:
        for version in (f"{package}=={oldest(package)}", str(required(package))):
            with tempfile.TemporaryDirectory(prefix="helmframe-versions-") as folder:
                yield over(version, package, Path(folder))
    for python in pythons:
        with tempfile.TemporaryDirectory(prefix="helmframe-versions-") as folder:
            yield with_python(python, Path(folder))


def required(package: str) -> Requirement:
    """What pyproject.toml says of a package, the core's word before the extras'."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    said = [*project["dependencies"], *(each for extra in project["optional-dependencies"].values() for each in extra)]
    return next(found for each in said if (found := Requirement(each)).name == package)


def oldest(package: str) -> str:
    """The lower bound of a package."""
    return next(each.version for each in required(package).specifier if each.operator == ">=")


def over(version: str, package: str, folder: Path) -> Outcome:
    """The tests of a package with this version of it in front of what is installed here."""
    installed = run(sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), version)
    if installed.returncode:
        return Outcome(version, passed=False, said=last_line(installed), seconds=0.0)
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    code = f"from importlib.metadata import version; print(version({package!r}))"
    found = run(sys.executable, "-c", code, environment=environment).stdout.strip()
    return tests(f"{package} {found}", sys.executable, TESTS[package], environment)


def with_python(python: str, folder: Path) -> Outcome:
    """The tests of another Python, in an environment of its own."""
    made = run(python, "-m", "venv", str(folder))
    if made.returncode:
        return Outcome(python, passed=False, said=last_line(made), seconds=0.0)
    interpreter = str(folder / "bin" / "python")
    installed = run(interpreter, "-m", "pip", "install", "--quiet", f"{ROOT}[report,metrics,http]", *BESIDES)
    if installed.returncode:
        return Outcome(python, passed=False, said=last_line(installed), seconds=0.0)
    found = run(interpreter, "-c", "import platform; print(platform.python_version())").stdout.strip()
    return tests(f"Python {found}", interpreter, OTHER_PYTHON, dict(os.environ))


def tests(what: str, interpreter: str, paths: tuple[str, ...], environment: dict[str, str]) -> Outcome:
    """Run them from the checkout, which stands before what is installed."""
    start = time.monotonic()
    command = (interpreter, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-header", *paths)
    done = run(*command, environment=environment)
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    said = "\n".join([last_line(done), *(f"       {line[:200]}" for line in failed[:20])])
    return Outcome(what, done.returncode == 0, said, time.monotonic() - start)


def run(*command: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command in the checkout; what it says is kept."""
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    """What a command said last."""
    lines = (done.stdout.strip() or done.stderr.strip()).splitlines()
    return lines[-1] if lines else f"exit {done.returncode}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
