from typing import Any

import numpy as np
import polars as pl
import pytest

from helmframe.errors import ArgumentError, NotComparableError, UnknownNameError
from helmframe.stats import choose_subset, full_scores, subset_errors, table

N = 200


def responses(models: int = 40, n: int = N, seed: int = 1, **columns: Any) -> pl.DataFrame:
    """Draw right and wrong responses of models with normal abilities to instances of normal difficulty (2PL)."""
    random = np.random.default_rng(seed)
    slope, difficulty = random.lognormal(0.3, 0.3, n), random.normal(0, 1.2, n)
    ability = random.normal(0, 1, models)
    right = random.random((models, n)) < 1 / (1 + np.exp(-slope * (ability[:, None] - difficulty)))
    rows = pl.DataFrame(
        {
            "model": np.repeat([f"m{index:03}" for index in range(models)], n),
            "instance_id": np.tile([f"i{index:04}" for index in range(n)], models),
            "score": right.ravel().astype(float),
        }
    )
    return rows.with_columns(**columns)


def split(rows: pl.DataFrame, model: str = "m007") -> tuple[pl.DataFrame, pl.DataFrame]:
    return rows.filter(pl.col("model") == model), rows.filter(pl.col("model") != model)


def of(rows: pl.DataFrame, chosen: pl.DataFrame) -> pl.DataFrame:
    return rows.join(chosen.select("instance_id"), on="instance_id", how="semi")


def test_a_chosen_subset_predicts_better_than_the_mean_of_a_random_one() -> None:
    errors = {row["method"]: row["error"] for row in subset_errors(responses(150), 25).iter_rows(named=True)}
    assert errors["chosen"] < 0.8 * errors["mean of a random subset"]
    assert errors["random"] < errors["mean of a random subset"]


def test_the_choice_is_deterministic_and_ignores_the_order_of_rows() -> None:
    rows = responses()
    first = choose_subset(rows, 20, method="chosen")
    assert first.equals(choose_subset(rows.sample(fraction=1.0, shuffle=True, seed=2), 20, method="chosen"))
    assert first["instance_id"].n_unique() == 20
    assert first["error"].n_unique() == 1


def test_the_method_with_the_smaller_error_is_used() -> None:
    few, many = responses(12, seed=4), responses(100)
    assert choose_subset(few, 100)["method"].unique().to_list() == ["random"]
    assert choose_subset(many, 20)["method"].unique().to_list() == ["chosen"]


def test_a_full_score_is_predicted_with_an_interval() -> None:
    new, earlier = split(responses(80))
    chosen = choose_subset(earlier, 40)
    row = full_scores(of(new, chosen), earlier).row(0, named=True)
    truth = new["score"].mean()
    assert row["ci_low"] <= truth <= row["ci_high"]
    assert row["ci_high"] - row["ci_low"] < 0.25
    assert (row["n"], row["n_full"], row["n_models"], row["population"]) == (40, N, 79, "benchmark")
    assert row["interval"] == "cross-validated over 79 models"


def test_a_random_subset_can_be_used_too() -> None:
    new, earlier = split(responses(80))
    some = new.sample(40, seed=1)
    row = full_scores(some, earlier).row(0, named=True)
    assert row["subset_mean"] == pytest.approx(some["score"].mean())
    assert row["ci_low"] <= new["score"].mean() <= row["ci_high"]


def test_the_interval_of_a_chosen_subset_is_not_too_narrow() -> None:
    # earlier models are predicted too well on a subset that was chosen with them
    rows = responses(20, seed=9)
    new, earlier = split(rows)
    chosen = choose_subset(earlier, 30, method="chosen")
    honest = float(chosen["error"][0]) * np.sqrt(1 + 1 / 19)
    assert full_scores(of(new, chosen), earlier)["stderr"].item() == pytest.approx(honest)


def test_all_instances_give_the_score_itself() -> None:
    new, earlier = split(responses())
    row = full_scores(new, earlier).row(0, named=True)
    assert row["value"] == pytest.approx(new["score"].mean())
    assert (row["ci_low"], row["ci_high"], row["interval"]) == (
        pytest.approx(row["value"]), pytest.approx(row["value"]), "all instances ran",
    )  # fmt: skip


def test_the_population_adds_the_sampling_of_instances() -> None:
    new, earlier = split(responses(80))
    whole = full_scores(new, earlier, population="population").row(0, named=True)
    usual = table(new).row(0, named=True)
    assert whole["stderr"] == pytest.approx(usual["stderr"], rel=0.1)
    assert "sampling of instances" in whole["interval"]
    some = of(new, choose_subset(earlier, 40))
    assert (
        full_scores(some, earlier, population="population")["stderr"].item()
        > full_scores(some, earlier)["stderr"].item()
    )


