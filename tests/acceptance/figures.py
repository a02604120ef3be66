"""How an acceptance check prints its figure beside its limit."""

import resource
from collections import Counter
from collections.abc import Iterator, Mapping
from statistics import median


def shown(number: str, what: str, figure: object, limit: object) -> None:
    """One line: which check, what was measured, the figure, and the limit it is held to."""
    print(f"\n[{number}] {what}: {figure} (limit: {limit})")


# what is compared with HELM, by number
COMPARED = {
    "1": "bits per byte of runs that are read",
    "2": "options that are scored separately",
    "3": "scenarios narrowed by an argument",
    "4": "BLiMP's sampled instances",
    "5": "inputs of a passage and a question",
    "6": "BLEU with sentences split",
    "7": "msmarco_trec",
    "8": "metrics of sets over several trials",
    "9": "several outputs of a request",
    "10": "to_helm and read_helm",
    "11": "windows",
    "12": "entries of other prompts",
    "13": "entropy, Platt scaling, IFEval",
    "14": "entries of HELM's .conf files that become plans",
}
_equal: Counter[str] = Counter()
_total: Counter[str] = Counter()


def equal_to_helm(number: str, what: str, equal: int, total: int, limit: object = "all") -> None:
    """Print how many values equal HELM's, and add them to the totals of their number in `COMPARED`."""
    shown(number, f"{what}, equal to HELM's", f"{equal}/{total}", limit)
    _equal[number] += equal
    _total[number] += total


def totals() -> Iterator[str]:
    """Return a line for each number of `COMPARED` that `equal_to_helm` printed in this session."""
    for number, what in COMPARED.items():
        if number in _total:
            yield f"{number:>2} {what}: {_equal[number]:,}/{_total[number]:,}"


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
