"""Comparison of two answers written in LaTeX: as text, by the rules of Hendrycks et al., or as mathematics.

Comparison as mathematics runs math-verify over SymPy in a child process that can be killed.

Source: Hendrycks et al. 2021 (MATH), as in HELM's math_scenario.py.
"""

import json
import re
import select
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import polars as pl

from helmframe.errors import ArgumentError, CapabilityError
from helmframe.metrics.protocol import metric
from helmframe.sandbox import CHILD

_SOURCE = "HELM, math_scenario.py; Hendrycks et al. 2021 (MATH)"
# The child process that compares answers as mathematics, and its time limits.
_CHILD = CHILD / "algebra.py"
_SECONDS = 20.0
_START_SECONDS = 120.0


@metric("math_equiv", source=_SOURCE, helm="math_equiv", correctness=True)
def math_equiv(output: str, gold: str) -> float:
    r"""Return 1 if output and reference are the same LaTeX after normalisation, else 0.

    Normalisation removes spaces, units, \left and \right, and unifies the forms of fractions and roots. It does not
    calculate: `math_symbolic` does.

    Example: "0.5" against "1/2" is 1, and so is "\dfrac12". "0.25" against "\frac{1}{4}" is 0.
    """
    return float(alike(output, gold))


@metric("math_equiv_chain_of_thought", source=_SOURCE, helm="math_equiv_chain_of_thought", correctness=True)
def math_equiv_chain_of_thought(output: str, gold: str) -> float:
    r"""Return `math_equiv` of the last \boxed{…} in output and reference.

    As in HELM, the score is 1 if neither has a box. `math_boxed` scores 0 then.

    Example: "so \boxed{0.5}" against "\boxed{1/2}" is 1.
    """
    output_box, gold_box = boxed(output), boxed(gold)
    return float(output_box == gold_box if output_box is None or gold_box is None else alike(output_box, gold_box))


@metric("math_boxed", source=_SOURCE, correctness=True)
def math_boxed(output: str, gold: str) -> float:
    r"""Return `math_equiv` of the last \boxed{…} in the output and the reference.

    An output without a box scores 0. A reference without a box is compared as a whole.

    Example: "so \boxed{\frac12}" against "1/2" is 1.
    """
    output_box, gold_box = boxed(output), boxed(gold)
    return float(output_box is not None and alike(output_box, gold if gold_box is None else gold_box))


def alike(first: str, second: str) -> bool:
    """Return whether both normalise to the same text; if parsing one of them fails, whether they are equal."""
    try:
        return _plain(first) == _plain(second)
    except _UnreadableError:
        return first == second


def boxed(text: str) -> str | None:
    r"""Return the content of the last \boxed{…}, with balanced braces; None if there is none, or it isn't closed.

    >>> boxed(r"so \boxed{1}, no, \boxed{\frac{1}{2}}.")
    '\\frac{1}{2}'
    """
    start = text.rfind("\\boxed")
    if not text.startswith("\\boxed{", start) or start < 0:
        return None
    depth = 0
    for index, character in enumerate(text[start:], start):
        depth += (character == "{") - (character == "}")
        if depth == 0 and character == "}":
            return text[start + len("\\boxed{") : index]
    return None


class _UnreadableError(Exception):
    """A command without its argument."""


def _plain(text: str) -> str:
    for removed in ("\n", "\\!"):
        text = text.replace(removed, "")
    text = text.replace("\\\\", "\\").replace("tfrac", "frac").replace("dfrac", "frac")
    for removed in ("\\left", "\\right", "^{\\circ}", "^\\circ", "\\$"):
        text = text.replace(removed, "")
    text = _without_units(text).replace("\\%", "").replace(" .", " 0.").replace("{.", "{0.")
    if text.startswith("."):
        text = f"0{text}"
    name, equals, value = text.partition("=")
    if equals and "=" not in value and len(name) <= 2:
        text = value
    text = _with_whole_fractions(_with_whole_roots(text).replace(" ", ""))
    if text == "0.5":
        return "\\frac{1}{2}"
    return re.sub(r"\A(0|-?[1-9][0-9]*)/(0|-?[1-9][0-9]*)\Z", r"\\frac{\1}{\2}", text)


def _without_units(text: str) -> str:
    number, *units = text.split("\\text{ ")
    if len(units) > 1:
        raise _UnreadableError
    return number


def _with_whole_roots(text: str) -> str:
    r"""Return the text with `\sqrt{3}` for `\sqrt3`."""
    head, *pieces = text.split("\\sqrt")
    if not all(pieces):
        raise _UnreadableError
    return head + "".join(
        f"\\sqrt{piece}" if piece[0] == "{" else f"\\sqrt{{{piece[0]}}}{piece[1:]}" for piece in pieces
    )


def _with_whole_fractions(text: str) -> str:
    r"""Return the text with `\frac{1}{2}` for `\frac12` and `\frac1{2}`; unchanged if a fraction has only half."""
    head, *pieces = text.split("\\frac")
    whole = [head]
    for piece in pieces:
        if not piece:
            raise _UnreadableError
        if piece[0] == "{":
            whole.append(f"\\frac{piece}")
        elif len(piece) == 1:
            return text
        else:
            over, under, rest = piece[0], piece[1], piece[2:]
            whole.append(f"\\frac{{{over}}}{under}{rest}" if under == "{" else f"\\frac{{{over}}}{{{under}}}{rest}")
    return "".join(whole)


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
