"""Conditions are checked when a plan is built, against columns and values that are cached once they are found."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe._core import yaml as yaml_module
from helmframe._core.specs import Between, Condition, Equals, Expression, ScenarioSpec, Sql
from helmframe.errors import ArgumentError
from helmframe.scenarios import catalogue, generated, query, validation
from helmframe.scenarios.catalogue import find_scenario
from helmframe.scenarios.frames import frame_scenario
from helmframe.scenarios.generated import GENERATED, Generator
from helmframe.scenarios.validation import check_where, values
from tests.scenarios.own_scenario import write

SKY = Equals("topic", ("sky",))


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The scenarios whose sources a check opens."""
    names: list[str] = []
    open_query = query.open_query

    def counted(spec: ScenarioSpec, *args: Any, **kwargs: Any) -> Any:
        names.append(spec.scenario)
        return open_query(spec, *args, **kwargs)

    monkeypatch.setattr(validation, "open_query", counted)
    return names


def test_the_values_of_a_column_of_the_path_need_no_file_opened(own: ScenarioSpec, tmp_path: Path) -> None:
    (tmp_path / "own" / "sums" / "test-0.parquet").write_bytes(b"broken")
    assert values(own, "topic") == ["sky", "sums"]


def test_the_values_of_another_column_are_its_distinct_ones(own: ScenarioSpec) -> None:
    assert values(own, "a") == [0, 1, 2]


def test_an_unknown_column_is_refused_with_near_ones(own: ScenarioSpec) -> None:
    with pytest.raises(ArgumentError, match=r"has no column 'topics'. Did you mean 'topic'"):
        check_where(own, [Equals("topics", ("sky",))])


def test_an_unknown_value_of_the_path_is_refused_with_near_ones(own: ScenarioSpec) -> None:
    with pytest.raises(ArgumentError, match=r"where\(topic='sum'\) matches no instance .* Did you mean 'sums'"):
        check_where(own, [Equals("topic", ("sky", "sum"))])


def test_a_value_of_the_wrong_type_is_refused(own: ScenarioSpec) -> None:
    with pytest.raises(ArgumentError, match="column 'a' of scenario 'own' has type BIGINT"):
        check_where(own, [Equals("a", ("two",))])


def test_sql_that_duckdb_refuses_is_refused_with_its_words(own: ScenarioSpec) -> None:
    with pytest.raises(ArgumentError, match="inpt"):
        check_where(own, [Sql("length(inpt) < 9")])


def test_an_expression_over_an_unknown_column_is_refused(own: ScenarioSpec) -> None:
    with pytest.raises(ArgumentError, match=r"has no column 'inpt'. Did you mean 'input'"):
        check_where(own, [Expression.of(pl.col("inpt") == "x")])


def test_conditions_that_are_right_pass_the_check(own: ScenarioSpec) -> None:
    check_where(own, [Equals("topic", ("sky",)), Between("a", 0, 9), Sql("a < 3"), Expression.of(pl.col("a") < 3)])


def test_conditions_are_not_refused_while_the_source_cannot_be_reached(own: ScenarioSpec) -> None:
    check_where(own, [Equals("topics", ("sky",))], data="/nowhere/at/all")


def test_a_condition_that_passed_is_not_checked_in_the_source_again(own: ScenarioSpec, opened: list[str]) -> None:
    conditions: list[Condition] = [
        SKY, Between("a", 0, 9), Equals("a", (1,)), Sql("a < 3"), Expression.of(pl.col("a") < 3)
    ]  # fmt: skip
    check_where(own, conditions)
    check_where(own, conditions)
    assert opened == ["own"]


@pytest.mark.parametrize(
    "condition",
    [
        Equals("topic", ("sums", "sky")),
        Equals("subset", ("sky",)),
        Equals("input", ("any text",)),
        Between("input", "a", "b"),
        Expression.of(pl.col("a") + pl.col("input").str.len_chars() < 3),
    ],
    ids=lambda condition: type(condition).__name__,
)
def test_columns_and_values_found_once_need_no_source(
    condition: Condition, own: ScenarioSpec, opened: list[str]
) -> None:
    check_where(own, [SKY, Equals("subset", ("sums",))])
    check_where(own, [condition])
    assert opened == ["own"]


@pytest.mark.parametrize(
    "condition",
    [
        Equals("topics", ("sky",)),
        Equals("topic", ("sky", "sum")),
        Equals("topic", (None,)),
        Equals("a", ("two",)),
        Between("a", None, 2),
        Sql("length(inpt) < 9"),
        Expression.of(pl.col("inpt") == "x"),
    ],
    ids=lambda condition: type(condition).__name__,
)
def test_an_error_is_the_same_before_and_after_a_check_that_passed(condition: Condition, own: ScenarioSpec) -> None:
    with pytest.raises(ArgumentError) as before:
        check_where(own, [condition])
    check_where(own, [SKY, Equals("a", (2,)), Sql("a < 3")])
    with pytest.raises(ArgumentError) as after:
        check_where(own, [condition])
    assert str(after.value) == str(before.value)


def test_a_value_that_was_added_since_is_found(own: ScenarioSpec, tmp_path: Path) -> None:
    check_where(own, [SKY])
    write(tmp_path, "stars/test-0", ["x0"])
    check_where(own, [Equals("topic", ("stars",))])


