"""Tables and statistics of a run that stopped early."""

import polars as pl
import pytest

import helmframe as hf
from helmframe.cli.app import main
from helmframe.errors import NotComparableError


@pytest.fixture(scope="module")
def results() -> hf.Results:
    rows = pl.DataFrame({"q": [f"question {index}?" for index in range(600)], "a": ["yes"] * 600})
    plan = hf.scenario(rows, input="q", references="a", name="asked").adapt(shots=0).perturb("lowercase")
    models = {"a": hf.models.noisy(0.9), "b": hf.models.noisy(0.5)}
    scored = plan.metrics("exact_match", "f1_score", "output_words", "classification_macro_f1").generate(models)
    return scored.score(until=hf.precise(0.08, metric="exact_match"))


def test_other_bounded_metrics_have_a_sequence_too_and_those_without_bounds_have_no_interval(
    results: hf.Results,
) -> None:
    table = results.table().filter(pl.col("model") == "a", pl.col("perturbation") == "original")
    how = dict(table.select("metric", "interval").iter_rows())
    assert how["f1_score"] == "betting (anytime)"
    assert (
        how["output_words"]
        == how["classification_macro_f1"]
        == "no interval: stopped early, and the metric has no bounds"
    )
    without = table.filter(pl.col("metric").is_in(["output_words", "classification_macro_f1"]))
    assert without["value"].null_count() == 0
    assert without["ci_low"].null_count() == 2
    assert table["stderr"].null_count() == table.height


def test_another_level_is_another_interval(results: hf.Results) -> None:
    wide, narrow = (results.table(metrics="exact_match", ci=ci) for ci in (0.99, 0.8))
    assert (wide["ci_low"] < narrow["ci_low"]).all()
    assert (wide["ci_high"] > narrow["ci_high"]).all()


@pytest.mark.parametrize("by", ["scenario", ["model"], ["model", "perturbation", "trial"]])
def test_over_several_cells_there_is_a_value_and_no_interval(results: hf.Results, by: str | list[str]) -> None:
    table = results.table(by, metrics="exact_match", pool=True)
    assert table["ci_low"].null_count() == table.height
    assert table["interval"].str.starts_with("no interval: stopped early; group by scenario").all()


def test_n_run_and_n_total_add_up_over_cells(results: hf.Results) -> None:
    cells = results.table(metrics="exact_match")
    whole = results.table("scenario", metrics="exact_match", pool=True)
    assert whole.select("n_run", "n_total").row(0) == (cells["n_run"].sum(), 4 * 600)


def test_what_is_for_a_fixed_number_of_instances_is_refused(results: hf.Results) -> None:
    for ask in (
        lambda: results.leaderboard(),
        lambda: results.gate(against=results),
        lambda: hf.compare(results, results),
    ):
        with pytest.raises(NotComparableError, match=r"stopped early by until=precise\(0.08"):
            ask()
    assert results.gate(at_least=0.2, columns=["exact_match"]).verdict == "pass"


def test_a_comparison_within_it_has_the_intervals_of_differences_and_no_p(results: hf.Results) -> None:
    way = {"output_words": True}
    table = results.compare("model", base="b", metrics=["exact_match", "output_words"], higher_is_better=way)
    right = table.filter(pl.col("metric") == "exact_match")
    assert (right["joint_low"] < right["ci_low"]).all()
    assert (right["ci_low"] > 0).all()
    assert right["interval"].unique().to_list() == ["betting (anytime)"]
    assert table.select("p", "p_holm", "stderr", "mde").null_count().row(0) == (table.height,) * 4
    assert table.filter(pl.col("metric") == "output_words")["interval"].str.starts_with("no interval").all()
    with pytest.raises(NotComparableError, match="a worst case needs"):
        results.compare("model", worst="all")


def test_the_difference_that_was_watched_is_the_one_compared() -> None:
    rows = pl.DataFrame({"q": [f"question {index}?" for index in range(300)], "a": ["yes"] * 300})
    plan = hf.scenario(rows, input="q", references="a", name="asked").adapt(shots=0).metrics("exact_match")
    plan = plan.generate({"a": hf.models.noisy(0.8), "b": hf.models.noisy(0.5)})
    results = plan.score(until=hf.decided("a", "b"))
    (looks,) = results.manifest["until"]["looks"].values()
    estimate = looks["cells"][0]["estimate"]
    (row,) = results.compare("model", base="b").to_dicts()
    assert {name: row[name] for name in ("ci_low", "ci_high")} == {n: estimate[n] for n in ("ci_low", "ci_high")}
    assert row["difference"] == estimate["value"]
    assert row["n"] == estimate["n_run"]


def test_paired_changes_say_that_they_stopped_early(results: hf.Results) -> None:
    changes = results.robustness(metrics="exact_match")
    assert changes["interval"].str.ends_with(", ignores early stopping").all()


def test_metrics_scored_later_have_their_sequence(results: hf.Results) -> None:
    again = results.rescore("quasi_exact_match").table()
    assert again["interval"].unique().to_list() == ["prior–posterior ratio (anytime)"]


def test_results_that_were_moved_say_the_same(results: hf.Results, tmp_path: object) -> None:
    moved = hf.load(results.to_parquet(f"{tmp_path}/moved"))
    assert moved.table().equals(results.table())
    assert "stopped early by precise(0.08, metric='exact_match')" in repr(moved)


def test_the_command_stops_too(capsys: pytest.CaptureFixture[str]) -> None:
    entry = "sampler:subject=music,model=noisy(accuracy=0.6)"
    assert main(["run", entry, "--until", "precise(.3)"]) == 0
    assert "stopped early by precise(0.3)" in capsys.readouterr().out
    assert main(["run", entry, "--until", "precise"]) == 2
    assert 'the rule must be "precise(0.03)"' in capsys.readouterr().err


def test_scores_of_a_stopped_run_are_marked_outside_its_results(results: hf.Results) -> None:
    scores = results.scores.filter(metric="exact_match")
    table = hf.stats.table(scores)
    assert table["interval"].str.ends_with(", ignores early stopping").all()
    compared = hf.stats.compare(scores, "model", ["perturbation"], higher_is_better={"exact_match": True})
    assert compared["interval"].str.ends_with(", ignores early stopping").all()
    assert not results.table()["interval"].str.contains("ignores").any()
