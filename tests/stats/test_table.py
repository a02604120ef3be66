from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from helmframe._schema import STATS
from helmframe.errors import ArgumentError, UnknownNameError
from helmframe.stats import aggregate, table
from helmframe.stats.frames import as_scores

FRACTIONS = ["exact_match"]
Build: TypeAlias = Callable[..., pl.DataFrame]


def only(table: pl.DataFrame) -> dict[str, Any]:
    assert table.height == 1
    return table.row(0, named=True)


def rounded(row: dict[str, Any], *names: str) -> tuple[float, ...]:
    return tuple(round(row[name], 3) for name in names)


def test_independent_completions_get_wilson(scores: Build) -> None:
    row = only(aggregate(scores([1] * 8 + [0] * 2), ["model"], fractions=FRACTIONS))
    assert rounded(row, "value", "stderr", "ci_low", "ci_high") == (0.8, 0.133, 0.490, 0.943)
    assert row["interval"] == "Wilson, n small"


def test_n_of_thirty_is_not_small(scores: Build) -> None:
    assert only(aggregate(scores([1, 0] * 15), [], fractions=FRACTIONS))["interval"] == "Wilson"


@pytest.mark.parametrize(("score", "low", "high"), [(0.0, 0.0, 0.308), (1.0, 0.692, 1.0)])
def test_ten_equal_scores_have_an_interval(scores: Build, score: float, low: float, high: float) -> None:
    row = only(aggregate(scores([score] * 10), [], fractions=FRACTIONS))
    assert rounded(row, "ci_low", "ci_high") == (low, high)
    assert row["interval"] == "Clopper–Pearson, n small"


def test_a_metric_that_is_no_fraction_gets_t(scores: Build) -> None:
    row = only(aggregate(scores([1.0, 2.0, 3.0, 4.0]), []))
    assert rounded(row, "value", "stderr", "ci_low", "ci_high") == (2.5, 0.645, 0.446, 4.554)
    assert row["interval"] == "t, n small"


def test_fractional_scores_of_a_fraction_get_t_cut_at_its_ends(scores: Build) -> None:
    row = only(aggregate(scores([0.0, 0.0, 0.0, 0.5]), [], fractions=FRACTIONS))
    assert row["ci_low"] == 0.0
    assert row["interval"] == "t, n small"


def test_equal_values_without_bounds_have_no_interval(scores: Build) -> None:
    row = only(aggregate(scores([5.0] * 10), []))
    assert (row["value"], row["ci_low"], row["interval"]) == (5.0, None, "no interval: all values are equal")


def test_macro_weighs_subsets_alike_and_micro_by_size(scores: Build) -> None:
    frame = scores([1, 0] + [1] * 6 + [0] * 2, subset=["a"] * 2 + ["b"] * 8)
    assert only(aggregate(frame, []))["value"] == pytest.approx((0.5 + 0.75) / 2)
    assert only(aggregate(frame, [], mean="micro"))["value"] == pytest.approx(0.7)


def test_stratified_stderr_of_two_subsets(scores: Build) -> None:
    frame = scores([1, 0, 1, 0, 1, 1, 1, 0], subset=["a"] * 4 + ["b"] * 4)
    # s² = 1/3 and 1/4, each over 4 instances and weighted 1/2
    assert only(aggregate(frame, []))["stderr"] == pytest.approx(np.sqrt((1 / 3 + 1 / 4) / 4 / 4))


def test_subsets_that_differ_do_not_widen_the_interval(scores: Build) -> None:
    frame = scores([1] * 19 + [0] + [0] * 19 + [1], subset=["a"] * 20 + ["b"] * 20)
    together, alone = (only(aggregate(each, []))["stderr"] for each in (frame, frame.with_columns(subset=pl.lit(""))))
    assert together < alone / 2


