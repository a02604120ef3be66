"""How an acceptance check prints its figure beside its limit."""

import resource
from collections.abc import Mapping
from statistics import median


def shown(number: str, what: str, figure: object, limit: object) -> None:
    """One line: which check, what was measured, the figure, and the limit it is held to."""
    print(f"\n[{number}] {what}: {figure} (limit: {limit})")


def peak_mb() -> int:
    """The peak resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


class Rates:
    """Seconds of tools that do the same work, turn by turn; what is compared are medians.

    Args:
        n: pieces of work, of which a rate says how many are done in a second.
    """

    def __init__(self, n: int) -> None:
        self.n = n
        self._whole: dict[str, list[float]] = {}
        self._phase: dict[str, list[float]] = {}

    def add(self, tool: str, whole: float, phase: float) -> None:
        """One turn: the seconds of its process, and of these, those of its model once it is loaded."""
        self._whole.setdefault(tool, []).append(whole)
        self._phase.setdefault(tool, []).append(phase)

    def shown(self, number: str, what: str) -> None:
        """Two lines: the rates of all."""
        shown(number, f"whole process, {what}", self._said(self._whole), "printed")
        shown(number, f"model phase, {what}", self._said(self._phase), "printed")

    def whole(self, other: str) -> float:
        """How many times as fast as the other tool our process is."""
        return median(self._whole[other]) / median(self._whole["ours"])

    def phase(self, other: str) -> float:
        """How many times as fast as the other tool's our model is."""
        return median(self._phase[other]) / median(self._phase["ours"])

    def _said(self, seconds: Mapping[str, list[float]]) -> str:
        return ", ".join(f"{tool} {self.n / median(each):.2f}" for tool, each in seconds.items())
