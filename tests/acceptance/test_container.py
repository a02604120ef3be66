"""The container file: built from the wheel, and a run of the command in the image.

It needs root, podman, runc and debootstrap (`apt-get install podman runc debootstrap`). The base image of the container
file comes from a registry; here a Debian with Python takes its place, so that Debian's packages and PyPI suffice.
"""

import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import helmframe
from tests.acceptance.figures import shown

ROOT = Path(__file__).parents[2]
BASE, IMAGE = "helmframe-acceptance-base", "helmframe-acceptance"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
RUN = "sampler:subject=music,model=noisy(accuracy=0.6)"


def output_of(*command: object) -> str:
    """The output of a command, which must succeed."""
    environment = {**os.environ, "PODMAN_IGNORE_CGROUPSV1_WARNING": "1"}
    done = subprocess.run(
        [str(part) for part in command], cwd=ROOT, capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Debian with Python and pip, in place of python:slim."""
    missing = [name for name in ("podman", "runc", "debootstrap") if shutil.which(name) is None]
    assert not missing, f"apt-get install {' '.join(missing)}"
    assert os.geteuid() == 0, "debootstrap needs root"
    folder = tmp_path_factory.mktemp("debian")
    packages = "python3,python3-pip,ca-certificates"
    output_of("debootstrap", "--variant=minbase", f"--include={packages}", "trixie", folder / "root")
    output_of("tar", "-C", folder / "root", "-cf", folder / "root.tar", ".")
    # Debian's Python leaves its packages to apt; that of python:slim doesn't
    output_of("podman", "import", "--change", "ENV PIP_BREAK_SYSTEM_PACKAGES=1", folder / "root.tar", BASE)
    shutil.rmtree(folder)
    yield BASE
    output_of("podman", "rmi", "--force", IMAGE, BASE)


def test_2_the_container_is_built_from_the_wheel_and_evaluates(base: str, tmp_path: Path) -> None:
    output_of("make", "package", f"PYTHON={sys.executable}")
    limits = [resource.getrlimit(which)[1] for which in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC)]
    ulimits = [f"--ulimit={name}={value}:{value}" for name, value in zip(("nofile", "nproc"), limits, strict=True)]
    certificates = [f"--volume={CERTIFICATES.parent}:{CERTIFICATES.parent}:ro", f"--env=PIP_CERT={CERTIFICATES}"]
    start = time.perf_counter()
    # without a container runtime, because the machine may not allow one while it builds
    output_of("podman", "build", "--isolation=chroot", f"--from={base}", "--network=host", *ulimits, *certificates,
              f"--tag={IMAGE}", ".")  # fmt: skip
    shown("2", "container build", f"{time.perf_counter() - start:.0f} s", "printed")
    # runc, because crun fails in containers with both versions of control groups
    run = ["podman", "--runtime=runc", "run", "--rm", "--network=host", *ulimits]
    start = time.perf_counter()
    printed = output_of(*run, IMAGE, "run", RUN)
    shown("2", "an evaluation in the container", f"{time.perf_counter() - start:.1f} s", "printed")
    assert "exact_match" in printed
    assert "noisy(accuracy=0.6)" in printed
    # a user that the image doesn't know, with a folder of this user, as in docs/install.md
    os.chown(tmp_path, 4321, 4321)
    output_of(*run, "--user=4321:4321", f"--volume={tmp_path}:/evaluations", IMAGE, "run", RUN)
    assert list(tmp_path.glob(".helmframe/runs/*/manifest.json"))
    assert output_of(*run, IMAGE, "--version").split()[-1] == helmframe.__version__
