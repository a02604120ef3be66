"""Equality of answers as mathematics, by math-verify over SymPy in a child process that can be killed."""

import json
import select
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import polars as pl

from helmframe.errors import ArgumentError, CapabilityError
from helmframe.metrics.math_equiv import alike, boxed
from helmframe.metrics.protocol import metric
from helmframe.sandbox import CHILD

_CHILD = CHILD / "algebra.py"
_SECONDS = 20.0
_START_SECONDS = 120.0


def may_compute() -> None:
    """Check that math-verify is installed.

    Raises:
        CapabilityError: It is not.
    """
    if find_spec("math_verify") is None:
        raise CapabilityError("Metric 'math_symbolic' needs the package math-verify: pip install 'helmframe[math]'.")


@metric("math_symbolic", check=may_compute, source="math-verify (Hugging Face), SymPy", correctness=True)
def math_symbolic() -> pl.Expr:
    r"""Return 1 if output and reference are mathematically equal, else 0.

    The answer is the last \boxed{…}, or else the last expression. Comparisons that take longer than 20 s score 0.

    Example: "0.25" against "\frac14" or "25\%" is 1.
    """
    return pl.map_batches(["output", "gold"], _scores, return_dtype=pl.Float64, is_elementwise=True)


def equal(pairs: Sequence[tuple[str, str]]) -> list[bool]:
    """Return whether each output and its reference are equal as mathematics.

    Args:
        pairs: Output and reference.
    """
    results = []
    with _children() as equal:
        for output, gold in pairs:
            expected = boxed(gold) or gold
            results.append(alike(boxed(output) or output, expected) or equal(expected, output))
    return results


class _Children:
    """The current child process; it is replaced if it does not reply in time or dies."""

    def __init__(self) -> None:
        self.child: subprocess.Popen[str] | None = None

    def __call__(self, gold: str, output: str) -> bool:
        if self.child is None:
            self._start()
        line = self._exchange(json.dumps([gold, output]), _SECONDS)
        if not line:
            self.stop()
        return line == "true"

    def stop(self) -> None:
        if self.child is not None:
            self.child.kill()
            self.child.communicate()
        self.child = None

    def _start(self) -> None:
        self.child = subprocess.Popen(
            [sys.executable, "-P", "-W", "ignore", str(_CHILD)], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        if self._exchange("", _START_SECONDS) != "ready":
            self.stop()
            # raises, so that not every score is 0
            raise ArgumentError(
                "Loading the package math-verify failed. To see the error, run: python -c 'import math_verify'"
            )

    def _exchange(self, question: str, seconds: float) -> str:
        """Return the child's next line; empty if it does not reply in time."""
        assert self.child is not None
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        try:
            if question:
                self.child.stdin.write(f"{question}\n")
                self.child.stdin.flush()
        except BrokenPipeError:
            return ""
        readable = select.select([self.child.stdout], [], [], seconds)[0]
        return self.child.stdout.readline().strip() if readable else ""


@contextmanager
def _children() -> Iterator[_Children]:
    children = _Children()
    try:
        yield children
    finally:
        children.stop()


def _scores(columns: Any) -> pl.Series:
    rows = list(zip(*(column.to_list() for column in columns), strict=True))
    distinct_pairs = list(
        dict.fromkeys((output, gold) for output, gold in rows if output is not None and gold is not None)
    )
    equalities = dict(zip(distinct_pairs, equal(distinct_pairs), strict=True))
    return pl.Series([equalities.get(row) for row in rows], dtype=pl.Float64)
