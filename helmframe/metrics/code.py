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
import operator
import os
import pickletools
import re
import sqlite3
import time
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

import polars as pl

from helmframe._core.yaml import decode_json
from helmframe.config import from_home
from helmframe.errors import ArgumentError
from helmframe.metrics.protocol import OUTPUTS, metric
from helmframe.sandbox.process import Limits
from helmframe.sandbox.programs import may_run_programs, output_of, run_call, run_case, run_tests

_NO_CASES = "input_output isn't JSON with the same number of inputs and outputs"
_NO_TEST_CASES = "public_test_cases and private_test_cases have no test cases, or invalid ones"
_EHR_SQL = "HELM, ehr_sql_metrics.py, ehr_sql_annotator.py; Lee et al. 2022 (EHRSQL)"
_READS = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE)
_QUERY_SECONDS, _QUERY_ROWS, _CELL_BYTES = 10.0, 100_000, 1 << 20
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


@metric(
    "program_accuracy",
    source="HELM, fin_qa_metrics.py; Chen et al. 2021 (FinQA)",
    helm="program_accuracy",
    packages=("sympy",),
)
def program_accuracy(completion: str, gold: str) -> float:
    """Return 1 if the arithmetic program equals the reference's as an expression of the same numbers, else 0.

    A program has steps such as "divide(9413, 20.01), subtract(#0, 3)"; #0 is the result of the first step.

    Example: "add(3, 2)" against "add(2, 3)" is 1, and "add(2, 4)" is 0.
    """
    from sympy import simplify

    symbols: dict[Any, Any] = {}
    expected = _expression(_steps(gold), symbols, may_add=True)
    generated = _expression(_steps(completion.strip()), symbols, may_add=False)
    return float(None not in (expected, generated) and simplify(expected) == simplify(generated))


@metric(
    "execution_accuracy",
    needs=("executed", "cells"),
    source="HELM, fin_qa_metrics.py; Chen et al. 2021 (FinQA)",
    helm="execution_accuracy",
)
def execution_accuracy(completion: str, executed: str, cells: str) -> float:
    """Return 1 if the arithmetic program computes the value in the column `executed`, else 0.

    Programs are those of `program_accuracy`. Operations on rows, such as table_sum, read the table in the column
    `cells`, which is JSON. Nothing but these operations is run.

    Example: "add(2, 3)" with the expected value "5.0" is 1.
    """
    try:
        result = _executed(_steps(completion.strip()), json.loads(cells))
    except (ArithmeticError, IndexError, KeyError, TypeError, ValueError):
        return 0.0
    if executed in ("yes", "no"):
        return float(result == executed)
    return float(isinstance(result, float) and math.isclose(float(executed), round(result, 5)))


@metric("ehr_sql_precision_answerable", needs=("is_impossible",), source=_EHR_SQL, helm="ehr_sql_precision_answerable")
def ehr_sql_precision_answerable(completion: str, gold: str, is_impossible: bool) -> float:
    """Return 1 if a query was generated and the question has an answer, else 0.

    Divide its mean by the share of non-empty completions to get the precision.

    Example: "SELECT 1" for a question without an answer is 0.
    """
    return _has_both(completion, gold, is_impossible)


@metric("ehr_sql_recall_answerable", needs=("is_impossible",), source=_EHR_SQL, helm="ehr_sql_recall_answerable")
def ehr_sql_recall_answerable(completion: str, gold: str, is_impossible: bool) -> float:
    """Return 1 if the question has an answer and a query was generated, else 0.

    Divide its mean by the share of questions with an answer to get the recall.

    Example: "" for a question that has an answer is 0.
    """
    return _has_both(completion, gold, is_impossible)


@metric("ehr_sql_execution_accuracy", source=_EHR_SQL, needs=("value",), helm="ehr_sql_execution_accuracy")
def ehr_sql_execution_accuracy(completion: str, gold: str, value: str, *, database: str) -> float:
    """Return 1 if the generated query has the same rows as the reference's query on the database, else 0.

    An empty completion scores 1 if the reference's query has no result. Queries can only read the database, for at most
    10 s.

    Example: "SELECT 2, 1" against "SELECT 2, 1" is 1, and "SELECT 1, 2" is 0.

    Args:
        completion: The generated query.
        gold: The reference's query.
        value: The reference's result as JSON, of questions whose query has none.
        database: The path of the SQLite database.
    """
    tagged = re.search(r"<\s*sql\s*>(.*?)</?\s*sql\s*>", completion, re.DOTALL | re.IGNORECASE)
    query = (tagged[1] if tagged else completion).strip().replace("`", "").strip()
    query = re.sub(r"^sql\n", "", query, flags=re.MULTILINE)
    expected, generated = _query_rows(gold, database), _query_rows(query, database) if query else None
    if expected:
        return float(generated is not None and set(generated) == set(expected))
    has_result = value not in ("", "{}")
    return float(not completion.strip() and bool(gold.strip()) and not has_result)


