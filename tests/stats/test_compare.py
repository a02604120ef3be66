from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import polars as pl
import pytest
from scipy.stats import beta

from helmframe import stats
from helmframe.errors import ArgumentError, UnknownNameError

HIGHER = {"exact_match": True}
FRACTIONS = ["exact_match"]
Build: TypeAlias = Callable[..., pl.DataFrame]


def compare(a: pl.DataFrame, b: pl.DataFrame, by: Sequence[str] = (), **options: Any) -> pl.DataFrame:
    """Two frames as the sides a and b."""
    sides = pl.concat([a.with_columns(side=pl.lit("a")), b.with_columns(side=pl.lit("b"))], how="vertical_relaxed")
    return stats.compare(sides, "side", by, base="b", **options)


def only(table: pl.DataFrame) -> dict[str, Any]:
    assert table.height == 1
    return table.row(0, named=True)


def test_one_binary_score_per_instance_is_mcnemar(scores: Build) -> None:
    a, b = scores([1] + [0] * 7 + [1] * 13), scores([0] + [1] * 7 + [1] * 13)
    row = only(compare(a, b, higher_is_better=HIGHER, fractions=FRACTIONS))
    assert (row["a"], row["b"], row["test"], round(row["p"], 3)) == ("a", "b", "McNemar mid-p", 0.039)
    assert (row["win"], row["tie"], row["loss"], row["n"]) == (1, 13, 7, 21)
    assert (row["value_a"], row["value_b"]) == (pytest.approx(14 / 21), pytest.approx(20 / 21))
    assert row["difference"] == pytest.approx(-6 / 21)


