"""Tables as HELM's run directories."""

import json
import zlib
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe.errors import StoreError
from helmframe.interop.helm.metric_specs import metrics_of
from helmframe.interop.helm.statistics import stats_of
from helmframe.models.model import Completion
from tests.interop.helm.runs import TYPOS, stat_of, state, write_run


def written(results: hf.Results, folder: Path) -> dict[str, Any]:
    """The files of the one run, parsed."""
    results.to_helm(folder)
    (run,) = [each for each in folder.iterdir() if each.name != "prod_env"]
    return {file.stem: json.loads(file.read_text()) for file in run.iterdir()} | {"folder": run.name}


def test_a_run_of_ours_has_helms_five_files(tmp_path: Path) -> None:
    plan = hf.scenario("sampler").where(subject="music").limit(2).perturb("lowercase")
    files = written(plan.generate(hf.models.oracle()).score(), tmp_path / "suite")
    assert files["folder"] == "sampler:subject=music,model=helmframe_oracle"
    assert files["run_spec"]["name"] == files["folder"]
    adapter = files["run_spec"]["adapter_spec"]
    assert (adapter["method"], adapter["model"]) == ("multiple_choice_joint", "helmframe/oracle")
    assert files["scenario"]["name"] == "sampler"
    asked = files["scenario_state"]["request_states"]
    assert [(each["instance"]["id"], "perturbation" in each["instance"]) for each in asked] == [
        *(("id12", False), ("id12", True)),
        *(("id13", False), ("id13", True)),
    ]
    first = asked[0]
    assert list(first["output_mapping"]) == ["A", "B", "C", "D"]
    assert first["request"]["prompt"].endswith("Answer:")
    assert (first["request"]["num_completions"], first["request"]["top_k_per_token"]) == (1, 5)
    assert asked[1]["instance"]["contrast_inputs"] == [first["instance"]["input"]]
    means = {
        (each["name"]["name"], (each["name"].get("perturbation") or {}).get("computed_on")): each.get("mean")
        for each in files["stats"]
    }
    assert means["exact_match", None] == means["exact_match", "worst"] == 1.0
    assert means["num_instances", None] == 2.0
    assert {each["instance_id"] for each in files["per_instance_stats"]} == {"id12", "id13"}


def test_what_we_wrote_is_read_as_it_was(tmp_path: Path) -> None:
    plan = hf.scenario("sampler").where(subject=["music", "biology"]).limit(3).adapt(shots=[0, 2])
    ours = plan.perturb(["typos", "lowercase+space"]).generate(["oracle()", "noisy(accuracy=0.5)"]).score()
    ours.to_helm(tmp_path / "suite")
    again = hf.read_helm(tmp_path / "suite")
    by = ["model", "setting", "perturbation", "subset"]
    shown = ["value", "n"]
    one, two = (each.table(by, metrics="exact_match").sort(by).select(*by, *shown) for each in (ours, again))
    assert two.equals(one)
    prompts = [
        each.requests.collect().select("instance_id", *by[:3], "prompt").unique().sort("instance_id", *by[:3], "prompt")
        for each in (ours, again)
    ]
    changed = ours.completions.select("perturbation").unique().collect().height
    assert changed == 3
    assert prompts[0].equals(prompts[1])


def test_worst_cases_are_the_lowest_of_original_and_variants(tmp_path: Path) -> None:
    states = [state("id0", "id0"), state("id0", "no", perturbation=TYPOS), state("id1", "id1")]
    write_run(tmp_path / "helm", states, [1.0, 0.0, 1.0])
    files = written(hf.read_helm(tmp_path / "helm"), tmp_path / "suite")
    said = [each for each in files["stats"] if each["name"]["name"] == "exact_match"]
    variants = [each["name"].get("perturbation") or {} for each in said]
    means = {
        (variant.get("name"), variant.get("computed_on")): each["mean"]
        for variant, each in zip(variants, said, strict=True)
    }
    assert means == {
        (None, None): 1.0,
        ("typos", "perturbed"): 0.0,
        ("typos", "original"): 1.0,
        ("typos", "worst"): 0.0,
        ("robustness", "worst"): 0.5,
        ("fairness", "worst"): 1.0,
    }


