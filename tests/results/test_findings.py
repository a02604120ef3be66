"""Findings in words: their numbers are those of the tables, and nothing is significant that the tests reject."""

import re

import polars as pl
import pytest

import helmframe as hf
from helmframe.results import Finding, findings

MODELS = {
    "small": hf.models.noisy(0.4, seed=1),
    "medium": hf.models.noisy(0.6, seed=2),
    "large": hf.models.noisy(0.95, seed=3),
}


def numbers(text: str) -> list[float]:
    """Return the numbers of a sentence that have a decimal point, without signs."""
    return [float(number) for number in re.findall(r"\d+\.\d+", text)]


def percents(*values: float | None) -> list[float]:
    return [round(100 * abs(value), 1) for value in values if value is not None]


def of_kind(results: hf.Results, kind: str) -> list[Finding]:
    return [finding for finding in findings(results) if finding.kind == kind]


@pytest.fixture(scope="module")
def results() -> hf.Results:
    plan = hf.scenario("sampler").where(subject=["music", "biology"]).perturb(["typos", "uppercase"])
    return plan.generate(MODELS).metrics("exact_match", "f1").score()


def test_the_best_score_equals_the_table(results: hf.Results) -> None:
    (finding,) = of_kind(results, "scores")
    row = results.table(metrics="exact_match").filter(model="large", perturbation="original").row(0, named=True)
    assert finding.text.startswith("large has the best score, ")
    assert numbers(finding.text) == percents(row["value"], row["ci_low"], row["ci_high"], row["chance"])
    assert (finding.estimate, finding.low, finding.high) == (row["value"], row["ci_low"], row["ci_high"])


def test_differences_equal_the_comparison(results: hf.Results) -> None:
    sentences = of_kind(results, "models")
    table = results.compare("model", base="large").filter(perturbation="original")
    assert [finding.row["a"] for finding in sentences] == table["a"].to_list() == ["medium", "small"]
    for finding, row in zip(sentences, table.iter_rows(named=True), strict=True):
        assert finding.table == "results.compare('model', base='large')"
        assert finding.text.startswith(f"large beats {row['a']} by ")
        low, high = row["ci_high"], row["ci_low"]  # of large − the other
        assert numbers(finding.text) == percents(row["difference"], low, high)
        assert (finding.estimate, finding.low, finding.high) == (row["difference"], row["ci_low"], row["ci_high"])
        assert finding.significant


def test_equal_models_do_not_differ_significantly() -> None:
    plan = hf.scenario("sampler").where(subject="music")
    results = plan.generate({"a": hf.models.noisy(0.6, seed=1), "b": hf.models.noisy(0.6, seed=2)}).score()
    (finding,) = of_kind(results, "models")
    row = results.compare("model", base=finding.row["b"]).row(0, named=True)
    assert "do not differ significantly: " in finding.text
    assert row["p"] > 0.05
    assert finding.significant is False
    assert sorted(numbers(finding.text)) == sorted(percents(row["difference"], row["ci_low"], row["ci_high"]))


def test_changes_equal_the_robustness_table(results: hf.Results) -> None:
    sentences = of_kind(results, "robustness")
    table = results.robustness(metrics="exact_match").filter(pl.col("perturbation") != "all")
    assert table.height == 6
    for finding in sentences:
        if not finding.row:
            continue
        row = table.filter(model=finding.row["model"], perturbation=finding.row["perturbation"]).row(0, named=True)
        assert sorted(numbers(finding.text)) == sorted(percents(row["change"], row["change_low"], row["change_high"]))
        assert finding.estimate == row["change"]


def test_a_large_effect_is_a_significant_cost() -> None:
    @hf.perturbation("emptied_of_words")
    def emptied(text: pl.Expr) -> pl.Expr:
        return pl.lit("?")

    def copy(prompt: str) -> str:
        return ["?", *map(str, re.findall(r"item \d+", prompt))][-1]

    frame = pl.DataFrame({"q": [f"item {i}" for i in range(40)], "a": [f"item {i}" for i in range(40)]})
    plan = hf.scenario(frame, input="q", references="a", name="copy").adapt(shots=0).perturb(emptied())
    results = plan.generate(copy).metrics("f1_bag").score()
    sentences = of_kind(results, "robustness")
    row = results.robustness(metrics="f1_bag").filter(pl.col("perturbation") != "all").row(0, named=True)
    assert row["change_high"] < 0
    assert sentences[0].text.startswith("emptied_of_words costs copy ")
    assert sentences[0].significant


