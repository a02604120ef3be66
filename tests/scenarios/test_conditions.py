"""Conditions as SQL: what a user writes stays in its place."""

from pathlib import Path

import polars as pl
import pytest

from helmframe._core.specs import Between, Condition, Equals, Sql
from helmframe.errors import ArgumentError
from helmframe.scenarios.catalogue import find_scenario
from helmframe.scenarios.frames import frame_scenario
from helmframe.scenarios.load import load
from helmframe.scenarios.validation import check_where

NUMBERS = frame_scenario(
    pl.DataFrame({"input": ["one", "two", "it's"], "references": ["1", "2", "3"], "n": [1, 2, None]}), name="numbers"
)


def found(condition: Condition) -> list[str]:
    return pl.concat(load(NUMBERS, where=[condition]))["input"].to_list()


def refusal(text: str) -> str:
    with pytest.raises(ArgumentError) as caught:
        check_where(NUMBERS, [Sql(text)])
    return str(caught.value)


@pytest.mark.parametrize(
    ("condition", "inputs"),
    [
        (Sql("n = 1"), ["one"]),
        (Sql("n = 1 OR n = 2"), ["one", "two"]),
        (Sql("n = 1 -- the first"), ["one"]),
        (Sql("n = 1 /* the first */"), ["one"]),
        (Sql("\"input\" = 'it''s'"), ["it's"]),
        (Sql("input = ';'  OR n = 2"), ["two"]),
        (Sql("n IN (SELECT max(n) FROM instances)"), ["two"]),
        (Equals("input", ("it's",)), ["it's"]),
        (Equals("n", (None,)), ["it's"]),
        (Equals("n", (None, 2)), ["two", "it's"]),
        (Between("n", 2, 3), ["two"]),
    ],
)
def test_a_condition_leaves_what_it_says(condition: Condition, inputs: list[str]) -> None:
    assert found(condition) == inputs


@pytest.mark.parametrize(
    "text",
    [
        "n = 1) OR (n = 2",
        "n = 1) OR TRUE --",
        "n = 1; DROP VIEW instances",
        "n = 1); DROP VIEW instances; SELECT (1 = 1",
        "n = 1; SELECT 1",
        "n = 1;",
        "n = 1 /* unfinished",
        "n = 1 LIMIT 1",
        "n = 1 ORDER BY n",
        "n = 1 FROM instances",
        "TRUE UNION SELECT TRUE",
        "SELECT TRUE",
        "DISTINCT n = 1",
        "n = 1 AS one",
        "n = 1, n = 2",
        "n = ?",
        "n = $1",
        "count(*) > 1",
        "'unfinished",
        "-- nothing",
        "",
    ],
)
def test_what_is_not_one_condition_is_refused(text: str) -> None:
    assert refusal(text).startswith(f"where({text!r}): ")


@pytest.mark.parametrize(("text", "kind"), [("n", "BIGINT"), ("input", "VARCHAR"), ("(n = 1, TRUE)", "")])
def test_what_is_neither_true_nor_false_is_refused(text: str, kind: str) -> None:
    assert f"it must be true or false for each instance, not {kind}" in refusal(text)


def test_several_statements_are_refused_before_any_is_run() -> None:
    refusal("n = 1); CREATE TABLE instances_2 AS SELECT 1; SELECT (1 = 1")
    assert found(Sql("n = 1")) == ["one"]


def test_a_refusal_names_the_columns() -> None:
    message = refusal("m = 1")
    assert 'invalid SQL condition: Referenced column "m" not found in FROM clause.' in message
    assert message.endswith(
        "\nColumns: n, row_index, split, input, references, … (8 in all). plan.instances() has all."
    )


def test_a_range_without_an_end_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"where\(n=None\): column 'n' .* has type BIGINT"):
        check_where(NUMBERS, [Between("n", None, 2)])


def test_a_range_over_a_column_that_no_path_says_prunes_no_file(tmp_path: Path) -> None:
    # as text, 102 would come before 39
    (tmp_path / "counted.yaml").write_text(
        f"""
scenario: counted
version: 1
description: Two hundred rows.
source: {{rows: "{tmp_path}/rows.parquet"}}
columns: {{input: VARCHAR}}
splits: {{test: test}}
instances: |
  SELECT row_index, 'test' AS split, input, [{{'text': 'a', 'correct': true}}] AS "references" FROM rows
adapter: {{method: generation}}
metrics: [exact_match]
main: {{metric: exact_match, split: test}}
"""
    )
    pl.DataFrame({"input": [f"q{n}" for n in range(200)]}).write_parquet(tmp_path / "rows.parquet")
    spec = find_scenario(str(tmp_path / "counted.yaml"))
    assert pl.concat(load(spec, where=[Between("row_index", 39, 102)])).height == 64
