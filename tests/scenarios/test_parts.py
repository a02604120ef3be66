"""What a spec means by default, files with different columns, and parts that no path says."""

from pathlib import Path

import polars as pl
import pytest

import helmframe as hf
from helmframe.scenarios.load import count, load, load_train, values
from helmframe.scenarios.spec_file import load_scenario
from helmframe.specs import Equals, Expression, ScenarioSpec, Sql

GROUPS = """\
scenario: groups
version: 1
source: {rows: "{data}/groups/{split}-*.parquet"}
columns: {q: VARCHAR, old: BOOLEAN}
splits: {train: train, test: test}
part: [group]
default: {group: all}
instances: |
  SELECT row_index, split, unnest(['all', CASE WHEN old THEN 'old' ELSE 'young' END]) AS "group", q AS input,
         [{'text': q, 'correct': true}] AS "references"
  FROM rows
metrics: [exact_match]
main: {metric: exact_match}
"""
UNION = """\
scenario: mixed
version: 1
source: {rows: "{data}/mixed/{kind}/{split}-*.parquet"}
union: true
columns: {word: VARCHAR, number: BIGINT}
splits: {test: test}
part: [kind]
instances: |
  SELECT row_index, split, kind, coalesce(word, number::VARCHAR) AS input,
         [{'text': 'x', 'correct': true}] AS "references"
  FROM rows
metrics: [exact_match]
main: {metric: exact_match}
"""


def spec(folder: Path, text: str) -> ScenarioSpec:
    file = folder / "spec.yaml"
    file.write_text(text)
    return load_scenario(file)


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ScenarioSpec:
    monkeypatch.setenv("HELMFRAME_DATA", str(tmp_path))
    (tmp_path / "groups").mkdir()
    for split, old in (("train", [True, False]), ("test", [True, True, False])):
        frame = pl.DataFrame({"q": [f"{split}{place}" for place in range(len(old))], "old": old})
        frame.write_parquet(tmp_path / "groups" / f"{split}-0.parquet")
    return spec(tmp_path, GROUPS)


def ids(found: ScenarioSpec, *where: Equals | Sql | Expression) -> list[str]:
    return pl.concat(load(found, where=where))["instance_id"].to_list()


def test_a_part_that_no_path_says_is_numbered_over_all_rows(groups: ScenarioSpec) -> None:
    assert ids(groups, Equals("group", ("old",))) == ["old/id2", "old/id3"]


def test_without_a_word_on_the_part_the_default_is_meant(groups: ScenarioSpec) -> None:
    assert ids(groups) == ["all/id2", "all/id3", "all/id4"]
    assert load_train(groups)["part"].to_list() == ["all", "all"]
    assert count(groups)["n"].to_list() == [3]


@pytest.mark.parametrize(
    "condition",
    [
        Equals("group", ("young",)),
        Equals("part", ("young",)),
        Sql("\"group\" = 'young'"),
        Expression.of(pl.col("group") == "young"),
    ],
)
def test_any_word_on_the_part_is_meant_instead(groups: ScenarioSpec, condition: Equals | Sql | Expression) -> None:
    assert ids(groups, condition) == ["young/id4"]


def test_all_its_values_are_known_beside_the_default(groups: ScenarioSpec) -> None:
    assert values(groups, "group") == ["all", "old", "young"]


@pytest.fixture
def mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ScenarioSpec:
    monkeypatch.setenv("HELMFRAME_DATA", str(tmp_path))
    for kind, frame in (("words", pl.DataFrame({"word": ["a"]})), ("numbers", pl.DataFrame({"number": [1, 2]}))):
        (tmp_path / "mixed" / kind).mkdir(parents=True)
        frame.write_parquet(tmp_path / "mixed" / kind / "test-0.parquet")
    return spec(tmp_path, UNION)


def test_files_may_have_different_columns(mixed: ScenarioSpec) -> None:
    assert pl.concat(load(mixed))["input"].to_list() == ["1", "2", "a"]


def test_one_part_alone_lacks_columns_of_the_others_and_is_read_all_the_same(mixed: ScenarioSpec) -> None:
    assert pl.concat(load(mixed, where=[Equals("kind", ("words",))]))["input"].to_list() == ["a"]


def test_a_spec_says_how_many_outputs_are_asked_for_unless_the_sentence_does(tmp_path: Path) -> None:
    text = GROUPS.replace("default: {group: all}", "outputs: 3")
    groups_folder = tmp_path / "groups"
    groups_folder.mkdir()
    pl.DataFrame({"q": ["x"], "old": [True]}).write_parquet(groups_folder / "test-0.parquet")
    (tmp_path / "spec.yaml").write_text(text)
    plan = hf.scenario(tmp_path / "spec.yaml", data=tmp_path).where(group="old").adapt(shots=0)
    assert plan.generate(lambda prompt: "x").score().manifest["counts"]["planned"] == 3
    assert plan.generate(lambda prompt: "x", n=1).score().manifest["counts"]["planned"] == 1