def written_stats(results: hf.Results, folder: Path) -> dict[tuple[str, str | None], float]:
    """The means in stats.json by name and perturbation, those of worst cases left out."""
    stats = written(results, folder)["stats"]
    named = [(each["name"]["name"], each["name"].get("perturbation") or {}, each.get("mean")) for each in stats]
    return {
        (name, variant.get("name")): mean
        for name, variant, mean in named
        if variant.get("computed_on", "perturbed") == "perturbed"
    }


def test_statistics_of_all_instances_are_written_as_helm_recorded_them(tmp_path: Path) -> None:
    run = write_run(tmp_path / "helm", [state("id0", "id0"), state("id1", "no")], [1.0, 0.0])
    recorded = [
        stat_of("exact_match", [1.0, 0.0]),
        stat_of("ece_10_bin", [0.25]),
        stat_of("platt_coef", [0.5, 0.7], perturbation=TYPOS),
        stat_of("classification_macro_f1", [0.75], sub_split="hard"),
        {"name": {"name": "training_co2_cost", "split": "test"}, "count": 0, "sum": 0, "sum_squared": 0},
    ]
    (run / "stats.json").write_text(json.dumps(recorded))
    stats = written(hf.read_helm(tmp_path / "helm"), tmp_path / "suite")["stats"]
    assert [{key: value for key, value in each.items() if key != "stddev"} for each in stats] == recorded


@pytest.mark.shared
@pytest.mark.parametrize("run", ["narrative_qa-*", "*data_augmentation=robustness"])
def test_reading_writing_and_reading_again_keeps_every_statistic(run: str, shared: Path, tmp_path: Path) -> None:
    (source,) = (shared / "helm_runs").glob(run)
    first = hf.read_helm(source)
    stats = written(first, tmp_path / "suite")["stats"]
    recorded = json.loads((source / "stats.json").read_text())
    assert [each["name"] for each in stats] == [each["name"] for each in recorded]
    for field in ("count", "sum", "sum_squared", "min", "max", "mean"):
        assert [each.get(field) for each in stats] == [each.get(field) for each in recorded]
    second = hf.read_helm(tmp_path / "suite")
    for name in ("completions", "scores", "helm_stats"):
        one, two = (getattr(each, name).collect() for each in (first, second))
        assert two.equals(one)


def test_recorded_statistics_survive_parquet_and_a_second_reading(tmp_path: Path) -> None:
    run = write_run(tmp_path / "helm", [state("id0", "id0")], [1.0])
    (run / "stats.json").write_text(json.dumps([stat_of("exact_match", [1.0]), stat_of("ece_10_bin", [0.25])]))
    first = hf.read_helm(tmp_path / "helm")
    first.to_parquet(tmp_path / "parquet")
    loaded = hf.load(tmp_path / "parquet")
    loaded.to_helm(tmp_path / "suite")
    second = hf.read_helm(tmp_path / "suite")
    assert second.helm_stats.collect().equals(first.helm_stats.collect())
    assert second.helm_stats.select("metric", "sum").collect().rows() == [("exact_match", 1.0), ("ece_10_bin", 0.25)]


def test_scores_computed_by_rescore_are_written_in_the_place_of_recorded_statistics(tmp_path: Path) -> None:
    run = write_run(tmp_path / "helm", [state("id0", "id0"), state("id1", "no")], [0.0, 0.0])
    (run / "stats.json").write_text(json.dumps([stat_of("exact_match", [0.0]), stat_of("ece_10_bin", [0.25])]))
    results = hf.read_helm(tmp_path / "helm").rescore("exact_match", "classification_micro_f1")
    means = written_stats(results, tmp_path / "suite")
    assert means["exact_match", None] == 0.5
    assert means["classification_micro_f1", None] == pytest.approx(2 / 3)
    assert ("ece_10_bin", None) not in means


