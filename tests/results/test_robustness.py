"""Robustness of results: which perturbations count, and how often outputs and scores changed."""

import polars as pl
import pytest

import helmframe as hf
from helmframe.errors import ArgumentError, NotComparableError, UnknownNameError

EXACT = "exact_match"


@hf.perturbation("shouted")
def shouted(text: pl.Expr) -> pl.Expr:
    """Capitals."""
    return text.str.to_uppercase()


@hf.perturbation("mirrored", kind="fairness", fields="both")
def mirrored(text: pl.Expr) -> pl.Expr:
    """Every text from its end."""
    return text.str.reverse()


def music() -> hf.Plan:
    return hf.scenario("sampler").where(subject="music").metrics(EXACT)


def run(*perturbations: str, model: hf.Model | None = None, seeds: int = 1) -> hf.Results:
    return music().perturb(list(perturbations), seeds=seeds).generate(model or hf.models.noisy(0.6)).score()


def names(table: pl.DataFrame) -> list[str]:
    return table["perturbation"].to_list()


def test_each_perturbation_counts_as_what_it_says() -> None:
    results = run("typos", "shouted", "mirrored", "rerun")
    assert names(results.robustness()) == ["all", "typos", "shouted"]
    assert names(results.fairness()) == ["all", "mirrored"]
    assert results.robustness()["k"].to_list() == [2, 1, 1]


def test_a_chain_counts_as_fairness_if_a_link_does() -> None:
    assert names(run("mirrored+typos").fairness()) == ["all", "mirrored+typos"]


def test_what_is_registered_elsewhere_counts_as_robustness() -> None:
    results = run("typos")
    scores = results.scores.with_columns(pl.col("perturbation").replace("typos", "elsewhere(text='a) b')"))
    assert names(hf.Results(results.completions, scores, results.prefixes, results.manifest).robustness()) == [
        "all",
        "elsewhere(text='a) b')",
    ]


def test_a_perturbation_counts_as_the_manifest_says() -> None:
    results = run("typos", "mirrored")
    assert results.manifest["perturbations"]["mirrored"] == {"kind": "fairness", "repeats": False, "seeds": 1}
    scores = results.scores.with_columns(pl.col("perturbation").replace("typos", "elsewhere"))
    entries = {"elsewhere": {"kind": "fairness", "repeats": False}, "mirrored": {"kind": "robustness", "repeats": True}}
    declared = hf.Results(results.completions, scores, results.prefixes, {**results.manifest, "perturbations": entries})
    assert names(declared.fairness()) == ["all", "elsewhere"]
    assert declared.robustness().height == 0
    assert declared.worst_case()["variants"].item() == "original, elsewhere"


def test_without_perturbations_of_a_family_there_are_no_rows() -> None:
    assert run("typos").fairness().height == 0


def test_perturbations_may_be_chosen_by_name_strength_or_family() -> None:
    results = run("typos(prob=0.1)", "typos(prob=0.2)", "lowercase", "mirrored")
    assert names(results.robustness(perturbations="typos")) == ["all", "typos(prob=0.1)", "typos(prob=0.2)"]
    assert names(results.robustness(perturbations=["lowercase", "typos(prob=0.2)"]))[1:] == [
        "typos(prob=0.2)",
        "lowercase",
    ]
    assert results.worst_case(perturbations="fairness")["variants"].item() == "original, mirrored"
    with pytest.raises(UnknownNameError, match=r"Unknown perturbation 'tpyos' of these results\. Did you mean"):
        results.robustness(perturbations="tpyos")


def test_a_placebo_is_shown_on_request() -> None:
    table = run("typos", "rerun").robustness(placebo="rerun")
    assert names(table) == ["all", "typos", "rerun"]
    row = table.filter(perturbation="typos").row(0, named=True)
    # the toy answers the same prompt alike, so nothing is subtracted
    assert row["excess"] == row["change"] * row["n_changed"] / row["n_placebo"]


def test_worst_case_is_over_the_original_and_all_variants() -> None:
    row = run("typos", "lowercase", "rerun").worst_case().row(0, named=True)
    assert (row["k"], row["variants"], row["n"]) == (2, "original, lowercase, typos", 32)
    assert row["value"] < run().value()


def test_worst_at_k_is_of_k_draws() -> None:
    results = run("typos", "rerun", seeds=4)
    table = results.worst_case(k=2)
    assert table["variants"].to_list() == ["2 of 4 seeds of typos", "2 of 4 seeds of rerun"]
    mean = results.robustness().filter(perturbation="typos")["perturbed"].item()
    assert table["value"][0] < results.worst_case(k=1)["value"][0] == pytest.approx(mean)