def test_clusters_are_flipped_whole(scores: Build) -> None:
    clusters = [number // 4 for number in range(24)]
    a, b = scores([1.0] * 24, cluster=clusters), scores([0.0] * 24, cluster=clusters)
    row = only(compare(a, b, higher_is_better=HIGHER, fractions=FRACTIONS))
    # 2 of the 2⁶ sign vectors are as extreme
    assert (row["test"], row["p"], row["n_clusters"]) == ("sign-flip (exact)", 2 / 64, 6)


def test_other_scores_use_sign_flips(scores: Build) -> None:
    row = only(compare(scores([0.5, 0.7, 0.9]), scores([0.4, 0.5, 0.6]), higher_is_better=HIGHER))
    assert (row["test"], row["p"]) == ("sign-flip (exact)", 0.25)


def test_trials_are_averaged_before_pairing(scores: Build) -> None:
    a = scores([1, 0, 1, 1], instance_id=["x", "x", "y", "y"], trial=[0, 1, 0, 1])
    row = only(compare(a, scores([0, 0], instance_id=["x", "y"]), higher_is_better=HIGHER))
    assert (row["difference"], row["n"], row["test"]) == (0.75, 2, "sign-flip (exact)")


def test_variants_of_an_instance_are_paired_one_by_one(scores: Build) -> None:
    frame = scores([1, 0, 1, 1], instance_id=["x", "x", "y", "y"], perturbation=["original", "typos"] * 2)
    other = frame.with_columns(score=1 - pl.col("score"))
    row = only(compare(frame, other, higher_is_better=HIGHER))
    assert (row["difference"], row["n"], row["win"], row["tie"]) == (0.5, 2, 1, 1)


def test_instances_that_one_side_lacks_or_failed_are_dropped_and_counted(scores: Build) -> None:
    row = only(compare(scores([1, 1, None, 1]), scores([0, 1, 1]), higher_is_better=HIGHER, errors="drop"))
    assert (row["n"], row["n_dropped"], row["value_a"]) == (2, 2, 1.0)


def test_lower_may_be_better(scores: Build) -> None:
    row = only(compare(scores([1.0, 1.0]), scores([2.0, 1.0]), higher_is_better={"exact_match": False}))
    assert (row["win"], row["tie"], row["loss"], row["difference"]) == (1, 1, 0, -0.5)


def test_a_side_against_itself_differs_by_nothing_but_not_surely(scores: Build) -> None:
    frame = scores([1, 0] * 25)
    row = only(compare(frame, frame, higher_is_better=HIGHER, fractions=FRACTIONS))
    assert (row["difference"], row["p"], round(row["ci_low"], 3), round(row["ci_high"], 3)) == (0.0, 1.0, -0.071, 0.071)


def test_the_interval_is_paired(scores: Build) -> None:
    a, b = scores([3.0, 5.0, 7.0, 9.0, 2.0, 4.0]), scores([1.0, 4.0, 5.0, 8.0, 0.0, 3.0])
    row = only(compare(a, b, higher_is_better=HIGHER))
    # d = 2, 1, 2, 1, 2, 1: mean 1.5, s²/n = .3/6, t₅ = 2.571
    assert (round(row["ci_low"], 3), round(row["ci_high"], 3)) == (0.925, 2.075)


def test_subsets_of_other_sizes_weigh_alike_in_macro(scores: Build) -> None:
    subset = ["a"] * 2 + ["b"] * 8
    a, b = scores([1] * 10, subset=subset), scores([0, 0] + [1] * 8, subset=subset)
    assert only(compare(a, b, higher_is_better=HIGHER))["difference"] == 0.5
    assert only(compare(a, b, higher_is_better=HIGHER, mean="micro"))["difference"] == pytest.approx(0.2)


def test_unequal_weights_are_flipped_not_counted(scores: Build) -> None:
    subset = ["a"] * 2 + ["b"] * 8
    a, b = scores([1] * 10, subset=subset), scores([0] * 10, subset=subset)
    assert only(compare(a, b, higher_is_better=HIGHER))["test"] == "sign-flip (exact)"
    assert only(compare(a, b, higher_is_better=HIGHER, mean="micro"))["test"] == "McNemar mid-p"


def test_holm_counts_the_rows_of_the_call(scores: Build) -> None:
    a = pl.concat([scores([1] * 9 + [0], metric=metric) for metric in ("x", "y")])
    b = pl.concat([scores([0] * 6 + [1] * 3 + [0], metric="x"), scores([0] * 8 + [1] + [0], metric="y")])
    table = compare(a, b, higher_is_better={"x": True, "y": True})
    assert table["p"].to_list() == pytest.approx([1 / 64, 1 / 256])
    assert table["p_holm"].to_list() == pytest.approx([1 / 64, 2 / 256])


def test_swapping_the_sides_turns_the_sign_and_keeps_p(scores: Build) -> None:
    random = np.random.default_rng(0)
    clusters = [number // 3 for number in range(90)]
    a, b = (scores(random.random(90).tolist(), cluster=clusters) for _ in range(2))
    there, back = only(compare(a, b, higher_is_better=HIGHER)), only(compare(b, a, higher_is_better=HIGHER))
    assert there["test"] == "sign-flip (9,999 flips)"
    assert there["p"] == back["p"]
    assert there["ci_low"] == pytest.approx(-back["ci_high"])


def test_the_order_of_the_rows_does_not_matter(scores: Build) -> None:
    random = np.random.default_rng(0)
    clusters = [number // 3 for number in range(90)]
    a, b = (scores(random.random(90).tolist(), cluster=clusters) for _ in range(2))
    table = compare(a, b, higher_is_better=HIGHER)
    shuffled = [each.sample(fraction=1, shuffle=True, seed=7) for each in (a, b)]
    assert compare(shuffled[0], shuffled[1], higher_is_better=HIGHER).equals(table)


def test_no_common_instance_is_a_row_that_says_so(scores: Build) -> None:
    row = only(compare(scores([1], instance_id="x"), scores([1], instance_id="y"), higher_is_better=HIGHER))
    assert (row["n"], row["n_dropped"], row["p"]) == (0, 2, None)
    assert row["interval"] == "no interval: no instance was completed by both sides"


def test_pairing_needs_the_instance(scores: Build) -> None:
    with pytest.raises(ArgumentError, match="instance_id"):
        compare(scores([1]), scores([1]), higher_is_better=HIGHER, on=["scenario"])


def test_an_unknown_column_is_named(scores: Build) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'setting'"):
        compare(scores([1]), scores([1]), ["seting"], higher_is_better=HIGHER)


def test_a_metric_without_direction_is_named(scores: Build) -> None:
    with pytest.raises(ArgumentError, match="Metric 'exact_match' has no direction"):
        compare(scores([1]), scores([1]), higher_is_better={})


def test_the_test_keeps_its_size_in_clusters_where_mcnemar_does_not(scores: Build) -> None:
    # 1,000 comparisons without a true difference: 20 clusters of 15, each with a preference of its own
    random = np.random.default_rng(2)
    preference = random.normal(0, 0.6, (20_000, 1))
    cluster = pl.Series(np.repeat(np.arange(20_000), 15)).cast(pl.String)
    draw = np.repeat(np.arange(1000), 300).tolist()
    right = [1 / (1 + np.exp(-0.5 - sign * preference)) for sign in (1, -1)]
    a, b = (
        scores((random.random((20_000, 15)) < p).ravel().astype(float).tolist(), cluster=cluster, draw=draw)
        for p in right
    )
    flipped = compare(a, b, ["draw"], higher_is_better=HIGHER)
    counted = compare(a, b.with_columns(cluster="instance_id"), ["draw"], higher_is_better=HIGHER)
    rejected = (pl.col("p") < 0.05).mean()
    assert 0.03 <= flipped.select(rejected).item() <= 0.07
    assert counted.select(rejected).item() > 0.09


def test_interval_and_test_agree_at_zero(scores: Build) -> None:
    # 6 against 0 and 5 against 0 discordant of 40: p = .016 and .031; 7 against 1: p = .039; 6 against 1: p = .070
    for b, c in ((6, 0), (5, 0), (4, 0), (7, 1), (6, 1), (3, 10)):
        a = scores([1] * b + [0] * c + [1] * (40 - b - c))
        row = only(compare(a, scores([0] * b + [1] * (40 - b)), higher_is_better=HIGHER, fractions=FRACTIONS))
        assert (row["ci_low"] > 0 or row["ci_high"] < 0) == (row["p"] < 0.05), (b, c)
        assert row["joint_low"] <= row["ci_low"]
        assert row["interval"].startswith("Tango score")


def test_a_difference_has_its_direction_and_the_method_of_differences(scores: Build) -> None:
    frame = scores([1, 0] * 25)
    row = only(compare(frame, frame, higher_is_better={"exact_match": False}, fractions=FRACTIONS))
    assert row["higher_is_better"] is False
    assert row["interval"] == "exact (all differences are equal)"


def test_clusters_in_several_subsets_are_flipped_whole(scores: Build) -> None:
    columns: dict[str, Any] = {"cluster": [*range(6), *range(6)], "subset": ["a"] * 6 + ["b"] * 6}
    row = only(compare(scores([1.0] * 12, **columns), scores([0.0] * 12, **columns), higher_is_better=HIGHER))
    assert (row["p"], row["n_clusters"]) == (2 / 64, 6)


def _equivalence(margin: float, **columns: Any) -> dict[str, Any]:
    random = np.random.default_rng(3)
    right = random.random(600) < 0.8
    sides = {"a": right, "b": np.where(random.random(600) < 0.1, ~right, right)}
    scores = pl.concat(
        pl.DataFrame({"model": name, "instance_id": range(600), "score": score.astype(float)}).with_columns(**columns)
        for name, score in sides.items()
    )
    table = stats.compare(scores, "model", higher_is_better={"score": True}, base="a", equivalence=margin)
    return table.row(0, named=True)


@pytest.mark.parametrize("columns", [{}, {"cluster": pl.col("instance_id") // 3}])
def test_equivalence_is_the_dual_of_the_90_percent_interval(columns: dict[str, Any]) -> None:
    row = _equivalence(0.05, **columns)
    farthest = max(abs(row["equivalence_low"]), abs(row["equivalence_high"]))
    assert row["ci_low"] < row["equivalence_low"] < row["difference"] < row["equivalence_high"] < row["ci_high"]
    # with the farthest end as the margin, p is exactly 5 %
    at_end = _equivalence(farthest, **columns)
    assert at_end["p_equivalence"] == pytest.approx(0.05, abs=1e-4)
    assert _equivalence(farthest + 0.001, **columns)["verdict"] == "equivalent"
    assert _equivalence(farthest - 0.001, **columns)["verdict"] == "undecided"
    assert _equivalence(0.3, **columns)["p_equivalence"] < 1e-6


def test_a_difference_outside_the_margin_is_different() -> None:
    row = _equivalence(0.001)
    assert row["verdict"] == ("different" if abs(row["difference"]) > 0.05 else "undecided")
    scores = pl.DataFrame(
        {"model": ["a"] * 200 + ["b"] * 200, "instance_id": [*range(200)] * 2, "score": [1.0] * 180 + [0.0] * 220}
    )
    row = stats.compare(scores, "model", higher_is_better={"score": True}, equivalence=0.05).row(0, named=True)
    assert (row["verdict"], row["p_equivalence"] > 0.999) == ("different", True)


def test_a_t_interval_has_the_p_value_of_two_one_sided_t_tests() -> None:
    from scipy.stats import t

    random = np.random.default_rng(5)
    x, y = random.normal(10, 2, (2, 40))
    scores = pl.DataFrame({"model": ["x"] * 40 + ["y"] * 40, "instance_id": [*range(40)] * 2, "score": [*x, *y]})
    row = stats.compare(scores, "model", higher_is_better={"score": True}, base="y", equivalence=1.0).row(0, named=True)
    difference = x - y
    error = difference.std(ddof=1) / 40**0.5
    p = max(t.sf((difference.mean() + 1) / error, 39), t.cdf((difference.mean() - 1) / error, 39))
    assert row["p_equivalence"] == pytest.approx(p, abs=1e-9)


def test_without_equivalence_the_columns_are_those_of_a_comparison() -> None:
    scores = pl.DataFrame({"model": ["a", "b"] * 5, "instance_id": [i // 2 for i in range(10)], "score": [1, 0] * 5})
    assert "verdict" not in stats.compare(scores, "model", higher_is_better={"score": True}).columns
    for margin in (0, -1, float("nan"), True, "0.1"):
        with pytest.raises(ArgumentError, match="equivalence must be a margin > 0"):
            stats.compare(scores, "model", higher_is_better={"score": True}, equivalence=margin)  # type: ignore[arg-type]


def test_bayes_intervals_of_a_difference_have_a_probability(scores: Build) -> None:
    rows = pl.concat([
        scores([1.0] * 14 + [0.0] * 6, model="new"), scores([1.0] * 9 + [0.0] * 4 + [1.0] + [0.0] * 6, model="old"),
    ])  # fmt: skip
    how = {"higher_is_better": {"exact_match": True}, "base": "old"}
    row = stats.compare(rows, "model", interval="bayes", **how).row(0, named=True)  # type: ignore[arg-type]
    assert (row["win"], row["loss"]) == (4, 0)
    assert row["interval"] == "Bayes, prior Dirichlet(½, ½, ½), n small"
    assert row["ci_low"] > 0
    assert row["probability_better"] == pytest.approx(1 - beta.cdf(0.5, 4.5, 0.5))
    lower = stats.compare(rows, "model", interval="bayes", base="old", higher_is_better={"exact_match": False})
    assert lower["probability_better"].item() == pytest.approx(beta.cdf(0.5, 4.5, 0.5))
    assert "probability_better" not in stats.compare(rows, "model", **how).columns  # type: ignore[arg-type]