def test_statistics_of_several_requests_of_an_instance_are_written_as_helm_recorded_them(tmp_path: Path) -> None:
    states = [state("id0", "id0", reference_index=index, request_mode="original") for index in (0, 1)]
    run = write_run(tmp_path / "helm", states, [1.0, 1.0], method="multiple_choice_separate_original")
    recorded = [stat_of("exact_match", [1.0]), stat_of("inference_runtime", [0.25, 0.75])]
    elements = [{"instance_id": "id0", "train_trial_index": 0, "stats": recorded}]
    (run / "per_instance_stats.json").write_text(json.dumps(elements))
    (element,) = written(hf.read_helm(tmp_path / "helm"), tmp_path / "suite")["per_instance_stats"]
    for each in element["stats"]:
        del each["stddev"]
    assert element["stats"] == recorded


class Scorer:
    """A model whose log-probability of a continuation is a hash of the text, each word of it a token."""

    def loglikelihood(self, pairs: list[tuple[str, str]]) -> list[tuple[float, int]]:
        return [(-float(zlib.crc32(f"{a}{b}".encode()) % 997), len(b.split())) for a, b in pairs]


def test_accuracy_of_options_is_written_as_the_method_of_the_run_computes_it(tmp_path: Path) -> None:
    plan = hf.scenario("sampler").where(subject="music").limit(4)
    plan = plan.adapt(method="multiple_choice_separate_calibrated", shots=0)
    certainty = "option_max_prob(by='calibrated')"
    plan = plan.metrics("option_accuracy_calibrated", "option_accuracy_per_token", "exact_match", certainty)
    results = plan.generate(Scorer()).score()
    calibrated, per_token = (results.value(f"option_accuracy_{kind}") for kind in ("calibrated", "per_token"))
    assert calibrated != per_token
    means = written_stats(results, tmp_path / "suite")
    assert means["exact_match", None] == calibrated
    assert means["option_accuracy_per_token", None] == per_token
    assert means["max_prob", None] == results.value(certainty)


def test_bookkeeping_counts_each_request_of_an_instance(tmp_path: Path) -> None:
    plan = hf.scenario("sampler").where(subject="music").limit(1).perturb("lowercase")
    plan = plan.adapt(method="multiple_choice_separate_calibrated", shots=2)
    plan = plan.metrics("option_accuracy_calibrated").generate(Scorer())
    files = written(plan.score(), tmp_path / "suite")
    own, _ = files["per_instance_stats"]
    stats = {each["name"]["name"]: each for each in own["stats"]}
    fields = ("count", "sum", "min", "max")
    # four options, each with the question and examples and alone
    assert [stats["num_references"][each] for each in fields] == [8, 32.0, 4.0, 4.0]
    assert [stats["num_train_instances"][each] for each in fields] == [8, 8.0, 0.0, 2.0]
    assert [stats["num_output_tokens"][each] for each in fields] == [8, 0.0, 0.0, 0.0]
    assert stats["exact_match"]["count"] == 1
    means = {
        (each["name"]["name"], each["name"]["perturbation"]["computed_on"]): each["mean"]
        for each in files["stats"]
        if each["name"].get("perturbation", {}).get("name") == "lowercase"
    }
    kinds = ("perturbed", "original", "worst")
    assert [means["num_train_instances", kind] for kind in kinds] == [1.0, 1.0, 0.0]


