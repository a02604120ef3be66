"""What a spec means by default, files with different columns, and subsets that no path says."""

from pathlib import Path

import polars as pl
import pytest

import helmframe as hf
from helmframe._core.specs import Equals, Expression, ScenarioSpec, Sql
from helmframe.scenarios.load import count, keys, load, load_train
from helmframe.scenarios.spec_file import load_scenario
from helmframe.scenarios.validation import values

GROUPS = """\
scenario: groups
version: 1
source: {rows: "{data}/groups/{split}-*.parquet"}
columns: {q: VARCHAR, old: BOOLEAN}
splits: {train: train, test: test}
subsets: [group]
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
subsets: [kind]
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


def test_a_subset_that_no_path_says_is_numbered_over_all_rows(groups: ScenarioSpec) -> None:
    assert ids(groups, Equals("group", ("old",))) == ["old/id2", "old/id3"]


def test_without_a_word_on_the_subset_the_default_is_meant(groups: ScenarioSpec) -> None:
    assert ids(groups) == ["all/id2", "all/id3", "all/id4"]
    assert load_train(groups)["subset"].to_list() == ["all", "all"]
    assert count(groups)["n"].to_list() == [3]


@pytest.mark.parametrize(
    "condition",
    [
        Equals("group", ("young",)),
        Equals("subset", ("young",)),
        Sql("\"group\" = 'young'"),
        Expression.of(pl.col("group") == "young"),
    ],
)
def test_any_word_on_the_subset_is_meant_instead(groups: ScenarioSpec, condition: Equals | Sql | Expression) -> None:
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


def test_one_subset_alone_lacks_columns_of_the_others_and_is_read_all_the_same(mixed: ScenarioSpec) -> None:
    assert pl.concat(load(mixed, where=[Equals("kind", ("words",))]))["input"].to_list() == ["a"]


def test_the_spec_sets_the_number_of_outputs_unless_the_plan_does(tmp_path: Path) -> None:
    text = GROUPS.replace("default: {group: all}", "outputs: 3")
    groups_folder = tmp_path / "groups"
    groups_folder.mkdir()
    pl.DataFrame({"q": ["x"], "old": [True]}).write_parquet(groups_folder / "test-0.parquet")
    (tmp_path / "spec.yaml").write_text(text)
    plan = hf.scenario(tmp_path / "spec.yaml", data=tmp_path).where(group="old").adapt(shots=0)
    assert plan.generate(lambda prompt: "x").score().manifest["counts"]["planned"] == 3
    assert plan.generate(lambda prompt: "x", n=1).score().manifest["counts"]["planned"] == 1


HELM_GROUPS = GROUPS + "helm: {parameters: [group, kind]}\n"
HELM_GROUPS = HELM_GROUPS.replace("q AS input,", "q AS input, kind,").replace(
    "{q: VARCHAR,", "{q: VARCHAR, kind: VARCHAR,"
)


@pytest.fixture
def kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ScenarioSpec:
    """Three train rows and four test rows, of two groups and two kinds."""
    monkeypatch.setenv("HELMFRAME_DATA", str(tmp_path))
    folder = tmp_path / "groups"
    folder.mkdir()
    train = {"q": ["t0", "t1", "t2"], "old": [False, True, True], "kind": ["a", "b", "a"]}
    test = {"q": ["q0", "q1", "q2", "q3"], "old": [True, False, True, True], "kind": ["b", "a", "a", "b"]}
    pl.DataFrame(train).write_parquet(folder / "train-0.parquet")
    pl.DataFrame(test).write_parquet(folder / "test-0.parquet")
    return spec(tmp_path, HELM_GROUPS)


OLD, KIND_A = Equals("group", ("old",)), Equals("kind", ("a",))


@pytest.mark.parametrize(
    ("where", "train", "test"),
    [
        ([], ["all/id0", "all/id1", "all/id2"], ["all/id3", "all/id4", "all/id5", "all/id6"]),
        ([OLD], ["old/id0", "old/id1"], ["old/id2", "old/id3", "old/id4"]),
        ([OLD, KIND_A], ["old/id0"], ["old/id1"]),
        ([OLD, Sql("input <> 'q0'")], ["old/id0", "old/id1"], ["old/id3", "old/id4"]),
        ([OLD, Sql("input <> 'q0'", narrows=True)], ["old/id0", "old/id1"], ["old/id2", "old/id3"]),
    ],
)
def test_helm_numbers_the_instances_that_its_parameters_leave(
    kinds: ScenarioSpec, where: list[Equals | Sql], train: list[str], test: list[str]
) -> None:
    assert load_train(kinds, where=where, compat="helm")["instance_id"].to_list() == train
    instances = pl.concat(load(kinds, where=where, compat="helm"))
    assert instances["instance_id"].to_list() == test
    assert instances["cluster"].to_list() == test
    assert keys(kinds, where=where, compat="helm").select("instance_id", "cluster").rows() == list(
        zip(test, test, strict=True)
    )


def test_rows_have_the_same_order_and_index_under_helms_rules(kinds: ScenarioSpec) -> None:
    plain, helm = (pl.concat(load(kinds, where=[OLD], compat=compat)) for compat in (None, "helm"))
    assert plain.drop("instance_id", "cluster").equals(helm.drop("instance_id", "cluster"))
    assert plain["instance_id"].to_list() == ["old/id3", "old/id5", "old/id6"]


def test_examples_of_other_kinds_stay_without_helms_rules(kinds: ScenarioSpec) -> None:
    assert load_train(kinds, where=[OLD, KIND_A])["input"].to_list() == ["t1", "t2"]
    assert load_train(kinds, where=[OLD, KIND_A], compat="helm")["input"].to_list() == ["t2"]


def test_ids_that_the_spec_gives_stay_under_helms_rules(kinds: ScenarioSpec, tmp_path: Path) -> None:
    named = spec(tmp_path, HELM_GROUPS.replace("q AS input,", "q AS input, q AS instance_id,"))
    assert load_train(named, where=[OLD], compat="helm")["instance_id"].to_list() == ["t1", "t2"]


# -- a source column called subset -------------------------------------------------------------------------------------

SOURCE_SUBSET = """\
scenario: levels
version: 1
source: {rows: "{data}/levels/{subset}/{split}-*.parquet"}
columns: {q: VARCHAR, level: BIGINT}
splits: {test: test}
SUBSETS
instances: |
  SELECT row_index, split, subset, level, q AS input, [{'text': 'x', 'correct': true}] AS "references"
  FROM rows
