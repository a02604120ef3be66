from typing import Any

import numpy as np
import polars as pl
import pytest

import helmframe as hf
from helmframe.errors import ArgumentError, NotComparableError, UnknownNameError
from helmframe.stats.variance import combination_interval
from tests.acceptance import test_variance as designs
from tests.acceptance.test_verdicts import least

UP = {"score": True}


def frame(values: "np.ndarray[Any, Any]", *axes: str) -> pl.DataFrame:
    """Return the scores of an array: instances, then the axes."""
    names = ["instance_id", *axes]
    index = np.stack(np.meshgrid(*map(np.arange, values.shape), indexing="ij"), axis=-1).reshape(-1, values.ndim)
    return pl.DataFrame(index, names, orient="row").with_columns(score=pl.Series(values.ravel()))


def variances(scores: pl.DataFrame, *args: Any, **options: Any) -> dict[str, float]:
    table = hf.stats.variance_components(scores, *args, **options).table
    return dict(table.select("component", "variance").rows())


def test_two_crossed_axes_have_the_components_of_the_analysis_of_variance() -> None:
    random = np.random.default_rng(0)
    y = random.normal(size=(12, 1)) + random.normal(size=(1, 5)) + random.normal(size=(12, 5))
    n, k = y.shape
    rows, columns, grand = y.mean(axis=1), y.mean(axis=0), y.mean()
    ms_rows = k * ((rows - grand) ** 2).sum() / (n - 1)
    ms_columns = n * ((columns - grand) ** 2).sum() / (k - 1)
    rest = y - rows[:, None] - columns + grand
    ms_rest = (rest**2).sum() / ((n - 1) * (k - 1))
    expected = {"instance": (ms_rows - ms_rest) / k, "setting": (ms_columns - ms_rest) / n, "residual": ms_rest}
    assert variances(frame(y, "setting")) == pytest.approx(expected)


def test_repeated_outputs_separate_the_interaction_from_the_residual() -> None:
    random = np.random.default_rng(1)
    y = random.normal(size=(10, 1, 1)) + random.normal(size=(10, 4, 3))
    within = y.var(axis=2, ddof=1).mean()
    found = variances(frame(y, "setting", "output_index"))
    assert found["instance × setting × repetition"] == pytest.approx(within)
    means = variances(frame(y.mean(axis=2), "setting"))
    assert found["instance × setting"] == pytest.approx(means["residual"] - within / 3)
    assert found["instance"] == pytest.approx(means["instance"])