def test_a_subset_in_by_is_a_group(scores: Build) -> None:
    frame = scores([1, 1, 0, 0, 1], subset=["a"] * 3 + ["b"] * 2)
    table = aggregate(frame, ["subset"], fractions=FRACTIONS)
    assert table.select("subset", "n", "interval").rows() == [("a", 3, "Wilson, n small"), ("b", 2, "Wilson, n small")]


def test_scenarios_left_together_are_strata(scores: Build) -> None:
    frame = scores([1, 0, 1, 1, 1, 0], scenario=["x"] * 2 + ["y"] * 4)
    assert only(aggregate(frame, []))["value"] == pytest.approx((0.5 + 0.75) / 2)


def test_clusters_that_agree_widen_the_interval(scores: Build) -> None:
    answers = [1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0] * 3
    frame = scores(np.repeat(answers, 4).tolist(), cluster=np.repeat(np.arange(30), 4).tolist())
    row = only(aggregate(frame, [], fractions=FRACTIONS))
    assert row["stderr"] == pytest.approx(np.std(answers, ddof=1) / np.sqrt(30))
    assert row["interval"] == "modified Wilson (clusters)"


def test_unequal_clusters_have_the_cr2_stderr(scores: Build) -> None:
    frame = scores([1, 1, 0, 1, 0, 0], cluster=["x", "x", "x", "y", "y", "z"])
    # residual sums 0.5, 0, −0.5 of sizes 3, 2, 1, each over √(1 − share)
    assert only(aggregate(frame, []))["stderr"] == pytest.approx(np.sqrt(0.25 / (1 / 2) + 0 + 0.25 / (5 / 6)) / 6)


def test_few_clusters_are_marked(scores: Build) -> None:
    frame = scores([1, 0, 1, 1, 0] * 8, cluster=np.repeat(np.arange(10), 4).tolist())
    assert only(aggregate(frame, []))["interval"] == "t (CR2, clusters), few clusters"


def test_one_cluster_has_no_interval(scores: Build) -> None:
    row = only(aggregate(scores([1, 0, 1], cluster="passage"), [], fractions=FRACTIONS))
    assert (row["stderr"], row["ci_low"], row["interval"]) == (None, None, "no interval: fewer than 2 clusters")


def test_a_subset_with_one_cluster_leaves_no_interval(scores: Build) -> None:
    row = only(aggregate(scores([1, 0, 1], subset=["a", "a", "b"]), [], fractions=FRACTIONS))
    assert row["interval"] == "no interval: 1 of 2 subsets have fewer than 2 clusters"


def test_outputs_of_an_instance_are_averaged_first(scores: Build) -> None:
    frame = scores([1, 1, 1, 0], instance_id=["x", "x", "x", "y"], output_index=[0, 1, 2, 0])
    row = only(aggregate(frame, []))
    assert (row["value"], row["n"]) == (0.5, 2)


def test_failed_rows_are_left_out_and_counted(scores: Build) -> None:
    row = only(aggregate(scores([1, None, 0, None]), [], fractions=FRACTIONS))
    assert (row["value"], row["n"], row["n_error"]) == (0.5, 2, 2)


def test_a_group_where_all_failed_is_shown(scores: Build) -> None:
    row = only(aggregate(scores([None, None]), ["model"], fractions=FRACTIONS))
    assert (row["value"], row["n"], row["n_error"]) == (None, 0, 2)
    assert row["interval"] == "no interval: nothing was scored"


def test_a_subset_without_a_score_is_noted(scores: Build) -> None:
    frame = scores([1, 0, 1, None], subset=["a", "a", "a", "b"])
    assert only(aggregate(frame, []))["interval"] == "t, n small, 1 of 2 subsets without a score"


def test_unparsed_truncated_and_starved_completions_are_counted(scores: Build) -> None:
    flags = {"parsed": [False, True, True, None], "truncated": [True, True, False, None]}
    frame = scores([0, 0, 1, None], **flags, starved=[True, False, None, None])
    row = only(aggregate(frame, []))
    assert (row["n_unparsed"], row["n_truncated"], row["n_starved"]) == (1, 2, 1)


