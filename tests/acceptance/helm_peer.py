"""crfm-helm beside us, in a venv of its own that is made once: its perturbations, on the same texts, timed."""

import json
import subprocess
import sys
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HELM = Path(sys.prefix) / ".helm"
# crfm-helm without its models' and scenarios' packages, and what its perturbations import
PACKAGES = [
    "attrs", "cattrs", "colorlog", "dacite", "filelock", "mako", "numpy", "pyhocon", "pyyaml", "requests", "retrying",
    "sqlitedict", "tqdm", "zstandard",
]  # fmt: skip
INSTALL = [
    ["--no-deps", "crfm-helm==0.5.16"],
    PACKAGES,
]


@dataclass(frozen=True)
class Peer:
    """A running crfm-helm that answers questions, a line of JSON each."""

    process: "subprocess.Popen[str]"

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "crfm-helm ended; its messages are above"
        answer: dict[str, Any] = json.loads(line)
        return answer


@dataclass(frozen=True)
class Helm:
    """A running crfm-helm; `texts` are those it was started with."""

    peer: Peer
    texts: Sequence[str]

    def apply(self, name: str, **arguments: Any) -> tuple[list[str], float]:
        """The texts perturbed, and the seconds it took."""
        answer = self.ask({"name": name, "arguments": arguments})
        return answer["texts"], answer["seconds"]

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        return self.peer.ask(question)


@contextmanager
def helm(texts: Sequence[str], folder: Path, more: Sequence[str] = ()) -> Iterator[Helm]:
    """crfm-helm with these texts, in a folder where it may write; `more` are packages it needs besides."""
    with running("helm_child.py", {"texts": list(texts)}, folder, more) as peer:
        yield Helm(peer, texts)


@contextmanager
def running(
    script: str, first: dict[str, Any], folder: Path, more: Sequence[str] = (), python: str = ""
) -> Iterator[Peer]:
    """A script beside this file run by crfm-helm's Python, told `first`; `more` are packages it needs besides.

    `python` replaces the Python of crfm-helm's venv.
    """
    command = [python or helm_python(more), str(Path(__file__).with_name(script))]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=folder, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            peer = Peer(process)
            peer.ask(first)
            yield peer
        finally:
            process.kill()


def helm_python(more: Sequence[str] = ()) -> str:
    """The Python of the venv, which has these packages too; made if it isn't there, in a minute or two."""
    python = HELM / "bin" / "python"
    if not (HELM / "done").exists():
        venv.create(HELM, with_pip=True, clear=True)
        for packages in INSTALL:
            install(python, packages)
        (HELM / "done").touch()
    if more:
        install(python, more)
    return str(python)


def install(python: Path, packages: Sequence[str]) -> None:
    command = [str(python), "-m", "pip", "install", "--quiet", *packages]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        pytest.fail(f"crfm-helm can't be installed beside us: {ended.stderr[-600:]}\nBy hand: {' '.join(command)}")
