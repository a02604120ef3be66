"""lm-eval and Inspect beside us, in a venv of their own that sees this one's packages; made once, in a few minutes."""

import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.demo import ROOT

PEERS = Path(sys.prefix) / ".peers"
PACKAGES = ["lm-eval>=0.4.13", "inspect-ai>=0.3.285"]


def asked(script: str, *arguments: str, python: str | None = None, said: Mapping[str, str] | None = None) -> Any:
    """What a script beside this file prints as the last line, read as JSON.

    Args:
        script: its name.
        arguments: its arguments.
        python: what runs it; default that of the venv in which both can be imported.
        said: variables of its environment.
    """
    command = [python or peers_python(), str(Path(__file__).with_name(script)), *arguments]
    with tempfile.TemporaryDirectory() as store:
        ours = {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "HELMFRAME_STORE": store, "HELMFRAME_PROGRESS": "0"}
        environment = {**os.environ, **ours, **(said or {})}
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=900)
    assert ended.returncode == 0, ended.stderr[-4000:]
    return json.loads(ended.stdout.splitlines()[-1])


def peers_python() -> str:
    """The Python of the venv; made if it isn't there."""
    return made_venv(PEERS, PACKAGES)


def made_venv(folder: Path, packages: Sequence[str], without: Sequence[str] = ()) -> str:
    """The Python of a venv that sees this one's packages and has these; made if it isn't there.

    Args:
        folder: of the venv.
        packages: as pip takes them.
        without: names of what comes with them and is taken out again.
    """
    python = folder / "bin" / "python"
    if not (folder / "done").exists():
        venv.create(folder, with_pip=True, clear=True)
        ours = sysconfig.get_path("purelib")
        theirs = sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)})
        (Path(theirs) / "ours.pth").write_text(f"{ours}\n", encoding="utf-8")
        pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check"]
        steps = [[*pip, "install", *packages], *([[*pip, "uninstall", "--yes", *without]] if without else [])]
        for command in steps:
            ended = subprocess.run(command, capture_output=True, text=True, check=False)
            if ended.returncode:
                pytest.fail(f"{', '.join(packages)} can't be installed beside us: {ended.stderr[-600:]}")
        (folder / "done").touch()
    return str(python)


# Benchmarks of other tools, without what they need for models and servers.
BENCHMARKS = [
    "inspect-evals==0.26.0", "evalscope==1.14.1", "backoff", "colorlog", "editdistance", "emoji", "filetype", "syllapy",
    "toml", "wonderwords",
]  # fmt: skip


def benchmarks_folder() -> Path:
    """The folder with the packages of `BENCHMARKS`; made if it isn't there."""
    folder = ROOT / "build" / "benchmarks"
    if not (folder / "done").exists():
        command = [peers_python(), "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-deps"]
        ended = subprocess.run(
            [*command, "--upgrade", "--target", str(folder), *BENCHMARKS], capture_output=True, text=True, check=False
        )
        if ended.returncode:
            pytest.fail(f"{', '.join(BENCHMARKS)} can't be installed beside us: {ended.stderr[-600:]}")
        (folder / "done").touch()
    return folder
