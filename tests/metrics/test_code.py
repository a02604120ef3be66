"""The metrics of programs: which program is run, when it may be, and pass@k."""

import base64
import json
import pickle
import sqlite3
import zlib
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest

import helmframe as hf
from helmframe.errors import SandboxError
from helmframe.metrics import code
from helmframe.metrics.code import pass_at_k, program_of
from helmframe.metrics.score import score
from tests.frames import completions, right, scored

PROMPT = 'def add(a, b):\n    """The sum."""\n'
CHECK = "def check(candidate):\n    assert candidate(2, 3) == 5\n"


@pytest.mark.parametrize(
    ("completion", "entry_point", "program"),
    [
        ("    return a + b\n", "add", f"{PROMPT}    return a + b\n"),
        (
            "```python\ndef add(a, b):\n    return a + b\n```",
            "add",
            f"{PROMPT}    ...\n\ndef add(a, b):\n    return a + b\n",
        ),
        ("Sure:\n```\n    return a + b\n```\nDone.", "add", f"{PROMPT}    return a + b\n"),
        ("```py\ndef add(a, b):\n    return a", "add", f"{PROMPT}    ...\n\ndef add(a, b):\n    return a"),
        ("```\nx = 1\n```\n```\ndef add(): 0\n```", "add", f"{PROMPT}    ...\n\ndef add(): 0\n"),
        ("def adder(): 0", "add", f"{PROMPT}def adder(): 0"),
        ("def add(a, b): return 1", "", "def add(a, b): return 1"),
        ("Here:\n```python\ndef add(a, b): return 1\n```\nor\n```sh\nls\n```", "", "def add(a, b): return 1\n"),
    ],
)
def test_the_program_of_a_completion(completion: str, entry_point: str, program: str) -> None:
    assert program_of(PROMPT if entry_point else "Write add.", completion, entry_point) == program


@pytest.mark.parametrize(
    ("scores", "k", "value"),
    [
        ([1, 1, 0, 0, 0], 1, 0.4),
        ([1, 1, 0, 0, 0], 2, 0.7),
        ([1, 1, 0, 0, 0], 4, 1.0),
        ([0, 0], 2, 0.0),
        ([1], 1, 1.0),
        ([1], 2, None),
        ([1, None], 1, None),
    ],
)
def test_pass_at_k_is_unbiased(scores: list[float | None], k: int, value: float | None) -> None:
    assert pass_at_k(scores, k=k) == (None if value is None else pytest.approx(value))


def test_the_scores_of_an_instances_outputs_and_pass_at_k() -> None:
    hf.configure(allow_code=True)
    bodies = ["    return a + b\n", "    return a\n", "    return b + a\n", None]
    frame = completions(
        bodies, [right("x")] * 4, instance_id=["i", "i", "i", "j"], output_index=[0, 1, 2, 0], input=PROMPT, test=CHECK,
        entry_point="add", error=[None, None, None, "timeout"],
    )  # fmt: skip
    frame = frame.with_columns(input=pl.lit(PROMPT))
    scores = score(frame.lazy(), ["pass", "pass@2"]).collect()
    assert scores.filter(pl.col("metric") == "pass")["score"].to_list() == [1.0, 0.0, 1.0, None]
    at_2 = scores.filter(pl.col("metric") == "pass@2")
    assert at_2.filter(pl.col("instance_id") == "i")["score"].to_list() == [1.0]
    assert at_2.filter(pl.col("instance_id") == "j")["score"].to_list() == [None]


def test_mbpp_asserts_and_apps_cases() -> None:
    hf.configure(allow_code=True)
    cases = json.dumps({"inputs": ["1 2\n", "3 4\n"], "outputs": ["3\n", "7\n"]})
    script = "```python\na, b = map(int, input().split())\nprint(a + b)\n```"
    frame = completions([script, "print(3)"], [right("x")] * 2, input_output=cases)
    scores = score(frame.lazy(), ["test_avg", "strict_acc"]).collect()
    assert scores["score"].to_list() == [1.0, 0.5, 1.0, 0.0]
    called = json.dumps({"fn_name": "add", "inputs": [[1, 2], [3, 4]], "outputs": [3, [7]]})
    method = "class Solution:\n    def add(self, a, b):\n        return a + b\n"
    frame = completions([method, "def add(a, b): return 3"], [right("x")] * 2, input_output=called)
    assert score(frame.lazy(), ["test_avg"]).collect()["score"].to_list() == [1.0, 0.5]
    frame = completions(["def add(a, b): return a + b"], [right("x")], test="assert add(1, 2) == 3", entry_point=None)
    frame = frame.with_columns(entry_point=pl.lit(None, dtype=pl.String))
    assert score(frame.lazy(), ["pass"]).collect()["score"].to_list() == [1.0]


