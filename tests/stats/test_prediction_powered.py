"""Prediction-powered correction: a worked example, its own reference implementation, and coverage under bias."""

from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest

from helmframe.errors import ArgumentError
from helmframe.stats import prediction_powered


def rows(judged: Sequence[float], label: Sequence[float | None], **columns: list[str]) -> pl.DataFrame:
    frame = pl.DataFrame(
        {"scenario": "s", "subset": "", "cluster": None,
         "instance_id": [f"i{place:05}" for place in range(len(judged))],
         "judged": judged, "label": pl.Series(label, dtype=pl.Float64)},
        schema_overrides={"cluster": pl.String},
    )  # fmt: skip
    return frame.with_columns(**{name: pl.Series(value) for name, value in columns.items()})


def drawn(
    seed: int, n: int = 1000, labelled: int = 200, share: float = 0.6, right: float = 0.95, wrong: float = 0.3
) -> pl.DataFrame:
    """Truths, a judge who passes `right` of the good and `wrong` of the bad, and labels for some."""
    random = np.random.default_rng(seed)
    truth = random.random(n) < share
    judged = (random.random(n) < np.where(truth, right, wrong)).astype(float)
    seen = random.permutation(n) < labelled
    return rows(judged.tolist(), [float(each) if look else None for each, look in zip(truth, seen, strict=True)])


def test_the_judges_mean_is_moved_by_its_error_where_people_looked() -> None:
    # judged 7/8; where labelled 3/4 against 2/4: it gives 1/4 too much
    table = prediction_powered(rows([1, 1, 0, 1, 1, 1, 1, 1], [1, 0, 0, 1, None, None, None, None]), tuned=False)
    found = table.select("judged", "labelled", "bias", "value", "n", "n_labelled").row(0)
    assert found == pytest.approx((0.875, 0.5, 0.25, 0.625, 8, 4))


def test_all_labelled_is_the_labels_own_mean_and_interval() -> None:
    table = prediction_powered(rows([1, 1, 0, 1] * 10, [1, 0, 0, 1] * 10), tuned=False)
    assert table["value"][0] == pytest.approx(0.5)
    assert table["ci_low"][0] == pytest.approx(table["labelled_low"][0])


def test_it_agrees_with_the_authors_implementation() -> None:
    # ppi-python 0.2.3 compares with the 30 unlabelled rows, we with all 40: its lam=.75 is our 1. There
    # ppi_mean_pointestimate gives .625, ppi_mean_ci a standard error of .12297, with n where we have n − 1.
    y = [1.0, 0, 1, 1, 0, 1, 0, 0, 1, 1]
    f = [0.9, 0.2, 0.7, 0.4, 0.1, 0.8, 0.6, 0.3, 0.9, 0.5]
    more = [0.8, 0.6, 0.9, 0.2, 0.4, 0.7, 0.7, 0.1, 0.9, 0.3, 0.6, 0.8, 0.5, 0.9, 0.2] * 2
    table = prediction_powered(rows(f + more, y + [None] * 30), tuned=False)
    assert table["value"][0] == pytest.approx(0.625)
    assert table["stderr"][0] == pytest.approx(0.12297 * (10 / 9) ** 0.5, rel=0.01)


def test_the_interval_covers_the_truth_where_the_judges_own_never_does() -> None:
    # the judge says .6 · .95 + .4 · .3 = .69 where the truth is .6
    runs, hits, naive, narrower = 400, 0, 0, 0
    for seed in range(runs):
        table = prediction_powered(drawn(seed), fraction=True).row(0, named=True)
        hits += table["ci_low"] <= 0.6 <= table["ci_high"]
        half = 1.96 * (table["judged"] * (1 - table["judged"]) / 1000) ** 0.5
        naive += abs(table["judged"] - 0.6) <= half
        narrower += table["ci_high"] - table["ci_low"] < table["labelled_high"] - table["labelled_low"]
    print(f"covering .6: corrected {hits / runs:.3f}, judge alone {naive / runs:.3f}; narrower than labels {narrower}")
    assert 0.925 <= hits / runs <= 0.975
    assert naive == 0
    assert narrower == runs