def test_the_components_give_the_standard_error_of_the_table_for_one_setting() -> None:
    random = np.random.default_rng(2)
    y = random.normal(0, 2, size=(30, 1, 1)) + random.normal(size=(30, 1, 2))
    scores = frame(y[:, 0], "output_index")
    design = hf.stats.variance_components(scores).designs.row(0, named=True)
    assert design["stderr"] == pytest.approx(hf.stats.table(scores)["stderr"].item())
    clustered = scores.with_columns(cluster=pl.col("instance_id") // 3)
    design = hf.stats.variance_components(clustered).designs.row(0, named=True)
    assert design["stderr"] == pytest.approx(hf.stats.table(clustered)["stderr"].item())


def test_designs_halve_the_standard_error_at_least() -> None:
    random = np.random.default_rng(3)
    y = random.normal(size=(40, 1)) + random.normal(0, 0.6, size=(1, 6)) + random.normal(size=(40, 6))
    result = hf.stats.variance_components(frame(y, "setting"))
    designs = {row["design"]: row for row in result.designs.iter_rows(named=True)}
    present = designs["present"]
    assert (present["n_instance"], present["n_setting"], present["cost"]) == (40, 6, 1.0)
    part = dict(result.table.select("component", "variance").rows())
    cheapest = designs["cheapest"]
    n, k = cheapest["n_instance"], cheapest["n_setting"]
    variance = part["instance"] / n + part["setting"] / k + part["residual"] / (n * k)
    assert cheapest["stderr"] == pytest.approx(variance**0.5)
    assert cheapest["stderr"] <= present["stderr"] / 2
    assert cheapest["cost"] == pytest.approx(n * k / 240)
    possible = result.designs.filter(pl.col("design").str.starts_with("more"))["n_scores"].drop_nulls()
    assert all(cheapest["n_scores"] <= count for count in possible)
    # fewer instances with one setting more would not do
    assert (
        part["instance"] / (n - 1) + part["setting"] / k + part["residual"] / ((n - 1) * k)
        > (present["stderr"] / 2) ** 2
    )


def test_an_axis_that_cannot_halve_the_error_alone_has_no_design() -> None:
    random = np.random.default_rng(4)
    y = random.normal(0, 5, size=(1, 6)) + random.normal(size=(40, 6))
    designs = hf.stats.variance_components(frame(y, "setting")).designs
    assert designs.filter(design="more: instance")["n_instance"].item() is None
    assert designs.filter(design="more: setting")["n_setting"].item() == pytest.approx(24, abs=1)


def test_incomplete_instances_are_dropped_and_an_incomplete_grid_is_refused() -> None:
    y = np.random.default_rng(5).normal(size=(20, 3))
    scores = frame(y, "setting")
    some = scores.filter(~((pl.col("instance_id") == 4) & (pl.col("setting") == 1)))
    expected = variances(scores.filter(pl.col("instance_id") != 4))
    assert variances(some) == pytest.approx(expected)
    crossed = pl.concat([scores.with_columns(trial=pl.lit(trial)) for trial in (0, 1)])
    hole = crossed.filter(~((pl.col("setting") == 2) & (pl.col("trial") == 1)))
    with pytest.raises(NotComparableError, match=r"every combination of setting, trial .*setting 2, trial 1 has 0"):
        hf.stats.variance_components(hole)


def test_a_decomposition_needs_an_axis_or_repeated_scores() -> None:
    scores = pl.DataFrame({"instance_id": range(10), "score": [0.0, 1.0] * 5})
    with pytest.raises(ArgumentError, match="no axis has several values"):
        hf.stats.variance_components(scores)
    with pytest.raises(UnknownNameError, match="prompt"):
        hf.stats.variance_components(scores, ["prompt"])


def test_one_mean_square_has_its_chi_square_interval() -> None:
    from scipy.stats import chi2

    low, high = combination_interval([(2.0, 3.0, 7.0)], 0.9)
    assert (low, high) == pytest.approx((42 / chi2.ppf(0.95, 7), 42 / chi2.ppf(0.05, 7)))


def test_sensitivity_has_range_and_levels_and_corrects_for_noise() -> None:
    random = np.random.default_rng(6)
    p = np.array([0.3, 0.5, 0.8])
    y = (random.random((400, 3)) < p).astype(float)
    row = hf.stats.sensitivity(frame(y, "setting"), higher_is_better=UP).row(0, named=True)
    means = y.mean(axis=0)
    assert (row["lowest_at"], row["highest_at"], row["n_levels"]) == ("0", "2", 3)
    assert row["range"] == pytest.approx(np.ptp(means))
    assert row["range_low"] < 0.5 < row["range_high"]
    noise = np.cov(y.T, ddof=1) / 400
    corrected = means.var(ddof=1) - (np.trace(noise) - noise.sum() / 3) / 2
    assert row["sd"] == pytest.approx(corrected**0.5)
    assert row["sd_low"] < p.std(ddof=1) < row["sd_high"]
    # equally good settings: the range isn't 0, the corrected deviation is near it
    equal = (random.random((400, 6)) < 0.6).astype(float)
    row = hf.stats.sensitivity(frame(equal, "setting"), higher_is_better=UP).row(0, named=True)
    assert row["range"] > 0.01
    assert row["range_low"] == row["sd_low"] == 0


def test_the_sd_of_settings_is_the_setting_component() -> None:
    y = np.random.default_rng(7).normal(size=(50, 4)) + np.array([0.0, 1.0, 2.0, 4.0])
    row = hf.stats.sensitivity(frame(y, "setting"), higher_is_better=UP).row(0, named=True)
    assert row["sd"] ** 2 == pytest.approx(variances(frame(y, "setting"))["setting"])


def test_flips_are_counted_between_the_certain_and_the_possible_ones() -> None:
    random = np.random.default_rng(8)
    # a and b swap between the settings, c is worst in both
    p = {"a": (0.9, 0.5), "b": (0.5, 0.9), "c": (0.1, 0.1)}
    scores = pl.concat(
        frame((random.random((300, 2)) < levels).astype(float), "setting").with_columns(model=pl.lit(model))
        for model, levels in p.items()
    )
    table = hf.stats.sensitivity(scores, higher_is_better=UP)
    shares = {row["model"]: (row["flips_low"], row["flips"], row["flips_high"]) for row in table.iter_rows(named=True)}
    assert shares["a"] == shares["b"] == (0.5, 0.5, 0.5)
    assert shares["c"] == (0.0, 0.0, 0.0)
    assert shares["all"] == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    assert table["model"].to_list() == ["all", "a", "b", "c"]
    # two equal models may flip
    equal = scores.filter(pl.col("model") != "c").with_columns(score=pl.lit(1.0))
    row = hf.stats.sensitivity(equal, higher_is_better=UP).row(1, named=True)
    assert (row["flips_low"], row["flips_high"]) == (0.0, 1.0)
    assert 0 < row["range_high"] < 0.05


def test_a_failed_request_is_treated_alike_for_every_model_and_level() -> None:
    scores = frame(np.tile([[1.0, 0.0]], (300, 1)), "setting")
    failed = scores.with_columns(
        score=pl.when((pl.col("instance_id") < 30) & (pl.col("setting") == 1)).then(None).otherwise("score")
    )
    with pytest.raises(NotComparableError, match="failed"):
        hf.stats.sensitivity(failed, higher_is_better=UP)
    row = hf.stats.sensitivity(failed, higher_is_better=UP, errors="drop").row(0, named=True)
    assert (row["n"], row["n_dropped"]) == (270, 30)
    worst = hf.stats.sensitivity(failed, higher_is_better=UP, errors="worst").row(0, named=True)
    assert worst["n"] == 300


def test_sensitivity_needs_two_levels() -> None:
    scores = frame(np.ones((10, 1)), "setting")
    with pytest.raises(ArgumentError, match="at least two values of 'setting'"):
        hf.stats.sensitivity(scores, higher_is_better=UP)


def test_the_row_order_changes_nothing() -> None:
    y = np.random.default_rng(9).random((40, 4, 2))
    scores = frame(y, "setting", "output_index").with_columns(cluster=pl.col("instance_id") % 13)
    shuffled = scores.sample(fraction=1.0, shuffle=True, seed=0)
    assert hf.stats.sensitivity(scores, higher_is_better=UP).equals(hf.stats.sensitivity(shuffled, higher_is_better=UP))
    assert variances(scores) == variances(shuffled)


@pytest.mark.slow
def test_components_and_sensitivity_cover_in_small_samples_of_the_simulations() -> None:
    runs = 300
    draw, truth = designs.right_or_wrong(100, 8, 0.05)
    components = designs.coverage_of_components(draw, truth, ("setting",), runs, fraction=True)
    assert min(coverage for coverage, _ in components.values()) >= least(0.93, runs)
    spreads = designs.sensitivities(100, designs.SHIFTS["medium"], runs)
    assert min(spreads.values()) >= least(0.94, runs)
