from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import polars as pl
import pytest
from scipy.stats import ttest_ind

from helmframe.errors import UnknownNameError
from helmframe.stats import gap

FRACTIONS = ["exact_match"]
Build: TypeAlias = Callable[..., pl.DataFrame]


def test_each_group_against_all(scores: Build) -> None:
    table = gap(scores([1, 1, 0, 0], sex=["f", "f", "f", "m"]), "sex", [], fractions=FRACTIONS)
    assert table.select("sex", "value", "reference", "reference_value", "n", "n_reference").rows() == [
        ("f", pytest.approx(2 / 3), "all", 0.5, 3, 4),
        ("m", 0.0, "all", 0.5, 1, 4),
    ]
    assert table["gap"].to_list() == [pytest.approx(1 / 6), -0.5]


def test_against_a_group_it_is_welchs_t(scores: Build) -> None:
    random = np.random.default_rng(1)
    one, two = random.normal(1.0, 1.0, 40), random.normal(0.5, 2.0, 60)
    frame = scores([*one, *two], metric="loss", sex=["f"] * 40 + ["m"] * 60)
    row = gap(frame, "sex", [], reference="m").row(0, named=True)
    low, high = ttest_ind(one, two, equal_var=False).confidence_interval(0.95)
    assert (row["sex"], row["gap"]) == ("f", pytest.approx(one.mean() - two.mean()))
    assert (row["ci_low"], row["ci_high"]) == (pytest.approx(low), pytest.approx(high))


def test_the_interval_against_all_knows_that_all_holds_the_group(scores: Build) -> None:
    random = np.random.default_rng(2)
    values = random.normal(0.0, 1.0, 100)
    row = gap(scores(values.tolist(), metric="loss", sex=["f"] * 50 + ["m"] * 50), "sex", []).row(0, named=True)
    # ȳ_f − ȳ = (ȳ_f − ȳ_m)/2
    spread = np.sqrt(values[:50].var(ddof=1) / 50 + values[50:].var(ddof=1) / 50) / 2
    assert row["stderr"] == pytest.approx(spread, rel=0.02)


def test_scores_of_one_cluster_on_both_sides_are_paired(scores: Build) -> None:
    # each passage has a question of either kind; the passages differ, the kinds differ always by 1
    frame = scores(
        [0.0, 1.0, 5.0, 6.0, 10.0, 11.1],
        metric="loss",
        kind=["a", "b"] * 3,
        cluster=["p", "p", "q", "q", "r", "r"],
    )
    row = gap(frame, "kind", [], reference="a").row(0, named=True)
    assert row["gap"] == pytest.approx(3.1 / 3)
    assert row["stderr"] < 0.1


def test_coverage_of_the_gap_against_all(scores: Build) -> None:
    random = np.random.default_rng(3)
    runs, n = 400, 60
    frame = scores(
        (random.random(runs * n) < 0.6).astype(float).tolist(),
        run=np.repeat(np.arange(runs), n).tolist(),
        sex=["f", "m", "m"] * (runs * n // 3),
    )
    table = gap(frame, "sex", ["run"], fractions=FRACTIONS)
    covered = ((table["ci_low"] <= 0) & (table["ci_high"] >= 0)).sum() / table.height
    assert 0.92 <= covered <= 0.98


def test_groups_may_be_subsets(scores: Build) -> None:
    frame = scores([1, 0, 1, 1], subset=["a", "a", "b", "b"])
    assert gap(frame, "subset", [])["gap"].to_list() == [-0.25, 0.25]


def test_an_unknown_reference_is_named(scores: Build) -> None:
    with pytest.raises(UnknownNameError, match="Unknown value 'x' of 'sex'"):
        gap(scores([1, 0], sex=["f", "m"]), "sex", [], reference="x")


def test_an_unknown_group_is_named(scores: Build) -> None:
    with pytest.raises(UnknownNameError, match="Unknown column 'gender'"):
        gap(scores([1, 0]), "gender", [])
