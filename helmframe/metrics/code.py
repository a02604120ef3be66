"""Metrics of generated programs, which are run against the scenario's tests in a sandbox.

The tests are in columns of the scenario. `test` is Python source that defines `check(candidate)`, and `entry_point` is
the name of the function to check; the completion continues the code in the input (HumanEval). Without an `entry_point`,
`test` contains asserts and the completion is the whole program (MBPP). `input_output` is JSON with `inputs`, `outputs`
and, if a function is called, `fn_name` (APPS). `public_test_cases` and `private_test_cases` are lists of `input` and
`output`, and `metadata` has `func_name` (LiveCodeBench).
"""

import ast
import base64
import json
import math
import os
import pickletools
import re
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

import polars as pl

from helmframe.metrics.protocol import OUTPUTS, metric
from helmframe.sandbox.process import Limits
from helmframe.sandbox.programs import may_run_programs, output_of, run_call, run_case, run_tests

_NO_CASES = "input_output isn't JSON with the same number of inputs and outputs"
_NO_TEST_CASES = "public_test_cases and private_test_cases have no test cases, or invalid ones"
_FENCED = re.compile(r"^```[\w+-]*[^\S\n]*\n(.*?)(?:^```|\Z)", re.DOTALL | re.MULTILINE)


@metric(
    "pass",
    needs=("test",),
    check=may_run_programs,
    source="HELM, evaluate_reference_metrics.py code_eval; Chen et al. 2021 (HumanEval)",
    helm=("pass", "code_eval_acc"),
    lm_eval="pass@1",
    correctness=True,
)
def passes() -> pl.Expr:
    """Return 1 if the program passes every test in the column `test`, else 0.

    The program is run in a sandbox, which needs hf.configure(allow_code=True). A program that exceeds a limit (10 s of
    CPU time, 30 s, 512 MB) fails. `pass@k` is the unbiased estimate over an instance's outputs.

    Example: "    return a + b" after "def add(a, b):" passes "def check(candidate): assert candidate(1, 2) == 3": 1.
    """
    return _program_metric(_passed, "input", "completion", "test", "entry_point")


@metric("pass@k", level="instance", needs=(OUTPUTS,), check=may_run_programs, source="Chen et al. 2021, equation 1")
def pass_at_k(score: Sequence[float | None], *, k: int, metric: str = "pass") -> float | None:  # noqa: ARG001 - the metric of `score`
    """Return the probability that at least one of k outputs passes, for k sampled without replacement from n.

    With c outputs that pass it is 1 - C(n-c, k) / C(n, k).

    Example: Of 5 outputs with 2 that pass, pass@2 is 1 - C(3, 2) / C(5, 2) = 0.7.

    Args:
        score: The scores under `metric`.
        k: The number of sampled outputs.
        metric: The metric; its score 1 means that the program passes.
    """
    passed = [value for value in score if value is not None]
    n, right = len(passed), sum(value == 1.0 for value in passed)
    if n < len(score) or n < k:
        return None
    return 1.0 - math.comb(n - right, k) / math.comb(n, k)


@metric(
    "test_avg",
    needs=("input_output",),
    check=may_run_programs,
    source="HELM, code_metrics.py; Hendrycks et al. 2021 (APPS)",
    no_value=_NO_CASES,
)
def test_avg() -> pl.Expr:
    """Return the share of the cases in `input_output` that the program solves.

    The program is run in a sandbox, which needs hf.configure(allow_code=True).

    Example: 3 of 4 cases solved: 0.75.
    """
    return _program_metric(_share, "completion", "input_output")


@metric(
    "strict_acc",
    needs=("input_output",),
    check=may_run_programs,
    source="HELM, code_metrics.py; Hendrycks et al. 2021 (APPS)",
    no_value=_NO_CASES,
    correctness=True,
)
def strict_acc() -> pl.Expr:
    """Return 1 if the program solves every case in `input_output`, else 0.

    The program is run in a sandbox, which needs hf.configure(allow_code=True).

    Example: With 3 of 4 cases solved it is 0.
    """
    return (_program_metric(_share, "completion", "input_output") == 1.0).cast(pl.Float64)


@metric(
    "live_code_bench_pass",
    needs=("public_test_cases", "private_test_cases"),
    check=may_run_programs,
    source="Jain et al. 2024 (LiveCodeBench), lcb_runner",
    no_value=_NO_TEST_CASES,
    correctness=True,
)
def live_code_bench_pass() -> pl.Expr:
    """Return 1 if the program solves every public and private test case of LiveCodeBench, else 0.

    The program is the last fenced block of the completion; without one the score is 0. It is run in a sandbox, which
    needs hf.configure(allow_code=True), with 6 s of CPU time for each case. Lines of output are compared as numbers if
    they differ as texts. A program that imports NumPy fails, because the sandbox does not contain it.

    Example: A block "print(input())" passes the case {"input": "1", "output": "1.0"}: 1.
    """
    return _program_metric(_solved, "completion", "public_test_cases", "private_test_cases", "metadata")