def test_pass_needs_no_column_entry_point() -> None:
    hf.configure(allow_code=True)
    tests = ["assert add(1, 2) == 3", "assert sum(1, 2) == 3"]
    rows = pl.DataFrame({"input": ["Write add.", "Write sum."], "references": [["x"]] * 2, "test": tests})
    results = hf.scenario(rows).metrics("pass", "pass@1").generate(lambda _: "def add(a, b): return a + b").score()
    assert results.value("pass") == 0.5
    assert results.value("pass@1") == 0.5


@pytest.mark.parametrize(
    ("function", "outputs", "share"),
    [
        ("inf = 7\ndef made(n): return 7", "[Infinity]", 0.0),
        ("inf = 7\ndef made(n): return 7", "[1e400]", 0.0),
        ("nan = 7\ndef made(n): return 7", "[NaN]", 0.0),
        ("def made(n): return float('inf')", "[Infinity]", 1.0),
        ("print(7)", "[Infinity]", 0.0),
        ("class Solution:\n    def made(self, n: List[int]): return 7", "[7]", 1.0),
    ],
)
def test_an_apps_case_compares_values_not_source(function: str, outputs: str, share: float) -> None:
    hf.configure(allow_code=True)
    named = '"fn_name": "made", ' if "made" in function else ""
    frame = completions([function], [right("x")], input_output=f'{{{named}"inputs": [[1]], "outputs": {outputs}}}')
    scores = score(frame.lazy(), ["test_avg", "strict_acc"]).collect()
    assert scores["score"].to_list() == [share, share]


@pytest.mark.parametrize(
    "cases",
    ["", "{", "[]", "{}", '{"inputs": [], "outputs": []}', '{"inputs": [1], "outputs": []}',
     '{"inputs": "1", "outputs": "1"}', '{"inputs": [1], "outputs": [' + "9" * 5000 + "]}", "[" * 100_000],
)  # fmt: skip
def test_invalid_apps_cases_have_no_score(cases: str) -> None:
    hf.configure(allow_code=True)
    frame = completions(["print(1)"], [right("x")], input_output=cases)
    scores = score(frame.lazy(), ["test_avg", "strict_acc"]).collect()
    assert scores["score"].to_list() == [None, None]
    assert set(scores["reason"]) == {"input_output isn't JSON with the same number of inputs and outputs"}


def test_no_request_is_sent_before_code_is_allowed() -> None:
    asked = []

    def model(prompt: str) -> str:
        asked.append(prompt)
        return "    return a + b\n"

    rows = pl.DataFrame({"input": [PROMPT], "references": [["x"]], "test": [CHECK], "entry_point": ["add"]})
    plan = hf.scenario(rows).adapt(shots=0, input_prefix="", input_suffix="", output_prefix="").metrics("pass")
    with pytest.raises(SandboxError, match="allow_code"):
        plan.generate(model).score()
    assert asked == []
    hf.configure(allow_code=True)
    results = plan.generate(model).score()
    assert results.value("pass") == 1.0
    hf.configure(allow_code=False)
    with pytest.raises(SandboxError, match="allow_code"):
        results.rescore("pass@1")


EVAL_PLUS = """
import numpy as np

def is_floats(x):
    return isinstance(x, float) or isinstance(x, (list, tuple)) and all(isinstance(i, float) for i in x)

def assertion(out, exp, atol):
    if isinstance(exp, np.ndarray) or atol == 0 and is_floats(exp):
        atol = 1e-6
    if out != exp and atol != 0:
        assert np.allclose(out, exp, rtol=1e-07, atol=atol)
    else:
        assert out == exp

for given, wanted in zip([[2.0], [[1.0, 2.0]]], [0.6666666, [0.3333333, 0.6666666]]):
    assertion(third(*given), wanted, 0)
"""


def test_eval_plus_compares_floats_without_numpy() -> None:
    hf.configure(allow_code=True)
    right_program = "def third(x):\n    return [i / 3 for i in x] if isinstance(x, list) else x / 3\n"
    wrong_program = "def third(x):\n    return [0.0, 0.0] if isinstance(x, list) else x / 3\n"
    frame = completions([right_program, wrong_program], [right("x")] * 2, test=EVAL_PLUS)
    assert score(frame.lazy(), ["pass"]).collect()["score"].to_list() == [1.0, 0.0]


