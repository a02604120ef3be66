"""How an acceptance check prints its figure beside its limit."""

import resource


def shown(number: str, what: str, figure: object, limit: object) -> None:
    """One line: which check, what was measured, the figure, and the limit it is held to."""
    print(f"\n[{number}] {what}: {figure} (limit: {limit})")


def peak_mb() -> int:
    """The peak resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