metrics: [exact_match]
main: {metric: exact_match}
"""


def levels(folder: Path, monkeypatch: pytest.MonkeyPatch, subsets: str) -> ScenarioSpec:
    monkeypatch.setenv("HELMFRAME_DATA", str(folder))
    for name in ("a", "b"):
        (folder / "levels" / name).mkdir(parents=True)
        frame = pl.DataFrame({"q": [f"{name}{level}" for level in (1, 2)], "level": [1, 2]})
        frame.write_parquet(folder / "levels" / name / "test-0.parquet")
    return spec(folder, SOURCE_SUBSET.replace("SUBSETS", subsets))


@pytest.mark.parametrize(
    ("subsets", "value", "expected"),
    [
        ("subsets: [subset]", "b", ["b/id0", "b/id1"]),
        ("subsets: [subset, level]", "b/2", ["b/2/id1"]),
        ("subsets: [level]", "2", ["2/id1", "2/id3"]),
    ],
)
def test_the_table_column_wins_over_a_source_column_called_subset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, subsets: str, value: str, expected: list[str]
) -> None:
    found = levels(tmp_path, monkeypatch, subsets)
    assert ids(found, Equals("subset", (value,))) == expected
    assert value in values(found, "subset")
    instances = pl.concat(load(found, where=[Equals("data_subset", ("a",))]))
    assert instances["data_subset"].to_list() == ["a", "a"]


def test_a_source_column_called_subset_that_makes_no_subsets_is_data_subset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = levels(tmp_path, monkeypatch, "")
    assert pl.concat(load(found)).select("subset", "data_subset").rows() == [("", "a"), ("", "a"), ("", "b"), ("", "b")]
    assert count(found, where=[Equals("subset", ("a",))]).is_empty()


def test_a_frame_may_take_its_column_subset_as_the_subset() -> None:
    frame = pl.DataFrame({"input": ["p", "q"], "references": ["x", "y"], "subset": ["one", "two"]})
    plan = hf.scenario(frame, subset="subset").where(subset="two").adapt(shots=0, input_prefix="{subset}: ")
    assert plan.instances().collect().select("subset", "data_subset").rows() == [("two", "two")]
    prompts = plan.generate(hf.models.echo()).requests().collect()
    assert prompts["blocks"][0][0]["content"][0]["text"].startswith("two: q")
