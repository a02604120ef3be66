"""Several sentences through one queue."""

import re
import threading
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import helmframe as hf
from helmframe._plan import spec_of
from helmframe._suite import suite_names
from helmframe.errors import (
    ArgumentError,
    PlanError,
    SourceBrokenError,
    SourceMissingError,
    SpecError,
    UnknownNameError,
)


def test_plans_of_a_suite_share_the_models_batches() -> None:
    sizes: list[int] = []
    both_asked = threading.Event()

    def model(prompts: list[str]) -> list[str]:
        if not sizes:
            both_asked.wait(0.5)  # the first batch takes long enough for both plans to stand in the queue
        sizes.append(len(prompts))
        return ["A"] * len(prompts)

    answering = hf.model(model, batch=64)
    one = hf.scenario("sampler").where(subject="music").limit(20).generate(answering)
    two = hf.scenario("sampler").where(subject="biology").limit(20).generate(answering)
    results = hf.suite(one, two).score()
    assert sum(sizes) == 40
    assert len(sizes) < 40
    assert results.table(["subset"], metrics="exact_match")["n"].to_list() == [20, 20]


def test_plans_with_different_prompts_are_labelled() -> None:
    plan = hf.scenario("sampler").where(subject="music").limit(3).generate(hf.models.oracle())
    table = hf.suite(plan.adapt(shots=0), plan.adapt(shots=5)).score().table(metrics="exact_match")
    assert table["setting"].to_list() == ["shots=0", "shots=5"]


def test_the_same_plan_twice_is_one() -> None:
    plan = hf.scenario("sampler").where(subject="music").limit(3).generate(hf.models.oracle())
    assert hf.suite(plan, plan).score().table(metrics="exact_match")["n"].to_list() == [3]


def test_an_error_in_one_plan_keeps_the_answers_of_the_others(tmp_path: Path) -> None:
    asked: list[str] = []

    def model(prompt: str) -> str:
        asked.append(prompt)
        return "A"

    good = hf.scenario("sampler").where(subject="music").limit(3).generate(model)
    (tmp_path / "gsm8k" / "main").mkdir(parents=True)
    (tmp_path / "gsm8k" / "main" / "test-00000-of-00001.parquet").write_bytes(b"no rows")
    broken = hf.scenario("gsm8k", data=tmp_path).generate(model)
    with pytest.raises(SourceBrokenError, match="gsm8k"):
        hf.suite(good, broken).score()
    good.score()
    assert len(asked) == 3


def test_a_suite_takes_plans_only() -> None:
    with pytest.raises(ArgumentError, match="an argument must be a plan"):
        hf.suite(42)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"not as a list\. Write hf\.suite\(\*plans\)\.$"):
        hf.suite([hf.scenario("sampler")])  # type: ignore[arg-type]


def test_a_suite_is_found_by_name() -> None:
    suite = hf.suite("safety")
    names = [spec_of(plan).scenarios[0].scenario for plan in suite.plans]
    assert names == ["harm_bench", "simple_safety_tests", "anthropic_red_team", "xstest", "bbq"]


def test_an_unknown_suite_has_near_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown suite 'lit'. Did you mean 'lite'\?"):
        hf.suite("lit")


@pytest.mark.parametrize("name", [name for name in suite_names() if name != "classic"])
def test_each_suite_of_ours_loads(name: str) -> None:
    assert hf.suite(name).plans