def packed(cases: list[dict[str, str]]) -> str:
    """The test cases as LiveCodeBench stores private ones."""
    return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(cases)))).decode()


def live_scores(programs: list[str], public: str, private: str, metadata: str = "{}") -> list[float]:
    hf.configure(allow_code=True)
    columns = {"public_test_cases": public, "private_test_cases": private, "metadata": metadata}
    frame = completions(programs, [right("x")] * len(programs), **columns)
    return score(frame.lazy(), ["live_code_bench_pass"]).collect()["score"].to_list()


def test_live_code_bench_runs_scripts_on_public_and_private_cases() -> None:
    add = "```python\na, b = map(int, input().split())\nprint(a + b)\n```"
    by_value = "Like this:\n```python\nfrom collections import *\nprint(f'{sum(map(int, input().split()))}.0')\n```"
    no_block = "a, b = map(int, input().split())\nprint(a + b)"
    public = json.dumps([{"input": "1 2\n", "output": "3\n", "testtype": "stdin"}])
    private = packed([{"input": "2 2", "output": "4", "testtype": "stdin"}])
    wrong = ["```\nprint(3)\n```", "```\nprint('sNaN')\n```"]
    assert live_scores([add, by_value, no_block, *wrong], public, private) == [1.0, 1.0, 0.0, 0.0, 0.0]


def test_live_code_bench_calls_methods() -> None:
    method = "```python\nclass Solution:\n    def pair(self, n: int, m: int) -> List[int]:\n        return (n, m)\n```"
    name_of_value = "```python\ninf = 7\ndef pair(n, m): return [n, m]\n```"
    other_method = "```python\nclass Solution:\n    def add(self, n, m): return n - m\n```"
    added = json.dumps([{"input": "1\n2", "output": "3", "testtype": "functional"}])
    assert live_scores([other_method], added, "[]", json.dumps({"func_name": "add"})) == [0.0]
    public = json.dumps([{"input": "1\n2", "output": "[1, 2]", "testtype": "functional"}])
    metadata = json.dumps({"func_name": "pair"})
    assert live_scores([method, name_of_value], public, "[]", metadata) == [1.0, 1.0]
    infinite = json.dumps([{"input": "1\n2", "output": "Infinity", "testtype": "functional"}])
    assert live_scores(["```\ninf = 7\ndef pair(n, m): return 7\n```"], infinite, "[]", metadata) == [0.0]


class Opened:
    def __reduce__(self) -> tuple[object, ...]:
        return (open, ("never",))


@pytest.mark.parametrize(
    "private",
    [
        "not JSON",
        "[]",
        base64.b64encode(zlib.compress(pickle.dumps(Opened()))).decode(),
        base64.b64encode(zlib.compress(b"")).decode(),
        packed([])[:-8],
        json.dumps([{"input": "1"}]),
        json.dumps([{"input": 1, "output": "1"}]),
        base64.b64encode(zlib.compress(b"\x80\x04h\x00.")).decode(),
        json.dumps({"input": "1"}),
    ],
)
def test_live_code_bench_has_no_score_for_invalid_cases(private: str) -> None:
    assert live_scores(["```\nprint(1)\n```"], "[]", private) == [None]


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        ("```python\nimport pandas\ndef task_func(x):\n    return x\n```", 1.0),
        ("def task_func(x): return x", 1.0),
        ("```python\ndef other(x): return x\n```", 0.0),
        ("```python\ndef task_func(x):\n```", 0.0),
        ("def task_func(x): return " + "(" * 5000, 0.0),
        ("I can't.", 0.0),
    ],
)
def test_a_completion_can_define_the_function(completion: str, expected: float) -> None:
    frame = completions([completion], [right("x")], entry_point="task_func")
    assert score(frame.lazy(), ["defines_function"]).collect()["score"].to_list() == [expected]


@pytest.mark.parametrize(
    ("program", "reference", "expected"),
    [
        ("add(3, 2)", "add(2, 3)", 1.0),
        ("add(2, 4)", "add(2, 3)", 0.0),
        ("subtract(2, 3)", "subtract(3, 2)", 0.0),
        ("divide(1, 2), divide(1, 2), add(#0, #1)", "divide(1, 2), add(#0, #0)", 1.0),
        ("table_max(sales, none)", "table_max(sales, none)", 1.0),
        ("table_max(costs, none)", "table_max(sales, none)", 0.0),
        ("add(2, 3), subtract(#1, 2)", "add(2, 3)", 0.0),  # no earlier step
        ("add(2, 3), subtract(#0", "add(2, 3)", 1.0),  # an incomplete step is ignored
        ("import os", "add(2, 3)", 0.0),
        ("", "add(2, 3)", 0.0),
        ("greater(2, 3)", "greater(2, 3)", 1.0),
    ],
)
def test_programs_are_equal_as_expressions(program: str, reference: str, expected: float) -> None:
    assert scored([program], [right(reference)], "program_accuracy") == [expected]