def test_a_column_that_was_added_since_is_found(own: ScenarioSpec, tmp_path: Path) -> None:
    check_where(own, [SKY])
    for file in (tmp_path / "own").rglob("*.parquet"):
        pl.read_parquet(file).with_columns(level=pl.lit("easy")).write_parquet(file)
    spec = find_scenario(tmp_path / "own.yaml")
    check_where(spec, [Equals("topic", ("sums",))])
    with pytest.raises(ArgumentError, match="level"):
        check_where(spec, [Equals("level", ("easy",))])
    text = (tmp_path / "own.yaml").read_text().replace("q AS input, a,", "q AS input, a, level,")
    (tmp_path / "own.yaml").write_text(text)
    check_where(find_scenario(tmp_path / "own.yaml"), [Equals("level", ("easy",))])


def test_another_root_is_checked_by_itself(own: ScenarioSpec, tmp_path: Path) -> None:
    check_where(own, [Equals("topic", ("sums",))])
    write(tmp_path / "other", "sky/test-0", ["s0"])
    with pytest.raises(ArgumentError, match="'sums'"):
        check_where(own, [Equals("topic", ("sums",))], data=str(tmp_path / "other"))


def test_a_source_that_can_be_reached_later_is_checked_then(own: ScenarioSpec, tmp_path: Path) -> None:
    later = tmp_path / "later"
    check_where(own, [Equals("topics", ("sky",))], data=str(later))
    write(later, "sky/test-0", ["s0"])
    with pytest.raises(ArgumentError, match="topics"):
        check_where(own, [Equals("topics", ("sky",))], data=str(later))


def test_the_cache_does_not_hold_the_rows_of_a_frame() -> None:
    frame = pl.DataFrame({"input": ["a", "b"], "references": ["x", "y"], "level": [1, 2], "kind": ["p", "q"]})
    spec = frame_scenario(frame, subset="kind")
    check_where(spec, [Equals("kind", ("p",)), Equals("level", (1,))])
    assert validation._facts(spec, None).values == {"kind": {"p", "q"}}
    changed = frame_scenario(frame.with_columns(kind=pl.lit("r")), subset="kind", name=spec.scenario)
    with pytest.raises(ArgumentError, match="'p'"):
        check_where(changed, [Equals("kind", ("p",))])


@pytest.fixture
def unmade(monkeypatch: pytest.MonkeyPatch) -> None:
    """No generator may make rows."""

    def refuse(subset: str) -> list[dict[str, str]]:
        raise AssertionError(f"rows of {subset} were made")

    unusable = {name: Generator(entry.column, entry.subsets, refuse) for name, entry in GENERATED.items()}
    monkeypatch.setattr(generated, "GENERATED", unusable)
    generated._subset_rows.cache_clear()


@pytest.mark.usefixtures("unmade")
@pytest.mark.parametrize("name", GENERATED)
def test_a_plan_of_a_generated_scenario_makes_no_rows(name: str) -> None:
    column, subsets = GENERATED[name][:2]
    plan = hf.scenario(name).where(**{column: list(subsets[:2])}).where("length(input) > 3")
    plan = plan.where(pl.col("input").str.len_chars() > 3, subset=subsets[0]).sample(5)
    assert plan == plan.where()


@pytest.mark.usefixtures("unmade")
def test_conditions_on_a_generated_scenario_are_checked_without_its_rows() -> None:
    plan = hf.scenario("synthetic_reasoning")
    with pytest.raises(
        ArgumentError, match=r"where\(mode='inductio'\) matches no instance .* Did you mean 'induction'"
    ):
        plan.where(mode="inductio")
    with pytest.raises(ArgumentError, match=r"has no column 'modes'. Did you mean 'mode'"):
        plan.where(modes="induction")
    with pytest.raises(ArgumentError, match="inpt"):
        plan.where("length(inpt) < 9")


@pytest.mark.parametrize("conditions", [{"subject": "\ud800"}, {"subject": ["music", "a\udced"]}])
def test_half_of_a_surrogate_pair_is_refused(conditions: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match="half of a surrogate pair"):
        hf.scenario("sampler").where(**conditions)
    with pytest.raises(ArgumentError, match="half of a surrogate pair"):
        hf.scenario("sampler").where("subject = '\ud800'")


def test_the_rows_of_a_generated_scenario_are_made_when_they_are_read() -> None:
    plan = hf.scenario("numeracy").where(relation_type="plane").limit(2)
    assert plan.instances().collect()["data_relation_type"].to_list() == ["plane", "plane"]


@pytest.mark.shared
@pytest.mark.parametrize("entry", ["mmlu:subject=anatomy", "boolq", "synthetic_reasoning:mode=induction"])
def test_a_run_entry_reads_few_files_after_the_first(entry: str, shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELMFRAME_DATA", str(shared / "scenarios"))
    hf.entry(entry)
    files: list[str] = []
    read = yaml_module.read_spec_text

    def counted(path: Path, name: str, *limit: int) -> str:
        files.append(name)
        return read(path, name, *limit)

    monkeypatch.setattr(yaml_module, "read_spec_text", counted)
    monkeypatch.setattr(catalogue, "read_spec_text", counted)
    hf.entry(entry)
    assert len(files) <= 3, files
