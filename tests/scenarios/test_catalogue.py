"""`hf.list_scenarios()`: what there is to ask."""

import json
import os
from pathlib import Path

import duckdb
import polars as pl
import pytest

import helmframe as hf
from helmframe._core.specs import ScenarioSpec, placeholders
from helmframe._core.yaml import specs_root
from helmframe.errors import SpecError, UnknownNameError
from helmframe.scenarios import catalogue
from helmframe.scenarios.catalogue import find_scenario, scenario_names
from helmframe.scenarios.draws import find_draw


def row(name: str) -> dict[str, object]:
    return hf.list_scenarios().row(by_predicate=pl.col("name") == name, named=True)


def test_one_row_per_scenario_by_name() -> None:
    table = hf.list_scenarios()
    assert table["name"].to_list() == sorted(table["name"].to_list())
    assert table["name"].n_unique() == table.height


def test_rows_come_from_the_cache_until_a_spec_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, cache = tmp_path / "specs", tmp_path / "cache" / "scenarios" / "rows.json"
    folder.mkdir()
    mine = folder / "mine.yaml"
    mine.write_text((specs_root() / "scenarios" / "sampler.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    os.utime(mine, (1e9, 1e9))
    monkeypatch.setattr(catalogue, "_announced_folders", lambda: (folder,))
    first = catalogue.scenario_rows()
    assert "sampler" in {row["name"] for row in first}
    assert catalogue.scenario_rows() == first == json.loads(cache.read_text(encoding="utf-8"))["rows"]

    def no_reading(path: Path) -> ScenarioSpec:
        raise AssertionError(f"{path} is read")

    catalogue._unchanged.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(catalogue, "load_scenario", no_reading)
        assert catalogue.scenario_rows() == first
    for damaged in ("", "[]", '{"key": 1}', '{"key": null, "rows": [1]}', cache.read_text(encoding="utf-8")[:-9]):
        cache.write_text(damaged, encoding="utf-8")
        assert catalogue.scenario_rows() == first
    text = mine.read_text(encoding="utf-8").replace("description: ", "description: New ", 1)
    mine.write_text(text, encoding="utf-8")
    assert any(row["description"].startswith("New ") for row in catalogue.scenario_rows())
    # a file that has just changed may change again within the resolution of its time
    assert not any(row["description"].startswith("New ") for row in json.loads(cache.read_text("utf-8"))["rows"])


def test_a_row_has_the_method_and_the_main_metric() -> None:
    said = row("mmlu")
    assert said["subsets"] == ["subject"]
    assert said["splits"] == ["train", "valid", "test"]
    assert (said["method"], said["shots"]) == ("multiple_choice_joint", 5)
    assert said["main"] == "exact_match@test"
    assert (said["hub"], said["license"], said["status"]) == ("cais/mmlu", "MIT", "hub")


def test_status_says_why_rows_are_read_from_a_root() -> None:
    said = {name: row(name)["status"] for name in ("dyck_language", "sampler", "ice", "gpqa", "bbq", "lex_glue")}
    assert said == {
        "dyck_language": "generated",
        "sampler": "packaged",
        "ice": "licensed",
        "gpqa": "gated",
        "bbq": "download",
        "lex_glue": "download",
    }


def test_every_scenario_has_a_source() -> None:
    assert "elsewhere" not in set(hf.list_scenarios()["status"])
    for name in scenario_names():
        spec = find_scenario(name)
        if spec.status:
            assert spec.terms or dict(spec.hub), name


def test_files_to_download_have_the_columns_of_their_path() -> None:
    for name in scenario_names():
        spec = find_scenario(name)
        # a draw may choose the split
        drawn = {"split"} if spec.draw and find_draw(spec.draw).unsplit else set()
        for entry in spec.download:
            known = {*dict(entry.values), *placeholders(entry.url), *placeholders(entry.files)}
            assert set(placeholders(str(dict(spec.source)["rows"]))) - known - drawn == set(), f"{name}: {entry.url}"
            duckdb.extract_statements(entry.select)


def test_everything_helm_asks_is_there() -> None:
    names = set(hf.list_scenarios()["name"])
    core = (
        "mmlu boolq narrative_qa natural_qa_closedbook natural_qa_openbook_longans quac hellaswag openbookqa "
        "truthful_qa msmarco_regular msmarco_trec summarization_cnndm summarization_xsum imdb civil_comments raft"
    )
    targeted = (
        "the_pile twitter_aae ice wikitext_103 blimp wikifact synthetic_reasoning synthetic_reasoning_natural babi_qa "
        "dyck_language gsm8k math_regular math_chain_of_thought code_humaneval code_apps lsat_qa legal_support "
        "entity_matching entity_data_imputation copyright_text copyright_code disinformation_reiteration "
        "disinformation_wedging bbq bold real_toxicity_prompts synthetic_efficiency numeracy"
    )
    later = "legalbench med_qa wmt_14 harm_bench simple_safety_tests anthropic_red_team xstest mmlu_pro gpqa ifeval"
    more = "wildbench omni_math ruler_hotpotqa ruler_squad infinite_bench_en_mc infinite_bench_en_sum openai_mrcr"
    others = "arc piqa siqa commonsense_qa winogrande math_500 medmcqa pubmed_qa trivia_qa squad"
    wanted = " ".join([core, targeted, later, more, others]).split()
    assert set(wanted) - names == set()


def test_a_scenario_is_found_by_name() -> None:
    assert find_scenario("mmlu").subsets == ("subject",)


def test_a_scenario_is_found_by_path(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text((specs_root() / "scenarios" / "gsm8k.yaml").read_text().replace("gsm8k\n", "own\n", 1))
    assert find_scenario(str(file)).scenario == "own"


def test_names_are_sorted() -> None:
    assert scenario_names() == sorted(scenario_names())


def test_an_unknown_name_has_near_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown scenario 'mmlux'. Did you mean 'mmlu'"):
        find_scenario("mmlux")


def test_a_path_to_no_file_is_named() -> None:
    with pytest.raises(SpecError, match=r"nowhere/x\.yaml: file not found"):
        find_scenario("nowhere/x.yaml")


@pytest.mark.parametrize("path", ["rows.csv", "data/rows.parquet", "r.jsonl", "r.json"])
def test_a_file_of_rows_is_not_a_spec(path: str) -> None:
    with pytest.raises(SpecError, match=rf"a file of rows isn't a spec\. Write hf\.scenario\('{path}', input=…"):
        find_scenario(path)