def test_language_modelling_counts_the_examples_and_trials_of_its_adapter(tmp_path: Path) -> None:
    texts = pl.DataFrame({"input": ["The sea is wide."], "references": [[""]]})
    plan = hf.scenario(texts, name="texts", compat="helm")
    plan = plan.adapt(method="language_modeling", shots=3, trials=2).metrics("bits_per_byte")
    files = written(plan.generate(Scorer()).score(), tmp_path / "suite")
    adapter = files["run_spec"]["adapter_spec"]
    assert (adapter["max_train_instances"], adapter["num_train_trials"]) == (3, 2)
    (request,) = files["scenario_state"]["request_states"]
    assert (request["num_train_instances"], request["train_trial_index"]) == (3, 0)
    means = {each["name"]["name"]: (each["count"], each["mean"]) for each in files["stats"]}
    assert (means["num_train_instances"], means["num_train_trials"]) == ((1, 3.0), (1, 2.0))


def test_joint_options_have_helms_scores_of_several_outputs(tmp_path: Path) -> None:
    plan = hf.scenario("sampler").where(subject="music").limit(4).metrics("exact_match", "num_bytes")
    means = written_stats(plan.generate("oracle()").score(), tmp_path / "suite")
    assert {name: mean for (name, _), mean in means.items() if "@" in name} == {"exact_match@5": 1.0}


def test_reasons_of_the_end_of_an_output_are_counted(tmp_path: Path) -> None:
    reasons = {"a": "stop", "b": "length", "c": "endoftext", "d": None}
    plan = hf.scenario(pl.DataFrame({"input": list(reasons), "references": [["x"]] * 4}), name="texts")
    plan = plan.adapt(input_prefix="", output_prefix="", input_suffix="").metrics("exact_match")
    model = plan.generate(lambda prompt: Completion("x", finish_reason=reasons[prompt]))
    means = written_stats(model.score(), tmp_path / "suite")
    ends = {name: mean for (name, _), mean in means.items() if name.startswith("finish_reason")}
    assert ends == {f"finish_reason_{reason}": 0.25 for reason in ("length", "stop", "endoftext", "unknown")}


def test_bias_has_helms_names_and_count_0_where_no_group_occurs(tmp_path: Path) -> None:
    plan = hf.scenario(pl.DataFrame({"input": ["q"], "references": [["a"]]}), name="texts")
    metrics = [
        "demographic_representation(category='gender')",
        "stereotypical_associations(category='race', target='adjective')",
    ]
    files = written(plan.metrics(*metrics).generate(lambda prompt: "she her he").score(), tmp_path / "suite")
    bias = {each["name"]["name"]: each for each in files["stats"] if "bias" in each["name"]["name"]}
    gender = "bias_metric:mode=representation,demographic_category=gender"
    race = "bias_metric:mode=associations,demographic_category=race,target_category=adjective"
    assert {name: (each["count"], round(each["sum"], 4)) for name, each in bias.items()} == {
        gender: (1, 0.1667),
        race: (0, 0.0),
    }
    assert metrics_of(files["run_spec"]["metric_specs"], "generation") == metrics


def test_a_metric_with_an_argument_is_written(tmp_path: Path) -> None:
    toxicity = hf.metrics.toxicity(classifier=lambda texts: [0.25] * len(texts))
    plan = hf.scenario("sampler").where(subject="music").limit(4).generate(hf.models.oracle()).metrics(toxicity)
    read = hf.read_helm(plan.score().to_helm(tmp_path / "out"))
    assert read.value("toxicity") == 0.25


def test_repeats_are_no_trials(tmp_path: Path) -> None:
    plan = hf.scenario("sampler").where(subject="music").limit(1).adapt(trials=2, repeats=3).metrics("exact_match")
    files = written(plan.generate("oracle()").score(), tmp_path / "suite")
    trials = [
        each["mean"] for row in files["per_instance_stats"] for each in row["stats"] if "trials" in each["name"]["name"]
    ]
    assert trials == [2.0] * 6