@metric("defines_function", needs=("entry_point",), source="helmframe")
def defines_function(completion: str, entry_point: str) -> float:
    """Return 1 if the code in the completion is valid Python that defines the function `entry_point`, else 0.

    The code is parsed, and not run. A program that fails its tests can have a score of 1.

    Example: "def task_func(): pass" with the entry point "task_func" is 1.
    """
    try:
        tree = ast.parse(_code_of(completion, entry_point))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return 0.0
    functions = (node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return float(entry_point in functions)


def program_of(prompt: str, completion: str, entry_point: str) -> str:
    """Return the program of a completion: its fenced code if it has any, after the code of the prompt.

    Args:
        prompt: The scenario's unperturbed input: a typo in it is not the model's mistake.
        completion: The text that the model generated.
        entry_point: The function whose code the prompt begins; "" if the prompt isn't code.
    """
    code = _code_of(completion, entry_point)
    if not entry_point:
        return code
    # the ellipsis completes a stub without a docstring, and is harmless after one
    return f"{prompt}    ...\n\n{code}" if _defining(entry_point).search(code) else prompt + code


def _code_of(completion: str, entry_point: str) -> str:
    """Return the fenced block that defines the function, else the longest one; without blocks, the completion."""
    blocks = _FENCED.findall(completion)
    defining = _defining(entry_point)
    return next((block for block in blocks if defining.search(block)), max(blocks, key=len, default=completion))


def _defining(entry_point: str) -> re.Pattern[str]:
    return re.compile(rf"^(async )?def {re.escape(entry_point)}\b", re.MULTILINE)


def _program_metric(judge: Callable[..., float | None], *columns: str) -> pl.Expr:
    """Return the judge's value per row.

    Each distinct row is run once. As many rows run at a time as there are processors.
    """

    def compute(series: Any) -> pl.Series:
        may_run_programs()
        rows = list(zip(*(column.to_list() for column in series), strict=True))
        completion_index = columns.index("completion")
        distinct_rows = list(dict.fromkeys(row for row in rows if row[completion_index] is not None))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            values = dict(zip(distinct_rows, pool.map(lambda row: judge(*row), distinct_rows), strict=True))
        return pl.Series([values.get(row) for row in rows], dtype=pl.Float64)

    return pl.map_batches(list(columns), compute, return_dtype=pl.Float64, is_elementwise=True)


# several metrics of one table, and `pass@k` for several k, run the same programs
@lru_cache(maxsize=100_000)
def _passed(prompt: str, completion: str, test: str | None, entry_point: str | None) -> float:
    if test is None:
        return 0.0
    setup = f"{prompt}    ...\n" if entry_point else ""
    program = program_of(prompt, completion, entry_point or "")
    tests = _NUMPY_IMPORT.sub(lambda _: _NUMPY, test)
    return float(run_tests(program, tests, entry_point=entry_point or "", setup=setup).passed)


_NUMPY_IMPORT = re.compile(r"^import numpy as np$", re.MULTILINE)
# The names of NumPy that EvalPlus' tests use, since the sandbox does not contain NumPy.
_NUMPY = """
class np:
    class ndarray:
        pass
    float32 = float64 = float

    @staticmethod
    def allclose(a, b, rtol=1e-05, atol=1e-08):
        if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
            return len(a) == len(b) and all(np.allclose(x, y, rtol, atol) for x, y in zip(a, b))
        return a == b or abs(a - b) <= atol + rtol * abs(b)
"""


@lru_cache(maxsize=100_000)
def _share(completion: str, input_output: str | None) -> float | None:
    name, cases = _cases(input_output)
    program = program_of("", completion, "")
    right = [_case_passes(program, case_input, expected, name) for case_input, expected in cases]
    return sum(right) / len(right) if right else None


def _cases(input_output: str | None) -> tuple[Any, list[tuple[Any, Any]]]:
    """Return the name of the function to call, None for a script, and pairs of input and output; none if invalid."""
    try:
        cases = json.loads(input_output or "{}")
    except (ValueError, RecursionError):
        return None, []
    inputs, outputs = (cases.get(key) if isinstance(cases, dict) else None for key in ("inputs", "outputs"))
    if not isinstance(inputs, list) or not isinstance(outputs, list) or len(inputs) != len(outputs):
        return None, []
    return cases.get("fn_name"), list(zip(inputs, outputs, strict=True))


def _case_passes(program: str, case_input: Any, expected: Any, name: Any) -> bool:
    if name is None:
        return run_case(program, _text(case_input), _text(expected)).passed
    if not isinstance(name, str) or not name.isidentifier():
        return False
    # LeetCode programs define the function in a class
    method = f"\nif {name!r} not in globals():\n    {name} = Solution().{name}\n"
    return run_call(program + method, name, case_input, expected).passed


def _text(lines: Any) -> str:
    return "\n".join(map(str, lines)) if isinstance(lines, list) else str(lines)


# The imports that LiveCodeBench adds to every program.
_LIVE_IMPORTS = """
from string import *
from re import *
from datetime import *
from collections import *
from heapq import *
from bisect import *
from copy import *
from math import *
from random import *
from statistics import *
from itertools import *
from functools import *
from operator import *
from io import *
from sys import *
from json import *
from builtins import *
from typing import *
import string, re, datetime, collections, heapq, bisect, copy, math, random, statistics, itertools, functools
import operator, io, sys, json
sys.setrecursionlimit(50000)
"""
_LIVE_LIMITS = Limits(cpu=6, wall=18.0)
_MOST_TESTS = 1 << 30  # bytes


def _solved(completion: str, public: str | None, private: str | None, metadata: str | None) -> float | None:
    public_cases, private_cases = _live_cases(public), _live_cases(private)
    if public_cases is None or private_cases is None or not (public_cases or private_cases):
        return None
    name = _json(metadata or "{}")
    name = name.get("func_name") if isinstance(name, dict) else None
    lines = completion.split("\n")
    fences = [index for index, line in enumerate(lines) if "```" in line]
    if len(fences) < 2:
        return 0.0
    program = "\n".join(lines[fences[-2] + 1 : fences[-1]])
    return float(all(_live_case_passes(program, case, name) for case in (*public_cases, *private_cases)))


def _live_cases(text: str | None) -> list[dict[str, str]] | None:
    """Return the test cases in a column: JSON, or JSON in a pickled text that is compressed and in base64."""
    cases = _json(text or "[]")
    if cases is None:
        try:
            unpacker = zlib.decompressobj()
            packed = unpacker.decompress(base64.b64decode(text or ""), _MOST_TESTS)
            cases = _json(_pickled_text(packed)) if unpacker.eof else None
        except (ValueError, zlib.error):
            return None
    complete = isinstance(cases, list) and all(
        isinstance(case, dict) and all(isinstance(case.get(key), str) for key in ("input", "output")) for case in cases
    )
    return cases if complete else None


def _pickled_text(packed: bytes) -> str:
    """Return the first text in a pickle, which is read and not loaded: loading can run any function."""
    return next((str(value) for code, value, _ in pickletools.genops(packed) if "UNICODE" in code.name), "")


def _live_case_passes(program: str, case: dict[str, str], name: Any) -> bool:
    if name is None:
        output = output_of(program, case["input"], _LIVE_LIMITS, imports=_LIVE_IMPORTS)
        return not output.reason and _same_lines(output.text, case["output"])
    if not isinstance(name, str) or not name.isidentifier():
        return False
    # the imports have functions of common names, such as add
    method = f"\n{name} = Solution().{name}\n" if "class Solution" in program else ""
    # texts, because the program could define the names inf and nan of literals
    lines = case["input"].split("\n")
    tests = (
        f"import json\ndef check(candidate):\n    value = candidate(*map(json.loads, {lines!r}))\n"
        f"    assert (list(value) if isinstance(value, tuple) else value) == json.loads({case['output']!r})\n"
    )
    return run_tests(f"{_LIVE_IMPORTS}\n{program}{method}", tests, entry_point=name, limits=_LIVE_LIMITS).passed


def _same_lines(output: str, expected: str) -> bool:
    """Return whether the lines are equal as texts, or as numbers separated by spaces."""
    pairs = [[line.strip() for line in text.strip().split("\n")] for text in (output, expected)]
    if len(pairs[0]) != len(pairs[1]):
        return False
    return all(line == wanted or _same_numbers(line, wanted) for line, wanted in zip(*pairs, strict=True))


def _same_numbers(line: str, wanted: str) -> bool:
    try:
        # comparing a signalling NaN raises too
        return [Decimal(word) for word in line.split()] == [Decimal(word) for word in wanted.split()]
    except InvalidOperation:
        return False


def _json(text: str) -> Any:
    """Return the value of a JSON text; None if it is invalid."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