def test_several_trials_are_crossed_with_instances(scores: Build) -> None:
    # every instance answers alike, but all are worse in the second trial
    first, second = [1.0, 2.0, 3.0, 4.0], [0.0, 1.0, 2.0, 3.0]
    frame = scores(first + second, trial=[0] * 4 + [1] * 4, instance_id=list("abcd") * 2)
    row = only(aggregate(frame, []))
    # MS_I/(NT) = 5/12 (s² = 5/3 of 4 instances), MS_T/(NT) = (1/2)/2, MS_E = 0
    assert row["stderr"] == pytest.approx(np.sqrt(5 / 12 + 1 / 4))
    assert row["interval"] == "t, crossed trials, n small"


def test_crossed_trials_have_the_variance_of_two_way_mean_squares(scores: Build) -> None:
    y = np.random.default_rng(1).normal([0.0, 0.5, 1.0], 0.3, (6, 3))
    frame = scores(y.ravel().tolist(), instance_id=np.repeat(list("abcdef"), 3).tolist(), trial=[0, 1, 2] * 6)
    instances, trials = y.mean(axis=1), y.mean(axis=0)
    of_instances, of_trials = 3 * instances.var(ddof=1), 6 * trials.var(ddof=1)
    rest = y - instances[:, None] - trials + y.mean()
    variance = (of_trials + of_instances - (rest**2).sum() / 10) / 18
    assert only(aggregate(frame, []))["stderr"] == pytest.approx(np.sqrt(variance))


def test_trials_of_other_instances_are_given(scores: Build) -> None:
    frame = scores([1.0, 2.0, 3.0, 5.0], trial=[0, 0, 1, 1])
    assert only(aggregate(frame, []))["interval"] == "t, given these trials, n small"


def test_a_trial_in_by_is_a_group(scores: Build) -> None:
    frame = scores([1.0, 2.0, 3.0, 5.0], trial=[0, 0, 1, 1])
    assert aggregate(frame, ["trial"])["interval"].to_list() == ["t, n small"] * 2