def test_failures_come_first_with_counts() -> None:
    def model(prompt: str) -> str:
        if "a" in prompt[-60:]:
            raise RuntimeError("quota <b>exceeded</b>")
        return "A"

    results = hf.scenario("sampler").where(subject="music").generate({"flaky": model, "echo": hf.models.echo()}).score()
    first, *others = findings(results)
    failed = results.errors().height
    assert failed > 0
    assert first.kind == "failures"
    assert first.estimate == failed
    assert first.text.startswith(f"{failed} of 64 requests failed (")
    assert "RuntimeError: quota <b>exceeded</b>" in first.text
    assert any(finding.kind == "models" and "not compared" in finding.text for finding in others)


def test_a_metric_that_is_better_when_lower() -> None:
    @hf.metric("length_in_words", higher_is_better=False, unit="words")
    def length(output: str) -> float:
        return float(len(output.split()))

    frame = pl.DataFrame({"q": [f"item number {i}" for i in range(30)], "a": ["x"] * 30})

    def terse(prompt: str) -> str:
        return "x"

    def wordy(prompt: str) -> str:
        return "x " * (3 + len(prompt) % 2)

    plan = hf.scenario(frame, input="q", references="a", name="words").adapt(shots=0)
    results = plan.generate({"wordy": wordy, "terse": terse}).metrics("length_in_words").score()
    (score,) = of_kind(results, "scores")
    assert score.text.startswith("terse has the best score, 1 ")
    (difference,) = of_kind(results, "models")
    assert difference.text.startswith("terse beats wordy by ")
    assert "−" not in difference.text


def test_sentences_name_scenarios_only_if_there_are_several(results: hf.Results) -> None:
    assert all(" on sampler" not in finding.text for finding in findings(results))
    frame = pl.DataFrame({"q": ["one", "two"] * 10, "a": ["one", "x"] * 10})
    plans = [hf.scenario(frame, input="q", references="a", name=name) for name in ("left", "right")]
    suite = hf.suite(*plans).generate({"echo": hf.models.echo(), "oracle": hf.models.oracle()})
    texts = [finding.text for finding in findings(suite.score())]
    assert any(" on left" in text for text in texts)
    assert any(" on right" in text for text in texts)


def test_names_of_models_are_cut_and_visible() -> None:
    name = "m" * 300 + "\u202e"
    plan = hf.scenario("sampler").where(subject="music").limit(4)
    text = plan.generate({name: hf.models.oracle()}).score().findings()[0].text
    assert len(text) < 160
    assert "\u202e" not in text


def test_a_metric_that_fails_is_a_failure() -> None:
    @hf.metric("always_fails")
    def fails(output: str) -> float:
        raise ValueError("no dictionary")

    plan = hf.scenario("sampler").where(subject="music").limit(4).metrics("always_fails")
    (finding,) = plan.generate(hf.models.oracle()).score().findings()
    assert finding.kind == "failures"
    assert "4 of 4 completions have no score: ValueError: no dictionary" in finding.text


def test_a_change_of_too_few_inputs_is_not_reported_as_the_largest() -> None:
    @hf.perturbation("rare_change")
    def rare(text: pl.Expr) -> pl.Expr:
        return pl.when(text.str.contains("item 7$")).then(pl.lit("?")).otherwise(text)

    frame = pl.DataFrame({"q": [f"item {i}" for i in range(40)], "a": [f"item {i}" for i in range(40)]})
    plan = hf.scenario(frame, input="q", references="a", name="copies").adapt(shots=0).perturb(rare())
    (finding,) = of_kind(plan.generate(hf.models.oracle()).score(), "robustness")
    assert finding.text == "No change under a perturbation has an interval (1 computed): too few inputs changed."


def test_several_differences_without_significance_are_one_sentence() -> None:
    models = {"best": hf.models.oracle(), **{name: hf.models.noisy(0.97, seed=n) for n, name in enumerate("abc")}}
    results = hf.scenario("sampler").where(subject="music").generate(models).score()
    (finding,) = [finding for finding in results.findings() if finding.kind == "models"]
    assert finding.text.startswith("No difference between models is significant (3 tested). The largest: ")
    assert finding.significant is False
