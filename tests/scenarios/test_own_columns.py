"""A scenario's own columns collide with no column of helmframe, whatever their names."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings

import helmframe as hf
from helmframe._schema import SOURCE_PREFIX, TABLES
from helmframe.cli.check import check_specs
from helmframe.errors import ArgumentError, RepeatedKeyError, SpecError, UnknownNameError
from tests.renamed_columns import MEANT, Example, check, examples

NAMES = sorted({name for table in TABLES for name in table.schema} - MEANT)
QUESTIONS = pl.DataFrame({"q": ["Capital of France?", "2 + 2?"], "a": ["Paris", "4"]})

SPEC = """\
scenario: NAME
version: 1
description: Rows with a column of any name.
license: MIT
source: {rows: "{data}/own/test-*.parquet"}
columns: {q: VARCHAR, a: VARCHARMORE}
instances: |
  SELECT ROW AS row_index, 'test' AS split, q AS input, [{'text': a, 'correct': true}] AS "references", COLUMNS
  FROM rows
adapter: {method: generation}
decoding: {max_tokens: 5}
metrics: [exact_match, f1_score]
main: {metric: exact_match, split: test, mean: micro}
"""


def wrong(prompt: str) -> str:
    return "WRONG"


def spec(folder: Path, frame: pl.DataFrame, columns: Sequence[str], row: str = "file_row_number") -> Path:
    """Write the frame below `folder`, and a spec that selects these columns of it; `row` gives its row_index."""
    (folder / "own").mkdir(exist_ok=True)
    frame.with_row_index("file_row_number").write_parquet(folder / "own" / "test-0.parquet")
    path = folder / "own.yaml"
    listed = ", ".join(columns)
    more = f", {row}: INTEGER" if row in frame.columns else ""
    path.write_text(SPEC.replace("NAME", "own").replace("COLUMNS", listed).replace("ROW", row).replace("MORE", more))
    return path


def test_no_column_of_helmframe_has_the_prefix() -> None:
    assert not [name for table in TABLES for name in table.schema if name.startswith(SOURCE_PREFIX)]


@pytest.mark.parametrize("name", NAMES)
def test_a_column_of_any_name_changes_no_score(name: str) -> None:
    frame = QUESTIONS.with_columns(pl.col("a").alias(name))
    plan = hf.scenario(frame, input="q", references="a").perturb("lowercase")
    results = plan.generate(wrong).metrics("exact_match", "f1_score").score()
    assert results.table()["value"].to_list() == [0.0] * 4
    completions = results.completions.collect()
    assert completions["completion"].to_list() == ["WRONG"] * 4
    assert completions.filter(perturbation="original")[f"data_{name}"].to_list() == ["Paris", "4"]


@pytest.mark.parametrize("name", ["completion", "error", "cached", "prefix", "scenario", "subset", "blocks"])
def test_nor_does_one_of_a_specs_select(name: str, tmp_path: Path) -> None:
    path = spec(tmp_path, QUESTIONS, [f'a AS "{name}"'])
    results = hf.scenario(path, data=tmp_path).generate(wrong).score()
    assert results.table()["value"].to_list() == [0.0, 0.0]
    assert results.completions.collect()[f"data_{name}"].to_list() == ["Paris", "4"]


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(examples())
def test_columns_of_any_name_and_type_change_no_score(example: Example) -> None:
    check(example)


def test_a_completion_among_the_data_is_a_list() -> None:
    frame = QUESTIONS.with_columns(completion=pl.lit([1, 2], dtype=pl.List(pl.Int64)))
    assert hf.scenario(frame, input="q", references="a").generate(lambda prompt: "4").score().value() == 0.5


def test_conditions_name_columns_as_the_data_does() -> None:
    frame = QUESTIONS.with_columns(level=pl.Series([1, 2]), completion=pl.Series(["x", "y"]))
    plan = hf.scenario(frame, input="q", references="a")
    for condition in ("level = 2", "data_level = 2", pl.col("level") == 2, pl.col("data_level") == 2):
        assert plan.where(condition).instances().collect()["input"].to_list() == ["2 + 2?"]
    assert plan.where(completion="y").instances().collect()["input"].to_list() == ["2 + 2?"]


def test_a_condition_on_a_name_of_ours_means_ours() -> None:
    frame = QUESTIONS.with_columns(cluster=pl.Series(["x", "y"]), instance_id=pl.Series(["p", "q"]))
    plan = hf.scenario(frame, input="q", references="a")
    assert plan.where(instance_id="id1").instances().collect()["data_instance_id"].to_list() == ["q"]
    assert plan.where(data_instance_id="q").instances().collect()["instance_id"].to_list() == ["id1"]


def test_tables_are_grouped_by_the_name_in_the_data() -> None:
    frame = QUESTIONS.with_columns(topic=pl.Series(["facts", "sums"]), data_topic=pl.Series(["x", "x"]))
    results = hf.scenario(frame, input="q", references="a").generate(lambda prompt: "4").score()
    table = results.table("topic", metrics="exact_match")
    assert table.select("topic", "value").rows() == [("facts", 0.0), ("sums", 1.0)]
    assert results.table("data_topic", metrics="exact_match")["data_topic"].to_list() == ["x"]
    assert results.value("exact_match", topic="sums") == 1.0
    with pytest.raises(UnknownNameError, match="Did you mean 'topic'"):
        results.table("topc")


@pytest.mark.parametrize("name", ["value", "n", "stderr", "chance"])
def test_a_group_with_the_name_of_a_result_column_is_refused(name: str) -> None:
    frame = QUESTIONS.with_columns(pl.Series(name, ["x", "y"]))
    results = hf.scenario(frame, input="q", references="a").generate(lambda prompt: "4").score()
    with pytest.raises(ArgumentError, match=f"the table already has a column {name!r}. Write by='data_{name}'"):
        results.table(name, metrics="exact_match")
    table = results.table(f"data_{name}", metrics="exact_match")
    assert dict(table.select(f"data_{name}", "value").iter_rows()) == {"x": 0.0, "y": 1.0}


@pytest.mark.parametrize("name", ["weight", "size", "cell", "cells", "unit", "score", "total", "number", "metric_"])
def test_a_group_may_have_a_name_that_statistics_use_inside(name: str) -> None:
    rows = 12
    frame = pl.DataFrame({"q": [f"{row}?" for row in range(rows)], "a": [str(row % 2) for row in range(rows)]})
    groups = pl.Series([["x", "y", "z"][row % 3] for row in range(rows)])

    def table(column: str) -> pl.DataFrame:
        plan = hf.scenario(frame.with_columns(groups.alias(column)), input="q", references="a", name="t")
        results = plan.perturb("lowercase").generate(lambda prompt: "1").metrics("exact_match").score()
        by = column if column != "score" else "data_score"
        tables = [results.table(by), results.robustness(by)]
        return pl.concat(tables, how="diagonal_relaxed").rename({by: "group"})

    assert table(name).equals(table("plain"))


def test_metrics_read_columns_by_their_name_in_the_data() -> None:
    frame = QUESTIONS.with_columns(wanted=pl.Series(["WRONG", "4"]), output=pl.Series(["x", "y"]))

    def as_wanted(completion: str, wanted: str) -> float:
        return float(completion == wanted)

    plan = hf.scenario(frame, input="q", references="a").generate(wrong)
    equal = (pl.col("output") == pl.col("wanted")).alias("equal")
    results = plan.metrics(as_wanted, equal).score()
    assert results.scores.collect().sort("metric", "instance_id")["score"].to_list() == [1.0, 0.0, 1.0, 0.0]


def test_judges_and_adapters_name_them_so_too() -> None:
    frame = QUESTIONS.with_columns(hint=pl.Series(["think", "think"]), model=pl.Series(["m", "m"]))
    seen: list[str] = []

    def judge(prompt: str) -> str:
        seen.append(prompt)
        return "<reasoning>fine</reasoning>\n<score>1</score>"

    asks = hf.judge(judge, "Is {completion} as {hint} says?", scale=[0, 1], name="hinted")
    plan = hf.scenario(frame, input="q", references="a").adapt(instructions="Please {hint}.").generate(wrong)
    assert plan.requests().collect()["prompt"].str.starts_with("Please think.\n").all()
    assert plan.metrics(asks).score().value("hinted") == 1.0
    assert all("think" in prompt for prompt in seen)


def test_sql_and_exports_have_them_under_the_prefix(tmp_path: Path) -> None:
    frame = QUESTIONS.with_columns(completion=pl.Series(["x", "y"]))
    results = hf.scenario(frame, input="q", references="a").generate(wrong).score()
    query = "SELECT completion, data_completion FROM completions ORDER BY instance_id"
    assert results.sql(query).rows() == [("WRONG", "x"), ("WRONG", "y")]
    results.to_parquet(tmp_path / "out")
    loaded = hf.load(tmp_path / "out")
    assert loaded.completions.collect().sort("instance_id")["data_completion"].to_list() == ["x", "y"]
    assert loaded.rescore("exact_match").value() == 0.0


def test_a_repeated_row_index_is_refused(tmp_path: Path) -> None:
    frame = pl.DataFrame({"q": list("abcd"), "a": list("abcd"), "line": [0, 1, 1, 0]})
    path = spec(tmp_path, frame, ["q"], row="line")
    plan = hf.scenario(path, data=tmp_path).generate(wrong)
    for asked in (plan, plan.sample(2), plan.limit(1), plan.sample(2, order="helm")):
        with pytest.raises(RepeatedKeyError, match=r"row_index must be unique, but 2 values repeat: 0 \(2 rows\), 1"):
            asked.score()
    assert "row_index must be unique" in check_specs(path, data=str(tmp_path))["problem"][0]


def test_so_is_a_repeated_instance_id(tmp_path: Path) -> None:
    frame = pl.DataFrame({"q": list("abc"), "a": list("abc"), "name": ["x", "y", "x"]})
    path = spec(tmp_path, frame, ["name AS instance_id"])
    with pytest.raises(RepeatedKeyError, match=r"instance_id must be unique, but 1 values repeat: 'x' \(2 rows\)"):
        hf.scenario(path, data=tmp_path).generate(wrong).score()


def test_a_row_index_from_the_data_in_any_order_is_right(tmp_path: Path) -> None:
    frame = pl.DataFrame({"q": list("abcd"), "a": list("abcd"), "line": [7, 3, 5, 1]})
    path = spec(tmp_path, frame, ["q"], row="line")
    assert check_specs(path, data=str(tmp_path))["problem"].to_list() == [None]
    plan = hf.scenario(path, data=tmp_path)
    assert plan.sample(2).instances().collect().height == 2
    assert plan.instances().collect()["row_index"].to_list() == [7, 3, 5, 1]


@pytest.mark.parametrize("sql", ["INTERVAL 1 DAY", "[INTERVAL 1 DAY]", "union_value(number := 2)", "row(1, 2)"])
def test_an_unsupported_column_type_raises(sql: str, tmp_path: Path) -> None:
    path = spec(tmp_path, QUESTIONS, [f"{sql} AS odd"])
    with pytest.raises(SpecError, match=r"column 'odd' has the unsupported type .*\. Write \"odd\"::VARCHAR"):
        hf.scenario(path, data=tmp_path).instances()


def test_a_nested_input_is_refused(tmp_path: Path) -> None:
    path = spec(tmp_path, QUESTIONS, ["a AS answer"])
    path.write_text(path.read_text().replace("q AS input", "[q] AS input"))
    with pytest.raises(SpecError, match="input must be text, not VARCHAR\\[\\]"):
        hf.scenario(path, data=tmp_path).instances()