def test_a_judge_that_knows_nothing_is_not_trusted() -> None:
    trust = [prediction_powered(drawn(seed, right=0.5, wrong=0.5))["trust"][0] for seed in range(30)]
    assert np.mean(trust) < 0.1
    assert np.mean([prediction_powered(drawn(seed, right=1.0, wrong=0.0))["trust"][0] for seed in range(5)]) > 0.95


def test_clusters_of_labels_count_as_one_draw() -> None:
    random = np.random.default_rng(0)
    good = random.random(100) < 0.5
    truth = np.repeat(good, 10).astype(float)
    seen = np.repeat(random.permutation(100) < 30, 10)
    judged = np.where(random.random(1000) < 0.8, truth, 1 - truth)
    labels = [float(each) if look else None for each, look in zip(truth, seen, strict=True)]
    alone = prediction_powered(rows(judged.tolist(), labels))
    clusters = prediction_powered(rows(judged.tolist(), labels, cluster=[f"c{place // 10}" for place in range(1000)]))
    assert (alone["n_clusters"][0], clusters["n_clusters"][0]) == (300, 30)
    assert clusters["stderr"][0] > 1.7 * alone["stderr"][0]


def test_subsets_weigh_alike_or_by_size() -> None:
    judged, label = [1.0] * 10 + [0.0] * 30, [1.0] * 10 + [0.0] * 30
    frame = rows(judged, label, subset=["a"] * 10 + ["b"] * 30)
    assert prediction_powered(frame, mean="macro", tuned=False)["judged"][0] == pytest.approx(0.5)
    assert prediction_powered(frame, mean="micro", tuned=False)["judged"][0] == pytest.approx(0.25)


def test_labels_that_all_agree_still_leave_room() -> None:
    table = prediction_powered(rows([1.0] * 100, [1.0] * 20 + [None] * 80), fraction=True)
    assert table.select("value", "ci_high").row(0) == pytest.approx((1.0, 1.0))
    assert table["interval"][0] == "Clopper–Pearson"
    assert table["ci_low"][0] == pytest.approx(0.832, abs=0.001)


def test_few_labels_have_no_interval_and_no_label_raises() -> None:
    table = prediction_powered(rows([1.0, 0.0, 1.0], [1.0, 0.0, None]))
    assert table["interval"][0] == "no interval: 2 labelled clusters, at least 3 needed"
    assert table["ci_low"][0] is None
    with pytest.raises(ArgumentError, match="No judged row has a label"):
        prediction_powered(rows([1.0], [None]))


def test_no_order_of_rows_changes_a_digit() -> None:
    frame = drawn(1).with_columns(model=pl.when(pl.int_range(1000) % 3 == 0).then(pl.lit("a")).otherwise(pl.lit("b")))
    table = prediction_powered(frame, ["model"])
    assert table["model"].to_list() == ["a", "b"]
    assert table.equals(prediction_powered(frame.sample(fraction=1.0, shuffle=True, seed=3), ["model"]))


def test_value_and_interval_stay_in_range() -> None:
    # the labelled rows are worse than the judge's others: the correction alone would give more than 1
    frame = rows([1.0] * 90 + [0.0] * 5 + [1.0] * 5, [None] * 90 + [0.9] * 5 + [1.0] * 5)
    table = prediction_powered(frame, tuned=False, fraction=True)
    row = table.row(0, named=True)
    assert 0 <= row["ci_low"] <= row["value"] <= row["ci_high"] <= 1


def test_labels_of_0_and_1_get_wilsons_interval() -> None:
    row = prediction_powered(drawn(3, labelled=40), fraction=True).row(0, named=True)
    assert row["interval"] == "prediction-powered, Wilson"
    assert row["ci_low"] < row["value"] < row["ci_high"]


def test_the_weight_of_the_judge_is_chosen_from_other_labels() -> None:
    # the mean over samples of few labels equals the truth
    values = [prediction_powered(drawn(seed, n=300, labelled=12), fraction=True)["value"][0] for seed in range(600)]
    assert np.mean(values) == pytest.approx(0.6, abs=4 * np.std(values) / 600**0.5)