def test_worst_cases_of_two_models_are_paired() -> None:
    models = {"good": hf.models.oracle(), "bad": hf.models.noisy(0.4)}
    results = music().perturb(["typos", "lowercase"]).generate(models).score()
    row = results.compare("model", "bad", worst="all").row(0, named=True)
    worst = dict(results.worst_case(["model"]).select("model", "value").iter_rows())
    assert (row["a"], row["b"]) == ("good", "bad")
    assert (row["value_a"], row["value_b"]) == (worst["good"], worst["bad"])


def test_worst_cases_over_other_variants_are_not_compared() -> None:
    one, two = run("typos"), run("typos", "lowercase")
    with pytest.raises(NotComparableError, match=r"'a' over original, typos; 'b' over original, lowercase, typos"):
        hf.compare(one, two, worst="all")
    with pytest.raises(NotComparableError, match=r"typos × 2"):
        hf.compare(run("typos", seeds=2), one, worst="all")


def test_worst_of_k_draws_compares_runs_with_other_numbers_of_seeds() -> None:
    one, two = run("typos", seeds=3), run("typos", seeds=4, model=hf.models.oracle())
    row = hf.compare(one, two, worst=2).row(0, named=True)
    assert (row["value_b"], row["n"]) == (1.0, 32)


@pytest.mark.parametrize("worst", ["some", True])
def test_worst_is_all_or_a_number(worst: object) -> None:
    with pytest.raises(ArgumentError, match="worst must be 'all' or an integer"):
        hf.compare(run("typos"), run("typos"), worst=worst)  # type: ignore[arg-type]


def test_perturbations_have_no_worst_case_each() -> None:
    with pytest.raises(ArgumentError, match="a worst case is over all perturbations"):
        run("typos").compare("perturbation", worst="all")


def test_helms_definition_drops_copies_whose_input_is_unchanged() -> None:
    @hf.perturbation("other_options", fields="references")
    def other_options(text: pl.Expr) -> pl.Expr:
        return text + "!"

    table = run("other_options", "lowercase").robustness(definition="helm")
    assert table.select("perturbation", "denominator", "n").rows() == [
        ("original", "all instances", 32),
        ("robustness", "all instances", 32),
        ("lowercase", "instances it changed", 32),
    ]


def test_helms_definition_has_both_families() -> None:
    results = run("lowercase", "mirrored")
    assert names(results.fairness(definition="helm")) == ["original", "fairness", "mirrored"]


def test_an_unknown_definition_is_named() -> None:
    with pytest.raises(ArgumentError, match=r"definition='hlem': definition must be .*\. Did you mean 'helm'"):
        run("typos").robustness(definition="hlem")
    with pytest.raises(ArgumentError, match="no placebo"):
        run("typos", "rerun").robustness(definition="helm", placebo="rerun")


def test_flips_show_what_changed_and_what_became_of_it() -> None:
    results = run("typos", "lowercase")
    flips = results.flips("typos")
    row = results.robustness().filter(perturbation="typos").row(0, named=True)
    assert flips.filter(flip="worse").height == row["right_to_wrong"]
    assert flips.filter(flip="better").height == row["wrong_to_right"]
    assert (flips["score"] != flips["perturbed_score"]).all()
    assert (flips["completion"] != flips["perturbed_completion"]).all()
    assert flips["diff"].str.contains("→").all()
    assert set(results.flips()["perturbation"]) == {"typos", "lowercase"}


def test_flips_show_changed_references_too() -> None:
    frame = pl.DataFrame({"q": ["one"], "c": [["ab", "cd"]], "a": [0]})

    def first_letter(prompt: str) -> str:
        return "A" if "ab" in prompt else "B"

    plan = hf.scenario(frame, input="q", choices="c", answer="a").perturb("mirrored").generate(first_letter)
    row = plan.score().flips().row(0, named=True)
    assert (row["input"], row["perturbed_input"]) == ("one\nab\ncd", "eno\nba\ndc")
    assert row["diff"] == "[one→eno]\n[ab→ba]\n[cd→dc]"
    assert (row["output"], row["perturbed_output"], row["flip"]) == ("ab", "dc", "worse")