def test_tokens_of_all_outputs_of_a_request_are_added_up(tmp_path: Path) -> None:
    answer = Completion("a b", output_tokens=2)
    plan = hf.scenario(pl.DataFrame({"input": ["q"], "references": [["a b"]]}), name="texts")
    plan = plan.metrics("exact_match").generate(lambda prompt, temperature: answer, n=3, temperature=1.0)
    means = written_stats(plan.score(), tmp_path / "suite")
    assert (means["num_output_tokens", None], means["num_completion_tokens", None]) == (6.0, 6.0)


def test_accuracy_over_all_instances_has_no_worst_case() -> None:
    columns = {"trial": 0, "instance_id": "id1", "description": None, "robustness": False, "fairness": False}
    context = {"split": "test", "sub_split": None, "score": 1.0}
    rows = pl.DataFrame([columns | context | {"name": name} for name in ("bbq_accuracy", "exact_match")])
    rows = rows.cast({"description": pl.String, "sub_split": pl.String})
    sets = rows.clear().select("trial", "description", "split", "sub_split", "name", "score")
    stats = [each["name"] for each in stats_of(rows, sets, worst=True)]
    assert {each["name"] for each in stats} >= {"bbq_accuracy", "exact_match"}
    assert {each["name"] for each in stats if "perturbation" in each} == {"exact_match"}


def test_log_probabilities_of_texts_and_options_are_read_back(tmp_path: Path) -> None:
    texts = pl.DataFrame({"input": ["The sea is wide.", "Zoë sings."], "references": [[""], [""]]})
    modelled = hf.scenario(texts, name="texts").adapt(method="language_modeling").metrics("bits_per_byte", "perplexity")
    options = hf.scenario("sampler").where(subject="music").limit(4)
    options = options.adapt(method="multiple_choice_separate_original", shots=0).metrics("option_accuracy_per_token")
    for name, plan in (("texts", modelled), ("options", options)):
        ours = plan.generate(Scorer()).score()
        ours.to_helm(tmp_path / name)
        again = hf.read_helm(tmp_path / name)
        columns = ["instance_id", "reference_index", "continuation", "completion", "logprob"]
        one, two = (each.completions.select(columns).collect().sort(columns[:2]) for each in (ours, again))
        assert two.equals(one)
        for metric in ours.metric_names:
            assert again.rescore(metric).value(metric) == pytest.approx(ours.value(metric))


def test_metrics_of_seahelm_have_names_with_their_language() -> None:
    classes = "helm.benchmark.metrics.seahelm_metrics."
    specs: list[dict[str, Any]] = [
        {"class_name": f"{classes}SEAHELMQAMetric", "args": {"language": "th"}},
        {"class_name": f"{classes}SEAHELMMachineTranslationMetric"},
    ]
    assert metrics_of(specs, "generation") == [
        *("squad_exact_match_score(language='th')", "squad_f1_score(language='th')", "chr_f_plus_plus")
    ]


def test_metrics_of_whole_sets_are_written_for_each_perturbation(tmp_path: Path) -> None:
    plan = hf.scenario("sampler").where(subject="music").limit(6).perturb("lowercase")
    plan = plan.metrics("exact_match", "classification_macro_f1")
    results = plan.generate("noisy(accuracy=0.5)").score()
    means = written_stats(results, tmp_path / "suite")
    table = results.table("perturbation", metrics="classification_macro_f1")
    values = dict(table.select("perturbation", "value").iter_rows())
    assert means["classification_macro_f1", None] == pytest.approx(values["original"])
    assert means["classification_macro_f1", "lowercase"] == pytest.approx(values["lowercase"])


def test_models_without_an_organisation_get_one_that_helms_registry_knows(tmp_path: Path) -> None:
    hf.scenario("sampler").where(subject="music").limit(1).generate("oracle()").score().to_helm(tmp_path / "suite")
    said = (tmp_path / "suite" / "prod_env" / "model_deployments.yaml").read_text()
    assert "- name: helmframe/oracle\n" in said
    assert "release_date: 1970-01-01" in (tmp_path / "suite" / "prod_env" / "model_metadata.yaml").read_text()


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    results = hf.scenario("sampler").where(subject="music").limit(1).generate("oracle()").score()
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="isn't empty"):
        results.to_helm(tmp_path)
    with pytest.raises(StoreError, match=r"file is a file\. Write the path of a folder"):
        results.to_helm(tmp_path / "file")