@pytest.mark.parametrize(
    ("program", "executed", "expected"),
    [
        ("add(2, 3)", "5.0", 1.0),
        ("divide(1, 3)", "0.33333", 1.0),
        ("divide(1, 0)", "0.0", 0.0),
        ("add(1,000, 5%)", "1000.05", 1.0),
        ("multiply(50%, const_100)", "50.0", 1.0),
        ("add(const_m1, 2)", "1.0", 1.0),
        ("greater(2, 1)", "yes", 1.0),
        ("greater(2, 1), add(#0, 1)", "2.0", 0.0),
        ("table_sum(sales, none)", "5.5", 1.0),
        ("table_average(sales, none), subtract(#0, 1)", "1.75", 1.0),
        ("table_max(words, none)", "1.0", 0.0),
        ("exp(10, 1000)", "1.0", 0.0),
        ("add(#-1, 1)", "1.0", 0.0),
        ("__import__('os')", "1.0", 0.0),
    ],
)
def test_programs_are_executed(program: str, executed: str, expected: float) -> None:
    cells = json.dumps([["", "2006", "2007"], ["sales", "$ 1,000.5 ( 2 )", "-995"], ["words", "a", "b"]])
    columns = {"executed": [executed], "cells": [cells]}
    assert scored([program], [right("x")], "execution_accuracy", **columns) == [expected]


@pytest.fixture
def patients(tmp_path: Path) -> Path:
    path = tmp_path / "patients.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("CREATE TABLE p (id INT, age INT); INSERT INTO p VALUES (1, 30), (2, 40);")
    return path


@pytest.mark.parametrize(
    ("completion", "gold", "value", "expected"),
    [
        ("SELECT age FROM p", "SELECT age FROM p ORDER BY id DESC", "{}", 1.0),
        ("```sql\nSELECT age FROM p\n```", "SELECT age FROM p", "{}", 1.0),
        ("<sql>SELECT age FROM p</sql>", "SELECT age FROM p", "{}", 1.0),
        ("SELECT id FROM p", "SELECT age FROM p", "{}", 0.0),
        ("SELECT age FROM nowhere", "SELECT age FROM p", "{}", 0.0),
        ("", "null", "{}", 1.0),
        ("SELECT 1", "null", "{}", 0.0),
        ("", "SELECT age FROM p WHERE id = 9", '{"a": 1}', 0.0),
        ("DELETE FROM p", "SELECT age FROM p", "{}", 0.0),
        ("ATTACH '/etc/hosts' AS x", "SELECT age FROM p", "{}", 0.0),
        ("SELECT length(zeroblob(100000000))", "SELECT age FROM p", "{}", 0.0),
    ],
)
def test_queries_are_compared_by_their_rows(
    completion: str, gold: str, value: str, expected: float, patients: Path
) -> None:
    name = f"ehr_sql_execution_accuracy(database={str(patients)!r})"
    assert scored([completion], [right(gold)], name, value=[value]) == [expected]
    with closing(sqlite3.connect(patients)) as connection:
        assert connection.execute("SELECT count(*) FROM p").fetchone() == (2,)


def test_a_query_that_does_not_end_is_stopped(patients: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code, "_QUERY_SECONDS", 0.1)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    name = f"ehr_sql_execution_accuracy(database={str(patients)!r})"
    assert scored([endless], [right("SELECT age FROM p")], name, value=["{}"]) == [0.0]


@pytest.mark.parametrize(
    ("completion", "gold", "is_impossible", "expected"),
    [("SELECT 1", "SELECT 2", False, 1.0), ("SELECT 1", "null", True, 0.0), (" ", "SELECT 2", False, 0.0)],
)
def test_answerable_questions_with_a_query(completion: str, gold: str, is_impossible: bool, expected: float) -> None:
    for name in ("ehr_sql_precision_answerable", "ehr_sql_recall_answerable"):
        assert scored([completion], [right(gold)], name, is_impossible=[is_impossible]) == [expected]
