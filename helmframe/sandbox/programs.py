"""Programs that models write, run against tests in sandboxes.

The tests run in a sandbox of their own, the referee's, and reach the program by calls over two pipes: what comes back
are plain values. So no trick inside the program's process (exit codes, patched asserts, frames, files) says anything
about the verdict; only right values do.
"""

import json
import os
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from helmframe.sandbox.process import Limits, memory_file, read_to_end, sandbox

# The imports that APPS puts before every program, without NumPy, which the sandbox does not have.
_APPS_IMPORTS = """
import collections, fractions, heapq, itertools, math, random, sys, time
from collections import ChainMap, Counter, OrderedDict, defaultdict, deque
from functools import lru_cache
from heapq import *
from itertools import accumulate, combinations, permutations, product
from math import ceil, cos, exp, fabs, floor, gcd, log, log2, sin, sqrt, tan
from typing import List, Tuple
"""


@dataclass(frozen=True)
class Verdict:
    """Whether a program passed, and where not, why."""

    passed: bool
    reason: str = ""


@dataclass(frozen=True)
class Output:
    """What a script wrote; `reason` says why it did not end well, "" where it did."""

    text: str
    reason: str = ""


def run_tests(
    program: str, tests: str, *, entry_point: str = "", setup: str = "", limits: Limits | None = None
) -> Verdict:
    """The verdict of tests that call the program's functions, as HumanEval's and MBPP's do.

    Arguments and results go by value, so tests don't see what a function does to its arguments, and can't hand it
    functions of their own.

    Builtin names in tests are Python's, even if the program defines them too. The exception are tests that use no other
    name of the program: then a builtin that every assert calls is the function under test (`assert sum(10, 15) == 25`).
    A StopIteration of the program becomes a RuntimeError, unless the tests name it. Otherwise loops such as
    `all(map(f, …))` would end early without an error.

    Args:
        program: Python source, loaded as a module.
        tests: Python source: defines `check(candidate)`, or asserts.
        entry_point: the function that `check` is given; "": the tests call the program's functions by name.
        setup: Python source the tests may use besides: the prompt's own helpers. Its names go before the program's.
        limits: what program and tests may use, each.

    Raises:
        SandboxError: no sandbox, so no verdict.
    """
    job = {"tests": tests, "entry_point": entry_point, "setup": setup}
    return _judged(program, job, limits or Limits())


def run_call(program: str, name: str, arguments: Any, expected: Any, limits: Limits | None = None) -> Verdict:
    """Return the verdict of one call of a program's function, as in APPS. The program can use APPS's imports.

    Values are compared with Python's `==`, so 1 equals 1.0 and true, with these rules of APPS: Tuples equal lists. A
    value equals a list that holds only this value. Integer keys replace the text keys of a dict that is the first
    argument or the expected value. In addition, NaN equals NaN.

    Args:
        program: Python source, loaded as a module.
        name: The function.
        arguments: The arguments, as a list of JSON values.
        expected: The expected JSON value.
        limits: The limits of the program, and of the referee.

    Raises:
        SandboxError: No sandbox starts, so there is no verdict.
    """
    job = {"call": name, "arguments": arguments, "expected": expected}
    return _judged(program, job, limits or Limits(), imports=_APPS_IMPORTS)


def run_case(program: str, stdin: str, expected: str, limits: Limits | None = None) -> Verdict:
    """The verdict of one case of a script that reads standard input and writes standard output, as APPS has them.

    The script can use APPS's imports and must exit with status 0. Lines are compared without white space at both ends.
    Empty lines at the start and at the end are ignored. APPS compares numbers approximately; this function does not.

    Raises:
        SandboxError: no sandbox, so no verdict.
    """
    output = output_of(program, stdin, limits or Limits(), imports=_APPS_IMPORTS)
    if output.reason:
        return Verdict(passed=False, reason=output.reason)
    right = _lines(output.text) == _lines(expected)
    return Verdict(right, "" if right else "other output")


def output_of(program: str, text: str, limits: Limits, imports: str = "") -> Output:
    """What the program writes to standard output when it reads `text`.

    Raises:
        SandboxError: no sandbox, so no output.
    """
    with ExitStack() as stack:
        stdin = stack.enter_context(memory_file(text.encode(errors="replace")))
        with ExitStack() as child_stack:
            output, written = _pipe(stack, child_stack)
            job = {"program": program, "imports": imports}
            box = stack.enter_context(sandbox("candidate.script", job, limits, stdin=stdin, stdout=written))
        content, met = read_to_end(output, [box], limits)
        # bwrap holds standard output too: at its end the program has ended, with this status
        status = box.stop()
    if met:
        reason = f"over the limit: {met}"
    elif status != 0:
        reason = f"ended with status {status}: {box.tail.decode(errors='replace').strip().rpartition(chr(10))[2]}"
    else:
        reason = ""
    return Output(content.decode(errors="replace"), reason)


def _judged(program: str, job: dict[str, Any], limits: Limits, imports: str = "") -> Verdict:
    """Run the program and the referee's job, and return the verdict."""
    with ExitStack() as stack:
        with ExitStack() as child_stack:
            requests, request_input = _pipe(child_stack, child_stack)
            replies, reply_output = _pipe(child_stack, child_stack)
            verdict, written = _pipe(stack, child_stack)
            boxes = [
                stack.enter_context(
                    sandbox(
                        "candidate.module",
                        {"program": program, "imports": imports},
                        limits,
                        ends=(requests, reply_output),
                    )
                ),
                stack.enter_context(sandbox("referee.main", job, limits, ends=(request_input, replies, written))),
            ]
        content, met = read_to_end(verdict, boxes, limits)
    if met:
        return Verdict(passed=False, reason=f"over the limit: {met}")
    return _verdict(content)


def _pipe(reading: ExitStack, writing: ExitStack) -> tuple[int, int]:
    read_end, write_end = os.pipe()
    reading.callback(os.close, read_end)
    writing.callback(os.close, write_end)
    return read_end, write_end


def _verdict(content: bytes) -> Verdict:
    try:
        verdict = json.loads(content)
    except ValueError:
        return Verdict(passed=False, reason="the tests ended without a verdict")
    return Verdict(verdict["passed"] is True, str(verdict["reason"]))


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().split("\n")]