@pytest.mark.shared
def test_classic_perturbs_its_core_and_nothing_else(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELMFRAME_DATA", str(shared))
    plans = hf.suite("classic").plans
    assert [spec_of(plan).scenarios[0].scenario for plan in plans if spec_of(plan).perturbations] == [
        "mmlu", "boolq", "narrative_qa", "natural_qa_closedbook", "natural_qa_openbook_longans", "quac", "hellaswag",
        "openbookqa_separate", "truthful_qa", "msmarco_regular", "msmarco_trec", "imdb", "civil_comments", "raft",
    ]  # fmt: skip
    assert len(plans) == 44


def test_classic_without_word_tables_says_which_and_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELMFRAME_DATA", str(tmp_path))
    suite = hf.suite("classic")
    skipped = [plan for plan in suite.skipped if plan.scenario == "truthful_qa"]
    assert len(skipped) == 1
    assert re.search(r"needs the word table .*\n.*tables/", skipped[0].reason)
    assert len(suite.plans) + len(suite.skipped) == 44


def test_a_plan_that_lacks_a_part_is_skipped_and_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HELMFRAME_ALLOW_CODE", raising=False)
    hf.configure(allow_code=None)
    file = tmp_path / "mine.yaml"
    file.write_text(LACKING.format(data=tmp_path))
    suite = hf.suite(file, models=hf.models.oracle())
    assert [plan.scenario for plan in suite.skipped] == ["sampler", "sampler"]
    results = suite.score()
    assert results.table(metrics="exact_match")["n"].to_list() == [2]
    reasons = [entry["reason"] for entry in results.manifest["skipped"]]
    for part in ("'musik'", "SAE_to_AAVE", "hf.configure(allow_code=True)", "classifier=function", "no file found"):
        assert len([reason for reason in reasons if part in reason]) == 1, part
    text = str(results)
    assert text.count("hf.configure(allow_code=True)") == 1
    assert text.count("skipped: sampler × oracle: where(subject='musik')") == 1
    assert hf.suite(file, models=hf.models.oracle()).explain().count("skipped:") == 5
    assert suite.submit().wait().manifest["skipped"] == results.manifest["skipped"]


def test_a_suite_that_lacks_everything_raises_the_first_error(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("plans: [{scenario: sampler, perturb: dialect}, {scenario: sampler, where: [{subject: x}]}]")
    with pytest.raises(SourceMissingError, match="SAE_to_AAVE"):
        hf.suite(file)


def test_a_suite_with_other_keys_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(SUITE)
    file = tmp_path / "other.yaml"
    file.write_text("{suite: mine.yaml, sample: 4, perturb: lowercase, generate: echo()}")
    suite = hf.suite(file)
    plan = hf.scenario("sampler").sample(4).perturb("lowercase").generate(hf.models.echo())
    assert list(map(str, suite.plans)) == [str(plan.where(subject=subject)) for subject in ("music", "biology")]
    assert len(hf.Suite.from_yaml("{suite: safety, limit: 1}").plans) == 5
    with pytest.raises(UnknownNameError, match=r"Unknown suite 'lit'\. Did you mean 'lite'"):
        hf.Suite.from_yaml("suite: lit")


def test_a_suite_skips_a_scenario_whose_rows_are_missing(tmp_path: Path) -> None:
    here = hf.scenario("sampler").where(subject="music").limit(2)
    gone = hf.scenario("gsm8k", data=tmp_path)
    results = hf.suite(here, gone, models=hf.models.oracle()).score()
    assert results.table(metrics="exact_match")["scenario"].to_list() == ["sampler"]
    (left,) = results.manifest["skipped"]
    assert (left["scenario"], left["model"]) == ("gsm8k", "oracle")
    assert "no file found at" in left["reason"]
    with pytest.raises(SourceMissingError, match="'gsm8k': no file found at"):
        hf.suite(gone, gone.limit(1), models=hf.models.oracle()).score()
    with pytest.raises(SourceMissingError, match="'gsm8k': no file found at"):
        gone.generate(hf.models.oracle()).score()


def test_a_suite_round_trips_through_yaml(tmp_path: Path) -> None:
    one = hf.scenario("sampler").where(subject="music").limit(2).generate(hf.models.oracle(), temperature=0.5)
    suite = hf.suite(one, one.perturb("typos(prob=0.2)", seeds=2).metrics("exact_match"))
    text = suite.to_yaml(tmp_path / "suite.yaml")
    assert hf.Suite.from_yaml(text) == suite
    assert hf.Suite.from_yaml(tmp_path / "suite.yaml") == suite
    assert hf.suite(tmp_path / "suite.yaml") == suite


def test_a_suite_with_an_object_has_no_yaml() -> None:
    with pytest.raises(PlanError, match="model 'f' is an object"):
        hf.suite(hf.scenario("sampler").generate({"f": lambda prompt: "A"})).to_yaml()


def test_yaml_without_plans_is_no_suite() -> None:
    with pytest.raises(SpecError, match="plans: must be a list of plans"):
        hf.Suite.from_yaml("scenario: sampler")


def test_tables_of_a_suite_are_those_of_its_plans() -> None:
    one, two = (hf.scenario("sampler").where(subject=each).limit(2) for each in ("music", "biology"))
    suite = hf.suite(one, two).perturb("lowercase").generate(hf.models.oracle())
    for table in ("instances", "variants", "requests"):
        parts = [getattr(plan, table)().collect() for plan in suite.plans]
        assert_frame_equal(getattr(suite, table)().collect(), pl.concat(parts, how="diagonal_relaxed"))
    assert suite.completions().collect().height == 8


def test_conditions_and_metrics_are_those_of_every_plan() -> None:
    one, two = (hf.scenario("sampler").where(subject=each) for each in ("music", "biology"))
    suite = hf.suite(one, two).where("length(input) < 60").metrics("f1_score")
    assert suite.plans == tuple(each.where("length(input) < 60").metrics("f1_score") for each in (one, two))


def test_suites_are_listed_with_the_number_of_their_plans() -> None:
    table = hf.list_suites()
    assert table["name"].to_list() == suite_names()
    assert table.filter(name="safety")["plans"].item() == 5


LACKING = """\
plans:
  - {{scenario: sampler, where: [{{subject: music}}], limit: 2}}
  - {{scenario: sampler, where: [{{subject: musik}}]}}
  - {{scenario: sampler, perturb: dialect}}
  - {{scenario: sampler, limit: 1, metrics: "pass@1"}}
  - {{scenario: sampler, limit: 1, metrics: toxicity}}
  - {{scenario: gsm8k, data: {data}}}
"""

SUITE = """\
suite: mine
each: {limit: 2, generate: oracle()}
plans:
  - {scenario: sampler, where: [{subject: music}]}
  - {scenario: sampler, where: [{subject: biology}], limit: 3}
"""


def test_a_suite_is_a_file_of_plans_and_what_all_of_them_say(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(SUITE)
    assert hf.suite(file).score().table(["subset"], metrics="exact_match")["n"].to_list() == [3, 2]


def test_a_wrong_plan_of_a_suite_is_named_with_file_and_place(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(SUITE.replace("limit: 3", "limits: 3"))
    with pytest.raises(SpecError, match=r"mine\.yaml: plans\[1\]: .*'limits'"):
        hf.suite(file)


def test_builder_methods_apply_to_every_plan() -> None:
    one, two = (hf.scenario("sampler").where(subject=each) for each in ("music", "biology"))
    said = hf.suite(one, two).limit(2).adapt(shots=0).perturb("lowercase").generate(hf.models.oracle())
    assert said.plans == tuple(
        each.limit(2).adapt(shots=0).perturb("lowercase").generate(hf.models.oracle()) for each in (one, two)
    )


def test_models_answer_the_plans_that_say_nobody() -> None:
    one, two = (hf.scenario("sampler").where(subject=each).limit(1) for each in ("music", "biology"))
    suite = hf.suite(one.generate(hf.models.echo()), two, models=hf.models.oracle())
    assert [spec_of(plan).models[0].name for plan in suite.plans] == ["echo", "oracle"]


def test_options_of_conf_files_need_one() -> None:
    with pytest.raises(ArgumentError, match=r"suite\(priority=…\): priority applies to \.conf files only"):
        hf.suite("mmlu", priority=2)
    with pytest.raises(TypeError, match="unexpected keyword argument 'model'"):
        hf.suite("mmlu", model="oracle()")  # type: ignore[call-arg]