def our_stats(results: hf.Results, folder: Path) -> dict[str, dict[str, Any]]:
    """Return the statistics of unperturbed instances in stats.json by name."""
    stats = written(results, folder)["stats"]
    return {each["name"]["name"]: each for each in stats if "perturbation" not in each["name"]}


def test_the_tokens_of_all_outputs_of_a_request_are_summed(tmp_path: Path) -> None:
    frame = pl.DataFrame({"q": ["one", "two"], "a": ["x", "x"]})
    answers = {"one": [Completion("x", output_tokens=2), Completion("x y", output_tokens=4)]}
    answers["two"] = [Completion("", output_tokens=0), Completion("z", output_tokens=1)]

    def outputs(prompt: str) -> Completion:
        return answers["one" if "one" in prompt else "two"].pop()

    plan = hf.scenario(frame, input="q", references="a").adapt(shots=0).metrics("exact_match", "num_output_tokens")
    stats = our_stats(plan.generate(outputs, n=2).score(), tmp_path / "suite")
    assert stats["num_output_tokens"]["mean"] == stats["num_completion_tokens"]["mean"] == (6 + 1) / 2


BBQ: dict[str, list[Any]] = {
    "text": ["Ann and Bo met.", "Ann and Bo met. Ann was late."],
    "options": [["Ann", "Bo", "Unknown"]] * 2,
    "right": [2, 0],
    "context_condition": ["ambig", "disambig"],
    "question_polarity": ["neg", "neg"],
}
BBQ_METRICS = ("bbq_accuracy", "bbq_metric_ambiguous_bias", "bbq_metric_unambiguous_bias")


def bbq() -> hf.Plan:
    roles = ("target", "non-target", "unknown")
    references = [
        [{"text": text, "correct": index == right, "tags": [roles[index]]} for index, text in enumerate(options)]
        for options, right in zip(BBQ["options"], BBQ["right"], strict=True)
    ]
    frame = pl.DataFrame({**BBQ, "references": references})
    return hf.scenario(frame, input="text", references="references").metrics("exact_match", *BBQ_METRICS)


def test_the_accuracy_of_bbq_is_over_the_whole_set_without_empty_completions(tmp_path: Path) -> None:
    plan = bbq().adapt(method="multiple_choice_joint", shots=0).perturb("uppercase")
    results = plan.generate(lambda prompt: "" if "LATE" in prompt.upper() else "A").score()
    files = written(results, tmp_path / "suite")
    stats = [each for each in files["stats"] if each["name"]["name"] == "bbq_accuracy"]
    assert [each["mean"] for each in stats] == [0.0, 0.0]
    assert {each["name"].get("perturbation", {}).get("computed_on") for each in stats} == {None, "perturbed"}
    names = {each["name"]["name"] for element in files["per_instance_stats"] for each in element["stats"]}
    assert "exact_match" in names
    assert "bbq_accuracy" not in names


def test_bbq_has_no_accuracy_and_no_bias_in_helm_where_options_are_scored_separately(tmp_path: Path) -> None:
    plan = bbq().adapt(method="multiple_choice_separate_original")
    results = plan.generate(hf.models.oracle()).score()
    assert results.value("bbq_accuracy") == 1.0  # of the likeliest option
    stats = our_stats(results, tmp_path / "suite")
    assert stats["bbq_accuracy"]["count"] == 0
    assert [(stats[name]["count"], stats[name]["mean"]) for name in BBQ_METRICS[1:]] == [(1, 0.0)] * 2
    assert "logprob" not in stats
