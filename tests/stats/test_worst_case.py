from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import polars as pl
import pytest

from helmframe.errors import ArgumentError
from helmframe.stats import robustness, worst_case

HIGHER = {"exact_match": True}
FRACTIONS = ["exact_match"]
Build: TypeAlias = Callable[..., pl.DataFrame]


@pytest.fixture
def answers(scores: Build) -> Build:
    """Builds scores from one list per perturbation, one instance each; every variant counts as changed."""

    def build(**by_perturbation: list[float | None]) -> pl.DataFrame:
        return pl.concat(
            scores(score, perturbation=name, changed=name != "original") for name, score in by_perturbation.items()
        )

    return build


def only(table: pl.DataFrame) -> dict[str, Any]:
    assert table.height == 1
    return table.row(0, named=True)


def test_worst_is_the_mean_of_the_lowest_of_each_instance(answers: Build) -> None:
    frame = answers(original=[1, 1, 0, 1], typos=[1, 0, 1, 1], lowercase=[1, 1, 1, 0])
    row = only(worst_case(frame, ["model"], higher_is_better=HIGHER, fractions=FRACTIONS))
    assert (row["value"], row["k"], row["n"], row["interval"]) == (0.25, 3, 4, "Wilson, n small")


def test_worst_is_the_highest_where_lower_is_better(answers: Build) -> None:
    frame = answers(original=[1.0, 2.0], typos=[3.0, 1.0])
    assert only(worst_case(frame, [], higher_is_better={"exact_match": False}))["value"] == 2.5


def test_an_instance_with_a_failed_variant_has_no_worst(answers: Build) -> None:
    frame = answers(original=[1, 0, 1], typos=[1, 1, None])
    row = only(worst_case(frame, [], higher_is_better=HIGHER))
    assert (row["value"], row["n"], row["n_dropped"], row["n_error"]) == (0.5, 2, 1, 1)


def test_an_instance_that_lacks_a_variant_has_no_worst(answers: Build) -> None:
    frame = answers(original=[1, 0, 1], typos=[1, 1])
    row = only(worst_case(frame, [], higher_is_better=HIGHER))
    assert (row["n"], row["n_dropped"]) == (2, 1)


def test_worst_is_taken_per_trial(answers: Build) -> None:
    # one variant fails in each trial; the worst of each trial is 0, its mean over both too
    frame = answers(original=[1, 1], typos=[0, 1])
    other = answers(original=[1, 1], typos=[1, 1]).with_columns(trial=pl.lit(1))
    row = only(worst_case(pl.concat([frame, other]), [], higher_is_better=HIGHER))
    assert row["value"] == 0.75


def test_without_perturbations_there_is_no_worst(answers: Build) -> None:
    row = only(worst_case(answers(original=[1, 0]), [], higher_is_better=HIGHER))
    assert (row["value"], row["k"], row["interval"]) == (None, None, "no interval: nothing was perturbed")


def test_scenarios_with_other_numbers_of_variants_have_no_common_worst(answers: Build) -> None:
    one = answers(original=[1, 0], typos=[1, 0])
    two = answers(original=[1, 0], typos=[1, 0], lowercase=[1, 1]).with_columns(scenario=pl.lit("other"))
    row = only(worst_case(pl.concat([one, two]), [], higher_is_better=HIGHER))
    assert (row["value"], row["k"], row["interval"]) == (None, None, "no interval: scenarios differ in k")


def test_robustness_shows_levels_and_flips(answers: Build) -> None:
    frame = answers(original=[1, 1, 0, 0], typos=[1, 0, 1, 1])
    row = robustness(frame, ["model"], higher_is_better=HIGHER, fractions=FRACTIONS).row(1, named=True)
    assert row["perturbation"] == "typos"
    assert (row["original"], row["perturbed"], row["worst"], row["k"]) == (0.5, 0.75, 0.25, 2)
    assert (row["right_to_wrong"], row["wrong_to_right"], row["changed"]) == (1, 2, 1.0)


def test_robustness_has_a_row_per_perturbation_and_one_for_all(answers: Build) -> None:
    frame = answers(original=[1, 1], typos=[1, 0], lowercase=[0, 1])
    table = robustness(frame, [], higher_is_better=HIGHER)
    assert table.select("perturbation", "worst", "k").rows() == [
        ("all", 0.0, 3),
        ("lowercase", 0.5, 2),
        ("typos", 0.5, 2),
    ]