def test_the_order_of_the_rows_does_not_show_in_the_last_digit(scores: Build) -> None:
    random = np.random.default_rng(0)
    frame = scores(
        random.random(3000).tolist(),
        instance_id=(np.arange(3000) // 3).astype(str).tolist(),
        cluster=(np.arange(3000) // 12).tolist(),
        subset=(np.arange(3000) // 600).astype(str).tolist(),
        trial=(np.arange(3000) % 3).tolist(),
    )
    table = aggregate(frame, ["model"])
    for seed in range(3):
        assert aggregate(frame.sample(fraction=1, shuffle=True, seed=seed), ["model"]).equals(table)


def test_two_subsets_together_equal_the_mean_of_each(scores: Build) -> None:
    frame = scores([1, 0, 1, 1, 0, 0, 1, 0], subset=["a"] * 4 + ["b"] * 4)
    alone = aggregate(frame, ["subset"])
    together = only(aggregate(frame, []))
    assert together["value"] == pytest.approx(alone["value"].mean())
    assert together["stderr"] == pytest.approx(np.linalg.norm(alone["stderr"].to_numpy()) / 2)


def test_a_lazy_frame_gives_the_same(scores: Build) -> None:
    frame = scores([1, 0, 1])
    assert_frame_equal(aggregate(frame.lazy(), ["model"]), aggregate(frame, ["model"]))


def test_no_scores_give_no_rows(scores: Build) -> None:
    assert aggregate(scores([]).cast({"cluster": pl.String}), ["model"]).height == 0


def test_an_unknown_column_is_named(scores: Build) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'model'"):
        aggregate(scores([1]), ["modle"])


def test_an_unknown_mean_is_named(scores: Build) -> None:
    with pytest.raises(ArgumentError, match="mean must be 'macro'"):
        aggregate(scores([1]), [], mean="median")


def test_an_impossible_ci_is_named(scores: Build) -> None:
    with pytest.raises(ArgumentError, match="between 0 and 1"):
        aggregate(scores([1, 0]), [], ci=95)


@pytest.mark.parametrize("p", [0.5, 0.9])
def test_modified_wilson_covers_clusters_where_wilson_does_not(scores: Build, p: float) -> None:
    # 800 data sets of 40 clusters of 8, intra-cluster correlation 0.3
    random = np.random.default_rng(20)
    difficulty = random.beta(p * 7 / 3, (1 - p) * 7 / 3, size=800 * 40)
    answers = random.random((800 * 40, 8)) < difficulty[:, None]
    cluster = pl.Series(np.repeat(np.arange(800 * 40), 8)).cast(pl.String)
    frame = scores(
        answers.ravel().astype(float).tolist(), cluster=cluster, draw=np.repeat(np.arange(800), 320).tolist()
    )

    def coverage(rows: pl.DataFrame) -> float:
        table = aggregate(rows, ["draw"], fractions=FRACTIONS)
        return float(table.select(((pl.col("ci_low") <= p) & (pl.col("ci_high") >= p)).mean()).item())

    assert 0.93 <= coverage(frame) <= 0.97
    assert coverage(frame.with_columns(cluster="instance_id")) < 0.80


FRAME = pl.DataFrame({"instance_id": range(8), "model": ["a"] * 4 + ["b"] * 4, "score": [1, 0, 1, 1, 0, 0, 0, 1]})


def test_instances_and_scores_are_enough() -> None:
    found = table(FRAME)
    assert found.columns == ["model", *STATS.schema]
    assert found.select("model", "metric", "value", "n", "interval").rows() == [
        ("a", "score", 0.75, 4, "Wilson, n small"),
        ("b", "score", 0.25, 4, "Wilson, n small"),
    ]


def test_it_is_aggregate_of_the_whole_schema() -> None:
    whole = as_scores(FRAME)
    assert table(FRAME, "model").equals(aggregate(whole, ["model"], fractions=["score"]))


def test_what_does_not_vary_makes_no_group() -> None:
    assert table(FRAME.with_columns(model=pl.lit("a"), split=pl.lit("test"))).columns == list(STATS.schema)


def test_the_original_comes_before_its_perturbations() -> None:
    frame = FRAME.with_columns(perturbation=pl.Series(["a", "original"] * 4))
    assert table(frame, "perturbation", pool=True)["perturbation"].to_list() == ["original", "a"]


def test_values_of_a_key_become_columns() -> None:
    assert table(FRAME, pivot="model").rows() == [("score", 0.75, 0.25)]
    with pytest.raises(UnknownNameError, match="Unknown column 'perturbation' of this table"):
        table(FRAME, pivot="perturbation")


def test_other_axes_that_vary_stay_rows_unless_they_are_pooled() -> None:
    frame = pl.concat([FRAME.with_columns(perturbation=pl.lit(name)) for name in ("original", "typos")])
    frame = frame.with_columns(subject=pl.when(pl.col("instance_id") % 2 == 0).then(pl.lit("x")).otherwise(pl.lit("y")))
    rows = table(frame, "subject")
    assert rows.columns[:4] == ["subject", "model", "perturbation", "metric"]
    assert rows.filter(subject="x", model="a")["value"].to_list() == [1.0, 1.0]
    pooled = table(frame, "subject", pool=["model", "perturbation"])
    assert pooled.select("subject", "pooled", "value", "n").rows() == [
        ("x", "2 models, 2 perturbations", 0.5, 4),
        ("y", "2 models, 2 perturbations", 0.5, 4),
    ]
    assert table(frame, "subject", pool=True).equals(pooled)
    assert table(frame, "subject", pool="model")["pooled"].unique().to_list() == ["2 models"]
    assert table(frame, pool=True)["pooled"].to_list() == ["2 models, 2 perturbations"]
    # an axis of one value is no pooling
    assert "pooled" not in table(FRAME, "model", pool=True).columns


def test_pooled_is_per_group_and_stays_in_a_pivot() -> None:
    frame = pl.concat([FRAME, FRAME.filter(pl.col("model") == "a").with_columns(scenario=pl.lit("t"))], how="diagonal")
    frame = frame.with_columns(pl.col("scenario").fill_null("s"))
    assert table(frame, "scenario", pool="model").select("scenario", "pooled").rows() == [
        ("s", "2 models"),
        ("t", "1 model"),
    ]
    wide = table(frame.with_columns(perturbation=pl.lit("original")), "scenario", pool="model", pivot="scenario")
    assert wide.rows() == [("score", "2 models", 0.5, 0.75)]


def test_an_axis_is_a_key_or_pooled() -> None:
    with pytest.raises(ArgumentError, match="pool='model'"):
        table(FRAME, "model", pool="model")
    with pytest.raises(UnknownNameError, match=r"Unknown axis to pool 'modell'\. Did you mean 'model'"):
        table(FRAME, pool="modell")


def test_a_metric_is_a_fraction_where_all_its_scores_are_0_or_1() -> None:
    both = pl.concat(
        [FRAME.with_columns(metric=pl.lit("right")), FRAME.with_columns(pl.col("score") * 3, metric=pl.lit("points"))]
    )
    found = table(both, pool=True).drop("pooled")
    assert found.select("metric", "interval").rows() == [("points", "t, n small"), ("right", "Wilson, n small")]
    assert table(both, pool=True, metrics="right")["metric"].to_list() == ["right"]
    assert table(both, pool=True, fractions=[])["interval"].to_list() == ["t, n small"] * 2


def test_a_group_of_another_metric_stays_a_fraction_s_or_not() -> None:
    # all of model b's are 0, which says nothing of a metric whose others are not
    frame = FRAME.with_columns(score=pl.when(pl.col("model") == "a").then(2.5).otherwise(0.0))
    assert table(frame)["interval"].to_list() == ["no interval: all values are equal"] * 2


def test_lazy_frames_in_chunks_give_the_same() -> None:
    assert table([FRAME[:4].lazy(), FRAME[4:].lazy()]).equals(table(FRAME))


def test_true_and_false_are_scores() -> None:
    assert table(FRAME.with_columns(pl.col("score").cast(pl.Boolean))).equals(table(FRAME))


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (FRAME.drop("score"), "must have a column 'score'. The columns are: instance_id, model"),
        (FRAME.drop("instance_id"), "must have a column 'instance_id'"),
        (FRAME.with_columns(score=pl.lit("A")), "must contain numbers"),
        (FRAME.with_columns(trial=pl.lit("first")), "'trial' must contain integers"),
        (FRAME.with_columns(score=pl.lit(float("nan"))), "contains NaN"),
        (FRAME.with_columns(score=pl.lit(float("-inf"))), "an infinity"),
        ({"instance_id": [1], "score": [1]}, "must be a Polars frame"),
        ([], "must be a Polars frame"),
        ([FRAME], "a list of lazy frames"),
    ],
)
def test_an_invalid_frame_of_scores_raises(frame: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        table(frame, [])


def test_unknown_names_raise() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'model'"):
        table(FRAME, "modle")
    with pytest.raises(UnknownNameError, match="Did you mean 'score'"):
        table(FRAME, metrics="scor")


def test_a_cluster_in_several_subsets_is_one_cluster(scores: Build) -> None:
    # each passage has a question in both subsets, and all its answers are alike
    right = [1.0, 0.0, 1.0, 1.0, 0.0] * 8
    ids = [f"i{number}" for number in range(80)]
    columns: dict[str, Any] = {"subset": ["a"] * 40 + ["b"] * 40, "cluster": [*range(40)] * 2, "instance_id": ids}
    frame = scores(right * 2, **columns)
    row = only(aggregate(frame, [], fractions=FRACTIONS))
    assert row["stderr"] == pytest.approx(np.std(right, ddof=1) / np.sqrt(40))
    assert (row["n"], row["n_clusters"]) == (80, 40)
    # other clusters in the second subset are as independent as before
    apart = frame.with_columns(cluster=pl.col("subset") + pl.col("cluster"))
    assert only(aggregate(apart, []))["stderr"] == pytest.approx(np.std(right, ddof=1) / np.sqrt(80))


def test_the_number_of_clusters_is_in_the_table(scores: Build) -> None:
    frame = scores([1, 0, 1, 1, None], cluster=["x", "x", "y", "z", "z"])
    assert only(table(frame))["n_clusters"] == 3


def test_bounds_are_the_values_if_all_failures_were_wrong_or_right() -> None:
    scores = pl.DataFrame({"instance_id": range(100), "score": [1.0] * 60 + [0.0] * 30 + [None] * 10})
    row = table(scores, errors="bounds").row(0, named=True)
    assert (row["value"], row["bound_low"], row["bound_high"]) == pytest.approx((60 / 90, 0.6, 0.7))
    filled = {value: table(scores.with_columns(pl.col("score").fill_null(value))) for value in (0.0, 1.0)}
    assert row["bound_ci_low"] == filled[0.0]["ci_low"].item()
    assert row["bound_ci_high"] == filled[1.0]["ci_high"].item()
    assert row["n_error"] == 10


def test_a_metric_without_a_bound_has_none_unless_nothing_failed() -> None:
    lengths = pl.DataFrame({"instance_id": range(10), "score": [None, *range(1, 10)], "metric": "words"})
    row = table(lengths, errors="bounds", ranges={"words": (0, None)}).row(0, named=True)
    assert (row["bound_low"], row["bound_high"], row["bound_ci_high"]) == (4.5, None, None)
    whole = table(lengths.drop_nulls(), errors="bounds").row(0, named=True)
    assert (whole["bound_low"], whole["bound_high"]) == (5.0, 5.0)
    assert whole["bound_ci_low"] == whole["ci_low"]


def test_tables_know_two_treatments_of_failures() -> None:
    with pytest.raises(ArgumentError, match=r"table\(errors='worst'\)"):
        table(pl.DataFrame({"instance_id": [1], "score": [1]}), errors="worst")


def test_bayes_intervals_are_posteriors_and_name_their_prior(scores: Build) -> None:
    few = table(scores([1.0] * 8 + [0.0] * 2), interval="bayes").row(0, named=True)
    assert (few["ci_low"], few["ci_high"]) == pytest.approx((0.497, 0.956), abs=1e-3)
    assert few["interval"] == "Bayes, prior Beta(½, ½), n small"
    right = table(scores([1.0] * 10), interval="bayes").row(0, named=True)
    assert (round(right["ci_low"], 3), right["ci_high"]) == (0.783, 1.0)
    lengths = scores([float(index) for index in range(40)])
    bayes, confidence = (table(lengths, interval=kind) for kind in ("bayes", "confidence"))
    assert bayes["ci_low"].item() == confidence["ci_low"].item()
    assert bayes["interval"].item() == "Bayes, flat prior (t)"
    with pytest.raises(ArgumentError, match="interval='credible'"):
        table(lengths, interval="credible")


def test_bayes_intervals_count_clusters_by_their_effective_size(scores: Build) -> None:
    clusters = [f"c{index // 4}" for index in range(80)]
    alike = table(scores([float(index // 4 % 2) for index in range(80)], cluster=clusters), interval="bayes")
    alone = table(scores([float(index // 4 % 2) for index in range(80)]), interval="bayes")
    twenty = table(scores([float(index % 2) for index in range(20)]), interval="bayes")
    width = [(frame["ci_high"] - frame["ci_low"]).item() for frame in (alike, alone, twenty)]
    assert width[0] > 1.7 * width[1]
    assert width[0] == pytest.approx(width[2], rel=0.1)
    assert "clusters" in alike["interval"].item()