def _has_both(completion: str, gold: str, is_impossible: bool) -> float:
    """Return 1 if both the completion and the reference have a query, else 0."""
    return float(bool(completion.strip()) and not is_impossible and bool(gold.strip()))


@lru_cache(maxsize=10_000)
def _query_rows(query: str, database: str) -> tuple[tuple[Any, ...], ...] | None:
    """Return the rows of a query; None if it fails, writes, or takes longer than 10 s."""
    path = from_home(database)
    if not path.is_file():
        raise ArgumentError(f"ehr_sql_execution_accuracy(database={database!r}): file not found. Write its path.")
    deadline = time.monotonic() + _QUERY_SECONDS
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _CELL_BYTES)
        connection.set_authorizer(lambda action, *_: sqlite3.SQLITE_OK if action in _READS else sqlite3.SQLITE_DENY)
        connection.set_progress_handler(lambda: int(time.monotonic() > deadline), 10_000)
        try:
            return tuple(connection.execute(query).fetchmany(_QUERY_ROWS))
        except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError, MemoryError):
            return None


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
        cases = decode_json(input_output or "{}")
    except ValueError:
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


_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "add": operator.add, "subtract": operator.sub, "multiply": operator.mul, "divide": operator.truediv,
    "exp": operator.pow, "greater": operator.gt,
}  # fmt: skip
_OF_ROWS: dict[str, Callable[[list[float]], float]] = {
    "table_max": max, "table_min": min, "table_sum": sum, "table_average": lambda row: sum(row) / len(row),
}  # fmt: skip


def _steps(program: str) -> list[tuple[str, str, str]] | None:
    """Return the operation and the two arguments of each complete step; None if the program has another form."""
    tokens = [token for part in program.split(", ") for token in re.findall(r"\)|[^()]*\(|[^()]+", part)]
    for index, text in enumerate(tokens):
        if index % 4 == 0 and (text[-1] != "(" or text[:-1] not in {*_ARITHMETIC, *_OF_ROWS}):
            return None
        if index % 4 == 3 and text != ")":
            return None
    complete = range(0, len(tokens) - 3, 4)
    return [(tokens[start][:-1], tokens[start + 1].strip(), tokens[start + 2].strip()) for start in complete]


def _expression(steps: list[tuple[str, str, str]] | None, symbols: dict[Any, Any], *, may_add: bool) -> Any:
    """Return the last step as a symbolic expression; None if it isn't one of the known symbols.

    Args:
        steps: The steps of a program.
        symbols: Number, or operation on a row → its symbol. The reference's program adds symbols.
        may_add: Whether to add symbols.
    """
    from sympy import Symbol

    def symbol(key: Any) -> Any:
        if may_add:
            symbols.setdefault(key, Symbol(f"a{len(symbols)}"))
        return symbols.get(key)

    values: list[Any] = []
    for index, (name, *arguments) in enumerate(steps or ()):
        if name in _OF_ROWS:
            # as in HELM, the first step differs from later ones
            operands = [symbol((index == 0, name, *arguments))]
        else:
            operands = [_result(argument, values) if "#" in argument else symbol(argument) for argument in arguments]
        if None in operands:
            return None
        values.append(operands[0] if name in _OF_ROWS else _ARITHMETIC[name](*operands))
    return values[-1] if values else None


def _result(argument: str, values: Sequence[Any]) -> Any:
    """Return the result of an earlier step, named by its number; None if there is no such step."""
    number = argument.strip("#")
    return values[int(number)] if number.isdecimal() and int(number) < len(values) else None


def _executed(steps: list[tuple[str, str, str]] | None, table: Sequence[Sequence[str]]) -> Any:
    """Return the result of the last step: a number, "yes" or "no"; None without steps.

    Raises:
        ArithmeticError: The result isn't a number.
        KeyError: The table has no such row.
        TypeError: An argument is the result of a comparison.
        ValueError: An argument isn't a number.
    """
    rows = {line[0]: line[1:] for line in table}
    values: dict[int, Any] = {}
    row: list[float] = []
    for index, (name, first, second) in enumerate(steps or ()):
        if name in _OF_ROWS:
            # as in HELM, an operation on an earlier result reads the last row again
            row = (
                row
                if "#" in first
                else [_number(cell.replace("$", "").strip().split("(")[0].strip()) for cell in rows[first]]
            )
            values[index] = _OF_ROWS[name](row)
            continue
        operands = [
            values[int(argument.replace("#", ""))] if "#" in argument else _number(argument)
            for argument in (first, second)
        ]
        value = _ARITHMETIC[name](*operands)
        values[index] = ("no", "yes")[value] if name == "greater" else value
    return values[len(values) - 1] if values else None


def _number(text: str) -> float:
    """Return the number in a text such as 1,250 or 5% or const_m1.

    Raises:
        ValueError: The text isn't a number.
    """
    plain = text.replace(",", "")
    try:
        return float(plain)
    except ValueError:
        if "%" in plain:
            return float(plain.replace("%", "")) / 100.0
        if "const" in plain:
            constant = plain.replace("const_", "")
            return -1.0 if constant == "m1" else float(constant)
        raise
