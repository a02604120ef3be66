"""Spec files: each of ours loads; what is wrong in one is named with file and key."""

from pathlib import Path

import pytest

import helmframe as hf
from helmframe._core.specs import ScenarioSpec, adapter_spec, frozen, of_subset
from helmframe._core.yaml import specs_root
from helmframe.adapters.adapt import ADAPTERS
from helmframe.errors import ArgumentError, SpecError
from helmframe.scenarios.catalogue import find_scenario, scenario_names
from helmframe.scenarios.spec_file import load_scenario
from helmframe.scenarios.sql import excess_of

SPEC = """\
scenario: mine
version: 1
source: {rows: "{data}/mine/{split}.parquet"}
splits: {dev: train, test: test}
instances: SELECT row_index, split, q AS input, a AS "references" FROM rows
metrics: [exact_match]
main: {metric: exact_match}
"""


def spec(folder: Path, text: str) -> ScenarioSpec:
    file = folder / "mine.yaml"
    file.write_text(text)
    return load_scenario(file)


@pytest.mark.parametrize("name", scenario_names())
def test_each_spec_of_ours_loads_under_its_own_name(name: str) -> None:
    assert find_scenario(name).scenario == name


@pytest.mark.parametrize("name", scenario_names())
def test_each_spec_of_ours_says_where_it_is_from(name: str) -> None:
    found = find_scenario(name)
    assert found.description
    assert found.license


@pytest.mark.parametrize("name", scenario_names())
def test_each_main_metric_is_among_the_metrics(name: str) -> None:
    found = find_scenario(name)
    assert found.main.metric in found.metrics


@pytest.mark.parametrize("name", scenario_names())
def test_each_adapter_is_valid(name: str) -> None:
    assert adapter_spec(find_scenario(name).adapter).method in ADAPTERS


def test_a_file_for_each_of_the_first_five_scenarios() -> None:
    assert {"mmlu", "gsm8k", "boolq", "narrative_qa", "sampler"} <= {
        file.stem for file in (specs_root() / "scenarios").glob("*.yaml")
    }


def test_the_sampler_says_that_it_is_no_benchmark() -> None:
    assert "isn't a benchmark" in find_scenario("sampler").description


def test_splits_keep_the_order_of_the_file(tmp_path: Path) -> None:
    said = spec(tmp_path, SPEC.replace("{dev: train, test: test}", "{zzz: train, aaa: test}"))
    assert said.splits == (("zzz", "train"), ("aaa", "test"))


def test_an_unknown_key_is_named_with_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"mine\.yaml: unknown key 'metric'. Did you mean 'metrics'\?"):
        spec(tmp_path, SPEC + "metric: exact_match\n")


def test_an_unknown_key_of_main_is_named_with_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"unknown key 'main.splits'. Did you mean 'split'\?"):
        spec(tmp_path, SPEC.replace("{metric: exact_match}", "{metric: exact_match, splits: test}"))


def test_an_unknown_adapter_field_is_named_with_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"mine\.yaml: adapter: .*'shot'. Did you mean 'shots'"):
        spec(tmp_path, SPEC + "adapter: {shot: 5}\n")


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"mine\.yaml: version: is missing"):
        spec(tmp_path, SPEC.replace("version: 1\n", ""))


def test_a_split_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"mine\.yaml: splits\.dev: 'trian' must be one of train, valid, test"):
        spec(tmp_path, SPEC.replace("dev: train", "dev: trian"))


def test_invalid_yaml_raises(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"mine\.yaml: invalid YAML in line 2"):
        spec(tmp_path, "scenario: [")


def like(folder: Path, text: str) -> ScenarioSpec:
    (folder / "mine.yaml").write_text(SPEC + "adapter: {shots: 3, input_prefix: Q}\n")
    file = folder / "other.yaml"
    file.write_text(text)
    return load_scenario(file)


def test_a_spec_is_like_another_but_for_what_it_says(tmp_path: Path) -> None:
    said = like(tmp_path, "like: mine\nscenario: other\nversion: 2\nadapter: {shots: 0}\n")
    assert (said.scenario, said.version, said.metrics) == ("other", "2", ("exact_match",))
    assert dict(said.adapter) == {"shots": 0, "input_prefix": "Q"}


