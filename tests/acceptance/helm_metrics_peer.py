"""crfm-helm's metric functions beside ours, in the venv of its perturbations with what its metrics import."""

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.helm_peer import HELM, _python

PACKAGES = ["datasets", "nltk", "rouge-score"]


@dataclass(frozen=True)
class HelmMetrics:
    """A running crfm-helm that has its pairs of reference and output."""

    process: "subprocess.Popen[str]"

    def scores(self, name: str) -> tuple[list[float], float]:
        """Its scores of all pairs, and the seconds they took."""
        answer = self.ask({"name": name})
        return answer["scores"], answer["seconds"]

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "crfm-helm ended; its messages are above"
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def helm_metrics(pairs: Sequence[tuple[str, str]], folder: Path) -> Iterator[HelmMetrics]:
    """crfm-helm with these pairs, in a folder where it may write."""
    script = Path(__file__).with_name("helm_metrics_child.py")
    pipe = subprocess.PIPE
    with subprocess.Popen([python_of_helm(), str(script)], cwd=folder, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            peer = HelmMetrics(process)
            peer.ask({"pairs": list(pairs)})
            yield peer
        finally:
            process.kill()


def python_of_helm() -> str:
    """The Python of the venv, with what the metrics import; made if it isn't there, in two minutes."""
    python, done = _python(), HELM / "done-metrics"
    if not done.exists():
        command = [python, "-m", "pip", "install", "--quiet", *PACKAGES]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode:
            pytest.fail(
                f"HELM's metrics can't be installed beside us: {ended.stderr[-600:]}\nBy hand: {' '.join(command)}"
            )
        done.touch()
    return python