def test_a_model_does_not_predict_itself() -> None:
    rows = responses(40)
    new, earlier = split(rows)
    chosen = choose_subset(earlier, 40, method="random")
    with_itself, without = full_scores(of(new, chosen), rows), full_scores(of(new, chosen), earlier)
    assert with_itself["value"].item() == pytest.approx(without["value"].item())


def test_subsets_of_a_scenario_have_equal_weights_or_their_size() -> None:
    subset = pl.when(pl.col("instance_id") < "i0050").then(pl.lit("small")).otherwise(pl.lit("large"))
    rows = responses(60).with_columns(subset=subset)
    new, earlier = split(rows)
    for mean in ("macro", "micro"):
        value = full_scores(new, earlier, mean=mean)["value"].item()
        assert value == pytest.approx(table(new, mean=mean)["value"].item())


def test_scenarios_are_predicted_one_by_one() -> None:
    rows = pl.concat([responses(30, scenario=pl.lit("a")), responses(30, n=80, seed=2, scenario=pl.lit("b"))])
    chosen = choose_subset(rows, 100)
    assert chosen.group_by("scenario").len().sort("scenario").rows() == [("a", 100), ("b", 80)]
    new, earlier = split(rows)
    keys = ["scenario", "instance_id"]
    predicted = full_scores(new.join(choose_subset(earlier, 20).select(keys), on=keys, how="semi"), earlier)
    assert predicted.select("scenario", "n", "n_full").rows() == [("a", 20, N), ("b", 20, 80)]


def test_failed_instances_are_not_used() -> None:
    new, earlier = split(responses(60))
    some = of(new, choose_subset(earlier, 40)).with_row_index()
    failed = some.with_columns(score=pl.when(pl.col("index") >= 4).then("score"))
    row = full_scores(failed, earlier).row(0, named=True)
    assert row["n"] == 36
    none = full_scores(some.with_columns(score=pl.lit(None, dtype=pl.Float64)), earlier).row(0, named=True)
    assert (none["value"], none["interval"]) == (None, "no interval: nothing was scored")


def test_earlier_models_may_lack_some_scores() -> None:
    rows = responses(40)
    holes = rows.with_columns(score=pl.when(pl.int_range(pl.len()) % 41 != 0).then("score"))
    new, earlier = split(holes)
    assert full_scores(of(new, choose_subset(earlier, 40)), earlier)["n_models"].item() == 39
    short = holes.filter((pl.col("model") != "m001") | (pl.col("instance_id") < "i0100"))
    assert subset_errors(short, 20)["n_models"].unique().to_list() == [39]


def test_scores_beyond_0_and_1_are_predicted() -> None:
    random = np.random.default_rng(8)
    rows = responses(40).with_columns(pl.col("score") * 10 + pl.Series(random.normal(size=40 * N)))
    new, earlier = split(rows)
    row = full_scores(of(new, choose_subset(earlier, 40)), earlier).row(0, named=True)
    assert row["ci_low"] <= new["score"].mean() <= row["ci_high"]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda rows: choose_subset(rows, 0), ArgumentError, "n must be an integer"),
        (lambda rows: subset_errors(rows, [10, -1]), ArgumentError, "n must be an integer"),
        (lambda rows: choose_subset(rows, 5, method="best"), ArgumentError, "method='best'"),
        (lambda rows: choose_subset(rows, 5, "modle"), UnknownNameError, "Did you mean 'model'"),
        (lambda rows: choose_subset(rows, 5, metric="f1"), NotComparableError, "no scores of metric 'f1'"),
        (lambda rows: choose_subset(rows.filter(pl.col("model") < "m004"), 5), NotComparableError, "at least 5"),
        (lambda rows: full_scores(rows, rows, population="all"), ArgumentError, "population='all'"),
        (lambda rows: full_scores(rows, rows, ci=1.0), ArgumentError, "ci must be between 0 and 1"),
        (
            lambda rows: full_scores(rows.with_columns(instance_id=pl.lit("x")), rows),
            NotComparableError,
            "like=results",
        ),
        (
            lambda rows: full_scores(rows.with_columns(scenario=pl.lit("x")), rows),
            NotComparableError,
            "no scenario 'x'",
        ),
        (
            lambda rows: choose_subset(pl.concat([rows.with_columns(metric=pl.lit(name)) for name in "pq"]), 5),
            ArgumentError,
            "several metrics",
        ),
    ],
)  # fmt: skip
def test_invalid_calls_raise(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call(responses(8, n=30))
