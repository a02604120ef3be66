"""Leaderboards and gates of results: columns, competitors, levels, baselines and refusals."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe.errors import ArgumentError, NotComparableError, UnknownNameError

MODELS = {"good": hf.models.oracle(), "fair": hf.models.noisy(0.6), "bad": hf.models.noisy(0.2)}


def plan(name: str, instances: int = 60) -> hf.Plan:
    rows = pl.DataFrame({"q": [f"{name}, question {index}?" for index in range(instances)], "a": ["yes"] * instances})
    return hf.scenario(rows, input="q", references="a", name=name).metrics("exact_match", "f1_score")


def run(*plans: hf.Plan, models: Any = MODELS) -> hf.Results:
    return hf.suite(*plans, models=models).score()


def test_a_suite_is_ranked_over_its_scenarios() -> None:
    board = run(plan("one"), plan("two")).leaderboard()
    assert board.table["model"].to_list() == ["good", "fair", "bad"]
    assert board.table["rank_high"].to_list() == [1, 2, 3]
    assert board.columns == ("one", "two")


def test_cells_are_the_values_of_the_table() -> None:
    results = run(plan("one"), plan("two"))
    cells = results.leaderboard().cells.filter(column="one").select("model", "value", "ci_low", "n").sort("model")
    table = results.table(["scenario", "model"], metrics="exact_match").filter(scenario="one").sort("model")
    assert cells.rows() == table.select("model", "value", "ci_low", "n").rows()


def test_columns_are_scenarios_metrics_or_both() -> None:
    results = run(plan("one"), plan("two"))
    assert results.leaderboard(columns="one").columns == ("one",)
    assert results.leaderboard(columns=["f1_score"]).columns == ("one", "two")
    both = results.leaderboard(columns=["one", ("one", "f1_score")])
    assert both.columns == ("one: exact_match", "one: f1_score")


def test_settings_of_a_grid_are_ranked_separately() -> None:
    board = run(plan("one").adapt(instructions=["", "Answer."]), models=hf.models.noisy(0.5)).leaderboard()
    assert len(board.pool) == 2
    assert all(name.startswith("noisy") for name in board.pool)


def test_worst_cases_are_ranked_over_the_same_variants() -> None:
    board = run(plan("one").perturb(["typos", "lowercase"])).leaderboard(worst="all", mean="mean")
    original = run(plan("one")).leaderboard(mean="mean")
    worst = dict(board.table.select("model", "value").iter_rows())
    assert worst["fair"] < dict(original.table.select("model", "value").iter_rows())["fair"]


def test_metrics_of_whole_sets_are_ranked_too() -> None:
    results = run(plan("one")).rescore("exact_match", "classification_macro_f1")
    board = results.leaderboard(columns=[("one", "classification_macro_f1")])
    assert board.table["model"].to_list()[0] == "good"
    with pytest.raises(ArgumentError, match="is a metric of the whole set"):
        results.leaderboard(columns=[("one", "classification_macro_f1")], worst="all")


def test_many_failed_requests_are_refused_unless_errors_is_set() -> None:
    def half(prompt: str) -> str:
        if "5" in prompt:
            raise ValueError("no fives")
        return "yes"

    results = run(plan("one"), models={**MODELS, "half": hf.model(half)})
    with pytest.raises(NotComparableError, match=r"25.0% of the requests of 'half' failed"):
        results.leaderboard()
    worst, dropped = (results.leaderboard(errors=errors, mean="mean") for errors in ("worst", "drop"))
    assert dict(worst.table.select("model", "value").iter_rows())["half"] == pytest.approx(0.75)
    assert dict(dropped.table.select("model", "value").iter_rows())["half"] == 1.0
    # the 15 instances are dropped for every model
    assert dropped.cells.select("n", "n_dropped").unique().rows() == [(45, 15)]


def test_an_unknown_column_is_named() -> None:
    results = run(plan("one"))
    with pytest.raises(
        UnknownNameError, match=r"Unknown scenario or metric 'on' of these results\. Did you mean 'one'"
    ):
        results.leaderboard(columns="on")
    with pytest.raises(UnknownNameError, match="Unknown metric 'f2_score' of these results"):
        results.leaderboard(columns=[("one", "f2_score")])


def test_one_model_has_no_leaderboard() -> None:
    with pytest.raises(ArgumentError, match=r"at least two models are needed. There is only one: 'oracle"):
        run(plan("one"), models=hf.models.oracle()).leaderboard()


def test_a_board_of_a_metric_over_whole_sets_is_paired_and_refuses_failures() -> None:
    def half(prompt: str) -> str:
        if "5" in prompt:
            raise ValueError("no fives")
        return "yes"

    results = run(plan("one"), models={**MODELS, "half": hf.model(half)}).rescore("classification_macro_f1")
    column = [("one", "classification_macro_f1")]
    with pytest.raises(NotComparableError, match=r"25\.0% of the requests of 'half' failed"):
        results.leaderboard(columns=column)
    with pytest.raises(ArgumentError, match="is a metric of the whole set"):
        results.leaderboard(columns=column, errors="worst")
    cells = results.leaderboard(columns=column, errors="drop").cells
    assert cells.select("n", "n_dropped").unique().rows() == [(45, 15)]


@hf.metric("rare_tokens_of_a_gate", level="output", unit="fraction", higher_is_better=False)
def rare_tokens_of_a_gate() -> pl.Expr:
    """Whether the answer is yes, which nobody wants here."""
    return (pl.col("output") == "yes").cast(pl.Float64)


def gate_plan(n: int = 100) -> hf.Plan:
    rows = pl.DataFrame({"q": [f"question {index}?" for index in range(n)], "a": ["yes"] * n})
    return hf.scenario(rows, input="q", references="a", name="asked").metrics("exact_match", "f1_score")


def noisy(share: float, seed: int = 0) -> Any:
    return hf.model(hf.models.noisy(share, seed=seed), name="m")


def score_models(models: Mapping[str, Any]) -> hf.Results:
    return gate_plan().generate(models).score()


@pytest.fixture(scope="module")
def gate_results() -> hf.Results:
    return score_models({"m": hf.models.noisy(0.7)})


def test_the_main_metric_is_held_against_the_line(gate_results: hf.Results) -> None:
    value = gate_results.value()
    assert gate_results.gate(at_least=value - 0.2).verdict == "pass"
    assert gate_results.gate(at_least=value).verdict == "undecided"
    gate = gate_results.gate(at_least=value + 0.2)
    assert (gate.verdict, gate.table["metric"].to_list(), gate.table["value"].to_list()) == (
        "fail", gate_results.main_metrics, [value],
    )  # fmt: skip


def test_columns_are_selected_by_name(gate_results: hf.Results) -> None:
    assert gate_results.gate(at_least=0.1, columns=["f1_score"]).table["metric"].to_list() == ["f1_score"]
    with pytest.raises(UnknownNameError, match="exact_match"):
        gate_results.gate(at_least=0.1, columns="exact_mach")


def test_the_rows_of_several_models_hold_together() -> None:
    two = score_models({name: hf.models.noisy(0.7, seed=seed) for seed, name in enumerate("xy")})
    gate = two.gate(at_least=0.3)
    # Bonferroni's level of two rows
    wider = hf.stats.gate(two.table("model", metrics=two.main_metrics, ci=0.975), at_least=0.3, ci=0.975)
    assert gate.table["ci_low"].to_list() == wider.table["ci_low"].to_list()


def test_original_inputs_alone_count() -> None:
    both = gate_plan().perturb("typos").generate(noisy(0.7)).score()
    assert both.gate(at_least=0.1).table["perturbation"].to_list() == ["original"]
    assert both.gate(against=both).table["perturbation"].to_list() == ["original"]


def test_a_run_passes_against_itself(gate_results: hf.Results) -> None:
    gate = gate_results.gate(against=gate_results, margin=0.05)
    assert (gate.verdict, gate.table["difference"].item()) == ("pass", 0.0)


def test_a_fall_fails_and_a_rise_passes(gate_results: hf.Results, tmp_path: Path) -> None:
    worse = score_models({"m": hf.models.noisy(0.3)})
    assert worse.gate(against=gate_results.to_parquet(tmp_path / "yesterday")).verdict == "fail"
    assert gate_results.gate(against=worse).verdict == "pass"


def test_too_few_instances_say_how_many_would_decide(gate_results: hf.Results) -> None:
    gate = score_models({"m": hf.models.noisy(0.7, seed=5)}).gate(against=gate_results, margin=0.02)
    assert (gate.verdict, gate.exit_code) == ("undecided", 3)
    assert gate.table["n_needed"].item() > 100
    assert "n needed" in repr(gate)


def test_too_many_errors_are_refused_by_default() -> None:
    def sometimes(prompt: str) -> str:
        if "question 1" in prompt:
            raise RuntimeError("no")
        return "yes"

    broken = gate_plan().generate(hf.model(sometimes, name="m")).score()
    for line in ({"at_least": 0.5}, {"against": broken}):
        with pytest.raises(NotComparableError, match="failed"):
            broken.gate(**line)
    assert broken.gate(at_least=0.9, errors="drop").table["value"].item() == 1.0
    # question 1 and 10 to 19
    assert broken.gate(at_least=0.9, errors="worst").table["value"].item() == pytest.approx(0.89)
    assert broken.gate(at_least=0.9, errors="drop").table.select("n", "n_completions", "n_error").row(0) == (
        89,
        100,
        11,
    )


def test_exactly_one_line_is_required(gate_results: hf.Results) -> None:
    with pytest.raises(ArgumentError, match="exactly one of at_least, at_most and against"):
        gate_results.gate()
    with pytest.raises(ArgumentError, match="exactly one of at_least, at_most and against"):
        gate_results.gate(at_least=0.5, against=gate_results)
    with pytest.raises(ArgumentError, match="exactly one of at_least, at_most and against"):
        gate_results.gate(at_least=0.5, at_most=0.5)
    with pytest.raises(ArgumentError, match=r"higher is better for .exact_match.\. Write gate\(at_least"):
        gate_results.gate(at_most=0.5)
    with pytest.raises(ArgumentError, match=r"gate\(at_least='30%'\): at_least must be a number"):
        gate_results.gate(at_least="30%")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="ci=95"):
        gate_results.gate(at_least=0.5, ci=95)


def test_a_metric_that_is_better_when_lower_has_a_line_above_or_a_baseline() -> None:
    lengths = gate_plan().metrics("rare_tokens_of_a_gate")
    results = lengths.generate(noisy(0.7)).score()
    with pytest.raises(ArgumentError, match=r"lower is better for 'rare_tokens_of_a_gate'\. Write gate\(at_most"):
        results.gate(at_least=0.5, columns="rare_tokens_of_a_gate")
    value = results.value("rare_tokens_of_a_gate")
    lines = {value + 0.2: "pass", value: "undecided", value - 0.2: "fail"}
    assert {line: results.gate(at_most=line, columns="rare_tokens_of_a_gate").verdict for line in lines} == lines
    more = lengths.generate(noisy(0.3)).score()
    assert more.gate(against=results, columns="rare_tokens_of_a_gate").verdict == "pass"
    assert results.gate(against=more, columns="rare_tokens_of_a_gate").verdict == "fail"


def test_numbers_of_whole_sets_have_a_gate_too(gate_results: hf.Results) -> None:
    scored = gate_results.rescore("exact_match", "classification_macro_f1")
    gate = scored.gate(at_least=0.01, columns="classification_macro_f1")
    assert (gate.verdict, gate.table["interval"].item()) == (
        "pass",
        scored.table(metrics="classification_macro_f1")["interval"].item(),
    )
    with pytest.raises(ArgumentError, match="is a metric of the whole set"):
        scored.gate(at_least=0.01, columns="classification_macro_f1", errors="worst")


def test_a_fraction_is_not_held_against_a_percentage(gate_results: hf.Results) -> None:
    with pytest.raises(
        ArgumentError,
        match=r"gate\(at_least=30\): .* between 0 and 1 for 'exact_match'.* Write 0\.3",
    ):
        gate_results.gate(at_least=30)


def fails_always(prompt: str) -> str:
    raise RuntimeError("down")


@pytest.mark.parametrize(("metric", "line"), [("exact_match", "at_least"), ("rare_tokens_of_a_gate", "at_most")])
def test_a_model_that_fails_everywhere_passes_no_gate(metric: str, line: str) -> None:
    metric_plan = gate_plan().metrics(metric)
    dead = metric_plan.generate(hf.model(fails_always, name="m")).score()
    wanted: dict[str, Any] = {line: 0.5, "columns": metric}
    with pytest.raises(NotComparableError, match=r"100\.0% of the requests of 'm' failed"):
        dead.gate(**wanted)
    worst = dead.gate(**wanted, errors="worst")
    assert (worst.verdict, worst.table["value"].item()) == ("fail", float(line == "at_most"))
    assert dead.gate(**wanted, errors="drop").verdict == "undecided"
    baseline = metric_plan.generate(hf.model(lambda prompt: "no", name="m")).score()
    assert dead.gate(against=baseline, columns=metric, errors="worst").verdict in ("fail", "undecided")


def test_a_scenario_that_failed_everywhere_is_not_skipped_in_a_gate_against_a_baseline() -> None:
    rows = pl.DataFrame({"q": [f"more {index}?" for index in range(40)], "a": ["yes"] * 40})
    more = hf.scenario(rows, input="q", references="a", name="more").metrics("exact_match")

    def no_more(prompt: str) -> str:
        if "more" in prompt:
            raise RuntimeError("down")
        return "yes"

    suite = hf.suite(gate_plan(), more, models=hf.model(no_more, name="m")).score()
    baseline = hf.suite(gate_plan(), more, models=hf.model(lambda prompt: "yes", name="m")).score()
    gate = suite.gate(against=baseline, margin=0.05, errors="drop")
    assert gate.table.select("scenario", "verdict", "n", "n_error").rows() == [
        ("asked", "pass", 100, 0),
        ("more", "undecided", 0, 40),
    ]


def test_an_instance_that_one_model_failed_on_is_dropped_for_all_models_of_a_gate() -> None:
    def sometimes(prompt: str) -> str:
        if "question 1" in prompt:
            raise RuntimeError("no")
        return "yes"

    two = gate_plan().generate({"a": hf.model(sometimes), "b": hf.model(lambda prompt: "yes", name="b")}).score()
    table = two.gate(at_least=0.5, errors="drop").table
    assert table.select("model", "n", "n_completions", "n_error").rows() == [("a", 89, 100, 11), ("b", 89, 100, 0)]
    sets = two.rescore("classification_macro_f1").gate(at_least=0.5, columns="classification_macro_f1", errors="drop")
    assert sets.table.select("model", "n", "n_error").rows() == [("a", 89, 11), ("b", 89, 0)]


def test_a_gate_about_the_benchmark_alone_is_decided_by_the_value() -> None:
    results = run(plan("one", 100), models=hf.models.noisy(0.7))
    value = results.value()
    assert results.gate(at_least=value).verdict == "undecided"
    known = results.gate(at_least=value, population="benchmark")
    assert (known.verdict, known.table["interval"].item()) == ("pass", "known: all instances of this benchmark ran")
    assert "over this benchmark's own instances only" in repr(known)
    assert results.gate(at_least=value + 0.001, population="benchmark").verdict == "fail"
    other = run(plan("one", 100), models=hf.models.noisy(0.7, seed=1))
    assert results.gate(against=other, margin=0.0).verdict == "undecided"
    assert results.gate(against=other, margin=0.0, population="benchmark").verdict in ("pass", "fail")
    with pytest.raises(ArgumentError, match=r"gate\(population='sample'\)"):
        results.gate(at_least=0.5, population="sample")


def test_a_gate_of_a_stopped_run_is_about_the_population_by_default() -> None:
    stopped = plan("one", 300).generate(hf.models.noisy(0.7)).score(until=hf.precise(0.03, population="benchmark"))
    value = stopped.value()
    assert stopped.gate(at_least=value - 0.03, columns="exact_match").verdict == "undecided"
    assert stopped.gate(at_least=value - 0.04, columns="exact_match", population="benchmark").verdict == "pass"


def skilled(skill: int) -> Any:
    """Return a model that has a question right if its number, shuffled, is below its skill, with a few exceptions."""

    def model(prompt: str) -> str:
        number = int(re.findall(r"question (\d+)", prompt)[-1])
        return "yes" if number * 7 % 60 < skill or (number * skill) % 11 == 3 else "no"

    return hf.model(model, name=f"skill{skill}", version="1")


def test_a_subset_chosen_from_an_earlier_run_predicts_the_full_score() -> None:
    whole = plan("one").adapt(shots=0)
    earlier = whole.generate([skilled(6 * skill) for skill in range(1, 10)]).score()
    errors = earlier.subset_errors([12, 24])
    assert errors.select("n", "method").rows()[:3] == [
        (12, "mean of a random subset"), (12, "random"), (12, "chosen"),
    ]  # fmt: skip
    chosen = whole.sample(12, like=earlier)
    assert chosen.instances().collect().height == 12
    subset, full = (some.generate(skilled(33)).score() for some in (chosen, whole))
    predicted = subset.full_scores(like=earlier).row(0, named=True)
    assert predicted["ci_low"] <= full.value("exact_match") <= predicted["ci_high"]
    assert (predicted["model"], predicted["n"], predicted["n_full"]) == ("skill33", 12, 60)
    # requests of a subset are those of the whole run
    ids = [set(results.completions.collect()["request_id"]) for results in (subset, full)]
    assert ids[0] < ids[1]


def test_a_subset_needs_models_and_scores_of_instances() -> None:
    earlier = run(plan("one"))
    with pytest.raises(NotComparableError, match=r"at least 5\. Write sample\(n\)"):
        plan("one").sample(5, like=earlier)
    with pytest.raises(ArgumentError, match="metric of the whole set"):
        earlier.rescore("classification_macro_f1").subset_errors(10)