def test_the_drop_is_paired(answers: Build) -> None:
    frame = answers(original=[1, 0, 1, 1], typos=[0, 0, 0, 1])
    row = robustness(frame, [], higher_is_better=HIGHER, fractions=FRACTIONS).row(0, named=True)
    assert row["drop"] == -0.5
    # d = −1, 0, −1, 0: s²/n = 1/12, t₃ = 3.182; cut at −1 it is not
    assert (round(row["drop_low"], 2), round(row["drop_high"], 2)) == (-1.0, 0.42)
    assert row["interval"] == "t, n small"


def test_the_drop_is_over_changed_variants_only(answers: Build) -> None:
    frame = answers(original=[1, 1, 1, 1], typos=[0, 1, 1, 0])
    kept = frame.with_columns(changed=(pl.col("perturbation") == "typos") & pl.col("instance_id").is_in(["id0", "id1"]))
    row = robustness(kept, [], higher_is_better=HIGHER).row(1, named=True)
    assert (row["drop"], row["n"], row["n_changed"], row["changed"]) == (-0.5, 4, 2, 0.5)


def test_nothing_changed_leaves_no_drop(answers: Build) -> None:
    frame = answers(original=[1, 0], typos=[1, 0]).with_columns(changed=pl.lit(value=False))
    row = robustness(frame, [], higher_is_better=HIGHER).row(0, named=True)
    assert (row["drop"], row["n_changed"], row["interval"]) == (None, 0, "no interval: no input was changed")


def test_a_model_that_never_flips_still_has_an_interval(answers: Build) -> None:
    frame = answers(original=[1, 0] * 25, typos=[1, 0] * 25)
    row = robustness(frame, [], higher_is_better=HIGHER, fractions=FRACTIONS).row(0, named=True)
    assert (row["drop"], round(row["drop_low"], 3), round(row["drop_high"], 3)) == (0.0, -0.071, 0.071)


def test_flips_are_counted_for_zero_or_one_only(answers: Build) -> None:
    row = robustness(answers(original=[0.5, 1], typos=[0.2, 1]), [], higher_is_better=HIGHER).row(0, named=True)
    assert (row["right_to_wrong"], row["wrong_to_right"]) == (None, None)


def test_seeds_are_variants(answers: Build) -> None:
    frame = answers(original=[1, 1], typos=[1, 0])
    again = answers(typos=[0, 1]).with_columns(perturbation_seed=pl.lit(1))
    row = robustness(pl.concat([frame, again]), [], higher_is_better=HIGHER).row(1, named=True)
    assert (row["perturbation"], row["perturbed"], row["worst"], row["k"]) == ("typos", 0.5, 0.0, 3)


def test_no_perturbation_gives_no_rows(answers: Build) -> None:
    assert robustness(answers(original=[1, 0]), ["model"], higher_is_better=HIGHER).height == 0


def test_a_metric_without_direction_is_named(answers: Build) -> None:
    with pytest.raises(ArgumentError, match="which way is 'exact_match' better"):
        robustness(answers(original=[1], typos=[0]), [], higher_is_better={})


def test_noise_alone_lowers_the_worst_but_not_the_drop(answers: Build) -> None:
    random = np.random.default_rng(3)
    noisy = {name: (random.random(2000) < 0.7).astype(float).tolist() for name in ("original", "a", "b", "c")}
    row = robustness(answers(**noisy), [], higher_is_better=HIGHER, fractions=FRACTIONS).row(1, named=True)
    assert row["perturbation"] == "all"
    assert row["worst"] == pytest.approx(0.7**4, abs=0.03)
    assert row["drop_low"] < 0 < row["drop_high"]


def test_the_order_of_the_rows_does_not_matter(answers: Build) -> None:
    random = np.random.default_rng(3)
    frame = answers(**{name: random.random(200).tolist() for name in ("original", "a", "b", "c")})
    table = robustness(frame, ["model"], higher_is_better=HIGHER)
    assert robustness(frame.sample(fraction=1, shuffle=True, seed=1), ["model"], higher_is_better=HIGHER).equals(table)
