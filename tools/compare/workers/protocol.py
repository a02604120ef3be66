"""What all workers share: the settings of a case, the time of the first request, and the figures of a case."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_FIRST_REQUEST = Path("first_request")
_SECONDS = 0.5  # of passes over the rows; one pass of a fast function is shorter than the noise


@dataclass(frozen=True)
class Settings:
    """The settings of a case.

    Attributes:
        rows: The folder that `tools.compare.rows.prepare` wrote.
        model: The folder of the demo model without chat template.
        n: The number of rows.
    """

    rows: Path
    model: Path
    n: int


def settings() -> Settings:
    """Return the settings that the parent process passed in `COMPARE`."""
    values = json.loads(os.environ["COMPARE"])
    return Settings(Path(values["rows"]), Path(values["model"]), int(values["n"]))


def mark_request() -> None:
    """Record the time of the first request that a model receives."""
    if not _FIRST_REQUEST.exists():
        _FIRST_REQUEST.write_text(str(time.time()), encoding="utf-8")


def report(**figures: float) -> None:
    """Print the figures of a case as the last line."""
    print(f"\n{json.dumps(figures)}")


def rate(n: int, work: Callable[[], object]) -> float:
    """Return the rows per second of a pass over n rows, repeated for half a second after a pass that isn't timed."""
    work()
    start = time.perf_counter()
    passes = 0
    while (elapsed := time.perf_counter() - start) < _SECONDS:
        work()
        passes += 1
    return n * passes / elapsed


def read_lines(file: Path) -> list[dict[str, str]]:
    """Return the rows of a JSON Lines file."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