def test_flips_of_options_that_are_scored_one_by_one() -> None:
    frame = pl.DataFrame({"q": ["one", "two"], "c": [["ab", "cd"], ["ab", "cd"]], "a": [0, 1]})

    class FirstUnlessShouted:
        def generate(self, prompts: list[str]) -> list[str]:
            raise NotImplementedError

        def loglikelihood(self, pairs: list[tuple[str, str]]) -> list[float]:
            return [
                -1.0 if (option == " ab") == ("one" in prompt or "two" in prompt) else -2.0 for prompt, option in pairs
            ]

    plan = hf.scenario(frame, input="q", choices="c", answer="a", method="multiple_choice_separate_original")
    results = plan.perturb("shouted").metrics("option_accuracy").generate(FirstUnlessShouted()).score()
    shown = results.flips().select("input", "perturbed_input", "flip", "completion", "perturbed_completion")
    assert shown.rows() == [
        ("one", "ONE", "worse", " ab", " cd"),
        ("two", "TWO", "better", " ab", " cd"),
    ]


def test_a_model_that_never_flips_has_none() -> None:
    flips = run("typos", model=hf.models.noisy(0.6, by="instance")).flips()
    assert flips.height == 0
    assert "<table>" in flips._repr_html_()


def test_flips_of_the_best_of_several_outputs() -> None:
    plan = music().metrics(EXACT, f"{EXACT}@2").perturb("typos").generate(hf.models.noisy(0.3), n=2)
    flips = plan.score().flips(metric=f"{EXACT}@2")
    assert flips.height > 0
    assert flips["output_index"].is_null().all()
    assert flips["completion"].is_not_null().all()


def test_flips_of_an_unknown_perturbation_raise() -> None:
    with pytest.raises(UnknownNameError, match="Unknown perturbation 'lowercase' of these results"):
        run("typos").flips("lowercase")


def test_outputs_that_depend_only_on_the_instance_are_consistent() -> None:
    results = run("typos", "rerun", model=hf.models.noisy(0.3, by="instance"))
    table = results.consistency()
    assert names(table) == ["all", "typos", "rerun"]
    assert table["always"].to_list() == [1.0, 1.0, 1.0]


def test_an_option_with_perturbed_text_is_the_same_output() -> None:
    assert run("mirrored", model=hf.models.oracle()).consistency()["consistency"].to_list() == [1.0, 1.0]


def test_free_text_is_the_same_in_its_words_or_to_the_letter() -> None:
    def loud(prompt: str) -> str:
        return "The Answer." if "ONE" in prompt or "TWO" in prompt else "answer"

    frame = pl.DataFrame({"q": ["one", "two"], "a": ["answer", "answer"]})
    results = hf.scenario(frame, input="q", references="a").perturb("shouted").generate(loud).score()
    assert results.consistency()["consistency"].to_list() == [1.0, 1.0]
    assert results.consistency(exact=True)["consistency"].to_list() == [0.0, 0.0]


def test_groups_against_all_and_against_one() -> None:
    results = hf.scenario("sampler").metrics(EXACT).perturb("typos").generate(hf.models.noisy(0.6)).score()
    table = results.gap("subject")
    assert table.columns[:6] == ["scenario", "model", "perturbation", "metric", "subject", "value"]
    music = table.filter(subject="music", perturbation="original").row(0, named=True)
    assert music["gap"] == pytest.approx(music["value"] - results.value())
    assert music["ci_low"] < music["gap"] < music["ci_high"]
    other = results.gap("subject", "model", reference="music")
    assert "music" not in other["subject"]
    assert other["n_reference"].unique().to_list() == [32]


def test_sub_populations_are_columns_of_the_scenario() -> None:
    frame = pl.DataFrame({"q": ["a", "b", "c"], "a": ["yes", "no", "yes"], "group": ["x", "x", "y"]})

    def yes(prompt: str) -> str:
        return "yes"

    results = hf.scenario(frame, input="q", references="a").perturb("shouted").generate(yes).score()
    assert results.table("group", metrics=EXACT, pool=True)["value"].to_list() == [0.5, 1.0]
    assert results.robustness("group", metrics=EXACT)["group"].to_list() == ["x", "x", "y", "y"]
    assert results.gap("group", metrics=EXACT)["group"].to_list() == ["x", "y"] * 2


def test_a_metric_without_a_direction_has_no_worst_case() -> None:
    plan = music().metrics(EXACT, "num_output_tokens", pl.col("completion").str.len_chars().alias("length"))
    results = plan.perturb("typos").generate(hf.models.noisy(0.6)).score()
    table = results.robustness(metrics=["length", EXACT]).filter(perturbation="typos").sort("metric")
    assert dict(table.select("metric", pl.col("worst").is_null()).rows()) == {EXACT: False, "length": True}
    assert table["change"].null_count() == 0
    assert set(results.worst_case()["metric"]) == {EXACT}
    with pytest.raises(ArgumentError, match="Metric 'length' has no direction"):
        results.worst_case(metrics="length")
    with pytest.raises(ArgumentError, match="the metric has no direction, so no change is better or worse"):
        results.flips(metric="length")