@pytest.mark.parametrize("name", ["nobody", "other", "../mine"])
def test_a_spec_is_like_another_one_of_its_folder_only(tmp_path: Path, name: str) -> None:
    with pytest.raises(SpecError, match=r"other\.yaml: like: .* must be the name of another spec"):
        like(tmp_path, f"like: {name}\nscenario: other\nversion: 2\n")


def test_files_to_download_belong_to_their_own_source(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(SPEC + "download: [{url: https://x.org/a.csv}]\n")
    (tmp_path / "same.yaml").write_text("like: mine\nscenario: same\nversion: 2\n")
    (tmp_path / "other.yaml").write_text('like: mine\nscenario: other\nsource: {rows: "{data}/x/*.parquet"}\n')
    same, other = load_scenario(tmp_path / "same.yaml"), load_scenario(tmp_path / "other.yaml")
    assert ([file.url for file in same.download], other.download) == (["https://x.org/a.csv"], ())


def test_specs_that_are_like_each_other_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("like: b\nscenario: a\n")
    (tmp_path / "b.yaml").write_text("like: a\nscenario: b\n")
    with pytest.raises(SpecError, match="like: "):
        load_scenario(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("outputs: 0", "outputs: must be an integer ≥ 1, not 0"),
        ("union: sure", "union: must be true or false, not 'sure'"),
        ("status: lost", "status: 'lost' must be one of gated, licensed, dead, elsewhere"),
    ],
)
def test_a_value_that_can_not_be_is_named(tmp_path: Path, line: str, problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        spec(tmp_path, SPEC + line + "\n")


SUBSETS = SPEC.replace('AS "references"', 'AS "references", s') + "subsets: [s]\n"


def test_a_subset_says_what_is_otherwise_there(tmp_path: Path) -> None:
    said = "adapter: {shots: 5, multi_label: true}\nper_subset: {b: {adapter: {shots: 1}, decoding: {max_tokens: 3}}}\n"
    found = spec(tmp_path, SUBSETS + said)
    assert adapter_spec(of_subset(found, "b").adapter) == adapter_spec(frozen({"shots": 1, "multi_label": True}))
    assert dict(of_subset(found, "b").decoding) == {"max_tokens": 3}
    assert of_subset(found, "a") is found


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ("{b: {adapter: {shot: 1}}}", r"mine\.yaml: per_subset\.b\.adapter: .*'shot'. Did you mean 'shots'"),
        ("{b: {adaptor: {shots: 1}}}", r"unknown key 'per_subset\.b\.adaptor'. Did you mean 'adapter'"),
        ("{b: 3}", r"mine\.yaml: per_subset\.b: must be \{adapter: \{…\}, decoding: \{…\}\}"),
        ("[b]", r"mine\.yaml: per_subset: must be a mapping"),
    ],
)
def test_what_is_wrong_with_a_subset_is_named(tmp_path: Path, said: str, problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        spec(tmp_path, f"{SUBSETS}per_subset: {said}\n")


def test_a_scenario_without_subsets_has_none_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"per_subset\.b: the scenario has no subsets"):
        spec(tmp_path, SPEC + "per_subset: {b: {adapter: {shots: 1}}}\n")


def test_a_json_schema_is_part_of_the_decoding(tmp_path: Path) -> None:
    found = spec(tmp_path, SPEC + "decoding: {json_schema: {type: object, properties: {b: {}, a: {}}}}\n")
    assert dict(found.decoding) == {"json_schema": '{"type":"object","properties":{"b":{},"a":{}}}'}
    with pytest.raises(SpecError, match=r"mine.yaml: decoding: json_schema: invalid schema at \$.type"):
        spec(tmp_path, SPEC + "decoding: {json_schema: {type: 3}}\n")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a" * 200_000, "more than 100,000 characters"),
        ("[" * 400 + "1" + "]" * 400, "more than 80 levels of brackets"),
        ("1" + "+1" * 400, "more than 200 operators"),
        ("t" + "+" * 20_000 + "rue", "more than 200 operators"),
    ],
    ids=["length", "brackets", "operators", "signs"],
)
def test_sql_that_takes_duckdb_long_is_refused(text: str, problem: str) -> None:
    assert problem in str(excess_of(f"SELECT {text} AS input FROM rows"))
    assert excess_of("SELECT '" + "([{+" * 100 + "' AS input -- " + "(+" * 300) is None
    with pytest.raises(ArgumentError, match="the SQL is too complex"):
        hf.scenario("sampler").where(text)
